//! The value behind `changes` changes when a job may have become claimable. It may change more
//! often; missing one would leave a job waiting for the next poll.

use crate::error::Code;
use crate::job::JobState;
use crate::lifecycle::{JobCommand, Outcome};

use super::Harness;
use super::fixture::*;

/// Single and in a batch, and the job can be claimed when the change is seen.
pub async fn a_submission_wakes(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut changes = store.changes();
    submit_one(&*store, job()).await;
    changes.changed().await.expect("the store lives");
    assert_eq!(claim(&*store, 1).await.len(), 1);
    let first = job();
    let waits = job().after(&[first.id()]);
    changes.borrow_and_update();
    submit(&*store, vec![waits, first]).await;
    assert!(changes.has_changed().expect("the store lives"));
    assert!(!store.changes().has_changed().expect("the store lives"), "a new watcher has seen the present");
}

/// A dependent that is let go.
pub async fn a_waiting_job_that_is_ready_wakes(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let waiting = job_in(&*store, JobState::Waiting).await;
    let mut changes = store.changes();
    changes.borrow_and_update();
    must(&*store, waiting.id, JobCommand::Ready, at(1)).await;
    assert!(changes.has_changed().expect("the store lives"));
}

/// Every way back into the queue.
pub async fn requeue_resume_retry_and_release_wake(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut changes = store.changes();
    let ways = [
        (JobState::Retrying, JobCommand::Requeue),
        (JobState::Paused, JobCommand::Resume),
        (JobState::Failed, JobCommand::Retry),
        (JobState::Canceled, JobCommand::Retry),
    ];
    for (state, command) in ways {
        let job = job_in(&*store, state).await;
        changes.borrow_and_update();
        must(&*store, job.id, command, at(1)).await;
        assert!(changes.has_changed().expect("the store lives"), "{state}");
        assert_eq!(claim(&*store, 1).await.len(), 1, "{state}");
    }
    let held = claimed(&*store).await;
    changes.borrow_and_update();
    let outcome = Outcome::Released("drain".into());
    let release = (held.id, JobCommand::Finish { lease: lease(&held), outcome });
    let refused = (held.id, JobCommand::Reject(error(Code::CapabilityMissing)));
    store.apply(vec![refused, release], at(1)).await.expect("the store works");
    assert!(changes.has_changed().expect("the store lives"));
}
