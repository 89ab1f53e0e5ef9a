//! The store that all masters share, seen by somebody who remembers: every change is compared with
//! what was there before. The rules are in `rules`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ffrtmp::Result;
use ffrtmp::core::clock::Timestamp;
use ffrtmp::core::id::{Fence, JobId, JobKey, NodeId};
use ffrtmp::core::job::Job;
use ffrtmp::core::lifecycle::JobCommand;
use ffrtmp::core::node::{About, Node, NodeCommand};
use ffrtmp::core::protocol::LogLine;
use ffrtmp::core::store::{
    ClaimOrder, Counts, Due, JobFilter, Lane, LaneStanding, Lead, NewJob, Page, Rank, Store, Submitted,
};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::rules;
use crate::trace::Trace;

/// Changes between two recounts of everything.
const RECOUNT_EVERY: u64 = 60;

/// A store under observation.
pub(crate) struct Witness {
    inner: Arc<dyn Store>,
    trace: Arc<Trace>,
    seen: Mutex<Seen>,
}

/// What the witness remembers.
#[derive(Default)]
pub(crate) struct Seen {
    pub jobs: BTreeMap<JobId, Known>,
    pub keys: BTreeMap<String, JobId>,
    pub changes: u64,
    version: u64,
    waiters: Vec<watch::Sender<u64>>,
}

/// What it remembers of a job.
pub(crate) struct Known {
    pub job: Job,
    pub rank: Rank,
    pub lane: Lane,
    /// Whether its place in the queue is still the one of its submission.
    pub in_line: bool,
    pub ended: BTreeMap<Fence, (Instant, Ending)>,
    pub accepted: Option<Fence>,
    pub published: Vec<Fence>,
}

/// Who ended an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Node,
    Person,
    /// It ran for too long.
    Limit,
    /// It was not heard of.
    Silence,
}

impl Witness {
    pub(crate) fn over(inner: Arc<dyn Store>, trace: Arc<Trace>) -> Self {
        Self { inner, trace, seen: Mutex::default() }
    }

    pub(crate) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt made its output visible. `excused` if its process stood still after it had made
    /// sure of its lease, which no check can prevent.
    pub(crate) fn published(&self, id: JobId, fence: Fence, excused: bool) {
        let mut seen = self.seen();
        let Some(known) = seen.jobs.get_mut(&id) else {
            return self.trace.wrong(format_args!("{id} is published and was never stored"));
        };
        self.trace.note(format_args!("{} publishes {fence} excused={excused}", known.job.sequence_number));
        known.published.push(fence);
        if !excused {
            rules::publication(known, fence, &self.trace);
        }
    }

    /// Every number that the store keeps beside the jobs, against the jobs.
    pub(crate) async fn recount(&self) -> Result<()> {
        let mut stored = Vec::new();
        loop {
            let before = stored.last().map(|job: &Job| job.sequence_number);
            let page = self.inner.list_jobs(&JobFilter::default(), Page { limit: 500, before }).await?;
            let is_last = page.len() < 500;
            stored.extend(page);
            if is_last {
                break;
            }
        }
        let (counts, lanes) = (self.inner.counts().await?, self.inner.lanes().await?);
        rules::recount(&self.seen(), &stored, &counts, &lanes, &self.trace);
        Ok(())
    }

    /// After a change: wakes waiting claims in one order, and recounts now and then.
    async fn after(&self) -> Result<()> {
        let version = *self.inner.changes().borrow();
        let due = {
            let mut seen = self.seen();
            if std::mem::replace(&mut seen.version, version) != version {
                seen.waiters.retain(|waiter| !waiter.is_closed());
                seen.waiters.iter().for_each(|waiter| waiter.send_modify(|version| *version += 1));
            }
            seen.changes += 1;
            seen.changes.is_multiple_of(RECOUNT_EVERY)
        };
        if due { self.recount().await } else { Ok(()) }
    }

