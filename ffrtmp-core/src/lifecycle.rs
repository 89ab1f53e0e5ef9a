//! How a job changes: every command that a store can be asked to carry out, applied to the job by
//! one pure function. A store loads, applies, and saves in one transaction; it decides nothing.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::cost::{JobCost, Spent};
use crate::error::{Code, Disposition, Error, JobError, Result};
use crate::fsm;
use crate::id::{Fence, JobId, NodeId};
use crate::job::{Attempt, AttemptOutcome, EngineName, Job, JobReport, JobState, StateTransition};
use crate::policy::{retry, sla};

/// Transitions kept with a job.
pub const MAX_TRANSITIONS: usize = 200;

/// Attempts kept with a job.
pub const MAX_ATTEMPTS: usize = 50;

/// Nodes named in the error of a job that failed on many.
const NODES_NAMED: usize = 5;

const RETRIED: &str = "retried by a person";

/// The right to run one attempt: which node, under which fence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Who runs it.
    pub node: NodeId,
    /// Which attempt it is.
    pub fence: Fence,
}

/// How an attempt ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The output is published; what was measured.
    Completed(Box<JobReport>),
    /// It failed; the disposition of the error decides about a retry.
    Failed(JobError),
    /// The node gives the job back unharmed (drain, shutdown): queued again without using a retry.
    Released(String),
}

/// A change of a job.
#[derive(Clone, Debug, PartialEq)]
pub enum JobCommand {
    /// The node begins the attempt. Saying so twice is one effect.
    Start {
        /// The attempt.
        lease: Lease,
        /// The engine that runs it, if the node says.
        engine: Option<(EngineName, String)>,
    },
    /// A sign of life: renews the lease; an assigned job becomes running.
    Progress {
        /// The attempt.
        lease: Lease,
        /// Percent done, if known.
        percent: Option<f64>,
        /// How long the lease holds from now.
        renew_for: Duration,
    },
    /// The master was away: the lease holds from now, whatever the attempt has done.
    Renew {
        /// The attempt.
        lease: Lease,
        /// How long the lease holds from now.
        renew_for: Duration,
    },
    /// What an attempt used that ends without an output; said before its end.
    Spend {
        /// The attempt.
        lease: Lease,
        /// What.
        spent: Box<Spent>,
    },
    /// The attempt ended. The same fence twice gives the same answer twice.
    Finish {
        /// The attempt.
        lease: Lease,
        /// How.
        outcome: Outcome,
    },
    /// The master ends an attempt from outside: lease expired, node lost, time limit. Refused if
    /// the fence moved on.
    Evict {
        /// The fence that the master saw.
        fence: Fence,
        /// Why.
        error: JobError,
    },
    /// The master ends an attempt whose lease was over at `until`. Refused if the fence moved on, or
    /// if the lease was renewed before the command came: its node was told so.
    Expire {
        /// The fence that the master saw.
        fence: Fence,
        /// The end of the lease that the master saw.
        until: Timestamp,
        /// Why.
        error: JobError,
    },
    /// A person cancels. A job that is canceled already stays as it is.
    Cancel,
    /// A person holds it back, or freezes its attempt.
    Pause,
    /// A person lets it go on.
    Resume,
    /// A person starts a new round of a job that failed or was canceled.
    Retry,
    /// The backoff is over.
    Requeue,
    /// Everything it waited for completed.
    Ready,
    /// A job that it waited for ended without success, as told; `None` if it is not known any more.
    DependencyFailed(JobId, Option<JobState>),
    /// Nothing in the fleet can ever run it.
    Reject(JobError),
}

impl Job {
    /// Gives the job to a node: a new fence, a new attempt, a lease.
    ///
    /// # Errors
    /// `wrong_state` unless it is queued.
    pub fn assign(&mut self, node: NodeId, name: &str, lease: Duration, now: Timestamp) -> Result<Lease> {
        fsm::transition(self.state, JobState::Assigned)?;
        self.fence = self.fence.next();
        self.attempt += 1;
        self.node_id = Some(node);
        self.node_name = Some(name.to_owned());
        self.lease_expires_at = Some(now + lease);
        self.last_activity_at = Some(now);
        self.progress = 0.0;
        self.become_state(JobState::Assigned, format!("claimed by {name}, attempt {}", self.attempt), now)?;
        if self.attempts.len() >= MAX_ATTEMPTS {
            self.attempts.remove(0);
        }
        self.attempts.push(Attempt {
            number: self.attempt,
            fence: self.fence,
            node_id: node,
            node_name: name.to_owned(),
            assigned_at: now,
            started_at: None,
            ended_at: None,
            outcome: None,
            error: None,
        });
        Ok(Lease { node, fence: self.fence })
    }

