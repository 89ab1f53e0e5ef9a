//! Commands: the store loads, lets the job decide and saves; each refusal changes nothing.

use crate::cost::Spent;
use crate::error::Code;
use crate::id::{Fence, JobId, NodeId};
use crate::job::{EngineName, Job, JobReport, JobState};
use crate::lifecycle::{JobCommand, Lease, Outcome};
use crate::store::JobFilter;

use super::Harness;
use super::fixture::*;

/// Start, progress and finish are stored with everything they said.
pub async fn an_attempt_runs_to_its_end(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = claimed(&*store).await;
    let engine = Some((EngineName::Synthetic, "because".to_owned()));
    must(&*store, held.id, JobCommand::Start { lease: lease(&held), engine }, at(1)).await;
    let running = must(&*store, held.id, progress(&held, 42.5), at(2)).await;
    assert_eq!((running.state, running.progress), (JobState::Running, 42.5));
    assert_eq!(running.lease_expires_at, Some(at(2) + LEASE));
    assert_eq!(stored(&*store, held.id).await, running);
    let done = must(&*store, held.id, complete(&held), at(3)).await;
    assert_eq!((done.state, done.completed_at, done.lease_expires_at), (JobState::Completed, Some(at(3)), None));
    assert_eq!(done.engine_used, Some(EngineName::Synthetic));
    assert_eq!(done.result.as_ref().map(|report| (report.fps, report.speed)), Some((0.1 + 0.2, 1.0 / 3.0)));
    assert_eq!(stored(&*store, held.id).await, done);
}

/// A repeated finish gets the same answer.
pub async fn finishing_twice_is_one_effect(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for finish in [complete, |job: &_| fail(job, Code::EncodeFailed), |job: &_| fail(job, Code::Network)] {
        let held = claimed(&*store).await;
        let first = must(&*store, held.id, finish(&held), at(1)).await;
        let second = must(&*store, held.id, finish(&held), at(2)).await;
        assert_eq!(first, second);
        assert_eq!(stored(&*store, held.id).await, first);
    }
}

/// Whoever holds an old fence is refused in everything.
pub async fn a_stale_fence_changes_nothing(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let old = claimed(&*store).await;
    let evict = JobCommand::Evict { fence: old.fence, error: error(Code::LeaseExpired) };
    must(&*store, old.id, evict, at(31)).await;
    must(&*store, old.id, JobCommand::Requeue, at(40)).await;
    let new = store.claim(&order(2, 1), at(40)).await.expect("answered").remove(0);
    assert_eq!(new.id, old.id);
    let released = JobCommand::Finish { lease: lease(&old), outcome: Outcome::Released("late".into()) };
    for late in [start(&old), progress(&old, 99.0), complete(&old), fail(&old, Code::Network), released] {
        assert_eq!(code(apply(&*store, old.id, late, at(41)).await), Code::StaleFence);
        assert_eq!(stored(&*store, old.id).await, new);
    }
}

/// The right fence in the wrong hands is refused.
pub async fn another_node_may_not_finish(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = claimed(&*store).await;
    let stranger = Lease { node: NodeId::from_u128(99), fence: held.fence };
    let finish = JobCommand::Finish { lease: stranger, outcome: Outcome::Completed(Box::default()) };
    assert_eq!(code(apply(&*store, held.id, finish, at(1)).await), Code::StaleFence);
    assert_eq!(stored(&*store, held.id).await, held);
}

/// Each claim of a job has the next fence.
pub async fn fences_grow_with_every_attempt(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit_one(&*store, job()).await;
    for round in 1..=5 {
        let held = claim(&*store, 1).await.remove(0);
        assert_eq!((held.fence, held.attempt), (Fence(round), round as u32));
        let outcome = Outcome::Released("drain".into());
        must(&*store, held.id, JobCommand::Finish { lease: lease(&held), outcome }, at(round)).await;
    }
}

/// The media's fault is never retried.
pub async fn a_terminal_failure_ends_the_job(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = claimed(&*store).await;
    let failed = must(&*store, held.id, fail(&held, Code::InputInvalid), at(1)).await;
    assert_eq!(failed.state, JobState::Failed);
    assert_eq!(failed.failure_reason, Some(Code::InputInvalid.failure_reason()));
    assert!(failed.sla.is_some());
    assert!(claim(&*store, 1).await.is_empty());
}

/// The machine's fault is: after the backoff the job is queued again.
pub async fn a_transient_failure_waits_and_returns(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = claimed(&*store).await;
    let waiting = must(&*store, held.id, fail(&held, Code::Network), at(1)).await;
    assert_eq!((waiting.state, waiting.retry_count), (JobState::Retrying, 1));
    assert!(waiting.retry_at > Some(at(1)));
    assert!(claim(&*store, 1).await.is_empty());
    must(&*store, held.id, JobCommand::Requeue, at(9)).await;
    assert_eq!(claim(&*store, 1).await.remove(0).fence, Fence(2));
}

