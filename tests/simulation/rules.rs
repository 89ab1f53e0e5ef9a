//! What must hold after every step. Each rule says what is wrong in the trace; nothing stops, so
//! that one run shows all that follows from a mistake.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ffrtmp::core::error::Code;
use ffrtmp::core::fsm;
use ffrtmp::core::id::{Fence, JobId};
use ffrtmp::core::job::{AttemptOutcome, Job, JobState};
use ffrtmp::core::lifecycle::{JobCommand, MAX_ATTEMPTS, MAX_TRANSITIONS, Outcome};
use ffrtmp::core::store::{ClaimOrder, Counts, Lane, LaneStanding, Rank, Submitted};
use tokio::time::Instant;

use crate::network::CALL_TIMEOUT;
use crate::trace::Trace;
use crate::witness::{Ending, Known, Seen};

/// A submission was stored, or recognised.
pub(crate) fn submission(
    seen: &mut Seen,
    stored: &Submitted,
    key: Option<String>,
    rank: Rank,
    lane: Lane,
    trace: &Trace,
) {
    let job = &stored.job;
    trace.note(format_args!("{} {} submitted created={}", job.sequence_number, job.id, stored.created));
    if let Some(key) = key {
        let first = *seen.keys.entry(key.clone()).or_insert(job.id);
        if first != job.id {
            trace.wrong(format_args!("key {key} names two jobs, {first} and {}", job.id));
        }
    }
    if !stored.created {
        return;
    }
    let last = seen.jobs.values().map(|known| known.job.sequence_number).max().unwrap_or(0);
    if job.sequence_number <= last {
        trace.wrong(format_args!("sequence number {} after {last}", job.sequence_number));
    }
    if !matches!(job.state, JobState::Queued | JobState::Waiting | JobState::Failed) {
        trace.wrong(format_args!("{} is submitted as {}", job.id, job.state));
    }
    let known = Known {
        job: job.clone(),
        rank,
        lane,
        in_line: job.state == JobState::Queued,
        ended: BTreeMap::new(),
        accepted: None,
        published: Vec::new(),
    };
    if seen.jobs.insert(job.id, known).is_some() {
        trace.wrong(format_args!("{} is submitted twice", job.id));
    }
}

/// A claim was answered.
pub(crate) fn claim(seen: &mut Seen, order: &ClaimOrder, claimed: &[Job], trace: &Trace) {
    if claimed.len() > order.slots {
        trace.wrong(format_args!("{} jobs for {} slots", claimed.len(), order.slots));
    }
    let given: BTreeSet<JobId> = claimed.iter().map(|job| job.id).collect();
    for job in claimed {
        trace.note(format_args!("{} claimed by {} fence {}", job.sequence_number, order.node_name, job.fence));
        overtaken(seen, job, &given, trace);
        let dependencies_done = job.depends_on.iter().all(|id| is_completed(seen, *id));
        let Some(known) = seen.jobs.get_mut(&job.id) else {
            trace.wrong(format_args!("{} was claimed and never stored", job.id));
            continue;
        };
        let before = &known.job;
        if before.state != JobState::Queued || before.lease().is_some() {
            trace.wrong(format_args!("{} was {} under fence {} when claimed", job.id, before.state, before.fence));
        }
        if job.fence <= before.fence {
            trace.wrong(format_args!("the fence of {} went from {} to {}", job.id, before.fence, job.fence));
        }
        if job.state != JobState::Assigned || job.node_id != Some(order.node) {
            trace.wrong(format_args!("{} is {} for {:?} after a claim", job.id, job.state, job.node_id));
        }
        if !dependencies_done {
            trace.wrong(format_args!("{} was claimed before what it depends on completed", job.id));
        }
        transitions(before, job, trace);
        history(job, trace);
        known.job = job.clone();
    }
    caps(seen, order, trace);
}

