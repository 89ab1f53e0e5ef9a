//! Submissions: recognised by their keys, numbered, and stored in one transaction with those of
//! other callers. What a submission becomes is decided in [`crate::admission`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, TenantId};
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::store::{Idempotency, Lane, NewJob, Submitted};
use ffrtmp_core::{Error, Result as CoreResult};
use sqlx::Row;
use sqlx::postgres::PgConnection;
use uuid::Uuid;

use super::desk::Work;
use super::fault::Fault;
use super::rows::{Held, HotRows, JobRows, job_id, uuid};
use super::session::Session;
use super::signs::SignRows;
use super::tally::{Difference, Stand};
use super::wake::Woken;
use super::{Shared, apply, digest, lane_rows, point, query};
use crate::admission::{self, Admission, Stored};
use crate::job_not_found;
use crate::record::{Phase, Record};

/// Submissions of many callers at once.
pub(super) struct Submissions(pub(super) Arc<Shared>);

/// The jobs of one call.
pub(super) struct Question {
    pub(super) jobs: Vec<NewJob>,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Work for Submissions {
    type Question = Question;
    type Answer = Vec<Submitted>;
    const NAME: &'static str = "postgres.submit";

    fn weight(question: &Question) -> usize {
        question.jobs.len().max(1)
    }

    async fn answer(
        &self,
        session: &mut Session,
        questions: &[Question],
    ) -> Result<Vec<CoreResult<Vec<Submitted>>>, Fault> {
        let lanes: Vec<Lane> = jobs(questions).map(lane).collect();
        lane_rows::ensure(session.connection().await?, &self.0.lanes, lanes.iter()).await?;
        let plain = |new: &NewJob| new.idempotency.is_none() && new.job.depends_on.is_empty();
        let looks = !jobs(questions).all(plain);
        match self.store(session, questions, looks).await {
            // An id or a key was stored already, perhaps a moment ago: look, and say so.
            Err(fault) if fault.is_duplicate() => self.store(session, questions, true).await,
            answer => answer,
        }
    }
}

impl Submissions {
    /// Stores everything that is admitted. Without a look at what is stored, ids that are there
    /// already are found by the index alone.
    async fn store(
        &self,
        session: &mut Session,
        questions: &[Question],
        looks: bool,
    ) -> Result<Vec<CoreResult<Vec<Submitted>>>, Fault> {
        let mut change = session.begin().await?;
        let mut seen = if looks { Seen::look(change.connection(), questions).await? } else { Seen::default() };
        let mut admitted: Vec<CoreResult<Vec<Admission>>> = Vec::with_capacity(questions.len());
        for question in questions {
            let admissions = admission::admit(question.jobs.clone(), &seen, question.now);
            if let Ok(admissions) = &admissions {
                seen.note(admissions);
            }
            admitted.push(admissions);
        }
        point("postgres.submit.admitted")?;
        let (answers, woken, number) = self.insert(change.connection(), admitted).await?;
        change.note(number);
        self.0.notify(change.connection(), &woken).await?;
        point("postgres.submit.before_commit")?;
        if let Err(lost) = change.commit().await {
            lost.settle(session).await?;
        }
        point("postgres.submit.committed")?;
        self.0.wake(&woken);
        Ok(answers)
    }

