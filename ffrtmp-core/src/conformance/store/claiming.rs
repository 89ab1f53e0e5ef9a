//! Claiming: order, bounds, requirements, ranks.

use std::time::{Duration, Instant};

use crate::id::{Fence, JobId, NodeId};
use crate::job::{EngineName, JobState};
use crate::lifecycle::JobCommand;
use crate::media::VideoCodec;
use crate::node::{Capabilities, Offer, Requirements};
use crate::store::{ClaimOrder, LaneStanding, Rank, Store};

use super::Harness;
use super::fixture::*;

/// No work is no error.
pub async fn an_empty_queue_gives_nothing(harness: &dyn Harness) {
    let store = harness.fresh().await;
    assert!(claim(&*store, 64).await.is_empty());
}

/// A claim without room takes nothing.
pub async fn no_slots_give_nothing(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit_one(&*store, job()).await;
    assert!(claim(&*store, 0).await.is_empty());
    assert_eq!(claim(&*store, 1).await.len(), 1);
}

/// The whole range of ranks is ordered.
pub async fn lowest_rank_comes_first(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let ranks = [5, i64::MAX, -3, 0, i64::MIN];
    let stored = submit(&*store, ranks.map(|rank| job().rank(rank)).into()).await;
    let given = claim(&*store, 64).await;
    let expected = [4, 2, 3, 0, 1].map(|index: usize| stored[index].id);
    assert_eq!(ids(&given), expected);
}

/// Of equal ranks the older submission comes first.
pub async fn ties_go_by_sequence_number(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, jobs(20)).await;
    let mut given = Vec::new();
    for _ in 0..20 {
        given.extend(claim(&*store, 1).await);
    }
    assert_eq!(ids(&given), ids(&stored));
}

/// A claim takes no more than it asked for and leaves the rest.
pub async fn slots_are_an_upper_bound(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, jobs(5)).await;
    assert_eq!(ids(&claim(&*store, 3).await), ids(&stored[..3]));
    assert_eq!(ids(&claim(&*store, 3).await), ids(&stored[3..]));
}

/// The answer is the stored job: assigned, fenced, leased to the node.
pub async fn a_claim_opens_an_attempt(harness: &dyn Harness) {
    let store = harness.fresh().await;
    submit_one(&*store, job()).await;
    let held = store.claim(&order(7, 1), at(10)).await.expect("answered").remove(0);
    assert_eq!(held.state, JobState::Assigned);
    assert_eq!((held.fence, held.attempt), (Fence(1), 1));
    assert_eq!((held.node_id, held.node_name.as_deref()), (Some(NodeId::from_u128(7)), Some("node-7")));
    assert_eq!(held.lease_expires_at, Some(at(10) + LEASE));
    assert_eq!(held.state_transitions.last().map(|step| (step.to, step.at)), Some((JobState::Assigned, at(10))));
    assert_eq!(stored(&*store, held.id).await, held);
}

/// A job in any other state is not given.
pub async fn only_queued_jobs_are_given(harness: &dyn Harness) {
    for state in JobState::ALL.iter().copied().filter(|state| *state != JobState::Queued) {
        let store = harness.fresh().await;
        let other = job_in(&*store, state).await;
        assert!(!ids(&claim(&*store, 64).await).contains(&other.id), "{state}");
        assert_eq!(stored(&*store, other.id).await, other);
    }
}

/// Engine, codec and labels must all fit.
pub async fn a_node_gets_what_it_can_run(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let av1 = Requirements { video_codec: Some(VideoCodec::Av1), ..needs() };
    let copy = Requirements { video_codec: None, ..needs() };
    let gstreamer = Requirements { engine: EngineName::Gstreamer, ..needs() };
    let gpu = needs_label("node.gpu", "yes");
    let drafts = [needs(), av1, copy, gstreamer, gpu].map(|needs| job().needs(needs));
    let stored = ids(&submit(&*store, drafts.into()).await);
    let plain = Capabilities { video_codecs: Some(vec![VideoCodec::H264]), ..Capabilities::default() };
    let gstreamer_only = Capabilities { engines: vec![EngineName::Gstreamer], ..Capabilities::default() };
    type Expected<'a> = (Capabilities, &'a [(&'a str, &'a str)], &'a [usize]);
    let rows: [Expected<'_>; 6] = [
        (Capabilities { engines: Vec::new(), ..Capabilities::default() }, &[("node.gpu", "yes")], &[]),
        (gstreamer_only, &[("node.gpu", "no")], &[3]),
        (plain.clone(), &[], &[0, 2]),
        (plain.clone(), &[("node.gpu", "no")], &[]),
        (plain, &[("node.gpu", "yes"), ("node.zone", "a")], &[4]),
        (Capabilities::default(), &[], &[1]),
    ];
    for (capabilities, carried, expected) in rows {
        let order = ClaimOrder { offer: Offer { capabilities, ..carrying(carried) }, ..order(1, 64) };
        let given = ids(&store.claim(&order, at(0)).await.expect("answered"));
        assert_eq!(given, expected.iter().map(|index| stored[*index]).collect::<Vec<_>>(), "{order:?}");
    }
}

