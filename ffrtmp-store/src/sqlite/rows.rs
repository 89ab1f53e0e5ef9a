//! Rows: a job's parts as columns, read and written. Which row is written when is in `jobs`.

use std::sync::Arc;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{Fence, JobId, NodeId};
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::store::Rank;
use rusqlite::{Connection, Row, params};

use super::facet::Facet;
use super::fault::Fault;
use super::runs;
use crate::ledger::{LaneId, Place};
use crate::record::{End, Hot, Phase, Record};

/// The table that holds where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Table {
    Pending,
    Active,
    Ended,
}

impl From<Phase> for Table {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Waiting | Phase::Ready | Phase::Backoff | Phase::Held => Self::Pending,
            Phase::Leased => Self::Active,
            Phase::Ended => Self::Ended,
        }
    }
}

/// A job with its place, as its rows hold it.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) record: Record,
    pub(super) place: Place,
}

impl Stored {
    pub(super) fn new(record: Record, lane: LaneId, rank: Rank) -> Self {
        let place = Place::of(&record.job, lane, rank);
        Self { record, place }
    }

    pub(super) fn job(&self) -> &Job {
        &self.record.job
    }

    /// The place after a change of the job.
    pub(super) fn moved(&mut self) {
        self.place = Place::of(&self.record.job, self.place.lane, self.place.rank);
    }
}

/// A job as an answer. The copy, where one is needed, is made by whoever waits for the answer and not
/// by the writer.
#[derive(Debug)]
pub(super) struct Told(pub(super) Arc<Stored>);

impl From<Told> for Job {
    fn from(Told(stored): Told) -> Self {
        Arc::try_unwrap(stored).map_or_else(|shared| shared.record.job.clone(), |stored| stored.record.job)
    }
}

macro_rules! hot_columns {
    ($table:literal) => {
        concat!(
            $table,
            ".facet, ",
            $table,
            ".lane, ",
            $table,
            ".rank, ",
            $table,
            ".node, ",
            $table,
            ".fence, ",
            $table,
            ".attempt, ",
            $table,
            ".retry_count, ",
            $table,
            ".progress, ",
            $table,
            ".queued_at, ",
            $table,
            ".started_at, ",
            $table,
            ".last_activity_at, ",
            $table,
            ".lease_expires_at, ",
            $table,
            ".retry_at, ",
            $table,
            ".story"
        )
    };
}

macro_rules! whole {
    ($rest:literal) => {
        concat!(
            "SELECT jobs.sequence, jobs.id, jobs.fixed, ",
            hot_columns!("active"),
            ", ",
            hot_columns!("pending"),
            ", ended.facet, ended.lane, ended.rank, ended.node, ended.completed_at, ended.story
             FROM jobs LEFT JOIN active ON active.sequence = jobs.sequence
                       LEFT JOIN pending ON pending.sequence = jobs.sequence
                       LEFT JOIN ended ON ended.sequence = jobs.sequence ",
            $rest
        )
    };
}

/// Whole jobs, whatever has become of them; [`whole`] reads the rows.
pub(super) const BY_ID: &str = whole!("WHERE jobs.id = ?1");
pub(super) const BY_SEQUENCE: &str = whole!("WHERE jobs.sequence = ?1");
pub(super) const BY_IDS: &str = whole!("WHERE jobs.id BETWEEN ?1 AND ?2 LIMIT 2");
pub(super) const AFTER: &str = whole!("WHERE jobs.sequence > ?1 ORDER BY jobs.sequence LIMIT ?2");
pub(super) const DEPENDENTS: &str =
    whole!("WHERE jobs.sequence IN (SELECT job FROM dependencies WHERE dependency = ?1) ORDER BY jobs.sequence");

/// Jobs of one table, side by side; [`hot`] reads the rows.
pub(super) const PENDING: &str = concat!(
    "SELECT jobs.sequence, jobs.id, jobs.fixed, ",
    hot_columns!("pending"),
    " FROM pending CROSS JOIN jobs ON jobs.sequence = pending.sequence
       WHERE pending.sequence BETWEEN ?1 AND ?2 ORDER BY pending.sequence"
);
pub(super) const ACTIVE: &str = concat!(
    "SELECT jobs.sequence, jobs.id, jobs.fixed, ",
    hot_columns!("active"),
    " FROM active JOIN jobs ON jobs.sequence = active.sequence"
);