    async fn insert(
        &self,
        connection: &mut PgConnection,
        admitted: Vec<CoreResult<Vec<Admission>>>,
    ) -> Result<(Vec<CoreResult<Vec<Submitted>>>, Woken, Option<i64>), Fault> {
        let is_new = |admission: &&Admission| matches!(admission, Admission::New(_));
        let count = admitted.iter().flatten().flatten().filter(is_new).count();
        let mut numbers = numbers(connection, count).await?.into_iter();
        let mut rows = Rows::default();
        let (mut answers, mut known) = (Vec::with_capacity(admitted.len()), Vec::new());
        for admissions in admitted {
            answers.push(match admissions {
                Err(refusal) => Err(refusal),
                Ok(admissions) => {
                    let mut jobs = Vec::with_capacity(admissions.len());
                    for admission in admissions {
                        jobs.push(match admission {
                            Admission::New(new) => {
                                let number = numbers.next().ok_or(Fault::Outrun)?;
                                Ok(rows.push(&self.0, *new, number)?)
                            }
                            Admission::Known(id) => {
                                known.push(id);
                                Err(id)
                            }
                        });
                    }
                    Ok(jobs)
                }
            });
        }
        let (woken, number) = rows.write(connection).await?;
        let known = if known.is_empty() { HashMap::new() } else { apply::load(connection, &known).await? };
        let submitted = |job: Result<Job, JobId>| match job {
            Ok(job) => Ok(Submitted { job, created: true }),
            Err(id) => {
                let held = known.get(&id).ok_or_else(|| job_not_found(id))?;
                Ok(Submitted { job: held.record.job.clone(), created: false })
            }
        };
        let answers = answers.into_iter().map(|jobs| jobs?.into_iter().map(submitted).collect()).collect();
        Ok((answers, woken, number))
    }
}

fn jobs(questions: &[Question]) -> impl Iterator<Item = &NewJob> {
    questions.iter().flat_map(|question| &question.jobs)
}

fn lane(new: &NewJob) -> Lane {
    Lane { requirements: new.requirements.clone(), tenant: new.job.tenant.clone(), queue: new.job.queue }
}

fn key_digest(tenant: &TenantId, key: &str) -> Uuid {
    digest::of(&[tenant.as_str().as_bytes(), key.as_bytes()])
}

/// The next sequence numbers, lowest first.
async fn numbers(connection: &mut PgConnection, count: usize) -> Result<Vec<i64>, Fault> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let count = i32::try_from(count).unwrap_or(i32::MAX);
    let sql = "SELECT nextval('ffrtmp.job_numbers') FROM generate_series(1, $1)";
    let mut numbers: Vec<i64> = sqlx::query_scalar(sql).bind(count).fetch_all(connection).await?;
    numbers.sort_unstable();
    Ok(numbers)
}

/// What is stored of that which a group names, and what the calls before in the group add to it.
#[derive(Default)]
struct Seen {
    states: HashMap<JobId, JobState>,
    keys: HashMap<Uuid, (String, JobId)>,
}

impl Seen {
    async fn look(connection: &mut PgConnection, questions: &[Question]) -> Result<Self, Fault> {
        let needed: HashSet<JobId> = jobs(questions).flat_map(|new| new.job.depends_on.iter().copied()).collect();
        if !needed.is_empty() {
            // Whoever ends or purges one of these now waits for us, and then finds the job that
            // waits for it.
            for lock in [
                "SELECT 1 FROM ffrtmp.jobs WHERE id = ANY ($1) ORDER BY sequence FOR KEY SHARE",
                "SELECT 1 FROM ffrtmp.live
                 WHERE sequence = ANY (ARRAY(SELECT sequence FROM ffrtmp.jobs WHERE id = ANY ($1)))
                 ORDER BY sequence FOR KEY SHARE",
            ] {
                let ids: Vec<Uuid> = needed.iter().map(uuid).collect();
                sqlx::query(lock).bind(ids).execute(&mut *connection).await?;
            }
        }
        let named: HashSet<JobId> = needed.into_iter().chain(jobs(questions).map(|new| new.job.id)).collect();
        let mut seen = Self::default();
        let named: Vec<JobId> = named.into_iter().collect();
        seen.states.extend(query::states(connection, &named).await?);
        let keys: Vec<Uuid> = jobs(questions)
            .filter_map(|new| new.idempotency.as_ref().map(|said| key_digest(&new.job.tenant, &said.key)))
            .collect();
        if !keys.is_empty() {
            let known = "SELECT key_digest, request_digest, id FROM ffrtmp.jobs WHERE key_digest = ANY ($1)";
            for row in sqlx::query(known).bind(keys).fetch_all(connection).await? {
                let request = String::from_utf8_lossy(row.try_get(1)?).into_owned();
                seen.keys.insert(row.try_get(0)?, (request, job_id(row.try_get(2)?)));
            }
        }
        Ok(seen)
    }

