//! Who holds what of the machine.
//!
//! Memory that is left is the lesser of two: the budget without what is reserved, and what the
//! machine really has free without what attempts may still take of their reservations. Of a disk
//! only the second counts, and there what an attempt has written already counts twice until it
//! ends: that errs on the safe side, for nobody tells how much of a shared disk is whose.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::{Admission, Demand, Governed, Reservation, Room};
use ffrtmp_core::job::ResourceLimits;
use ffrtmp_core::policy::limits::{DEFAULT_DISK_MB, DEFAULT_MEMORY_MB};

use crate::gpu::{GpuLease, Pool};
use crate::probe::disk::Disk;
use crate::probe::{self, Root};

use super::guards::Guards;
use super::options::Budget;
use super::strain::{Reasons, Strain};

const MIB: u64 = 1 << 20;
/// How long memory that was available is taken to be so.
const FRESH: Duration = Duration::from_millis(100);

/// Gives out a budget. What a reservation holds comes back when it is dropped, wherever that is.
pub struct Ledger {
    root: Root,
    budget: Budget,
    strain: Strain,
    gpus: Option<Pool>,
    held: Arc<Mutex<Held>>,
    guards: Guards,
    /// Memory that was available at the last look.
    available: Mutex<Option<(Instant, Option<u64>)>>,
}

/// What is reserved at the moment.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Held {
    attempts: u64,
    cpu_percent: u64,
    memory: u64,
    /// By number of the device.
    disks: HashMap<u64, u64>,
}

/// What one attempt takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) cpu_percent: u64,
    pub(super) memory: u64,
    pub(super) disk: u64,
    pub(super) device: u64,
}

/// How the machine is.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub(super) disk: Disk,
    pub(super) memory_available: Option<u64>,
    /// Memory that attempts use of what they have reserved.
    pub(super) memory_used: u64,
    pub(super) strain: Reasons,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ledger").field("budget", &self.budget).field("held", &self.held).finish_non_exhaustive()
    }
}

impl Ledger {
    /// Gives out a budget of a machine.
    #[must_use]
    pub fn new(root: Root, budget: Budget) -> Self {
        let strain = Strain::new(&root, budget.strain.clone());
        Self {
            root,
            budget,
            strain,
            gpus: None,
            held: Arc::default(),
            guards: Guards::default(),
            available: Mutex::default(),
        }
    }

    /// The same with sessions of graphics processors. Without, attempts that want one are admitted
    /// and get whichever their encoder opens.
    #[must_use]
    pub fn with_gpus(self, gpus: Pool) -> Self {
        Self { gpus: Some(gpus), ..self }
    }

    pub(crate) fn gpus(&self) -> Option<&Pool> {
        self.gpus.as_ref()
    }

    pub(crate) fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Whether an attempt fits now.
    ///
    /// # Errors
    /// `storage` if the disk cannot be asked.
    pub fn admit(&self, demand: &Demand<'_>) -> Result<Admission> {
        let seen = self.look(demand.work_dir)?;
        let claim = Claim::of(demand, &self.budget, &seen)?;
        let admission = decide(&self.budget, &self.held(), &claim, &seen);
        let gpus = self.gpus.as_ref().filter(|_| demand.gpu && !matches!(admission, Admission::Refused(_)));
        Ok(match gpus.and_then(Pool::refusal) {
            Some(refusal) => Admission::Refused(refusal.to_string()),
            None => admission,
        })
    }

    /// Sets aside what an attempt takes.
    ///
    /// # Errors
    /// `no_room` with the reason for which it does not fit; `storage`.
    pub fn reserve(&self, demand: &Demand<'_>) -> Result<Reservation> {
        let seen = self.look(demand.work_dir)?;
        let claim = Claim::of(demand, &self.budget, &seen)?;
        let mut held = self.held();
        let warning = match decide(&self.budget, &held, &claim, &seen) {
            Admission::Admitted => None,
            Admission::Warned(reason) => Some(reason),
            Admission::Refused(reason) => return Err(no_room(reason)),
        };
        let warnings: Vec<_> = warning.into_iter().chain(self.beyond_machine(demand.limits)).collect();
        let warning = (!warnings.is_empty()).then(|| warnings.join("; "));
        held.take(&claim);
        drop(held);
        let loan = Loan { held: Arc::clone(&self.held), claim };
        let gpus = self.gpus.as_ref().filter(|_| demand.gpu);
        let lease = gpus.map(Pool::reserve).transpose().map_err(|refusal| no_room(refusal.to_string()))?;
        Ok(Reservation::new(lease.as_ref().map(GpuLease::index), warning, (loan, lease)))
    }