/// What attempts used that made nothing stays with the job, also when another has made the output.
pub async fn what_was_spent_stays_with_the_job(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = submit_one(&*store, job()).await.id;
    let spent = Spent { attempts: 1, cpu_seconds: 1.5, ..Spent::default() };
    let spend = |held: &Job| JobCommand::Spend { lease: lease(held), spent: Box::new(spent.clone()) };
    for round in 1..=2 {
        let held = claim(&*store, 1).await.remove(0);
        let (spend, failed) = (spend(&held), fail(&held, Code::Network));
        let answers = store.apply(vec![(id, spend.clone()), (id, failed.clone())], at(round)).await.unwrap();
        assert_eq!(answers[1].as_ref().unwrap().state, JobState::Retrying);
        let again = store.apply(vec![(id, spend), (id, failed)], at(round)).await.unwrap();
        assert_eq!(again[0].as_ref().unwrap_err().code(), Code::StaleFence, "it has ended");
        assert!(again[1].is_ok());
        must(&*store, id, JobCommand::Requeue, at(90 + round)).await;
    }
    let held = claim(&*store, 1).await.remove(0);
    must(&*store, id, complete(&held), at(100)).await;
    let expected = Spent { attempts: 2, cpu_seconds: 3.0, ..Spent::default() };
    assert_eq!(stored(&*store, id).await.spent.as_deref(), Some(&expected));
}

/// Until none is left.
pub async fn retries_run_out(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = submit_one(&*store, job().with(|job| job.max_retries = 2)).await.id;
    for expected in [JobState::Retrying, JobState::Retrying, JobState::Failed] {
        let held = claim(&*store, 1).await.remove(0);
        let after = must(&*store, id, fail(&held, Code::DiskFull), at(1)).await;
        assert_eq!(after.state, expected);
        if expected == JobState::Retrying {
            must(&*store, id, JobCommand::Requeue, at(99)).await;
        }
    }
    assert_eq!(code(apply(&*store, id, JobCommand::Requeue, at(99)).await), Code::WrongState);
}

/// Giving a job back costs no retry.
pub async fn a_released_job_is_queued_again(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = claimed(&*store).await;
    let release = JobCommand::Finish { lease: lease(&held), outcome: Outcome::Released("drain".into()) };
    let queued = must(&*store, held.id, release, at(1)).await;
    assert_eq!((queued.state, queued.retry_count, queued.queued_at), (JobState::Queued, 0, Some(at(1))));
    assert_eq!(ids(&claim(&*store, 1).await), [held.id]);
}

/// The master ends only the attempt that it saw.
pub async fn evicting_needs_the_current_fence(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = claimed(&*store).await;
    let evict = |fence| JobCommand::Evict { fence, error: error(Code::NodeLost) };
    assert_eq!(code(apply(&*store, held.id, evict(Fence(2)), at(1)).await), Code::StaleFence);
    assert_eq!(must(&*store, held.id, evict(Fence(1)), at(1)).await.state, JobState::Retrying);
    assert_eq!(code(apply(&*store, held.id, evict(Fence(1)), at(1)).await), Code::StaleFence);
}

/// Twice is once; an ended job refuses; a late finish is refused.
pub async fn canceling_ends_every_open_state(harness: &dyn Harness) {
    for state in JobState::ALL.iter().copied() {
        let store = harness.fresh().await;
        let before = job_in(&*store, state).await;
        if !can_cancel(state) && state != JobState::Canceled {
            assert_eq!(code(apply(&*store, before.id, JobCommand::Cancel, at(1)).await), Code::WrongState, "{state}");
            assert_eq!(stored(&*store, before.id).await, before);
            continue;
        }
        let canceled = must(&*store, before.id, JobCommand::Cancel, at(1)).await;
        assert_eq!(canceled.state, JobState::Canceled);
        assert_eq!(must(&*store, before.id, JobCommand::Cancel, at(2)).await, canceled);
        if before.lease().is_some() {
            assert_eq!(code(apply(&*store, before.id, complete(&before), at(3)).await), Code::StaleFence);
        }
        assert_eq!(stored(&*store, before.id).await, canceled);
    }
}

/// A person holds it back and lets it go.
pub async fn pausing_a_queued_job_hides_it(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let queued = submit_one(&*store, job()).await;
    must(&*store, queued.id, JobCommand::Pause, at(1)).await;
    assert!(claim(&*store, 1).await.is_empty());
    must(&*store, queued.id, JobCommand::Resume, at(2)).await;
    assert_eq!(ids(&claim(&*store, 1).await), [queued.id]);
}

