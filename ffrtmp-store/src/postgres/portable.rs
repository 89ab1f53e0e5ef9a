//! Moving a [`PostgresStore`]'s content.

use std::collections::HashSet;
use std::sync::LazyLock;

use async_trait::async_trait;
use ffrtmp_core::Result;
use ffrtmp_core::node::Node;
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::store::{Idempotency, Lane, NewJob};
use sqlx::postgres::PgConnection;
use sqlx::{Connection, Row};

use super::fault::Fault;
use super::lanes::LaneId;
use super::rows::{COLUMNS, Held, WIDTH, number, read};
use super::submit::Rows;
use super::{PostgresStore, Session, Shared, Tries, lane_rows, nodes, query, with_connection};
use crate::transfer::{Parcel, Portable, not_empty};

#[async_trait]
impl Portable for PostgresStore {
    async fn export(&self, after: u64, limit: usize) -> Result<Vec<Parcel>> {
        let shared = &self.shared;
        with_connection!(self, "postgres.export", |connection| export(shared, connection, after, limit))
    }

    async fn last_sequence(&self) -> Result<u64> {
        with_connection!(self, "postgres.last_sequence", |connection| last_sequence(connection))
    }

    async fn begin_import(&self) -> Result<u64> {
        with_connection!(self, "postgres.begin_import", |connection| begin_import(connection))
    }

    async fn import(&self, parcels: Vec<Parcel>) -> Result<()> {
        let shared = &self.shared;
        with_connection!(self, "postgres.import", |connection| import(shared, connection, &parcels))
    }

    async fn import_nodes(&self, nodes: Vec<Node>) -> Result<()> {
        for node in &nodes {
            let put: Result<()> =
                with_connection!(self, "postgres.import_nodes", |connection| nodes::put(connection, node));
            put?;
        }
        Ok(())
    }

    async fn end_import(&self, last_sequence: u64) -> Result<()> {
        with_connection!(self, "postgres.end_import", |connection| end_import(connection, last_sequence))
    }
}

async fn export(
    shared: &Shared,
    connection: &mut PgConnection,
    after: u64,
    limit: usize,
) -> Result<Vec<Parcel>, Fault> {
    // One snapshot for jobs, keys and logs.
    let mut transaction = connection.begin().await?;
    sqlx::query("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY").execute(&mut *transaction).await?;
    let rows =
        sqlx::query(SQL.as_str()).bind(number(after)).bind(number(limit as u64)).fetch_all(&mut *transaction).await?;
    let mut parcels = Vec::with_capacity(rows.len());
    for row in &rows {
        let held = read(row)?;
        let text = |column: usize| -> Result<Option<String>, Fault> {
            let bytes = row.try_get::<Option<&[u8]>, _>(column)?;
            Ok(bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned()))
        };
        let (key, digest) = (text(KEY)?, text(KEY + 1)?);
        let idempotency = key.zip(digest).map(|(key, digest)| Idempotency { key, digest });
        let logs = query::logs(&mut transaction, held.record.job.id).await?;
        let requirements = lane_of(shared, &mut transaction, &held).await?.requirements;
        parcels.push(Parcel { rank: held.rank, job: held.record.job, requirements, idempotency, logs });
    }
    transaction.commit().await?;
    Ok(parcels)
}

static SQL: LazyLock<String> = LazyLock::new(|| {
    format!(
        "SELECT {COLUMNS}, j.key, j.request_digest FROM ffrtmp.jobs j
         LEFT JOIN ffrtmp.live l ON l.sequence = j.sequence LEFT JOIN ffrtmp.ended e ON e.sequence = j.sequence
         WHERE j.sequence > $1 AND coalesce(l.state, e.state) IS NOT NULL ORDER BY j.sequence LIMIT $2"
    )
});

/// The column after those of a job.
const KEY: usize = WIDTH;

async fn lane_of(shared: &Shared, connection: &mut PgConnection, held: &Held) -> Result<Lane, Fault> {
    let LaneId(id) = held.lane;
    if !shared.lanes.knows(held.lane) {
        lane_rows::refresh(connection, &shared.lanes).await?;
    }
    let lane = shared.lanes.lane(held.lane).ok_or_else(|| Fault::unreadable("lane", id, "no row has this number"))?;
    Ok(Lane::clone(&lane))
}

