//! Tests of what only SQLite has: the file, its lock, its versions, its failures, its group commit.
//! What is done to a file behind its master's back is in `file`.

mod file;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffrtmp_core::store::{NewJob, Rank, Store};
use ffrtmp_core::{Code, Error};
use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(TempDir::new().expect("a directory"))
    }

    fn db(&self) -> PathBuf {
        self.0.path().join("master.db")
    }
}

/// A plain queued job whose label weighs `bytes`.
fn heavy(bytes: usize) -> NewJob {
    let template = serde_json::json!({
        "id": JobId::random(), "sequence_number": 0, "state": "queued", "scenario": "720p", "engine": "auto",
        "classification": "production", "queue": "default", "priority": "medium", "parameters": {},
        "resource_limits": {}, "max_retries": 3, "depends_on": [], "labels": { "ballast": "x".repeat(bytes) },
        "attempt": 0, "fence": 0, "retry_count": 0, "progress": 0.0, "created_at": "2026-01-06T11:46:40Z",
        "state_transitions": [],
    });
    let requirements = serde_json::json!({ "engine": "ffmpeg", "video_codec": "h264", "labels": {} });
    NewJob {
        job: serde_json::from_value(template).expect("a job"),
        rank: Rank(0),
        requirements: serde_json::from_value(requirements).expect("requirements"),
        idempotency: None,
    }
}

fn now() -> Timestamp {
    Timestamp::from_micros(1_767_700_000_000_000)
}

fn refusal(path: &Path) -> Error {
    SqliteStore::open(path).expect_err("it is refused")
}

/// The error of opening is `storage`, names the file, and says what to do.
fn assert_names(error: &Error, path: &Path, word: &str) {
    assert_eq!(error.code(), Code::Storage, "{error}");
    let name = path.file_name().expect("a name").to_string_lossy();
    assert!(error.to_string().contains(&*name) && error.to_string().contains(word), "{error}");
    assert!(error.hint_text().contains("--db") || error.hint_text().contains("backup"), "{}", error.hint_text());
}

#[tokio::test]
async fn files_are_private() {
    let place = Place::new();
    let store = SqliteStore::open(&place.db()).expect("it opens");
    store.submit(vec![heavy(10)], now()).await.expect("accepted");
    let mut seen = 0;
    for entry in fs::read_dir(place.0.path()).expect("a directory") {
        let entry = entry.expect("an entry");
        assert_eq!(entry.metadata().expect("metadata").permissions().mode() & 0o777, 0o600, "{entry:?}");
        seen += 1;
    }
    assert!(seen >= 3, "database, log and lock");
}

#[tokio::test]
async fn a_second_master_is_refused_until_the_first_is_gone() {
    let place = Place::new();
    let first = SqliteStore::open(&place.db()).expect("it opens");
    let error = refusal(&place.db());
    assert_names(&error, &place.db(), "in use");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
    let other_name = place.0.path().join("link.db");
    std::os::unix::fs::symlink(place.db(), &other_name).expect("a link");
    assert_eq!(refusal(&other_name).code(), Code::Storage);
    first.close().await.expect("closed");
    drop(SqliteStore::open(&place.db()).expect("free after close"));
    SqliteStore::open(&place.db()).expect("free after drop");
}

#[test]
fn foreign_files_are_refused_and_left_alone() {
    let place = Place::new();
    let text = place.0.path().join("notes.db");
    let content = "not a database at all, but long enough to look at: ".repeat(100);
    fs::write(&text, &content).expect("written");
    assert_names(&refusal(&text), &text, "not a SQLite database");
    assert_eq!(fs::read_to_string(&text).expect("readable"), content);

    let other = place.0.path().join("other.db");
    Connection::open(&other)
        .and_then(|c| c.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)"))
        .expect("made");
    let before = fs::read(&other).expect("readable");
    assert_names(&refusal(&other), &other, "another program");
    assert_eq!(fs::read(&other).expect("readable"), before);

    assert_names(&refusal(place.0.path()), place.0.path(), "not a regular file");
    let missing = place.0.path().join("no/such/dir/master.db");
    let error = refusal(&missing);
    assert_names(&error, &missing, "cannot be opened");
    assert!(error.hint_text().contains("create the directory"), "{}", error.hint_text());
}

