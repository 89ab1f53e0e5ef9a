//! What happens by the passing of time: leases expire, nodes are lost, backoffs end, attempts run
//! too long, old jobs are forgotten. Of several masters the leader does it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::{Code, Error, JobError, Result};
use crate::id::{Fence, JobId};
use crate::job::{Job, JobState, Queue};
use crate::lifecycle::JobCommand;
use crate::node::{Node, NodeCommand, Requirements};
use crate::store::{Due, JobFilter, Lane, Page};

use super::lead::Term;
use super::{Coordinator, Unrunnable, waiting};

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
const ROUNDS_BETWEEN_SETTLING: u64 = 12;

/// Jobs looked at in one step.
pub(super) const STEP: usize = 500;

/// How long an attempt may take to begin.
const START_LIMIT: Duration = Duration::from_secs(5 * 60);

/// Steps of forgetting old jobs in one round: requests and leases come first.
const PURGES: usize = 40;

impl Coordinator {
    /// One round of the master that leads; another one only learns the time. Call it every few
    /// seconds.
    ///
    /// # Errors
    /// `storage`; what was done before stays done, the next round does the rest.
    pub async fn tick(&self) -> Result<Reaped> {
        let mut reaped = Reaped::default();
        let Some(term) = self.leads().await? else { return Ok(reaped) };
        self.lose_nodes(term, &mut reaped).await?;
        self.carry_out_due(term, &mut reaped).await?;
        self.end_overlong(term, &mut reaped).await?;
        if self.rounds.fetch_add(1, Ordering::Relaxed).is_multiple_of(ROUNDS_BETWEEN_SETTLING) {
            self.settle_waiting().await?;
            self.mend_stamps_from_the_future().await?;
        }
        self.reject_unrunnable().await?;
        self.forget(&mut reaped).await?;
        Ok(reaped)
    }

    /// Leases and backoffs that are over: cheap enough for several times a second.
    ///
    /// # Errors
    /// `storage`.
    pub async fn tick_due(&self) -> Result<Reaped> {
        let mut reaped = Reaped::default();
        if let Some(term) = self.leads().await? {
            self.carry_out_due(term, &mut reaped).await?;
        }
        Ok(reaped)
    }

    /// Looks at all waiting jobs in the next round.
    pub(super) fn settle_next_round(&self) {
        self.rounds.store(0, Ordering::Relaxed);
    }

    /// Renews every lease that is out: agents that went on working while no master was there have
    /// one lease time to say so.
    pub(super) async fn renew_leases(&self) -> Result<u64> {
        let held = self.all_in(vec![JobState::Assigned, JobState::Running, JobState::Paused]).await?;
        let renewals: Vec<_> = held.iter().filter_map(|job| self.renewal_of(job)).collect();
        for step in renewals.chunks(STEP) {
            self.store.apply(step.to_vec(), self.now()).await?;
        }
        Ok(renewals.len() as u64)
    }

    pub(super) fn renewal_of(&self, job: &Job) -> Option<(JobId, JobCommand)> {
        let renew_for = self.settings.heartbeat_timeout;
        job.lease().map(|lease| (job.id, JobCommand::Renew { lease, renew_for }))
    }

    async fn carry_out_due(&self, term: Term, reaped: &mut Reaped) -> Result<()> {
        loop {
            let due = self.store.due(self.now(), STEP).await?;
            let mut commands = Vec::with_capacity(due.len());
            for item in &due {
                commands.extend(self.order_for(*item, term).await?);
            }
            for changed in self.apply_unless_moved(commands).await? {
                match changed.state {
                    JobState::Queued => reaped.requeued += 1,
                    _ => reaped.evicted += u64::from(changed.lease().is_none()),
                }
            }
            if due.len() < STEP {
                return Ok(());
            }
        }
    }

