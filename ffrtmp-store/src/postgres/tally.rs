//! How many jobs stand where: every transaction adds the difference it made, whoever counts adds
//! up, and now and then somebody replaces many differences by their sum. No two transactions wait
//! for each other, and nobody counts jobs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use ffrtmp_core::job::{EngineName, Job, JobState, Priority};
use ffrtmp_core::store::{Counts, Lane};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};

use super::fault::Fault;
use super::lanes::{LaneId, Lanes};
use super::rows::word;
use crate::record::Coded;

/// Paused while a node holds the job.
const FROZEN: i16 = 11;

/// What jobs are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stand {
    lane: LaneId,
    priority: i16,
    engine: i16,
    state: i16,
}

impl Stand {
    pub(super) fn of(lane: LaneId, job: &Job) -> Self {
        let state = if job.is_frozen() { FROZEN } else { job.state.code() };
        Self { lane, priority: job.priority.code(), engine: job.engine_used.map_or(0, Coded::code), state }
    }
}

/// The difference that a transaction makes.
#[derive(Debug, Default)]
pub(super) struct Difference(HashMap<Stand, i64>);

impl Difference {
    pub(super) fn came(&mut self, stand: Stand) {
        *self.0.entry(stand).or_default() += 1;
    }

    pub(super) fn went(&mut self, stand: Stand) {
        *self.0.entry(stand).or_default() -= 1;
    }

    /// As columns, for one of the statements of the transaction.
    pub(super) fn take(&mut self) -> Deltas {
        let mut deltas = Deltas::default();
        for (stand, jobs) in self.0.drain().filter(|(_, jobs)| *jobs != 0) {
            deltas.jobs.push(jobs);
            deltas.lane.push(stand.lane.0);
            deltas.priority.push(stand.priority);
            deltas.engine.push(stand.engine);
            deltas.state.push(stand.state);
        }
        deltas
    }
}

/// A difference, column by column.
#[derive(Debug, Default)]
pub(super) struct Deltas {
    pub(super) jobs: Vec<i64>,
    pub(super) lane: Vec<i32>,
    pub(super) priority: Vec<i16>,
    pub(super) engine: Vec<i16>,
    pub(super) state: Vec<i16>,
}

impl Deltas {
    /// Writes them with a statement of their own.
    pub(super) async fn write(self, connection: &mut PgConnection) -> Result<(), Fault> {
        if self.jobs.is_empty() {
            return Ok(());
        }
        sqlx::query(
            "INSERT INTO ffrtmp.tally (jobs, lane, priority, engine, state)
             SELECT * FROM unnest($1::bigint[], $2::integer[], $3::smallint[], $4::smallint[], $5::smallint[])",
        )
        .bind(self.jobs)
        .bind(self.lane)
        .bind(self.priority)
        .bind(self.engine)
        .bind(self.state)
        .execute(connection)
        .await?;
        Ok(())
    }
}

/// Reads `lane, priority, engine, state, jobs`. A claim does not know the engines of its jobs: what it
/// moves, it moves at engine 0, so that one sum alone may be below zero.
const SUMS: &str = "SELECT lane, priority, engine, state, sum(jobs)::bigint FROM ffrtmp.tally
                    GROUP BY lane, priority, engine, state HAVING sum(jobs) <> 0";

struct Sum {
    lane: Arc<Lane>,
    id: LaneId,
    priority: Priority,
    engine: Option<EngineName>,
    state: JobState,
    frozen: bool,
    jobs: i64,
}

fn sum(row: &PgRow, lanes: &Lanes) -> Result<Option<Sum>, Fault> {
    let id = LaneId(row.try_get(0)?);
    let Some(lane) = lanes.lane(id) else { return Ok(None) };
    let (engine, state): (i16, i16) = (row.try_get(2)?, row.try_get(3)?);
    let frozen = state == FROZEN;
    Ok(Some(Sum {
        lane,
        id,
        priority: word(row, 1)?,
        engine: EngineName::from_code(engine),
        state: if frozen { JobState::Paused } else { word(row, 3)? },
        frozen,
        jobs: row.try_get(4)?,
    }))
}

