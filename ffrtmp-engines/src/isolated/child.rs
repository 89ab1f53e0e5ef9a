//! Makes one child: the program in its own session, with a private socket as its standard input.
//! This is the only place that starts a process; a fork server or a sandbox goes here.

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use ffrtmp_core::error::{Code, Error, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Resource, Rlimit, Signal, kill_process_group, pidfd_open, prlimit};

use super::sys::{self, Ended};

/// How children are made.
#[derive(Clone, Debug)]
pub(super) struct Recipe {
    /// The runner.
    pub(super) program: PathBuf,
    /// Its arguments.
    pub(super) args: Vec<OsString>,
    /// Scheduling priority.
    pub(super) nice: i32,
}

/// Variables that a child may see. The agent's own environment holds API keys, and a child reads
/// foreign bytes.
const VARIABLES: &[&str] =
    &["PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "LANG", "TZ", "RUST_BACKTRACE", "XDG_RUNTIME_DIR"];
/// Beginnings of further ones: locale, codec and graphics libraries.
const FAMILIES: &[&str] = &["LC_", "LIBVA_", "CUDA_", "NVIDIA_", "GST_", "SVT_", "MALLOC_", "LLVM_PROFILE_"];

/// A running child. Dropped, it is killed with its whole group and reaped.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    /// Readable once the process has ended, on kernels that have it.
    end: Option<OwnedFd>,
    /// Where frames go and come from; never blocks.
    pub(super) channel: UnixStream,
    /// What its libraries print, until they close it.
    pub(super) errors: Option<ChildStderr>,
    reaped: bool,
}

impl Child {
    /// Starts the program. It dies with the calling thread, so that thread must outlive it.
    ///
    /// # Errors
    /// `engine_unavailable` if the program cannot be started.
    pub(super) fn start(recipe: &Recipe) -> Result<Self> {
        let unavailable = |error: io::Error| {
            Error::new(Code::EngineUnavailable, format!("cannot start the runner {}", recipe.program.display()))
                .source(error)
                .hint("install ffrtmp-runner beside the agent, or name it in FFRTMP_RUNNER")
        };
        let (channel, theirs) = UnixStream::pair().map_err(unavailable)?;
        let mut command = Command::new(&recipe.program);
        command
            .args(&recipe.args)
            .current_dir("/")
            .env_clear()
            .envs(std::env::vars_os().filter(|(name, _)| may_see(name)))
            .stdin(OwnedFd::from(theirs))
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        sys::detach(&mut command, recipe.nice);
        let mut started = command.spawn().map_err(unavailable)?;
        let errors = started.stderr.take().ok_or_else(|| unavailable(io::ErrorKind::BrokenPipe.into()))?;
        let pid = Pid::from_child(&started);
        let end = pidfd_open(pid, PidfdFlags::empty()).ok();
        rustix::io::ioctl_fionbio(&errors, true).map_err(|error| unavailable(error.into()))?;
        channel.set_nonblocking(true).map_err(unavailable)?;
        Ok(Self { pid, end, channel, errors: Some(errors), reaped: false })
    }

