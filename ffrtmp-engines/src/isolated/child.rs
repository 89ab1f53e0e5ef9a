//! One child as the agent sees it: a channel to talk, a pipe with what its libraries print, and a
//! tether on which the fork server tells of its end.

use std::fs::File;
use std::io::{self, PipeReader, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process_group, pidfd_send_signal, prlimit};

use super::link::{Link, Received, wait_on};
use super::memory::resident_pages;
use super::sys;
use super::wire::{Ended, FromServer, ToServer};

/// A child that may still run. Dropped, it is killed with all that it started, and reaped by the
/// server.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    /// The process itself, on kernels that have such descriptors.
    process: Option<OwnedFd>,
    /// Where frames go and come from; never blocks.
    pub(super) channel: UnixStream,
    /// What its libraries print, until they close it.
    pub(super) errors: Option<PipeReader>,
    /// While it is there, the server keeps the id of the child from being given to another process.
    tether: Option<Link>,
    /// What the kernel tells of its memory, kept open: it stays that of this process.
    memory: Option<File>,
    end: Option<End>,
}

/// What there is to hear of a child.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// It said something.
    pub(super) said: bool,
    /// Its libraries printed something.
    pub(super) printed: bool,
    /// It has ended. What it said may still be unread then.
    pub(super) ended: bool,
}

/// How it came to an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// As the server tells.
    Told(Ended),
    /// With the server, which is gone.
    WithServer,
}

impl Child {
    /// A child that was forked.
    pub(super) fn new(
        pid: Pid,
        process: Option<OwnedFd>,
        channel: UnixStream,
        errors: PipeReader,
        tether: Link,
    ) -> Self {
        Self { pid, process, channel, errors: Some(errors), tether: Some(tether), memory: None, end: None }
    }

    /// Process id; the same as that of its session and group.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Waits until it says something or ends, or the time is over.
    pub(super) fn await_news(&mut self, timeout: Duration) -> News {
        let mut fds = vec![PollFd::new(&self.channel, PollFlags::IN)];
        fds.extend(self.teller());
        let tellers = fds.len();
        fds.extend(self.errors.as_ref().map(|errors| PollFd::new(errors, PollFlags::IN)));
        wait_on(&mut fds, timeout);
        let is_ready = |fd: &PollFd<'_>| !fd.revents().is_empty();
        let (said, printed) = (is_ready(&fds[0]), fds[tellers..].iter().any(is_ready));
        let may_have_ended = tellers == 1 || fds[1..tellers].iter().any(is_ready);
        let ended = may_have_ended && self.look().is_some();
        News { said: said || ended, printed: printed || ended, ended }
    }

    /// Waits for its end as long as `patience`.
    pub(super) fn await_end(&mut self, patience: Duration) -> Option<End> {
        let until = Instant::now() + patience;
        loop {
            if let Some(end) = self.look() {
                return Some(end);
            }
            let left = until.checked_duration_since(Instant::now())?;
            wait_on(&mut self.teller().into_iter().collect::<Vec<_>>(), left);
        }
    }

    fn look(&mut self) -> Option<End> {
        if self.end.is_none()
            && let Some(tether) = &self.tether
        {
            match tether.receive() {
                Ok(Received::Nothing) => return None,
                Ok(Received::Message(FromServer::Ended(ended), _)) => self.end = Some(End::Told(ended)),
                // Nobody holds the id any more, and the kernel kills the child.
                Ok(_) | Err(_) => {
                    self.tether = None;
                    self.signal(Signal::KILL);
                }
            }
        }
        if self.end.is_none() && self.tether.is_none() && self.has_ended() {
            self.end = Some(End::WithServer);
        }
        self.end
    }

    /// Whether the process has ended, by what the kernel tells to others than its parent.
    fn has_ended(&self) -> bool {
        let Some(process) = &self.process else { return true };
        let mut fds = [PollFd::new(process, PollFlags::IN)];
        wait_on(&mut fds, Duration::ZERO);
        !fds[0].revents().is_empty()
    }

    /// What becomes readable when it ends.
    fn teller(&self) -> Option<PollFd<'_>> {
        let process = self.process.as_ref().map(|process| PollFd::new(process, PollFlags::IN));
        self.tether.as_ref().map(|tether| PollFd::new(tether, PollFlags::IN)).or(process)
    }

    /// Sends a frame; a child that does not read for as long as `patience` is an error.
    pub(super) fn send(&self, frame: &[u8], patience: Duration) -> io::Result<()> {
        let until = Instant::now() + patience;
        let mut rest = frame;
        while !rest.is_empty() {
            match (&self.channel).write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = until.checked_duration_since(Instant::now()).ok_or(io::ErrorKind::TimedOut)?;
                    wait_on(&mut [PollFd::from_borrowed_fd(self.channel.as_fd(), PollFlags::OUT)], left);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Has the server mind what its work may leave behind; whether the server is there to do so.
    pub(super) fn mind(&self, remains: &Path) -> bool {
        let order = ToServer::Mind { remains: remains.into() };
        self.tether.as_ref().is_some_and(|tether| tether.send(&order, &[], Duration::ZERO).is_ok())
    }

    /// Signals its whole group. The only refusal that there can be is that nobody is left in it.
    pub(super) fn signal(&self, signal: Signal) {
        let by_descriptor = self.process.as_ref().is_some_and(|process| sys::signal_group(process, signal).is_ok());
        if by_descriptor {
            return;
        }
        let _ = match (&self.tether, &self.process) {
            (Some(_), _) => kill_process_group(self.pid, signal),
            (None, Some(process)) => pidfd_send_signal(process, signal),
            // The id may be another's by now.
            (None, None) => Ok(()),
        };
    }

    /// Bounds the memory that it may map for data. The watch on resident memory is the judge; this
    /// stops what grows faster than the watch looks.
    pub(super) fn bound_data(&self, bytes: u64) -> io::Result<()> {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        prlimit(Some(self.pid), Resource::Data, limit)?;
        Ok(())
    }

    /// Resident memory in bytes; `None` once it has ended.
    pub(super) fn resident(&mut self) -> Option<u64> {
        if self.memory.is_none() {
            self.memory = File::open(format!("/proc/{}/statm", self.pid())).ok();
        }
        let mut text = [0; 128];
        let count = self.memory.as_ref()?.read_at(&mut text, 0).ok()?;
        let pages = resident_pages(std::str::from_utf8(&text[..count]).ok()?)?;
        pages.checked_mul(rustix::param::page_size() as u64)
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !matches!(self.end, Some(End::Told(_))) {
            self.signal(Signal::KILL);
        }
        if let Some(tether) = &self.tether {
            // A server that is gone needs not be told.
            let _ = tether.send(&ToServer::LetGo, &[], Duration::ZERO);
        }
    }
}
