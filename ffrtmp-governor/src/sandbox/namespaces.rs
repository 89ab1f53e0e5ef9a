//! Namespaces of the kernel: the layer `network` and the ground of the layer `mounts`.
//!
//! Root takes them with its privileges. Everybody else needs a user namespace first, in which the
//! process has all privileges over the new namespaces and none over the machine.

use std::fs;
use std::io;

use rustix::process::{getegid, geteuid};
use rustix::thread::{CapabilitySet, capabilities};

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