/// Requirements that read alike when they are written in a row are different classes.
pub async fn labels_that_look_alike_stay_apart(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let joined = Requirements { labels: labels(&[("a", "1/b=2")]), ..needs() };
    let split = Requirements { labels: labels(&[("a", "1"), ("b", "2")]), ..needs() };
    let stored = submit(&*store, vec![job().needs(joined), job().needs(split)]).await;
    let order = ClaimOrder { offer: carrying(&[("a", "1"), ("b", "2")]), ..order(1, 64) };
    assert_eq!(ids(&store.claim(&order, at(0)).await.expect("answered")), [stored[1].id]);
    assert_eq!(lanes(&*store).await.iter().filter(|lane| lane.queued > 0).count(), 1);
}

/// A node that can run several classes gets their jobs in one order.
pub async fn classes_merge_by_rank(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let classes = [needs_label("node.a", "1"), needs_label("node.b", "1"), needs()];
    let drafts = (0..30_usize).map(|n| job().needs(classes[n % 3].clone()).rank((n as i64 * 7) % 10)).collect();
    let stored = submit(&*store, drafts).await;
    let mut expected: Vec<_> = stored.iter().enumerate().map(|(n, job)| ((n * 7) % 10, job.id, n)).collect();
    expected.sort_by_key(|(rank, _, n)| (*rank, *n));
    let order = ClaimOrder { offer: carrying(&[("node.a", "1"), ("node.b", "1")]), ..order(1, 4) };
    let mut given = Vec::new();
    for _ in 0..8 {
        given.extend(ids(&store.claim(&order, at(0)).await.expect("answered")));
    }
    assert_eq!(given, expected.into_iter().map(|(_, id, _)| id).collect::<Vec<_>>());
}

/// Ten thousand jobs for another kind of node stand in front; a claim takes about as long as
/// without them.
pub async fn unrunnable_jobs_in_front_cost_nothing(harness: &dyn Harness) {
    const CLAIMS: usize = 31;
    let alone = harness.fresh().await;
    submit(&*alone, jobs(CLAIMS)).await;
    let behind = harness.fresh().await;
    for _ in 0..10 {
        let front = (0..1000).map(|_| job().rank(-1).needs(needs_label("node.gpu", "yes"))).collect();
        submit(&*behind, front).await;
    }
    submit(&*behind, jobs(CLAIMS)).await;
    let without = median_claim(&*alone, CLAIMS).await;
    let with = median_claim(&*behind, CLAIMS).await;
    let bound = without * 5 + Duration::from_millis(5);
    assert!(with < bound, "a claim takes {with:?} behind 10,000 jobs and {without:?} without them");
}

async fn median_claim(store: &dyn Store, claims: usize) -> Duration {
    let mut times = Vec::with_capacity(claims);
    for _ in 0..claims {
        let begin = Instant::now();
        assert_eq!(claim(store, 1).await.len(), 1);
        times.push(begin.elapsed());
    }
    times.sort_unstable();
    times[claims / 2]
}

/// A scheduler that changed its mind changes the order.
pub async fn rerank_moves_queued_jobs(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, jobs(3)).await;
    store.rerank(vec![(stored[2].id, Rank(-1)), (stored[0].id, Rank(1))]).await.expect("accepted");
    let expected = [stored[2].id, stored[1].id, stored[0].id];
    assert_eq!(ids(&claim(&*store, 64).await), expected);
}

/// Jobs that are gone, held or paused are left as they are, rank included.
pub async fn rerank_skips_what_is_not_queued(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, vec![job(), job().rank(5)]).await;
    let paused = must(&*store, stored[1].id, JobCommand::Pause, at(0)).await;
    store.rerank(vec![(JobId::random(), Rank(1)), (paused.id, Rank(-9))]).await.expect("accepted");
    assert_eq!(super::fixture::stored(&*store, paused.id).await, paused);
    must(&*store, paused.id, JobCommand::Resume, at(0)).await;
    assert_eq!(ids(&claim(&*store, 64).await), ids(&stored));
}

/// Queued and active jobs per lane with the bounds of their ranks; none without jobs.
pub async fn lanes_are_counted(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let gpu = needs_label("node.gpu", "yes");
    let stored = submit(&*store, vec![job().rank(1), job().rank(3), job().rank(2).needs(gpu.clone())]).await;
    submit_one(&*store, job().needs(needs_label("node.x", "1")).after(&[stored[0].id])).await;
    let stands = |needs: &Requirements, queued, active, first: Option<i64>, last: Option<i64>| LaneStanding {
        lane: lane(needs.clone()),
        queued,
        active,
        first: first.map(Rank),
        last: last.map(Rank),
    };
    let plain = needs();
    assert_eq!(lanes(&*store).await, [stands(&plain, 2, 0, Some(1), Some(3)), stands(&gpu, 1, 0, Some(2), Some(2))]);
    let held = claim(&*store, 2).await;
    assert_eq!(lanes(&*store).await, [stands(&plain, 0, 2, None, None), stands(&gpu, 1, 0, Some(2), Some(2))]);
    must(&*store, held[0].id, fail(&held[0], crate::error::Code::Network), at(0)).await;
    assert_eq!(lanes(&*store).await[0], stands(&plain, 0, 1, None, None));
    must(&*store, held[0].id, JobCommand::Requeue, at(9)).await;
    must(&*store, held[1].id, start(&held[1]), at(9)).await;
    must(&*store, held[1].id, JobCommand::Pause, at(9)).await;
    assert_eq!(lanes(&*store).await[0], stands(&plain, 1, 1, Some(1), Some(1)), "a frozen attempt is active");
    must(&*store, held[1].id, JobCommand::Cancel, at(9)).await;
    assert_eq!(lanes(&*store).await[0], stands(&plain, 1, 0, Some(1), Some(1)));
}