    fn note(&mut self, admissions: &[Admission]) {
        for admission in admissions {
            let Admission::New(new) = admission else { continue };
            self.states.insert(new.job.id, new.job.state);
            if let Some(Idempotency { key, digest }) = &new.idempotency {
                self.keys.insert(key_digest(&new.job.tenant, key), (digest.clone(), new.job.id));
            }
        }
    }
}

impl Stored for Seen {
    type Fault = Error;

    fn state(&self, id: JobId) -> CoreResult<Option<JobState>> {
        Ok(self.states.get(&id).copied())
    }

    fn idempotent(&self, tenant: &TenantId, key: &str) -> CoreResult<Option<(String, JobId)>> {
        Ok(self.keys.get(&key_digest(tenant, key)).cloned())
    }
}

/// Everything that a group writes.
#[derive(Default)]
pub(super) struct Rows {
    jobs: JobRows,
    hot: HotRows,
    ended: SignRows,
    labels: Vec<(Uuid, i64)>,
    dependencies: Vec<(Uuid, i64)>,
    counted: Difference,
    woken: Woken,
}

impl Rows {
    /// Adds a job under its number, and returns it as it will be stored.
    pub(super) fn push(&mut self, shared: &Shared, new: NewJob, sequence: i64) -> Result<Job, Fault> {
        let lane = shared.lanes.id(&lane(&new)).ok_or(Fault::Outrun)?;
        let NewJob { mut job, rank, idempotency, .. } = new;
        job.sequence_number = u64::try_from(sequence).unwrap_or_default();
        self.labels.extend(labels(&job).map(|label| (label, sequence)));
        let dependencies: HashSet<JobId> = job.depends_on.iter().copied().collect();
        self.dependencies.extend(dependencies.iter().map(|dependency| (uuid(dependency), sequence)));
        let mut held = Held { record: Record::new(job), lane, rank, version: 0 };
        let job = &held.record.job;
        let key = idempotency.map(|said| (key_digest(&job.tenant, &said.key), said));
        self.jobs.push(job, held.record.fixed()?, key);
        self.counted.came(Stand::of(lane, job));
        if held.phase() == Phase::Ready {
            self.woken.add(lane, rank);
        }
        self.hot.push(&held, held.record.hot()?);
        if held.phase() == Phase::Ended {
            held.version += 1;
            self.ended.ends.push(&held, held.record.end()?);
        }
        Ok(held.record.job)
    }

    pub(super) async fn write(mut self, connection: &mut PgConnection) -> Result<(Woken, Option<i64>), Fault> {
        if self.hot.is_empty() {
            return Ok((self.woken, None));
        }
        let number = self.hot.insert(self.jobs, connection, self.counted.take()).await?;
        if !self.ended.is_empty() {
            self.ended.write(connection, Difference::default().take()).await?;
        }
        let tables = [
            (self.labels, "INSERT INTO ffrtmp.labels (label, job) SELECT * FROM unnest($1::uuid[], $2::bigint[])"),
            (
                self.dependencies,
                "INSERT INTO ffrtmp.dependencies (dependency, job) SELECT * FROM unnest($1::uuid[], $2::bigint[])",
            ),
        ];
        for (pairs, sql) in tables {
            if !pairs.is_empty() {
                let (left, right): (Vec<Uuid>, Vec<i64>) = pairs.into_iter().unzip();
                sqlx::query(sql).bind(left).bind(right).execute(&mut *connection).await?;
            }
        }
        Ok((self.woken, number))
    }
}

/// Digests of the labels of a job, as the table of labels has them.
pub(super) fn labels(job: &Job) -> impl Iterator<Item = Uuid> {
    job.labels.iter().map(|(key, value)| label(key, value))
}

/// The digest of a label.
pub(super) fn label(key: &str, value: &str) -> Uuid {
    digest::of(&[key.as_bytes(), value.as_bytes()])
}

/// The digest of a scenario.
pub(super) fn scenario(text: &str) -> Uuid {
    digest::of(&[text.as_bytes()])
}
