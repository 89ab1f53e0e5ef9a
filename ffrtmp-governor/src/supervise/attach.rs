//! Taking hold of a process that runs already.

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::ResourceGovernor;
use rustix::process::geteuid;

use super::family::{self, Family};
use super::hold::Hold;
use super::home::{self, Governing};
use super::note::Note;
use super::priority::Priority;
use super::process::{self, Grip};
use super::supervised::{Order, Supervised};
use crate::probe::Root;

/// Puts a running process and its children under limits.
///
/// # Errors
/// `invalid_field` for `pid` if there is no such process, or it is this program, one of those that
/// started it, the first process of the machine or a part of the kernel; `forbidden` for a process
/// of another user; `invalid_field` for limits that cannot be.
pub fn attach(pid: u32, order: &Order, governor: &dyn ResourceGovernor) -> Result<Supervised> {
    let root = Root::default();
    check(&root, pid)?;
    let home = home::of(&root, pid);
    if let Governing::Living(other) = home::governing(&root, &home) {
        return Err(Error::new(
            Code::InvalidField,
            format!("process {pid} is governed by ffrtmp already: process {other}"),
        )
        .field("pid")
        .hint("stop that one first; SIGTERM lets a process go that it attached to"));
    }
    allow(&root, pid)?;
    let nice = process::stat(&root, pid).and_then(|stat| Note::take(&root, stat.identity));
    let supervised = take(&root, pid, order, governor, &Taking { home: &home, nice })?;
    Ok(if geteuid().is_root() { supervised.noted(&root) } else { supervised })
}

/// How a process was before an earlier supervisor, which died, changed it.
pub(super) struct Taking<'a> {
    /// Its control groups, as `/proc/PID/cgroup` showed them.
    pub(super) home: &'a str,
    /// The priority that it was given, and the one before.
    pub(super) nice: Option<(i32, i32)>,
}

/// Takes charge of a process that may be touched. One of another user is only observed where this
/// one has no privileges.
pub(super) fn take(
    root: &Root,
    pid: u32,
    order: &Order,
    governor: &dyn ResourceGovernor,
    taking: &Taking<'_>,
) -> Result<Supervised> {
    let grip = Grip::take(root, pid)?;
    home::bring_back(root, pid, taking.home);
    let family = Family::of(root.clone(), grip.identity);
    if let Some((given, usual)) = taking.nice {
        Priority::given_earlier(root, given, usual).take_back(&family);
    }
    let command = process::arguments(root, pid);
    let hold = match allow(root, pid) {
        Ok(()) => Hold::take(root, governor, &family, pid, order)?,
        Err(error) => Hold::watch(pid, order, &error)?,
    };
    Ok(Supervised::new(order.clone(), command, grip, family, hold, false))
}

/// Refuses processes that must not be touched.
pub(super) fn check(root: &Root, pid: u32) -> Result<()> {
    let refuse =
        |message: String, hint: &str| Err(Error::new(Code::InvalidField, message).field("pid").hint(hint.to_owned()));
    let hint = "give the process of a workload; `ps -e -o pid,user,comm` lists those that run";
    if pid <= 1 {
        return refuse(format!("process {pid} is the machine's own"), hint);
    }
    let every = process::all(root);
    let own = std::process::id();
    if pid == own || family::ancestors(&every, own).contains(&pid) {
        return refuse(format!("process {pid} is this program or started it"), hint);
    }
    let Some(stat) = process::stat(root, pid) else {
        return refuse(
            format!("there is no process {pid}"),
            "it may have ended; `ps -e -o pid,user,comm` lists those that run",
        );
    };
    if stat.kernel_thread {
        return refuse(format!("process {pid} is a part of the kernel"), hint);
    }
    if stat.has_ended() {
        return refuse(format!("process {pid} has ended and waits for its parent"), hint);
    }
    Ok(())
}

/// Refuses processes of others where this user is not root.
fn allow(root: &Root, pid: u32) -> Result<()> {
    let user = geteuid();
    match process::owner(root, pid) {
        Some(owner) if !user.is_root() && owner != user.as_raw() => {
            Err(Error::new(Code::Forbidden, format!("process {pid} belongs to another user"))
                .field("pid")
                .hint("run as that user, or as root"))
        }
        _ => Ok(()),
    }
}
