//! Writes beside the life of jobs: ranks, logs, purge.

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::JobId;
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::store::{Due, MAX_LOG_LINES, Rank};
use rusqlite::{Connection, OptionalExtension, params};

use super::database::Database;
use super::fault::Fault;
use super::rows::{self, Stored, Table, bounded};
use super::runs;
use crate::job_not_found;
use crate::ledger::Over;
use crate::record::Phase;

/// What is over, as the ledger knows it.
pub(super) fn due(database: &mut Database, now: Timestamp, limit: usize) -> Result<Vec<Due>, Fault> {
    let mut due = Vec::new();
    for over in database.ledger.over(now, limit) {
        let (Over::Lease(sequence) | Over::Backoff(sequence)) = over;
        let id = id_of(&database.connection, sequence)?;
        due.extend(match over {
            Over::Lease(_) => database.active(id).map(|stored| Due::LeaseExpired(id, stored.job().fence)),
            Over::Backoff(_) => Some(Due::BackoffOver(id)),
        });
    }
    crate::failpoint::hit("sqlite.due.found")?;
    Ok(due)
}

fn id_of(connection: &Connection, sequence: u64) -> Result<JobId, Fault> {
    let mut statement = connection.prepare_cached("SELECT id FROM jobs WHERE sequence = ?1")?;
    let bytes = statement.query_row([sequence], |row| row.get(0))?;
    Ok(JobId::from_u128(u128::from_be_bytes(bytes)))
}

pub(super) fn rerank(database: &mut Database, ranks: &[(JobId, Rank)]) -> Result<(), Fault> {
    for (id, rank) in ranks {
        if let Some(before) = super::load::place(&database.connection, *id)?.filter(|place| place.phase == Phase::Ready)
        {
            let sql = "UPDATE pending SET rank = ?2 WHERE sequence = ?1";
            database.connection.prepare_cached(sql)?.execute(params![before.sequence, rank.0])?;
            let after = crate::ledger::Place { rank: *rank, ..before };
            database.moved(Some(before), Some(after));
        }
    }
    Ok(())
}

pub(super) fn append_logs(connection: &Connection, id: JobId, attempt: u32, lines: &[LogLine]) -> Result<(), Fault> {
    append(connection, sequence_of(connection, id)?, attempt, lines)
}

/// The same for many jobs: all of them are there before anything is written.
pub(super) fn append_many(connection: &Connection, logs: &[(JobId, u32, Vec<LogLine>)]) -> Result<(), Fault> {
    let sequences = logs.iter().map(|(id, ..)| sequence_of(connection, *id)).collect::<Result<Vec<_>, _>>()?;
    let mut each = sequences.into_iter().zip(logs);
    each.try_for_each(|(sequence, (_, attempt, lines))| append(connection, sequence, *attempt, lines))
}

fn append(connection: &Connection, sequence: u64, attempt: u32, lines: &[LogLine]) -> Result<(), Fault> {
    let last: Option<i64> = connection
        .prepare_cached("SELECT max(line) FROM logs WHERE job = ?1")?
        .query_row([sequence], |row| row.get(0))?;
    let mut number = last.unwrap_or(0);
    let surplus = lines.len().saturating_sub(MAX_LOG_LINES);
    let mut statement = connection.prepare_cached("INSERT INTO logs VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for line in &lines[surplus..] {
        number += 1;
        statement.execute(params![sequence, number, attempt, line.at.as_micros(), line.level, line.text])?;
    }
    connection
        .prepare_cached("DELETE FROM logs WHERE job = ?1 AND line <= ?2")?
        .execute(params![sequence, number - bounded(MAX_LOG_LINES)])?;
    Ok(())
}

/// The sequence number of a job.
pub(super) fn sequence_of(connection: &Connection, id: JobId) -> Result<u64, Fault> {
    let mut statement = connection.prepare_cached("SELECT sequence FROM jobs WHERE id = ?1")?;
    let sequence = statement.query_row([rows::bytes(id)], |row| row.get(0)).optional()?;
    sequence.ok_or_else(|| job_not_found(id).into())
}

pub(super) fn purge(database: &mut Database, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    let over = ended(&database.connection, before, limit)?;
    for sequence in &over {
        let stored = super::query::by_sequence(&database.connection, *sequence)?;
        forget(&database.connection, &stored)?;
        database.moved(Some(stored.place), None);
    }
    if !over.is_empty() {
        // The highest number may be among them.
        let sql = "UPDATE state SET last_sequence = ?1 WHERE last_sequence < ?1";
        database.connection.prepare_cached(sql)?.execute([database.last_sequence])?;
    }
    Ok(over.len() as u64)
}

fn ended(connection: &Connection, before: Timestamp, limit: usize) -> Result<Vec<u64>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT ended.sequence FROM ended JOIN jobs ON jobs.sequence = ended.sequence
         WHERE completed_at < ?1 AND NOT EXISTS (SELECT 1 FROM dependencies WHERE dependency = jobs.id)
         ORDER BY completed_at, ended.sequence LIMIT ?2",
    )?;
    let over = statement.query_map(params![before.as_micros(), bounded(limit)], |row| row.get(0))?;
    Ok(over.collect::<rusqlite::Result<_>>()?)
}

/// Removes everything about a job.
pub(super) fn forget(connection: &Connection, stored: &Stored) -> Result<(), Fault> {
    let sequence = stored.place.sequence;
    runs::remove(connection, Table::from(stored.place.phase), [sequence])?;
    for (key, value) in &stored.job().labels {
        let sql = "DELETE FROM labels WHERE key = ?1 AND value = ?2 AND job = ?3";
        connection.prepare_cached(sql)?.execute(params![key, value, sequence])?;
    }
    for id in &stored.job().depends_on {
        let sql = "DELETE FROM dependencies WHERE dependency = ?1 AND job = ?2";
        connection.prepare_cached(sql)?.execute(params![rows::bytes(*id), sequence])?;
    }
    for sql in [
        "DELETE FROM idempotency WHERE job = ?1",
        "DELETE FROM logs WHERE job = ?1",
        "DELETE FROM jobs WHERE sequence = ?1",
    ] {
        connection.prepare_cached(sql)?.execute([sequence])?;
    }
    Ok(())
}
