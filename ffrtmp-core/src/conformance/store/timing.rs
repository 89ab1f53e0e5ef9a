//! Time: what is due, what is purged. `now` is always an argument.

use std::time::Duration;

use crate::error::Code;
use crate::job::JobState;
use crate::lifecycle::JobCommand;
use crate::protocol::LogLine;
use crate::store::{ClaimOrder, Due, JobFilter, Store};

use super::Harness;
use super::fixture::*;

/// Leases and backoffs in one order, the longest over first; not a moment early.
pub async fn due_comes_oldest_first(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, jobs(3)).await;
    let mut held = Vec::new();
    for (slot, seconds) in [50_u64, 10, 30].into_iter().enumerate() {
        let order = ClaimOrder { lease: Duration::from_secs(seconds), ..order(slot as u128, 1) };
        held.extend(store.claim(&order, at(0)).await.expect("answered"));
    }
    let retrying = must(&*store, held[2].id, fail(&held[2], Code::Network), at(20)).await;
    let retry_at = retrying.retry_at.expect("its backoff ends");
    assert!(store.due(at(9), 10).await.expect("answered").is_empty());
    let second = Due::LeaseExpired(held[1].id, held[1].fence);
    assert_eq!(store.due(at(10), 10).await.expect("answered"), [second]);
    let just_before = retry_at - Duration::from_micros(1);
    assert_eq!(store.due(just_before, 10).await.expect("answered"), [second]);
    let all = [second, Due::BackoffOver(held[2].id), Due::LeaseExpired(held[0].id, held[0].fence)];
    assert_eq!(store.due(retry_at, 10).await.expect("answered"), all[..2]);
    assert_eq!(store.due(at(50), 10).await.expect("answered"), all);
}

/// No more than asked for, and those that waited longest.
pub async fn due_is_bounded(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, jobs(10)).await;
    let mut held = Vec::new();
    for second in (0..10).rev() {
        held.extend(store.claim(&order(1, 1), at(second)).await.expect("answered"));
    }
    let due = store.due(at(1000), 3).await.expect("answered");
    let expected: Vec<_> = held.iter().rev().take(3).map(|job| Due::LeaseExpired(job.id, job.fence)).collect();
    assert_eq!(due, expected);
    assert!(store.due(at(1000), 0).await.expect("answered").is_empty());
}

/// Progress moves the end of the lease.
pub async fn a_renewed_lease_is_not_due(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = claimed(&*store).await;
    must(&*store, held.id, progress(&held, 1.0), at(29)).await;
    assert!(store.due(at(30), 10).await.expect("answered").is_empty());
    assert_eq!(store.due(at(59), 10).await.expect("answered"), [Due::LeaseExpired(held.id, held.fence)]);
}

/// A node that is lost with a frozen attempt is noticed, and the attempt can be evicted.
pub async fn a_frozen_attempt_can_come_due(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let running = job_in(&*store, JobState::Running).await;
    must(&*store, running.id, JobCommand::Pause, at(1)).await;
    assert_eq!(store.due(at(31), 10).await.expect("answered"), [Due::LeaseExpired(running.id, running.fence)]);
    let evict = JobCommand::Evict { fence: running.fence, error: error(Code::LeaseExpired) };
    let evicted = must(&*store, running.id, evict, at(31)).await;
    assert_eq!((evicted.state, evicted.lease()), (JobState::Paused, None), "the person still holds it");
    assert!(store.due(at(1000), 10).await.expect("answered").is_empty());
}

/// Whatever ended, or is queued again, has nothing to come.
pub async fn ended_jobs_are_never_due(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for state in [JobState::Completed, JobState::Failed, JobState::Canceled, JobState::Rejected] {
        job_in(&*store, state).await;
    }
    let held = job_in(&*store, JobState::Running).await;
    must(&*store, held.id, JobCommand::Cancel, at(1)).await;
    let retrying = job_in(&*store, JobState::Retrying).await;
    must(&*store, retrying.id, JobCommand::Requeue, at(1)).await;
    assert!(store.due(at(1_000_000), 10).await.expect("answered").is_empty());
}

