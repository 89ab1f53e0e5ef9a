//! The changes of a job that come most often, each one statement that is a transaction by itself: a
//! claim, and what nodes say of attempts (they begin, go on, end). None touches what it did not change.

use std::sync::LazyLock;

use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::claim::Question;
use super::fault::Fault;
use super::lanes::Open;
use super::rows::{DONE, EndRows, Held, Numbers, all_of, bind_all, micros, uuid};
use super::tally::Deltas;
use crate::record::Coded;

/// What a claim does to a row of `live` that was taken for the asker `g.asker`; the columns of the
/// askers are the parameters 1 to 4.
const GIVE: &str = "UPDATE ffrtmp.live l SET fence = l.fence + 1, attempt = l.attempt + 1, phase = 2, state = 4,
    progress = 0, node_before = l.node, node = ($1::uuid[])[g.asker], node_name = ($2::text[])[g.asker],
    claimed_at = ($3::bigint[])[g.asker], last_activity_at = ($3::bigint[])[g.asker],
    lease_expires_at = ($4::bigint[])[g.asker]";

/// What a claim reads of a row that it changed, as `l`: the job as it was before, but for the version.
const BEFORE: &str = "l.rank, l.sequence, l.version, l.fence - 1 AS fence, l.attempt - 1 AS attempt, l.retry_count,
    l.node_before AS node, l.queued_at, l.started_at, l.last_activity_at, l.story";

/// The same with what was asked of the job `j`, in the order in which it is answered.
const READ: &str = "g.rank, g.sequence, j.id, j.fixed, g.version, g.fence, g.attempt, g.retry_count, g.node,
    g.queued_at, g.started_at, g.last_activity_at, g.story";

/// Nodes that ask for jobs, column by column.
#[derive(Debug, Default)]
pub(super) struct Askers {
    node: Vec<Uuid>,
    name: Vec<String>,
    at: Vec<i64>,
    until: Vec<i64>,
}

impl Askers {
    /// Adds one; its place is the number of those before it.
    pub(super) fn push(&mut self, Question { order, now }: &Question) {
        self.node.push(uuid(order.node));
        self.name.push(order.node_name.clone());
        self.at.push(now.as_micros());
        self.until.push((*now + order.lease).as_micros());
    }

    /// Gives the first jobs of a lane to the askers in their order, as many to each as `slots` says,
    /// and marks them with the version `mark`. Answers with [`READ`] and the asker's place.
    ///
    /// What is locked by somebody else is passed over.
    pub(super) async fn take(
        self,
        connection: &mut PgConnection,
        open: &Open,
        slots: &[i64],
        mark: i64,
    ) -> Result<Vec<PgRow>, Fault> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                "WITH heads AS (
                     SELECT h.sequence,
                            width_bucket(row_number() OVER (ORDER BY h.rank, h.sequence) - 1, $9::bigint[]) + 1 AS asker
                     FROM (SELECT rank, sequence FROM ffrtmp.live
                           WHERE live.lane = $5 AND live.phase = 1 AND (live.rank, live.sequence) >= ($6, $7)
                           ORDER BY live.rank, live.sequence LIMIT $8 FOR NO KEY UPDATE SKIP LOCKED) h),
                 given AS ({GIVE}, version = $10 FROM heads g
                     WHERE l.sequence = g.sequence AND l.phase = 1
                     RETURNING {BEFORE}, g.asker - 1 AS place),
                 read AS (SELECT {READ}, g.place, j.priority FROM given g JOIN ffrtmp.jobs j ON j.sequence = g.sequence),
                 counted AS (INSERT INTO ffrtmp.tally (jobs, lane, priority, engine, state)
                     SELECT v.sign * c.jobs, $5, c.priority, 0, v.state
                     FROM (SELECT priority, count(*) AS jobs FROM read GROUP BY priority) c,
                          (VALUES (-1, 2::smallint), (1, 4)) AS v(sign, state))
                 SELECT * FROM read"
            )
        });
        let (mut bounds, mut all) = (Vec::with_capacity(slots.len()), 0_i64);
        for slots in slots {
            all = all.saturating_add(*slots);
            bounds.push(all);
        }
        let query = bind_all!(
            sqlx::query(SQL.as_str()),
            self.node,
            self.name,
            self.at,
            self.until,
            open.id.0,
            open.from.0,
            open.from.1,
            all,
            bounds,
            mark,
        );
        Ok(query.fetch_all(connection).await?)
    }

    /// Gives rows that were locked before. Returns the transaction's number.
    ///
    /// # Errors
    /// [`Fault::Outrun`] if one is gone although it was locked.
    pub(super) async fn give(
        self,
        connection: &mut PgConnection,
        given: Given,
        deltas: Deltas,
    ) -> Result<Option<i64>, Fault> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            format!(
                "WITH counted AS (INSERT INTO ffrtmp.tally (jobs, lane, priority, engine, state)
                     SELECT * FROM unnest($7::bigint[], $8::integer[], $9::smallint[], $10::smallint[], $11::smallint[])),
                 done AS ({GIVE}, version = l.version + 1
                     FROM unnest($5::bigint[], $6::integer[]) AS g(sequence, asker)
                     WHERE l.sequence = g.sequence AND l.phase = 1 RETURNING 1) {DONE}"
            )
        });
        let expected = given.sequence.len();
        let query: Numbers = bind_all!(
            sqlx::query_as(SQL.as_str()),
            self.node,
            self.name,
            self.at,
            self.until,
            given.sequence,
            given.asker,
            deltas.jobs,
            deltas.lane,
            deltas.priority,
            deltas.engine,
            deltas.state,
        );
        all_of(expected, query.fetch_one(connection).await?)
    }
}

