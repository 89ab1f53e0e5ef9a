//! What agents do: register, claim, report. How attempts begin and end is in `attempts`, whose turn
//! it is among waiting claims in `turns`.

use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};

use crate::error::{Code, Disposition, Error, Result};
use crate::id::NodeId;
use crate::job::{Job, JobState};
use crate::lifecycle::{JobCommand, Lease};
use crate::node::{Node, NodeCommand, Offer, Registration};
use crate::protocol::{
    AttemptStatus, ClaimRequest, Claimed, Directive, DirectiveKind, Heartbeat, HeartbeatAnswer, Registered,
};
use crate::store::ClaimOrder;

use super::logbook::Said;
use super::turns::{Change, Place};
use super::{Answered, Coordinator, JobEventKind, bounds};

const MAX_SLOTS: u32 = 64;
const MAX_REQUEST_ID: usize = 128;
/// A waiting claim looks again this often although nothing changed: its node may be back in service,
/// or word of a change may have got lost between masters.
const RECHECK: Duration = Duration::from_secs(2);
const MAX_WAIT: Duration = Duration::from_secs(60);

impl Coordinator {
    /// Takes a node in, or what a known one newly says of itself.
    ///
    /// # Errors
    /// `invalid_field` for a name that is empty or longer than 255 characters.
    pub async fn register(&self, registration: Registration) -> Result<Registered> {
        check_registration(&registration)?;
        let registration = bounds::registration(registration)?;
        let id = registration.id.unwrap_or_else(NodeId::random);
        let (node, created) = self.store.register_node(id, registration.into(), self.now()).await?;
        Ok(Registered {
            node,
            created,
            heartbeat_interval_ms: millis(self.settings.heartbeat_interval),
            lease_ms: millis(self.settings.heartbeat_timeout),
        })
    }

    /// All nodes.
    ///
    /// # Errors
    /// `storage`.
    pub async fn nodes(&self) -> Result<Vec<Node>> {
        self.store.list_nodes().await
    }

    /// One node.
    ///
    /// # Errors
    /// `node_not_found`.
    pub async fn node(&self, id: NodeId) -> Result<Node> {
        self.store.node(id).await
    }

    /// Takes a node out of service: its jobs end, no new ones start.
    ///
    /// # Errors
    /// `node_not_found`.
    pub async fn drain(&self, id: NodeId) -> Result<Node> {
        self.store.apply_node(id, NodeCommand::Drain, self.now()).await
    }

    /// Puts a node back into service.
    ///
    /// # Errors
    /// `node_not_found`.
    pub async fn activate(&self, id: NodeId) -> Result<Node> {
        self.store.apply_node(id, NodeCommand::Activate, self.now()).await
    }

    /// Forgets a node. Its attempts end and their jobs go back to the queue.
    ///
    /// # Errors
    /// `node_not_found`.
    pub async fn remove_node(&self, id: NodeId) -> Result<()> {
        let node = self.store.node(id).await?;
        self.store.remove_node(id).await?;
        self.evict_all(&node, "was removed").await
    }

