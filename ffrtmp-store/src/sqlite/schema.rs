//! The versions of the schema and the steps between them. Each step is one transaction: a database
//! is at one version or the next, never between.

use std::path::Path;

use ffrtmp_core::job::Job;
use ffrtmp_core::store::{Lane, Rank};
use ffrtmp_core::{Code, Error};
use rusqlite::{Connection, Row, params};

use super::fault::Fault;
use super::jobs::{self, Span};
use super::rows::{self, Ready, Stored};
use crate::ledger::Ledger;
use crate::record::{Coded, Record};

/// A step: its statements, and what moves the rows that statements cannot.
type Step = (&'static str, fn(&Connection) -> Result<(), Fault>);

/// One step per version: the database's `user_version` counts those it has.
const STEPS: &[Step] = &[(include_str!("schema/001.sql"), |_| Ok(())), (include_str!("schema/002.sql"), split)];

/// "ffrt" in ASCII: marks the file as ours.
pub(super) const APPLICATION: i64 = 0x6666_7274;

/// Brings the database up to date.
pub(super) fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Fault> {
    let version: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > STEPS.len() {
        let known = STEPS.len();
        let message =
            format!("{} was written by a newer ffrtmp (schema {version}, this one knows {known})", path.display());
        return Err(Error::new(Code::Storage, message)
            .hint("upgrade this ffrtmp, or name another file with --db FILE")
            .into());
    }
    for (step, (sql, rest)) in STEPS.iter().enumerate().skip(version) {
        if version > 0 {
            tracing::info!(path = %path.display(), from = step, to = step + 1, "the database is brought up to date");
        }
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        rest(&transaction)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", step + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

/// From version 1, where a job was one document, to version 2.
fn split(connection: &Connection) -> Result<(), Fault> {
    let mut ledger = Ledger::default();
    let mut statement = connection.prepare(
        "SELECT sequence, document, rank, requirements FROM jobs_001 JOIN classes ON classes.id = class ORDER BY sequence",
    )?;
    let mut found = statement.query([])?;
    let mut span = Span::default();
    while let Some(row) = found.next()? {
        let (job, rank, lane) = document(row)?;
        let lane = match ledger.lane(&lane) {
            Some(id) => id,
            None => {
                connection.prepare_cached("INSERT INTO lanes VALUES (?1, ?2, ?3, ?4)")?.execute(params![
                    ledger.lanes_opened() as u64 + 1,
                    row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?,
                    lane.tenant.as_str(),
                    lane.queue.code(),
                ])?;
                ledger.open_lane(lane)
            }
        };
        let stored = Stored::new(Record::new(job), lane, rank);
        let ready = Ready::of(&stored.record)?;
        jobs::asked(connection, stored.job(), &stored.record.fixed()?, None)?;
        rows::write(connection, &stored, &ready, None)?;
        span.add(connection, stored.place.sequence, stored.job().created_at)?;
    }
    span.write(connection)?;
    connection.execute_batch(
        "INSERT INTO idempotency SELECT tenant, key, digest, job FROM idempotency_001;
         INSERT INTO logs SELECT job, line, attempt, at, level, text FROM logs_001;
         UPDATE state SET last_sequence = coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'jobs_001'), 0);",
    )?;
    drop(found);
    drop(statement);
    complete(connection)?;
    connection.execute_batch(
        "DROP TABLE logs_001; DROP TABLE idempotency_001; DROP TABLE dependencies_001; DROP TABLE labels_001;
         DROP TABLE jobs_001; DROP TABLE classes;",
    )?;
    Ok(())
}

fn document(row: &Row<'_>) -> Result<(Job, Rank, Lane), Fault> {
    let sequence: u64 = row.get(0)?;
    let unreadable = |source| Fault::Unreadable { what: "job", name: sequence.to_string(), source };
    let text = |column| -> Result<_, Fault> { Ok(row.get_ref(column)?.as_str().map_err(rusqlite::Error::from)?) };
    let mut job: Job = serde_json::from_str(text(1)?).map_err(|error| unreadable(error.into()))?;
    job.sequence_number = sequence;
    let requirements = serde_json::from_str(text(3)?).map_err(|error| unreadable(error.into()))?;
    let lane = Lane { requirements, tenant: job.tenant.clone(), queue: job.queue };
    Ok((job, Rank(row.get(2)?), lane))
}

/// Nothing may be lost on the way.
fn complete(connection: &Connection) -> Result<(), Fault> {
    for (what, count) in [
        ("jobs", "(SELECT count(*) FROM jobs) - (SELECT count(*) FROM jobs_001)"),
        (
            "jobs",
            "(SELECT count(*) FROM pending) + (SELECT count(*) FROM active) + (SELECT count(*) FROM ended)
             - (SELECT count(*) FROM jobs_001)",
        ),
        ("labels", "(SELECT count(*) FROM labels) - (SELECT count(*) FROM labels_001)"),
        ("logs", "(SELECT count(*) FROM logs) - (SELECT count(*) FROM logs_001)"),
    ] {
        let surplus: i64 = connection.query_row(&format!("SELECT {count}"), [], |row| row.get(0))?;
        if surplus != 0 {
            return Err(Fault::Unreadable {
                what: "schema 1:",
                name: what.to_owned(),
                source: format!("{} of them would be lost", surplus.abs()).into(),
            });
        }
    }
    Ok(())
}