/// Ended jobs go with their logs; younger ones and open ones stay.
pub async fn purge_removes_what_ended_before(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let old = job_in(&*store, JobState::Completed).await;
    let line = LogLine { at: at(0), level: "info".into(), text: "x".into() };
    store.append_logs(old.id, 1, vec![line]).await.expect("accepted");
    let canceled = job_in(&*store, JobState::Canceled).await;
    let open = job_in(&*store, JobState::Running).await;
    let queued = submit_one(&*store, job()).await;
    let young = submit_one(&*store, job()).await;
    must(&*store, young.id, JobCommand::Cancel, at(10)).await;
    assert_eq!(store.purge(at(0), 10).await.expect("answered"), 0, "the bound itself stays");
    assert_eq!(store.purge(at(10), 10).await.expect("answered"), 2);
    for gone in [&old, &canceled] {
        assert_eq!(code(store.job(&gone.id.into()).await), Code::JobNotFound);
        assert_eq!(code(store.logs(gone.id).await), Code::JobNotFound);
    }
    assert_eq!(ids(&list(&*store, &JobFilter::default()).await), [young.id, queued.id, open.id]);
    let counted: u64 = store.counts().await.expect("answered").by_state.values().sum();
    assert_eq!(counted, 3);
}

/// A purge of a large store can be done in steps.
pub async fn purge_is_bounded_and_oldest_first(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, jobs(5)).await;
    for (job, end) in stored.iter().zip([5, 1, 4, 2, 3]) {
        must(&*store, job.id, JobCommand::Cancel, at(end)).await;
    }
    assert_eq!(store.purge(at(100), 3).await.expect("answered"), 3);
    assert_eq!(ids(&list(&*store, &JobFilter::default()).await), [stored[2].id, stored[0].id]);
    assert_eq!(store.purge(at(100), 3).await.expect("answered"), 2);
    assert_eq!(store.purge(at(100), 3).await.expect("answered"), 0);
}

/// What somebody still waits for is kept, and does not stand in the way of others.
pub async fn purge_keeps_what_a_waiting_job_names(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let named = job_in(&*store, JobState::Completed).await;
    let other = job_in(&*store, JobState::Completed).await;
    let open = submit_one(&*store, job()).await;
    let waiting = submit_one(&*store, job().after(&[named.id, open.id])).await;
    assert_eq!(store.purge(at(100), 1).await.expect("answered"), 1);
    assert_eq!(code(store.job(&other.id.into()).await), Code::JobNotFound);
    assert_eq!(stored(&*store, named.id).await, named);
    must(&*store, waiting.id, JobCommand::Cancel, at(1)).await;
    assert_eq!(store.purge(at(1), 10).await.expect("answered"), 1);
    assert_eq!(code(store.job(&named.id.into()).await), Code::JobNotFound);
}

/// The key goes with its job.
pub async fn a_purged_key_is_free_again(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let first = submit_one(&*store, job().key("k", "d")).await;
    must(&*store, first.id, JobCommand::Cancel, at(1)).await;
    assert_eq!(store.purge(at(100), 10).await.expect("answered"), 1);
    let again = try_submit(&*store, vec![job().key("k", "other")]).await.expect("accepted").remove(0);
    assert!(again.created);
}

/// A number that a person wrote down never comes to mean another job.
pub async fn a_purged_sequence_number_is_never_given_again(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, jobs(3)).await;
    for job in &stored {
        must(&*store, job.id, JobCommand::Cancel, at(1)).await;
    }
    assert_eq!(purge_all(&*store).await, 3);
    assert!(submit_one(&*store, job()).await.sequence_number > stored[2].sequence_number);
}

/// A job that a person retried is open again.
pub async fn a_retried_job_is_not_purged(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let failed = job_in(&*store, JobState::Failed).await;
    must(&*store, failed.id, JobCommand::Retry, at(1)).await;
    assert_eq!(purge_all(&*store).await, 0);
    assert_eq!(stored(&*store, failed.id).await.state, JobState::Queued);
}

async fn purge_all(store: &dyn Store) -> u64 {
    store.purge(at(1_000_000), 1000).await.expect("answered")
}
