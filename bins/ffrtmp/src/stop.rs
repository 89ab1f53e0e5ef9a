//! Why a command ends early: an error, or a reader that went away.

use std::io;

use ffrtmp::core::{Code, Error};

/// The early end of a command.
#[derive(Debug)]
pub(crate) enum Stop {
    /// Something failed; the error decides the exit code.
    Failed(Error),
    /// Whoever read the output has closed it, as `head` does: the command ends quietly.
    ReaderGone,
}

/// What a command returns.
pub(crate) type Done<T = ()> = Result<T, Stop>;

impl Stop {
    /// The same end with its error said differently.
    pub(crate) fn about(self, say: impl FnOnce(Error) -> Error) -> Self {
        match self {
            Self::Failed(error) => Self::Failed(say(error)),
            Self::ReaderGone => Self::ReaderGone,
        }
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderGone,
            _ => Self::Failed(Error::new(Code::Storage, "the output cannot be written").source(error)),
        }
    }
}
