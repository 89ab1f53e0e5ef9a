//! What happens by the passing of time: leases expire, nodes are lost, backoffs end, attempts run
//! too long, old jobs are forgotten.

use std::sync::atomic::Ordering;

use crate::clock::Timestamp;
use crate::error::{Code, Error, JobError, Result};
use crate::id::{Fence, JobId};
use crate::job::{Job, JobState, Queue};
use crate::lifecycle::JobCommand;
use crate::node::{Node, NodeCommand};
use crate::store::{Due, JobFilter, Page};

use super::{Coordinator, Unrunnable};

/// What one round of the reaper did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reaped {
    /// Attempts ended because their lease or time was over.
    pub evicted: u64,
    /// Jobs queued again after their backoff.
    pub requeued: u64,
    /// Nodes given up.
    pub nodes_lost: u64,
    /// Old jobs removed.
    pub purged: u64,
}

/// Waiting jobs move when what they wait for ends; looking at all of them only mends what a crash
/// in between left, so the first round does it and then one in this many.
const ROUNDS_BETWEEN_SETTLING: u64 = 60;

/// Jobs looked at in one step.
const STEP: usize = 500;

impl Coordinator {
    /// One round. Call it every few seconds.
    ///
    /// # Errors
    /// `storage`; what was done before stays done, the next round does the rest.
    pub async fn tick(&self) -> Result<Reaped> {
        let mut reaped = Reaped::default();
        self.lose_nodes(&mut reaped).await?;
        self.carry_out_due(&mut reaped).await?;
        self.end_overlong(&mut reaped).await?;
        if self.rounds.fetch_add(1, Ordering::Relaxed).is_multiple_of(ROUNDS_BETWEEN_SETTLING) {
            self.settle_waiting().await?;
        }
        self.reject_unrunnable().await?;
        if let Some(retention) = self.settings.retention {
            reaped.purged = self.store.purge(self.now() - retention, STEP).await?;
        }
        Ok(reaped)
    }

    /// Leases and backoffs that are over: cheap enough for several times a second.
    ///
    /// # Errors
    /// `storage`.
    pub async fn tick_due(&self) -> Result<Reaped> {
        let mut reaped = Reaped::default();
        self.carry_out_due(&mut reaped).await?;
        Ok(reaped)
    }

    /// Renews every lease that is out, once at start: agents that went on working while the master
    /// was away have one lease time to say so.
    ///
    /// # Errors
    /// `storage`.
    pub async fn renew_leases(&self) -> Result<u64> {
        let held = self.all_in(vec![JobState::Assigned, JobState::Running, JobState::Paused]).await?;
        let renew_for = self.settings.heartbeat_timeout;
        let renewals: Vec<_> = held
            .iter()
            .filter_map(|job| job.lease().map(|lease| (job.id, JobCommand::Renew { lease, renew_for })))
            .collect();
        let count = renewals.len() as u64;
        self.store.apply(renewals, self.now()).await?;
        Ok(count)
    }

    async fn carry_out_due(&self, reaped: &mut Reaped) -> Result<()> {
        loop {
            let due = self.store.due(self.now(), STEP).await?;
            for item in &due {
                match *item {
                    Due::BackoffOver(id) => {
                        if let Some(job) = self.unless_moved(id, JobCommand::Requeue).await? {
                            self.announce(&job);
                            reaped.requeued += 1;
                        }
                    }
                    Due::LeaseExpired(id, fence) => {
                        let job = self.store.job(&id.into()).await?;
                        reaped.evicted += self.evict(&job, fence, self.lease_error(&job)).await?;
                    }
                }
            }
            if due.len() < STEP {
                return Ok(());
            }
        }
    }

    fn lease_error(&self, job: &Job) -> JobError {
        let node = job.node_name.as_deref().unwrap_or("its node");
        let error = if job.state == JobState::Assigned {
            Error::new(Code::NeverStarted, format!("{node} claimed the job and did not start it"))
        } else {
            Error::new(Code::LeaseExpired, format!("{node} did not renew its lease in time"))
        };
        (&error).into()
    }

    async fn lose_nodes(&self, reaped: &mut Reaped) -> Result<()> {
        let now = self.now();
        for node in self.store.list_nodes().await? {
            // While the master was away nobody could send a heartbeat.
            let quiet = now.since(node.last_heartbeat.max(self.started));
            if node.is_alive() && quiet > self.settings.heartbeat_timeout {
                self.store.apply_node(node.id, NodeCommand::Lost, now).await?;
                self.evict_all(&node, &format!("sent no heartbeat for {} s", quiet.as_secs())).await?;
                reaped.nodes_lost += 1;
            }
        }
        Ok(())
    }

