//! What a supervised workload did, and why it ended.

use std::fmt::{self, Display, Formatter};

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::job::{EnergySource, FailureReason, SlaVerdict};
use ffrtmp_core::units::Joules;
use serde::{Deserialize, Serialize};

use super::hold::Standing;

/// Why a supervised workload ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitReason {
    /// It ended with code 0.
    Success,
    /// It ended with another code.
    Error,
    /// A signal ended it that the supervisor did not send for a limit.
    Signal,
    /// It was ended because its time was over.
    Timeout,
    /// The kernel killed it for memory.
    Oom,
    /// It failed after the kernel had killed others of its processes for the limit on their memory.
    CgroupLimit,
    /// It was ended because it used more than a limit that nothing else enforced.
    PolicyViolation,
    /// It ended; how is known to its parent only.
    Unknown,
    /// It was let go and lives.
    Detached,
}

/// What decides the reason.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evidence {
    /// How it ended, as `wait` tells it.
    pub(super) status: Option<i32>,
    /// Why the supervisor ended it, if it did.
    pub(super) ended_for: Option<ExitReason>,
    pub(super) oom_kills: u64,
}

impl Evidence {
    pub(super) fn code(&self) -> Option<i32> {
        self.status.filter(|status| status & 0x7f == 0).map(|status| (status >> 8) & 0xff)
    }

    pub(super) fn signal(&self) -> Option<i32> {
        self.status.map(|status| status & 0x7f).filter(|signal| *signal != 0)
    }

    pub(super) fn reason(&self) -> ExitReason {
        const KILL: i32 = 9;
        let starved = self.oom_kills > 0;
        match (self.ended_for, self.code(), self.signal()) {
            (Some(reason), ..) => reason,
            (None, Some(0), _) => ExitReason::Success,
            (None, Some(_), _) if starved => ExitReason::CgroupLimit,
            (None, Some(_), _) => ExitReason::Error,
            (None, None, Some(KILL)) if starved => ExitReason::Oom,
            (None, None, Some(_)) if starved => ExitReason::CgroupLimit,
            (None, None, Some(_)) => ExitReason::Signal,
            (None, None, None) if starved => ExitReason::Oom,
            (None, None, None) => ExitReason::Unknown,
        }
    }
}

impl ExitReason {
    /// The stable name, as it stands in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Error => "error",
            Self::Signal => "signal",
            Self::Timeout => "timeout",
            Self::Oom => "oom",
            Self::CgroupLimit => "cgroup_limit",
            Self::PolicyViolation => "policy_violation",
            Self::Unknown => "unknown",
            Self::Detached => "detached",
        }
    }

    /// How a job that ended so is counted; `None` where nothing failed.
    #[must_use]
    pub const fn failure(self) -> Option<FailureReason> {
        match self {
            Self::Success | Self::Unknown | Self::Detached => None,
            Self::Error | Self::Signal => Some(FailureReason::RuntimeError),
            Self::Timeout => Some(FailureReason::Timeout),
            Self::Oom | Self::CgroupLimit | Self::PolicyViolation => Some(FailureReason::ResourceError),
        }
    }
}

impl Display for ExitReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What a supervised workload did. Times are since it was started or, if it ran before, since the
/// supervisor took hold of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Name of the work, as the caller gave it.
    pub job_id: Option<String>,
    /// Machine on which it ran.
    pub host: String,
    /// Process id.
    pub pid: u32,
    /// Program and arguments.
    pub command: Vec<String>,
    /// When supervision began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Why it ended.
    pub exit_reason: ExitReason,
    /// Its exit code, if it ended with one that is known.
    pub exit_code: Option<i32>,
    /// Number of the signal that ended it.
    pub signal: Option<i32>,
    /// Wall time in seconds.
    pub wall_seconds: f64,
    /// User and system time of it and its children, in seconds.
    pub cpu_seconds: f64,
    /// Largest memory, in bytes.
    pub peak_memory_bytes: u64,
    /// Time for which the limit on the processor held it back, in seconds.
    pub throttled_seconds: f64,
    /// Processes of it that the kernel killed for memory.
    pub oom_kills: u64,
    /// Bytes read from block devices, where they are counted.
    pub io_read_bytes: Option<u64>,
    /// Bytes written to them.
    pub io_written_bytes: Option<u64>,
    /// Energy attributed to it, in joules.
    pub energy_joules: Option<Joules>,
    /// How the energy was found.
    pub energy_source: Option<EnergySource>,
    /// The limits that were asked for, and how each stood.
    pub limits: Vec<Standing>,
    /// Processes of it that live on.
    pub left_running: usize,
    /// Whether it kept its service level.
    pub sla: SlaVerdict,
    /// What else should be known.
    pub warnings: Vec<String>,
}

