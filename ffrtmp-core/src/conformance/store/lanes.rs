//! Lanes: what a claim and a scheduler see of the queue, and the place that a job keeps in it.

use std::collections::BTreeSet;

use crate::error::Code;
use crate::id::JobId;
use crate::job::{Job, JobState, Queue};
use crate::lifecycle::JobCommand;
use crate::node::Requirements;
use crate::store::{ClaimOrder, Lane, LaneStanding, Rank, Store};

use super::Harness;
use super::fixture::*;

/// Each difference makes another lane.
pub async fn lanes_are_apart_by_tenant_queue_and_needs(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let other = Requirements { memory_mb: 4096, ..needs() };
    let drafts = || {
        vec![
            job().tenant("a"),
            job().tenant("b"),
            job().tenant("a").queue(Queue::Batch),
            job().tenant("a").needs(other.clone()),
            job().tenant("a"),
        ]
    };
    submit(&*store, drafts()).await;
    submit(&*store, drafts()).await;
    let lane = |name, queue, requirements: &Requirements| Lane {
        requirements: requirements.clone(),
        tenant: tenant(name),
        queue,
    };
    let mut expected = [
        (lane("a", Queue::Default, &needs()), 4),
        (lane("a", Queue::Batch, &needs()), 2),
        (lane("b", Queue::Default, &needs()), 2),
        (lane("a", Queue::Default, &other), 2),
    ];
    expected.sort();
    let found: Vec<_> = lanes(&*store).await.into_iter().map(|standing| (standing.lane, standing.queued)).collect();
    assert_eq!(found, expected);
}

async fn bounds(store: &dyn Store) -> (u64, u64, Option<i64>, Option<i64>) {
    let lanes = lanes(store).await;
    let [LaneStanding { queued, active, first, last, .. }] = lanes.as_slice() else { panic!("one lane: {lanes:?}") };
    (*queued, *active, first.map(|rank| rank.0), last.map(|rank| rank.0))
}

/// As jobs come, go and come back.
pub async fn a_lane_knows_its_first_and_last_rank(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, [5, i64::MIN, 9, i64::MAX, 5].map(|rank| job().rank(rank)).into()).await;
    assert_eq!(bounds(&*store).await, (5, 0, Some(i64::MIN), Some(i64::MAX)));
    must(&*store, stored[3].id, JobCommand::Cancel, at(0)).await;
    assert_eq!(bounds(&*store).await, (4, 0, Some(i64::MIN), Some(9)));
    let held = claim(&*store, 2).await;
    assert_eq!(bounds(&*store).await, (2, 2, Some(5), Some(9)));
    must(&*store, stored[2].id, JobCommand::Pause, at(0)).await;
    assert_eq!(bounds(&*store).await, (1, 2, Some(5), Some(5)));
    must(&*store, held[0].id, release(&held[0]), at(0)).await;
    assert_eq!(bounds(&*store).await, (2, 1, Some(i64::MIN), Some(5)));
    must(&*store, stored[2].id, JobCommand::Resume, at(0)).await;
    assert_eq!(bounds(&*store).await, (3, 1, Some(i64::MIN), Some(9)));
}

/// Waiting, held back, retrying and ended jobs make no lane.
pub async fn a_lane_without_jobs_is_left_out(harness: &dyn Harness) {
    let store = harness.fresh().await;
    assert!(lanes(&*store).await.is_empty());
    for state in JobState::ALL.iter().filter(|state| **state != JobState::Waiting) {
        let store = harness.fresh().await;
        let job = job_in(&*store, *state).await;
        let counts = *state == JobState::Queued || job.lease().is_some();
        assert_eq!(lanes(&*store).await.len(), usize::from(counts), "{state}");
    }
    let first = submit_one(&*store, job()).await;
    submit_one(&*store, job().tenant("waits").after(&[first.id])).await;
    assert_eq!(lanes(&*store).await.len(), 1);
}

/// A lane that was empty for a while is as good as a new one.
pub async fn lanes_come_and_go(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for round in 0..5_i64 {
        for name in ["a", "b"] {
            let stored = submit_one(&*store, job().tenant(name).rank(10 - round)).await;
            let held = claim(&*store, 4).await;
            assert_eq!(ids(&held), [stored.id], "round {round}");
            assert_eq!(bounds(&*store).await, (0, 1, None, None));
            must(&*store, held[0].id, complete(&held[0]), at(1)).await;
            assert!(lanes(&*store).await.is_empty());
        }
    }
}

/// Tenants, queues and needs together; claims of every size.
pub async fn five_hundred_lanes_merge_by_rank(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let mut drafts = Vec::new();
    for n in 0..1000_i64 {
        let lane = n % 500;
        let needs = Requirements { disk_mb: lane as u64 % 5 * 1024, ..needs() };
        let draft = job().tenant(&format!("tenant-{}", lane / 10)).queue(Queue::ALL[lane as usize / 5 % 2]);
        drafts.push(draft.needs(needs).rank(n * 7919 % 1009));
    }
    let stored = submit(&*store, drafts).await;
    assert_eq!(lanes(&*store).await.len(), 500);
    let mut expected: Vec<_> =
        stored.iter().zip(0_i64..).map(|(job, n)| (n * 7919 % 1009, job.sequence_number, job.id)).collect();
    expected.sort_unstable();
    let mut given: Vec<JobId> = Vec::new();
    for slots in [1, 3, 10, 64].into_iter().cycle() {
        let next = claim(&*store, slots).await;
        if next.is_empty() {
            break;
        }
        assert!(next.len() == slots || given.len() + next.len() == stored.len(), "a claim stopped short");
        given.extend(ids(&next));
    }
    assert_eq!(given, expected.into_iter().map(|(_, _, id)| id).collect::<Vec<_>>());
}

