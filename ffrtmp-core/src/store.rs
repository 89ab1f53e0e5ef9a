//! The `Store` trait: durable jobs, nodes and logs.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::clock::Timestamp;
use crate::error::{Code, Result};
use crate::id::{Fence, JobId, JobKey, NodeId, TenantId};
use crate::job::{Classification, EngineName, Job, JobState, Priority, Queue};
use crate::lifecycle::JobCommand;
use crate::node::{About, Node, NodeCommand, Offer, Requirements};
use crate::protocol::LogLine;

/// The key by which claims are ordered: lowest first. Made by a [`crate::scheduler::Scheduler`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Rank(pub i64);

/// A job to be stored.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// The job in state `queued`, or `waiting` if it names dependencies; `sequence_number` 0.
    pub job: Job,
    /// Its place in the order.
    pub rank: Rank,
    /// What it needs of a node.
    pub requirements: Requirements,
    /// Key under which the submission is remembered, and a digest of the request.
    pub idempotency: Option<Idempotency>,
}

/// Makes a submission repeatable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idempotency {
    /// The caller's key, unique per tenant.
    pub key: String,
    /// Digest of the request: the same key with another digest is a mistake.
    pub digest: String,
}

/// A stored job.
#[derive(Clone, Debug)]
pub struct Submitted {
    /// The job as stored.
    pub job: Job,
    /// Whether this call created it; `false` when the idempotency key was known.
    pub created: bool,
}

/// Which jobs to list. Every field that is set must match.
#[derive(Clone, Debug, Default)]
pub struct JobFilter {
    /// Whose.
    pub tenant: Option<TenantId>,
    /// In one of these states; empty means any.
    pub states: Vec<JobState>,
    /// In this queue.
    pub queue: Option<Queue>,
    /// With this priority.
    pub priority: Option<Priority>,
    /// With this classification.
    pub classification: Option<Classification>,
    /// Held or last held by this node.
    pub node_id: Option<NodeId>,
    /// With exactly this scenario.
    pub scenario: Option<String>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Submitted at or after.
    pub created_after: Option<Timestamp>,
    /// Submitted before.
    pub created_before: Option<Timestamp>,
}

/// One page of a list, newest submission first.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// At most this many, 1 to 500.
    pub limit: usize,
    /// Only sequence numbers below this one.
    pub before: Option<u64>,
}

/// Jobs that the same nodes can run, of one tenant, in one queue. A claim reads the heads of lanes
/// and never what stands behind them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Lane {
    /// What each of its jobs needs of a node.
    pub requirements: Requirements,
    /// Whose they are.
    pub tenant: TenantId,
    /// Their queue.
    pub queue: Queue,
}

/// How a lane stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneStanding {
    /// Which one.
    pub lane: Lane,
    /// Jobs ready to be claimed.
    pub queued: u64,
    /// Jobs that a node holds: assigned, running, or paused while running.
    pub active: u64,
    /// Lowest rank of those that are ready.
    pub first: Option<Rank>,
    /// Highest rank of those that are ready.
    pub last: Option<Rank>,
}

/// How many jobs nodes may hold at once. What is not named has no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caps {
    /// Per queue.
    pub queues: BTreeMap<Queue, u32>,
    /// For each tenant that is not named in `tenants`.
    pub tenant: Option<u32>,
    /// For particular tenants.
    pub tenants: BTreeMap<TenantId, u32>,
}

impl Caps {
    /// Whether nothing is bounded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty() && self.tenant.is_none() && self.tenants.is_empty()
    }

    /// The bound of a tenant.
    #[must_use]
    pub fn of_tenant(&self, tenant: &TenantId) -> Option<u32> {
        self.tenants.get(tenant).copied().or(self.tenant)
    }
}

/// A claim by a node.
#[derive(Clone, Debug)]
pub struct ClaimOrder {
    /// Who asks.
    pub node: NodeId,
    /// Its name, kept in the job.
    pub node_name: String,
    /// What it has to offer.
    pub offer: Offer,
    /// At most this many jobs.
    pub slots: usize,
    /// How long the lease holds.
    pub lease: Duration,
    /// How many jobs the cluster may run at once.
    pub caps: Caps,
}

