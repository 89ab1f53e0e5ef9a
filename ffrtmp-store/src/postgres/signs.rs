//! The two changes of an active job that come most often, written as narrow as can be: a claim, and a
//! sign that the attempt begins or goes on. Neither touches what it did not change.

use std::sync::LazyLock;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::NodeId;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::fault::Fault;
use super::rows::{DONE, Held, Numbers, all_of, bind_all, micros, uuid};
use super::tally::Deltas;
use crate::record::{Coded, Hot};

/// The difference that the statement makes, its columns from this parameter on.
fn tally(first: usize) -> String {
    let [second, third, fourth, fifth] = [1, 2, 3, 4].map(|offset| first + offset);
    format!(
        "counted AS (INSERT INTO ffrtmp.tally (jobs, lane, priority, engine, state)
            SELECT * FROM unnest(${first}::bigint[], ${second}::integer[], ${third}::smallint[],
                ${fourth}::smallint[], ${fifth}::smallint[]))"
    )
}

/// Locked rows that are given to nodes.
#[derive(Debug, Default)]
pub(super) struct ClaimRows {
    sequence: Vec<i64>,
    /// Place of the asker among the columns below, from 1 on.
    asker: Vec<i32>,
    story: Vec<String>,
    node: Vec<Uuid>,
    at: Vec<i64>,
    until: Vec<i64>,
}

impl ClaimRows {
    /// Adds someone who asks; [`Self::push`] takes the places in this order, from 0 on.
    pub(super) fn asker(&mut self, node: NodeId, at: Timestamp, until: Timestamp) {
        self.node.push(uuid(node));
        self.at.push(at.as_micros());
        self.until.push(until.as_micros());
    }

    /// Adds a job as `assign` left it.
    pub(super) fn push(&mut self, held: &Held, asker: usize, hot: Hot) {
        self.sequence.push(held.sequence());
        self.asker.push(i32::try_from(asker + 1).unwrap_or(i32::MAX));
        self.story.push(hot.story);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sequence.is_empty()
    }

    /// Does to the rows what `assign` did to the jobs. Returns the transaction's number.
    ///
    /// # Errors
    /// [`Fault::Outrun`] if one is gone although it was locked.
    pub(super) async fn update(self, connection: &mut PgConnection, deltas: Deltas) -> Result<Option<i64>, Fault> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let tally = tally(7);
            format!(
                "WITH {tally}, done AS (UPDATE ffrtmp.live SET version = live.version + 1, fence = live.fence + 1,
                    attempt = live.attempt + 1, phase = 2, state = 4, progress = 0, node = ($4::uuid[])[u.asker],
                    last_activity_at = ($5::bigint[])[u.asker], lease_expires_at = ($6::bigint[])[u.asker],
                    story = u.story
                 FROM unnest($1::bigint[], $2::integer[], $3::text[]) AS u(sequence, asker, story)
                 WHERE live.sequence = u.sequence AND live.phase = 1 RETURNING 1) {DONE}"
            )
        });
        let expected = self.sequence.len();
        let query: Numbers = bind_all!(
            sqlx::query_as(SQL.as_str()),
            self.sequence,
            self.asker,
            self.story,
            self.node,
            self.at,
            self.until,
            deltas.jobs,
            deltas.lane,
            deltas.priority,
            deltas.engine,
            deltas.state,
        );
        all_of(expected, query.fetch_one(connection).await?)
    }
}

/// Attempts that begin or go on.
#[derive(Debug, Default)]
pub(super) struct SignRows {
    sequence: Vec<i64>,
    version: Vec<i64>,
    state: Vec<i16>,
    started_at: Vec<Option<i64>>,
    last_activity_at: Vec<Option<i64>>,
    lease_expires_at: Vec<Option<i64>>,
    progress: Vec<f64>,
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
        self.sequence.is_empty()
    }

    /// Changes rows whose version is still the one that was seen. Returns the transaction's number.
    ///
    /// # Errors
    /// [`Fault::Outrun`] if one is not.
    pub(super) async fn update(self, connection: &mut PgConnection, deltas: Deltas) -> Result<Option<i64>, Fault> {
        static SQL: LazyLock<String> = LazyLock::new(|| {
            let tally = tally(8);
            format!(
                "WITH {tally}, done AS (UPDATE ffrtmp.live SET version = u.version + 1, state = u.state,
                    started_at = u.started_at, last_activity_at = u.last_activity_at,
                    lease_expires_at = u.lease_expires_at, progress = u.progress
                 FROM unnest($1::bigint[], $2::bigint[], $3::smallint[], $4::bigint[], $5::bigint[], $6::bigint[],
                    $7::float8[])
                    AS u(sequence, version, state, started_at, last_activity_at, lease_expires_at, progress)
                 WHERE live.sequence = u.sequence AND live.version = u.version RETURNING 1) {DONE}"
            )
        });
        let expected = self.sequence.len();
        let query: Numbers = bind_all!(
            sqlx::query_as(SQL.as_str()),
            self.sequence,
            self.version,
            self.state,
            self.started_at,
            self.last_activity_at,
            self.lease_expires_at,
            self.progress,
            deltas.jobs,
            deltas.lane,
            deltas.priority,
            deltas.engine,
            deltas.state,
        );
        all_of(expected, query.fetch_one(connection).await?)
    }
}
