//! Limits on a family of processes: what was asked, and what of it is really in force.

use std::time::Duration;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::{Governed, IoLimit, Limit, ProcessLimits, ResourceGovernor, Usage};
use rustix::process::{Pid, getpriority_process};
use serde::{Deserialize, Serialize};

use super::family::Family;
use super::priority::Priority;
use super::supervised::Order;
use crate::none::NoGovernor;
use crate::probe::{Root, cpu, memory};

/// How one limit that was asked for stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Its name: `cpu`, `cpu_weight`, `memory`, `pids`, `io`, `nice` or `timeout`.
    pub limit: String,
    /// What was asked for, in words.
    pub asked: String,
    /// Whether it holds even against a process that ignores it.
    pub in_force: bool,
    /// By what means, or why it is only watched.
    pub detail: String,
}

impl Standing {
    fn as_error(&self) -> Error {
        let message = format!("{} {} cannot be enforced here: {}", self.limit, self.asked, self.detail);
        Error::new(Code::InvalidConfig, message)
            .field(self.limit.clone())
            .hint("run as root or in a delegated control group, or do not require limits")
    }
}

/// A family under limits; let go, it is as it was before.
pub(super) struct Hold {
    governed: Option<Box<dyn Governed>>,
    priority: Option<Priority>,
    standings: Vec<Standing>,
    /// What had been used when the hold began.
    earlier: Usage,
    last: Usage,
}

impl Hold {
    /// Puts a family under limits. A limit that cannot be had is only watched, and says so.
    ///
    /// # Errors
    /// `invalid_field` for a limit that no machine can have, such as none of the memory;
    /// `invalid_config` for one that cannot be had here, where all are required.
    pub(super) fn take(
        root: &Root,
        governor: &dyn ResourceGovernor,
        family: &Family,
        head: u32,
        order: &Order,
    ) -> Result<Self> {
        let asked = &order.limits;
        check(asked)?;
        let mut standings = Vec::new();
        let priority = give_priority(root, family, asked.nice, &mut standings);
        // The governor shall not change the priority by itself.
        let nice = now(head).or(asked.nice);
        let wanted = within_reach(&Machine::read(root), governor, asked, &mut standings);
        let governed = match governor.govern(head, &ProcessLimits { nice, ..wanted }) {
            Ok(governed) => governed,
            Err(error) if error.code() == Code::InvalidField => {
                // The error says more than what could not be taken back.
                let _ = priority.map(|priority| priority.take_back(family));
                return Err(error);
            }
            Err(error) => {
                refuse_all(&mut standings, &error);
                NoGovernor::default().govern(head, &ProcessLimits::default())?
            }
        };
        let earlier = governed.usage();
        let mut taken = Self { governed: Some(governed), priority, standings, earlier, last: earlier };
        match taken.standings.iter().find(|standing| order.strict && !standing.in_force) {
            Some(lacking) => {
                let error = lacking.as_error();
                // The error says more than what could not be taken back.
                let _ = taken.let_go(family);
                Err(error)
            }
            None => Ok(taken),
        }
    }

    /// Only watches a process, because of this error.
    pub(super) fn watch(head: u32, order: &Order, why: &Error) -> Result<Self> {
        check(&order.limits)?;
        let mut standings = Vec::new();
        let nobody = NoGovernor::default();
        within_reach(&Machine::default(), &nobody, &order.limits, &mut standings);
        refuse_all(&mut standings, why);
        standings.extend(order.limits.nice.map(|nice| Standing {
            limit: Limit::Nice.to_string(),
            asked: nice.to_string(),
            in_force: false,
            detail: why.to_string(),
        }));
        let governed = nobody.govern(head, &ProcessLimits::default())?;
        let earlier = governed.usage();
        Ok(Self { governed: Some(governed), priority: None, standings, earlier, last: earlier })
    }

    pub(super) fn standings(&self) -> &[Standing] {
        &self.standings
    }

    /// The priority that was given and the one of the head before, if it was changed.
    pub(super) fn changed_priority(&self) -> Option<(i32, i32)> {
        self.priority.as_ref().map(Priority::change)
    }

    /// What was used since the hold began.
    pub(super) fn usage(&mut self) -> Usage {
        if let Some(governed) = &self.governed {
            self.last = governed.usage();
        }
        Usage {
            cpu: self.last.cpu.saturating_sub(self.earlier.cpu),
            throttled: self.last.throttled.saturating_sub(self.earlier.throttled),
            oom_kills: self.last.oom_kills.saturating_sub(self.earlier.oom_kills),
            ..self.last
        }
    }

    /// Tells the governor of processor time since the hold began that it may not have seen.
    pub(super) fn count(&self, cpu: Duration) {
        if let Some(governed) = &self.governed {
            governed.count(self.earlier.cpu + cpu);
        }
    }

