//! Bounds on what nodes hold at once: caps of queues and tenants, encode sessions of a node.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::task::JoinSet;

use crate::error::Code;
use crate::id::NodeId;
use crate::job::{Job, JobState, Queue};
use crate::lifecycle::JobCommand;
use crate::node::Requirements;
use crate::store::{Caps, ClaimOrder, Store};

use super::Harness;
use super::fixture::*;

/// Whatever stands in the queue, and whoever asks.
pub async fn a_queue_holds_no_more_than_its_cap(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, jobs(6)).await;
    let batch = submit_one(&*store, job().queue(Queue::Batch)).await;
    let caps = queue_cap(2);
    assert_eq!(ids(&claim_under(&*store, 64, &caps).await), [stored[0].id, stored[1].id, batch.id]);
    let other = ClaimOrder { caps: caps.clone(), ..order(2, 64) };
    assert!(store.claim(&other, at(0)).await.expect("answered").is_empty());
    let held = super::fixture::stored(&*store, stored[0].id).await;
    must(&*store, held.id, complete(&held), at(1)).await;
    assert_eq!(ids(&store.claim(&other, at(1)).await.expect("answered")), [stored[2].id]);
    assert!(claim_under(&*store, 64, &caps).await.is_empty());
}

/// Each tenant by itself, over all its queues.
pub async fn a_tenant_holds_no_more_than_its_cap(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let a = submit(&*store, [Queue::Default, Queue::Batch, Queue::Default].map(|q| job().tenant("a").queue(q)).into());
    let a = a.await;
    let b = submit(&*store, vec![job().tenant("b"), job().tenant("b"), job().tenant("b")]).await;
    let caps = tenant_cap(2);
    assert_eq!(ids(&claim_under(&*store, 64, &caps).await), [a[0].id, a[1].id, b[0].id, b[1].id]);
    assert!(claim_under(&*store, 64, &caps).await.is_empty());
    let held = stored(&*store, a[1].id).await;
    must(&*store, held.id, complete(&held), at(1)).await;
    assert_eq!(ids(&claim_under(&*store, 64, &caps).await), [a[2].id]);
}

/// It wins over the cap of all others, upwards and downwards.
pub async fn a_named_tenant_has_a_cap_of_its_own(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for name in ["few", "many", "other"] {
        submit(&*store, (0..5).map(|_| job().tenant(name)).collect()).await;
    }
    let caps = Caps { tenants: [(tenant("few"), 1), (tenant("many"), 4)].into(), ..tenant_cap(2) };
    let mut given: Vec<_> =
        claim_under(&*store, 64, &caps).await.into_iter().map(|job| job.tenant.to_string()).collect();
    given.sort_unstable();
    assert_eq!(given, ["few", "many", "many", "many", "many", "other", "other"]);
}

/// A job must fit into its queue and its tenant.
pub async fn both_caps_must_have_room(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let a = submit(&*store, (0..3).map(|_| job().tenant("a")).collect()).await;
    let b = submit(&*store, (0..3).map(|_| job().tenant("b")).collect()).await;
    let caps = Caps { tenant: Some(2), ..queue_cap(3) };
    assert_eq!(ids(&claim_under(&*store, 64, &caps).await), [a[0].id, a[1].id, b[0].id]);
}

/// Jobs of different needs share the cap of their queue.
pub async fn caps_count_all_lanes_together(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let drafts = (0..9_usize).map(|n| job().rank(n as i64).needs(Requirements { disk_mb: n as u64 / 3, ..needs() }));
    let stored = submit(&*store, drafts.collect()).await;
    assert_eq!(ids(&claim_under(&*store, 1, &queue_cap(4)).await), [stored[0].id]);
    assert_eq!(ids(&claim_under(&*store, 64, &queue_cap(4)).await), ids(&stored[1..4]));
    assert!(claim_under(&*store, 64, &queue_cap(4)).await.is_empty());
}

