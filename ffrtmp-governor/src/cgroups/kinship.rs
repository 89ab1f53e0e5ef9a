//! Who descends from a process, from `/proc`.

use std::collections::{BTreeMap, BTreeSet};

use crate::probe::Root;

/// A process and all that descend from it at this moment.
pub(crate) fn family(root: &Root, ancestor: u32) -> BTreeSet<u32> {
    let pids = root.names("proc").into_iter().filter_map(|name| name.parse::<u32>().ok());
    let parents = pids.filter_map(|pid| Some((pid, parent(&root.text(&format!("proc/{pid}/stat"))?)?)));
    descendants(&parents.collect(), ancestor)
}

/// Reads the parent from `/proc/PID/stat`; the name before it may hold anything.
fn parent(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn descendants(parents: &BTreeMap<u32, u32>, ancestor: u32) -> BTreeSet<u32> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    for (pid, parent) in parents {
        children.entry(*parent).or_default().push(*pid);
    }
    let mut family = BTreeSet::from([ancestor]);
    let mut next = vec![ancestor];
    while let Some(pid) = next.pop() {
        let born = children.remove(&pid).unwrap_or_default();
        next.extend(born.into_iter().filter(|child| family.insert(*child)));
    }
    family
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families() {
        let parents = BTreeMap::from([(1, 0), (2, 1), (3, 2), (4, 2), (5, 4), (6, 1), (7, 8), (8, 7)]);
        assert_eq!(descendants(&parents, 2), BTreeSet::from([2, 3, 4, 5]));
        assert_eq!(descendants(&parents, 9), BTreeSet::from([9]));
        assert_eq!(descendants(&parents, 7), BTreeSet::from([7, 8]), "a circle, read while ids were reused");
        assert_eq!(parent("42 (a) (b 9 9) R 17 42"), Some(17));
        assert_eq!(parent("42 (x"), None);
    }
}