    /// What is still to be given out.
    #[must_use]
    pub fn room(&self, work_dir: &Path) -> Room {
        let Ok(seen) = self.look(work_dir) else {
            return Room {
                held_back: Some(format!("cannot ask the disk of {}", work_dir.display())),
                ..Room::default()
            };
        };
        let device = device_of(work_dir).ok();
        let held = self.held();
        Room {
            memory_bytes: memory_left(&self.budget, &held, &seen),
            disk_bytes: device.map(|device| disk_left(&self.budget, &held, &seen, device)),
            gpu_sessions: self.gpus.as_ref().map(Pool::free_sessions),
            held_back: machine_refuses(&self.budget, &held, &seen),
        }
    }

    /// Why the machine takes no further attempt, in words.
    #[must_use]
    pub fn held_back(&self, work_dir: &Path) -> Option<String> {
        machine_refuses(&self.budget, &self.held(), &self.look(work_dir).ok()?)
    }

    /// Counts the memory of a process as a part of what is reserved, not besides it.
    pub(crate) fn counted(&self, guard: Arc<dyn Governed>) -> Box<dyn Governed> {
        self.guards.counted(guard)
    }

    /// A limit on the processor that nothing can come up against. One on memory or disk beyond the
    /// machine's has no room.
    fn beyond_machine(&self, limits: &ResourceLimits) -> Option<String> {
        let percent = limits.max_cpu_percent.filter(|percent| u64::from(*percent) > self.budget.cpu_percent)?;
        let cores = probe::cpu::usable_threads(&self.root);
        let plural = if cores == 1 { "core" } else { "cores" };
        (percent > cores.saturating_mul(100)).then(|| {
            format!("max_cpu_percent {percent} is more than this node has ({cores} {plural}): it bounds nothing")
        })
    }

    fn look(&self, work_dir: &Path) -> Result<Seen> {
        Ok(Seen {
            disk: probe::disk::read(work_dir)?,
            memory_available: self.memory_available(),
            memory_used: self.guards.memory(),
            strain: self.strain.reasons(&self.root),
        })
    }

