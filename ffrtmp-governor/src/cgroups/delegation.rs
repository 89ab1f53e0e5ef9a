//! Makes the folder of version 2 ready to have groups with controllers in it.
//!
//! Only a group without processes of its own may pass controllers on, so the agent moves itself
//! into a leaf of the group that was delegated to it. Groups of others are never touched.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::Path;

use super::group::procs;
use super::kinship::family;
use super::layout::{Controller, LEAF, Layout, Tree};
use super::mounts::Version;
use crate::probe::Root;

/// Passes the controllers of version 2 on to groups that will be made. What cannot be passed on is
/// lost to the layout with the reason.
pub(crate) fn prepare(root: &Root, layout: &mut Layout) {
    let unified = |tree: &&mut Tree| tree.mount.version == Version::V2 && !tree.controllers.is_empty();
    let Some(tree) = layout.trees.iter_mut().find(unified) else { return };
    let wanted = tree.controllers.clone();
    let lost = match hand_on(root, &tree.folder, &wanted) {
        Ok(lost) => lost,
        // Where the system's own groups can take one more, root need not be alone in its group.
        Err(why) => match top_passes_on(&tree.mount.point) {
            passed if passed.is_empty() => wanted.iter().map(|controller| (*controller, why.clone())).collect(),
            passed => {
                tree.folder.clone_from(&tree.mount.point);
                let lost = wanted.iter().filter(|controller| !passed.contains(controller));
                lost.map(|controller| (*controller, why.clone())).collect()
            }
        },
    };
    layout.lose(lost);
}

/// Controllers that the top of the tree passes on already, if groups may be made there.
fn top_passes_on(top: &Path) -> Vec<Controller> {
    match rustix::fs::access(top, rustix::fs::Access::WRITE_OK) {
        Ok(()) => passed_on(top),
        Err(_) => Vec::new(),
    }
}

fn passed_on(folder: &Path) -> Vec<Controller> {
    let text = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
    let passes = |controller: &Controller| text.split_whitespace().any(|name| name == controller.name(Version::V2));
    Controller::LIMITING.into_iter().filter(passes).collect()
}

/// Passes controllers on from a folder; gives back those that the kernel refuses.
fn hand_on(root: &Root, folder: &Path, wanted: &[Controller]) -> Result<Vec<(Controller, String)>, String> {
    let passed = passed_on(folder);
    let missing: Vec<_> = wanted.iter().filter(|controller| !passed.contains(controller)).collect();
    // The root of all groups is the exception that may have both.
    if !missing.is_empty() && folder.join("cgroup.type").exists() {
        step_aside(root, folder)?;
    }
    let control = folder.join("cgroup.subtree_control");
    let refused = |controller: &&Controller| {
        let name = controller.name(Version::V2);
        let written = write(&control, &format!("+{name}"));
        written.err().map(|error| {
            (**controller, format!("controller {name} cannot be passed on in {}: {error}", control.display()))
        })
    };
    Ok(missing.iter().filter_map(refused).collect())
}

/// Moves this process and its descendants out of a group into its leaf.
fn step_aside(root: &Root, folder: &Path) -> Result<(), String> {
    let own = family(root, std::process::id());
    let inside: BTreeSet<u32> = procs(folder).into_iter().collect();
    if let Some(stranger) = inside.difference(&own).next() {
        return Err(format!(
            "process {stranger} shares the group {}: start the agent in a group of its own, such as a systemd unit with Delegate=yes",
            folder.display()
        ));
    }
    if inside.is_empty() {
        return Ok(());
    }
    let leaf = folder.join(LEAF);
    let failed = |error: io::Error| format!("cannot move into {}: {error}", leaf.display());
    match fs::create_dir(&leaf) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(failed(error)),
        _ => {}
    }
    for pid in inside {
        match write(&leaf.join("cgroup.procs"), &pid.to_string()) {
            Err(error) if error.raw_os_error() != Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                return Err(failed(error));
            }
            _ => {}
        }
    }
    Ok(())
}

fn write(file: &Path, value: &str) -> io::Result<()> {
    io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(file)?, value.as_bytes())
}
