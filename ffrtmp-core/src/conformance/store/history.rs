//! The story of a job: its attempts, its rounds, its deadline.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Code;
use crate::id::Fence;
use crate::job::{AttemptOutcome, Job, JobState};
use crate::lifecycle::{JobCommand, MAX_ATTEMPTS};
use crate::store::Store;

use super::Harness;
use super::fixture::*;

/// Claims the only job for a node.
async fn attempt(store: &dyn Store, node: u128, second: u64) -> Job {
    store.claim(&order(node, 1), at(second)).await.expect("answered").pop().expect("the job is given")
}

/// Number, fence, node, times and end of every attempt, as the commands told them.
pub async fn every_attempt_is_kept(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = submit_one(&*store, job()).await.id;
    for (n, start_it) in [(1_u64, true), (2, false), (3, true)] {
        let held = attempt(&*store, u128::from(n) * 7, 100 * n).await;
        if start_it {
            must(&*store, id, start(&held), at(100 * n + 1)).await;
        }
        let end = if n == 3 { complete(&held) } else { evict(&held, Code::NodeLost) };
        must(&*store, id, end, at(100 * n + 5)).await;
        if n < 3 {
            must(&*store, id, JobCommand::Requeue, at(100 * n + 50)).await;
        }
    }
    let attempts = stored(&*store, id).await.attempts;
    assert_eq!(attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(), [1, 2, 3]);
    for (attempt, n) in attempts.iter().zip(1..) {
        assert_eq!(attempt.fence, Fence(n));
        assert_eq!(attempt.node_name, format!("node-{}", n * 7));
        assert_eq!(attempt.node_id, order(u128::from(n) * 7, 1).node);
        assert_eq!(attempt.assigned_at, at(100 * n));
        assert_eq!(attempt.started_at, (n != 2).then(|| at(100 * n + 1)));
        assert_eq!(attempt.ended_at, Some(at(100 * n + 5)));
        assert_eq!(attempt.outcome, Some(if n == 3 { AttemptOutcome::Completed } else { AttemptOutcome::Failed }));
        assert_eq!(attempt.error, (n < 3).then(|| error(Code::NodeLost)));
    }
}

/// It has no end yet.
pub async fn an_open_attempt_says_when_it_began(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = submit_one(&*store, job()).await.id;
    let held = attempt(&*store, 1, 5).await;
    assert_eq!(held.attempts.len(), 1);
    assert_eq!((held.attempts[0].assigned_at, held.attempts[0].started_at), (at(5), None));
    must(&*store, id, progress(&held, 1.0), at(8)).await;
    must(&*store, id, progress(&held, 2.0), at(9)).await;
    let open = stored(&*store, id).await.attempts.remove(0);
    assert_eq!((open.started_at, open.ended_at, open.outcome, open.error), (Some(at(8)), None, None, None));
}

/// Completed, failed, given back, canceled; also while it was frozen.
pub async fn each_end_is_told_apart(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for frozen in [false, true] {
        type End = (fn(&Job) -> JobCommand, AttemptOutcome, Option<Code>);
        let ends: [End; 5] = [
            (complete, AttemptOutcome::Completed, None),
            (|held| fail(held, Code::DiskFull), AttemptOutcome::Failed, Some(Code::DiskFull)),
            (|held| evict(held, Code::LeaseExpired), AttemptOutcome::Failed, Some(Code::LeaseExpired)),
            (release, AttemptOutcome::Released, None),
            (|_| JobCommand::Cancel, AttemptOutcome::Canceled, None),
        ];
        for (end, outcome, because) in ends {
            let id = submit_one(&*store, job()).await.id;
            let held = attempt(&*store, 1, 0).await;
            must(&*store, id, start(&held), at(1)).await;
            if frozen {
                must(&*store, id, JobCommand::Pause, at(2)).await;
            }
            let after = must(&*store, id, end(&held), at(3)).await;
            let last = after.attempts.last().expect("it is kept");
            let code = last.error.as_ref().map(|error| error.code);
            assert_eq!((last.outcome, last.ended_at, code), (Some(outcome), Some(at(3)), because));
            assert_eq!(stored(&*store, id).await.attempts, after.attempts);
            if !after.state.is_final() {
                must(&*store, id, JobCommand::Cancel, at(4)).await;
            }
            assert_eq!(stored(&*store, id).await.attempts, after.attempts, "a later cancel is no end of an attempt");
        }
    }
}

/// A job that fails everywhere says how often and where, and keeps every attempt.
pub async fn a_poison_job_ends_with_the_whole_story(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = submit_one(&*store, job().with(|job| job.max_retries = 2)).await.id;
    let mut last = None;
    for node in [3, 5, 3] {
        let held = attempt(&*store, node, 0).await;
        last = Some(must(&*store, id, fail(&held, Code::Killed), at(1)).await);
        let _ = apply(&*store, id, JobCommand::Requeue, at(100)).await;
    }
    let failed = last.expect("it ran");
    assert_eq!(failed.state, JobState::Failed);
    assert_eq!(failed.attempts.len(), 3);
    assert!(failed.attempts.iter().all(|attempt| attempt.error == Some(error(Code::Killed))));
    let told = failed.error.as_ref().expect("it says why");
    assert_eq!((told.code, told.disposition), (Code::Killed, error(Code::Killed).disposition));
    for part in ["it broke", "3 attempts", "node-3", "node-5"] {
        assert!(told.message.contains(part), "{part:?} is not in {:?}", told.message);
    }
    assert_eq!(stored(&*store, id).await, failed);
}