    /// The current attempt is over.
    fn end_attempt(&mut self, outcome: AttemptOutcome, error: Option<JobError>, now: Timestamp) {
        if let Some(attempt) = self.attempts.last_mut().filter(|attempt| attempt.outcome.is_none()) {
            attempt.ended_at = Some(now);
            attempt.outcome = Some(outcome);
            attempt.error = error;
        }
    }

    /// Applies a command. Returns whether anything changed that must be saved.
    ///
    /// # Errors
    /// `wrong_state` for a change that the state machine does not have, `stale_fence` from an
    /// attempt that is not the current one. The job is unchanged then.
    pub fn apply(&mut self, command: JobCommand, now: Timestamp) -> Result<bool> {
        match command {
            JobCommand::Start { lease, engine } => self.start(lease, engine, now),
            JobCommand::Progress { lease, percent, renew_for } => self.make_progress(lease, percent, renew_for, now),
            JobCommand::Renew { lease, renew_for } => {
                self.check_lease(lease)?;
                self.lease_expires_at = Some(now + renew_for);
                self.last_activity_at = Some(now);
                Ok(true)
            }
            JobCommand::Spend { lease, spent } => {
                self.check_lease(lease)?;
                self.spent = Some(match self.spent.take() {
                    Some(before) => Box::new(before.and(&spent)),
                    None => spent,
                });
                Ok(true)
            }
            JobCommand::Finish { lease, outcome } => self.finish(lease, outcome, now),
            JobCommand::Evict { fence, error } => self.evict(fence, error, now),
            JobCommand::Expire { fence, until, error } => {
                if self.lease_expires_at.is_some_and(|at| at > until) {
                    return Err(Error::new(Code::StaleFence, format!("the lease of job {} was renewed", self.id)));
                }
                self.evict(fence, error, now)
            }
            JobCommand::Cancel => self.cancel(now),
            JobCommand::Pause => self.pause(now),
            JobCommand::Resume => self.resume(now),
            JobCommand::Retry => self.retry(now),
            JobCommand::Requeue => {
                self.expect_state(JobState::Retrying, JobState::Queued)?;
                self.requeue("backoff over".into(), now)
            }
            JobCommand::Ready => {
                self.expect_state(JobState::Waiting, JobState::Queued)?;
                self.requeue("everything it waited for completed".into(), now)
            }
            JobCommand::DependencyFailed(id, state) => {
                self.expect_state(JobState::Waiting, JobState::Failed)?;
                let error = Error::new(
                    Code::DependencyFailed,
                    match state {
                        Some(state) => format!("job {id}, which this one depends on, ended as {state}"),
                        None => format!("job {id}, which this one depends on, is not known any more"),
                    },
                );
                self.fail((&error).into(), now)
            }
            JobCommand::Reject(error) => {
                self.become_state(JobState::Rejected, error.message.clone(), now)?;
                self.failure_reason = Some(error.code.failure_reason());
                self.error = Some(error);
                self.end(now);
                Ok(true)
            }
        }
    }

    fn start(&mut self, lease: Lease, engine: Option<(EngineName, String)>, now: Timestamp) -> Result<bool> {
        self.check_lease(lease)?;
        if self.state != JobState::Assigned {
            return Ok(false);
        }
        self.become_state(JobState::Running, "attempt started".into(), now)?;
        self.started_at = Some(now);
        self.last_activity_at = Some(now);
        if let Some(attempt) = self.attempts.last_mut() {
            attempt.started_at = Some(now);
        }
        if let Some((name, reason)) = engine {
            self.engine_used = Some(name);
            self.engine_reason = Some(reason);
        }
        Ok(true)
    }

    fn make_progress(
        &mut self,
        lease: Lease,
        percent: Option<f64>,
        renew_for: Duration,
        now: Timestamp,
    ) -> Result<bool> {
        self.check_lease(lease)?;
        self.start(lease, None, now)?;
        self.lease_expires_at = Some(now + renew_for);
        if let Some(percent) = percent.filter(|percent| percent.is_finite()) {
            let percent = percent.clamp(0.0, 100.0);
            if percent > self.progress {
                self.progress = percent;
                self.last_activity_at = Some(now);
            }
        } else {
            self.last_activity_at = Some(now);
        }
        if self.state == JobState::Paused {
            self.last_activity_at = Some(now);
        }
        Ok(true)
    }

    fn finish(&mut self, lease: Lease, outcome: Outcome, now: Timestamp) -> Result<bool> {
        if self.node_id != Some(lease.node) || self.fence != lease.fence {
            return Err(self.stale(lease));
        }
        if self.answers_again(&outcome) {
            return Ok(false);
        }
        self.check_lease(lease)?;
        self.start(lease, None, now)?;
        match outcome {
            Outcome::Completed(report) => self.complete(report, now),
            Outcome::Failed(error) => self.attempt_failed(error, now),
            Outcome::Released(reason) => self.release(&reason, now),
        }
    }

