//! Namespaces of the kernel: the layer `network` and the ground of the layer `mounts`.
//!
//! Root takes them with its privileges. Everybody else needs a user namespace first, in which the
//! process has all privileges over the new namespaces and none over the machine.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::process::{getegid, geteuid, getppid};
use rustix::thread::{CapabilitySet, LinkNameSpaceType, capabilities, move_into_link_name_space};

use super::{Outcome, refused, sys};

/// The namespaces that this process has left behind.
#[derive(Debug, Default)]
pub(super) struct Spaces {
    user: Option<Result<(), String>>,
}

impl Spaces {
    /// Leaves every network interface behind.
    pub(super) fn network(&mut self) -> Outcome {
        self.leave(libc::CLONE_NEWNET)?;
        Ok("an empty network namespace".into())
    }

    /// Gets mounts of its own.
    pub(super) fn mounts(&mut self) -> Result<(), String> {
        self.leave(libc::CLONE_NEWNS)
    }

    /// Gets a count of processes of its own, and says whether it could.
    pub(super) fn users(&mut self) -> bool {
        self.user.get_or_insert_with(|| leave_user(false)).is_ok()
    }

    fn leave(&mut self, flag: i32) -> Result<(), String> {
        if self.user.is_none() && !may_administer() {
            self.user = Some(leave_user(true));
        }
        if let Some(Err(reason)) = &self.user {
            return Err(reason.clone());
        }
        sys::unshare(flag).map_err(refused)
    }
}

/// The way back to the network of the host, for a process that has left it with root's privileges:
/// the process above it, which is still there. Everybody else has no way back, and does not leave.
#[derive(Clone, Debug)]
pub(super) struct HostNetwork(PathBuf);

impl HostNetwork {
    /// Leaves it for an empty namespace; `None`, and nothing has changed, if there is no way back.
    pub(super) fn leave() -> Option<Self> {
        let parent = getppid()?;
        let way = Self(format!("/proc/{}/ns/net", parent.as_raw_nonzero()).into());
        // The process above may be in another one; opening it also shows that it can be opened.
        let is_same = way.place().ok()? == Self("/proc/self/ns/net".into()).place().ok()?;
        (is_same && may_administer() && sys::unshare(libc::CLONE_NEWNET).is_ok()).then_some(way)
    }

    fn place(&self) -> io::Result<(u64, u64)> {
        let place = fs::File::open(&self.0)?.metadata()?;
        Ok((place.dev(), place.ino()))
    }

    /// Returns to it.
    pub(super) fn enter(&self) -> io::Result<()> {
        let network = Some(LinkNameSpaceType::Network);
        Ok(move_into_link_name_space(fs::File::open(&self.0)?.as_fd(), network)?)
    }
}

fn may_administer() -> bool {
    capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// A user namespace. Files are judged by the ids outside of it; `mapped`, new file systems know them.
fn leave_user(mapped: bool) -> Result<(), String> {
    let (uid, gid) = (geteuid().as_raw(), getegid().as_raw());
    sys::unshare(libc::CLONE_NEWUSER).map_err(|error| format!("user namespaces are not allowed: {error}"))?;
    if mapped {
        map(uid, gid).map_err(|error| format!("the user namespace takes no ids: {error}"))?;
    }
    Ok(())
}

fn map(uid: u32, gid: u32) -> io::Result<()> {
    fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))
}
