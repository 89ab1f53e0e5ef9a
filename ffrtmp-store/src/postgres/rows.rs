//! Rows of jobs: how they are read, and how many of them are written with one statement.

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{Fence, JobId, NodeId};
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::store::{Idempotency, Rank};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::digest;
use super::fault::Fault;
use super::lanes::LaneId;
use super::tally::Deltas;
use crate::record::{Claim, Coded, End, Hot, Phase, Record};

/// A job as it is stored.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) record: Record,
    pub(super) lane: LaneId,
    pub(super) rank: Rank,
    /// Grows with every change: who saw another one must look again.
    pub(super) version: i64,
}

impl Held {
    pub(super) fn phase(&self) -> Phase {
        Phase::from(&self.record.job)
    }

    pub(super) fn sequence(&self) -> i64 {
        number(self.record.job.sequence_number)
    }
}

/// A sequence number or fence as a column takes it.
pub(super) fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// An id, whatever it names.
pub(super) trait Named {
    fn digits(&self) -> u128;
}

impl Named for JobId {
    fn digits(&self) -> u128 {
        self.as_u128()
    }
}

impl Named for NodeId {
    fn digits(&self) -> u128 {
        self.as_u128()
    }
}

impl<T: Named> Named for &T {
    fn digits(&self) -> u128 {
        (*self).digits()
    }
}

/// An id as a column takes it.
pub(super) fn uuid(id: impl Named) -> Uuid {
    Uuid::from_u128(id.digits())
}

pub(super) fn job_id(id: Uuid) -> JobId {
    JobId::from_u128(id.as_u128())
}

pub(super) fn micros(at: Option<Timestamp>) -> Option<i64> {
    at.map(Timestamp::as_micros)
}

/// What a read of whole jobs selects, for [`read`].
pub(super) const COLUMNS: &str = "j.sequence, j.id, j.lane, j.fixed,
    coalesce(l.rank, e.rank), coalesce(l.version, e.version), coalesce(l.state, e.state),
    coalesce(l.node, e.node), coalesce(l.story, e.story), e.completed_at,
    l.fence, l.attempt, l.retry_count, l.progress, l.queued_at, l.started_at, l.last_activity_at,
    l.lease_expires_at, l.retry_at, l.claimed_at, l.node_name, l.node_before";

/// How many [`COLUMNS`] there are.
pub(super) const WIDTH: usize = 22;

/// Reads [`COLUMNS`].
pub(super) fn read(row: &PgRow) -> Result<Held, Fault> {
    let sequence: i64 = row.try_get(0)?;
    let state = word::<JobState>(row, 6)?;
    let (id, fixed) = (job_id(row.try_get(1)?), row.try_get::<&str, _>(3)?);
    let node = row.try_get::<Option<Uuid>, _>(7)?.map(|node| NodeId::from_u128(node.as_u128()));
    let story: String = row.try_get(8)?;
    let count = u64::try_from(sequence).unwrap_or_default();
    let record = if state.is_final() {
        let completed_at = time(row, 9)?;
        Record::from_end(id, count, fixed, &End { state, node, completed_at, story })
    } else {
        let hot = Hot {
            state,
            node,
            fence: Fence(u64::try_from(row.try_get::<i64, _>(10)?).unwrap_or_default()),
            attempt: u32::try_from(row.try_get::<i32, _>(11)?).unwrap_or_default(),
            retry_count: u32::try_from(row.try_get::<i32, _>(12)?).unwrap_or_default(),
            progress: row.try_get(13)?,
            queued_at: time(row, 14)?,
            started_at: time(row, 15)?,
            last_activity_at: time(row, 16)?,
            lease_expires_at: time(row, 17)?,
            retry_at: time(row, 18)?,
            story,
        };
        match time(row, 19)? {
            None => Record::from_hot(id, count, fixed, hot),
            Some(at) => {
                let before = row.try_get::<Option<Uuid>, _>(21)?.map(|node| NodeId::from_u128(node.as_u128()));
                let name = row.try_get::<Option<&str>, _>(20)?.unwrap_or_default();
                Record::from_claimed(id, count, fixed, hot, &Claim { at, name, before })
            }
        }
    };
    let record = record.map_err(|error| Fault::unreadable("job", id, error))?;
    Ok(Held { record, lane: LaneId(row.try_get(2)?), rank: Rank(row.try_get(4)?), version: row.try_get(5)? })
}

fn time(row: &PgRow, column: usize) -> Result<Option<Timestamp>, Fault> {
    Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_micros))
}

/// A word of a column.
pub(super) fn word<T: Coded>(row: &PgRow, column: usize) -> Result<T, Fault> {
    let code: i16 = row.try_get(column)?;
    T::from_code(code).ok_or_else(|| Fault::unreadable("column", code, "no word has this number"))
}

