//! The `ResourceGovernor` trait: room on the machine, limits on processes, and what they used.

use std::any::Any;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::job::{EnergySource, ResourceLimits};
use crate::media::named_enum;
use crate::node::{Safeguard, Telemetry};
use crate::units::Joules;

/// Answer to a request for room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    /// There is room.
    Admitted,
    /// There is room, but something is getting short; the reason in words.
    Warned(String),
    /// There is no room now; the reason in words.
    Refused(String),
}

named_enum!(
    /// A limit that can be put on a process and its children.
    Limit, "limit" {
        /// Share of the processor.
        Cpu "cpu",
        /// Memory, with no way out into swap.
        Memory "memory",
        /// Processes and threads.
        Pids "pids",
        /// Rates of reading and writing block devices.
        Io "io",
        /// Bytes on disk.
        Disk "disk",
        /// Wall time.
        Timeout "timeout",
        /// Scheduling priority.
        Nice "nice",
    }
);

/// Limits on a process and its children. What is absent stays as it was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProcessLimits {
    /// Percent of one core: 200 is two cores.
    pub cpu_percent: Option<u32>,
    /// Share of the processor among those that compete for it, 1 to 10,000; 100 is everybody's.
    pub cpu_weight: Option<u32>,
    /// Bytes of memory.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub max_processes: Option<u32>,
    /// Rates per block device.
    pub io: Vec<IoLimit>,
    /// Scheduling priority, -20 to 19.
    pub nice: Option<i32>,
    /// Index of the graphics processor that it drives, so that its part of the energy is found.
    pub gpu: Option<u32>,
}

impl From<&ResourceLimits> for ProcessLimits {
    /// CPU and memory; the rest is not a process's.
    fn from(limits: &ResourceLimits) -> Self {
        Self {
            cpu_percent: limits.max_cpu_percent,
            memory_bytes: limits.max_memory_mb.map(|mb| mb.saturating_mul(1 << 20)),
            ..Self::default()
        }
    }
}

/// Rates of one block device. What is absent is unbounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoLimit {
    /// Major and minor number of the device.
    pub device: (u32, u32),
    /// Bytes read per second.
    pub read_bytes: Option<u64>,
    /// Bytes written per second.
    pub write_bytes: Option<u64>,
    /// Reads per second.
    pub reads: Option<u64>,
    /// Writes per second.
    pub writes: Option<u64>,
}

/// What a process and its children have used so far, and what their limits did to them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system CPU time.
    pub cpu: Duration,
    /// Largest resident memory in bytes.
    pub peak_memory_bytes: u64,
    /// Time for which the limit on the processor held it back.
    pub throttled: Duration,
    /// Processes in it that the kernel killed for memory.
    pub oom_kills: u64,
    /// Bytes read from and written to block devices, where they are counted.
    pub io: Option<(u64, u64)>,
    /// Energy attributed to it, and how it was found.
    pub energy: Option<(Joules, EnergySource)>,
}

/// What an attempt will take of the machine.
#[derive(Clone, Copy, Debug)]
pub struct Demand<'a> {
    /// Its limits; what is absent takes the defaults of [`crate::policy::limits`].
    pub limits: &'a ResourceLimits,
    /// Whether it encodes on a graphics processor.
    pub gpu: bool,
    /// A directory on the disk that it fills.
    pub work_dir: &'a Path,
}

/// What of the machine is still to be given out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// Memory in bytes, if the machine tells.
    pub memory_bytes: Option<u64>,
    /// Disk in bytes, if the machine tells.
    pub disk_bytes: Option<u64>,
    /// Encode sessions of graphics processors; `None` where nobody counts them, and then an attempt
    /// gets none set aside.
    pub gpu_sessions: Option<u32>,
    /// Why no further attempt shall begin now, in words: a full disk, pressure, heat.
    pub held_back: Option<String>,
}

/// A part of the machine that was set aside for an attempt; dropped, it is free again.
pub struct Reservation {
    gpu: Option<u32>,
    warning: Option<String>,
    _held: Box<dyn Any + Send + Sync>,
}