    /// Whether this attempt has said this before. An error that differs from the recorded one is
    /// a late word of an attempt that the master had ended already, not a repetition.
    fn answers_again(&self, outcome: &Outcome) -> bool {
        let back = matches!(self.state, JobState::Retrying | JobState::Queued)
            || (self.state == JobState::Paused && !self.is_frozen());
        match outcome {
            Outcome::Completed(_) => self.state == JobState::Completed,
            Outcome::Failed(error) => (back || self.state == JobState::Failed) && self.last_said() == Some(error),
            Outcome::Released(_) => back,
        }
    }

    /// The error of the last attempt in its own words, unless a person began a new round since.
    fn last_said(&self) -> Option<&JobError> {
        let error = self.error.as_ref()?;
        self.attempts.last().map_or(Some(error), |attempt| attempt.error.as_ref())
    }

    fn complete(&mut self, report: Box<JobReport>, now: Timestamp) -> Result<bool> {
        if self.state == JobState::Paused {
            self.become_state(JobState::Running, "the attempt ended before it froze".into(), now)?;
        }
        self.become_state(JobState::Completed, "output published".into(), now)?;
        self.end_attempt(AttemptOutcome::Completed, None, now);
        self.progress = 100.0;
        self.result = Some(report);
        self.error = None;
        self.end(now);
        Ok(true)
    }

    fn attempt_failed(&mut self, error: JobError, now: Timestamp) -> Result<bool> {
        self.end_attempt(AttemptOutcome::Failed, Some(error.clone()), now);
        if error.disposition != Disposition::Transient {
            return self.fail(error, now);
        }
        if self.retry_count >= self.max_retries {
            return self.fail(self.given_up(error), now);
        }
        let delay = retry::delay(self.retry_count, self.id, self.fence);
        self.retry_count += 1;
        let reason = format!(
            "{}: retry {} of {} in {:.1} s",
            error.message,
            self.retry_count,
            self.max_retries,
            delay.as_secs_f64()
        );
        let held = self.is_frozen();
        self.become_state(JobState::Retrying, reason, now)?;
        self.error = Some(error);
        self.retry_at = Some(now + delay);
        self.let_go();
        if held { self.hold_again(now) } else { Ok(true) }
    }

