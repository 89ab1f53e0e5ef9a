//! Jobs, nodes and short calls that the cases share.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Code, Error, JobError, Result};
use crate::fsm;
use crate::id::{Fence, JobId, NodeId, TenantId};
use crate::job::{Classification, EngineChoice, EngineName, Job, JobReport, JobState, Priority, Queue, ResourceLimits};
use crate::lifecycle::{JobCommand, Lease, Outcome};
use crate::media::VideoCodec;
use crate::node::{About, Capabilities, Offer, Requirements};
use crate::store::{
    Caps, ClaimOrder, Idempotency, JobFilter, Lane, LaneStanding, NewJob, Page, Rank, Store, Submitted,
};

/// How long leases hold in the cases.
pub(super) const LEASE: Duration = Duration::from_secs(30);

/// A time some seconds into the case.
pub(super) fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_767_700_000_123_456) + Duration::from_secs(seconds)
}

/// A plain queued job.
pub(super) fn job() -> Draft {
    Draft(NewJob { job: plain(), rank: Rank(0), requirements: needs(), idempotency: None })
}

/// `count` plain queued jobs.
pub(super) fn jobs(count: usize) -> Vec<Draft> {
    (0..count).map(|_| job()).collect()
}

/// A job on its way into the store.
pub(super) struct Draft(pub(super) NewJob);

impl Draft {
    pub(super) fn rank(mut self, rank: i64) -> Self {
        self.0.rank = Rank(rank);
        self
    }

    pub(super) fn needs(mut self, requirements: Requirements) -> Self {
        self.0.requirements = requirements;
        self
    }

    pub(super) fn key(mut self, key: &str, digest: &str) -> Self {
        self.0.idempotency = Some(Idempotency { key: key.into(), digest: digest.into() });
        self
    }

    /// Makes it wait for these.
    pub(super) fn after(mut self, dependencies: &[JobId]) -> Self {
        self.0.job.depends_on = dependencies.to_vec();
        self.0.job.state = JobState::Waiting;
        self.0.job.queued_at = None;
        self
    }

    pub(super) fn with(mut self, edit: impl FnOnce(&mut Job)) -> Self {
        edit(&mut self.0.job);
        self
    }

    /// Whose it is.
    pub(super) fn tenant(self, name: &str) -> Self {
        self.with(|job| job.tenant = tenant(name))
    }

    pub(super) fn queue(self, queue: Queue) -> Self {
        self.with(|job| job.queue = queue)
    }

    pub(super) fn id(&self) -> JobId {
        self.0.job.id
    }
}

/// The tenant with this name.
pub(super) fn tenant(name: &str) -> TenantId {
    name.parse().expect("it is a name")
}

fn plain() -> Job {
    Job {
        id: JobId::random(),
        sequence_number: 0,
        tenant: TenantId::single(),
        state: JobState::Queued,
        scenario: "720p30-h264".into(),
        input: Some("in.mp4".into()),
        output: Some("out.mp4".into()),
        confidence: None,
        engine: EngineChoice::Auto,
        engine_used: Some(EngineName::Ffmpeg),
        engine_reason: Some("a file".into()),
        classification: Classification::Production,
        queue: Queue::Default,
        priority: Priority::Medium,
        parameters: Box::default(),
        resource_limits: ResourceLimits::default(),
        max_retries: 3,
        depends_on: Vec::new(),
        labels: BTreeMap::new(),
        deadline: None,
        trace: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01".parse().ok(),
        node_id: None,
        node_name: None,
        attempt: 0,
        fence: Fence::default(),
        retry_count: 0,
        progress: 0.0,
        created_at: at(0),
        queued_at: Some(at(0)),
        started_at: None,
        last_activity_at: None,
        completed_at: None,
        lease_expires_at: None,
        retry_at: None,
        error: None,
        failure_reason: None,
        waiting_reason: None,
        result: None,
        spent: None,
        sla: None,
        attempts: Vec::new(),
        state_transitions: Vec::new(),
    }
}

/// What a plain job needs.
pub(super) fn needs() -> Requirements {
    Requirements { video_codec: Some(VideoCodec::H264), ..Requirements::engine(EngineName::Ffmpeg) }
}

