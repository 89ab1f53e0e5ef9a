//! Every command in every state, by table and by property.

use proptest::prelude::*;

use super::*;
use crate::job::{FailureReason, JobRequest};
use crate::request;

const LEASE: Duration = Duration::from_secs(90);

fn at(second: u64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_secs(second)
}

fn job() -> Job {
    let request = JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() };
    request::prepare(request, JobId::from_u128(1), 3, at(0)).unwrap().job
}

fn node() -> NodeId {
    NodeId::from_u128(1)
}

fn error(code: Code) -> JobError {
    (&Error::new(code, "for a test")).into()
}

fn running() -> (Job, Lease) {
    let mut job = job();
    let lease = job.assign(node(), "n1", LEASE, at(1)).unwrap();
    job.apply(JobCommand::Start { lease, engine: None }, at(2)).unwrap();
    (job, lease)
}

fn finish(lease: Lease, outcome: Outcome) -> JobCommand {
    JobCommand::Finish { lease, outcome }
}

fn completed() -> Outcome {
    Outcome::Completed(Box::default())
}

#[test]
fn a_job_runs_and_ends_once() {
    let (mut job, lease) = running();
    let renew_for = LEASE;
    for (percent, shown) in [(Some(40.0), 40.0), (Some(10.0), 40.0), (Some(f64::NAN), 40.0), (Some(1e9), 100.0)] {
        job.apply(JobCommand::Progress { lease, percent, renew_for }, at(3)).unwrap();
        assert_eq!((job.progress, job.lease_expires_at), (shown, Some(at(3) + LEASE)));
    }
    assert!(job.apply(finish(lease, completed()), at(9)).unwrap());
    assert_eq!((job.state, job.completed_at, job.lease()), (JobState::Completed, Some(at(9)), None));
    let once = job.clone();
    assert!(!job.apply(finish(lease, completed()), at(10)).unwrap(), "the same answer twice is one effect");
    assert_eq!(job, once);
    let late = job.apply(finish(lease, Outcome::Failed(error(Code::Network))), at(11)).unwrap_err();
    assert_eq!((late.code(), &job), (Code::StaleFence, &once));
}

#[test]
fn transient_failures_are_retried_with_backoff_and_terminal_ones_are_not() {
    let mut job = job();
    for retry in 0..=3 {
        let lease = job.assign(node(), "n1", LEASE, at(1)).unwrap();
        assert_eq!((lease.fence, job.attempt), (Fence(retry + 1), retry as u32 + 1));
        job.apply(finish(lease, Outcome::Failed(error(Code::DiskFull))), at(2)).unwrap();
        if retry == 3 {
            break;
        }
        assert_eq!((job.state, job.retry_count), (JobState::Retrying, retry as u32 + 1));
        let wait = job.retry_at.unwrap().since(at(2)).as_secs_f64();
        let full = 2_f64.powi(retry as i32);
        assert!(wait <= full && wait >= 0.75 * full, "retry {retry} waits {wait} s");
        job.apply(JobCommand::Requeue, at(70)).unwrap();
    }
    assert_eq!((job.state, job.failure_reason), (JobState::Failed, Some(FailureReason::ResourceError)));
    job.apply(JobCommand::Retry, at(80)).unwrap();
    assert_eq!((job.state, job.retry_count, job.completed_at), (JobState::Queued, 0, None));
    assert_eq!((job.error.as_ref(), job.failure_reason, job.sla.as_ref()), (None, None, None));

    let (mut job, lease) = running();
    job.apply(finish(lease, Outcome::Failed(error(Code::InputInvalid))), at(3)).unwrap();
    assert_eq!((job.state, job.retry_count), (JobState::Failed, 0));
}

#[test]
fn a_poison_job_says_how_often_and_where_it_failed() {
    let mut job = job();
    job.max_retries = 7;
    for (attempt, node) in [1, 2, 1, 3, 4, 5, 6, 7].into_iter().enumerate() {
        let lease = job.assign(NodeId::from_u128(node), &format!("n{node}"), LEASE, at(1)).unwrap();
        let said = finish(lease, Outcome::Failed(error(Code::Killed)));
        assert!(job.apply(said.clone(), at(2)).unwrap());
        assert!(!job.apply(said, at(3)).unwrap(), "attempt {attempt} says it twice");
        let _ = job.apply(JobCommand::Requeue, at(70));
    }
    let told = job.error.clone().unwrap();
    assert_eq!(told.message, "for a test; given up after 8 attempts on n2, n1, n3, n4, n5 and 2 more");
    assert_eq!(told.code, Code::Killed);
    assert_eq!(job.state_transitions.last().unwrap().reason, told.message);
    assert!(job.attempts.iter().all(|attempt| attempt.error == Some(error(Code::Killed))));
    job.apply(JobCommand::Retry, at(80)).unwrap();
    let lease = job.assign(node(), "n9", LEASE, at(81)).unwrap();
    job.max_retries = 0;
    job.apply(finish(lease, Outcome::Failed(error(Code::Killed))), at(82)).unwrap();
    assert_eq!(job.error.unwrap().message, "for a test", "the round before does not count");
}

