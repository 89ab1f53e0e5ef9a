//! Reads: each function is one read on any connection. Lists are in `list`.

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, JobKey, NodeId};
use ffrtmp_core::job::Job;
use ffrtmp_core::node::Node;
use ffrtmp_core::protocol::LogLine;
use rusqlite::{Connection, Params, Row};

use super::document;
use super::fault::Fault;
use super::rows::{self, Stored};
use super::upkeep::sequence_of;
use crate::{ambiguous, job_not_found, node_not_found, prefix};

pub(super) fn job(connection: &Connection, key: &JobKey) -> Result<Job, Fault> {
    let mut found = match key {
        JobKey::Id(id) => collect(connection, rows::BY_ID, [rows::bytes(*id)], rows::whole)?,
        JobKey::Sequence(number) => {
            let number = i64::try_from(*number).unwrap_or(i64::MAX);
            collect(connection, rows::BY_SEQUENCE, [number], rows::whole)?
        }
        JobKey::Prefix(text) => match prefix::ids(text) {
            Some(ids) => {
                let ends = [rows::bytes(*ids.start()), rows::bytes(*ids.end())];
                collect(connection, rows::BY_IDS, ends, rows::whole)?
            }
            None => Vec::new(),
        },
    };
    match (found.pop(), found.is_empty()) {
        (Some(stored), true) => Ok(stored.record.job),
        (Some(_), false) => Err(ambiguous(&key.to_string()).into()),
        (None, _) => Err(job_not_found(key).into()),
    }
}

/// The job with this number, which is known to be there.
pub(super) fn by_sequence(connection: &Connection, sequence: u64) -> Result<Stored, Fault> {
    let found = collect(connection, rows::BY_SEQUENCE, [sequence], rows::whole)?.pop();
    found.ok_or_else(|| job_not_found(sequence).into())
}

pub(super) fn dependents(connection: &Connection, dependency: JobId) -> Result<Vec<Job>, Fault> {
    let found = collect(connection, rows::DEPENDENTS, [rows::bytes(dependency)], rows::whole)?;
    Ok(found.into_iter().map(|stored| stored.record.job).collect())
}

pub(super) fn logs(connection: &Connection, id: JobId) -> Result<Vec<(u32, LogLine)>, Fault> {
    let sequence = sequence_of(connection, id)?;
    let sql = "SELECT attempt, at, level, text FROM logs WHERE job = ?1 ORDER BY line";
    collect(connection, sql, [sequence], |row| {
        let at = Timestamp::from_micros(row.get(1)?);
        Ok((row.get(0)?, LogLine { at, level: row.get(2)?, text: row.get(3)? }))
    })
}

pub(super) fn node(connection: &Connection, id: NodeId) -> Result<Node, Fault> {
    let sql = "SELECT document FROM nodes WHERE id = ?1";
    let node = collect(connection, sql, [id.to_string()], document::node)?.pop();
    node.ok_or_else(|| node_not_found(id).into())
}

pub(super) fn list_nodes(connection: &Connection) -> Result<Vec<Node>, Fault> {
    collect(connection, "SELECT document FROM nodes ORDER BY name, id", [], document::node)
}

pub(super) fn collect<T>(
    connection: &Connection,
    sql: &str,
    values: impl Params,
    read: impl Fn(&Row<'_>) -> Result<T, Fault>,
) -> Result<Vec<T>, Fault> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(values)?;
    let mut answer = Vec::new();
    while let Some(row) = rows.next()? {
        answer.push(read(row)?);
    }
    Ok(answer)
}
