//! Reads: each function is one read on any connection.

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{Fence, JobId, JobKey, NodeId};
use ffrtmp_core::job::Job;
use ffrtmp_core::node::Node;
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::store::{Due, JobFilter, Page};
use rusqlite::types::Value;
use rusqlite::{Connection, Params, Row, params, params_from_iter};

use super::document;
use super::fault::Fault;
use super::jobs::{bounded, sequence_of};
use crate::{ambiguous, job_not_found, node_not_found, prefix};

pub(super) fn job(connection: &Connection, key: &JobKey) -> Result<Job, Fault> {
    let mut found = match key {
        JobKey::Id(id) => jobs(connection, "SELECT sequence, document FROM jobs WHERE id = ?1", [id.to_string()])?,
        JobKey::Sequence(number) => {
            let number = i64::try_from(*number).unwrap_or(i64::MAX);
            jobs(connection, "SELECT sequence, document FROM jobs WHERE sequence = ?1", [number])?
        }
        JobKey::Prefix(text) => match prefix::ids(text) {
            Some(ids) => jobs(
                connection,
                "SELECT sequence, document FROM jobs WHERE id BETWEEN ?1 AND ?2 LIMIT 2",
                [ids.start().to_string(), ids.end().to_string()],
            )?,
            None => Vec::new(),
        },
    };
    match (found.pop(), found.is_empty()) {
        (Some(job), true) => Ok(job),
        (Some(_), false) => Err(ambiguous(&key.to_string()).into()),
        (None, _) => Err(job_not_found(key).into()),
    }
}

pub(super) fn list(connection: &Connection, filter: &JobFilter, page: Page) -> Result<Vec<Job>, Fault> {
    let mut wanted = Conditions::default();
    wanted.add("sequence < ?", page.before.map(|before| Value::Integer(i64::try_from(before).unwrap_or(i64::MAX))));
    wanted.add("tenant = ?", filter.tenant.as_ref().map(|tenant| text(tenant.as_str())));
    wanted.any("state", filter.states.iter().map(|state| text(state.as_str())));
    wanted.add("queue = ?", filter.queue.map(|queue| text(queue.as_str())));
    wanted.add("priority = ?", filter.priority.map(|priority| text(priority.as_str())));
    wanted.add("classification = ?", filter.classification.map(|classification| text(classification.as_str())));
    wanted.add("node = ?", filter.node_id.map(|node| Value::Text(node.to_string())));
    wanted.add("scenario = ?", filter.scenario.as_deref().map(text));
    wanted.add("created_at >= ?", filter.created_after.map(|after| Value::Integer(after.as_micros())));
    wanted.add("created_at < ?", filter.created_before.map(|before| Value::Integer(before.as_micros())));
    for (key, value) in &filter.labels {
        let carried = "EXISTS (SELECT 1 FROM labels WHERE job = sequence AND key = ? AND value = ?)";
        wanted.push(carried, [text(key), text(value)]);
    }
    wanted.values.push(Value::Integer(bounded(page.limit)));
    let sql = format!("SELECT sequence, document FROM jobs{} ORDER BY sequence DESC LIMIT ?", wanted.clause);
    jobs(connection, &sql, params_from_iter(wanted.values))
}

/// A `WHERE` clause made of fixed fragments; every value is bound.
#[derive(Default)]
struct Conditions {
    clause: String,
    values: Vec<Value>,
}

impl Conditions {
    fn add(&mut self, condition: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.push(condition, [value]);
        }
    }

    fn any(&mut self, column: &str, values: impl Iterator<Item = Value>) {
        let values: Vec<Value> = values.collect();
        if !values.is_empty() {
            let places = vec!["?"; values.len()].join(", ");
            self.push(&format!("{column} IN ({places})"), values);
        }
    }

    fn push(&mut self, condition: &str, values: impl IntoIterator<Item = Value>) {
        self.clause.push_str(if self.clause.is_empty() { " WHERE " } else { " AND " });
        self.clause.push_str(condition);
        self.values.extend(values);
    }
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

pub(super) fn due(connection: &Connection, now: Timestamp, limit: usize) -> Result<Vec<Due>, Fault> {
    collect(
        connection,
        "SELECT id, fence FROM (
             SELECT * FROM (SELECT lease_expires_at AS at, sequence, id, fence FROM jobs
                            WHERE lease_expires_at IS NOT NULL AND lease_expires_at <= ?1
                            ORDER BY lease_expires_at, sequence LIMIT ?2)
             UNION ALL
             SELECT * FROM (SELECT retry_at AS at, sequence, id, NULL FROM jobs
                            WHERE retry_at IS NOT NULL AND retry_at <= ?1
                            ORDER BY retry_at, sequence LIMIT ?2))
         ORDER BY at, sequence LIMIT ?2",
        params![now.as_micros(), bounded(limit)],
        |row| {
            let id: JobId = document::word(row, 0)?;
            let fence: Option<u64> = row.get(1)?;
            Ok(fence.map_or(Due::BackoffOver(id), |fence| Due::LeaseExpired(id, Fence(fence))))
        },
    )
}

pub(super) fn dependents(connection: &Connection, dependency: JobId) -> Result<Vec<Job>, Fault> {
    jobs(
        connection,
        "SELECT sequence, document FROM dependencies JOIN jobs ON sequence = job
         WHERE dependency = ?1 AND state = 'waiting' ORDER BY sequence",
        [dependency.to_string()],
    )
}

pub(super) fn logs(connection: &Connection, id: JobId) -> Result<Vec<(u32, LogLine)>, Fault> {
    let lines = collect(
        connection,
        "SELECT attempt, at, level, text FROM jobs JOIN logs ON job = sequence WHERE id = ?1 ORDER BY line",
        [id.to_string()],
        |row| {
            let at = Timestamp::from_micros(row.get(1)?);
            Ok((row.get(0)?, LogLine { at, level: row.get(2)?, text: row.get(3)? }))
        },
    )?;
    if lines.is_empty() {
        sequence_of(connection, id)?;
    }
    Ok(lines)
}

pub(super) fn node(connection: &Connection, id: NodeId) -> Result<Node, Fault> {
    let sql = "SELECT document FROM nodes WHERE id = ?1";
    let node = collect(connection, sql, [id.to_string()], document::node)?.pop();
    node.ok_or_else(|| node_not_found(id).into())
}

pub(super) fn list_nodes(connection: &Connection) -> Result<Vec<Node>, Fault> {
    collect(connection, "SELECT document FROM nodes ORDER BY name, id", [], document::node)
}

fn jobs(connection: &Connection, sql: &str, values: impl Params) -> Result<Vec<Job>, Fault> {
    collect(connection, sql, values, document::job)
}

fn collect<T>(
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
