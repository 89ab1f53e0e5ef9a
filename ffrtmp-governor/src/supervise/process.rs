//! One foreign process: what `/proc` tells of it, and a hold on it that no reuse of its id loosens.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use ffrtmp_core::error::{Code, Error, Result};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::sys;
use crate::probe::Root;

/// Marks a thread of the kernel in the flags of `/proc/PID/stat`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A process that was alive when it was looked at. Id and start together name it for good, until
/// the machine starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Identity {
    /// Process id.
    pub pid: u32,
    /// When it started, in kernel ticks since the machine did.
    pub started: u64,
}

/// What `/proc/PID/stat` tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) identity: Identity,
    /// Its name, as the process itself chose it; 15 bytes at most.
    pub(super) name: String,
    pub(super) state: u8,
    pub(super) parent: u32,
    pub(super) group: u32,
    pub(super) kernel_thread: bool,
    /// User and system time, its own and that of children that it waited for.
    pub(super) ticks: u64,
    /// Pages in memory.
    pub(super) resident_pages: u64,
}

impl Stat {
    /// Whether it has ended and nobody has waited for it yet.
    pub(super) fn has_ended(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

/// Reads `/proc/PID/stat`. The name stands in parentheses and may hold anything, parentheses too.
pub(super) fn parse_stat(text: &str) -> Option<Stat> {
    let (head, tail) = text.rsplit_once(')')?;
    let (pid, name) = head.split_once('(')?;
    let fields: Vec<&str> = tail.split_whitespace().collect();
    // Fields are counted as in proc(5), where the state is number 3.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let small = |field: usize| number(field).and_then(|number| u32::try_from(number).ok());
    let ticks = (14..=17).try_fold(0_u64, |sum, field| sum.checked_add(number(field)?))?;
    Some(Stat {
        identity: Identity { pid: pid.trim().parse().ok()?, started: number(22)? },
        name: name.to_owned(),
        state: *fields.first()?.as_bytes().first()?,
        parent: small(4)?,
        // -1 where there is none.
        group: small(5).unwrap_or(0),
        kernel_thread: number(9)? & KERNEL_THREAD != 0,
        ticks,
        resident_pages: number(24).unwrap_or(0),
    })
}

/// What `/proc` tells of one process; `None` if there is none with this id.
pub(super) fn stat(root: &Root, pid: u32) -> Option<Stat> {
    let text = std::fs::read(root.path(&format!("proc/{pid}/stat"))).ok()?;
    parse_stat(&String::from_utf8_lossy(&text)).filter(|stat| stat.identity.pid == pid)
}

/// Every process there is, by id.
pub(super) fn all(root: &Root) -> BTreeMap<u32, Stat> {
    let Ok(entries) = std::fs::read_dir(root.path("proc")) else { return BTreeMap::new() };
    let ids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.filter_map(|pid| Some((pid, stat(root, pid)?))).collect()
}

/// Effective user of a process.
pub(super) fn owner(root: &Root, pid: u32) -> Option<u32> {
    let status = std::fs::read(root.path(&format!("proc/{pid}/status"))).ok()?;
    let status = String::from_utf8_lossy(&status);
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_whitespace().nth(1)?.parse().ok()
}

/// The arguments of a process, the program first; none for a thread of the kernel.
pub(super) fn arguments(root: &Root, pid: u32) -> Vec<String> {
    /// A hostile process may have megabytes of them.
    const MOST: usize = 4096;
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let Ok(file) = std::fs::File::open(root.path(&format!("proc/{pid}/cmdline"))) else { return Vec::new() };
    if file.take(MOST as u64).read_to_end(&mut bytes).is_err() {
        return Vec::new();
    }
    let text = String::from_utf8_lossy(&bytes);
    text.trim_end_matches('\0').split('\0').filter(|text| !text.is_empty()).map(str::to_owned).collect()
}

/// Working directory of a process, if it may be asked.
pub(super) fn directory(root: &Root, pid: u32) -> Option<PathBuf> {
    std::fs::read_link(root.path(&format!("proc/{pid}/cwd"))).ok()
}

/// Program file of a process, if it may be asked.
pub(super) fn program(root: &Root, pid: u32) -> Option<PathBuf> {
    std::fs::read_link(root.path(&format!("proc/{pid}/exe"))).ok()
}

/// A descriptor that stays with one process when its id is given to another.
#[derive(Debug)]
pub(super) struct Grip {
    pub(super) identity: Identity,
    descriptor: OwnedFd,
}

impl Grip {
    /// Takes hold of a process; one with another start than this is another one.
    ///
    /// # Errors
    /// `invalid_field` if there is none, `storage` if the kernel refuses.
    pub(super) fn take(root: &Root, pid: u32) -> Result<Self> {
        let none = || {
            Error::new(Code::InvalidField, format!("there is no process {pid}"))
                .field("pid")
                .hint("it may have ended; `ps -e -o pid,user,comm` lists those that run")
        };
        let raw = i32::try_from(pid).ok().and_then(Pid::from_raw).ok_or_else(none)?;
        let descriptor = match pidfd_open(raw, PidfdFlags::empty()) {
            Ok(descriptor) => descriptor,
            Err(Errno::SRCH) => return Err(none()),
            // From 6.9 on a thread has a descriptor of its own only when asked for; before, too.
            Err(Errno::INVAL | Errno::NOENT) => {
                return Err(Error::new(Code::InvalidField, format!("{pid} is a thread and no process"))
                    .field("pid")
                    .hint("give the id of its process: the line `Tgid` of /proc/PID/status"));
            }
            Err(error) => {
                return Err(Error::new(Code::Storage, format!("process {pid} cannot be held"))
                    .operation("supervise.pidfd")
                    .source(error));
            }
        };
        // Read after the descriptor was taken: what `/proc` shows is the process that is held, or
        // the descriptor tells that it has ended.
        let identity = stat(root, pid).ok_or_else(none)?.identity;
        let grip = Self { identity, descriptor };
        if grip.has_ended() { Err(none()) } else { Ok(grip) }
    }

    /// Whether the process has ended.
    pub(super) fn has_ended(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut asked = [PollFd::new(&self.descriptor, PollFlags::IN)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // A poll that fails is asked again by whoever waits.
        poll(&mut asked, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Sends a signal to it; `false` if it has ended.
    pub(super) fn signal(&self, signal: Signal) -> Result<bool> {
        match pidfd_send_signal(&self.descriptor, signal) {
            Ok(()) => Ok(true),
            Err(Errno::SRCH) => Ok(false),
            Err(error) => Err(Error::new(Code::Storage, format!("process {} cannot be signalled", self.identity.pid))
                .operation("supervise.signal")
                .source(error)),
        }
    }

    /// How it ended, as `wait` tells it, where the kernel does for processes that are no children.
    pub(super) fn exit(&self) -> Option<i32> {
        sys::exit_of(self.descriptor.as_fd())
    }
}

impl AsFd for Grip {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_process_with_a_hostile_name() {
        let text =
            "42 (a) (b\n 9 9) S 7 41 40 0 -1 4194560 100 0 0 0 70 30 5 1 30 10 4 0 98765 1000 250 18446744073709551615";
        let stat = parse_stat(text).expect("it is one");
        assert_eq!(stat.identity, Identity { pid: 42, started: 98765 });
        assert_eq!((stat.name.as_str(), stat.state, stat.parent, stat.group), ("a) (b\n 9 9", b'S', 7, 41));
        assert_eq!((stat.ticks, stat.resident_pages, stat.kernel_thread), (106, 250, false));
        let kernel = parse_stat("2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 5 0 0 20 0 1 0 9 0 0").expect("it is one");
        assert!(kernel.kernel_thread && !kernel.has_ended());
        for broken in ["", "42", "42 (x", "42 (x) S 1", "x (y) S 7 41 40 0 -1 0 0 0 0 0 1 1 1 1 0 0 0 0 9 9"] {
            assert_eq!(parse_stat(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn an_id_that_was_given_anew_is_another_process() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
        let grip = Grip::take(&Root::default(), child.id()).expect("it lives");
        assert!(!grip.has_ended());
        let same = Identity { started: grip.identity.started + 1, ..grip.identity };
        assert_ne!(same, grip.identity);
        assert!(grip.signal(Signal::KILL).expect("it is ours"));
        child.wait().expect("it ends");
        assert!(grip.has_ended() && !grip.signal(Signal::KILL).expect("an ended process is no error"));
        let gone = Grip::take(&Root::default(), child.id()).expect_err("it has ended");
        assert_eq!(gone.field_name(), Some("pid"));
    }
}