/// First in, first out, within a lane and a priority, for jobs whose place nobody changed.
fn overtaken(seen: &Seen, job: &Job, given: &BTreeSet<JobId>, trace: &Trace) {
    let Some(known) = seen.jobs.get(&job.id).filter(|known| known.in_line && known.job.fence == Fence(0)) else {
        return;
    };
    let earlier = seen.jobs.values().find(|other| {
        other.in_line
            && other.job.state == JobState::Queued
            && other.job.fence == Fence(0)
            && other.lane == known.lane
            && other.job.priority == job.priority
            && (other.rank, other.job.sequence_number) < (known.rank, job.sequence_number)
            && !given.contains(&other.job.id)
    });
    if let Some(earlier) = earlier {
        trace.wrong(format_args!(
            "job {} was claimed before {}, which stands before it",
            job.sequence_number, earlier.job.sequence_number
        ));
    }
}

fn caps(seen: &Seen, order: &ClaimOrder, trace: &Trace) {
    let active = seen.jobs.values().filter(|known| known.job.lease().is_some());
    let mut queues = BTreeMap::new();
    let mut tenants = BTreeMap::new();
    for known in active {
        *queues.entry(known.lane.queue).or_insert(0) += 1;
        *tenants.entry(&known.lane.tenant).or_insert(0) += 1;
    }
    for (queue, cap) in &order.caps.queues {
        if queues.get(queue).is_some_and(|active| active > cap) {
            trace.wrong(format_args!("{:?} active jobs in {queue}, at most {cap}", queues.get(queue)));
        }
    }
    for (tenant, active) in tenants {
        if order.caps.of_tenant(tenant).is_some_and(|cap| active > cap) {
            trace.wrong(format_args!("{active} active jobs of {tenant}"));
        }
    }
}

/// A command was accepted.
pub(crate) fn change(known: &mut Known, command: &JobCommand, after: &Job, completed: &BTreeSet<JobId>, trace: &Trace) {
    let before = known.job.clone();
    let id = before.id;
    if after.fence != before.fence || after.sequence_number != before.sequence_number {
        trace.wrong(format_args!("{} of {id} changed its fence or number", name(command)));
    }
    let differs = *after != before;
    if before.state.is_final() && differs && !matches!(command, JobCommand::Retry) {
        trace.wrong(format_args!("{id} was {} and changed by {}", before.state, name(command)));
    }
    if let Some(lease) = lease_of(command).filter(|_| differs)
        && before.lease() != Some(lease)
    {
        trace.wrong(format_args!("{} with stale fence {} changed {id}", name(command), lease.fence));
    }
    if let JobCommand::Evict { fence, .. } | JobCommand::Expire { fence, .. } = command
        && (before.fence != *fence || before.lease().is_none())
    {
        trace.wrong(format_args!("fence {fence} of {id} was evicted and is not out"));
    }
    if before.state == JobState::Waiting && after.state == JobState::Queued && completed.len() < before.depends_on.len()
    {
        trace.wrong(format_args!("{id} is ready although not all that it depends on completed"));
    }
    did_what_it_says(command, after, trace);
    transitions(&before, after, trace);
    history(after, trace);
    let ended = before.lease().filter(|lease| after.lease() != Some(*lease));
    if let Some(lease) = ended {
        known.ended.insert(lease.fence, (Instant::now(), ending(command)));
    }
    if after.state == JobState::Completed && before.state != JobState::Completed {
        complete(known, after, trace);
    }
    // A job that left the line before its first claim returns to another place.
    known.in_line &= !(differs && before.fence == Fence(0));
    known.job = after.clone();
}

fn complete(known: &mut Known, after: &Job, trace: &Trace) {
    let id = after.id;
    if let Some(first) = known.accepted {
        trace.wrong(format_args!("{id} completed under {} and before under {first}", after.fence));
    }
    known.accepted = Some(after.fence);
    if !known.published.contains(&after.fence) {
        trace.wrong(format_args!("{id} completed under {} without an output of that attempt", after.fence));
    }
}

