//! Two handles on one store, as two masters have them. A store with one owner has no second handle
//! and passes these cases untried.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::error::Code;
use crate::id::{JobId, NodeId};
use crate::job::JobState;
use crate::lifecycle::JobCommand;
use crate::node::NodeCommand;
use crate::protocol::LogLine;
use crate::store::{ClaimOrder, JobFilter, Lead, Store};

use super::Harness;
use super::fixture::*;

/// How long news may take from one handle to the other before the case fails.
const PATIENCE: Duration = Duration::from_secs(10);

async fn two(harness: &dyn Harness) -> Option<(Arc<dyn Store>, Arc<dyn Store>)> {
    let first = harness.fresh().await;
    let second = harness.second().await?;
    assert!(first.is_shared() && second.is_shared(), "a store with two owners is shared");
    Some((first, second))
}

fn leads(lead: Lead) -> bool {
    matches!(lead, Lead::Leader { .. })
}

/// However often both ask, and whoever asked first. A store with one owner always leads.
pub async fn exactly_one_handle_leads(harness: &dyn Harness) {
    let Some((first, second)) = two(harness).await else {
        let store = harness.fresh().await;
        assert_eq!(store.lead(at(0)).await.expect("answered"), Lead::Leader { newly: true });
        for second in 1..4 {
            assert_eq!(store.lead(at(second)).await.expect("answered"), Lead::Leader { newly: false });
        }
        return;
    };
    assert_eq!(second.lead(at(0)).await.expect("answered"), Lead::Leader { newly: true });
    for now in 1..20 {
        assert!(!leads(first.lead(at(now)).await.expect("answered")), "two of them lead");
        assert_eq!(second.lead(at(now)).await.expect("answered"), Lead::Leader { newly: false });
    }
}