const FIXED: usize = 3;
const HOT: usize = 14;

/// Reads a row of one of the queries for whole jobs.
pub(super) fn whole(row: &Row<'_>) -> Result<Stored, Fault> {
    let is = |first| row.get_ref(first).map(|facet| facet != rusqlite::types::ValueRef::Null);
    if is(FIXED)? {
        hot(row, FIXED)
    } else if is(FIXED + HOT)? {
        hot(row, FIXED + HOT)
    } else {
        ended(row, FIXED + 2 * HOT)
    }
}

/// Reads a job that has not ended, its hot columns from `first` on.
pub(super) fn hot(row: &Row<'_>, first: usize) -> Result<Stored, Fault> {
    let sequence: u64 = row.get(0)?;
    let state = words(row, first)?.cell.state;
    let hot = Hot {
        state,
        node: id(row, first + 3)?.map(NodeId::from_u128),
        fence: Fence(row.get(first + 4)?),
        attempt: row.get(first + 5)?,
        retry_count: row.get(first + 6)?,
        progress: row.get(first + 7)?,
        queued_at: time(row, first + 8)?,
        started_at: time(row, first + 9)?,
        last_activity_at: time(row, first + 10)?,
        lease_expires_at: time(row, first + 11)?,
        retry_at: time(row, first + 12)?,
        story: row.get(first + 13)?,
    };
    let record =
        Record::from_hot(job_id(row)?, sequence, text(row, 2)?, hot).map_err(|error| unreadable(sequence, error))?;
    stored(row, first, record)
}

fn ended(row: &Row<'_>, first: usize) -> Result<Stored, Fault> {
    let sequence: u64 = row.get(0)?;
    let end = End {
        state: words(row, first)?.cell.state,
        node: id(row, first + 3)?.map(NodeId::from_u128),
        completed_at: time(row, first + 4)?,
        story: row.get(first + 5)?,
    };
    let record =
        Record::from_end(job_id(row)?, sequence, text(row, 2)?, &end).map_err(|error| unreadable(sequence, error))?;
    stored(row, first, record)
}

fn stored(row: &Row<'_>, first: usize, record: Record) -> Result<Stored, Fault> {
    Ok(Stored::new(record, lane(row, first + 1)?, Rank(row.get(first + 2)?)))
}

/// Lanes are numbered from 1 in the database.
pub(super) fn lane(row: &Row<'_>, column: usize) -> Result<LaneId, Fault> {
    let number: u32 = row.get(column)?;
    Ok(LaneId(number.saturating_sub(1)))
}

pub(super) fn words(row: &Row<'_>, column: usize) -> Result<super::facet::Words, Fault> {
    let facet = Facet(row.get(column)?);
    facet.words().ok_or_else(|| Fault::Unreadable {
        what: "facet",
        name: facet.0.to_string(),
        source: "no job has this number".into(),
    })
}

fn unreadable(sequence: u64, error: serde_json::Error) -> Fault {
    Fault::Unreadable { what: "job", name: sequence.to_string(), source: error.into() }
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, Fault> {
    Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?)
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, Fault> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros))
}

fn job_id(row: &Row<'_>) -> Result<JobId, Fault> {
    let number = id(row, 1)?.ok_or(rusqlite::Error::InvalidQuery)?;
    Ok(JobId::from_u128(number))
}

/// An id of 16 bytes.
pub(super) fn id(row: &Row<'_>, column: usize) -> Result<Option<u128>, Fault> {
    let bytes: Option<[u8; 16]> = row.get(column)?;
    Ok(bytes.map(u128::from_be_bytes))
}

/// An id for a column.
pub(super) fn bytes(id: JobId) -> [u8; 16] {
    id.as_u128().to_be_bytes()
}

/// A node for a column.
pub(super) fn node_bytes(id: NodeId) -> [u8; 16] {
    id.as_u128().to_be_bytes()
}

/// Microseconds for a column.
pub(super) fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_micros)
}