fn did_what_it_says(command: &JobCommand, after: &Job, trace: &Trace) {
    let right = match command {
        JobCommand::Start { .. }
        | JobCommand::Renew { .. }
        | JobCommand::Progress { .. }
        | JobCommand::Spend { .. } => after.lease().is_some(),
        JobCommand::Finish { outcome: Outcome::Completed(_), .. } => after.state == JobState::Completed,
        JobCommand::Finish { .. } | JobCommand::Evict { .. } | JobCommand::Expire { .. } => after.lease().is_none(),
        JobCommand::Cancel => after.state == JobState::Canceled,
        JobCommand::Pause => after.state == JobState::Paused,
        JobCommand::Requeue | JobCommand::Ready | JobCommand::Retry => after.state == JobState::Queued,
        JobCommand::Resume => matches!(after.state, JobState::Queued | JobState::Running),
        JobCommand::DependencyFailed(..) => after.state == JobState::Failed,
        JobCommand::Reject(_) => after.state == JobState::Rejected,
    };
    if !right {
        trace.wrong(format_args!("{} of {} was accepted and left it {}", name(command), after.id, after.state));
    }
}

/// Every new change of state is one of the table and follows from the one before.
fn transitions(before: &Job, after: &Job, trace: &Trace) {
    let known = before.state_transitions.len();
    if after.state_transitions.len() >= MAX_TRANSITIONS {
        return;
    }
    let mut state = before.state;
    for change in after.state_transitions.iter().skip(known) {
        if change.from != state || !fsm::successors(state).contains(&change.to) {
            trace.wrong(format_args!("{} went from {state} by {} -> {}", after.id, change.from, change.to));
        }
        state = change.to;
    }
    if state != after.state {
        trace.wrong(format_args!("{} is {} and its last change led to {state}", after.id, after.state));
    }
}

/// One entry per fence, in order; the last one open exactly while a lease is out.
fn history(job: &Job, trace: &Trace) {
    let attempts = &job.attempts;
    let growing = attempts.windows(2).all(|pair| pair[0].fence < pair[1].fence && pair[0].number < pair[1].number);
    let ended = attempts.iter().rev().skip(1).all(|attempt| attempt.outcome.is_some());
    let last = attempts.last();
    let current = last.map_or(Fence(0), |attempt| attempt.fence) == job.fence;
    let open = last.is_some_and(|attempt| attempt.outcome.is_none()) == job.lease().is_some();
    let whole = attempts.len() == (job.fence.0 as usize).min(MAX_ATTEMPTS);
    if !(growing && ended && current && open && whole) {
        trace.wrong(format_args!("the history of {} ({}) is not right: {attempts:?}", job.id, job.state));
    }
    let completed = last.is_some_and(|attempt| attempt.outcome == Some(AttemptOutcome::Completed));
    if completed != (job.state == JobState::Completed) {
        trace.wrong(format_args!("{} is {} and its last attempt {:?}", job.id, job.state, last));
    }
}

/// An output became visible: its attempt holds the job, or lost it so lately that it could not know.
pub(crate) fn publication(known: &Known, fence: Fence, trace: &Trace) {
    let id = known.job.id;
    if known.job.lease().is_some_and(|lease| lease.fence == fence) {
        return;
    }
    let Some((at, by)) = known.ended.get(&fence) else {
        return trace.wrong(format_args!("{id} was published under {fence}, which was never given"));
    };
    let since = at.elapsed();
    let lately = CALL_TIMEOUT + Duration::from_millis(100);
    if !matches!(by, Ending::Person | Ending::Limit) || since > lately {
        trace.wrong(format_args!("{id} was published under {fence}, which {by:?} ended {since:?} before"));
    }
}

/// Nothing is under way any more.
pub(crate) fn at_the_end(seen: &Seen, trace: &Trace) {
    for known in seen.jobs.values() {
        let job = &known.job;
        if !job.state.is_final() {
            trace.wrong(format_args!("job {} is still {}", job.sequence_number, job.state));
        }
        if job.state == JobState::Completed && known.accepted != Some(job.fence) {
            trace.wrong(format_args!("{} completed under {} and took {:?}", job.id, job.fence, known.accepted));
        }
    }
}