/// Needs of a node label.
pub(super) fn needs_label(key: &str, value: &str) -> Requirements {
    Requirements { labels: labels(&[(key, value)]), ..needs() }
}

/// Labels from pairs.
pub(super) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// The node with this number, which runs plain jobs.
pub(super) fn order(node: u128, slots: usize) -> ClaimOrder {
    ClaimOrder {
        node: NodeId::from_u128(node),
        node_name: format!("node-{node}"),
        offer: Offer::default(),
        slots,
        lease: LEASE,
        caps: Caps::default(),
    }
}

/// Needs of an encode session.
pub(super) fn needs_gpu() -> Requirements {
    Requirements { gpu: true, ..needs() }
}

/// An offer of encode sessions.
pub(super) fn with_gpu(sessions: u32) -> Offer {
    let encoders = vec!["libx264".to_owned(), "h264_nvenc".to_owned()];
    let capabilities = Capabilities { encoders, ..Capabilities::default() };
    Offer { capabilities, gpu_sessions: Some(sessions), ..Offer::default() }
}

/// Claims for a node under caps.
pub(super) async fn claim_under(store: &dyn Store, slots: usize, caps: &Caps) -> Vec<Job> {
    let order = ClaimOrder { caps: caps.clone(), ..order(1, slots) };
    store.claim(&order, at(0)).await.expect("a claim is answered")
}

/// A cap on the default queue.
pub(super) fn queue_cap(cap: u32) -> Caps {
    Caps { queues: [(Queue::Default, cap)].into(), ..Caps::default() }
}

/// A cap on every tenant.
pub(super) fn tenant_cap(cap: u32) -> Caps {
    Caps { tenant: Some(cap), ..Caps::default() }
}

/// An offer with these labels.
pub(super) fn carrying(pairs: &[(&str, &str)]) -> Offer {
    Offer { labels: labels(pairs), ..Offer::default() }
}

/// How the lanes stand, in a fixed order.
pub(super) async fn lanes(store: &dyn Store) -> Vec<LaneStanding> {
    let mut lanes = store.lanes().await.expect("answered");
    lanes.sort_by(|a, b| a.lane.cmp(&b.lane));
    lanes
}

/// The lane of plain jobs with these needs.
pub(super) fn lane(requirements: Requirements) -> Lane {
    let job = job().0.job;
    Lane { requirements, tenant: job.tenant, queue: job.queue }
}

/// What a node says of itself.
pub(super) fn about(name: &str) -> About {
    About { name: name.into(), max_concurrent_jobs: 2, ..About::default() }
}

/// Stores drafts, none of which may be refused.
pub(super) async fn submit(store: &dyn Store, drafts: Vec<Draft>) -> Vec<Job> {
    let submitted = try_submit(store, drafts).await.expect("the submission is accepted");
    submitted.into_iter().map(|submitted| submitted.job).collect()
}

/// Stores one draft.
pub(super) async fn submit_one(store: &dyn Store, draft: Draft) -> Job {
    submit(store, vec![draft]).await.pop().expect("one answer per job")
}

/// Stores drafts.
pub(super) async fn try_submit(store: &dyn Store, drafts: Vec<Draft>) -> Result<Vec<Submitted>> {
    store.submit(drafts.into_iter().map(|draft| draft.0).collect(), at(0)).await
}

/// Claims for node 1 at the start of the case.
pub(super) async fn claim(store: &dyn Store, slots: usize) -> Vec<Job> {
    store.claim(&order(1, slots), at(0)).await.expect("a claim is answered")
}

/// Stores a plain job and claims it.
pub(super) async fn claimed(store: &dyn Store) -> Job {
    submit_one(store, job()).await;
    claim(store, 1).await.pop().expect("the job is given")
}

/// Applies one command.
pub(super) async fn apply(store: &dyn Store, id: JobId, command: JobCommand, now: Timestamp) -> Result<Job> {
    store.apply(vec![(id, command)], now).await.expect("the store works").pop().expect("one answer per command")
}

/// Applies one command that must be accepted.
pub(super) async fn must(store: &dyn Store, id: JobId, command: JobCommand, now: Timestamp) -> Job {
    let shown = format!("{command:?}");
    apply(store, id, command, now).await.unwrap_or_else(|error| panic!("{shown}: {error}"))
}

