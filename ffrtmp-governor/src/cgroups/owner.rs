//! Names of groups, which say whose they are: a group whose owner has ended is a leftover.

use std::fs;
use std::io::ErrorKind;

use crate::probe::{Root, process};

/// Whose processes a governor governs; it decides what becomes of those that outlive their owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    /// Children of the agent. An attempt without its agent is lost, so what is left is killed.
    Attempts,
    /// Processes that run for themselves. What is left goes on, under its limits, to its own end.
    Foreign,
}

/// The process that made a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    pub(crate) ownership: Ownership,
    /// Ids of processes mean nothing in another namespace of them.
    namespace: u64,
    pub(crate) pid: u32,
    /// In ticks since the machine started; tells it from a later one with its id.
    started: u64,
}

const PREFIX: &str = "ffrtmp-";

impl Owner {
    /// This process; `None` if `/proc` does not tell of it.
    pub(crate) fn this_process(root: &Root, ownership: Ownership) -> Option<Self> {
        let pid = std::process::id();
        let started = process::read(root, pid)?.started;
        Some(Self { ownership, namespace: namespace(root)?, pid, started })
    }

    /// Name of one of its groups.
    pub(crate) fn group(&self, serial: u64) -> String {
        let kind = match self.ownership {
            Ownership::Attempts => "attempt",
            Ownership::Foreign => "foreign",
        };
        format!("{PREFIX}{kind}-{}-{}-{}-{serial}", self.namespace, self.pid, self.started)
    }

    /// Whose group this is; `None` for a name that [`Self::group`] does not make.
    pub(crate) fn of(name: &str) -> Option<Self> {
        let mut parts = name.strip_prefix(PREFIX)?.split('-');
        let ownership = match parts.next()? {
            "attempt" => Ownership::Attempts,
            "foreign" => Ownership::Foreign,
            _ => return None,
        };
        let mut number = || parts.next()?.parse::<u64>().ok();
        let (namespace, pid, started, _serial) = (number()?, number()?, number()?, number()?);
        let owner = Self { ownership, namespace, pid: u32::try_from(pid).ok()?, started };
        parts.next().is_none().then_some(owner)
    }

    /// Whether it has certainly ended. What cannot be read, such as for want of descriptors, lives.
    pub(crate) fn is_gone(&self, root: &Root) -> bool {
        if namespace(root) != Some(self.namespace) {
            return false;
        }
        match fs::read_to_string(root.path(&format!("proc/{}/stat", self.pid))) {
            Ok(stat) => process::parse_stat(&stat).is_some_and(|(_, started)| started != self.started),
            Err(error) => error.kind() == ErrorKind::NotFound,
        }
    }
}

fn namespace(root: &Root) -> Option<u64> {
    let link = fs::read_link(root.path("proc/self/ns/pid")).ok()?;
    link.to_str()?.strip_prefix("pid:[")?.strip_suffix(']')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_their_owner() {
        let root = Root::default();
        let me = Owner::this_process(&root, Ownership::Foreign).expect("/proc");
        assert_eq!(Owner::of(&me.group(7)), Some(me));
        assert!(!me.is_gone(&root));
        let earlier = Owner { started: me.started - 1, ..me };
        assert!(earlier.is_gone(&root), "the id went to another process");
        assert!(!Owner { namespace: 1, ..earlier }.is_gone(&root), "nothing is known of other namespaces");
        let folder = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(folder.path().join("proc/self/ns")).expect("a directory");
        fs::create_dir_all(folder.path().join(format!("proc/{}/stat", me.pid))).expect("a directory");
        std::os::unix::fs::symlink(format!("pid:[{}]", me.namespace), folder.path().join("proc/self/ns/pid"))
            .expect("a link");
        assert!(!me.is_gone(&Root::at(folder.path())), "what cannot be read lives");
        fs::remove_dir(folder.path().join(format!("proc/{}/stat", me.pid))).expect("removed");
        assert!(me.is_gone(&Root::at(folder.path())));
        for strange in [
            "ffrtmp-self",
            "ffrtmp",
            "ffrtmp-attempt-1-2-3",
            "ffrtmp-attempt-1-2-3-4-5",
            "ffrtmp-other-1-2-3-4",
            "ffrtmp-attempt-1-99999999999-3-4",
            "system.slice",
            "",
        ] {
            assert_eq!(Owner::of(strange), None, "{strange}");
        }
    }
}