/// A person starts again: retries are fresh, what happened stays.
pub async fn a_new_round_keeps_the_rounds_before(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = submit_one(&*store, job().with(|job| job.max_retries = 1)).await.id;
    for round in 1..=3_u32 {
        for retry in 0..=1 {
            let held = attempt(&*store, 1, 0).await;
            assert_eq!((held.retry_count, held.attempt), (retry, (round - 1) * 2 + retry + 1));
            let after = must(&*store, id, fail(&held, Code::Network), at(1)).await;
            assert_eq!(after.state, if retry == 0 { JobState::Retrying } else { JobState::Failed });
            let next = if retry == 0 { JobCommand::Requeue } else { JobCommand::Retry };
            must(&*store, id, next, at(200)).await;
        }
        let attempts = stored(&*store, id).await.attempts;
        assert_eq!(attempts.len() as u32, round * 2);
        assert!(attempts.iter().all(|attempt| attempt.outcome == Some(AttemptOutcome::Failed)));
    }
    let held = attempt(&*store, 2, 300).await;
    let done = must(&*store, id, complete(&held), at(301)).await;
    assert_eq!((done.state, done.attempts.len(), done.error), (JobState::Completed, 7, None));
}

/// The newest attempts and no more, counted on.
pub async fn a_long_history_keeps_its_newest_part(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = submit_one(&*store, job()).await.id;
    let all = MAX_ATTEMPTS as u32 + 7;
    for n in 0..all {
        let held = attempt(&*store, 1, u64::from(n)).await;
        must(&*store, id, release(&held), at(u64::from(n) + 1)).await;
    }
    let held = attempt(&*store, 1, 1000).await;
    assert_eq!((held.attempt, held.fence), (all + 1, Fence(u64::from(all) + 1)));
    let numbers: Vec<_> = held.attempts.iter().map(|attempt| attempt.number).collect();
    let expected: Vec<_> = (all + 2 - MAX_ATTEMPTS as u32..=all + 1).collect();
    assert_eq!(numbers, expected);
    assert_eq!(stored(&*store, id).await, held);
}

/// Of jobs that run, wait for another try, and ended.
pub async fn history_and_deadline_outlive_a_reopen(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let drafts = (0..3).map(|n| job().rank(n).with(|job| job.deadline = Some(at(5000)))).collect();
    let jobs = ids(&submit(&*store, drafts).await);
    for (id, after) in jobs.iter().zip([None, Some(JobState::Retrying), Some(JobState::Failed)]) {
        let held = attempt(&*store, 1, 0).await;
        assert_eq!(held.id, *id);
        must(&*store, *id, fail(&held, Code::Network), at(1)).await;
        must(&*store, *id, JobCommand::Requeue, at(2)).await;
        let held = attempt(&*store, 2, 3).await;
        must(&*store, *id, start(&held), at(4)).await;
        match after {
            Some(JobState::Retrying) => drop(must(&*store, *id, evict(&held, Code::NodeLost), at(5)).await),
            Some(_) => drop(must(&*store, *id, fail(&held, Code::InputInvalid), at(5)).await),
            None => {}
        }
    }
    let mut before = Vec::new();
    for id in &jobs {
        before.push(stored(&*store, *id).await);
    }
    assert_eq!(states(&before), [JobState::Running, JobState::Retrying, JobState::Failed]);
    store.close().await.expect("closed");
    drop(store);
    let Some(store) = harness.reopen().await else { return };
    for job in before {
        assert_eq!((job.attempts.len(), job.deadline), (2, Some(at(5000))));
        assert_eq!(stored(&*store, job.id).await, job);
    }
}

/// To the microsecond, the years at both ends included, through every state.
pub async fn a_deadline_comes_back_as_it_was(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let year_one: Timestamp = "0001-01-01T00:00:00Z".parse().expect("a time");
    let far: Timestamp = "9999-12-31T23:59:59.999999Z".parse().expect("a time");
    for deadline in [None, Some(at(7) + Duration::from_micros(1)), Some(year_one), Some(far)] {
        let queued = submit_one(&*store, job().with(|job| job.deadline = deadline)).await;
        assert_eq!(queued.deadline, deadline);
        assert_eq!(stored(&*store, queued.id).await.deadline, deadline);
        let held = attempt(&*store, 1, 0).await;
        assert_eq!(held.deadline, deadline);
        must(&*store, held.id, complete(&held), at(1)).await;
        assert_eq!(stored(&*store, queued.id).await.deadline, deadline);
    }
}

/// A person changes their mind many times; the job is the same afterwards.
pub async fn pauses_and_rounds_repeat_without_end(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let id = submit_one(&*store, job()).await.id;
    for round in 1..=30_u64 {
        must(&*store, id, JobCommand::Pause, at(round)).await;
        assert!(claim(&*store, 1).await.is_empty());
        must(&*store, id, JobCommand::Resume, at(round)).await;
        let held = attempt(&*store, 1, round).await;
        assert_eq!(held.fence, Fence(round));
        must(&*store, id, start(&held), at(round)).await;
        must(&*store, id, JobCommand::Pause, at(round)).await;
        must(&*store, id, JobCommand::Resume, at(round)).await;
        must(&*store, id, JobCommand::Cancel, at(round)).await;
        assert_eq!(code(apply(&*store, id, complete(&held), at(round)).await), Code::StaleFence);
        let again = must(&*store, id, JobCommand::Retry, at(round)).await;
        assert_eq!((again.state, again.retry_count, again.completed_at), (JobState::Queued, 0, None));
        assert_eq!(stored(&*store, id).await, again);
    }
    let counts = store.counts().await.expect("answered");
    assert_eq!(counts.by_state.get(&JobState::Queued), Some(&1));
    assert_eq!(counts.by_state.values().sum::<u64>(), 1);
}