/// A thousand jobs that must wait stand in front; the one behind them is given.
pub async fn a_capped_lane_in_front_blocks_nobody(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, (0..1000).map(|_| job().rank(-1).tenant("a")).collect()).await;
    let behind = submit(&*store, (0..3).map(|_| job().tenant("b")).collect()).await;
    let caps = Caps { tenants: [(tenant("a"), 1)].into(), ..Caps::default() };
    let given = claim_under(&*store, 4, &caps).await;
    assert_eq!((given.len(), ids(&given[1..])), (4, ids(&behind)));
}

/// Nobody is given what is capped at zero.
pub async fn a_cap_of_nothing_gives_nothing(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, jobs(2)).await;
    assert!(claim_under(&*store, 64, &queue_cap(0)).await.is_empty());
    assert!(claim_under(&*store, 64, &tenant_cap(0)).await.is_empty());
    assert_eq!(claim_under(&*store, 64, &Caps::default()).await.len(), 2);
}

/// Caps are those of the claim: an operator may change them while jobs run.
pub async fn a_lower_cap_takes_nothing_back(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, jobs(10)).await;
    let held = claim_under(&*store, 64, &queue_cap(4)).await;
    assert_eq!(held.len(), 4);
    for (ended, given) in [(0, 0), (1, 0), (2, 0), (3, 1)] {
        assert_eq!(claim_under(&*store, 64, &queue_cap(2)).await.len(), given, "{ended} have ended");
        assert_eq!(stored(&*store, held[ended].id).await, held[ended]);
        must(&*store, held[ended].id, complete(&held[ended]), at(1)).await;
    }
    assert_eq!(lanes(&*store).await[0].active, 1);
    assert_eq!(claim_under(&*store, 64, &queue_cap(5)).await.len(), 4);
}

/// Every way in which a node can lose or end a job.
fn ends() -> [fn(&Job) -> Vec<JobCommand>; 8] {
    [
        |held| vec![complete(held)],
        |held| vec![start(held), complete(held)],
        |held| vec![fail(held, Code::InputInvalid)],
        |held| vec![fail(held, Code::Network)],
        |held| vec![evict(held, Code::LeaseExpired)],
        |_| vec![JobCommand::Cancel],
        |held| vec![start(held), JobCommand::Pause, JobCommand::Cancel],
        |held| vec![start(held), JobCommand::Pause, evict(held, Code::NodeLost)],
    ]
}

/// The next job takes it.
pub async fn every_end_of_an_attempt_frees_its_place(harness: &dyn Harness) {
    for caps in [queue_cap(1), tenant_cap(1)] {
        let store = harness.fresh().await;
        for (round, end) in ends().into_iter().enumerate() {
            let stored = submit(&*store, jobs(2)).await;
            let held = claim_under(&*store, 64, &caps).await.pop().expect("there is room");
            assert_eq!(held.id, stored[0].id);
            assert!(claim_under(&*store, 64, &caps).await.is_empty(), "round {round}");
            for command in end(&held) {
                must(&*store, held.id, command, at(1)).await;
            }
            let next = claim_under(&*store, 64, &caps).await;
            assert_eq!(ids(&next), [stored[1].id], "round {round}");
            must(&*store, next[0].id, complete(&next[0]), at(2)).await;
        }
        let stored = submit(&*store, jobs(1)).await;
        let held = claim_under(&*store, 64, &caps).await.remove(0);
        must(&*store, held.id, release(&held), at(3)).await;
        assert_eq!(ids(&claim_under(&*store, 64, &caps).await), ids(&stored), "given back");
    }
}

/// A person who freezes an attempt does not make room for another one; who holds a queued job back
/// takes none.
pub async fn a_frozen_attempt_keeps_its_place(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let caps = queue_cap(1);
    let stored = submit(&*store, jobs(3)).await;
    must(&*store, stored[0].id, JobCommand::Pause, at(0)).await;
    let held = claim_under(&*store, 64, &caps).await.pop().expect("there is room");
    assert_eq!(held.id, stored[1].id);
    must(&*store, held.id, start(&held), at(1)).await;
    must(&*store, held.id, JobCommand::Pause, at(1)).await;
    assert!(claim_under(&*store, 64, &caps).await.is_empty(), "a frozen attempt is active");
    must(&*store, held.id, JobCommand::Resume, at(2)).await;
    assert!(claim_under(&*store, 64, &caps).await.is_empty());
    must(&*store, held.id, complete(&held), at(3)).await;
    assert_eq!(ids(&claim_under(&*store, 64, &caps).await), [stored[2].id]);
}

