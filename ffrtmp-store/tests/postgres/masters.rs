//! Several masters on one database.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use ffrtmp_core::Code;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::JobId;
use ffrtmp_core::job::{JobState, Queue};
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::store::{Caps, ClaimOrder, Idempotency, Lead, NewJob, Store};
use ffrtmp_store::{PostgresOptions, PostgresStore};
use tokio::time::timeout;

use crate::fixture::{apply, complete, database, job, now, order, sql, start, store, submit};

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_wakes_the_claims_of_every_master() {
    let dsn = database().await;
    let (here, there) = (store(&dsn).await, store(&dsn).await);
    for _ in 0..5 {
        assert!(there.claim(&order(1, 8), now()).await.expect("answered").is_empty());
        let mut changes = there.changes();
        changes.mark_unchanged();
        let sent = submit(&*here, job(&[])).await;
        timeout(SOON, changes.changed()).await.expect("in time").expect("open");
        let got = there.claim(&order(1, 8), now()).await.expect("answered");
        assert_eq!(got.iter().map(|job| job.id).collect::<Vec<_>>(), [sent.id]);
        // What another master gave away, this one can start and finish.
        assert_eq!(apply(&*here, sent.id, start(&got[0])).await.expect("its lease").state, JobState::Running);
        assert_eq!(apply(&*there, sent.id, complete(&got[0])).await.expect("its lease").state, JobState::Completed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn masters_claim_different_jobs() {
    let dsn = database().await;
    let masters = [store(&dsn).await, store(&dsn).await, store(&dsn).await];
    let sent: BTreeSet<JobId> = masters[0]
        .submit((0..600).map(|_| job(&[])).collect(), now())
        .await
        .expect("stored")
        .iter()
        .map(|s| s.job.id)
        .collect();
    let claims: Vec<_> = (0..12)
        .map(|node| {
            let store = Arc::clone(&masters[node % 3]);
            tokio::spawn(async move {
                let (mut got, mut dry) = (Vec::new(), 0);
                while dry < 3 {
                    let jobs = store.claim(&order(node as u128 + 1, 7), now()).await.expect("answered");
                    dry = if jobs.is_empty() { dry + 1 } else { 0 };
                    got.extend(jobs.iter().map(|job| job.id));
                }
                got
            })
        })
        .collect();
    let mut given = Vec::new();
    for claim in claims {
        given.extend(claim.await.expect("no panic"));
    }
    // Heads that another master had locked for a moment come back with the next look.
    let deadline = tokio::time::Instant::now() + SOON;
    while given.len() < sent.len() && tokio::time::Instant::now() < deadline {
        let mut changes = masters[0].changes();
        let jobs = masters[0].claim(&order(99, 64), now()).await.expect("answered");
        given.extend(jobs.iter().map(|job| job.id));
        if jobs.is_empty() {
            let _ = timeout(Duration::from_secs(5), changes.changed()).await;
        }
    }
    assert_eq!(given.len(), sent.len());
    assert_eq!(given.into_iter().collect::<BTreeSet<_>>(), sent);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_master_remembers_is_never_taken_for_the_truth() {
    let dsn = database().await;
    let (one, two) = (store(&dsn).await, store(&dsn).await);
    let sent = submit(&*one, job(&[])).await;
    let held = one.claim(&order(1, 1), now()).await.expect("answered").remove(0);
    apply(&*two, sent.id, JobCommand::Cancel).await.expect("canceled");
    let refused = apply(&*one, sent.id, start(&held)).await.expect_err("it is over");
    assert_eq!(refused.code(), Code::StaleFence);
    assert!(refused.message().contains("canceled"), "{refused}");
    apply(&*two, sent.id, JobCommand::Retry).await.expect("a new round");
    let again = two.claim(&order(2, 1), now()).await.expect("answered").remove(0);
    assert_eq!(apply(&*one, sent.id, complete(&held)).await.expect_err("an old fence").code(), Code::StaleFence);
    assert_eq!(apply(&*one, sent.id, complete(&again)).await.expect("its lease").state, JobState::Completed);
    assert_eq!(apply(&*two, sent.id, complete(&again)).await.expect("the same again").state, JobState::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_hold_over_all_masters() {
    let dsn = database().await;
    let masters = [store(&dsn).await, store(&dsn).await];
    masters[0].submit((0..100).map(|_| job(&[])).collect(), now()).await.expect("stored");
    let caps = Caps { queues: [(Queue::Default, 10)].into(), ..Caps::default() };
    let claims: Vec<_> = (0..20)
        .map(|node| {
            let store = Arc::clone(&masters[node % 2]);
            let order = ClaimOrder { caps: caps.clone(), ..order(node as u128 + 1, 3) };
            tokio::spawn(async move { store.claim(&order, now()).await.expect("answered").len() })
        })
        .collect();
    let mut given = 0;
    for claim in claims {
        given += claim.await.expect("no panic");
    }
    assert_eq!(given, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_key_at_two_masters_is_one_job() {
    let dsn = database().await;
    let masters = [store(&dsn).await, store(&dsn).await];
    for round in 0..20 {
        let idempotency = Some(Idempotency { key: format!("k\0{round}"), digest: "d".into() });
        let calls = [0, 1, 0, 1].map(|master| {
            let (store, new) = (Arc::clone(&masters[master]), NewJob { idempotency: idempotency.clone(), ..job(&[]) });
            tokio::spawn(async move { store.submit(vec![new], now()).await.expect("accepted").remove(0) })
        });
        let (mut ids, mut created) = (HashSet::new(), 0);
        for call in calls {
            let submitted = call.await.expect("no panic");
            ids.insert(submitted.job.id);
            created += u32::from(submitted.created);
        }
        assert_eq!((ids.len(), created), (1, 1));
    }
}

/// A job that names one which ends at the same moment is either decided at once or found by
/// whoever ended it.
#[tokio::test(flavor = "multi_thread")]
async fn no_dependent_is_missed() {
    let dsn = database().await;
    let (one, two) = (store(&dsn).await, store(&dsn).await);
    for _ in 0..40 {
        submit(&*one, job(&[])).await;
        let held = one.claim(&order(1, 1), now()).await.expect("answered").remove(0);
        let (id, command) = (held.id, complete(&held));
        let ending = {
            let one = Arc::clone(&one);
            tokio::spawn(async move {
                apply(&*one, id, command).await.expect("finished");
                one.dependents(id).await.expect("answered")
            })
        };
        let dependent = submit(&*two, job(&[id])).await;
        let found = ending.await.expect("no panic");
        match dependent.state {
            JobState::Waiting => {
                assert!(found.iter().any(|job| job.id == dependent.id), "it would wait for ever");
                apply(&*one, dependent.id, JobCommand::Ready).await.expect("ready");
            }
            state => assert_eq!(state, JobState::Queued),
        }
        let mine = one.claim(&order(1, 1), now()).await.expect("answered").remove(0);
        assert_eq!(mine.id, dependent.id);
        apply(&*one, mine.id, complete(&mine)).await.expect("finished");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn exactly_one_master_leads_and_a_dead_one_is_followed() {
    let dsn = database().await;
    let (one, two) = (store(&dsn).await, store(&dsn).await);
    let time = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
    assert_eq!(one.lead(time(1000)).await.expect("answered"), Lead::Leader { newly: true });
    assert_eq!(one.lead(time(2000)).await.expect("answered"), Lead::Leader { newly: false });
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        match two.lead(time(5)).await.expect("answered") {
            Lead::Follower { time: Some(heard) } if heard >= time(2000) => {
                assert!(heard.since(time(2000)) < SOON, "{heard}");
                break;
            }
            Lead::Follower { .. } => assert!(tokio::time::Instant::now() < deadline, "the leader's time is not heard"),
            lead => panic!("{lead:?} beside a leader"),
        }
        tokio::task::yield_now().await;
    }
    // The lock goes with the session, however that ends.
    sql(&dsn, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted").await;
    let deadline = tokio::time::Instant::now() + SOON;
    while two.lead(time(3000)).await.expect("answered") != (Lead::Leader { newly: true }) {
        assert!(tokio::time::Instant::now() < deadline, "nobody takes the lead");
    }
    let demoted = one.lead(time(3001)).await;
    assert!(!matches!(demoted, Ok(Lead::Leader { .. })), "{demoted:?}");
    assert!(matches!(one.lead(time(3002)).await, Ok(Lead::Follower { .. })));
    two.close().await.expect("closed");
    let deadline = tokio::time::Instant::now() + SOON;
    while !matches!(one.lead(time(3003)).await, Ok(Lead::Leader { .. })) {
        assert!(tokio::time::Instant::now() < deadline, "the lead was not given back");
    }
}

/// A leader that stands still keeps its connections, and loses the lead all the same.
#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_fell_silent_is_followed() {
    let dsn = database().await;
    let options = PostgresOptions { silence: Duration::from_millis(300), ..PostgresOptions::default() };
    let one = PostgresStore::connect(&dsn, options).await.expect("it connects");
    let two = store(&dsn).await;
    assert_eq!(one.lead(now()).await.expect("answered"), Lead::Leader { newly: true });
    let deadline = tokio::time::Instant::now() + SOON;
    while two.lead(now()).await.expect("answered") != (Lead::Leader { newly: true }) {
        assert!(tokio::time::Instant::now() < deadline, "a silent leader keeps the lead");
        tokio::task::yield_now().await;
    }
    let woken = one.lead(now()).await;
    assert!(!matches!(woken, Ok(Lead::Leader { .. })), "{woken:?}");
}
