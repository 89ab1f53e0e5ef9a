//! A process and those that came of it.

use std::collections::{BTreeMap, BTreeSet};

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::process::{self, Identity, Stat};
use crate::probe::Root;

/// Where the members of a family are looked for.
#[derive(Clone, Debug)]
pub(super) struct Family {
    root: Root,
    head: Identity,
    /// A process group that is theirs alone.
    pub(super) group: Option<u32>,
    /// Whose children their orphans become, if it is this process.
    pub(super) orphans_of: Option<u32>,
}

impl Family {
    pub(super) fn of(root: Root, head: Identity) -> Self {
        Self { root, head, group: None, orphans_of: None }
    }

    /// The living members, the head first if it lives.
    pub(super) fn members(&self) -> Vec<Stat> {
        let every = process::all(&self.root);
        let mut found = BTreeSet::new();
        if every.get(&self.head.pid).is_some_and(|stat| stat.identity == self.head) {
            found.insert(self.head.pid);
        }
        if let Some(group) = self.group {
            found.extend(every.values().filter(|stat| stat.group == group).map(|stat| stat.identity.pid));
        }
        if let Some(parent) = self.orphans_of {
            found.extend(every.values().filter(|stat| stat.parent == parent).map(|stat| stat.identity.pid));
        }
        add_children(&every, &mut found);
        let living = found.into_iter().filter_map(|pid| every.get(&pid)).filter(|stat| !stat.has_ended());
        let mut members: Vec<_> = living.cloned().collect();
        members.sort_by_key(|stat| (stat.identity != self.head, stat.identity.started, stat.identity.pid));
        members
    }

    /// Sends a signal to every living member; how many got it.
    pub(super) fn signal(&self, signal: Signal) -> usize {
        self.members().iter().filter(|member| send(&self.root, member.identity, signal)).count()
    }
}

/// Adds the children of those that were found, and theirs.
pub(super) fn add_children(every: &BTreeMap<u32, Stat>, found: &mut BTreeSet<u32>) {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for stat in every.values() {
        children.entry(stat.parent).or_default().push(stat.identity.pid);
    }
    let mut fresh: Vec<u32> = found.iter().copied().collect();
    while let Some(parent) = fresh.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if found.insert(*child) {
                fresh.push(*child);
            }
        }
    }
}

/// The parents of a process, the nearest first.
pub(super) fn ancestors(every: &BTreeMap<u32, Stat>, pid: u32) -> Vec<u32> {
    let mut line = Vec::new();
    let mut now = pid;
    while let Some(parent) = every.get(&now).map(|stat| stat.parent).filter(|parent| *parent != 0) {
        // A table that was read while processes ended may hold a circle.
        if line.contains(&parent) || parent == pid {
            break;
        }
        line.push(parent);
        now = parent;
    }
    line
}

/// Sends a signal to this very process and to no later one with its id.
fn send(root: &Root, to: Identity, signal: Signal) -> bool {
    let Some(pid) = i32::try_from(to.pid).ok().and_then(Pid::from_raw) else { return false };
    let Ok(descriptor) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    let same = process::stat(root, to.pid).is_some_and(|stat| stat.identity == to);
    same && pidfd_send_signal(&descriptor, signal).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervise::process::parse_stat;

    fn table(rows: &[(u32, u32)]) -> BTreeMap<u32, Stat> {
        let stat = |(pid, parent): &(u32, u32)| {
            let text = format!("{pid} (x) S {parent} 0 0 0 -1 0 0 0 0 0 0 0 0 0 0 0 1 0 {pid} 0 0");
            (*pid, parse_stat(&text).expect("a process"))
        };
        rows.iter().map(stat).collect()
    }

    #[test]
    fn lines_of_descent_end_also_in_a_circle() {
        let every = table(&[(1, 0), (5, 1), (6, 5), (7, 6), (8, 1), (20, 21), (21, 20)]);
        let mut found = BTreeSet::from([5]);
        add_children(&every, &mut found);
        assert_eq!(found, BTreeSet::from([5, 6, 7]));
        assert_eq!(ancestors(&every, 7), [6, 5, 1]);
        assert_eq!(ancestors(&every, 20), [21]);
        let mut circle = BTreeSet::from([20]);
        add_children(&every, &mut circle);
        assert_eq!(circle, BTreeSet::from([20, 21]));
    }
}