#[test]
fn a_newer_database_is_refused_and_left_alone() {
    let place = Place::new();
    drop(SqliteStore::open(&place.db()).expect("it opens"));
    Connection::open(place.db()).and_then(|c| c.pragma_update(None, "user_version", 99)).expect("set");
    let error = refusal(&place.db());
    assert!(error.to_string().contains("newer ffrtmp (schema 99"), "{error}");
    assert!(error.hint_text().contains("upgrade"), "{}", error.hint_text());
}

#[tokio::test]
async fn a_damaged_database_is_refused() {
    let place = Place::new();
    let store = SqliteStore::open(&place.db()).expect("it opens");
    for _ in 0..20 {
        store.submit((0..10).map(|_| heavy(500)).collect(), now()).await.expect("accepted");
    }
    drop(store);
    let mut bytes = fs::read(place.db()).expect("readable");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 20_000].fill(0x5a);
    fs::write(place.db(), bytes).expect("written");
    assert_names(&refusal(&place.db()), &place.db(), "damaged");
}

#[tokio::test]
async fn an_empty_file_and_an_empty_path_are_new_databases() {
    let place = Place::new();
    fs::write(place.db(), "").expect("written");
    SqliteStore::open(&place.db()).expect("it opens").check().await.expect("healthy");
    SqliteStore::open(Path::new("")).expect("it opens").check().await.expect("healthy");
}

