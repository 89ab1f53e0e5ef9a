//! Why SQLite did not do what it was asked, and the one place where that becomes a public error.

use std::sync::Arc;

use ffrtmp_core::{Code, Error};
use rusqlite::ErrorCode;

/// Why an operation failed, inside this folder.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The database refused.
    #[error(transparent)]
    Sqlite(#[from] rusqlite::Error),
    /// The commit of the group failed, and with it every operation of the group.
    #[error("commit: {0}")]
    Commit(Arc<rusqlite::Error>),
    /// A row that this version cannot read.
    #[error("{what} {name} cannot be read: {source}")]
    Unreadable { what: &'static str, name: String, source: Box<dyn std::error::Error + Send + Sync> },
    /// A refusal that belongs to the contract.
    #[error(transparent)]
    Refused(#[from] Error),
}

impl Fault {
    /// The public error.
    pub(super) fn into_error(self, operation: &'static str) -> Error {
        match self {
            Self::Refused(error) => error,
            Self::Sqlite(error) => refused(&error).operation(operation).source(error),
            Self::Commit(error) => refused(&error).operation(operation).source(error),
            Self::Unreadable { what, name, source } => {
                Error::new(Code::Storage, format!("{what} {name} of the database cannot be read"))
                    .hint("the row is damaged or was written by another version; restore a backup")
                    .operation(operation)
                    .source(source)
            }
        }
    }
}

fn refused(error: &rusqlite::Error) -> Error {
    if error.sqlite_error().is_some_and(|error| error.extended_code == rusqlite::ffi::SQLITE_READONLY_DBMOVED) {
        return Error::new(Code::Storage, "the file of the database was removed or replaced")
            .hint("stop the master, put the file back or restore a backup, and start it again");
    }
    if is_unreadable(error) {
        return Error::new(Code::Storage, "the database is damaged").hint("restore a backup of the file");
    }
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => {
            Error::new(Code::DiskFull, "no room for the database").hint("free space on the disk of the database")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::new(Code::Storage, "another program holds the database")
                .hint("close the other program; a reader may stay if it ends its transactions")
        }
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen) => {
            Error::new(Code::Storage, "the database cannot be written")
                .hint("give the master's user write permission on the file and its directory")
        }
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => {
            Error::new(Code::Storage, "the database is damaged").hint("restore a backup of the file")
        }
        _ => Error::new(Code::Storage, "the database refused the operation"),
    }
}

/// A value that is not what its column holds: nothing here writes such values.
pub(super) fn is_unreadable(error: &rusqlite::Error) -> bool {
    use rusqlite::Error::{FromSqlConversionFailure, IntegralValueOutOfRange, InvalidColumnType, Utf8Error};
    matches!(error, FromSqlConversionFailure(..) | IntegralValueOutOfRange(..) | InvalidColumnType(..) | Utf8Error(..))
}