    /// The last error of a job that failed in every attempt of its round, with where it was tried.
    fn given_up(&self, error: JobError) -> JobError {
        let tries = self.retry_count as usize + 1;
        if tries == 1 {
            return error;
        }
        let failed = self.attempts.iter().rev().filter(|attempt| attempt.outcome == Some(AttemptOutcome::Failed));
        let mut nodes: Vec<&str> = Vec::new();
        for attempt in failed.take(tries) {
            if !nodes.contains(&attempt.node_name.as_str()) {
                nodes.push(&attempt.node_name);
            }
        }
        let named = nodes.iter().rev().take(NODES_NAMED).copied().collect::<Vec<_>>().join(", ");
        let more = nodes.len().saturating_sub(NODES_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!("{}; given up after {tries} attempts on {named}{more}", error.message);
        JobError { message, ..error }
    }

    fn release(&mut self, reason: &str, now: Timestamp) -> Result<bool> {
        let held = self.is_frozen();
        self.become_state(JobState::Retrying, format!("given back by its node: {reason}"), now)?;
        self.end_attempt(AttemptOutcome::Released, None, now);
        self.let_go();
        if held { self.hold_again(now) } else { self.requeue("ready for another node".into(), now) }
    }

    /// A paused job lost its attempt: it stays paused, since a person holds it.
    fn hold_again(&mut self, now: Timestamp) -> Result<bool> {
        self.requeue("the attempt that was paused is over".into(), now)?;
        self.become_state(JobState::Paused, "still held by the person who paused it".into(), now)?;
        Ok(true)
    }

    fn evict(&mut self, fence: Fence, error: JobError, now: Timestamp) -> Result<bool> {
        let held = self.state.is_active() || self.is_frozen();
        if self.fence != fence || !held {
            return Err(Error::new(Code::StaleFence, format!("fence {fence} of job {} is over", self.id)));
        }
        self.attempt_failed(error, now)
    }

    fn cancel(&mut self, now: Timestamp) -> Result<bool> {
        if self.state == JobState::Canceled {
            return Ok(false);
        }
        self.become_state(JobState::Canceled, "canceled by a person".into(), now)?;
        self.end_attempt(AttemptOutcome::Canceled, None, now);
        self.end(now);
        Ok(true)
    }

    fn pause(&mut self, now: Timestamp) -> Result<bool> {
        if self.state == JobState::Paused {
            return Ok(false);
        }
        self.become_state(JobState::Paused, "paused by a person".into(), now)?;
        Ok(true)
    }

    fn resume(&mut self, now: Timestamp) -> Result<bool> {
        match self.state {
            JobState::Paused if self.is_frozen() => {
                self.become_state(JobState::Running, "resumed by a person".into(), now)?;
                self.last_activity_at = Some(now);
                Ok(true)
            }
            JobState::Paused => self.requeue("resumed by a person".into(), now),
            JobState::Queued | JobState::Running => Ok(false),
            _ => {
                Err(Error::new(Code::WrongState, format!("a job that is {} cannot be resumed", self.state))
                    .field("state"))
            }
        }
    }

    fn retry(&mut self, now: Timestamp) -> Result<bool> {
        let retried = self.state_transitions.last().is_some_and(|change| change.reason == RETRIED);
        if self.state == JobState::Queued && retried {
            return Ok(false);
        }
        if !matches!(self.state, JobState::Failed | JobState::Canceled) {
            return Err(Error::new(
                Code::WrongState,
                format!("a job that is {} cannot be retried; only failed and canceled ones can", self.state),
            )
            .field("state"));
        }
        self.retry_count = 0;
        self.completed_at = None;
        self.error = None;
        self.failure_reason = None;
        self.sla = None;
        self.progress = 0.0;
        self.requeue(RETRIED.into(), now)
    }

    fn requeue(&mut self, reason: String, now: Timestamp) -> Result<bool> {
        self.become_state(JobState::Queued, reason, now)?;
        self.queued_at = Some(now);
        self.retry_at = None;
        Ok(true)
    }

    fn fail(&mut self, error: JobError, now: Timestamp) -> Result<bool> {
        self.become_state(JobState::Failed, error.message.clone(), now)?;
        self.failure_reason = Some(error.code.failure_reason());
        self.error = Some(error);
        self.end(now);
        Ok(true)
    }

    /// The attempt is over, the job is not.
    fn let_go(&mut self) {
        self.lease_expires_at = None;
        self.progress = 0.0;
    }

    fn end(&mut self, now: Timestamp) {
        self.completed_at = Some(now);
        self.lease_expires_at = None;
        self.retry_at = None;
        self.sla = Some(sla::verdict(self));
    }

    /// When its state changed last.
    #[must_use]
    pub fn changed_at(&self) -> Option<Timestamp> {
        self.state_transitions.last().map(|change| change.at)
    }

    /// What all its attempts cost so far; `None` without rates, or before the end of the first.
    #[must_use]
    pub fn cost(&self) -> Option<JobCost> {
        let spent = self.spent.as_ref().and_then(|spent| spent.cost);
        let result = self.result.as_ref().and_then(|report| report.cost.as_deref().copied());
        match (spent, result) {
            (Some(spent), Some(result)) => Some(spent.and(result)),
            (spent, result) => spent.or(result),
        }
    }

    /// Whether the job is paused while a node holds it.
    #[must_use]
    pub fn is_frozen(&self) -> bool {
        self.state == JobState::Paused && self.lease_expires_at.is_some()
    }

    /// The lease that is out, if one is.
    #[must_use]
    pub fn lease(&self) -> Option<Lease> {
        let held = self.state.is_active() || self.is_frozen();
        held.then_some(self.node_id).flatten().map(|node| Lease { node, fence: self.fence })
    }

    fn check_lease(&self, lease: Lease) -> Result<()> {
        if self.lease() == Some(lease) { Ok(()) } else { Err(self.stale(lease)) }
    }

    fn stale(&self, lease: Lease) -> Error {
        let why = match self.state {
            state if state.is_final() => format!("the job is {state}"),
            _ if self.fence != lease.fence => format!("the current fence is {}", self.fence),
            _ if self.node_id != Some(lease.node) => "another node holds it".to_owned(),
            state => format!("the job is {state}"),
        };
        Error::new(Code::StaleFence, format!("attempt with fence {} of job {} is over: {why}", lease.fence, self.id))
            .field("fence")
    }

    /// Refuses a change that the master meant for another state: a person may have canceled or
    /// paused the job between its look and its command, and the table alone would let the command
    /// undo that.
    fn expect_state(&self, from: JobState, to: JobState) -> Result<()> {
        if self.state == from {
            return Ok(());
        }
        let message = format!("a job that is {} is no longer {from} and cannot become {to}", self.state);
        Err(Error::new(Code::WrongState, message).field("state"))
    }

    fn become_state(&mut self, to: JobState, reason: String, now: Timestamp) -> Result<()> {
        let from = self.state;
        self.state = fsm::transition(from, to)?;
        if self.state_transitions.len() >= MAX_TRANSITIONS {
            self.state_transitions.remove(1);
        }
        self.state_transitions.push(StateTransition { from, to, at: now, reason });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
