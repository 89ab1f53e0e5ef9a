//! Signals that come to a supervising program, read one by one instead of interrupting it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use ffrtmp_core::error::{Code, Error, Result};
use rustix::process::Signal;

use super::sys;

/// A signal for the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Which one.
    pub signal: Signal,
    /// Whether a process sent it. A terminal sends its own (Ctrl-C) to every process of a job, so
    /// that the workload has it already.
    pub by_process: bool,
}

/// The signals INT, TERM, HUP, QUIT, USR1, USR2 and CHLD of this program.
///
/// Programs that are started by [`super::Workload::start`] with the inbox get the signal mask that
/// was there before it, and their signals are at the defaults or ignored as this program found them.
pub struct Inbox {
    descriptor: OwnedFd,
    pub(super) before: sys::Mask,
}

impl Inbox {
    /// Reads these signals from now on. Call it first of all: threads that were started before get
    /// the signals as if there were no inbox.
    ///
    /// # Errors
    /// `internal` if the kernel refuses.
    pub fn open() -> Result<Self> {
        let refused = |error: std::io::Error| Error::new(Code::Internal, "signals cannot be read").source(error);
        let before = sys::Mask::block().map_err(refused)?;
        Ok(Self { descriptor: sys::signal_descriptor().map_err(refused)?, before })
    }

    /// The next signal, if one has come. That a child has ended is no letter.
    ///
    /// # Errors
    /// `internal` if the kernel refuses.
    pub fn next(&self) -> Result<Option<Letter>> {
        loop {
            let came = sys::next_signal(self.descriptor.as_fd())
                .map_err(|error| Error::new(Code::Internal, "signals cannot be read").source(error))?;
            let Some(came) = came else { return Ok(None) };
            match Signal::from_named_raw(came.signal) {
                Some(Signal::CHILD) | None => {}
                Some(signal) => return Ok(Some(Letter { signal, by_process: came.by_process })),
            }
        }
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}