/// Which of the masters on one store looks after what happens by the passing of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lead {
    /// This one.
    Leader {
        /// Since this call.
        newly: bool,
    },
    /// Another one.
    Follower {
        /// The leader's time now, if it was heard lately.
        time: Option<Timestamp>,
    },
}

/// Something whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The lease of this attempt is over.
    LeaseExpired(JobId, Fence),
    /// The backoff of this job is over.
    BackoffOver(JobId),
}

/// Numbers for metrics and `waiting_reason`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Jobs by state.
    pub by_state: BTreeMap<JobState, u64>,
    /// Jobs ready to be claimed, by priority.
    pub queued_by_priority: BTreeMap<Priority, u64>,
    /// Jobs ready to be claimed, by queue.
    pub queued_by_queue: BTreeMap<Queue, u64>,
    /// All jobs by queue.
    pub by_queue: BTreeMap<Queue, u64>,
    /// Jobs by the engine chosen for them.
    pub by_engine: BTreeMap<EngineName, u64>,
    /// Completed jobs by engine.
    pub completed_by_engine: BTreeMap<EngineName, u64>,
}

/// Durable jobs, nodes and logs.
///
/// # Contract
/// - Every method is atomic and, where the implementation is durable, committed when it returns.
/// - A change of a job or node goes through [`Job::apply`], [`Job::assign`], [`Node::apply`]
///   inside the transaction; an implementation may use equivalent SQL but decides nothing itself.
/// - `claim` gives a queued job to exactly one caller, lowest [`Rank`] first, sequence number
///   breaking ties, and skips jobs whose [`Requirements`] the node does not meet however many
///   stand in front. It never lifts the active jobs of a queue or tenant above the order's
///   [`Caps`], nor the node's active jobs with `gpu` above its [`Offer::gpu_sessions`], whoever
///   else claims at the same time.
/// - `now` is the master's steady time; an implementation reads no clock of its own.
/// - After a commit that makes a job claimable, the value behind [`Store::changes`] changes.
///
/// # Errors
/// `storage` for what the backend refuses; the named codes besides.
///
/// # Cancel safety
/// Dropping a future leaves the operation either done or not done, never half done.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Stores jobs, all or none, and gives them sequence numbers. A job whose dependencies have
    /// all completed is stored as `queued`; one with a failed, canceled or rejected dependency
    /// as `failed`, through [`JobCommand::Ready`] and [`JobCommand::DependencyFailed`].
    ///
    /// # Errors
    /// `idempotency_mismatch` for a known key with another digest; `invalid_field` naming
    /// `depends_on` for a dependency that does not exist (jobs of the same call count) or for jobs
    /// of one call that wait for each other, naming `id` for an id that is stored already.
    async fn submit(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Submitted>>;

    /// The job of this name.
    ///
    /// # Errors
    /// `job_not_found`; `invalid_field` naming `job_id` for a prefix that several jobs share.
    async fn job(&self, key: &JobKey) -> Result<Job>;

    /// How the jobs of these ids stand; those that do not exist are absent. Asked before dependents
    /// move on, so an implementation does it in one query.
    async fn states(&self, ids: &[JobId]) -> Result<BTreeMap<JobId, JobState>> {
        let mut states = BTreeMap::new();
        for id in ids {
            match self.job(&(*id).into()).await {
                Ok(job) => states.insert(*id, job.state),
                Err(error) if error.code() == Code::JobNotFound => None,
                Err(error) => return Err(error),
            };
        }
        Ok(states)
    }

    /// Jobs that pass the filter, newest submission first.
    async fn list_jobs(&self, filter: &JobFilter, page: Page) -> Result<Vec<Job>>;

    /// Leases up to `slots` jobs to a node.
    async fn claim(&self, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>>;

    /// Applies commands, each on its own: one that is refused does not stop the others. The
    /// answers stand in the order of the commands and hold the job after the command.
    ///
    /// # Errors
    /// Inner: `job_not_found`, what [`Job::apply`] refuses, and `invalid_field` for a report that
    /// cannot be stored (a number that is not finite). Outer: `storage`.
    async fn apply(&self, commands: Vec<(JobId, JobCommand)>, now: Timestamp) -> Result<Vec<Result<Job>>>;

    /// Leases and backoffs whose time has come, oldest first, at most `limit`.
    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>>;

    /// Jobs in state `waiting` that name `dependency`.
    async fn dependents(&self, dependency: JobId) -> Result<Vec<Job>>;

    /// Jobs in state `waiting` that name any of `dependencies`; one that names several may come
    /// several times. Asked at the end of every job, so an implementation does it in one query.
    async fn dependents_of(&self, dependencies: &[JobId]) -> Result<Vec<Job>> {
        let mut waiting = Vec::new();
        for dependency in dependencies {
            waiting.extend(self.dependents(*dependency).await?);
        }
        Ok(waiting)
    }

    /// Moves every rank: for a scheduler that changed its mind. Jobs that are no longer queued are
    /// skipped.
    async fn rerank(&self, ranks: Vec<(JobId, Rank)>) -> Result<()>;

    /// Lanes that have queued or active jobs, in no particular order.
    async fn lanes(&self) -> Result<Vec<LaneStanding>>;

    /// Adds lines to the log of a job, under the attempt that wrote them. The log keeps the newest
    /// [`MAX_LOG_LINES`] lines.
    ///
    /// # Errors
    /// `job_not_found`.
    async fn append_logs(&self, job: JobId, attempt: u32, lines: Vec<LogLine>) -> Result<()>;

    /// Adds lines to many logs in one commit, each as [`Store::append_logs`] does. Asked at the end of
    /// attempts, whose logs may hold more than the newest lines afterwards.
    ///
    /// # Errors
    /// `job_not_found` for any of them; the others may have their lines.
    async fn append_many(&self, logs: Vec<(JobId, u32, Vec<LogLine>)>) -> Result<()> {
        for (job, attempt, lines) in logs {
            self.append_logs(job, attempt, lines).await?;
        }
        Ok(())
    }

    /// The log of a job, oldest line first, with the attempt of each line.
    ///
    /// # Errors
    /// `job_not_found`.
    async fn logs(&self, job: JobId) -> Result<Vec<(u32, LogLine)>>;

    /// Stores a node or what it newly says of itself. The flag tells whether it is new.
    async fn register_node(&self, id: NodeId, about: About, now: Timestamp) -> Result<(Node, bool)>;

    /// The node with this id.
    ///
    /// # Errors
    /// `node_not_found`.
    async fn node(&self, id: NodeId) -> Result<Node>;

    /// All nodes, by name.
    async fn list_nodes(&self) -> Result<Vec<Node>>;

    /// Applies a command to a node.
    ///
    /// # Errors
    /// `node_not_found`.
    async fn apply_node(&self, id: NodeId, command: NodeCommand, now: Timestamp) -> Result<Node>;

    /// Forgets a node; `node_not_found` if there is none.
    async fn remove_node(&self, id: NodeId) -> Result<()>;

    /// Numbers for metrics.
    async fn counts(&self) -> Result<Counts>;

    /// Removes ended jobs that ended before `before`, with their logs, at most `limit`, except
    /// those that a waiting job still names. Returns how many.
    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64>;

    /// Proves that the store can read and write.
    async fn check(&self) -> Result<()>;

    /// Takes the lead of the masters on this store, or keeps it: at any time exactly one has it,
    /// and one that died loses it. `now` is the caller's time, which followers are told.
    async fn lead(&self, now: Timestamp) -> Result<Lead>;

    /// Whether other processes may change the store.
    fn is_shared(&self) -> bool;

    /// A value that grows whenever jobs may have become claimable.
    fn changes(&self) -> watch::Receiver<u64>;

    /// Finishes what is under way and closes files. Later calls fail with `unavailable`; closing
    /// twice is one effect.
    async fn close(&self) -> Result<()>;
}

/// Log lines kept per job.
pub const MAX_LOG_LINES: usize = 10_000;
