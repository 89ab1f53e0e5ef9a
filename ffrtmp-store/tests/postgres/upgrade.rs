//! What claims write in columns reads as it was told, and a database of the schema before keeps its
//! jobs.

use ffrtmp_core::Code;
use ffrtmp_core::job::{EngineName, Job, JobState};
use ffrtmp_core::lifecycle::{JobCommand, Outcome};
use ffrtmp_core::store::Store;
use ffrtmp_store::{PostgresOptions, PostgresStore};

use crate::fixture::{apply, complete, database, job, now, order, sql, start, store, submit};

/// Takes away what schema 2 added.
const BACK_TO_1: &str =
    "ALTER TABLE ffrtmp.live DROP COLUMN claimed_at, DROP COLUMN node_name, DROP COLUMN node_before;
    DROP FUNCTION ffrtmp.all_or_none; UPDATE ffrtmp.about SET schema = 1";

fn release(job: &Job) -> JobCommand {
    JobCommand::Finish { lease: job.lease().expect("held"), outcome: Outcome::Released("drained".into()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_reads_at_every_master_as_it_was_told() {
    let dsn = database().await;
    let (one, two) = (store(&dsn).await, store(&dsn).await);
    let id = submit(&*one, job(&[])).await.id;
    for node in 1..=3 {
        // The attempts before were other nodes', which the story does not name twice.
        let held = one.claim(&order(node, 1), now()).await.expect("answered").remove(0);
        assert_eq!(two.job(&id.into()).await.expect("there"), held);
        let running = apply(&*one, id, start(&held)).await.expect("its lease");
        assert_eq!(two.job(&id.into()).await.expect("there"), running);
        let queued = apply(&*two, id, release(&held)).await.expect("its lease");
        assert_eq!(one.job(&id.into()).await.expect("there"), queued);
        assert_eq!(queued.attempts.len() as u128, node);
    }
    // Two lanes: the other way of claiming writes the same.
    let mut other = job(&[]);
    other.requirements.labels.insert("rack".into(), "b".into());
    submit(&*one, other).await;
    let mut both = order(4, 2);
    both.offer.labels.insert("rack".into(), "b".into());
    let held = one.claim(&both, now()).await.expect("answered");
    assert_eq!(held.len(), 2);
    for held in held {
        assert_eq!(two.job(&held.id.into()).await.expect("there"), held);
        apply(&*one, held.id, start(&held)).await.expect("its lease");
        let paused = apply(&*one, held.id, JobCommand::Pause).await.expect("held");
        assert_eq!(two.job(&held.id.into()).await.expect("there"), paused);
    }
    let counts = two.counts().await.expect("counted");
    assert_eq!(counts.by_state, [(JobState::Paused, 2)].into());
    assert!(counts.queued_by_priority.is_empty() && counts.queued_by_queue.is_empty(), "{counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_of_the_schema_before_keeps_its_jobs() {
    let dsn = database().await;
    let first = store(&dsn).await;
    for _ in 0..3 {
        submit(&*first, job(&[])).await;
    }
    let held = first.claim(&order(1, 2), now()).await.expect("answered");
    let ended = apply(&*first, held[0].id, complete(&held[0])).await.expect("its lease");
    // A start that names an engine rewrites the story, as every claim did before.
    let lease = held[1].lease().expect("held");
    let engine = Some((EngineName::Synthetic, "for the test".to_owned()));
    let running = apply(&*first, held[1].id, JobCommand::Start { lease, engine }).await.expect("its lease");
    first.close().await.expect("closed");
    sql(&dsn, BACK_TO_1).await;

    let second = store(&dsn).await;
    assert_eq!(second.job(&ended.id.into()).await.expect("there"), ended);
    assert_eq!(second.job(&running.id.into()).await.expect("there"), running);
    let done = apply(&*second, running.id, complete(&held[1])).await.expect("its lease");
    assert_eq!(done.state, JobState::Completed);
    let last = second.claim(&order(2, 5), now()).await.expect("answered").remove(0);
    assert_eq!(apply(&*second, last.id, complete(&last)).await.expect("its lease").state, JobState::Completed);
    assert_eq!(second.counts().await.expect("counted").by_state, [(JobState::Completed, 3)].into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_of_an_older_version_is_not_pulled_the_rug() {
    let dsn = database().await;
    let old = store(&dsn).await;
    old.lead(now()).await.expect("it leads");
    sql(&dsn, BACK_TO_1).await;
    let options = PostgresOptions { patience: std::time::Duration::from_millis(200), ..PostgresOptions::default() };
    let refused = PostgresStore::connect(&dsn, options.clone()).await.expect_err("it is refused");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(format!("{refused:?}").contains("older version"), "{refused:?}");
    assert_eq!(sql(&dsn, "SELECT schema FROM ffrtmp.about").await.trim(), "1");
    old.close().await.expect("closed");
    PostgresStore::connect(&dsn, options).await.expect("nobody leads any more");
}