    /// Kills everyone at once; `false` if there are no means to.
    pub(super) fn kill(&self) -> Result<bool> {
        self.governed.as_ref().map_or(Ok(false), |governed| governed.kill())
    }

    /// Lifts the limits; what could not be made as it was, in words.
    pub(super) fn let_go(&mut self, family: &Family) -> Option<String> {
        drop(self.governed.take());
        match self.priority.take().map_or(0, |priority| priority.take_back(family)) {
            0 => None,
            left => Some(format!("{left} threads keep the lower priority: raising it needs CAP_SYS_NICE or root")),
        }
    }
}

/// Refuses what no machine can do.
pub(super) fn check(asked: &ProcessLimits) -> Result<()> {
    let refuse = |field: &str, message: String, hint: &str| {
        Err(Error::new(Code::InvalidField, message).field(field.to_owned()).hint(hint))
    };
    if asked.cpu_percent == Some(0) {
        return refuse(
            "cpu_quota",
            "a process cannot run with 0 % of a core".into(),
            "give 100 for one core, or leave it out for no limit",
        );
    }
    if let Some(weight) = asked.cpu_weight.filter(|weight| !(1..=10_000).contains(weight)) {
        return refuse("cpu_weight", format!("{weight} is not a weight"), "give 1 to 10000; 100 is everybody's");
    }
    if let Some(bytes) = asked.memory_bytes.filter(|bytes| *bytes < LEAST_MEMORY) {
        let hint = "give at least 1 MB: --memory-limit counts megabytes, --memory-max bytes";
        return refuse("memory_limit", format!("no program runs in {bytes} bytes of memory"), hint);
    }
    if let Some(nice) = asked.nice.filter(|nice| !(-20..=19).contains(nice)) {
        return refuse("nice", format!("{nice} is not a priority"), "give -20 (first) to 19 (last)");
    }
    Ok(())
}

const LEAST_MEMORY: u64 = 1 << 20;

fn give_priority(root: &Root, family: &Family, nice: Option<i32>, standings: &mut Vec<Standing>) -> Option<Priority> {
    let nice = nice?;
    let (given, detail) = match Priority::give(root, family, nice) {
        Ok(priority) => (Some(priority), "priority of every thread".to_owned()),
        Err(error) => (None, format!("{error}; {}", error.hint_text())),
    };
    let in_force = given.is_some();
    standings.push(Standing { limit: Limit::Nice.to_string(), asked: nice.to_string(), in_force, detail });
    given
}

/// The limits that the governor can enforce; says of the others why they are only watched.
fn within_reach(
    machine: &Machine,
    governor: &dyn ResourceGovernor,
    asked: &ProcessLimits,
    standings: &mut Vec<Standing>,
) -> ProcessLimits {
    let guards = governor.limits();
    let beyond = [
        asked.cpu_percent.and_then(|percent| Some((Limit::Cpu, machine.beyond_cores(percent)?))),
        asked.memory_bytes.and_then(|bytes| Some((Limit::Memory, machine.beyond_memory(bytes)?))),
    ];
    let mut stands = |limit: Limit, name: &str, asked: Option<String>| {
        let beyond = beyond.iter().flatten().find(|(beyond, _)| *beyond == limit && name == limit.as_str());
        let guard = guards.iter().find(|guard| guard.name == limit.as_str());
        let in_force = guard.is_some_and(|guard| guard.on);
        if let Some(asked) = asked {
            let detail = guard.map_or_else(|| "not known to the governor".to_owned(), |guard| guard.detail.clone());
            // The kernel takes it, but nothing will ever come up against it.
            let (holds, detail) = match beyond {
                Some((_, why)) if in_force => (false, why.clone()),
                _ => (in_force, detail),
            };
            standings.push(Standing { limit: name.to_owned(), asked, in_force: holds, detail });
        }
        in_force
    };
    let cpu = stands(Limit::Cpu, "cpu", asked.cpu_percent.map(|percent| format!("{percent} % of a core")));
    let weight = stands(Limit::Cpu, "cpu_weight", asked.cpu_weight.map(|weight| weight.to_string()));
    let memory = stands(Limit::Memory, "memory", asked.memory_bytes.map(|bytes| format!("{bytes} bytes")));
    let pids = stands(Limit::Pids, "pids", asked.max_processes.map(|most| most.to_string()));
    let rates = (!asked.io.is_empty()).then(|| asked.io.iter().map(io_words).collect::<Vec<_>>().join(", "));
    let io = stands(Limit::Io, "io", rates);
    ProcessLimits {
        cpu_percent: asked.cpu_percent.filter(|_| cpu),
        cpu_weight: asked.cpu_weight.filter(|_| weight),
        memory_bytes: asked.memory_bytes.filter(|_| memory),
        max_processes: asked.max_processes.filter(|_| pids),
        io: if io { asked.io.clone() } else { Vec::new() },
        nice: None,
        ..asked.clone()
    }
}