/// The numbers kept beside the jobs.
pub(crate) fn recount(seen: &Seen, stored: &[Job], counts: &Counts, lanes: &[LaneStanding], trace: &Trace) {
    if stored.len() != seen.jobs.len() {
        trace.wrong(format_args!("{} jobs are stored of {}", stored.len(), seen.jobs.len()));
    }
    let mut by_state = BTreeMap::new();
    let mut by_lane: BTreeMap<&Lane, (u64, u64)> = BTreeMap::new();
    for job in stored {
        *by_state.entry(job.state).or_insert(0) += 1;
        let Some(known) = seen.jobs.get(&job.id) else { continue };
        if known.job != *job {
            trace.wrong(format_args!("{} changed without a command", job.id));
        }
        let lane = by_lane.entry(&known.lane).or_default();
        lane.0 += u64::from(job.state == JobState::Queued);
        lane.1 += u64::from(job.lease().is_some());
    }
    let told: BTreeMap<_, _> = counts.by_state.iter().filter(|(_, count)| **count > 0).map(|(s, c)| (*s, *c)).collect();
    if told != by_state {
        trace.wrong(format_args!("counts say {told:?}, the jobs {by_state:?}"));
    }
    let told: BTreeMap<_, _> = lanes.iter().map(|one| (&one.lane, (one.queued, one.active))).collect();
    by_lane.retain(|_, standing| *standing != (0, 0));
    if told != by_lane {
        trace.wrong(format_args!("lanes say {told:?}, the jobs {by_lane:?}"));
    }
}

pub(crate) fn is_completed(seen: &Seen, id: JobId) -> bool {
    seen.jobs.get(&id).is_some_and(|known| known.job.state == JobState::Completed)
}

fn ending(command: &JobCommand) -> Ending {
    match command {
        JobCommand::Cancel => Ending::Person,
        // A person may remove a node; the reaper says the same of one that is silent.
        JobCommand::Evict { error, .. } if error.code == Code::NodeLost && error.message.contains("removed") => {
            Ending::Person
        }
        JobCommand::Evict { error, .. } if error.code == Code::Timeout => Ending::Limit,
        JobCommand::Evict { .. } | JobCommand::Expire { .. } => Ending::Silence,
        _ => Ending::Node,
    }
}

fn lease_of(command: &JobCommand) -> Option<ffrtmp::core::lifecycle::Lease> {
    match command {
        JobCommand::Start { lease, .. }
        | JobCommand::Progress { lease, .. }
        | JobCommand::Renew { lease, .. }
        | JobCommand::Spend { lease, .. }
        | JobCommand::Finish { lease, .. } => Some(*lease),
        _ => None,
    }
}

/// What the command says went wrong.
pub(crate) fn why(command: &JobCommand) -> String {
    match command {
        JobCommand::Evict { error, .. }
        | JobCommand::Expire { error, .. }
        | JobCommand::Finish { outcome: Outcome::Failed(error), .. } => {
            format!(": {}", error.message)
        }
        JobCommand::Finish { outcome: Outcome::Released(reason), .. } => format!(": {reason}"),
        _ => String::new(),
    }
}

pub(crate) fn name(command: &JobCommand) -> &'static str {
    match command {
        JobCommand::Start { .. } => "start",
        JobCommand::Progress { .. } => "progress",
        JobCommand::Renew { .. } => "renew",
        JobCommand::Spend { .. } => "spend",
        JobCommand::Finish { outcome: Outcome::Completed(_), .. } => "finish completed",
        JobCommand::Finish { outcome: Outcome::Failed(_), .. } => "finish failed",
        JobCommand::Finish { outcome: Outcome::Released(_), .. } => "finish released",
        JobCommand::Evict { .. } => "evict",
        JobCommand::Expire { .. } => "expire",
        JobCommand::Cancel => "cancel",
        JobCommand::Pause => "pause",
        JobCommand::Resume => "resume",
        JobCommand::Retry => "retry",
        JobCommand::Requeue => "requeue",
        JobCommand::Ready => "ready",
        JobCommand::DependencyFailed(..) => "dependency failed",
        JobCommand::Reject(_) => "reject",
    }
}