    /// Takes every job back from a node.
    pub(super) async fn evict_all(&self, node: &Node, why: &str) -> Result<()> {
        let filter = JobFilter {
            node_id: Some(node.id),
            states: vec![JobState::Assigned, JobState::Running, JobState::Paused],
            ..JobFilter::default()
        };
        for job in self.all(filter).await? {
            let error = Error::new(Code::NodeLost, format!("node {} {why}", node.about.name));
            self.evict(&job, job.fence, (&error).into()).await?;
        }
        Ok(())
    }

    async fn end_overlong(&self, reaped: &mut Reaped) -> Result<()> {
        let now = self.now();
        for job in self.all_in(vec![JobState::Running]).await? {
            if let Some(error) = self.overlong(&job, now) {
                reaped.evicted += self.evict(&job, job.fence, (&error).into()).await?;
            }
        }
        Ok(())
    }

    fn overlong(&self, job: &Job, now: Timestamp) -> Option<Error> {
        let stall = if job.queue == Queue::Live { self.settings.live_stall } else { self.settings.stall };
        let quiet = now.since(job.last_activity_at.or(job.started_at)?);
        if quiet > stall {
            return Some(Error::new(Code::Timeout, format!("no progress for {} s", quiet.as_secs())));
        }
        let limit = std::time::Duration::from_secs(job.resource_limits.timeout_sec?);
        let ran = now.since(job.started_at?).saturating_sub(paused_time(job, now));
        (ran > limit + self.settings.timeout_grace).then(|| {
            Error::new(
                Code::Timeout,
                format!("ran for {} s, longer than its limit of {} s", ran.as_secs(), limit.as_secs()),
            )
        })
    }

    /// Jobs left waiting by a crash between the end of a job and the move of its dependents.
    async fn settle_waiting(&self) -> Result<()> {
        for job in self.all_in(vec![JobState::Waiting]).await? {
            if let Some(settled) = self.settle(&job).await? {
                self.settle_dependents(&settled).await?;
            }
        }
        Ok(())
    }

    async fn reject_unrunnable(&self) -> Result<()> {
        if self.settings.unrunnable != Unrunnable::Reject {
            return Ok(());
        }
        let nodes = self.store.list_nodes().await?;
        for job in self.all_in(vec![JobState::Queued]).await? {
            let needs = crate::node::Requirements::of(&job)?;
            if nodes.is_empty() || nodes.iter().any(|node| needs.met_by(&node.offer())) {
                continue;
            }
            let error =
                Error::new(Code::CapabilityMissing, format!("none of {} nodes can run {}", nodes.len(), needs.class()));
            if let Some(job) = self.unless_moved(job.id, JobCommand::Reject((&error).into())).await? {
                self.announce(&job);
                self.settle_dependents(&job).await?;
            }
        }
        Ok(())
    }

    async fn evict(&self, job: &Job, fence: Fence, error: JobError) -> Result<u64> {
        let Some(job) = self.unless_moved(job.id, JobCommand::Evict { fence, error }).await? else { return Ok(0) };
        self.announce(&job);
        self.settle_dependents(&job).await?;
        Ok(1)
    }

    /// Applies a command; `None` if the job has moved on meanwhile.
    async fn unless_moved(&self, id: JobId, command: JobCommand) -> Result<Option<Job>> {
        match self.apply_one(id, command).await {
            Ok(job) => Ok(Some(job)),
            Err(error) if matches!(error.code(), Code::WrongState | Code::StaleFence | Code::JobNotFound) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn all_in(&self, states: Vec<JobState>) -> Result<Vec<Job>> {
        self.all(JobFilter { states, ..JobFilter::default() }).await
    }

    async fn all(&self, filter: JobFilter) -> Result<Vec<Job>> {
        let mut all = Vec::new();
        let mut before = None;
        loop {
            let page = self.store.list_jobs(&filter, Page { limit: STEP, before }).await?;
            before = page.last().map(|job| job.sequence_number);
            let full = page.len() == STEP;
            all.extend(page);
            if !full {
                return Ok(all);
            }
        }
    }
}

/// Time that the current attempt stood still.
fn paused_time(job: &Job, now: Timestamp) -> std::time::Duration {
    let started = job.started_at.unwrap_or(now);
    let changes = job.state_transitions.iter().filter(|change| change.at >= started);
    let mut since = None;
    let mut total = std::time::Duration::ZERO;
    for change in changes {
        match (since, change.to == JobState::Paused) {
            (None, true) => since = Some(change.at),
            (Some(start), false) => {
                total += change.at.since(start);
                since = None;
            }
            _ => {}
        }
    }
    total + since.map_or(std::time::Duration::ZERO, |start| now.since(start))
}
