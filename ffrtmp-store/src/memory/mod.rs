//! [`MemoryStore`]: everything in one place behind one lock, gone with its process. The ordered
//! sets it keeps beside the jobs are in `state`.

mod portable;
mod state;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use ffrtmp_core::Result;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, JobKey, NodeId};
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::node::{About, Node, NodeCommand};
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::store::{
    ClaimOrder, Counts, Due, JobFilter, LaneStanding, Lead, NewJob, Page, Rank, Store, Submitted,
};
use tokio::sync::watch;

use crate::admission::Stored;
use crate::closed;
use state::State;

/// A store that forgets: for tests, simulations and masters that need no yesterday.
#[derive(Debug)]
pub struct MemoryStore {
    /// `None` once closed.
    state: Mutex<Option<State>>,
    changes: watch::Sender<u64>,
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self { state: Mutex::new(Some(State::default())), changes: watch::Sender::new(0) }
    }

    /// Runs `work` alone and tells the waiting claims if it made a job claimable.
    fn with<T>(&self, work: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut guard = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = guard.as_mut().ok_or_else(closed)?;
        let answer = work(state);
        if std::mem::take(&mut state.claimable) {
            self.changes.send_modify(|version| *version += 1);
        }
        answer
    }
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn submit(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Submitted>> {
        self.with(|state| state.submit(jobs, now))
    }

    async fn job(&self, key: &JobKey) -> Result<Job> {
        self.with(|state| state.find(key))
    }

    async fn states(&self, ids: &[JobId]) -> Result<BTreeMap<JobId, JobState>> {
        self.with(|state| {
            let known = |id: &JobId| Ok(state.state(*id)?.map(|found| (*id, found)));
            ids.iter().filter_map(|id| known(id).transpose()).collect()
        })
    }

    async fn list_jobs(&self, filter: &JobFilter, page: Page) -> Result<Vec<Job>> {
        self.with(|state| Ok(state.list(filter, page)))
    }

    async fn claim(&self, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>> {
        self.with(|state| state.claim(order, now))
    }

    async fn apply(&self, commands: Vec<(JobId, JobCommand)>, now: Timestamp) -> Result<Vec<Result<Job>>> {
        self.with(|state| Ok(commands.into_iter().map(|(id, command)| state.apply(id, command, now)).collect()))
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        self.with(|state| Ok(state.due(now, limit)))
    }

    async fn dependents(&self, dependency: JobId) -> Result<Vec<Job>> {
        self.with(|state| Ok(state.dependents(dependency)))
    }

    async fn rerank(&self, ranks: Vec<(JobId, Rank)>) -> Result<()> {
        self.with(|state| {
            ranks.into_iter().for_each(|(id, rank)| state.rerank(id, rank));
            Ok(())
        })
    }

    async fn lanes(&self) -> Result<Vec<LaneStanding>> {
        self.with(|state| Ok(state.lanes()))
    }

    async fn append_logs(&self, job: JobId, attempt: u32, lines: Vec<LogLine>) -> Result<()> {
        self.with(|state| state.append_logs(job, attempt, lines))
    }

    async fn logs(&self, job: JobId) -> Result<Vec<(u32, LogLine)>> {
        self.with(|state| state.logs(job))
    }

    async fn register_node(&self, id: NodeId, about: About, now: Timestamp) -> Result<(Node, bool)> {
        self.with(|state| Ok(state.register_node(id, about, now)))
    }

    async fn node(&self, id: NodeId) -> Result<Node> {
        self.with(|state| state.node(id).cloned())
    }

    async fn list_nodes(&self) -> Result<Vec<Node>> {
        self.with(|state| Ok(state.list_nodes()))
    }

    async fn apply_node(&self, id: NodeId, command: NodeCommand, now: Timestamp) -> Result<Node> {
        self.with(|state| state.apply_node(id, command, now))
    }

    async fn remove_node(&self, id: NodeId) -> Result<()> {
        self.with(|state| state.remove_node(id))
    }

    async fn counts(&self) -> Result<Counts> {
        self.with(|state| Ok(state.counts()))
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.with(|state| Ok(state.purge(before, limit)))
    }

    async fn check(&self) -> Result<()> {
        self.with(|_| Ok(()))
    }

    async fn lead(&self, _now: Timestamp) -> Result<Lead> {
        self.with(|state| Ok(Lead::Leader { newly: !std::mem::replace(&mut state.led, true) }))
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn close(&self) -> Result<()> {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = None;
        Ok(())
    }
}