async fn last_sequence(connection: &mut PgConnection) -> Result<u64, Fault> {
    let sql = "SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM ffrtmp.job_numbers";
    let last: i64 = sqlx::query_scalar(sql).fetch_one(connection).await?;
    Ok(u64::try_from(last).unwrap_or_default())
}

async fn begin_import(connection: &mut PgConnection) -> Result<u64, Fault> {
    let mut transaction = connection.begin().await?;
    let sql = "SELECT importing, EXISTS (SELECT 1 FROM ffrtmp.jobs) OR EXISTS (SELECT 1 FROM ffrtmp.nodes)
               FROM ffrtmp.about FOR UPDATE";
    let (importing, used): (bool, bool) = sqlx::query_as(sql).fetch_one(&mut *transaction).await?;
    if used && !importing {
        return Err(not_empty().into());
    }
    sqlx::query("UPDATE ffrtmp.about SET importing = true").execute(&mut *transaction).await?;
    let last = "SELECT coalesce(max(sequence), 0) FROM ffrtmp.jobs";
    let last: i64 = sqlx::query_scalar(last).fetch_one(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(u64::try_from(last).unwrap_or_default())
}

/// All of them or none: a step that is done again after a lost answer finds its jobs and leaves
/// them.
async fn import(shared: &Shared, connection: &mut PgConnection, parcels: &[Parcel]) -> Result<(), Fault> {
    let lanes: Vec<Lane> = parcels.iter().map(lane).collect();
    lane_rows::ensure(connection, &shared.lanes, lanes.iter()).await?;
    let mut transaction = connection.begin().await?;
    let numbers: Vec<i64> = parcels.iter().map(|parcel| number(parcel.job.sequence_number)).collect();
    let known: Vec<i64> = sqlx::query_scalar("SELECT sequence FROM ffrtmp.jobs WHERE sequence = ANY ($1)")
        .bind(&numbers)
        .fetch_all(&mut *transaction)
        .await?;
    let known: HashSet<i64> = known.into_iter().collect();
    let new = || parcels.iter().zip(&numbers).filter(|(_, number)| !known.contains(number));
    let mut rows = Rows::default();
    for (parcel, number) in new() {
        let Parcel { job, rank, requirements, idempotency, .. } = parcel.clone();
        rows.push(shared, NewJob { job, rank, requirements, idempotency }, *number)?;
    }
    rows.write(&mut transaction).await?;
    for (parcel, _) in new() {
        for (attempt, lines) in by_attempt(parcel) {
            query::append_logs(&mut transaction, parcel.job.id, attempt, lines).await?;
        }
    }
    transaction.commit().await?;
    Ok(())
}

fn lane(parcel: &Parcel) -> Lane {
    let Parcel { job, requirements, .. } = parcel;
    Lane { requirements: requirements.clone(), tenant: job.tenant.clone(), queue: job.queue }
}

/// Lines that follow each other in one attempt go into one row.
fn by_attempt(parcel: &Parcel) -> Vec<(u32, Vec<LogLine>)> {
    let mut runs: Vec<(u32, Vec<_>)> = Vec::new();
    for (attempt, line) in &parcel.logs {
        match runs.last_mut().filter(|(last, _)| last == attempt) {
            Some((_, lines)) => lines.push(line.clone()),
            None => runs.push((*attempt, vec![line.clone()])),
        }
    }
    runs
}

async fn end_import(connection: &mut PgConnection, last_sequence: u64) -> Result<(), Fault> {
    let mut transaction = connection.begin().await?;
    let sql =
        "SELECT setval('ffrtmp.job_numbers', greatest($1, (SELECT coalesce(max(sequence), 0) FROM ffrtmp.jobs), 1),
                             greatest($1, (SELECT coalesce(max(sequence), 0) FROM ffrtmp.jobs)) > 0)";
    sqlx::query(sql).bind(number(last_sequence)).execute(&mut *transaction).await?;
    sqlx::query("UPDATE ffrtmp.about SET importing = false").execute(&mut *transaction).await?;
    transaction.commit().await?;
    Ok(())
}
