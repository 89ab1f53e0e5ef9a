//! Stores with one mistake each, to see that the simulation finds it.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use ffrtmp::Result;
use ffrtmp::core::clock::Timestamp;
use ffrtmp::core::id::{JobId, JobKey, NodeId};
use ffrtmp::core::job::{Job, JobState};
use ffrtmp::core::lifecycle::JobCommand;
use ffrtmp::core::node::{About, Node, NodeCommand};
use ffrtmp::core::protocol::LogLine;
use ffrtmp::core::store::{
    ClaimOrder, Counts, Due, JobFilter, LaneStanding, Lead, NewJob, Page, Rank, Store, Submitted,
};
use ffrtmp::store::MemoryStore;
use tokio::sync::watch;

/// What a store does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mistake {
    /// Takes the end of any attempt for the end of the current one.
    IgnoresTheFence,
    /// Says that a backoff is over and leaves the job where it is.
    ForgetsToRequeue,
    /// Gives a job that a node holds to the next one that asks.
    GivesTwice,
    /// Never says that a lease is over.
    NeverExpires,
    /// Gives the last job of the line first.
    LastInFirstOut,
    /// Takes caps for advice.
    IgnoresCaps,
    /// Says yes to every tenth end of an attempt and keeps nothing of it.
    LosesEnds,
}

impl Mistake {
    pub(crate) const ALL: &'static [Self] = &[
        Self::IgnoresTheFence,
        Self::ForgetsToRequeue,
        Self::GivesTwice,
        Self::NeverExpires,
        Self::LastInFirstOut,
        Self::IgnoresCaps,
        Self::LosesEnds,
    ];
}

/// A memory store with a mistake.
pub(crate) struct Broken {
    inner: MemoryStore,
    mistake: Mistake,
    given: Mutex<Vec<Job>>,
    ends: Mutex<u64>,
}

impl Broken {
    pub(crate) fn new(mistake: Mistake) -> Arc<Self> {
        Arc::new(Self { inner: MemoryStore::new(), mistake, given: Mutex::default(), ends: Mutex::default() })
    }

    async fn corrupted(&self, id: JobId, command: JobCommand) -> Result<JobCommand> {
        let JobCommand::Finish { outcome, lease } = command else { return Ok(command) };
        let job = self.inner.job(&id.into()).await?;
        let lease = job.lease().unwrap_or(lease);
        Ok(JobCommand::Finish { lease, outcome })
    }

    fn loses_this_end(&self) -> bool {
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        *ends += 1;
        ends.is_multiple_of(10)
    }

    async fn apply_one(&self, id: JobId, command: JobCommand, now: Timestamp) -> Result<Result<Job>> {
        let is_end = matches!(command, JobCommand::Finish { .. });
        match self.mistake {
            Mistake::ForgetsToRequeue if matches!(command, JobCommand::Requeue) => return Ok(self.pretend(id).await),
            Mistake::LosesEnds if is_end && self.loses_this_end() => return Ok(self.pretend(id).await),
            _ => {}
        }
        let command =
            if self.mistake == Mistake::IgnoresTheFence { self.corrupted(id, command).await? } else { command };
        let mut answers = self.inner.apply(vec![(id, command)], now).await?;
        Ok(answers.remove(0))
    }

    async fn pretend(&self, id: JobId) -> Result<Job> {
        self.inner.job(&id.into()).await
    }
}

#[async_trait]
impl Store for Broken {
    async fn submit(&self, mut jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Submitted>> {
        if self.mistake == Mistake::LastInFirstOut {
            jobs.iter_mut().for_each(|job| job.rank = Rank(-job.rank.0));
        }
        self.inner.submit(jobs, now).await
    }

    async fn job(&self, key: &JobKey) -> Result<Job> {
        self.inner.job(key).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: Page) -> Result<Vec<Job>> {
        self.inner.list_jobs(filter, page).await
    }

    async fn claim(&self, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>> {
        let mut order = order.clone();
        if self.mistake == Mistake::IgnoresCaps {
            order.caps = Default::default();
        }
        let mut jobs = self.inner.claim(&order, now).await?;
        if self.mistake == Mistake::GivesTwice && jobs.is_empty() {
            let given = self.given.lock().unwrap_or_else(PoisonError::into_inner).pop();
            if let Some(job) = given {
                let held = self.inner.job(&job.id.into()).await?;
                jobs.extend(Some(held).filter(|job| job.state == JobState::Running));
            }
        }
        self.given.lock().unwrap_or_else(PoisonError::into_inner).extend(jobs.iter().cloned());
        Ok(jobs)
    }

    async fn apply(&self, commands: Vec<(JobId, JobCommand)>, now: Timestamp) -> Result<Vec<Result<Job>>> {
        let mut answers = Vec::new();
        for (id, command) in commands {
            answers.push(self.apply_one(id, command, now).await?);
        }
        Ok(answers)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        let mut due = self.inner.due(now, limit).await?;
        if self.mistake == Mistake::NeverExpires {
            due.retain(|due| matches!(due, Due::BackoffOver(_)));
        }
        Ok(due)
    }

    async fn dependents(&self, dependency: JobId) -> Result<Vec<Job>> {
        self.inner.dependents(dependency).await
    }

    async fn rerank(&self, ranks: Vec<(JobId, Rank)>) -> Result<()> {
        self.inner.rerank(ranks).await
    }

    async fn lanes(&self) -> Result<Vec<LaneStanding>> {
        self.inner.lanes().await
    }

    async fn append_logs(&self, job: JobId, attempt: u32, lines: Vec<LogLine>) -> Result<()> {
        self.inner.append_logs(job, attempt, lines).await
    }

    async fn logs(&self, job: JobId) -> Result<Vec<(u32, LogLine)>> {
        self.inner.logs(job).await
    }

    async fn register_node(&self, id: NodeId, about: About, now: Timestamp) -> Result<(Node, bool)> {
        self.inner.register_node(id, about, now).await
    }

    async fn node(&self, id: NodeId) -> Result<Node> {
        self.inner.node(id).await
    }

    async fn list_nodes(&self) -> Result<Vec<Node>> {
        self.inner.list_nodes().await
    }

    async fn apply_node(&self, id: NodeId, command: NodeCommand, now: Timestamp) -> Result<Node> {
        self.inner.apply_node(id, command, now).await
    }

    async fn remove_node(&self, id: NodeId) -> Result<()> {
        self.inner.remove_node(id).await
    }

    async fn counts(&self) -> Result<Counts> {
        self.inner.counts().await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.inner.purge(before, limit).await
    }

    async fn check(&self) -> Result<()> {
        self.inner.check().await
    }

    async fn lead(&self, now: Timestamp) -> Result<Lead> {
        self.inner.lead(now).await
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changes()
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