    /// Process id; the same as that of its session and group.
    pub(super) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether it still holds its end of the channel.
    pub(super) fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(&self.channel, PollFlags::empty())];
        let hung_up = PollFlags::HUP | PollFlags::ERR;
        poll(&mut fds, Some(&Timespec::default())).is_ok() && !fds[0].revents().intersects(hung_up)
    }

    /// Waits until it says something or ends, or the time is over.
    pub(super) fn await_news(&self, timeout: Duration) -> News {
        let mut fds = vec![PollFd::new(&self.channel, PollFlags::IN)];
        fds.extend(self.errors.as_ref().map(|errors| PollFd::new(errors, PollFlags::IN)));
        fds.extend(self.end.as_ref().map(|end| PollFd::new(end, PollFlags::IN)));
        wait_on(&mut fds, timeout);
        let ended = self.end.is_some() && fds.last().is_some_and(|end| !end.revents().is_empty());
        if ended { News::Ended } else { News::Maybe }
    }

    /// Waits until it ends or the time is over.
    fn await_end(&self, timeout: Duration) {
        match &self.end {
            Some(end) => wait_on(&mut [PollFd::new(end, PollFlags::IN)], timeout),
            // Before Linux 5.3 nothing tells of the end of a process but asking.
            None => std::thread::sleep(timeout.min(Duration::from_millis(2))),
        }
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

    /// Signals its whole group.
    pub(super) fn signal(&self, signal: Signal) {
        if !self.reaped {
            // The only possible refusal is that nobody is left in the group.
            let _ = kill_process_group(self.pid, signal);
        }
    }

    /// Bounds the memory that it may map for data. The watch on resident memory is the judge; this
    /// stops what grows faster than the watch looks.
    pub(super) fn bound_data(&self, bytes: u64) -> io::Result<()> {
        let limit = Rlimit { current: Some(bytes), maximum: Some(bytes) };
        prlimit(Some(self.pid), Resource::Data, limit)?;
        Ok(())
    }

    /// Resident memory now and at its largest, in bytes; `None` once it has ended.
    pub(super) fn resident(&self) -> Option<Resident> {
        parse_resident(&fs::read_to_string(format!("/proc/{}/status", self.pid())).ok()?)
    }

    /// Reaps it, waiting as long as `patience`; `None` if it has not ended by then.
    pub(super) fn reap(&mut self, patience: Duration) -> Option<Ended> {
        let until = Instant::now() + patience;
        while !self.reaped {
            match sys::try_reap(self.pid.as_raw_nonzero().get()) {
                Ok(Some(ended)) => {
                    self.reaped = true;
                    return Some(ended);
                }
                Ok(None) => self.await_end(until.checked_duration_since(Instant::now())?),
                Err(error) => {
                    tracing::warn!(pid = self.pid(), %error, "somebody else has reaped a runner");
                    self.reaped = true;
                }
            }
        }
        None
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            self.signal(Signal::KILL);
            if self.reap(Duration::from_secs(60)).is_none() && !self.reaped {
                tracing::error!(pid = self.pid(), "a killed runner has not ended for a minute");
            }
        }
    }
}

/// What waiting for a child brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// There may be something to read.
    Maybe,
    /// The process has ended; what it said may still be unread.
    Ended,
}

/// Resident memory of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Resident {
    /// Bytes now.
    pub(super) now: u64,
    /// Most bytes so far.
    pub(super) peak: u64,
}

/// Reads `VmRSS` and `VmHWM` from the text of `/proc/PID/status`.
pub(super) fn parse_resident(status: &str) -> Option<Resident> {
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        kib.checked_mul(1024)
    };
    Some(Resident { now: field("VmRSS:")?, peak: field("VmHWM:")? })
}

fn may_see(name: &std::ffi::OsStr) -> bool {
    name.to_str()
        .is_some_and(|name| VARIABLES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family)))
}

fn wait_on(fds: &mut [PollFd<'_>], timeout: Duration) {
    let timeout = Timespec { tv_sec: timeout.as_secs().min(60) as i64, tv_nsec: timeout.subsec_nanos().into() };
    // An interrupted wait is a short wait; every caller looks again.
    let _ = poll(fds, Some(&timeout));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_status() {
        let text = "Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t     1024 kB\n";
        assert_eq!(parse_resident(text), Some(Resident { now: 1 << 20, peak: 2 << 20 }));
        assert_eq!(parse_resident("State:\tZ (zombie)\n"), None);
    }

    #[test]
    fn a_child_that_has_ended_is_noticed_and_reaped() {
        let recipe = Recipe { program: "/bin/sh".into(), args: vec!["-c".into(), "exit 7".into()], nice: 0 };
        let mut child = Child::start(&recipe).unwrap();
        let ended = child.reap(Duration::from_secs(10)).expect("it ends");
        assert_eq!(ended.status.code(), Some(7));
        assert!(!child.is_alive(), "the nursery would hand out a dead child");
        assert!(child.resident().is_none());
    }

    #[test]
    fn keys_stay_with_the_parent() {
        assert!(may_see("PATH".as_ref()) && may_see("LC_ALL".as_ref()));
        assert!(!may_see("MASTER_API_KEY".as_ref()) && !may_see("AWS_SECRET_ACCESS_KEY".as_ref()));
    }
}