    async fn changed(&self, id: JobId, command: &JobCommand, answer: &Result<Job>) -> Result<()> {
        let stored = self.inner.job(&id.into()).await;
        let mut seen = self.seen();
        let seen = &mut *seen;
        let completed: BTreeSet<JobId> = match seen.jobs.get(&id) {
            Some(known) => known.job.depends_on.iter().copied().filter(|id| rules::is_completed(seen, *id)).collect(),
            None => return Ok(()),
        };
        let Some(known) = seen.jobs.get_mut(&id) else { return Ok(()) };
        match (answer, stored) {
            (Ok(after), Ok(stored)) => {
                if known.job.state != after.state {
                    self.trace.note(format_args!(
                        "{} {} -> {} fence {} of {} by {}{}",
                        after.sequence_number,
                        known.job.state,
                        after.state,
                        after.fence,
                        after.node_name.as_deref().unwrap_or("nobody"),
                        rules::name(command),
                        rules::why(command)
                    ));
                }
                if *after != stored {
                    self.trace.wrong(format_args!("the store answers another {id} than it keeps"));
                }
                rules::change(known, command, after, &completed, &self.trace);
            }
            (Err(error), Ok(stored)) => {
                if stored != known.job {
                    self.trace.wrong(format_args!("{id} changed by a command that was refused: {error}"));
                }
            }
            (_, Err(error)) => self.trace.wrong(format_args!("{id} is gone: {error}")),
        }
        Ok(())
    }
}

#[async_trait]
impl Store for Witness {
    async fn submit(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Submitted>> {
        let asked: Vec<_> = jobs
            .iter()
            .map(|new| {
                let key = new.idempotency.as_ref().map(|idempotency| idempotency.key.clone());
                let tenant = new.job.tenant.clone();
                (key, new.rank, Lane { requirements: new.requirements.clone(), tenant, queue: new.job.queue })
            })
            .collect();
        let submitted = self.inner.submit(jobs, now).await?;
        {
            let mut seen = self.seen();
            for (stored, (key, rank, lane)) in submitted.iter().zip(asked) {
                rules::submission(&mut seen, stored, key, rank, lane, &self.trace);
            }
        }
        self.after().await?;
        Ok(submitted)
    }

    async fn job(&self, key: &JobKey) -> Result<Job> {
        self.inner.job(key).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: Page) -> Result<Vec<Job>> {
        self.inner.list_jobs(filter, page).await
    }

    async fn claim(&self, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>> {
        let claimed = self.inner.claim(order, now).await?;
        if !claimed.is_empty() {
            rules::claim(&mut self.seen(), order, &claimed, &self.trace);
            self.after().await?;
        }
        Ok(claimed)
    }

    async fn apply(&self, commands: Vec<(JobId, JobCommand)>, now: Timestamp) -> Result<Vec<Result<Job>>> {
        let mut answers = Vec::with_capacity(commands.len());
        for (id, command) in commands {
            let answer = self.inner.apply(vec![(id, command.clone())], now).await?.pop();
            let Some(answer) = answer else {
                self.trace.wrong(format_args!("a command was not answered"));
                continue;
            };
            self.changed(id, &command, &answer).await?;
            answers.push(answer);
        }
        self.after().await?;
        Ok(answers)
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        self.inner.due(now, limit).await
    }

    async fn dependents(&self, dependency: JobId) -> Result<Vec<Job>> {
        self.inner.dependents(dependency).await
    }

    async fn rerank(&self, ranks: Vec<(JobId, Rank)>) -> Result<()> {
        {
            let mut seen = self.seen();
            for (id, rank) in &ranks {
                if let Some(known) = seen.jobs.get_mut(id) {
                    known.rank = *rank;
                }
            }
        }
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

    /// A channel for this caller alone: of several that wait on one, tokio wakes a random one first.
    fn changes(&self) -> watch::Receiver<u64> {
        let (sender, receiver) = watch::channel(0);
        self.seen().waiters.push(sender);
        receiver
    }

    async fn close(&self) -> Result<()> {
        Ok(())
    }
}
