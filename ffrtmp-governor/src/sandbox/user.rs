//! The layer `user`: where the agent is root, an attempt is not.
//!
//! Outputs are made beforehand in directories of root, inputs may be closed to others, and nothing
//! of that changes its owner for an attempt. So three cases, by what the unprivileged user reaches:
//!
//! 1. It reaches everything: all ids are those of that user.
//! 2. It does not, but root reaches everything by ownership: the user is unprivileged in all that it
//!    does to other processes, and files are judged as root's. Which of them it reaches, the layers
//!    `mounts` and `landlock` decide: without them, it could write what root owns.
//! 3. Even root reaches it only by privilege: that one privilege stays, bound by the same layers, and
//!    the layer `capabilities` says so.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, AtFlags, CWD};
use rustix::io::Errno;
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_keep_capabilities, set_thread_groups,
    set_thread_res_gid, set_thread_res_uid,
};

use super::places::{Places, Right};
use super::{refused, sys};

/// What had to stay, and for which file.
#[derive(Debug)]
pub(super) struct Left {
    pub(super) privileges: CapabilitySet,
    pub(super) path: Option<PathBuf>,
}

impl Default for Left {
    fn default() -> Self {
        Self { privileges: CapabilitySet::empty(), path: None }
    }
}

/// Becomes this user and group, if the process is root. Privileges stay for the layers to come.
pub(super) fn leave_root(uid: u32, gid: u32, places: &Places) -> Result<(String, Left), String> {
    if !geteuid().is_root() {
        return Ok((format!("user {} already", geteuid().as_raw()), Left::default()));
    }
    if uid == 0 || uid == u32::MAX || gid == u32::MAX {
        return Err(format!("{uid}:{gid} is no unprivileged user"));
    }
    let closed = become_user(uid, gid, places).map_err(|error| format!("cannot become user {uid}: {error}"))?;
    let Some(closed) = closed else { return Ok((format!("user {uid}"), Left::default())) };
    if !sys::set_file_ids(0, 0) {
        return Err(format!("user {uid} reaches not {}, and root's files cannot be kept", closed.display()));
    }
    let left = what_root_lacks(places).map_err(refused)?;
    Ok((format!("user {uid}; files as root, since {} is closed to that user", closed.display()), left))
}

/// Becomes the user in earnest; tells the first place that it does not reach.
fn become_user(uid: u32, gid: u32, places: &Places) -> Result<Option<PathBuf>, Errno> {
    let (user, group) = (Uid::from_raw(uid), Gid::from_raw(gid));
    set_thread_groups(&[])?;
    set_thread_res_gid(group, group, group)?;
    set_keep_capabilities(true)?;
    set_thread_res_uid(user, user, user)?;
    // The change took away the privileges in effect, so this asks as the bare user.
    let closed = first_closed(places, None);
    let sets = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: sets.permitted, ..sets })?;
    Ok(closed)
}

/// Privileges without which root does not reach its places.
fn what_root_lacks(places: &Places) -> Result<Left, Errno> {
    let sets = capabilities(None)?;
    set_capabilities(None, CapabilitySets { effective: CapabilitySet::empty(), ..sets })?;
    let (read, write) = (first_closed(places, Some(Right::Read)), first_closed(places, Some(Right::Write)));
    set_capabilities(None, CapabilitySets { effective: sets.permitted, ..sets })?;
    let mut privileges = CapabilitySet::empty();
    privileges.set(CapabilitySet::DAC_READ_SEARCH, read.is_some() && write.is_none());
    privileges.set(CapabilitySet::DAC_OVERRIDE, write.is_some());
    Ok(Left { privileges, path: write.or(read) })
}

/// The first place of the task that exists and that this process, as it is now, cannot use.
fn first_closed(places: &Places, only: Option<Right>) -> Option<PathBuf> {
    let asked = places.of_task.iter().filter(|(_, right)| only.is_none_or(|only| only == *right));
    asked
        .map(|(path, right)| (path, *right))
        .find(|(path, right)| is_closed(path, *right))
        .map(|(path, _)| path.clone())
}

fn is_closed(path: &Path, right: Right) -> bool {
    let mut access = Access::READ_OK;
    access.set(Access::WRITE_OK, right == Right::Write);
    access.set(Access::EXEC_OK, path.is_dir());
    matches!(rustix::fs::accessat(CWD, path, access, AtFlags::EACCESS), Err(Errno::ACCESS | Errno::PERM))
}