/// The lease of a claimed job.
pub(super) fn lease(job: &Job) -> Lease {
    job.lease().expect("the job is held")
}

/// Its attempt begins.
pub(super) fn start(job: &Job) -> JobCommand {
    JobCommand::Start { lease: lease(job), engine: None }
}

/// Its attempt is alive.
pub(super) fn progress(job: &Job, percent: f64) -> JobCommand {
    JobCommand::Progress { lease: lease(job), percent: Some(percent), renew_for: LEASE }
}

/// Its attempt ended well.
pub(super) fn complete(job: &Job) -> JobCommand {
    let report = JobReport { frames: 250, fps: 0.1 + 0.2, speed: 1.0 / 3.0, ..JobReport::default() };
    JobCommand::Finish { lease: lease(job), outcome: Outcome::Completed(Box::new(report)) }
}

/// Its node gives it back.
pub(super) fn release(job: &Job) -> JobCommand {
    JobCommand::Finish { lease: lease(job), outcome: Outcome::Released("drain".into()) }
}

/// The master ends its attempt.
pub(super) fn evict(job: &Job, code: Code) -> JobCommand {
    JobCommand::Evict { fence: job.fence, error: error(code) }
}

/// Its attempt failed.
pub(super) fn fail(job: &Job, code: Code) -> JobCommand {
    JobCommand::Finish { lease: lease(job), outcome: Outcome::Failed(error(code)) }
}

/// An error for a job.
pub(super) fn error(code: Code) -> JobError {
    (&Error::new(code, "it broke")).into()
}

/// Brings a plain job into a state by the shortest way.
pub(super) async fn job_in(store: &dyn Store, state: JobState) -> Job {
    if state == JobState::Waiting {
        let first = submit_one(store, job().rank(i64::MAX)).await;
        return submit_one(store, job().after(&[first.id])).await;
    }
    if state == JobState::Queued {
        return submit_one(store, job()).await;
    }
    let id = submit_one(store, job().rank(i64::MIN)).await.id;
    let direct = match state {
        JobState::Paused => Some(JobCommand::Pause),
        JobState::Canceled => Some(JobCommand::Cancel),
        JobState::Rejected => Some(JobCommand::Reject(error(Code::CapabilityMissing))),
        _ => None,
    };
    if let Some(command) = direct {
        return must(store, id, command, at(0)).await;
    }
    let held = claim(store, 1).await.pop().expect("the job is given");
    assert_eq!(held.id, id, "the lowest rank is given first");
    let command = match state {
        JobState::Assigned => return held,
        JobState::Running => start(&held),
        JobState::Retrying => fail(&held, Code::Network),
        JobState::Completed => complete(&held),
        JobState::Failed => fail(&held, Code::EncodeFailed),
        other => unreachable!("{other} is handled above"),
    };
    let reached = must(store, id, command, at(0)).await;
    assert_eq!(reached.state, state);
    reached
}

/// Every job that passes the filter, read page by page.
pub(super) async fn list(store: &dyn Store, filter: &JobFilter) -> Vec<Job> {
    let mut all: Vec<Job> = Vec::new();
    loop {
        let page = Page { limit: 500, before: all.last().map(|job| job.sequence_number) };
        let next = store.list_jobs(filter, page).await.expect("a list is answered");
        if next.is_empty() {
            return all;
        }
        all.extend(next);
    }
}

/// The job as it is stored.
pub(super) async fn stored(store: &dyn Store, id: JobId) -> Job {
    store.job(&id.into()).await.expect("the job is stored")
}

/// States of jobs, in their order.
pub(super) fn states(jobs: &[Job]) -> Vec<JobState> {
    jobs.iter().map(|job| job.state).collect()
}

/// Ids of jobs, in their order.
pub(super) fn ids(jobs: &[Job]) -> Vec<JobId> {
    jobs.iter().map(|job| job.id).collect()
}

/// The code of a refusal.
pub(super) fn code<T>(answer: Result<T>) -> Code {
    match answer {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error.code(),
    }
}

/// Whether the table lets a job be canceled.
pub(super) fn can_cancel(state: JobState) -> bool {
    fsm::successors(state).contains(&JobState::Canceled)
}