    /// Gives work to a node, waiting for some to arrive if asked to.
    ///
    /// # Errors
    /// `node_not_found` (register first), `invalid_field`.
    ///
    /// # Cancel safety
    /// Jobs leased by a dropped call come back when the lease expires, or by asking again with the
    /// same `request_id`.
    pub async fn claim(&self, request: ClaimRequest) -> Result<Claimed> {
        check_claim(&request)?;
        let node = self.sign_of_life(request.node_id).await?;
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms).min(MAX_WAIT);
        let mut changes = self.store.changes();
        let change = *changes.borrow_and_update();
        if let Some(jobs) = self.answered_before(&request).await? {
            return Ok(self.claimed(jobs));
        }
        if request.slots == 0 {
            self.withdraw(&request);
            return Ok(self.claimed(Vec::new()));
        }
        let offer = offer(&node, &request);
        let jobs = self.claim_for(node, &request).await?.unwrap_or_default();
        if !jobs.is_empty() || request.wait_ms == 0 {
            return Ok(self.claimed(jobs));
        }
        let place = self.turns.join(offer, change);
        let jobs = self.wait_for_jobs(&request, &place, changes, deadline).await?;
        Ok(self.claimed(jobs))
    }

    /// Waits until there is work or time is over.
    async fn wait_for_jobs(
        &self,
        request: &ClaimRequest,
        place: &Place,
        mut changes: watch::Receiver<Change>,
        deadline: Instant,
    ) -> Result<Vec<Job>> {
        let mut look_again = Instant::now() + RECHECK;
        while !self.is_closing() && Instant::now() < deadline {
            let woken = async {
                tokio::select! {
                    biased;
                    changed = changes.changed() => changed.is_ok(),
                    () = place.called() => true,
                    () = self.withdrawn.notified() => true,
                    _ = self.closing.acquire() => true,
                }
            };
            match timeout_at(deadline.min(look_again), woken).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => {
                    place.doubt();
                    look_again = Instant::now() + RECHECK;
                }
            }
            // The same request may have been answered on a connection that broke.
            if let Some(jobs) = self.answered_before(request).await? {
                return Ok(jobs);
            }
            let change = *changes.borrow_and_update();
            if !place.begin(change) {
                continue;
            }
            let node = self.store.node(request.node_id).await?;
            let offer = offer(&node, request);
            let claimed = self.claim_for(node, request).await?;
            let dry = claimed.as_ref().is_some_and(|jobs| jobs.len() < request.slots as usize);
            place.end(change, offer, dry);
            if let Some(jobs) = claimed.filter(|jobs| !jobs.is_empty()) {
                return Ok(jobs);
            }
        }
        Ok(Vec::new())
    }

    /// A sign of life: renews leases, takes progress and logs, answers with orders. After the last of a
    /// node that stops, nobody waits for it until its time is over; leases that it still has run out.
    ///
    /// # Errors
    /// `node_not_found` (register again). An attempt that is over does not fail the call; it gets
    /// a cancel order.
    pub async fn heartbeat(&self, id: NodeId, heartbeat: Heartbeat) -> Result<HeartbeatAnswer> {
        bounds::attempts(heartbeat.attempts.len())?;
        let active_jobs = u32::try_from(heartbeat.attempts.len()).unwrap_or(u32::MAX);
        let command = NodeCommand::Heartbeat { telemetry: heartbeat.telemetry.map(bounds::telemetry), active_jobs };
        let node = self.store.apply_node(id, command, self.now()).await?;
        let commands = heartbeat.attempts.iter().map(|attempt| (attempt.job_id, self.renewal(id, attempt))).collect();
        let answers = self.store.apply(commands, self.now()).await?;
        let mut attempts = heartbeat.attempts;
        self.keep_said(id, &mut attempts, &answers).await?;
        let mut directives = Vec::new();
        for (attempt, answer) in attempts.into_iter().zip(answers) {
            directives.extend(self.direct(&attempt, answer)?);
        }
        if heartbeat.leaving {
            self.store.apply_node(id, NodeCommand::Lost, self.now()).await?;
        }
        Ok(HeartbeatAnswer { directives, drain: node.draining })
    }

    /// Claims for a node; `None` if it is not in service, or the master no longer.
    async fn claim_for(&self, node: Node, request: &ClaimRequest) -> Result<Option<Vec<Job>>> {
        if !node.takes_jobs() || self.is_closing() {
            return Ok(None);
        }
        let order = ClaimOrder {
            node: node.id,
            offer: offer(&node, request),
            node_name: node.about.name,
            slots: request.slots as usize,
            lease: self.settings.heartbeat_timeout,
            caps: self.settings.caps.clone(),
        };
        let jobs = self.store.claim(&order, self.now()).await?;
        jobs.iter().for_each(|job| self.announce(job));
        self.remember(request, &jobs);
        Ok(Some(jobs))
    }

    fn claimed(&self, jobs: Vec<Job>) -> Claimed {
        if let Some(watcher) = &self.watcher {
            watcher.claimed(&jobs);
        }
        Claimed { jobs, lease_ms: millis(self.settings.heartbeat_timeout) }
    }

    /// Answers the same request with nothing where it still waits, unless it gets jobs just now.
    fn withdraw(&self, request: &ClaimRequest) {
        if let Some(request_id) = request.request_id.clone() {
            let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            answered.insert(request.node_id, Answered { request_id, jobs: Vec::new() });
        }
        self.withdrawn.notify_waiters();
    }

    fn remember(&self, request: &ClaimRequest, jobs: &[Job]) {
        let Some(request_id) = request.request_id.clone().filter(|_| !jobs.is_empty()) else { return };
        let jobs = jobs.iter().map(|job| (job.id, job.fence)).collect();
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.insert(request.node_id, Answered { request_id, jobs });
    }

    /// The jobs of the node's last claim, if this is the same one and they are still its own.
    async fn answered_before(&self, request: &ClaimRequest) -> Result<Option<Vec<Job>>> {
        let leased: Vec<_> = {
            let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
            match answered.get(&request.node_id) {
                Some(last) if Some(&last.request_id) == request.request_id.as_ref() => last.jobs.clone(),
                _ => return Ok(None),
            }
        };
        let mut jobs = Vec::with_capacity(leased.len());
        for (id, fence) in leased {
            let job = self.store.job(&id.into()).await?;
            if job.lease() == Some(Lease { node: request.node_id, fence }) {
                jobs.push(job);
            }
        }
        Ok(Some(jobs))
    }

    /// A node that asks for work is alive.
    async fn sign_of_life(&self, id: NodeId) -> Result<Node> {
        let node = self.store.node(id).await?;
        let quiet = self.now().since(node.last_heartbeat);
        if node.is_alive() && quiet < self.settings.heartbeat_interval / 3 {
            return Ok(node);
        }
        let command = NodeCommand::Heartbeat { telemetry: None, active_jobs: node.active_jobs };
        self.store.apply_node(id, command, self.now()).await
    }

    fn renewal(&self, node: NodeId, attempt: &AttemptStatus) -> JobCommand {
        JobCommand::Progress {
            lease: Lease { node, fence: attempt.fence },
            percent: attempt.progress,
            renew_for: self.settings.heartbeat_timeout,
        }
    }

    /// Takes the lines out of the reports of attempts that go on and keeps them: in one call of the store
    /// for all that began here.
    async fn keep_said(&self, node: NodeId, attempts: &mut [AttemptStatus], answers: &[Result<Job>]) -> Result<()> {
        let goes_on =
            |(attempt, answer): &(&mut AttemptStatus, &Result<Job>)| !attempt.logs.is_empty() && answer.is_ok();
        let said = attempts.iter_mut().zip(answers).filter(goes_on).map(|(attempt, _)| Said {
            job: attempt.job_id,
            lease: Lease { node, fence: attempt.fence },
            from: attempt.logs_from,
            lines: std::mem::take(&mut attempt.logs),
        });
        for unknown in self.keep(said.collect()).await? {
            if let Some(job) = answers.iter().flatten().find(|job| job.id == unknown.job) {
                self.keep_lines(job, unknown.from, unknown.lines).await?;
            }
        }
        Ok(())
    }

    /// What to tell a node about an attempt, given what the store made of its report.
    fn direct(&self, attempt: &AttemptStatus, answer: Result<Job>) -> Result<Option<Directive>> {
        let order = |directive, reason: &str| {
            Some(Directive { job_id: attempt.job_id, fence: attempt.fence, directive, reason: reason.to_owned() })
        };
        let job = match answer {
            Ok(job) => job,
            Err(error) if error.disposition() == Disposition::Transient => return Err(error),
            Err(error) => return Ok(order(DirectiveKind::Cancel, error.message())),
        };
        self.publish(&job, JobEventKind::Progress);
        let last = job.state_transitions.last();
        Ok(match job.state {
            JobState::Paused => order(DirectiveKind::Pause, "paused by a person"),
            JobState::Running if last.is_some_and(|change| change.from == JobState::Paused) => {
                order(DirectiveKind::Resume, "resumed by a person")
            }
            _ => None,
        })
    }
}

