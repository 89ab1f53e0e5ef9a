//! Implementations of [`ffrtmp_core::store::Store`]: [`MemoryStore`] for tests and throw-away
//! masters, [`SqliteStore`] for everything that must outlive its process.
//!
//! What is deliberately not here: no rule of how a job changes. Both stores load, let
//! [`ffrtmp_core::job::Job`] decide, and save; what a submission becomes is in `admission`. Both
//! run the suite in `ffrtmp_core::conformance::store`; a new store is one folder here and one line
//! in `tests/conformance.rs`.
#![forbid(unsafe_code)]

mod admission;
pub mod failpoint;
mod ledger;
mod memory;
mod postgres;
mod prefix;
#[cfg(feature = "private-server")]
pub mod private_server;
mod record;
mod room;
mod sqlite;
mod tally;
pub mod transfer;

pub use memory::MemoryStore;
pub use postgres::{PostgresOptions, PostgresStore};
pub use sqlite::{Integrity, SqliteOptions, SqliteStore, Synchronous, backup_sqlite};

use ffrtmp_core::{Code, Error};

fn closed() -> Error {
    Error::new(Code::Unavailable, "the store is closed")
}

fn job_not_found(name: impl std::fmt::Display) -> Error {
    Error::new(Code::JobNotFound, format!("no job is named {name}")).field("job_id")
}

fn node_not_found(id: ffrtmp_core::id::NodeId) -> Error {
    Error::new(Code::NodeNotFound, format!("no node has the id {id}")).field("node_id")
}

fn ambiguous(prefix: &str) -> Error {
    Error::new(Code::InvalidField, format!("several jobs have an id that starts with {prefix:?}"))
        .field("job_id")
        .hint("give more characters of the id, or the sequence number")
}