async fn sums(connection: &mut PgConnection, lanes: &Lanes) -> Result<Vec<Sum>, Fault> {
    let rows = sqlx::query(SUMS).fetch_all(&mut *connection).await?;
    let unknown = |row: &PgRow| row.try_get(0).is_ok_and(|id| !lanes.knows(LaneId(id)));
    if rows.iter().any(unknown) {
        super::lane_rows::refresh(connection, lanes).await?;
    }
    let mut sums = Vec::with_capacity(rows.len());
    for row in &rows {
        sums.extend(sum(row, lanes)?);
    }
    Ok(sums)
}

/// Jobs by something.
type By<K> = BTreeMap<K, i64>;

/// What there is any of.
fn some<K: Ord>(by: By<K>) -> BTreeMap<K, u64> {
    by.into_iter()
        .filter_map(|(key, jobs)| u64::try_from(jobs).ok().filter(|jobs| *jobs > 0).map(|jobs| (key, jobs)))
        .collect()
}

pub(super) async fn counts(connection: &mut PgConnection, lanes: &Lanes) -> Result<Counts, Fault> {
    let (mut by_state, mut by_queue, mut by_engine) = (By::new(), By::new(), By::new());
    let (mut queued_by_priority, mut queued_by_queue, mut completed_by_engine) = (By::new(), By::new(), By::new());
    for Sum { lane, priority, engine, state, jobs, .. } in sums(connection, lanes).await? {
        *by_state.entry(state).or_default() += jobs;
        *by_queue.entry(lane.queue).or_default() += jobs;
        if state == JobState::Queued {
            *queued_by_priority.entry(priority).or_default() += jobs;
            *queued_by_queue.entry(lane.queue).or_default() += jobs;
        }
        if let Some(engine) = engine {
            *by_engine.entry(engine).or_default() += jobs;
            if state == JobState::Completed {
                *completed_by_engine.entry(engine).or_default() += jobs;
            }
        }
    }
    Ok(Counts {
        by_state: some(by_state),
        queued_by_priority: some(queued_by_priority),
        queued_by_queue: some(queued_by_queue),
        by_queue: some(by_queue),
        by_engine: some(by_engine),
        completed_by_engine: some(completed_by_engine),
    })
}

/// Queued and active jobs by lane.
pub(super) async fn standings(
    connection: &mut PgConnection,
    lanes: &Lanes,
) -> Result<HashMap<LaneId, (Arc<Lane>, u64, u64)>, Fault> {
    let mut standings: HashMap<LaneId, (Arc<Lane>, i64, i64)> = HashMap::new();
    for Sum { lane, id, state, frozen, jobs, .. } in sums(connection, lanes).await? {
        let (queued, active) = (state == JobState::Queued, state.is_active() || frozen);
        let standing = standings.entry(id).or_insert((lane, 0, 0));
        standing.1 += if queued { jobs } else { 0 };
        standing.2 += if active { jobs } else { 0 };
    }
    let counted = |jobs: i64| u64::try_from(jobs).unwrap_or_default();
    Ok(standings
        .into_iter()
        .map(|(id, (lane, queued, active))| (id, (lane, counted(queued), counted(active))))
        .filter(|(_, (_, queued, active))| queued + active > 0)
        .collect())
}

/// Replaces many differences by their sum, in one statement. Whoever else does so at the same time
/// replaces other rows.
pub(super) async fn compact(connection: &mut PgConnection) -> Result<(), Fault> {
    sqlx::query(
        "WITH old AS (DELETE FROM ffrtmp.tally WHERE ctid = ANY (ARRAY(
                SELECT ctid FROM ffrtmp.tally LIMIT 100000 FOR UPDATE SKIP LOCKED)) RETURNING *)
         INSERT INTO ffrtmp.tally (jobs, lane, priority, engine, state)
         SELECT sum(jobs)::bigint, lane, priority, engine, state FROM old
         GROUP BY lane, priority, engine, state HAVING sum(jobs) <> 0",
    )
    .execute(connection)
    .await?;
    Ok(())
}