/// At once, and to one only.
pub async fn the_lead_passes_on_when_its_holder_closes(harness: &dyn Harness) {
    let Some((first, second)) = two(harness).await else { return };
    assert!(leads(first.lead(at(0)).await.expect("answered")));
    assert!(!leads(second.lead(at(0)).await.expect("answered")));
    first.close().await.expect("closed");
    let begun = std::time::Instant::now();
    loop {
        match second.lead(at(1)).await.expect("answered") {
            Lead::Leader { newly } => break assert!(newly, "it did not lead before"),
            Lead::Follower { .. } => assert!(begun.elapsed() < PATIENCE, "nobody leads"),
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(second.lead(at(2)).await.expect("answered"), Lead::Leader { newly: false });
    assert_eq!(code(first.lead(at(3)).await), Code::Unavailable);
}

/// The leader's time and not its own, gone on since it was heard.
pub async fn a_follower_is_told_the_time(harness: &dyn Harness) {
    let Some((first, second)) = two(harness).await else { return };
    assert!(leads(first.lead(at(0)).await.expect("answered")));
    let begun = std::time::Instant::now();
    let heard = loop {
        first.lead(at(5000)).await.expect("answered");
        match second.lead(at(77)).await.expect("answered") {
            Lead::Leader { .. } => panic!("two of them lead"),
            Lead::Follower { time: Some(time) } if time >= at(5000) => break time,
            Lead::Follower { .. } => assert!(begun.elapsed() < PATIENCE, "the leader is not heard"),
        }
        tokio::task::yield_now().await;
    };
    assert!(heard.since(at(5000)) <= begun.elapsed(), "{heard} is ahead of the leader");
}

/// Jobs, nodes, logs, lanes and counts, at once and in every step.
pub async fn a_second_handle_sees_everything(harness: &dyn Harness) {
    let Some((first, second)) = two(harness).await else { return };
    for state in JobState::ALL {
        let job = job_in(&*first, *state).await;
        assert_eq!(stored(&*second, job.id).await, job);
        assert_eq!(second.job(&crate::id::JobKey::Sequence(job.sequence_number)).await.expect("found"), job);
    }
    let held = claimed(&*second).await;
    let line = LogLine { at: at(1), level: "info".into(), text: "line".into() };
    second.append_logs(held.id, 1, vec![line.clone()]).await.expect("accepted");
    assert_eq!(first.logs(held.id).await.expect("answered"), [(1, line)]);
    first.register_node(NodeId::from_u128(1), about("one"), at(0)).await.expect("accepted");
    second.apply_node(NodeId::from_u128(1), NodeCommand::Drain, at(0)).await.expect("accepted");
    assert!(first.node(NodeId::from_u128(1)).await.expect("found").draining);
    let any = JobFilter::default();
    assert_eq!(list(&*first, &any).await, list(&*second, &any).await);
    assert_eq!(lanes(&*first).await, lanes(&*second).await);
    assert_eq!(first.counts().await.expect("answered"), second.counts().await.expect("answered"));
    assert_eq!(first.due(at(999), 99).await.expect("answered"), second.due(at(999), 99).await.expect("answered"));
}

/// Whatever makes a job claimable on one handle is heard on the other, and the job is there then.
pub async fn a_second_handle_wakes(harness: &dyn Harness) {
    let Some((first, second)) = two(harness).await else { return };
    let mut changes = second.changes();
    for round in 0..10_u64 {
        changes.mark_unchanged();
        let held = match round % 3 {
            0 => submit_one(&*first, job()).await.id,
            1 => {
                let failed = job_in(&*first, JobState::Failed).await;
                changes.mark_unchanged();
                must(&*first, failed.id, JobCommand::Retry, at(round)).await.id
            }
            _ => {
                let held = claimed(&*first).await;
                changes.mark_unchanged();
                must(&*first, held.id, release(&held), at(round)).await.id
            }
        };
        let mut given = claim(&*second, 1).await;
        while given.is_empty() {
            let heard = tokio::time::timeout(PATIENCE, changes.changed()).await;
            heard.expect("it is woken").expect("the store lives");
            given = claim(&*second, 1).await;
        }
        assert_eq!(ids(&given), [held], "round {round}");
        must(&*first, held, complete(&given[0]), at(round)).await;
    }
    let seen = changes.borrow_and_update().to_owned();
    submit_one(&*first, job()).await;
    let heard = tokio::time::timeout(PATIENCE, changes.wait_for(|value| *value != seen)).await;
    heard.expect("it is woken although it did not ask").expect("the store lives");
}

/// A node whose master dies goes on with the other one.
pub async fn an_attempt_may_change_hands_at_any_step(harness: &dyn Harness) {
    let Some((first, second)) = two(harness).await else { return };
    for bits in 0..16_u32 {
        let hand = |step: u32| if bits >> step & 1 == 0 { &*first } else { &*second };
        let stored_job = submit_one(hand(0), job()).await;
        let mut given = claim(hand(1), 1).await;
        let begun = std::time::Instant::now();
        while given.is_empty() {
            assert!(begun.elapsed() < PATIENCE, "the job is not seen");
            given = claim(hand(1), 1).await;
        }
        let held = given.remove(0);
        assert_eq!(held.id, stored_job.id);
        must(hand(2), held.id, start(&held), at(1)).await;
        must(hand(3), held.id, progress(&held, 40.0), at(2)).await;
        let frozen = must(hand(2), held.id, JobCommand::Pause, at(3)).await;
        assert_eq!((frozen.progress, frozen.started_at), (40.0, Some(at(1))));
        must(hand(1), held.id, JobCommand::Resume, at(4)).await;
        let done = must(hand(0), held.id, complete(&held), at(5)).await;
        for handle in [&*first, &*second] {
            assert_eq!(stored(handle, held.id).await, done);
            assert_eq!(must(handle, held.id, complete(&held), at(6)).await, done, "the same answer on both");
            assert_eq!(code(apply(handle, held.id, progress(&held, 50.0), at(6)).await), Code::StaleFence);
        }
    }
}

/// Eight callers on either handle empty a queue.
pub async fn two_handles_give_every_job_once(harness: &dyn Harness) {
    let Some((first, second)) = two(harness).await else { return };
    let all: BTreeSet<JobId> = ids(&submit(&*first, jobs(400)).await).into_iter().collect();
    let mut callers = JoinSet::new();
    for node in 1..=16_u128 {
        let store = if node % 2 == 0 { first.clone() } else { second.clone() };
        callers.spawn(async move {
            let mut mine = Vec::new();
            loop {
                let given = store.claim(&order(node, 1 + node as usize % 4), at(0)).await.expect("answered");
                if given.is_empty() {
                    return mine;
                }
                mine.extend(ids(&given));
            }
        });
    }
    let mut given: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    // A caller may have gone while another one's claim was under way.
    given.extend(ids(&claim(&*first, 400).await));
    assert_eq!(given.len(), 400);
    assert_eq!(given.into_iter().collect::<BTreeSet<_>>(), all);
}

/// Whoever claims, on whichever handle.
pub async fn caps_are_exact_across_handles(harness: &dyn Harness) {
    let Some((first, second)) = two(harness).await else { return };
    submit(&*first, (0..200).map(|n| job().tenant(if n % 2 == 0 { "a" } else { "b" })).collect()).await;
    for cap in [1_u32, 5, 9] {
        let mut callers = JoinSet::new();
        for node in 1..=12_u128 {
            let store = if node % 2 == 0 { first.clone() } else { second.clone() };
            let order = ClaimOrder { caps: tenant_cap(cap), ..order(node, 2) };
            callers.spawn(async move {
                let mut mine = Vec::new();
                for _ in 0..3 {
                    mine.extend(store.claim(&order, at(0)).await.expect("answered"));
                }
                mine
            });
        }
        let mut held: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
        held.extend(claim_under(&*first, 99, &tenant_cap(cap)).await);
        for name in ["a", "b"] {
            let of_tenant = held.iter().filter(|job| job.tenant.as_str() == name).count();
            assert_eq!(of_tenant, cap as usize, "tenant {name}");
        }
        for job in held {
            must(&*second, job.id, complete(&job), at(1)).await;
        }
    }
    assert!(lanes(&*first).await.iter().all(|lane| lane.active == 0));
}

/// Idempotency keys hold across handles; numbers never repeat.
pub async fn keys_and_numbers_are_common(harness: &dyn Harness) {
    let Some((first, second)) = two(harness).await else { return };
    let mut callers = JoinSet::new();
    for caller in 0..32 {
        let store = if caller % 2 == 0 { first.clone() } else { second.clone() };
        callers.spawn(async move { try_submit(&*store, vec![job().key("k", "d"), job()]).await.expect("accepted") });
    }
    let answers: Vec<_> = callers.join_all().await.into_iter().flatten().collect();
    assert_eq!(answers.iter().filter(|answer| answer.created).count(), 33);
    let numbers: BTreeSet<_> = answers.iter().map(|answer| answer.job.sequence_number).collect();
    assert_eq!(numbers.len(), 33);
    assert_eq!(code(try_submit(&*second, vec![job().key("k", "e")]).await), Code::IdempotencyMismatch);
    assert_eq!(list(&*second, &JobFilter::default()).await.len(), 33);
}
