//! Removes what earlier lives of an owner left behind.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::group::{Group, Seat};
use super::layout::Layout;
use super::owner::{Owner, Ownership};
use crate::probe::Root;

/// Folders that are looked at in one tree at most; our own and those around it come first.
const MOST: usize = 4096;

/// Groups of owners that have ended: empty ones are removed, attempts in them are killed first,
/// workloads of others stay until they end. Gives back the names of those removed.
pub(crate) fn leftovers(root: &Root, layout: &Layout) -> Vec<String> {
    let mut groups = BTreeMap::<String, Group>::new();
    for tree in &layout.trees {
        for folder in left_in(root, &tree.folder, &tree.mount.point) {
            let name = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let seat = Seat { version: tree.mount.version, controllers: tree.controllers.clone(), folder };
            groups.entry(name).or_default().seats.push(seat);
        }
    }
    groups.retain(|name, group| clear(name, group));
    groups.into_keys().collect()
}

fn clear(name: &str, group: &Group) -> bool {
    let attempts = Owner::of(name).is_some_and(|owner| owner.ownership == Ownership::Attempts);
    let empty = group.pids().is_empty();
    // What cannot be killed now is tried again at the next start.
    (empty || (attempts && group.kill().is_ok())) && group.remove()
}

/// Walks a tree: the folder that is ours first, then from the top, for a leftover may be where an
/// earlier life was started.
fn left_in(root: &Root, own: &Path, top: &Path) -> Vec<PathBuf> {
    let mut left = Vec::new();
    let mut seen = 0;
    let mut next = vec![top.to_owned(), own.to_owned()];
    while let Some(folder) = next.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = entry.path();
            match entry.file_name().to_str().and_then(Owner::of) {
                Some(owner) if owner.is_gone(root) && !left.contains(&path) => left.push(path),
                Some(_) => {}
                None if seen < MOST => next.push(path),
                None => {}
            }
            seen += 1;
        }
    }
    left
}