impl Reservation {
    /// A reservation; `held` gives back what was set aside when it is dropped.
    pub fn new(gpu: Option<u32>, warning: Option<String>, held: impl Any + Send + Sync) -> Self {
        Self { gpu, warning, _held: Box::new(held) }
    }

    /// Index of the graphics processor on which a session was set aside.
    #[must_use]
    pub fn gpu(&self) -> Option<u32> {
        self.gpu
    }

    /// What is getting short, in words.
    #[must_use]
    pub fn warning(&self) -> Option<&str> {
        self.warning.as_deref()
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reservation").field("gpu", &self.gpu).field("warning", &self.warning).finish_non_exhaustive()
    }
}

/// Admits attempts, puts processes under limits, and tells how the machine is.
///
/// # Contract
/// - `limits` names every [`Limit`] once, in force or not and why; those in force hold even against
///   a process that ignores them, the others are only watched. It never changes.
/// - `room` and `reserve` decide by the state of the machine and by what is reserved. Two
///   reservations never hold the same memory, disk or session.
/// - `govern` puts a running process, the children that it has and those to come under the limits;
///   the guard lifts them and removes what was made for it when it is dropped. What lives on goes
///   back to where it was. A process that has ended is no error.
/// - `telemetry` never fails: what a machine does not tell is absent.
pub trait ResourceGovernor: Send + Sync + 'static {
    /// Name for people.
    fn name(&self) -> &'static str;

    /// Every limit by its name: in force by what means, or only watched and why.
    fn limits(&self) -> Vec<Safeguard>;

    /// Limits that really hold.
    fn enforced(&self) -> Vec<Limit> {
        let named = |guard: Safeguard| guard.name.parse().ok().filter(|_| guard.on);
        self.limits().into_iter().filter_map(named).collect()
    }

    /// Whether an attempt may start now. Sets nothing aside.
    ///
    /// # Errors
    /// `storage` if the disk cannot be asked.
    fn admit(&self, demand: &Demand<'_>) -> Result<Admission>;

    /// Sets aside what an attempt will take.
    ///
    /// # Errors
    /// `no_room` with the reason for which [`Self::admit`] refuses it; `storage`.
    fn reserve(&self, demand: &Demand<'_>) -> Result<Reservation>;

    /// What is still to be given out; `work_dir` names the disk.
    fn room(&self, work_dir: &Path) -> Room;

    /// Puts a process under limits.
    ///
    /// # Errors
    /// `storage` if the kernel refuses what `limits` promised; `invalid_field` for limits that
    /// cannot be, such as none of the memory.
    fn govern(&self, pid: u32, limits: &ProcessLimits) -> Result<Box<dyn Governed>>;

    /// How the machine is; `work_dir` names the disk.
    fn telemetry(&self, work_dir: &Path) -> Telemetry;
}

/// A process and its children under limits.
pub trait Governed: Send + Sync {
    /// What they have used so far. Remembered when they have ended.
    fn usage(&self) -> Usage;

    /// Tells of the processor time of all of them that the caller knows of otherwise, such as from
    /// waiting for them. A governor that only looks, and sees what has ended no more, takes it where
    /// it is more than it has seen; one that counts by itself does not.
    fn count(&self, cpu: Duration) {
        let _ = cpu;
    }

    /// Puts other limits on them; what is absent stays as it was. So a process can be governed in
    /// reserve, which may take the kernel a while, and be limited when its work is known. `false` if
    /// this governor has no means to: the caller governs the process anew.
    ///
    /// # Errors
    /// Those of [`ResourceGovernor::govern`].
    fn limit(&self, limits: &ProcessLimits) -> Result<bool> {
        let _ = limits;
        Ok(false)
    }

    /// Stops all of them at once, or lets them go on. `false` if this governor has no means to: the
    /// caller sends signals then.
    ///
    /// # Errors
    /// `storage` if the kernel refuses.
    fn freeze(&self, frozen: bool) -> Result<bool> {
        let _ = frozen;
        Ok(false)
    }

    /// Kills all of them, whatever they do. `false` as for [`Self::freeze`].
    ///
    /// # Errors
    /// `storage` if the kernel refuses.
    fn kill(&self) -> Result<bool> {
        Ok(false)
    }
}
