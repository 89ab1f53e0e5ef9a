//! A process and its family in a group: moved in, counted, and moved back.

use std::collections::BTreeMap;
use std::fs;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Governed, ProcessLimits, Usage};

use super::group::{Group, Pause};
use super::kinship::family;
use super::layout::{LEAF, Layout, Tree};
use super::mounts::Version;
use crate::nice::{Watched, lower_priority};
use crate::probe::Root;
use crate::probe::cgroup::{self, Membership, parse_membership};

/// How long what lives on may take to be moved back.
const PATIENCE: Duration = Duration::from_secs(2);
/// A family that forks faster than it can be moved is given up after so many rounds; its limits
/// hold for those that are in.
const ROUNDS: usize = 100;

/// Processes in a group; dropped, they are back where they were and the group is gone.
pub(crate) struct Guard {
    root: Root,
    layout: Arc<Layout>,
    group: Group,
    /// Where each process was.
    homes: BTreeMap<u32, Membership>,
    pid: u32,
    watched: Watched,
    seen: Mutex<Usage>,
}

impl Guard {
    /// A guard over an empty group for a process, which is not in it yet.
    pub(crate) fn new(root: &Root, layout: Arc<Layout>, group: Group, pid: u32) -> Self {
        let watched = Watched::new(root.clone(), pid);
        let (homes, seen) = (BTreeMap::new(), Mutex::default());
        Self { root: root.clone(), layout, group, homes, pid, watched, seen }
    }

    /// Moves the process and its descendants in, also those that are born meanwhile.
    pub(crate) fn filled(mut self) -> Result<Self> {
        self.adopt(self.pid)?;
        for _ in 0..ROUNDS {
            let mut newcomers = family(&self.root, self.pid);
            newcomers.retain(|kin| !self.homes.contains_key(kin));
            if newcomers.is_empty() {
                break;
            }
            newcomers.into_iter().try_for_each(|kin| self.adopt(kin))?;
        }
        Ok(self)
    }

    fn adopt(&mut self, pid: u32) -> Result<()> {
        let told = self.root.text(&format!("proc/{pid}/cgroup")).unwrap_or_default();
        // Who was born inside is in it already and goes where its ancestor was.
        if self.group.seats_in(&told) < self.group.seats.len() {
            self.homes.insert(pid, parse_membership(&told));
            self.group.add(pid)?;
        } else if let Some(home) = self.homes.get(&self.pid).cloned() {
            self.homes.insert(pid, home);
        }
        Ok(())
    }

    /// Moves back what lives on. One that was born inside goes where the governed process was.
    fn release(&self) {
        let until = Instant::now() + PATIENCE;
        let mut pause = Pause::default();
        loop {
            let left = self.group.pids();
            if left.is_empty() || Instant::now() > until {
                return;
            }
            for pid in left {
                let home = self.homes.get(&pid).or_else(|| self.homes.get(&self.pid));
                self.layout.trees.iter().for_each(|tree| send(tree, home, pid));
            }
            pause.sleep();
        }
    }
}

/// Moves a process to its home in one tree; to the group above ours if that is gone.
fn send(tree: &Tree, home: Option<&Membership>, pid: u32) {
    let path = home.and_then(|home| match tree.mount.version {
        Version::V2 => home.unified.as_deref(),
        Version::V1 => {
            let name = tree.controllers.first()?.name(Version::V1);
            home.named.iter().find(|(named, _)| named == name).map(|(_, path)| path.as_str())
        }
    });
    let was = path.and_then(|path| tree.mount.folder(path));
    let places = was.into_iter().chain([tree.folder.clone(), tree.folder.join(LEAF)]);
    for place in places {
        let file = fs::OpenOptions::new().write(true).open(place.join("cgroup.procs"));
        let moved = file.and_then(|mut file| std::io::Write::write_all(&mut file, pid.to_string().as_bytes()));
        match moved {
            Ok(()) => return,
            // It has ended.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => return,
            Err(_) => {}
        }
    }
}

impl Governed for Guard {
    fn limit(&self, limits: &ProcessLimits) -> Result<bool> {
        super::limits::check(limits)?;
        super::limits::apply(&self.group, limits, cgroup::cpu_quota(&self.root))?;
        if let Some(nice) = limits.nice {
            lower_priority(self.pid, nice)?;
        }
        Ok(true)
    }

    fn usage(&self) -> Usage {
        let counted = self.group.counted();
        let watched = self.watched.usage();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        // The kernel's numbers only grow; a group that is gone leaves those that were seen.
        seen.cpu = seen.cpu.max(counted.cpu.unwrap_or(watched.cpu));
        // Memory that it had before it was moved is not counted in the group.
        let peak = counted.peak_memory_bytes.unwrap_or(0).max(watched.peak_memory_bytes);
        seen.peak_memory_bytes = seen.peak_memory_bytes.max(peak);
        seen.throttled = seen.throttled.max(counted.throttled.unwrap_or_default());
        seen.oom_kills = seen.oom_kills.max(counted.oom_kills.unwrap_or(0));
        seen.io = counted.io.or(seen.io);
        *seen
    }

    fn freeze(&self, frozen: bool) -> Result<bool> {
        self.group.freeze(frozen)
    }

    fn kill(&self) -> Result<bool> {
        self.group.kill().map(|()| true)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if !self.group.pids().is_empty() {
            // What cannot be thawed is thawed by being moved out.
            let _ = self.group.freeze(false);
            self.release();
        }
        // A group that cannot be removed now is a leftover, which the next start removes.
        self.group.remove();
    }
}