/// What a node offers: what its machine has, as far as the node says that it has it left.
fn offer(node: &Node, request: &ClaimRequest) -> Offer {
    let offer = node.offer();
    let Some(room) = &request.room else { return offer };
    let lesser = |has: Option<u64>, left: Option<u64>| match (has, left) {
        (Some(has), Some(left)) => Some(has.min(left)),
        (has, left) => has.or(left),
    };
    Offer {
        // The comparison allows for what firmware keeps of a whole machine.
        memory_bytes: lesser(offer.memory_bytes, room.memory_bytes.map(|left| left / 16 * 15)),
        disk_bytes: lesser(offer.disk_bytes, room.disk_bytes),
        gpu_sessions: room.gpu_sessions.filter(|left| *left == 0).or(offer.gpu_sessions),
        ..offer
    }
}

fn check_claim(request: &ClaimRequest) -> Result<()> {
    let fewest = u32::from(request.request_id.is_none());
    if !(fewest..=MAX_SLOTS).contains(&request.slots) {
        return Err(Error::new(Code::InvalidField, format!("{} slots", request.slots))
            .field("slots")
            .hint(format!("give 1 to {MAX_SLOTS}")));
    }
    if request.wait_ms > millis(MAX_WAIT) {
        return Err(Error::new(Code::InvalidField, format!("{} ms is too long a wait", request.wait_ms))
            .field("wait_ms")
            .hint("give at most 60000"));
    }
    if request.request_id.as_ref().is_some_and(|id| id.is_empty() || id.len() > MAX_REQUEST_ID) {
        return Err(Error::new(Code::InvalidField, "the request id is empty or too long")
            .field("request_id")
            .hint(format!("give 1 to {MAX_REQUEST_ID} bytes; a UUID is usual")));
    }
    Ok(())
}

fn check_registration(registration: &Registration) -> Result<()> {
    let name = &registration.name;
    if name.is_empty() || name.chars().count() > 255 || name.chars().any(char::is_control) {
        return Err(Error::new(
            Code::InvalidField,
            "a node needs a name of 1 to 255 characters without control characters",
        )
        .field("name")
        .hint("the host name is usual"));
    }
    Ok(())
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
