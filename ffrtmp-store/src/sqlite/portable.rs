//! Moving a [`SqliteStore`]'s content.

use std::sync::Arc;

use async_trait::async_trait;
use ffrtmp_core::Result;
use ffrtmp_core::node::Node;
use ffrtmp_core::store::{Idempotency, Lane};
use rusqlite::{Connection, OptionalExtension};

use super::database::Database;
use super::fault::Fault;
use super::jobs::{self, Span};
use super::rows::{self, Ready, Stored, bounded};
use super::{SqliteStore, nodes, query, upkeep};
use crate::record::{Phase, Record};
use crate::transfer::{Parcel, Portable, not_empty};

#[async_trait]
impl Portable for SqliteStore {
    async fn export(&self, after: u64, limit: usize) -> Result<Vec<Parcel>> {
        self.write("sqlite.export", move |database| export(database, after, limit)).await
    }

    async fn last_sequence(&self) -> Result<u64> {
        self.write("sqlite.last_sequence", |database| Ok(database.last_sequence)).await
    }

    async fn begin_import(&self) -> Result<u64> {
        self.write("sqlite.begin_import", begin_import).await
    }

    async fn import(&self, parcels: Vec<Parcel>) -> Result<()> {
        self.write("sqlite.import", move |database| parcels.into_iter().try_for_each(|parcel| import(database, parcel)))
            .await
    }

    async fn import_nodes(&self, nodes: Vec<Node>) -> Result<()> {
        let save =
            move |database: &mut Database| nodes.iter().try_for_each(|node| nodes::save(&database.connection, node));
        self.write("sqlite.import_nodes", save).await
    }

    async fn end_import(&self, last_sequence: u64) -> Result<()> {
        let end = move |database: &mut Database| {
            database.last_sequence = database.last_sequence.max(last_sequence);
            let sql = "UPDATE state SET importing = 0, last_sequence = max(last_sequence, ?1)";
            database.connection.prepare_cached(sql)?.execute([database.last_sequence])?;
            Ok(())
        };
        self.write("sqlite.end_import", end).await
    }
}

/// On the writer's connection: there the lanes are known.
fn export(database: &mut Database, after: u64, limit: usize) -> Result<Vec<Parcel>, Fault> {
    let connection = &database.connection;
    let found = query::collect(connection, rows::AFTER, (after, bounded(limit)), rows::whole)?;
    found
        .into_iter()
        .map(|stored| {
            let Stored { record, place } = stored;
            let lane = database.ledger.lane_of(place.lane).ok_or_else(|| rows::not_there(place.sequence))?;
            Ok(Parcel {
                rank: place.rank,
                requirements: lane.requirements.clone(),
                idempotency: idempotency(connection, place.sequence)?,
                logs: query::logs(connection, record.job.id)?,
                job: record.job,
            })
        })
        .collect()
}

fn idempotency(connection: &Connection, sequence: u64) -> Result<Option<Idempotency>, Fault> {
    let mut statement = connection.prepare_cached("SELECT key, digest FROM idempotency WHERE job = ?1")?;
    let known = statement.query_row([sequence], |row| Ok(Idempotency { key: row.get(0)?, digest: row.get(1)? }));
    Ok(known.optional()?)
}

fn begin_import(database: &mut Database) -> Result<u64, Fault> {
    let connection = &database.connection;
    let is_importing: bool = connection.query_row("SELECT importing FROM state", [], |row| row.get(0))?;
    let sql = "SELECT EXISTS (SELECT 1 FROM jobs) OR EXISTS (SELECT 1 FROM nodes)";
    if !is_importing && connection.query_row(sql, [], |row| row.get(0))? {
        return Err(not_empty().into());
    }
    connection.execute("UPDATE state SET importing = 1", [])?;
    Ok(connection.query_row("SELECT coalesce(max(sequence), 0) FROM jobs", [], |row| row.get(0))?)
}

fn import(database: &mut Database, parcel: Parcel) -> Result<(), Fault> {
    let Parcel { job, rank, requirements, idempotency, logs } = parcel;
    let (id, sequence, created_at) = (job.id, job.sequence_number, job.created_at);
    let record = Record::new(job);
    let (fixed, ready) = (record.fixed()?, Ready::of(&record)?);
    replace(database, sequence)?;
    let lane = Lane { requirements, tenant: record.job.tenant.clone(), queue: record.job.queue };
    let lane = database.lane(lane)?;
    let stored = Stored::new(record, lane, rank);
    jobs::asked(&database.connection, stored.job(), &fixed, idempotency.as_ref())?;
    rows::write(&database.connection, &stored, &ready, None)?;
    let mut span = Span::default();
    span.add(&database.connection, sequence, created_at)?;
    span.write(&database.connection)?;
    for (attempt, line) in logs {
        upkeep::append_logs(&database.connection, id, attempt, &[line])?;
    }
    database.last_sequence = database.last_sequence.max(sequence);
    database.moved(None, Some(stored.place));
    if stored.place.phase == Phase::Leased {
        database.activate(Arc::new(stored));
    }
    Ok(())
}

/// A move that is repeated brings a job again.
fn replace(database: &mut Database, sequence: u64) -> Result<(), Fault> {
    let Some(known) = query::collect(&database.connection, rows::BY_SEQUENCE, [sequence], rows::whole)?.pop() else {
        return Ok(());
    };
    upkeep::forget(&database.connection, &known)?;
    if known.place.phase == Phase::Leased {
        database.deactivate(known.job().id);
    }
    database.moved(Some(known.place), None);
    Ok(())
}