/// A count as SQLite takes it.
pub(super) fn bounded(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The row of a job, ready to be written: whatever JSON refuses is refused before anything is.
pub(super) enum Ready {
    Hot(Hot),
    End(End),
}

impl Ready {
    pub(super) fn of(record: &Record) -> Result<Self, Fault> {
        Ok(match Phase::from(&record.job) {
            Phase::Ended => Self::End(record.end()?),
            _ => Self::Hot(record.hot()?),
        })
    }

    /// The same with the report that came with the change, encoded already.
    pub(super) fn with_report(record: &Record, report: Option<&str>) -> Result<Self, Fault> {
        match report {
            Some(_) if record.job.state == JobState::Completed => Ok(Self::End(record.end_with(report)?)),
            _ => Self::of(record),
        }
    }
}

macro_rules! insert {
    ($table:literal) => {
        concat!(
            "INSERT INTO ",
            $table,
            " (sequence, facet, lane, rank, node, fence, attempt, retry_count, progress, queued_at, started_at,
               last_activity_at, lease_expires_at, retry_at, story)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)"
        )
    };
}

// Not an upsert: with one SQLite keeps a copy of every page that the statement changes.
macro_rules! update {
    ($table:literal) => {
        concat!(
            "UPDATE ",
            $table,
            " SET facet = ?2, lane = ?3, rank = ?4, node = ?5, fence = ?6, attempt = ?7, retry_count = ?8,
                  progress = ?9, queued_at = ?10, started_at = ?11, last_activity_at = ?12,
                  lease_expires_at = ?13, retry_at = ?14, story = ?15 WHERE sequence = ?1"
        )
    };
}

/// Writes where the job stands now, and removes where it stood.
pub(super) fn write(
    connection: &Connection,
    stored: &Stored,
    ready: &Ready,
    before: Option<Phase>,
) -> Result<(), Fault> {
    let (table, before) = (Table::from(stored.place.phase), before.map(Table::from));
    if let Some(before) = before.filter(|before| *before != table) {
        runs::remove(connection, before, [stored.place.sequence])?;
    }
    match ready {
        Ready::Hot(hot) if before == Some(table) => write_hot(connection, stored.place, stored.job(), hot),
        Ready::Hot(hot) => {
            let sql = if table == Table::Active { insert!("active") } else { insert!("pending") };
            put_hot(connection, sql, stored.place, stored.job(), hot)
        }
        Ready::End(end) => put_end(connection, stored, end),
    }
}

pub(super) fn not_there(sequence: u64) -> Fault {
    Fault::Unreadable { what: "job", name: sequence.to_string(), source: "it is not where this process left it".into() }
}

/// Writes a job that stays in its table.
fn write_hot(connection: &Connection, place: Place, job: &Job, hot: &Hot) -> Result<(), Fault> {
    let sql = if Table::from(place.phase) == Table::Active { update!("active") } else { update!("pending") };
    put_hot(connection, sql, place, job, hot)
}

fn put_hot(connection: &Connection, sql: &str, place: Place, job: &Job, hot: &Hot) -> Result<(), Fault> {
    let Place { sequence, lane, rank, .. } = place;
    let changed = connection.prepare_cached(sql)?.execute(params![
        sequence,
        Facet::from(job).0,
        i64::from(lane.0) + 1,
        rank.0,
        hot.node.map(node_bytes),
        hot.fence.0,
        hot.attempt,
        hot.retry_count,
        hot.progress,
        micros(hot.queued_at),
        micros(hot.started_at),
        micros(hot.last_activity_at),
        micros(hot.lease_expires_at),
        micros(hot.retry_at),
        hot.story,
    ])?;
    if changed == 1 { Ok(()) } else { Err(not_there(sequence)) }
}

fn put_end(connection: &Connection, stored: &Stored, end: &End) -> Result<(), Fault> {
    let Place { sequence, lane, rank, .. } = stored.place;
    connection
        .prepare_cached(
            "INSERT INTO ended (sequence, facet, lane, rank, node, completed_at, story)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            sequence,
            Facet::from(stored.job()).0,
            i64::from(lane.0) + 1,
            rank.0,
            end.node.map(node_bytes),
            micros(end.completed_at),
            end.story,
        ])?;
    Ok(())
}
