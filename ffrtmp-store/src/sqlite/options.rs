//! What can be chosen about a database.

use std::fmt;
use std::str::FromStr;

use ffrtmp_core::{Code, Error};

/// Choices for [`super::SqliteStore::open_with`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// How long a commit waits for the disk.
    pub synchronous: Synchronous,
    /// When the file is read whole at the start.
    pub integrity: Integrity,
}

impl SqliteOptions {
    /// The same with this durability.
    #[must_use]
    pub fn synchronous(mut self, synchronous: Synchronous) -> Self {
        self.synchronous = synchronous;
        self
    }

    /// The same with this check.
    #[must_use]
    pub fn integrity(mut self, integrity: Integrity) -> Self {
        self.integrity = integrity;
        self
    }
}

/// How long a commit waits for the disk. Neither choice can damage the database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Synchronous {
    /// Until the write-ahead log is on the disk: what was answered survives a crash of the program,
    /// of the system and a loss of power. One sync per group of calls.
    #[default]
    Full,
    /// Not at all: a crash of the program loses nothing, but a crash of the system or a loss of
    /// power may take back the last commits, up to some seconds of them. Agents then hold attempts
    /// that the master has forgotten: their jobs run again, and their results are refused.
    Normal,
}

impl Synchronous {
    /// The word of SQLite and of the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Normal => "normal",
        }
    }
}

impl fmt::Display for Synchronous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Synchronous {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "full" => Ok(Self::Full),
            "normal" => Ok(Self::Normal),
            _ => Err(Error::new(Code::InvalidField, format!("{text:?} is not a durability of SQLite"))
                .field("db_sync")
                .hint("give full or normal")),
        }
    }
}

/// When the whole file is read at the start, to be sure that it is undamaged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Integrity {
    /// If it is up to 256 MiB large, or if its last owner did not close it: a master that is
    /// restarted in order does not wait for gigabytes to be read.
    #[default]
    WhenDue,
    /// Always.
    Always,
}