/// Needs that nobody had before, between two claims.
pub async fn a_new_lane_is_seen_by_the_next_claim(harness: &dyn Harness) {
    let store = harness.fresh().await;
    for round in 0..20_u64 {
        assert!(claim(&*store, 1).await.is_empty());
        let draft = job().tenant(&format!("new-{round}")).needs(Requirements { memory_mb: 1024 * round, ..needs() });
        let stored = submit_one(&*store, draft).await;
        assert_eq!(ids(&claim(&*store, 1).await), [stored.id], "round {round}");
    }
}

/// First and last follow, and the order of claims with them.
pub async fn rerank_moves_the_bounds_of_a_lane(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, jobs(3)).await;
    let ranks = [3, -5, 8].map(Rank);
    store.rerank(stored.iter().map(|job| job.id).zip(ranks).collect()).await.expect("accepted");
    assert_eq!(bounds(&*store).await, (3, 0, Some(-5), Some(8)));
    store.rerank(vec![(stored[2].id, Rank(-9)), (stored[2].id, Rank(4))]).await.expect("accepted");
    assert_eq!(bounds(&*store).await, (3, 0, Some(-5), Some(4)), "the last word counts");
    let order: Vec<_> = claim(&*store, 3).await.iter().map(|job| job.id).collect();
    assert_eq!(order, [stored[1].id, stored[0].id, stored[2].id]);
}

/// Two thousand in one call turn a queue round.
pub async fn many_jobs_are_reranked_at_once(harness: &dyn Harness) {
    const ALL: usize = 2000;
    let store = harness.fresh().await;
    let mut stored = Vec::with_capacity(ALL);
    for _ in 0..2 {
        stored.extend(ids(&submit(&*store, jobs(ALL / 2)).await));
    }
    let ranks = stored.iter().rev().zip(0..).map(|(id, rank)| (*id, Rank(rank))).collect();
    store.rerank(ranks).await.expect("accepted");
    stored.reverse();
    let mut given = Vec::with_capacity(ALL);
    while given.len() < ALL {
        let next = ids(&claim(&*store, 500).await);
        assert!(!next.is_empty(), "{} of {ALL} were given", given.len());
        given.extend(next);
    }
    assert_eq!(given, stored);
}

async fn is_next(store: &dyn Store, first: &Job, second: &Job) {
    assert_eq!(ids(&claim(store, 1).await), [first.id], "it has lost its place");
    assert_eq!(ids(&claim(store, 1).await), [second.id]);
}

/// Whoever came first is first again when the backoff is over, or when its node gave it back.
pub async fn a_requeued_job_keeps_its_place(harness: &dyn Harness) {
    for requeue in [false, true] {
        let store = harness.fresh().await;
        let stored = submit(&*store, jobs(3)).await;
        let held = claim(&*store, 1).await.remove(0);
        if requeue {
            must(&*store, held.id, fail(&held, Code::Network), at(1)).await;
            must(&*store, held.id, JobCommand::Requeue, at(2)).await;
        } else {
            must(&*store, held.id, release(&held), at(1)).await;
        }
        is_next(&*store, &stored[0], &stored[1]).await;
    }
}

/// A person who holds a job back for a while does not send it to the end.
pub async fn a_resumed_job_keeps_its_place(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, vec![job().rank(1), job().rank(2), job().rank(3)]).await;
    must(&*store, stored[0].id, JobCommand::Pause, at(1)).await;
    must(&*store, stored[0].id, JobCommand::Resume, at(2)).await;
    is_next(&*store, &stored[0], &stored[1]).await;
}

/// Nor does an end that a person undid, wherever ended jobs are kept.
pub async fn a_retried_job_keeps_its_place(harness: &dyn Harness) {
    let store = harness.fresh().await;
    let stored = submit(&*store, vec![job().rank(1), job().rank(2), job().rank(i64::MIN), job().rank(3)]).await;
    let failed = claim(&*store, 1).await.remove(0);
    must(&*store, failed.id, fail(&failed, Code::EncodeFailed), at(1)).await;
    must(&*store, stored[0].id, JobCommand::Cancel, at(1)).await;
    for ended in [failed.id, stored[0].id] {
        must(&*store, ended, JobCommand::Retry, at(2)).await;
    }
    assert_eq!(bounds(&*store).await, (4, 0, Some(i64::MIN), Some(3)));
    let order = ClaimOrder { slots: 9, ..order(1, 9) };
    let given = ids(&store.claim(&order, at(2)).await.expect("answered"));
    assert_eq!(given, [stored[2].id, stored[0].id, stored[1].id, stored[3].id]);
    assert_eq!(given.iter().collect::<BTreeSet<_>>().len(), 4);
}
