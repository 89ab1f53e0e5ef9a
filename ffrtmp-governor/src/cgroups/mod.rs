//! Limits by control groups, version 1, version 2 and both side by side.
//!
//! | module | subject |
//! |---|---|
//! | `mounts` | which trees are mounted |
//! | `layout` | which controller is where, or why it cannot be had |
//! | `delegation` | version 2: controllers for groups that will be made |
//! | `owner` | names of groups, which say whose they are |
//! | `sweep` | leftovers of earlier lives |
//! | `group` | one group in all trees: members, freezing, killing, removing, counts |
//! | `limits` | limits into its files |
//! | `stats` | parsers of what it counts |
//! | `kinship` | who descends from a process |
//! | `reasons` | why limits cannot be had |
//! | `guard` | a process in a group, and its way back |
//!
//! What is not here: admission and telemetry, which [`NiceGovernor`] has, and time and disk, which
//! the agent holds.

mod delegation;
mod group;
mod guard;
mod kinship;
mod layout;
mod limits;
mod mounts;
mod owner;
mod reasons;
mod stats;
mod sweep;
#[cfg(test)]
mod tests;

pub(crate) use limits::by_the_agent;
pub(crate) use owner::Owner;
pub use owner::Ownership;
pub use reasons::WhyNot;

use std::fs::OpenOptions;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Admission, Demand, Governed, ProcessLimits, Reservation, ResourceGovernor, Room};
use ffrtmp_core::node::{Safeguard, Telemetry};
use ffrtmp_core::policy::limits::DEFAULT_NICE;

use crate::NiceGovernor;
use crate::nice::Watched;
use crate::probe::{self, Root};
use group::Group;
use guard::Guard;
use layout::{Controller, Layout};
use limits::Swap;

/// Puts processes into control groups.
///
/// Groups are made below the group in which this process was started, so that limits of a
/// container or a service hold for them too.
#[derive(Debug)]
pub struct CgroupGovernor {
    root: Root,
    layout: Arc<Layout>,
    owner: Owner,
    nice: NiceGovernor,
    priority: i32,
    limits: Vec<Safeguard>,
    swept: Vec<String>,
}

impl CgroupGovernor {
    /// The governor for this machine. It moves this process into a leaf of its group where version
    /// 2 asks for it, and removes what earlier lives of an owner left.
    ///
    /// Processes of [`Ownership::Attempts`] get priority 10 unless their limits say another; those
    /// of [`Ownership::Foreign`] keep theirs.
    ///
    /// # Errors
    /// Why no limit at all can be had, in words.
    pub fn detect(ownership: Ownership) -> std::result::Result<Self, WhyNot> {
        Self::with_nice(ownership, DEFAULT_NICE)
    }

    /// The same with another priority for attempts, -20 to 19.
    ///
    /// # Errors
    /// Those of [`Self::detect`].
    pub fn with_nice(ownership: Ownership, nice: i32) -> std::result::Result<Self, WhyNot> {
        let root = Root::default();
        let owner = Owner::this_process(&root, ownership).ok_or("/proc does not tell about this process")?;
        let mut layout = Layout::read(&root);
        delegation::prepare(&root, &mut layout);
        let swap = try_out(&mut layout, &owner)?;
        if Controller::LIMITING.iter().all(|controller| layout.tree(*controller).is_none()) {
            return Err(WhyNot::of_layout(&layout));
        }
        let priority = nice.clamp(-20, 19);
        let swept = sweep::leftovers(&root, &layout);
        Ok(Self {
            limits: limits::safeguards(&layout, swap, ownership, priority),
            layout: Arc::new(layout),
            nice: NiceGovernor::with_nice(priority),
            root,
            owner,
            priority,
            swept,
        })
    }

    /// Names of the groups of earlier lives that were removed at the start.
    #[must_use]
    pub fn swept(&self) -> &[String] {
        &self.swept
    }

    /// Priority for a process; none if it keeps its own.
    fn priority(&self, limits: &ProcessLimits) -> Option<i32> {
        let attempts = self.owner.ownership == Ownership::Attempts;
        limits.nice.or(attempts.then_some(self.priority))
    }
}

impl ResourceGovernor for CgroupGovernor {
    fn name(&self) -> &'static str {
        "cgroups"
    }

    fn limits(&self) -> Vec<Safeguard> {
        self.limits.clone()
    }

    fn admit(&self, demand: &Demand<'_>) -> Result<Admission> {
        self.nice.admit(demand)
    }

    fn reserve(&self, demand: &Demand<'_>) -> Result<Reservation> {
        self.nice.reserve(demand)
    }

    fn room(&self, work_dir: &Path) -> Room {
        self.nice.room(work_dir)
    }

    fn govern(&self, pid: u32, limits: &ProcessLimits) -> Result<Box<dyn Governed>> {
        limits::check(limits)?;
        if probe::process::read(&self.root, pid).is_none() {
            return Ok(Box::new(Watched::new(self.root.clone(), pid)));
        }
        let group = Group::create(&self.layout, &self.owner.group(serial()))?;
        let guard = Guard::new(&self.root, Arc::clone(&self.layout), group, pid);
        guard.limit(&ProcessLimits { nice: self.priority(limits), ..limits.clone() })?;
        Ok(Box::new(guard.filled()?))
    }

    fn telemetry(&self, work_dir: &Path) -> Telemetry {
        self.nice.telemetry(work_dir)
    }
}

/// Tells the groups of this process apart.
fn serial() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// Makes a group and looks whether the kernel lets its limits be written; controllers for which it
/// does not are lost.
fn try_out(layout: &mut Layout, owner: &Owner) -> std::result::Result<Swap, WhyNot> {
    if layout.trees.iter().all(|tree| tree.controllers.is_empty()) {
        return Err(WhyNot::of_layout(layout));
    }
    let group = Group::create(layout, &owner.group(serial())).map_err(|error| error.to_string())?;
    let refused = |controller: Controller| {
        let seat = group.seat(controller)?;
        let file = seat.folder.join(limits::file(controller, seat.version)?);
        let error = OpenOptions::new().write(true).open(&file).err()?;
        Some((controller, format!("{}: {error}", file.display())))
    };
    let lost: Vec<_> = Controller::LIMITING.into_iter().filter_map(refused).collect();
    layout.lose(lost);
    let memory = group.seat(Controller::Memory);
    let swap = memory.is_some_and(|seat| seat.folder.join(limits::swap_file(seat)).exists());
    group.remove();
    Ok(if swap { Swap::Off } else { Swap::Unlimited })
}
