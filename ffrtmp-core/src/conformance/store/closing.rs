//! The end of a store, and its second life.

use tokio::task::JoinSet;

use crate::error::Code;
use crate::id::NodeId;
use crate::job::JobState;
use crate::lifecycle::JobCommand;
use crate::node::NodeCommand;
use crate::protocol::LogLine;
use crate::store::{JobFilter, Page};

use super::Harness;
use super::fixture::*;

/// A healthy store says so, as often as it is asked.
pub async fn check_answers(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for _ in 0..3 {
        store.check().await.expect("it is healthy");
    }
}

/// Twice in a row and at once.
pub async fn closing_twice_is_one_effect(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let (one, two) = (store.clone(), store.clone());
    let other = tokio::spawn(async move { one.close().await });
    two.close().await.expect("closed");
    other.await.expect("no panic").expect("closed");
    store.close().await.expect("closed");
}

/// Every later call is refused with the same code; none hangs.
pub async fn a_closed_store_is_unavailable(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit_one(&*store, job()).await;
    let node = NodeId::from_u128(1);
    store.close().await.expect("closed");
    let codes = [
        code(try_submit(&*store, vec![job()]).await),
        code(store.job(&stored.id.into()).await),
        code(store.list_jobs(&JobFilter::default(), Page { limit: 1, before: None }).await),
        code(store.claim(&order(1, 1), at(0)).await),
        code(store.apply(vec![(stored.id, JobCommand::Cancel)], at(0)).await),
        code(store.due(at(0), 1).await),
        code(store.dependents(stored.id).await),
        code(store.rerank(Vec::new()).await),
        code(store.lanes().await),
        code(store.append_logs(stored.id, 1, Vec::new()).await),
        code(store.append_many(vec![(stored.id, 1, Vec::new())]).await),
        code(store.logs(stored.id).await),
        code(store.register_node(node, about("one"), at(0)).await),
        code(store.node(node).await),
        code(store.list_nodes().await),
        code(store.apply_node(node, NodeCommand::Drain, at(0)).await),
        code(store.remove_node(node).await),
        code(store.counts().await),
        code(store.purge(at(0), 1).await),
        code(store.check().await),
        code(store.lead(at(0)).await),
    ];
    assert!(codes.iter().all(|code| *code == Code::Unavailable), "{codes:?}");
}

/// Jobs in every state, nodes, logs, keys and numbers are the same afterwards.
pub async fn everything_outlives_a_reopen(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let any = JobFilter::default();
    for state in JobState::ALL {
        job_in(&*store, *state).await;
    }
    let keyed = submit_one(&*store, job().key("k", "d").with(|job| job.labels = labels(&[("a", "b")]))).await;
    let line = LogLine { at: at(1), level: "info".into(), text: "line".into() };
    store.append_logs(keyed.id, 1, vec![line]).await.expect("accepted");
    store.register_node(NodeId::from_u128(1), about("one"), at(0)).await.expect("accepted");
    store.apply_node(NodeId::from_u128(1), NodeCommand::Drain, at(0)).await.expect("accepted");
    let jobs = list(&*store, &any).await;
    let nodes = store.list_nodes().await.expect("answered");
    let logs = store.logs(keyed.id).await.expect("answered");
    let counts = store.counts().await.expect("answered");
    let due = store.due(at(1000), 100).await.expect("answered");
    let before = lanes(&*store).await;
    store.close().await.expect("closed");
    drop(store);
    let Some(store) = harness.reopen().await else { return };
    assert_eq!(list(&*store, &any).await, jobs);
    assert_eq!(store.list_nodes().await.expect("answered"), nodes);
    assert_eq!(store.logs(keyed.id).await.expect("answered"), logs);
    assert_eq!(store.counts().await.expect("answered"), counts);
    assert_eq!(store.due(at(1000), 100).await.expect("answered"), due);
    assert_eq!(lanes(&*store).await, before);
    let again = try_submit(&*store, vec![job().key("k", "d")]).await.expect("accepted").remove(0);
    assert_eq!((again.created, again.job), (false, keyed.clone()));
    assert!(submit_one(&*store, job()).await.sequence_number > keyed.sequence_number);
    let labelled = JobFilter { labels: labels(&[("a", "b")]), ..any };
    assert_eq!(ids(&list(&*store, &labelled).await), [keyed.id]);
}

/// Ranks, leases, fences and dependencies go on where they stood.
pub async fn the_queue_goes_on_after_a_reopen(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, vec![job().rank(3), job().rank(1), job().rank(2)]).await;
    let held = claim(&*store, 1).await.remove(0);
    let waiting = submit_one(&*store, job().after(&[held.id])).await;
    let gpu = submit_one(&*store, job().rank(-9).needs(needs_label("node.gpu", "yes"))).await;
    store.close().await.expect("closed");
    drop(store);
    let Some(store) = harness.reopen().await else { return };
    assert_eq!(ids(&claim(&*store, 8).await), [stored[2].id, stored[0].id]);
    assert_eq!(must(&*store, held.id, complete(&held), at(1)).await.state, JobState::Completed);
    assert_eq!(ids(&store.dependents(held.id).await.expect("answered")), [waiting.id]);
    let mut changes = store.changes();
    must(&*store, waiting.id, JobCommand::Ready, at(1)).await;
    assert!(changes.has_changed().expect("the store lives"));
    changes.borrow_and_update();
    assert_eq!(ids(&claim(&*store, 8).await), [waiting.id]);
    assert_eq!(super::fixture::stored(&*store, gpu.id).await, gpu);
}

/// Closing under load: each call is either answered, and then kept, or refused.
pub async fn what_was_answered_before_the_close_is_kept(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut callers = JoinSet::new();
    for _ in 0..16 {
        let store = store.clone();
        callers.spawn(async move {
            let mut accepted = Vec::new();
            loop {
                match try_submit(&*store, vec![job()]).await {
                    Ok(answer) => accepted.push(answer[0].job.id),
                    Err(error) => {
                        assert_eq!(error.code(), Code::Unavailable);
                        return accepted;
                    }
                }
            }
        });
    }
    let mut changes = store.changes();
    for _ in 0..5 {
        changes.changed().await.expect("the store lives");
    }
    store.close().await.expect("closed");
    let mut accepted: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    drop((store, changes));
    let Some(store) = harness.reopen().await else { return };
    let mut kept = ids(&list(&*store, &JobFilter::default()).await);
    accepted.sort_unstable();
    kept.sort_unstable();
    let lost: Vec<_> = accepted.iter().filter(|id| kept.binary_search(id).is_err()).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