/// Hot rows to be written, column by column.
#[derive(Debug, Default)]
pub(super) struct HotRows {
    sequence: Vec<i64>,
    rank: Vec<i64>,
    version: Vec<i64>,
    fence: Vec<i64>,
    queued_at: Vec<Option<i64>>,
    started_at: Vec<Option<i64>>,
    last_activity_at: Vec<Option<i64>>,
    lease_expires_at: Vec<Option<i64>>,
    retry_at: Vec<Option<i64>>,
    progress: Vec<f64>,
    node: Vec<Option<Uuid>>,
    lane: Vec<i32>,
    attempt: Vec<i32>,
    retry_count: Vec<i32>,
    phase: Vec<i16>,
    state: Vec<i16>,
    story: Vec<String>,
}

/// The columns in the order of [`HotRows`], as a statement names them after `unnest`.
const HOT: &str = "unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[],
    $7::bigint[], $8::bigint[], $9::bigint[], $10::float8[], $11::uuid[], $12::integer[], $13::integer[],
    $14::integer[], $15::smallint[], $16::smallint[], $17::text[])
    AS u(sequence, rank, version, fence, queued_at, started_at, last_activity_at, lease_expires_at, retry_at,
         progress, node, lane, attempt, retry_count, phase, state, story)";

const TALLY: &str = "counted AS (INSERT INTO ffrtmp.tally (jobs, lane, priority, engine, state)
    SELECT * FROM unnest($18::bigint[], $19::integer[], $20::smallint[], $21::smallint[], $22::smallint[]))";

/// What a statement answers whose rows are `done`: how many, and the number of the transaction.
pub(super) const DONE: &str = "SELECT count(*), txid_current() FROM done";

macro_rules! bind_all {
    ($query:expr, $($value:expr),* $(,)?) => { $query$(.bind($value))* };
}
pub(super) use bind_all;

impl HotRows {
    /// Adds the job as it shall be; `version` is the one that it has now.
    pub(super) fn push(&mut self, held: &Held, hot: Hot) {
        self.sequence.push(held.sequence());
        self.rank.push(held.rank.0);
        self.version.push(held.version);
        self.fence.push(number(hot.fence.0));
        self.queued_at.push(micros(hot.queued_at));
        self.started_at.push(micros(hot.started_at));
        self.last_activity_at.push(micros(hot.last_activity_at));
        self.lease_expires_at.push(micros(hot.lease_expires_at));
        self.retry_at.push(micros(hot.retry_at));
        self.progress.push(hot.progress);
        self.node.push(hot.node.map(uuid));
        self.lane.push(held.lane.0);
        self.attempt.push(i32::try_from(hot.attempt).unwrap_or(i32::MAX));
        self.retry_count.push(i32::try_from(hot.retry_count).unwrap_or(i32::MAX));
        self.phase.push(held.phase().code());
        self.state.push(hot.state.code());
        self.story.push(hot.story);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.sequence.is_empty()
    }

    /// Rewrites rows whose version is still the one that was seen. Returns the transaction's number.
    ///
    /// # Errors
    /// [`Fault::Outrun`] if one is not.
    pub(super) async fn update(self, connection: &mut PgConnection, deltas: Deltas) -> Result<Option<i64>, Fault> {
        const SET: &str = "UPDATE ffrtmp.live SET version = u.version + 1, fence = u.fence, queued_at = u.queued_at,
            started_at = u.started_at, last_activity_at = u.last_activity_at, lease_expires_at = u.lease_expires_at,
            retry_at = u.retry_at, progress = u.progress, node = u.node, attempt = u.attempt,
            retry_count = u.retry_count, phase = u.phase, state = u.state, story = u.story, claimed_at = NULL,
            node_name = NULL, node_before = NULL";
        static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
            format!(
                "WITH {TALLY}, done AS ({SET} FROM {HOT}
                 WHERE live.sequence = u.sequence AND live.version = u.version RETURNING 1) {DONE}"
            )
        });
        self.write(&SQL, connection, deltas).await
    }

    /// Stores new jobs, whose fixed parts come along. Returns the transaction's number.
    ///
    /// # Errors
    /// A duplicate, if an id or a key is stored already.
    pub(super) async fn insert(
        self,
        fixed: JobRows,
        connection: &mut PgConnection,
        deltas: Deltas,
    ) -> Result<Option<i64>, Fault> {
        static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
            format!(
                "WITH {TALLY}, asked AS (INSERT INTO ffrtmp.jobs (sequence, lane, created_at, id, scenario, key_digest,
                    priority, classification, key, request_digest, fixed)
                    SELECT * FROM unnest($1::bigint[], $12::integer[], $23::bigint[], $24::uuid[], $25::uuid[],
                        $26::uuid[], $27::smallint[], $28::smallint[], $29::bytea[], $30::bytea[], $31::text[])),
                 done AS (INSERT INTO ffrtmp.live (sequence, rank, version, fence, queued_at, started_at, last_activity_at,
                    lease_expires_at, retry_at, progress, node, lane, attempt, retry_count, phase, state, story)
                 SELECT u.sequence, u.rank, u.version + 1, u.fence, u.queued_at, u.started_at, u.last_activity_at,
                    u.lease_expires_at, u.retry_at, u.progress, u.node, u.lane, u.attempt, u.retry_count, u.phase,
                    u.state, u.story
                 FROM {HOT} RETURNING 1) {DONE}"
            )
        });
        let query = bind_all!(
            self.bind(sqlx::query_as(SQL.as_str()), deltas),
            fixed.created_at,
            fixed.id,
            fixed.scenario,
            fixed.key_digest,
            fixed.priority,
            fixed.classification,
            fixed.key,
            fixed.request_digest,
            fixed.fixed,
        );
        Ok(Some(query.fetch_one(connection).await?.1))
    }

    /// Makes rows for jobs that have none: those that a person retries.
    ///
    /// # Errors
    /// [`Fault::Outrun`] if the end of one is no longer there.
    pub(super) async fn revive(self, connection: &mut PgConnection, deltas: Deltas) -> Result<Option<i64>, Fault> {
        static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
            format!(
                "WITH {TALLY}, back AS (DELETE FROM ffrtmp.ended USING {HOT}
                    WHERE ended.sequence = u.sequence AND ended.version = u.version
                    RETURNING u.sequence, u.rank, u.version + 1, u.fence, u.queued_at, u.started_at, u.last_activity_at,
                        u.lease_expires_at, u.retry_at, u.progress, u.node, u.lane, u.attempt, u.retry_count, u.phase,
                        u.state, u.story),
                 done AS (INSERT INTO ffrtmp.live (sequence, rank, version, fence, queued_at, started_at, last_activity_at,
                    lease_expires_at, retry_at, progress, node, lane, attempt, retry_count, phase, state, story)
                 SELECT * FROM back RETURNING 1) {DONE}"
            )
        });
        self.write(&SQL, connection, deltas).await
    }

    async fn write(
        self,
        sql: &'static str,
        connection: &mut PgConnection,
        deltas: Deltas,
    ) -> Result<Option<i64>, Fault> {
        let expected = self.sequence.len();
        all_of(expected, self.bind(sqlx::query_as(sql), deltas).fetch_one(connection).await?)
    }

    fn bind(self, query: Numbers, deltas: Deltas) -> Numbers {
        bind_all!(
            query,
            self.sequence,
            self.rank,
            self.version,
            self.fence,
            self.queued_at,
            self.started_at,
            self.last_activity_at,
            self.lease_expires_at,
            self.retry_at,
            self.progress,
            self.node,
            self.lane,
            self.attempt,
            self.retry_count,
            self.phase,
            self.state,
            self.story,
            deltas.jobs,
            deltas.lane,
            deltas.priority,
            deltas.engine,
            deltas.state,
        )
    }
}

