//! What people do: submit, look, cancel, pause, resume, retry.

use std::collections::{BTreeMap, HashMap};

use crate::error::{Code, Error, Result};
use crate::id::{JobId, JobKey, TenantId};
use crate::job::{EngineName, Job, JobRequest, JobState};
use crate::lifecycle::JobCommand;
use crate::node::Node;
use crate::protocol::LogLine;
use crate::request::{self, Prepared};
use crate::scheduler::Cluster;
use crate::store::{Counts, Idempotency, JobFilter, NewJob, Page, Submitted};
use crate::trace::TraceContext;

use super::Coordinator;
use super::waiting::{self, Surroundings, WaitingCause};

/// Jobs in one batch.
const MAX_BATCH: usize = 1000;

/// Dependencies whose state a waiting reason tells.
const DEPENDENCIES_SHOWN: usize = 8;

/// Jobs that do not run yet, and the nodes that they wait for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Backlog {
    /// By why.
    pub causes: BTreeMap<WaitingCause, u64>,
    /// Ready and running jobs of each tenant that has any.
    pub tenants: BTreeMap<TenantId, (u64, u64)>,
    /// Every node, by name.
    pub nodes: Vec<Node>,
}

impl Coordinator {
    /// Takes a job in. With an idempotency key, the same request again gives the same job.
    ///
    /// # Errors
    /// What [`request::prepare`] refuses; `idempotency_mismatch`; `storage`.
    pub async fn submit(&self, request: JobRequest, idempotency_key: Option<String>) -> Result<Submitted> {
        let idempotency = idempotency_key.map(|key| Idempotency { key, digest: digest(&request) });
        let job = NewJob { idempotency, ..self.prepare(request, &mut self.cluster().await?).await? };
        let mut submitted = self.store.submit(vec![job], self.now()).await?;
        let submitted = submitted.pop().ok_or_else(|| Error::new(Code::Internal, "the store answered no job"))?;
        if submitted.created {
            self.announce_new(&submitted.job);
        }
        Ok(Submitted { job: self.with_reason(submitted.job).await?, ..submitted })
    }

    /// Takes many jobs in, all or none.
    ///
    /// # Errors
    /// As [`Coordinator::submit`], naming the position as `jobs[N].FIELD`; `payload_too_large`
    /// above 1,000.
    pub async fn submit_batch(&self, requests: Vec<JobRequest>) -> Result<Vec<Job>> {
        if requests.len() > MAX_BATCH {
            return Err(Error::new(
                Code::PayloadTooLarge,
                format!("{} jobs in one batch, at most {MAX_BATCH}", requests.len()),
            )
            .field("jobs"));
        }
        let mut jobs = Vec::with_capacity(requests.len());
        let mut cluster = self.cluster().await?;
        for (position, request) in requests.into_iter().enumerate() {
            jobs.push(self.prepare(request, &mut cluster).await.map_err(|error| at_position(&error, position))?);
        }
        let submitted = self.store.submit(jobs, self.now()).await?;
        submitted.iter().filter(|one| one.created).for_each(|one| self.announce_new(&one.job));
        let jobs: Vec<Job> = submitted.into_iter().map(|submitted| submitted.job).collect();
        self.with_reasons(jobs).await
    }

    /// The job of this name, with its waiting reason.
    ///
    /// # Errors
    /// `job_not_found`, `invalid_field` for an ambiguous prefix.
    pub async fn job(&self, key: &JobKey) -> Result<Job> {
        self.with_reason(self.store.job(key).await?).await
    }

    /// Jobs that pass the filter, newest first.
    ///
    /// # Errors
    /// `storage`.
    pub async fn jobs(&self, filter: &JobFilter, page: Page) -> Result<Vec<Job>> {
        self.with_reasons(self.store.list_jobs(filter, page).await?).await
    }

    /// The log of a job over all its attempts.
    ///
    /// # Errors
    /// As [`Coordinator::job`].
    pub async fn logs(&self, key: &JobKey) -> Result<Vec<(u32, LogLine)>> {
        let job = self.store.job(key).await?;
        self.store.logs(job.id).await
    }

    /// Cancels a job; its node stops the attempt when it hears of it.
    ///
    /// # Errors
    /// `wrong_state` for a job that ended otherwise.
    pub async fn cancel(&self, key: &JobKey) -> Result<Job> {
        self.change(key, JobCommand::Cancel).await
    }

    /// Holds a queued job back or freezes a running one.
    ///
    /// # Errors
    /// `wrong_state` for any other.
    pub async fn pause(&self, key: &JobKey) -> Result<Job> {
        self.change(key, JobCommand::Pause).await
    }

    /// Lets a paused job go on.
    ///
    /// # Errors
    /// `wrong_state` for a job that ended.
    pub async fn resume(&self, key: &JobKey) -> Result<Job> {
        self.change(key, JobCommand::Resume).await
    }

    /// Starts a new round of a job that failed or was canceled.
    ///
    /// # Errors
    /// `wrong_state` for any other.
    pub async fn retry(&self, key: &JobKey) -> Result<Job> {
        let job = self.store.job(key).await?;
        let states = if job.state.is_final() { self.states(&job.depends_on).await? } else { BTreeMap::new() };
        let open = |id: &&JobId| states.get(*id) != Some(&JobState::Completed);
        if let Some(id) = job.depends_on.iter().find(open).filter(|_| job.state.is_final()) {
            return Err(Error::new(
                Code::WrongState,
                format!("job {id}, which this one depends on, has not completed"),
            )
            .field("depends_on")
            .hint("retry that job first, and this one once it has completed"));
        }
        self.change(key, JobCommand::Retry).await
    }

    /// Numbers for metrics.
    ///
    /// # Errors
    /// `storage`.
    pub async fn counts(&self) -> Result<Counts> {
        self.store.counts().await
    }