/// What there is to be limited; nothing is known of what is `None`.
#[derive(Debug, Default)]
struct Machine {
    cores: Option<u32>,
    memory_bytes: Option<u64>,
}

impl Machine {
    fn read(root: &Root) -> Self {
        let memory_bytes = memory::read(root).map(|memory| memory.total).filter(|total| *total > 0);
        Self { cores: Some(cpu::usable_threads(root)).filter(|cores| *cores > 0), memory_bytes }
    }

    fn beyond_cores(&self, percent: u32) -> Option<String> {
        let cores = self.cores.filter(|cores| percent > cores.saturating_mul(100))?;
        let plural = if cores == 1 { "core" } else { "cores" };
        Some(format!("more than this machine has ({cores} {plural}): it bounds nothing"))
    }

    fn beyond_memory(&self, bytes: u64) -> Option<String> {
        let total = self.memory_bytes.filter(|total| bytes > *total)?;
        Some(format!("more than this machine has ({:.1} GiB): it bounds nothing", total as f64 / f64::from(1 << 30)))
    }
}

fn io_words(limit: &IoLimit) -> String {
    let (major, minor) = limit.device;
    let rates =
        [("rbps", limit.read_bytes), ("wbps", limit.write_bytes), ("riops", limit.reads), ("wiops", limit.writes)];
    let rates = rates.iter().filter_map(|(name, rate)| rate.map(|rate| format!(" {name}={rate}")));
    format!("{major}:{minor}{}", rates.collect::<String>())
}

fn refuse_all(standings: &mut [Standing], error: &Error) {
    for standing in standings.iter_mut().filter(|standing| standing.limit != Limit::Nice.as_str()) {
        standing.in_force = false;
        standing.detail = error.to_string();
    }
}

fn now(head: u32) -> Option<i32> {
    let pid = i32::try_from(head).ok().and_then(Pid::from_raw)?;
    getpriority_process(Some(pid)).ok()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ffrtmp_core::governor::{Admission, Demand, Reservation, Room};
    use ffrtmp_core::node::{Safeguard, Telemetry};

    use super::*;

    #[test]
    fn what_no_machine_reaches_is_not_in_force() {
        let machine = Machine { cores: Some(2), memory_bytes: Some(24 << 30) };
        let groups = [Limit::Cpu, Limit::Memory].map(|limit| Safeguard::on(limit.as_str(), "cgroup v2"));
        let governor = Telling(groups.to_vec());
        for (percent, bytes, holds) in [
            (200, 24 << 30, [true, true]),
            (201, 24 << 30, [false, true]),
            (50, (24 << 30) + 1, [true, false]),
            (u32::MAX, u64::MAX, [false, false]),
        ] {
            let asked =
                ProcessLimits { cpu_percent: Some(percent), memory_bytes: Some(bytes), ..ProcessLimits::default() };
            let mut standings = Vec::new();
            let wanted = within_reach(&machine, &governor, &asked, &mut standings);
            assert_eq!((wanted.cpu_percent, wanted.memory_bytes), (Some(percent), Some(bytes)));
            let told: Vec<_> = standings.iter().map(|standing| standing.in_force).collect();
            assert_eq!(told, holds, "{standings:?}");
            let bounds_nothing = |standing: &&Standing| standing.detail.ends_with("it bounds nothing");
            assert_eq!(standings.iter().filter(bounds_nothing).count(), holds.iter().filter(|held| !**held).count());
        }
    }

    /// Has these limits.
    struct Telling(Vec<Safeguard>);

    impl ResourceGovernor for Telling {
        fn name(&self) -> &'static str {
            "telling"
        }

        fn limits(&self) -> Vec<Safeguard> {
            self.0.clone()
        }

        fn admit(&self, demand: &Demand<'_>) -> Result<Admission> {
            NoGovernor::default().admit(demand)
        }

        fn reserve(&self, demand: &Demand<'_>) -> Result<Reservation> {
            NoGovernor::default().reserve(demand)
        }

        fn room(&self, work_dir: &Path) -> Room {
            NoGovernor::default().room(work_dir)
        }

        fn govern(&self, pid: u32, limits: &ProcessLimits) -> Result<Box<dyn Governed>> {
            NoGovernor::default().govern(pid, limits)
        }

        fn telemetry(&self, work_dir: &Path) -> Telemetry {
            NoGovernor::default().telemetry(work_dir)
        }
    }
}