/// A statement that answers with [`DONE`].
pub(super) type Numbers = sqlx::query::QueryAs<'static, sqlx::Postgres, (i64, i64), sqlx::postgres::PgArguments>;

/// The number of the transaction, if as many rows were written as should be.
pub(super) fn all_of(expected: usize, (done, number): (i64, i64)) -> Result<Option<i64>, Fault> {
    if usize::try_from(done) == Ok(expected) { Ok(Some(number)) } else { Err(Fault::Outrun) }
}

/// Fixed parts to be written, column by column; number and lane stand in the hot rows.
#[derive(Debug, Default)]
pub(super) struct JobRows {
    created_at: Vec<i64>,
    id: Vec<Uuid>,
    scenario: Vec<Uuid>,
    key_digest: Vec<Option<Uuid>>,
    priority: Vec<i16>,
    classification: Vec<i16>,
    key: Vec<Option<Vec<u8>>>,
    request_digest: Vec<Option<Vec<u8>>>,
    fixed: Vec<String>,
}

impl JobRows {
    /// Adds the fixed part of a job, with the digest of its key and what was said with it.
    pub(super) fn push(&mut self, job: &Job, fixed: String, key: Option<(Uuid, Idempotency)>) {
        let (digest, said) = key.unzip();
        let (key, request) = said.map(|said| (said.key.into_bytes(), said.digest.into_bytes())).unzip();
        self.created_at.push(job.created_at.as_micros());
        self.id.push(uuid(job.id));
        self.scenario.push(digest::of(&[job.scenario.as_bytes()]));
        self.key_digest.push(digest);
        self.priority.push(job.priority.code());
        self.classification.push(job.classification.code());
        self.key.push(key);
        self.request_digest.push(request);
        self.fixed.push(fixed);
    }
}

/// Ends of jobs to be written, column by column.
#[derive(Debug, Default)]
pub(super) struct EndRows {
    pub(super) sequence: Vec<i64>,
    pub(super) completed_at: Vec<i64>,
    pub(super) rank: Vec<i64>,
    pub(super) version: Vec<i64>,
    pub(super) node: Vec<Option<Uuid>>,
    pub(super) state: Vec<i16>,
    pub(super) story: Vec<String>,
}

impl EndRows {
    /// Adds the end of a job; `version` is the one that it has now.
    pub(super) fn push(&mut self, held: &Held, end: End) {
        self.sequence.push(held.sequence());
        self.completed_at.push(micros(end.completed_at).unwrap_or_default());
        self.rank.push(held.rank.0);
        self.version.push(held.version);
        self.node.push(end.node.map(uuid));
        self.state.push(end.state.code());
        self.story.push(end.story);
    }
}