    /// How things stand with the jobs that do not run yet, and with the tenants that have any or have
    /// some running. Reads lanes, never jobs.
    ///
    /// # Errors
    /// `storage`.
    pub async fn backlog(&self, counts: &Counts) -> Result<Backlog> {
        let (lanes, nodes) = (self.store.lanes().await?, self.store.list_nodes().await?);
        let mut backlog = Backlog::default();
        for standing in &lanes {
            let (queued, active) = backlog.tenants.entry(standing.lane.tenant.clone()).or_default();
            *queued += standing.queued;
            *active += standing.active;
        }
        let around = Surroundings { nodes, lanes, caps: self.settings.caps.clone(), ..Surroundings::default() };
        backlog.causes = around.causes();
        backlog.nodes = around.nodes;
        let still = [
            (JobState::Waiting, WaitingCause::Dependencies),
            (JobState::Retrying, WaitingCause::Backoff),
            (JobState::Paused, WaitingCause::Paused),
        ];
        backlog.causes.extend(still.map(|(state, cause)| (cause, counts.by_state.get(&state).copied().unwrap_or(0))));
        Ok(backlog)
    }

    /// Proves that the store works.
    ///
    /// # Errors
    /// `storage`.
    pub async fn check(&self) -> Result<()> {
        self.store.check().await
    }

    /// What the scheduler wants to know of the other jobs.
    async fn cluster(&self) -> Result<Cluster> {
        let lanes = if self.scheduler.reads_cluster() { self.store.lanes().await? } else { Vec::new() };
        Ok(Cluster { lanes })
    }

    async fn prepare(&self, request: JobRequest, cluster: &mut Cluster) -> Result<NewJob> {
        let mut prepared = request::prepare(request, JobId::random(), self.settings.max_retries, self.now())?;
        if prepared.fallback.is_some() && !self.fleet_has(prepared.requirements.engine).await? {
            prepared.fall_back();
        }
        let Prepared { mut job, requirements, .. } = prepared;
        job.trace = TraceContext::of_submission(job.trace, job.id, self.settings.tracing);
        let rank = self.scheduler.rank(&job, cluster, self.now());
        if self.scheduler.reads_cluster() {
            cluster.note(&job, &requirements, rank);
        }
        Ok(NewJob { job, rank, requirements, idempotency: None })
    }

    async fn fleet_has(&self, engine: EngineName) -> Result<bool> {
        let nodes = self.store.list_nodes().await?;
        Ok(nodes.iter().any(|node| node.is_alive() && node.about.capabilities.engines.contains(&engine)))
    }

    async fn change(&self, key: &JobKey, command: JobCommand) -> Result<Job> {
        let before = self.store.job(key).await?;
        let job = self.apply_one(before.id, command).await?;
        if job.state != before.state {
            self.announce(&job);
            self.settle_dependents([&job]).await?;
        }
        self.with_reason(job).await
    }

    pub(super) async fn apply_one(&self, id: JobId, command: JobCommand) -> Result<Job> {
        let mut answers = self.store.apply(vec![(id, command)], self.now()).await?;
        answers.pop().unwrap_or_else(|| Err(Error::new(Code::Internal, "the store answered nothing")))
    }

    async fn with_reason(&self, mut job: Job) -> Result<Job> {
        if waiting::needs_reason(&job) {
            let mut around = self.surroundings(std::slice::from_ref(&job)).await?;
            around.dependencies = self.dependencies(&job).await?;
            job.waiting_reason = waiting::reason(&job, &around);
        }
        Ok(job)
    }

    async fn with_reasons(&self, mut jobs: Vec<Job>) -> Result<Vec<Job>> {
        if jobs.iter().any(waiting::needs_reason) {
            let around = self.surroundings(&jobs).await?;
            // Jobs of one lane wait for the same reason, and many of one call stand in few lanes.
            let mut told = HashMap::new();
            for job in &mut jobs {
                job.waiting_reason = match waiting::lane(job) {
                    Some(lane) => told.entry(lane).or_insert_with(|| waiting::reason(job, &around)).clone(),
                    None => waiting::reason(job, &around),
                };
            }
        }
        Ok(jobs)
    }

    async fn surroundings(&self, jobs: &[Job]) -> Result<Surroundings> {
        let caps = &self.settings.caps;
        let bounded = jobs.iter().any(|job| waiting::needs_lanes(job, caps));
        let lanes = if bounded { self.store.lanes().await? } else { Vec::new() };
        let nodes = self.store.list_nodes().await?;
        Ok(Surroundings { nodes, lanes, caps: caps.clone(), ..Surroundings::default() })
    }

    /// How the first jobs stand that this one waits for.
    async fn dependencies(&self, job: &Job) -> Result<BTreeMap<JobId, JobState>> {
        if job.state != JobState::Waiting {
            return Ok(BTreeMap::new());
        }
        let shown: Vec<_> = job.depends_on.iter().take(DEPENDENCIES_SHOWN).copied().collect();
        self.states(&shown).await
    }
}

fn at_position(error: &Error, position: usize) -> Error {
    let field = error.field_name().map_or(format!("jobs[{position}]"), |field| format!("jobs[{position}].{field}"));
    Error::new(error.code(), error.message()).field(field).hint(error.hint_text())
}

/// FNV-1a over the request as JSON, 128 bits: tells an honest repetition from a mistake. A repetition
/// may be traced as another call.
fn digest(request: &JobRequest) -> String {
    let request = &JobRequest { traceparent: None, ..request.clone() };
    let json = serde_json::to_vec(request).unwrap_or_default();
    let hash = json.iter().fold(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d_u128, |hash, byte| {
        (hash ^ u128::from(*byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
    });
    format!("{hash:032x}")
}