/// Makes the database as good as full; returns how to give it room again.
async fn limit_pages(store: &SqliteStore, spare: u32) {
    let set = move |database: &mut Database| {
        let pages: u32 = database.connection.pragma_query_value(None, "page_count", |row| row.get(0))?;
        database.connection.pragma_update_and_check(None, "max_page_count", pages + spare, |_| Ok(()))?;
        Ok(())
    };
    store.write("test", set).await.expect("set");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_is_transient_and_tears_nothing() {
    let place = Place::new();
    let store = Arc::new(SqliteStore::open(&place.db()).expect("it opens"));
    store.submit(vec![heavy(10)], now()).await.expect("accepted");
    limit_pages(&store, 8).await;
    let calls: Vec<_> = (0..32)
        .map(|n| {
            let store = store.clone();
            // Every second batch is too large for the rest of the disk.
            let batch = (0..4).map(|_| heavy(if n % 2 == 0 { 1 } else { 20_000 })).collect();
            tokio::spawn(async move { store.submit(batch, now()).await })
        })
        .collect();
    let mut expected = 1;
    let mut full = 0;
    for call in calls {
        match call.await.expect("no panic") {
            Ok(stored) => expected += stored.len() as u64,
            Err(error) => {
                assert!(matches!(error.code(), Code::DiskFull | Code::Storage), "{error}");
                full += u64::from(error.code() == Code::DiskFull);
            }
        }
    }
    assert!(full > 0);
    let counts = store.counts().await.expect("answered");
    assert_eq!(counts.by_state.values().sum::<u64>(), expected);
    limit_pages(&store, 1_000_000).await;
    store.submit((0..4).map(|_| heavy(20_000)).collect(), now()).await.expect("room again");
    store.close().await.expect("closed");
    let reopened = SqliteStore::open(&place.db()).expect("undamaged");
    assert_eq!(reopened.counts().await.expect("answered").by_state.values().sum::<u64>(), expected + 4);
}

/// What is remembered stays what is stored, whichever step the disk refuses.
#[tokio::test]
async fn a_full_disk_refuses_any_step_and_the_store_goes_on() {
    use ffrtmp_core::job::{JobReport, JobState};
    use ffrtmp_core::lifecycle::{Lease, Outcome};
    let place = Place::new();
    let store = SqliteStore::open(&place.db()).expect("it opens");
    store.submit((0..300).map(|_| heavy(10)).collect(), now()).await.expect("accepted");
    let order = ClaimOrder {
        node: NodeId::from_u128(1),
        node_name: "n".repeat(200),
        offer: ffrtmp_core::node::Offer::default(),
        slots: 20,
        lease: std::time::Duration::from_secs(30),
        caps: ffrtmp_core::store::Caps::default(),
    };
    let (mut full, mut ended) = (0, 0);
    let mut held: Vec<Job> = Vec::new();
    for round in 0..200 {
        limit_pages(&store, round % 12).await;
        match store.claim(&order, now()).await {
            Ok(jobs) => held.extend(jobs),
            Err(error) => {
                assert_eq!(error.code(), Code::DiskFull, "{error}");
                full += 1;
            }
        }
        let report = JobReport { warnings: vec!["w".repeat(3000)], ..JobReport::default() };
        let finish = |job: &Job| {
            let lease = Lease { node: order.node, fence: job.fence };
            (job.id, JobCommand::Finish { lease, outcome: Outcome::Completed(Box::new(report.clone())) })
        };
        let mut answers = store.apply(held.iter().map(finish).collect(), now()).await;
        if let Err(error) = &answers {
            assert_eq!(error.code(), Code::DiskFull, "{error}");
            full += 1;
            limit_pages(&store, 1_000).await;
            answers = store.apply(held.iter().map(finish).collect(), now()).await;
        }
        let answers = answers.expect("there is room again");
        assert!(answers.iter().all(Result::is_ok), "a refused finish is as if it was never sent");
        ended += held.drain(..).len() as u64;
        let counts = store.counts().await.expect("answered").by_state;
        let count = |state| counts.get(&state).copied().unwrap_or(0);
        assert_eq!((count(JobState::Completed), count(JobState::Assigned)), (ended, held.len() as u64));
    }
    assert!(full > 1 && ended == 300, "{full} refused, {ended} ended");
    assert!(store.lanes().await.expect("answered").is_empty());
    store.close().await.expect("closed");
    let reopened = SqliteStore::open(&place.db()).expect("undamaged");
    assert_eq!(reopened.counts().await.expect("answered").by_state.get(&JobState::Completed), Some(&300));
}

/// Words of one batch about the same jobs: what is written later is written before it is read.
#[tokio::test]
async fn a_batch_leaves_the_file_as_it_was_answered() {
    use ffrtmp_core::job::JobState;
    use ffrtmp_core::lifecycle::{Lease, Outcome};
    let place = Place::new();
    let store = SqliteStore::open(&place.db()).expect("it opens");
    store.submit((0..6).map(|_| heavy(10)).collect(), now()).await.expect("accepted");
    let order = ClaimOrder {
        node: NodeId::from_u128(1),
        node_name: "n".into(),
        offer: ffrtmp_core::node::Offer::default(),
        slots: 6,
        lease: std::time::Duration::from_secs(30),
        caps: ffrtmp_core::store::Caps::default(),
    };
    let jobs = store.claim(&order, now()).await.expect("claimed");
    let lease = |job: usize| Lease { node: order.node, fence: jobs[job].fence };
    let start = |job: usize| (jobs[job].id, JobCommand::Start { lease: lease(job), engine: None });
    let sign = |job: usize| {
        let renew_for = std::time::Duration::from_secs(60);
        (jobs[job].id, JobCommand::Progress { lease: lease(job), percent: Some(50.0), renew_for })
    };
    let finish = |job: usize| {
        let outcome = Outcome::Completed(Box::default());
        (jobs[job].id, JobCommand::Finish { lease: lease(job), outcome })
    };
    let person = |job: usize, command| (jobs[job].id, command);
    let batch = vec![
        start(0),
        start(1),
        start(2),
        start(4),
        sign(4),
        start(3),
        finish(1),
        finish(1),
        finish(2),
        person(0, JobCommand::Cancel),
        person(0, JobCommand::Retry),
        person(3, JobCommand::Pause),
        sign(4),
        finish(5),
    ];
    let ids: Vec<JobId> = batch.iter().map(|(id, _)| *id).collect();
    let answers = store.apply(batch, now()).await.expect("applied");
    let told: BTreeMap<JobId, Job> =
        ids.into_iter().zip(answers.into_iter().map(|answer| answer.expect("no refusal"))).collect();
    let states: Vec<JobState> = jobs.iter().map(|job| told[&job.id].state).collect();
    let (ended, active) = (JobState::Completed, JobState::Running);
    assert_eq!(states, [JobState::Queued, ended, ended, JobState::Paused, active, ended]);
    store.close().await.expect("closed");
    let reopened = SqliteStore::open(&place.db()).expect("undamaged");
    for (id, job) in told {
        assert_eq!(reopened.job(&id.into()).await.expect("there"), job);
    }
    assert_eq!(reopened.claim(&order, now()).await.expect("claimed").len(), 1, "the one that is tried again");
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_calls_share_a_commit() {
    let place = Place::new();
    let store = Arc::new(SqliteStore::open(&place.db()).expect("it opens"));
    let (open, gate) = std::sync::mpsc::channel::<()>();
    let (inside, entered) = tokio::sync::oneshot::channel::<()>();
    let holder = {
        let store = store.clone();
        let hold = move |_: &mut Database| {
            let _ = inside.send(());
            gate.recv().map_err(|_| rusqlite::Error::InvalidQuery.into())
        };
        tokio::spawn(async move { store.write("test", hold).await })
    };
    entered.await.expect("the writer is held");
    let mut changes = store.changes();
    let calls: Vec<_> = (0..100)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.submit(vec![heavy(10)], now()).await.expect("accepted") })
        })
        .collect();
    let queue = store.orders().expect("open");
    while queue.max_capacity() - queue.capacity() < 100 {
        tokio::task::yield_now().await;
    }
    let before = *changes.borrow_and_update();
    open.send(()).expect("the writer waits");
    holder.await.expect("no panic").expect("held");
    for call in calls {
        call.await.expect("no panic");
    }
    assert_eq!(*changes.borrow_and_update() - before, 1, "one commit for all of them");
    drop(queue);
}

