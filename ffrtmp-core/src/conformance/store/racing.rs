//! Many callers at once: every race has one outcome, and everybody is told the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::error::Code;
use crate::job::JobState;
use crate::lifecycle::{JobCommand, Outcome};
use crate::store::{JobFilter, Store};

use super::Harness;
use super::fixture::*;

/// Sixteen nodes empty a queue: every job is given once, in attempt 1.
pub async fn every_job_goes_to_exactly_one_claim(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut stored = ids(&submit(&*store, jobs(400)).await);
    let mut nodes = JoinSet::new();
    for node in 1..=16_u128 {
        let store = store.clone();
        nodes.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let given = store.claim(&order(node, 1 + node as usize % 4), at(0)).await.expect("answered");
                if given.is_empty() {
                    return mine;
                }
                assert!(given.iter().all(|job| job.node_id == Some(order(node, 1).node) && job.attempt == 1));
                mine.extend(ids(&given));
            }
        });
    }
    let mut given: Vec<_> = nodes.join_all().await.into_iter().flatten().collect();
    given.sort_unstable();
    stored.sort_unstable();
    assert_eq!(given, stored);
}

/// A job is canceled in the end; if it was given away before, the node finds out at its next word.
pub async fn a_claim_and_a_cancel_agree(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for _ in 0..50 {
        let id = submit_one(&*store, job()).await.id;
        let (canceling, claiming) = (store.clone(), store.clone());
        let cancel = tokio::spawn(async move { must(&*canceling, id, JobCommand::Cancel, at(1)).await });
        let given = tokio::spawn(async move { claim(&*claiming, 1).await }).await.expect("no panic");
        assert_eq!(cancel.await.expect("no panic").state, JobState::Canceled);
        assert_eq!(stored(&*store, id).await.state, JobState::Canceled);
        for held in given {
            assert_eq!(held.id, id);
            assert_eq!(code(apply(&*store, id, start(&held), at(2)).await), Code::StaleFence);
        }
    }
}

/// Whichever comes first wins; the other is refused.
pub async fn a_finish_and_an_evict_agree(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for _ in 0..50 {
        let held = claimed(&*store).await;
        let id = held.id;
        let evict = JobCommand::Evict { fence: held.fence, error: error(Code::LeaseExpired) };
        let (finishing, evicting, finish) = (store.clone(), store.clone(), complete(&held));
        let finished = tokio::spawn(async move { apply(&*finishing, id, finish, at(1)).await });
        let evicted = tokio::spawn(async move { apply(&*evicting, id, evict, at(1)).await });
        let outcome = (finished.await.expect("no panic").is_ok(), evicted.await.expect("no panic").is_ok());
        let state = stored(&*store, id).await.state;
        assert!(
            matches!((outcome, state), ((true, false), JobState::Completed) | ((false, true), JobState::Retrying)),
            "{outcome:?} {state}"
        );
    }
}

/// One of them creates it, all get it.
pub async fn one_key_from_many_callers_is_one_job(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let store = store.clone();
        callers.spawn(async move { try_submit(&*store, vec![job().key("k", "d")]).await.expect("accepted").remove(0) });
    }
    let answers = callers.join_all().await;
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 1);
    assert_eq!(answers.iter().map(|answer| answer.job.id).collect::<BTreeSet<_>>().len(), 1);
    assert_eq!(list(&*store, &JobFilter::default()).await.len(), 1);
}

/// The first digest owns the key.
pub async fn different_digests_under_one_key_have_one_winner(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut callers = JoinSet::new();
    for caller in 0..32 {
        let store = store.clone();
        callers.spawn(async move { try_submit(&*store, vec![job().key("k", &caller.to_string())]).await });
    }
    let (won, lost): (Vec<_>, Vec<_>) = callers.join_all().await.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, 31));
    assert!(lost.into_iter().all(|answer| code(answer) == Code::IdempotencyMismatch));
    assert_eq!(list(&*store, &JobFilter::default()).await.len(), 1);
}

/// A result that is sent many times is taken once.
pub async fn many_finishes_are_one_effect(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let held = claimed(&*store).await;
    let mut callers = JoinSet::new();
    for second in 1..=32 {
        let (store, id, finish) = (store.clone(), held.id, fail(&held, Code::Network));
        callers.spawn(async move { must(&*store, id, finish, at(second)).await });
    }
    let answers = callers.join_all().await;
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    assert_eq!(stored(&*store, held.id).await.retry_count, 1);
}

/// Numbers of concurrent submissions are unique and those of one batch grow.
pub async fn sequence_numbers_are_unique(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut callers = JoinSet::new();
    for _ in 0..32 {
        let store = store.clone();
        callers.spawn(async move { submit(&*store, jobs(5)).await });
    }
    let batches = callers.join_all().await;
    assert!(batches.iter().all(|batch| batch.is_sorted_by(|a, b| a.sequence_number < b.sequence_number)));
    let numbers: BTreeSet<_> = batches.iter().flatten().map(|job| job.sequence_number).collect();
    assert_eq!(numbers.len(), 32 * 5);
}

/// Callers that go away in the middle leave whole batches or none.
pub async fn a_dropped_call_is_done_or_not_done(harness: &dyn Harness) {
    const BATCH: usize = 7;
    let store = harness.fresh().await;
    let mut callers = JoinSet::new();
    for caller in 0..64 {
        let store = store.clone();
        callers.spawn(async move {
            let name = caller.to_string();
            let batch = (0..BATCH).map(|_| job().with(|job| job.scenario.clone_from(&name))).collect();
            submit(&*store, batch).await;
        });
        if caller % 2 == 0 {
            tokio::task::yield_now().await;
            callers.abort_all();
        }
    }
    while callers.join_next().await.is_some() {}
    // What was taken before its caller went away may still be on its way: one more call of our own
    // stands behind it.
    submit_one(&*store, job().with(|job| job.scenario = "last".into())).await;
    let mut found: BTreeMap<String, usize> = BTreeMap::new();
    for job in list(&*store, &JobFilter::default()).await {
        *found.entry(job.scenario).or_default() += 1;
    }
    assert_eq!(found.remove("last"), Some(1));
    assert!(found.values().all(|count| *count == BATCH), "{found:?}");
    assert_eq!(drain(&store).await, found.len() * BATCH + 1);
}

/// Calls that share a moment do not share their refusals.
pub async fn refused_calls_do_not_undo_their_neighbours(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit_one(&*store, job().key("taken", "d")).await;
    let mut callers = JoinSet::new();
    for caller in 0..64 {
        let store = store.clone();
        callers.spawn(async move {
            let draft = if caller % 2 == 0 { job() } else { job().key("taken", "other") };
            (caller % 2 == 0, try_submit(&*store, vec![job(), draft]).await.is_ok())
        });
    }
    assert!(callers.join_all().await.into_iter().all(|(expected, accepted)| expected == accepted));
    assert_eq!(list(&*store, &JobFilter::default()).await.len(), 1 + 32 * 2);
    assert_eq!(drain(&store).await, 1 + 32 * 2);
}

/// Claims and releases until the queue is empty; how many jobs there were.
async fn drain(store: &Arc<dyn Store>) -> usize {
    let mut drained = 0;
    loop {
        let given = claim(&**store, 16).await;
        if given.is_empty() {
            return drained;
        }
        drained += given.len();
        for held in given {
            let outcome = Outcome::Failed(error(Code::EncodeFailed));
            must(&**store, held.id, JobCommand::Finish { lease: lease(&held), outcome }, at(1)).await;
        }
    }
}