#[test]
fn an_attempt_that_the_master_ended_is_stale() {
    let (mut job, lease) = running();
    let seen = job.lease_expires_at.unwrap();
    let renewed = JobCommand::Progress { lease, percent: None, renew_for: LEASE };
    job.apply(renewed, at(50)).unwrap();
    let expire = |until| JobCommand::Expire { fence: lease.fence, until, error: error(Code::LeaseExpired) };
    let late = job.apply(expire(seen), at(99)).unwrap_err();
    assert_eq!(late.code(), Code::StaleFence, "renewed since the master saw it end");
    job.apply(expire(job.lease_expires_at.unwrap()), at(199)).unwrap();
    assert_eq!((job.state, job.retry_count), (JobState::Retrying, 1));
    for late in [completed(), Outcome::Failed(error(Code::Network))] {
        let before = job.clone();
        assert_eq!(job.apply(finish(lease, late), at(100)).unwrap_err().code(), Code::StaleFence);
        assert_eq!(job, before);
    }
    let again = job.apply(JobCommand::Evict { fence: lease.fence, error: error(Code::NodeLost) }, at(100));
    assert_eq!(again.unwrap_err().code(), Code::StaleFence);
    job.apply(JobCommand::Requeue, at(101)).unwrap();
    let next = job.assign(NodeId::from_u128(2), "n2", LEASE, at(102)).unwrap();
    assert_eq!(job.apply(finish(lease, completed()), at(103)).unwrap_err().code(), Code::StaleFence);
    assert!(job.apply(finish(next, completed()), at(104)).unwrap(), "results without a start count");
    assert!(job.started_at.is_some());
    let (mut job, lease) = running();
    job.apply(JobCommand::Evict { fence: lease.fence, error: error(Code::Timeout) }, at(9999)).unwrap();
    assert_eq!((job.state, job.failure_reason), (JobState::Failed, Some(FailureReason::Timeout)));
}

#[test]
fn a_paused_attempt_keeps_its_lease_and_a_paused_job_stays_paused() {
    let (mut job, lease) = running();
    job.apply(JobCommand::Pause, at(3)).unwrap();
    assert!(job.is_frozen() && job.lease() == Some(lease));
    job.apply(JobCommand::Progress { lease, percent: None, renew_for: LEASE }, at(30)).unwrap();
    assert_eq!((job.state, job.lease_expires_at), (JobState::Paused, Some(at(30) + LEASE)));
    job.apply(JobCommand::Resume, at(40)).unwrap();
    assert_eq!((job.state, job.lease()), (JobState::Running, Some(lease)));

    for (end, retries) in [
        (finish(lease, Outcome::Released("drain".into())), 0),
        (finish(lease, Outcome::Failed(error(Code::Killed))), 1),
        (JobCommand::Evict { fence: lease.fence, error: error(Code::NodeLost) }, 1),
    ] {
        let mut job = job.clone();
        job.apply(JobCommand::Pause, at(50)).unwrap();
        job.apply(end.clone(), at(51)).unwrap();
        assert_eq!((job.state, job.lease(), job.retry_count), (JobState::Paused, None, retries), "{end:?}");
        let once = job.clone();
        if matches!(end, JobCommand::Finish { .. }) {
            assert!(!job.apply(end, at(52)).unwrap());
        }
        assert_eq!(job, once);
        job.apply(JobCommand::Resume, at(60)).unwrap();
        assert_eq!((job.state, job.queued_at), (JobState::Queued, Some(at(60))));
    }
}

#[test]
fn what_the_master_does_late_never_undoes_what_a_person_did() {
    let (mut canceled, lease) = running();
    canceled.apply(finish(lease, Outcome::Failed(error(Code::Network))), at(3)).unwrap();
    canceled.apply(JobCommand::Cancel, at(4)).unwrap();
    let mut paused = job();
    paused.apply(JobCommand::Pause, at(1)).unwrap();
    let dependency = JobCommand::DependencyFailed(JobId::from_u128(7), None);
    for job in [canceled, paused] {
        for command in [JobCommand::Requeue, JobCommand::Ready, dependency.clone()] {
            let mut job = job.clone();
            let before = job.clone();
            assert_eq!(job.apply(command, at(5)).unwrap_err().code(), Code::WrongState);
            assert_eq!(job, before);
        }
    }
}

#[test]
fn a_released_job_is_queued_without_using_a_retry() {
    let (mut job, lease) = running();
    job.apply(finish(lease, Outcome::Released("drain".into())), at(3)).unwrap();
    assert_eq!((job.state, job.retry_count, job.queued_at), (JobState::Queued, 0, Some(at(3))));
    assert!(job.state_transitions.iter().any(|change| change.reason.contains("drain")));
}

