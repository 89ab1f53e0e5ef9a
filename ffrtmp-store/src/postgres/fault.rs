//! Why PostgreSQL did not do what it was asked, and the one place where that becomes a public error.

use ffrtmp_core::{Code, Error};

/// Why an operation failed, inside this folder.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The server refused, or could not be reached.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
    /// The connection was lost while the commit was under way and nobody can say whether it was done.
    #[error("the connection was lost during the commit: {0}")]
    Unknown(sqlx::Error),
    /// No connection within the time that a call may take.
    #[error("no connection to the database")]
    Away,
    /// Somebody else changed the row first.
    #[error("somebody else changed the job first")]
    Outrun,
    /// A row that this version cannot read.
    #[error("{what} {name} cannot be read: {source}")]
    Unreadable { what: &'static str, name: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// A refusal that belongs to the contract.
    #[error(transparent)]
    Refused(#[from] Error),
}

/// What to do about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cure {
    /// Nothing was done: do the same again on the same connection.
    Again,
    /// Nothing was done: do the same again on a new connection.
    Reconnect,
    /// The operation itself is at fault: not its neighbours.
    Blame,
    /// Tell the caller.
    Report,
}

impl Fault {
    pub(super) fn unreadable(
        what: &'static str,
        name: impl ToString,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unreadable { what, name: name.to_string(), source: source.into() }
    }

    pub(super) fn cure(&self) -> Cure {
        match self {
            Self::Outrun => Cure::Again,
            Self::Database(error) => cure(error),
            Self::Refused(_) | Self::Unreadable { .. } => Cure::Blame,
            Self::Unknown(_) | Self::Away => Cure::Report,
        }
    }

    /// Whether the connection is of no more use.
    pub(super) fn breaks_connection(&self) -> bool {
        matches!(self, Self::Unknown(_)) || self.cure() == Cure::Reconnect
    }

    /// Whether a unique index said no.
    pub(super) fn is_duplicate(&self) -> bool {
        matches!(self, Self::Database(sqlx::Error::Database(error)) if error.is_unique_violation())
    }

    /// The public error.
    pub(super) fn into_error(self, operation: &'static str) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Database(error) => refused(&error).operation(operation).source(error),
            Self::Unknown(error) => {
                Error::new(Code::Unavailable, "the connection to the database was lost in a commit")
                    .hint("look whether it was done before doing it again; the master reconnects by itself")
                    .operation(operation)
                    .source(error)
            }
            Self::Away => away().operation(operation),
            Self::Outrun => Error::new(Code::Storage, "other masters changed the same jobs again and again")
                .hint("do it again")
                .operation(operation),
            Self::Unreadable { what, name, source } => {
                Error::new(Code::Storage, format!("{what} {name} of the database cannot be read"))
                    .hint("the row is damaged or was written by another version; restore a backup")
                    .operation(operation)
                    .source(source)
            }
        }
    }
}

fn cure(error: &sqlx::Error) -> Cure {
    match error {
        sqlx::Error::Database(error) => match error.code().as_deref() {
            // Serialization failure, deadlock, lock timeout.
            Some("40001" | "40P01" | "55P03") => Cure::Again,
            // Ended by an administrator, crash, starting up, connection trouble.
            Some(code) if code.starts_with("57P") || code.starts_with("08") => Cure::Reconnect,
            // The server ended a transaction that stood still for too long.
            Some("25P03") => Cure::Reconnect,
            // Out of connections.
            Some("53300") => Cure::Reconnect,
            // A statement that was changed or forgotten behind a pooler.
            Some("26000" | "0A000") => Cure::Reconnect,
            // Data, constraints, permissions.
            Some(code) if code.starts_with("22") || code.starts_with("23") => Cure::Blame,
            _ => Cure::Report,
        },
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed | sqlx::Error::BeginFailed => {
            Cure::Reconnect
        }
        sqlx::Error::Encode(_) => Cure::Blame,
        _ => Cure::Report,
    }
}

fn away() -> Error {
    Error::new(Code::Unavailable, "the database does not answer")
        .hint("look after the PostgreSQL server; the master reconnects by itself")
}

fn refused(error: &sqlx::Error) -> Error {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    match code.as_deref() {
        Some("53100") => Error::new(Code::DiskFull, "no room for the database")
            .hint("free space on the disk of the PostgreSQL server"),
        Some("25006") => Error::new(Code::Storage, "the database is read-only")
            .hint("name the primary server in --db-dsn, not a standby"),
        Some("57014") => Error::new(Code::Storage, "the database took too long")
            .hint("look for locks and slow disks on the PostgreSQL server"),
        Some("42501") => Error::new(Code::Storage, "the role may not do this in the database")
            .hint("make the role of --db-dsn the owner of the schema ffrtmp"),
        Some("42P01" | "42703" | "3F000") => {
            Error::new(Code::Storage, "the tables of the database are not those of ffrtmp")
                .hint("restart the master; if that does not help, restore a backup")
        }
        Some(code) if code.starts_with("57P") || code.starts_with("08") || code.starts_with("53") => away(),
        Some(_) => Error::new(Code::Storage, "the database refused the operation"),
        None => match error {
            sqlx::Error::PoolClosed => crate::closed(),
            sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Tls(_) => away(),
            _ => Error::new(Code::Storage, "the database gave an answer that cannot be used"),
        },
    }
}