/// What a claim with this mark was given, if anything: its answer was lost on the way. As
/// [`Askers::take`] answers, but the node in place of the asker.
pub(super) async fn taken(connection: &mut PgConnection, mark: i64) -> Result<Vec<PgRow>, Fault> {
    static SQL: LazyLock<String> = LazyLock::new(|| {
        format!(
            "SELECT {READ}, g.holder FROM (SELECT {BEFORE}, l.node AS holder FROM ffrtmp.live l
                 WHERE l.phase = 2 AND l.version = $1) g
             JOIN ffrtmp.jobs j ON j.sequence = g.sequence ORDER BY g.rank, g.sequence"
        )
    });
    Ok(sqlx::query(SQL.as_str()).bind(mark).fetch_all(connection).await?)
}

/// Locked rows and who is given them.
#[derive(Debug, Default)]
pub(super) struct Given {
    sequence: Vec<i64>,
    asker: Vec<i32>,
}

impl Given {
    /// Adds a job for the asker at this place.
    pub(super) fn push(&mut self, sequence: i64, asker: usize) {
        self.sequence.push(sequence);
        self.asker.push(i32::try_from(asker + 1).unwrap_or(i32::MAX));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sequence.is_empty()
    }
}

/// Attempts that begin, go on or end.
#[derive(Debug, Default)]
pub(super) struct SignRows {
    sequence: Vec<i64>,
    version: Vec<i64>,
    state: Vec<i16>,
    started_at: Vec<Option<i64>>,
    last_activity_at: Vec<Option<i64>>,
    lease_expires_at: Vec<Option<i64>>,
    progress: Vec<f64>,
    pub(super) ends: EndRows,
}

impl SignRows {
    /// Adds the job as it shall be; `version` is the one that it has now.
    pub(super) fn push(&mut self, held: &Held) {
        let job = &held.record.job;
        self.sequence.push(held.sequence());
        self.version.push(held.version);
        self.state.push(job.state.code());
        self.started_at.push(micros(job.started_at));
        self.last_activity_at.push(micros(job.last_activity_at));
        self.lease_expires_at.push(micros(job.lease_expires_at));
        self.progress.push(job.progress);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sequence.is_empty() && self.ends.sequence.is_empty()
    }

    /// Changes rows whose version is still the one that was seen; those that end move to the ended
    /// ones. All of them or none. Returns the transaction's number.
    ///
    /// # Errors
    /// One whose cure is to do it again, if a version is another.
    pub(super) async fn write(self, connection: &mut PgConnection, deltas: Deltas) -> Result<Option<i64>, Fault> {
        const SQL: &str = "WITH counted AS (INSERT INTO ffrtmp.tally (jobs, lane, priority, engine, state)
                 SELECT * FROM unnest($1::bigint[], $2::integer[], $3::smallint[], $4::smallint[], $5::smallint[])),
             signed AS (UPDATE ffrtmp.live SET version = u.version + 1, state = u.state,
                 started_at = u.started_at, last_activity_at = u.last_activity_at,
                 lease_expires_at = u.lease_expires_at, progress = u.progress
                 FROM unnest($6::bigint[], $7::bigint[], $8::smallint[], $9::bigint[], $10::bigint[], $11::bigint[],
                     $12::float8[])
                     AS u(sequence, version, state, started_at, last_activity_at, lease_expires_at, progress)
                 WHERE live.sequence = u.sequence AND live.version = u.version RETURNING 1),
             gone AS (DELETE FROM ffrtmp.live
                 USING unnest($13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::uuid[], $18::smallint[],
                     $19::text[])
                     AS u(sequence, completed_at, rank, version, node, state, story)
                 WHERE live.sequence = u.sequence AND live.version = u.version
                 RETURNING u.sequence, u.completed_at, u.rank, u.version + 1, u.node, u.state, u.story),
             ended AS (INSERT INTO ffrtmp.ended (sequence, completed_at, rank, version, node, state, story)
                 SELECT * FROM gone RETURNING 1)
             SELECT ffrtmp.all_or_none((SELECT count(*) FROM signed) + (SELECT count(*) FROM ended), $20)";
        let expected = self.sequence.len() + self.ends.sequence.len();
        let number = bind_all!(
            sqlx::query_scalar(SQL),
            deltas.jobs,
            deltas.lane,
            deltas.priority,
            deltas.engine,
            deltas.state,
            self.sequence,
            self.version,
            self.state,
            self.started_at,
            self.last_activity_at,
            self.lease_expires_at,
            self.progress,
            self.ends.sequence,
            self.ends.completed_at,
            self.ends.rank,
            self.ends.version,
            self.ends.node,
            self.ends.state,
            self.ends.story,
            i64::try_from(expected).unwrap_or(i64::MAX),
        );
        Ok(Some(number.fetch_one(connection).await?))
    }
}