#[test]
fn the_story_of_a_job_is_bounded_and_keeps_its_beginning() {
    let mut job = job();
    for _ in 0..MAX_TRANSITIONS {
        job.apply(JobCommand::Pause, at(1)).unwrap();
        job.apply(JobCommand::Resume, at(2)).unwrap();
    }
    assert_eq!(job.state_transitions.len(), MAX_TRANSITIONS);
    assert_eq!(job.state_transitions[0].reason, "submitted");
}

/// A step of a random story.
#[derive(Clone, Debug)]
enum Step {
    Assign(u128),
    Apply(JobCommand),
    /// A command of an attempt: the current one, or one that is over by so many fences.
    Attempt(u8, u64),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u128..3).prop_map(Step::Assign),
        8 => (0_u8..8, prop_oneof![6 => Just(0_u64), 1 => 1_u64..4]).prop_map(|(kind, age)| Step::Attempt(kind, age)),
        5 => prop_oneof![
            Just(JobCommand::Cancel),
            Just(JobCommand::Pause),
            Just(JobCommand::Resume),
            Just(JobCommand::Retry),
            Just(JobCommand::Requeue),
            Just(JobCommand::Requeue),
            Just(JobCommand::Ready),
            Just(JobCommand::DependencyFailed(JobId::from_u128(9), None)),
            Just(JobCommand::Reject(error(Code::CapabilityMissing))),
        ].prop_map(Step::Apply),
    ]
}

fn attempt_command(kind: u8, lease: Lease) -> JobCommand {
    match kind {
        0 | 1 => JobCommand::Start { lease, engine: None },
        2 | 3 => JobCommand::Progress { lease, percent: Some(50.0), renew_for: LEASE },
        4 => finish(lease, completed()),
        5 => finish(lease, Outcome::Failed(error(Code::DiskFull))),
        6 => finish(lease, Outcome::Released("drain".into())),
        _ => JobCommand::Evict { fence: lease.fence, error: error(Code::NodeLost) },
    }
}

fn check_invariants(before: &Job, job: &Job) -> Result<(), TestCaseError> {
    prop_assert!(job.fence >= before.fence && u64::from(job.attempt) == job.fence.0);
    prop_assert!(job.retry_count <= job.max_retries);
    prop_assert!((0.0..=100.0).contains(&job.progress));
    prop_assert_eq!(job.state.is_final(), job.completed_at.is_some(), "{} {:?}", job.state, job.completed_at);
    prop_assert_eq!(job.state.is_final(), job.sla.is_some());
    prop_assert_eq!(job.lease().is_some(), job.lease_expires_at.is_some(), "{}", job.state);
    prop_assert_eq!(job.state == JobState::Retrying, job.retry_at.is_some(), "{}", job.state);
    prop_assert_eq!(job.state == JobState::Completed, job.result.is_some());
    for pair in job.state_transitions.windows(2) {
        prop_assert_eq!(pair[0].to, pair[1].from);
        prop_assert!(fsm::transition(pair[1].from, pair[1].to).is_ok());
    }
    prop_assert_eq!(job.state_transitions.last().map(|change| change.to), Some(job.state));
    Ok(())
}

proptest! {
    #[test]
    fn no_story_leaves_the_rules(steps in proptest::collection::vec(any_step(), 1..60), waits in any::<bool>()) {
        let mut job = job();
        if waits {
            job.state = JobState::Waiting;
            job.state_transitions[0].to = JobState::Waiting;
        }
        for (second, step) in steps.into_iter().enumerate() {
            let before = job.clone();
            let now = at(second as u64);
            let (result, stale) = match step.clone() {
                Step::Assign(id) => (job.assign(NodeId::from_u128(id), "n", LEASE, now).map(|_| true), false),
                Step::Apply(command) => (job.apply(command, now), false),
                Step::Attempt(kind, age) => {
                    let fence = Fence(job.fence.0.saturating_sub(age));
                    let lease = Lease { node: job.node_id.unwrap_or(node()), fence };
                    let command = attempt_command(kind, lease);
                    let result = job.apply(command.clone(), now);
                    if result.is_ok() && matches!(command, JobCommand::Finish { .. }) {
                        let once = job.clone();
                        prop_assert_eq!(job.apply(command, now).ok(), Some(false), "finish twice");
                        prop_assert_eq!(&job, &once);
                    }
                    (result, fence != before.fence)
                }
            };
            if stale {
                prop_assert_eq!(result.as_ref().err().map(Error::code), Some(Code::StaleFence));
            }
            if !matches!(result, Ok(true)) {
                prop_assert_eq!(&job, &before, "{:?} said {:?} and still changed the job", step, result);
            }
            check_invariants(&before, &job)?;
        }
    }
}
