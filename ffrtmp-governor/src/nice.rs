//! The governor of an ordinary user: lower priority and a watchful eye. What is admitted follows
//! from the machine's memory and disk; [`crate::budget`] knows more.

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::{
    Admission, Demand, Governed, Limit, ProcessLimits, Reservation, ResourceGovernor, Room, Usage,
};
use ffrtmp_core::node::{Safeguard, Telemetry};
use ffrtmp_core::policy::limits::DEFAULT_NICE;
use rustix::io::Errno;
use rustix::process::{Pid, getpriority_process, setpriority_process};

use crate::budget::{Budget, Ledger};
use crate::cgroups::{WhyNot, by_the_agent};
use crate::probe::process::Clocks;
use crate::probe::sampler::Sampler;
use crate::probe::{self, Root};

/// Lowers priority and watches; needs no privileges.
///
/// Of the limits only the priority is enforced here. Timeout and disk are held by the agent and by
/// the engine that runs the attempt in a child, which also kills one that is seen above its memory;
/// the processor is only watched.
#[derive(Debug)]
pub struct NiceGovernor {
    root: Root,
    nice: i32,
    /// Why nothing better is to be had.
    why: WhyNot,
    sampler: Sampler,
    ledger: Ledger,
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
        let ledger = Ledger::new(root.clone(), Budget::all_of(&root));
        let why = WhyNot::from("no control groups are used");
        Self { sampler: Sampler::new(root.clone()), root, nice: nice.clamp(-20, 19), why, ledger }
    }

    /// The same, and it says why this machine has nothing better: the reason of
    /// [`crate::cgroups::CgroupGovernor::detect`].
    #[must_use]
    pub fn because(self, why: impl Into<WhyNot>) -> Self {
        Self { why: why.into(), ..self }
    }
}

impl ResourceGovernor for NiceGovernor {
    fn name(&self) -> &'static str {
        "nice"
    }

    fn limits(&self) -> Vec<Safeguard> {
        let state = |limit: &Limit| match limit {
            Limit::Nice => Safeguard::on(limit.as_str(), format!("priority {}", self.nice)),
            Limit::Disk | Limit::Timeout => by_the_agent(*limit),
            Limit::Memory => Safeguard::off(
                limit.as_str(),
                format!(
                    "watched, and killed above the limit by polling: a fast one gets past it; {}",
                    self.why.of(*limit)
                ),
            ),
            Limit::Cpu | Limit::Pids | Limit::Io => Safeguard::off(limit.as_str(), self.why.of(*limit)),
        };
        Limit::ALL.iter().map(state).collect()
    }

    fn admit(&self, demand: &Demand<'_>) -> Result<Admission> {
        self.ledger.admit(demand)
    }

    fn reserve(&self, demand: &Demand<'_>) -> Result<Reservation> {
        self.ledger.reserve(demand)
    }

    fn room(&self, work_dir: &Path) -> Room {
        self.ledger.room(work_dir)
    }

    fn govern(&self, pid: u32, limits: &ProcessLimits) -> Result<Box<dyn Governed>> {
        lower_priority(pid, limits.nice.unwrap_or(self.nice))?;
        Ok(Box::new(Watched::new(self.root.clone(), pid)))
    }

    fn telemetry(&self, work_dir: &Path) -> Telemetry {
        self.sampler.sample(work_dir)
    }
}

/// Makes a process nicer; one that is nicer already stays so, for raising needs privileges. A
/// process that has ended by now needs nothing.
pub(crate) fn lower_priority(pid: u32, nice: i32) -> Result<()> {
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

    fn count(&self, cpu: Duration) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.cpu = seen.cpu.max(cpu);
    }
}