    /// What the kernel tells of memory is dear to ask for, and what attempts have set aside since is
    /// known without it.
    fn memory_available(&self) -> Option<u64> {
        let mut available = self.available.lock().unwrap_or_else(PoisonError::into_inner);
        match *available {
            Some((when, bytes)) if when.elapsed() < FRESH => bytes,
            _ => {
                let bytes = probe::memory::read(&self.root).map(|memory| memory.available);
                available.insert((Instant::now(), bytes)).1
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn no_room(reason: String) -> Error {
    Error::new(Code::NoRoom, reason).operation("governor.reserve")
}

impl Claim {
    /// What an attempt does not state is the default, but never more than the machine gives out; a
    /// small machine runs such attempts one after another. Nobody gets more than every core.
    fn of(demand: &Demand<'_>, budget: &Budget, seen: &Seen) -> Result<Self> {
        let limits = demand.limits;
        let stated = |mb: Option<u64>| mb.map(|mb| mb.saturating_mul(MIB));
        let memory = || (DEFAULT_MEMORY_MB * MIB).min(budget.memory_bytes.unwrap_or(u64::MAX));
        let disk = || (DEFAULT_DISK_MB * MIB).min(seen.disk.available).min(budget.disk_bytes.unwrap_or(u64::MAX));
        let cpu = limits.max_cpu_percent.map_or(budget.cpu_default_percent, u64::from);
        Ok(Self {
            cpu_percent: cpu.min(budget.cpu_percent),
            memory: stated(limits.max_memory_mb).unwrap_or_else(memory),
            disk: stated(limits.max_disk_mb).unwrap_or_else(disk),
            device: device_of(demand.work_dir)?,
        })
    }
}

impl Held {
    pub(super) fn take(&mut self, claim: &Claim) {
        self.attempts += 1;
        self.cpu_percent = self.cpu_percent.saturating_add(claim.cpu_percent);
        self.memory = self.memory.saturating_add(claim.memory);
        let disk = self.disks.entry(claim.device).or_default();
        *disk = disk.saturating_add(claim.disk);
    }

    pub(super) fn give_back(&mut self, claim: &Claim) {
        self.attempts = self.attempts.saturating_sub(1);
        self.cpu_percent = self.cpu_percent.saturating_sub(claim.cpu_percent);
        self.memory = self.memory.saturating_sub(claim.memory);
        if let Some(disk) = self.disks.get_mut(&claim.device) {
            *disk = disk.saturating_sub(claim.disk);
        }
        self.disks.retain(|_, bytes| *bytes > 0);
    }
}

/// A claim that is held.
struct Loan {
    held: Arc<Mutex<Held>>,
    claim: Claim,
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).give_back(&self.claim);
    }
}

/// The rules of admission: first what hurts everybody, then what this attempt lacks.
pub(super) fn decide(budget: &Budget, held: &Held, claim: &Claim, seen: &Seen) -> Admission {
    if let Some(reason) = machine_refuses(budget, held, seen).or_else(|| lacks(budget, held, claim, seen)) {
        return Admission::Refused(reason);
    }
    match seen.disk.free_percent() {
        free if free < 2.0 * f64::from(budget.min_free_disk_percent) => {
            Admission::Warned(format!("only {free:.1} % of the disk is free"))
        }
        _ => Admission::Admitted,
    }
}

fn machine_refuses(budget: &Budget, held: &Held, seen: &Seen) -> Option<String> {
    let (free, least) = (seen.disk.free_percent(), budget.min_free_disk_percent);
    if free < f64::from(least) {
        return Some(format!("{free:.1} % of the disk is free; at least {least} % must be"));
    }
    let further = seen.strain.further.as_ref().filter(|_| held.attempts > 0);
    seen.strain.all.as_ref().or(further).cloned()
}

fn lacks(budget: &Budget, held: &Held, claim: &Claim, seen: &Seen) -> Option<String> {
    let short = |what: &str, needed: u64, left: u64| {
        let (needed_mb, left_mb) = (needed.div_ceil(MIB), left / MIB);
        (needed > left).then(|| format!("the attempt may use {needed_mb} MB of {what} and {left_mb} MB are left"))
    };
    let disk = short("disk", claim.disk, disk_left(budget, held, seen, claim.device));
    let memory = || short("memory", claim.memory, memory_left(budget, held, seen)?);
    let cpu = || {
        let (wanted, given) = (claim.cpu_percent, budget.cpu_given_percent);
        (held.cpu_percent.saturating_add(wanted) > given).then(|| {
            format!("the attempt counts as {wanted} % of a core and {} % of {given} % are given out", held.cpu_percent)
        })
    };
    let overcommit = || {
        seen.strain
            .overcommit
            .clone()
            .filter(|_| held.cpu_percent.saturating_add(claim.cpu_percent) > budget.cpu_percent)
    };
    disk.or_else(memory).or_else(cpu).or_else(overcommit)
}

fn memory_left(budget: &Budget, held: &Held, seen: &Seen) -> Option<u64> {
    let unreserved = budget.memory_bytes.map(|budget| budget.saturating_sub(held.memory));
    let still_taken = held.memory.saturating_sub(seen.memory_used);
    let free = seen.memory_available.map(|available| available.saturating_sub(still_taken));
    unreserved.into_iter().chain(free).min()
}

fn disk_left(budget: &Budget, held: &Held, seen: &Seen, device: u64) -> u64 {
    let reserved = held.disks.get(&device).copied().unwrap_or(0);
    seen.disk.available.min(budget.disk_bytes.unwrap_or(u64::MAX)).saturating_sub(reserved)
}

fn device_of(folder: &Path) -> Result<u64> {
    let stat = rustix::fs::stat(folder).map_err(|error| {
        Error::new(Code::Storage, format!("cannot look at {}", folder.display()))
            .operation("governor.disk")
            .source(error)
    })?;
    Ok(stat.st_dev)
}
