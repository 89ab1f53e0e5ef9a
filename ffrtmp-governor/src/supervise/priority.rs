//! Scheduling priority of a family of processes, and its way back.

use std::collections::BTreeMap;

use ffrtmp_core::error::{Code, Error, Result};
use rustix::io::Errno;
use rustix::process::{Pid, getpriority_process, setpriority_process};

use super::family::Family;
use super::process::{self, Identity};
use crate::probe::Root;

/// A priority that was given to every thread of a family; the kernel knows no priority of a whole
/// process. What is born later inherits it.
#[derive(Debug)]
pub(super) struct Priority {
    root: Root,
    given: i32,
    /// That of the head before, which is what later children would have had.
    usual: i32,
    before: BTreeMap<Identity, i32>,
}

impl Priority {
    /// Gives a priority. Nothing is changed if it cannot be given to the head.
    ///
    /// # Errors
    /// `forbidden` where privileges lack, `storage` otherwise.
    pub(super) fn give(root: &Root, family: &Family, nice: i32) -> Result<Self> {
        let mut given = Self { root: root.clone(), given: nice, usual: 0, before: BTreeMap::new() };
        for (place, member) in family.members().iter().enumerate() {
            for thread in threads(root, member.identity.pid) {
                let now = match read(thread) {
                    Ok(now) => now,
                    Err(Errno::SRCH) => continue,
                    Err(error) => return Err(refused(thread, nice, error)),
                };
                match write(thread, nice) {
                    Ok(()) => drop(given.before.insert(thread, now)),
                    Err(Errno::SRCH) => {}
                    Err(error) => {
                        let error = refused(thread, nice, error);
                        given.take_back(family);
                        return Err(error);
                    }
                }
                if place == 0 && thread.pid == member.identity.pid {
                    given.usual = now;
                }
            }
        }
        Ok(given)
    }

    /// What was given, and what the head had before: for a state that outlives this program.
    pub(super) fn change(&self) -> (i32, i32) {
        (self.given, self.usual)
    }

    /// The same after a restart: the head had this priority before.
    pub(super) fn given_earlier(root: &Root, nice: i32, usual: i32) -> Self {
        Self { root: root.clone(), given: nice, usual, before: BTreeMap::new() }
    }

    /// Gives back what was before to everyone who still has the priority that was given; how many
    /// did not get it, which happens without privileges.
    pub(super) fn take_back(&self, family: &Family) -> usize {
        let mut left = 0;
        for member in family.members() {
            for thread in threads(&self.root, member.identity.pid) {
                let before = *self.before.get(&thread).unwrap_or(&self.usual);
                if read(thread) == Ok(self.given) && before != self.given {
                    left += usize::from(!matches!(write(thread, before), Ok(()) | Err(Errno::SRCH)));
                }
            }
        }
        left
    }
}

/// The threads of a process; they have identities like processes.
fn threads(root: &Root, pid: u32) -> Vec<Identity> {
    let names = root.names(&format!("proc/{pid}/task"));
    let ids = names.iter().filter_map(|name| name.parse::<u32>().ok());
    ids.filter_map(|thread| process::stat(root, thread)).map(|stat| stat.identity).collect()
}

fn read(thread: Identity) -> std::result::Result<i32, Errno> {
    getpriority_process(Some(raw(thread)?))
}

fn write(thread: Identity, nice: i32) -> std::result::Result<(), Errno> {
    setpriority_process(Some(raw(thread)?), nice)
}

fn raw(thread: Identity) -> std::result::Result<Pid, Errno> {
    i32::try_from(thread.pid).ok().and_then(Pid::from_raw).ok_or(Errno::SRCH)
}

fn refused(thread: Identity, nice: i32, error: Errno) -> Error {
    let lacks = matches!(error, Errno::ACCESS | Errno::PERM);
    let code = if lacks { Code::Forbidden } else { Code::Storage };
    let told = Error::new(code, format!("priority {nice} cannot be given to process {}", thread.pid)).field("nice");
    let hint = "raising a priority needs CAP_SYS_NICE or root, and so does the process of another user";
    (if lacks { told.hint(hint) } else { told }).source(error)
}
