//! A store whose every call is timed.

use std::collections::BTreeMap;
use std::time::Instant;

use async_trait::async_trait;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::error::{Error, Result};
use ffrtmp_core::id::{JobId, JobKey, NodeId};
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::node::{About, Node, NodeCommand};
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::store::{
    ClaimOrder, Counts, Due, JobFilter, LaneStanding, Lead, NewJob, Page, Rank, Store, Submitted,
};
use tokio::sync::watch;

use super::metrics::Calls;

/// Every operation that is timed, by its name in the metrics.
pub(super) const OPERATIONS: &[&str] = &[
    "submit",
    "job",
    "states",
    "list_jobs",
    "claim",
    "apply",
    "due",
    "dependents",
    "rerank",
    "lanes",
    "append_logs",
    "logs",
    "register_node",
    "node",
    "list_nodes",
    "apply_node",
    "remove_node",
    "counts",
    "purge",
    "check",
    "lead",
];

/// Times the calls of another store, and is that store otherwise.
pub(super) struct Timed<S: ?Sized> {
    calls: Calls,
    store: std::sync::Arc<S>,
}

impl<S: Store + ?Sized> Timed<S> {
    pub(super) fn new(store: std::sync::Arc<S>, calls: Calls) -> Self {
        Self { calls, store }
    }

    async fn timed<T>(&self, operation: &'static str, call: impl Future<Output = Result<T>> + Send) -> Result<T> {
        let begun = Instant::now();
        let answer = call.await;
        self.calls.answered(operation, begun.elapsed(), answer.as_ref().err().map(Error::code));
        answer
    }
}

#[async_trait]
impl<S: Store + ?Sized> Store for Timed<S> {
    async fn submit(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Submitted>> {
        self.timed("submit", self.store.submit(jobs, now)).await
    }

    async fn job(&self, key: &JobKey) -> Result<Job> {
        self.timed("job", self.store.job(key)).await
    }

    async fn states(&self, ids: &[JobId]) -> Result<BTreeMap<JobId, JobState>> {
        self.timed("states", self.store.states(ids)).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: Page) -> Result<Vec<Job>> {
        self.timed("list_jobs", self.store.list_jobs(filter, page)).await
    }

    async fn claim(&self, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>> {
        self.timed("claim", self.store.claim(order, now)).await
    }

    async fn apply(&self, commands: Vec<(JobId, JobCommand)>, now: Timestamp) -> Result<Vec<Result<Job>>> {
        self.timed("apply", self.store.apply(commands, now)).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        self.timed("due", self.store.due(now, limit)).await
    }

    async fn dependents(&self, dependency: JobId) -> Result<Vec<Job>> {
        self.timed("dependents", self.store.dependents(dependency)).await
    }

    async fn dependents_of(&self, dependencies: &[JobId]) -> Result<Vec<Job>> {
        self.timed("dependents", self.store.dependents_of(dependencies)).await
    }

    async fn rerank(&self, ranks: Vec<(JobId, Rank)>) -> Result<()> {
        self.timed("rerank", self.store.rerank(ranks)).await
    }

    async fn lanes(&self) -> Result<Vec<LaneStanding>> {
        self.timed("lanes", self.store.lanes()).await
    }

    async fn append_logs(&self, job: JobId, attempt: u32, lines: Vec<LogLine>) -> Result<()> {
        self.timed("append_logs", self.store.append_logs(job, attempt, lines)).await
    }

    async fn append_many(&self, logs: Vec<(JobId, u32, Vec<LogLine>)>) -> Result<()> {
        self.timed("append_logs", self.store.append_many(logs)).await
    }

    async fn logs(&self, job: JobId) -> Result<Vec<(u32, LogLine)>> {
        self.timed("logs", self.store.logs(job)).await
    }

    async fn register_node(&self, id: NodeId, about: About, now: Timestamp) -> Result<(Node, bool)> {
        self.timed("register_node", self.store.register_node(id, about, now)).await
    }

    async fn node(&self, id: NodeId) -> Result<Node> {
        self.timed("node", self.store.node(id)).await
    }

    async fn list_nodes(&self) -> Result<Vec<Node>> {
        self.timed("list_nodes", self.store.list_nodes()).await
    }

    async fn apply_node(&self, id: NodeId, command: NodeCommand, now: Timestamp) -> Result<Node> {
        self.timed("apply_node", self.store.apply_node(id, command, now)).await
    }

    async fn remove_node(&self, id: NodeId) -> Result<()> {
        self.timed("remove_node", self.store.remove_node(id)).await
    }

    async fn counts(&self) -> Result<Counts> {
        self.timed("counts", self.store.counts()).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.timed("purge", self.store.purge(before, limit)).await
    }

    async fn check(&self) -> Result<()> {
        self.timed("check", self.store.check()).await
    }

    async fn lead(&self, now: Timestamp) -> Result<Lead> {
        self.timed("lead", self.store.lead(now)).await
    }

    fn is_shared(&self) -> bool {
        self.store.is_shared()
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.store.changes()
    }

    async fn close(&self) -> Result<()> {
        self.store.close().await
    }
}