/// What was held before the master stopped still counts.
pub async fn caps_outlive_a_reopen(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, (0..6).map(|_| job().needs(needs_gpu())).collect()).await;
    let claim = ClaimOrder { offer: with_gpu(3), caps: queue_cap(2), ..order(1, 64) };
    let held = store.claim(&claim, at(0)).await.expect("answered");
    assert_eq!(held.len(), 2);
    must(&*store, held[0].id, start(&held[0]), at(0)).await;
    must(&*store, held[0].id, JobCommand::Pause, at(0)).await;
    store.close().await.expect("closed");
    drop(store);
    let Some(store) = harness.reopen().await else { return };
    assert!(store.claim(&claim, at(1)).await.expect("answered").is_empty());
    let wider = ClaimOrder { caps: queue_cap(9), ..claim.clone() };
    assert_eq!(store.claim(&wider, at(1)).await.expect("answered").len(), 1, "one session is left");
    must(&*store, held[0].id, JobCommand::Cancel, at(2)).await;
    assert_eq!(store.claim(&wider, at(2)).await.expect("answered").len(), 1);
}

/// Of its jobs that take one.
pub async fn a_node_holds_no_more_than_its_sessions(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, (0..5).map(|_| job().needs(needs_gpu())).collect()).await;
    let claim = ClaimOrder { offer: with_gpu(2), ..order(1, 64) };
    let held = store.claim(&claim, at(0)).await.expect("answered");
    assert_eq!(ids(&held), ids(&stored[..2]));
    assert!(store.claim(&claim, at(0)).await.expect("answered").is_empty());
    must(&*store, held[1].id, complete(&held[1]), at(1)).await;
    assert_eq!(ids(&store.claim(&claim, at(1)).await.expect("answered")), [stored[2].id]);
    let unbounded = ClaimOrder { offer: crate::node::Offer { gpu_sessions: None, ..with_gpu(0) }, ..claim };
    assert_eq!(store.claim(&unbounded, at(1)).await.expect("answered").len(), 2, "what is not said is enough");
}

/// The sessions of one node are not those of another.
pub async fn sessions_are_counted_by_node(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, (0..9).map(|_| job().needs(needs_gpu())).collect()).await;
    let claim = |node, sessions| ClaimOrder { offer: with_gpu(sessions), ..order(node, 64) };
    for (node, sessions) in [(1, 2_u32), (2, 3), (3, 0), (4, 1)] {
        let given = store.claim(&claim(node, sessions), at(0)).await.expect("answered");
        assert_eq!(given.len(), sessions as usize, "node {node}");
        assert!(given.iter().all(|job| job.node_id == Some(NodeId::from_u128(node))));
    }
    assert!(store.claim(&claim(2, 3), at(0)).await.expect("answered").is_empty());
    assert_eq!(store.claim(&claim(2, 5), at(0)).await.expect("answered").len(), 2, "a second card was built in");
}

/// A node whose sessions are all taken goes on with other work, wherever it stands.
pub async fn jobs_without_a_device_pass_by(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, (0..100).map(|_| job().rank(-1).needs(needs_gpu())).collect()).await;
    let plain = submit(&*store, jobs(3)).await;
    let claim = ClaimOrder { offer: with_gpu(1), ..order(1, 4) };
    let given = store.claim(&claim, at(0)).await.expect("answered");
    assert_eq!((given.len(), ids(&given[1..])), (4, ids(&plain)));
}

