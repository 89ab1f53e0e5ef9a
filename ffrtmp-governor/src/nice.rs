//! The governor of an ordinary user: lower priority, admission by free disk and memory, and a
//! watchful eye.

use std::path::Path;
use std::sync::{Mutex, PoisonError};

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::{
    Admission, Demand, Governed, Limit, ProcessLimits, Reservation, ResourceGovernor, Room, Usage,
};
use ffrtmp_core::job::ResourceLimits;
use ffrtmp_core::node::{Safeguard, Telemetry};
use ffrtmp_core::policy::limits::DEFAULT_NICE;
use rustix::io::Errno;
use rustix::process::{Pid, getpriority_process, setpriority_process};

use crate::probe::disk::Disk;
use crate::probe::process::Clocks;
use crate::probe::sampler::Sampler;
use crate::probe::{self, Root};

/// Free disk below this share is refused.
const REFUSE_BELOW_PERCENT: f64 = 5.0;
/// Free disk below this share is warned of.
const WARN_BELOW_PERCENT: f64 = 10.0;
const MIB: u64 = 1 << 20;

/// Lowers priority and watches; needs no privileges.
///
/// Of the limits only the priority is enforced here. Timeout, disk and memory are held by the
/// agent and by the engine that runs the attempt in a child; CPU is only watched.
#[derive(Debug)]
pub struct NiceGovernor {
    root: Root,
    nice: i32,
    sampler: Sampler,
}

impl Default for NiceGovernor {
    fn default() -> Self {
        Self::new()
    }
}

impl NiceGovernor {
    /// A governor that gives processes priority 10.
    #[must_use]
    pub fn new() -> Self {
        Self::with_nice(DEFAULT_NICE)
    }

    /// A governor that gives processes this priority, -20 to 19.
    #[must_use]
    pub fn with_nice(nice: i32) -> Self {
        Self::on(Root::default(), nice)
    }

    /// The same for a machine described by files below another root, for tests.
    #[must_use]
    pub fn on(root: Root, nice: i32) -> Self {
        Self { sampler: Sampler::new(root.clone()), root, nice: nice.clamp(-20, 19) }
    }
}

impl ResourceGovernor for NiceGovernor {
    fn name(&self) -> &'static str {
        "nice"
    }

    fn limits(&self) -> Vec<Safeguard> {
        let state = |limit: &Limit| match limit {
            Limit::Nice => Safeguard::on(limit.as_str(), format!("priority {}", self.nice)),
            other => Safeguard::off(other.as_str(), "only watched without control groups"),
        };
        Limit::ALL.iter().map(state).collect()
    }

    fn admit(&self, demand: &Demand<'_>) -> Result<Admission> {
        let disk = probe::disk::read(demand.work_dir)?;
        let memory = probe::memory::read(&self.root);
        Ok(decide(demand.limits, &disk, memory.map(|memory| memory.available)))
    }

    fn reserve(&self, demand: &Demand<'_>) -> Result<Reservation> {
        match self.admit(demand)? {
            Admission::Admitted => Ok(Reservation::new(None, None, ())),
            Admission::Warned(reason) => Ok(Reservation::new(None, Some(reason), ())),
            Admission::Refused(reason) => Err(Error::new(Code::NoRoom, reason)),
        }
    }

    fn room(&self, work_dir: &Path) -> Room {
        Room {
            memory_bytes: probe::memory::read(&self.root).map(|memory| memory.available),
            disk_bytes: probe::disk::read(work_dir).ok().map(|disk| disk.available),
            gpu_sessions: 0,
            held_back: None,
        }
    }

    fn govern(&self, pid: u32, limits: &ProcessLimits) -> Result<Box<dyn Governed>> {
        lower_priority(pid, limits.nice.unwrap_or(self.nice))?;
        Ok(Box::new(Watched::new(self.root.clone(), pid)))
    }

    fn telemetry(&self, work_dir: &Path) -> Telemetry {
        self.sampler.sample(work_dir)
    }
}