impl Display for Report {
    /// A few lines for people, without the last line feed.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let name = self.job_id.as_deref().map(|job| format!("{} ", one_line(job))).unwrap_or_default();
        write!(f, "ffrtmp: {name}{} (pid {} on {})", self.how(), self.pid, self.host)?;
        write!(
            f,
            "\n  wall {:.2} s, CPU {:.2} s, peak memory {}",
            self.wall_seconds,
            self.cpu_seconds,
            memory(self.peak_memory_bytes)
        )?;
        if self.throttled_seconds > 0.0 {
            write!(f, ", throttled {:.2} s", self.throttled_seconds)?;
        }
        if let (Some(Joules(energy)), Some(source)) = (self.energy_joules, self.energy_source) {
            write!(f, ", energy {energy:.1} J ({source})")?;
        }
        for standing in &self.limits {
            let state = if standing.in_force { "in force" } else { "only watched" };
            write!(f, "\n  limit {} {}: {state} ({})", standing.limit, standing.asked, one_line(&standing.detail))?;
        }
        let sla = match (self.sla.counted, self.sla.compliant) {
            (false, _) => "not counted",
            (true, true) => "kept",
            (true, false) => "violated",
        };
        write!(f, "\n  SLA {sla}: {}", self.sla.reason)?;
        self.warnings.iter().try_for_each(|warning| write!(f, "\n  warning: {}", one_line(warning)))
    }
}

impl Report {
    fn how(&self) -> String {
        match (self.exit_reason, self.exit_code, self.signal) {
            (ExitReason::Success, ..) => "ended well".to_owned(),
            (ExitReason::Detached, ..) => "was let go and lives".to_owned(),
            (reason, Some(code), _) => format!("ended: {reason}, code {code}"),
            (reason, None, Some(signal)) => format!("ended: {reason}, signal {signal}"),
            (reason, None, None) => format!("ended: {reason}"),
        }
    }
}

fn memory(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / f64::from(1 << 20))
}

/// Foreign text without anything that moves a cursor.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_follow_from_the_evidence() {
        use ExitReason::{CgroupLimit, Error, Oom, PolicyViolation, Signal, Success, Timeout, Unknown};
        let exit = |code: i32| Some(code << 8);
        for (status, ended_for, oom_kills, reason) in [
            (exit(0), None, 0, Success),
            (exit(0), None, 1, Success),
            (exit(3), None, 0, Error),
            (exit(3), None, 1, CgroupLimit),
            (Some(9), None, 0, Signal),
            (Some(9), None, 1, Oom),
            (Some(15), None, 0, Signal),
            (Some(11 | 0x80), None, 0, Signal),
            (Some(6), None, 2, CgroupLimit),
            (Some(9), Some(Timeout), 0, Timeout),
            (exit(0), Some(Timeout), 0, Timeout),
            (Some(15), Some(PolicyViolation), 0, PolicyViolation),
            (None, None, 0, Unknown),
            (None, None, 1, Oom),
        ] {
            let evidence = Evidence { status, ended_for, oom_kills };
            assert_eq!(evidence.reason(), reason, "{evidence:?}");
        }
        assert_eq!(Evidence { status: Some(11 | 0x80), ..Evidence::default() }.signal(), Some(11));
        assert_eq!(Evidence { status: exit(255), ..Evidence::default() }.code(), Some(255));
    }
}