    async fn order_for(&self, due: Due, term: Term) -> Result<Option<(JobId, JobCommand)>> {
        let (id, fence) = match due {
            Due::BackoffOver(id) => return Ok(Some((id, JobCommand::Requeue))),
            Due::LeaseExpired(id, fence) => (id, fence),
        };
        match self.store.job(&id.into()).await {
            // It was given meanwhile by a master that has not heard what time it is for this one.
            Ok(job) if !term.gave(job.lease_expires_at) => Ok(self.renewal_of(&job)),
            Ok(job) => {
                let error = self.lease_error(&job);
                Ok(self.lapsed(&job).map(|until| (id, JobCommand::Expire { fence, until, error })))
            }
            Err(error) if error.code() == Code::JobNotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// When its lease was over, unless it was renewed since somebody saw that.
    fn lapsed(&self, job: &Job) -> Option<Timestamp> {
        job.lease_expires_at.filter(|until| *until <= self.now())
    }

    fn lease_error(&self, job: &Job) -> JobError {
        let error = if job.state == JobState::Assigned {
            never_started(job)
        } else {
            Error::new(Code::LeaseExpired, format!("{} did not renew its lease in time", node_of(job)))
        };
        (&error).into()
    }

    async fn lose_nodes(&self, term: Term, reaped: &mut Reaped) -> Result<()> {
        let now = self.now();
        for node in self.store.list_nodes().await? {
            let quiet = now.since(self.last_heard(&node, term, now));
            if node.is_alive() && quiet > self.settings.heartbeat_timeout {
                self.store.apply_node(node.id, NodeCommand::Lost, now).await?;
                self.expire_all(&node, &format!("sent no heartbeat for {} s", quiet.as_secs())).await?;
                reaped.nodes_lost += 1;
            }
        }
        Ok(())
    }

    fn last_heard(&self, node: &Node, term: Term, now: Timestamp) -> Timestamp {
        let stamped = node.last_heartbeat;
        // A clock far ahead of this one has stamped it.
        let tells_nothing = stamped > now + self.settings.heartbeat_timeout;
        if tells_nothing { term.since } else { term.heard_at(stamped) }
    }

    /// Takes every job back from a node.
    pub(super) async fn evict_all(&self, node: &Node, why: &str) -> Result<()> {
        for job in self.held_by(node).await? {
            self.evict(&job, job.fence, lost(node, why)).await?;
        }
        Ok(())
    }

    /// Takes every job back from a node, except those for which it is heard of meanwhile.
    async fn expire_all(&self, node: &Node, why: &str) -> Result<()> {
        for job in self.held_by(node).await? {
            let Some(until) = self.lapsed(&job) else { continue };
            let command = JobCommand::Expire { fence: job.fence, until, error: lost(node, why) };
            self.unless_moved(job.id, command).await?;
        }
        Ok(())
    }

    async fn held_by(&self, node: &Node) -> Result<Vec<Job>> {
        let states = vec![JobState::Assigned, JobState::Running, JobState::Paused];
        self.all(JobFilter { node_id: Some(node.id), states, ..JobFilter::default() }).await
    }

    async fn end_overlong(&self, term: Term, reaped: &mut Reaped) -> Result<()> {
        let now = self.now();
        for job in self.all_in(vec![JobState::Assigned, JobState::Running]).await? {
            let over = if job.state == JobState::Assigned {
                never_started_in_time(&job, term, now)
            } else {
                self.overlong(&job, term, now)
            };
            if let Some(error) = over {
                reaped.evicted += self.evict(&job, job.fence, (&error).into()).await?;
            }
        }
        Ok(())
    }

    fn overlong(&self, job: &Job, term: Term, now: Timestamp) -> Option<Error> {
        let stall = if job.queue == Queue::Live { self.settings.live_stall } else { self.settings.stall };
        let quiet = now.since(term.heard_at(job.last_activity_at.or(job.started_at)?));
        if quiet > stall {
            return Some(Error::new(Code::Timeout, format!("no progress for {} s", quiet.as_secs())));
        }
        let limit = Duration::from_secs(job.resource_limits.timeout_sec?);
        // The clock of an earlier term may have been set otherwise; agents know better how long they ran.
        let ran = now.since(term.heard_at(job.started_at?)).saturating_sub(paused_time(job, now));
        (ran > limit + self.settings.timeout_grace).then(|| {
            Error::new(
                Code::Timeout,
                format!("ran for {} s, longer than its limit of {} s", ran.as_secs(), limit.as_secs()),
            )
        })
    }

    /// Jobs left waiting by a crash between the end of a job and the move of its dependents.
    async fn settle_waiting(&self) -> Result<()> {
        let mut waiting = self.all_in(vec![JobState::Waiting]).await?;
        // The longest waiting first: what fails by it may be what others of these wait for.
        waiting.reverse();
        let failed = self.settle(&waiting).await?;
        self.settle_dependents_of(failed).await
    }

    async fn reject_unrunnable(&self) -> Result<()> {
        if self.settings.unrunnable != Unrunnable::Reject {
            return Ok(());
        }
        let nodes = self.store.list_nodes().await?;
        if nodes.is_empty() {
            return Ok(());
        }
        let runnable = |needs: &Requirements| nodes.iter().any(|node| needs.met_by(&node.offer()));
        for standing in self.store.lanes().await? {
            if standing.queued > 0 && !runnable(&standing.lane.requirements) {
                self.reject_lane(&standing.lane, &nodes).await?;
            }
        }
        Ok(())
    }

    async fn reject_lane(&self, lane: &Lane, nodes: &[Node]) -> Result<()> {
        let states = vec![JobState::Queued];
        let filter =
            JobFilter { states, queue: Some(lane.queue), tenant: Some(lane.tenant.clone()), ..JobFilter::default() };
        let error = Error::new(Code::CapabilityMissing, waiting::missing(&lane.requirements, nodes));
        let jobs = self.all(filter).await?;
        let doomed = jobs.iter().filter(|job| Requirements::of(job).is_ok_and(|needs| needs == lane.requirements));
        let orders = doomed.map(|job| (job.id, JobCommand::Reject((&error).into()))).collect();
        self.apply_unless_moved(orders).await.map(|_| ())
    }

    async fn forget(&self, reaped: &mut Reaped) -> Result<()> {
        let Some(retention) = self.settings.retention else { return Ok(()) };
        for _ in 0..PURGES {
            let purged = self.store.purge(self.now() - retention, STEP).await?;
            reaped.purged += purged;
            if purged < STEP as u64 {
                break;
            }
        }
        Ok(())
    }

    async fn evict(&self, job: &Job, fence: Fence, error: JobError) -> Result<u64> {
        let evicted = self.unless_moved(job.id, JobCommand::Evict { fence, error }).await?;
        Ok(u64::from(evicted.is_some()))
    }

    /// Applies a command; `None` if the job has moved on meanwhile.
    pub(super) async fn unless_moved(&self, id: JobId, command: JobCommand) -> Result<Option<Job>> {
        self.apply_unless_moved(vec![(id, command)]).await.map(|mut changed| changed.pop())
    }

    /// Applies commands in one go and tells of the jobs that changed; others have moved on
    /// meanwhile.
    async fn apply_unless_moved(&self, commands: Vec<(JobId, JobCommand)>) -> Result<Vec<Job>> {
        let mut changed = Vec::with_capacity(commands.len());
        for answer in self.store.apply(commands, self.now()).await? {
            match answer {
                Ok(job) => changed.push(job),
                Err(error) if matches!(error.code(), Code::WrongState | Code::StaleFence | Code::JobNotFound) => {}
                Err(error) => return Err(error),
            }
        }
        changed.iter().for_each(|job| self.announce(job));
        self.settle_dependents(&changed).await?;
        Ok(changed)
    }

    pub(super) async fn all_in(&self, states: Vec<JobState>) -> Result<Vec<Job>> {
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

/// Also where a lease holds for longer than an attempt may take to begin.
fn never_started_in_time(job: &Job, term: Term, now: Timestamp) -> Option<Error> {
    let waited = now.since(term.heard_at(job.attempts.last()?.assigned_at));
    (waited > START_LIMIT).then(|| never_started(job))
}

fn lost(node: &Node, why: &str) -> JobError {
    (&Error::new(Code::NodeLost, format!("node {} {why}", node.about.name))).into()
}

fn never_started(job: &Job) -> Error {
    Error::new(Code::NeverStarted, format!("{} claimed the job and did not start it", node_of(job)))
}

fn node_of(job: &Job) -> &str {
    job.node_name.as_deref().unwrap_or("its node")
}

/// Time that the current attempt stood still.
fn paused_time(job: &Job, now: Timestamp) -> Duration {
    let started = job.started_at.unwrap_or(now);
    let changes = job.state_transitions.iter().filter(|change| change.at >= started);
    let mut since = None;
    let mut total = Duration::ZERO;
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
    total + since.map_or(Duration::ZERO, |start| now.since(start))
}