/// The next job on that node takes it.
pub async fn every_end_of_an_attempt_frees_its_session(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let claim = ClaimOrder { offer: with_gpu(1), ..order(1, 64) };
    for (round, end) in ends().into_iter().enumerate() {
        let stored = submit(&*store, vec![job().needs(needs_gpu()), job().needs(needs_gpu())]).await;
        let held = store.claim(&claim, at(0)).await.expect("answered").pop().expect("a session is free");
        assert_eq!(held.id, stored[0].id);
        assert!(store.claim(&claim, at(0)).await.expect("answered").is_empty(), "round {round}");
        for command in end(&held) {
            must(&*store, held.id, command, at(1)).await;
        }
        let next = store.claim(&claim, at(1)).await.expect("answered");
        assert_eq!(ids(&next), [stored[1].id], "round {round}");
        must(&*store, next[0].id, complete(&next[0]), at(2)).await;
    }
}

/// Nodes that claim and finish as fast as they can never hold more than the cap, and leave nothing.
pub async fn caps_are_exact_among_sixteen_claimers(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, jobs(300)).await;
    let bound = |node| ClaimOrder { caps: queue_cap(7), ..order(node, 3) };
    assert_eq!(race(&store, 300, 7, bound, |_| 0).await, [300]);
}

/// The same for every tenant by itself, while their jobs share lanes and queues.
pub async fn a_tenant_cap_is_exact_among_sixteen_claimers(harness: &dyn Harness) {
    let store = harness.fresh().await;
    const NAMES: [&str; 3] = ["a", "b", "c"];
    submit(&*store, (0..300).map(|n| job().tenant(NAMES[n % 3])).collect()).await;
    let bound = |node| ClaimOrder { caps: tenant_cap(3), ..order(node, 4) };
    let by = |job: &Job| NAMES.iter().position(|name| *name == job.tenant.as_str()).expect("a known tenant");
    assert_eq!(race(&store, 300, 3, bound, by).await, [100, 100, 100]);
}

/// A node that asks on sixteen connections at once gets no more jobs than it has sessions.
pub async fn sessions_are_exact_among_sixteen_claims_of_one_node(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit(&*store, (0..200).map(|_| job().needs(needs_gpu())).collect()).await;
    let bound = |_| ClaimOrder { offer: with_gpu(5), ..order(1, 3) };
    assert_eq!(race(&store, 200, 5, bound, |_| 0).await, [200]);
}

/// Sixteen callers claim and finish until all jobs are done. Each kind of job (`by`) is never held
/// more than `cap` times; how many there were of each kind. What a caller sees is at most what the
/// store holds: it counts after a claim and before a finish.
async fn race(
    store: &Arc<dyn Store>,
    all: usize,
    cap: i64,
    bound: impl Fn(u128) -> ClaimOrder,
    by: impl Fn(&Job) -> usize + Copy + Send + 'static,
) -> Vec<usize> {
    let active: Arc<[AtomicI64; 3]> = Arc::default();
    let done = Arc::new(AtomicI64::new(0));
    let mut callers = JoinSet::new();
    for node in 1..=16 {
        let (store, order, active, done) = (store.clone(), bound(node), active.clone(), done.clone());
        callers.spawn(async move {
            let mut mine = vec![0_usize; 3];
            while (done.load(Ordering::SeqCst) as usize) < all {
                let given = store.claim(&order, at(0)).await.expect("answered");
                for job in &given {
                    mine[by(job)] += 1;
                    let now = active[by(job)].fetch_add(1, Ordering::SeqCst) + 1;
                    assert!(now <= cap, "{now} jobs are held under a cap of {cap}");
                }
                tokio::task::yield_now().await;
                for job in &given {
                    active[by(job)].fetch_sub(1, Ordering::SeqCst);
                    let ended = must(&*store, job.id, complete(job), at(1)).await;
                    assert_eq!(ended.state, JobState::Completed);
                    done.fetch_add(1, Ordering::SeqCst);
                }
            }
            mine
        });
    }
    let mut total = callers.join_all().await.into_iter().fold(vec![0; 3], |sum, mine| {
        sum.into_iter().zip(mine).map(|(sum, mine): (usize, usize)| sum + mine).collect()
    });
    total.retain(|count| *count > 0);
    assert!(lanes(&**store).await.is_empty(), "a place leaked");
    total
}
