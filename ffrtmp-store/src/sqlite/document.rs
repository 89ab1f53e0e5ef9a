//! Jobs and nodes as JSON, the form in which rows keep them.

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::job::Job;
use ffrtmp_core::node::Node;
use ffrtmp_core::{Code, Error};
use rusqlite::Row;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fault::Fault;

/// The text of a job that this process made.
pub(super) fn of_job(job: &Job) -> Result<String, Fault> {
    encode(job, "job")
}

/// The text of a job that carries foreign values, proven to be readable again: JSON has no NaN
/// and a limited depth, and one unreadable row would stand in the way of every list.
pub(super) fn of_foreign_job(job: &Job) -> Result<String, Fault> {
    proven::<Job>(encode(job, "job")?, "metrics")
}

/// The text of a node, proven like that of a foreign job.
pub(super) fn of_node(node: &Node) -> Result<String, Fault> {
    proven::<Node>(encode(node, "node")?, "telemetry")
}

fn encode(value: &impl Serialize, field: &'static str) -> Result<String, Fault> {
    serde_json::to_string(value).map_err(|error| unstorable(field, error).into())
}

fn proven<T: DeserializeOwned>(text: String, field: &'static str) -> Result<String, Fault> {
    match serde_json::from_str::<T>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(unstorable(field, error).into()),
    }
}

fn unstorable(field: &'static str, error: serde_json::Error) -> Error {
    Error::new(Code::InvalidField, "a value cannot be stored as JSON")
        .field(field)
        .hint("send finite numbers and values nested less than 100 deep")
        .source(error)
}

/// Reads `sequence, document`.
pub(super) fn job(row: &Row<'_>) -> Result<Job, Fault> {
    let sequence: u64 = row.get(0)?;
    let mut job: Job = decode(row, 1, "job", || sequence.to_string())?;
    job.sequence_number = sequence;
    Ok(job)
}

/// Reads `document`.
pub(super) fn node(row: &Row<'_>) -> Result<Node, Fault> {
    decode(row, 0, "node", || "document".to_owned())
}

fn decode<T: DeserializeOwned>(
    row: &Row<'_>,
    column: usize,
    what: &'static str,
    name: impl FnOnce() -> String,
) -> Result<T, Fault> {
    let text = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?;
    serde_json::from_str(text).map_err(|error| Fault::Unreadable { what, name: name(), source: error.into() })
}

/// A word of a column as its enum.
pub(super) fn word<T: std::str::FromStr<Err = Error>>(row: &Row<'_>, column: usize) -> Result<T, Fault> {
    let text = row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?;
    text.parse().map_err(|error: Error| Fault::Unreadable {
        what: "column",
        name: text.to_owned(),
        source: error.into(),
    })
}

/// Microseconds for a column.
pub(super) fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_micros)
}
