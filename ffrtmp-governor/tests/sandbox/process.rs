//! Processes with one thread, as those that a sandbox is for: forks of the test.

#![allow(unsafe_code, reason = "nothing safe forks")]

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;

/// A process that this one started; killed and reaped when dropped.
pub(crate) struct Process {
    pid: i32,
    output: File,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Runs something as this user in a process of its own, whose output is read here.
    pub(crate) fn start(user: Option<u32>, work: impl FnOnce()) -> Self {
        let mut pipe = [0; 2];
        // SAFETY: room for the two descriptors that the kernel makes.
        check(unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) }).expect("a pipe");
        // SAFETY: they are ours alone.
        let [output, input] = pipe.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: the C library makes its locks usable in the child, and the child, which never
        // returns, waits for no lock of another thread.
        let pid = unsafe { libc::fork() };
        check(pid).expect("a process");
        if pid > 0 {
            return Self { pid, output: output.into(), ended: None };
        }
        let lived = catch_unwind(AssertUnwindSafe(|| {
            become_user(user, &input).expect("a user");
            work();
        }));
        if lived.is_err() {
            say("the process panicked");
        }
        // SAFETY: ends this process without running what the parent will run.
        unsafe { libc::_exit(i32::from(lived.is_err())) }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// The next byte that it says.
    pub(crate) fn hear(&mut self) -> u8 {
        let mut byte = [0];
        self.output.read_exact(&mut byte).expect("it says something");
        byte[0]
    }

    /// All that it says, and how it ended.
    pub(crate) fn wait(&mut self) -> (String, ExitStatus) {
        let mut said = Vec::new();
        self.output.read_to_end(&mut said).expect("a pipe");
        (String::from_utf8_lossy(&said).into_owned(), self.reap(0).expect("it ended"))
    }

    /// Whether it is still there.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.reap(libc::WNOHANG).is_none()
    }

    fn reap(&mut self, flags: i32) -> Option<ExitStatus> {
        let mut status = 0;
        // SAFETY: `status` is valid for writes.
        if self.ended.is_none() && unsafe { libc::waitpid(self.pid, &raw mut status, flags) } == self.pid {
            self.ended = Some(ExitStatus::from_raw(status));
        }
        self.ended
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.ended.is_none() {
            // SAFETY: a process of ours that was not reaped, so its number is its own.
            unsafe { libc::kill(self.pid, libc::SIGKILL) };
            self.reap(0);
        }
    }
}

fn become_user(user: Option<u32>, output: &OwnedFd) -> io::Result<()> {
    // SAFETY: numbers only; the null list of groups is empty.
    unsafe {
        check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        for standard in [1, 2] {
            check(libc::dup2(output.as_raw_fd(), standard))?;
        }
        if let Some(user) = user {
            check(libc::setgroups(0, std::ptr::null()))?;
            check(libc::setresgid(user, user, user))?;
            check(libc::setresuid(user, user, user))?;
            // As after an exec: the change of the user took it away.
            check(libc::prctl(libc::PR_SET_DUMPABLE, 1))?;
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL))?;
        }
    }
    Ok(())
}

/// Says something to the parent, past what the test's harness catches.
pub(crate) fn say(words: &str) {
    // SAFETY: valid for reads. Whoever does not listen misses it.
    unsafe { libc::write(1, words.as_ptr().cast(), words.len()) };
}

pub(crate) fn check(result: i32) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