/// A frozen attempt keeps its lease and goes on.
pub async fn pausing_a_running_job_keeps_its_node(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let running = job_in(&*store, JobState::Running).await;
    let frozen = must(&*store, running.id, JobCommand::Pause, at(1)).await;
    assert!(frozen.is_frozen());
    let kept = must(&*store, running.id, progress(&running, 10.0), at(2)).await;
    assert_eq!((kept.state, kept.lease_expires_at), (JobState::Paused, Some(at(2) + LEASE)));
    let resumed = must(&*store, running.id, JobCommand::Resume, at(3)).await;
    assert_eq!((resumed.state, resumed.lease()), (JobState::Running, Some(lease(&running))));
    assert_eq!(must(&*store, running.id, complete(&running), at(4)).await.state, JobState::Completed);
}

/// A person starts it again: fresh retries, a new fence, no old error.
pub async fn a_retry_is_a_new_round(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for state in [JobState::Failed, JobState::Canceled] {
        let ended = job_in(&*store, state).await;
        let queued = must(&*store, ended.id, JobCommand::Retry, at(5)).await;
        assert_eq!((queued.state, queued.completed_at, queued.error), (JobState::Queued, None, None));
        let held = claim(&*store, 1).await.remove(0);
        assert_eq!((held.id, held.fence), (ended.id, ended.fence.next()));
    }
    let done = job_in(&*store, JobState::Completed).await;
    assert_eq!(code(apply(&*store, done.id, JobCommand::Retry, at(5)).await), Code::WrongState);
}

/// A job that nothing can run ends with the reason.
pub async fn a_rejected_job_says_why(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let rejected = job_in(&*store, JobState::Rejected).await;
    assert_eq!(rejected.error.as_ref().map(|error| error.code), Some(Code::CapabilityMissing));
    assert!(rejected.completed_at.is_some());
    assert!(claim(&*store, 1).await.is_empty());
}

/// The answers stand in the order of the commands.
pub async fn a_refused_command_does_not_stop_the_others(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let queued = submit(&*store, jobs(3)).await;
    let commands = vec![
        (queued[0].id, JobCommand::Cancel),
        (JobId::random(), JobCommand::Cancel),
        (queued[1].id, JobCommand::Requeue),
        (queued[2].id, JobCommand::Pause),
    ];
    let answers = store.apply(commands, at(1)).await.expect("the store works");
    let outcomes: Vec<_> =
        answers.into_iter().map(|answer| answer.map(|job| job.state).map_err(|e| e.code())).collect();
    assert_eq!(outcomes, [Ok(JobState::Canceled), Err(Code::JobNotFound), Err(Code::WrongState), Ok(JobState::Paused)]);
    let mut now = list(&*store, &JobFilter::default()).await;
    now.reverse();
    assert_eq!(states(&now), [JobState::Canceled, JobState::Queued, JobState::Paused]);
}

/// A command sees what the one before it did.
pub async fn commands_for_one_job_build_on_each_other(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = claimed(&*store).await;
    let story = [start(&held), progress(&held, 50.0), complete(&held), JobCommand::Cancel, complete(&held)];
    let answers = store.apply(story.map(|command| (held.id, command)).into(), at(1)).await.expect("the store works");
    let outcomes: Vec<_> =
        answers.into_iter().map(|answer| answer.map(|job| job.state).map_err(|e| e.code())).collect();
    assert_eq!(
        outcomes,
        [
            Ok(JobState::Running),
            Ok(JobState::Running),
            Ok(JobState::Completed),
            Err(Code::WrongState),
            Ok(JobState::Completed)
        ]
    );
}

/// Numbers without a JSON form, or values nested without end, are stored or refused; either way
/// every job stays readable.
pub async fn a_report_that_json_cannot_hold_does_no_harm(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let deep = (0..200).fold(serde_json::Value::Null, |inner, _| serde_json::Value::Array(vec![inner]));
    let nested = JobReport { other: [("deep".to_owned(), deep)].into(), ..JobReport::default() };
    let reports = [
        JobReport { fps: f64::NAN, ..JobReport::default() },
        JobReport { speed: f64::INFINITY, ..nested.clone() },
        nested,
    ];
    for report in reports {
        let held = claimed(&*store).await;
        let finish = JobCommand::Finish { lease: lease(&held), outcome: Outcome::Completed(Box::new(report)) };
        let accepted = apply(&*store, held.id, finish, at(1)).await.is_ok();
        let after = stored(&*store, held.id).await;
        assert_eq!(after.state, if accepted { JobState::Completed } else { JobState::Assigned });
        must(&*store, held.id, if accepted { complete(&held) } else { JobCommand::Cancel }, at(2)).await;
    }
    assert_eq!(list(&*store, &JobFilter::default()).await.len(), 3);
}