/// A foreign program that only reads, or that writes for a moment, is survived.
#[tokio::test(flavor = "multi_thread")]
async fn another_program_may_look() {
    let place = Place::new();
    let store = SqliteStore::open(&place.db()).expect("it opens");
    store.submit(vec![heavy(10)], now()).await.expect("accepted");
    let visitor = Connection::open(place.db()).expect("it opens");
    let reading = visitor.unchecked_transaction().expect("begins");
    let count =
        |c: &Connection| c.query_row("SELECT count(*) FROM jobs", [], |row| row.get::<_, i64>(0)).expect("read");
    assert_eq!(count(&reading), 1);
    store.submit(vec![heavy(10)], now()).await.expect("a reader does not stop the writer");
    assert_eq!(count(&reading), 1, "a reader sees its own moment");
    drop(reading);
    assert_eq!(count(&visitor), 2);
}

/// A page of a list is a walk of one index, whatever leads it.
#[tokio::test]
async fn lists_walk_an_index() {
    use ffrtmp_core::job::{JobState, Queue};
    let store = SqliteStore::in_memory().expect("it opens");
    let mut labelled = heavy(10);
    labelled.job.tenant = "acme".parse().expect("a tenant");
    store.submit(vec![labelled, heavy(10)], now()).await.expect("accepted");
    let canceled = store.submit(vec![heavy(10)], now()).await.expect("accepted").remove(0).job.id;
    store.apply(vec![(canceled, JobCommand::Cancel)], now()).await.expect("answered").remove(0).expect("accepted");
    let filters = [
        (JobFilter::default(), "SEARCH jobs USING INTEGER PRIMARY KEY"),
        (JobFilter { tenant: Some("acme".parse().expect("a tenant")), ..JobFilter::default() }, "jobs_tenant"),
        (JobFilter { scenario: Some("720p".into()), ..JobFilter::default() }, "jobs_scenario"),
        (
            JobFilter { labels: [("ballast".into(), "xxxxxxxxxx".into())].into(), ..JobFilter::default() },
            "SEARCH labels",
        ),
        (JobFilter { node_id: Some(NodeId::from_u128(1)), ..JobFilter::default() }, "ended_node"),
        (JobFilter { states: vec![JobState::Canceled], ..JobFilter::default() }, "ended_facet"),
        (JobFilter { queue: Some(Queue::Default), ..JobFilter::default() }, "pending_facet"),
    ];
    for (filter, index) in filters {
        let explain = move |database: &mut Database| list::plans(&database.connection, &filter);
        let plans = store.write("test", explain).await.expect("explained");
        assert!(plans.iter().any(|plan| plan.contains(index)), "{index}: {plans:?}");
        for plan in plans {
            assert!(
                !plan.contains("TEMP B-TREE") && (plan.contains("SEARCH") || plan.contains("SCAN active")),
                "{plan}"
            );
        }
    }
}