/// The rules of admission: disk first, for a full disk hurts everybody; then memory.
fn decide(limits: &ResourceLimits, disk: &Disk, memory_available: Option<u64>) -> Admission {
    let free = disk.free_percent();
    if free < REFUSE_BELOW_PERCENT {
        return Admission::Refused(format!(
            "{free:.1} % of the disk is free; at least {REFUSE_BELOW_PERCENT} % must be"
        ));
    }
    let needs = |mb: Option<u64>| mb.unwrap_or(0).saturating_mul(MIB);
    let lacks = |what: &str, needed: u64, available: u64| {
        let (needed, available) = (needed.div_ceil(MIB), available / MIB);
        Admission::Refused(format!("the attempt may use {needed} MB of {what} and {available} MB are available"))
    };
    if needs(limits.max_disk_mb) > disk.available {
        return lacks("disk", needs(limits.max_disk_mb), disk.available);
    }
    if let Some(available) = memory_available.filter(|available| needs(limits.max_memory_mb) > *available) {
        return lacks("memory", needs(limits.max_memory_mb), available);
    }
    if free < WARN_BELOW_PERCENT {
        return Admission::Warned(format!("only {free:.1} % of the disk is free"));
    }
    Admission::Admitted
}

/// Makes a process nicer; one that is nicer already stays so, for raising needs privileges. A
/// process that has ended by now needs nothing.
fn lower_priority(pid: u32, nice: i32) -> Result<()> {
    let refused = |error: Errno| {
        Error::new(Code::Storage, format!("cannot set the priority of process {pid}"))
            .operation("governor.nice")
            .source(error)
    };
    let process = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let process = process.ok_or_else(|| Error::new(Code::Internal, format!("{pid} is no process id")))?;
    match getpriority_process(Some(process)) {
        Ok(now) if now >= nice => Ok(()),
        Err(Errno::SRCH) => Ok(()),
        Err(error) => Err(refused(error)),
        Ok(_) => match setpriority_process(Some(process), nice) {
            Ok(()) | Err(Errno::SRCH) => Ok(()),
            Err(error) => Err(refused(error)),
        },
    }
}

/// A process that is only watched. What it used is remembered when it is gone.
#[derive(Debug)]
pub(crate) struct Watched {
    root: Root,
    pid: u32,
    clocks: Clocks,
    /// Tells another process with the same id from this one.
    started: Option<u64>,
    seen: Mutex<Usage>,
}

impl Watched {
    pub(crate) fn new(root: Root, pid: u32) -> Self {
        let started = probe::process::read(&root, pid).map(|process| process.started);
        Self { root, pid, clocks: Clocks::of_this_kernel(), started, seen: Mutex::default() }
    }
}

impl Governed for Watched {
    fn usage(&self) -> Usage {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(now) = probe::process::read(&self.root, self.pid).filter(|now| Some(now.started) == self.started) {
            seen.cpu = seen.cpu.max(self.clocks.time(now.ticks));
            seen.peak_memory_bytes = seen.peak_memory_bytes.max(now.peak_memory_bytes);
        }
        *seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admission_by_disk_and_memory() {
        let disk = |available, total| Disk { available: available * MIB, total: total * MIB };
        let limits = |disk, memory| ResourceLimits {
            max_disk_mb: Some(disk),
            max_memory_mb: Some(memory),
            ..ResourceLimits::default()
        };
        let decide = |limits, disk, memory: u64| match decide(&limits, &disk, Some(memory * MIB)) {
            Admission::Admitted => "admitted".to_owned(),
            Admission::Warned(why) => format!("warned: {why}"),
            Admission::Refused(why) => format!("refused: {why}"),
        };
        for (limits, disk, memory, answer) in [
            (limits(100, 100), disk(500, 1000), 500, "admitted"),
            (limits(100, 100), disk(100, 1000), 100, "admitted"),
            (limits(10, 100), disk(99, 1000), 500, "warned: only 9.9 % of the disk is free"),
            (limits(10, 100), disk(50, 1000), 500, "warned: only 5.0 % of the disk is free"),
            (limits(10, 100), disk(49, 1000), 500, "refused: 4.9 % of the disk is free"),
            (limits(501, 100), disk(500, 1000), 500, "refused: the attempt may use 501 MB of disk and 500 MB"),
            (limits(10, 501), disk(500, 1000), 500, "refused: the attempt may use 501 MB of memory and 500 MB"),
            (limits(u64::MAX, 1), disk(500, 1000), 500, "refused: the attempt may use"),
        ] {
            let got = decide(limits, disk, memory);
            assert!(got.starts_with(answer), "{got} instead of {answer}");
        }
        assert_eq!(super::decide(&limits(10, 501), &disk(500, 1000), None), Admission::Admitted);
    }
}
