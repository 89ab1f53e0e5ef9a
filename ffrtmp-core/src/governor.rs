//! The `ResourceGovernor` trait: budgets, limits, and what a process used.

use std::path::Path;
use std::time::Duration;

use crate::error::Result;
use crate::job::ResourceLimits;
use crate::node::Telemetry;

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

/// A limit that can be put on a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Share of the processor.
    Cpu,
    /// Resident memory.
    Memory,
    /// Bytes on disk.
    Disk,
    /// Wall time.
    Timeout,
    /// Scheduling priority.
    Nice,
}

impl Limit {
    /// Every limit.
    pub const ALL: &'static [Self] = &[Self::Cpu, Self::Memory, Self::Disk, Self::Timeout, Self::Nice];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Timeout => "timeout",
            Self::Nice => "nice",
        }
    }
}

/// What a process has used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// User and system CPU time.
    pub cpu: Duration,
    /// Largest resident memory in bytes.
    pub peak_memory_bytes: u64,
}

/// Admits attempts, puts processes under limits, and tells how the machine is.
///
/// # Contract
/// - `admit` decides by the state of the machine alone and starts nothing.
/// - `enforced` names exactly the limits that hold even against a process that ignores them;
///   what it does not name is only watched.
/// - `govern` puts a running process and its later children under the limits; the guard lifts
///   them and removes what was made for it when it is dropped.
/// - `telemetry` never fails: what a machine does not tell is absent.
pub trait ResourceGovernor: Send + Sync + 'static {
    /// Name for people.
    fn name(&self) -> &'static str;

    /// Limits that really hold.
    fn enforced(&self) -> Vec<Limit>;

    /// Whether an attempt may start now with `work_dir` on its disk.
    fn admit(&self, limits: &ResourceLimits, work_dir: &Path) -> Result<Admission>;

    /// Puts a process under limits.
    ///
    /// # Errors
    /// `storage` if the kernel refuses what `enforced` promised.
    fn govern(&self, pid: u32, limits: &ResourceLimits) -> Result<Box<dyn Governed>>;

    /// How the machine is; `work_dir` names the disk.
    fn telemetry(&self, work_dir: &Path) -> Telemetry;
}

/// A process under limits.
pub trait Governed: Send {
    /// What it has used so far.
    fn usage(&self) -> Usage;
}
