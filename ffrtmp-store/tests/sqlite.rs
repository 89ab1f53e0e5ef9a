//! What only a SQLite file has: its older versions, its copies, moves in and out of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ffrtmp_core::Code;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, NodeId};
use ffrtmp_core::job::{EngineName, Job, JobRequest, JobState};
use ffrtmp_core::lifecycle::{JobCommand, Outcome};
use ffrtmp_core::node::{Capabilities, Offer};
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::request;
use ffrtmp_core::store::{Caps, ClaimOrder, Idempotency, JobFilter, NewJob, Page, Rank, Store};
use ffrtmp_store::transfer::{Portable, migrate};
use ffrtmp_store::{MemoryStore, SqliteOptions, SqliteStore, backup_sqlite};
use serde::Deserialize;
use tempfile::TempDir;

const PAGE: Page = Page { limit: 500, before: None };

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_767_700_000_123_456) + Duration::from_secs(seconds)
}

fn draft() -> NewJob {
    let request = JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() };
    let prepared = request::prepare(request, JobId::random(), 3, at(0)).expect("a valid request");
    NewJob { job: prepared.job, rank: Rank(0), requirements: prepared.requirements, idempotency: None }
}

fn order(slots: usize) -> ClaimOrder {
    let capabilities =
        Capabilities { engines: vec![EngineName::Ffmpeg, EngineName::Gstreamer], ..Capabilities::default() };
    let labels = BTreeMap::from([("zone".into(), "eu".into())]);
    ClaimOrder {
        node: NodeId::from_u128(1),
        node_name: "node-1".into(),
        offer: Offer { capabilities, labels, ..Offer::default() },
        slots,
        lease: Duration::from_secs(30),
        caps: Caps::default(),
    }
}

/// A job as the version that made the fixture showed it.
#[derive(Deserialize)]
struct Shown {
    job: Job,
    logs: Vec<(u32, LogLine)>,
}

fn assert_same(listed: &[Job], shown: &[Shown]) {
    assert_eq!(listed.len(), shown.len());
    for (listed, shown) in listed.iter().zip(shown) {
        assert_eq!(listed, &shown.job);
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A copy of a database of schema 1 with jobs in every state, and what it held.
fn schema_001(place: &TempDir) -> (PathBuf, Vec<Shown>) {
    let path = place.path().join("master.db");
    fs::copy(fixture("schema-001.sqlite"), &path).expect("copied");
    let shown = fs::read_to_string(fixture("schema-001.json")).expect("readable");
    (path, serde_json::from_str(&shown).expect("jobs"))
}

#[tokio::test]
async fn a_database_of_schema_1_moves_over_whole() {
    let place = TempDir::new().expect("a directory");
    let (path, shown) = schema_001(&place);
    for state in JobState::ALL {
        assert!(shown.iter().any(|shown| shown.job.state == *state), "the fixture has a job that is {state}");
    }
    drop(SqliteStore::open(&path).expect("it is brought up to date"));
    let store = SqliteStore::open(&path).expect("and opens again");
    let listed = store.list_jobs(&JobFilter::default(), PAGE).await.expect("answered");
    assert_same(&listed, &shown);
    for Shown { job, logs } in &shown {
        assert_eq!(&store.logs(job.id).await.expect("answered"), logs);
        let found = store.job(&job.sequence_number.to_string().parse().expect("a key")).await.expect("found");
        assert_eq!(&found, job);
    }
    let with = |key: &str, value: &str| JobFilter { labels: [(key.into(), value.into())].into(), ..Default::default() };
    let team = store.list_jobs(&with("team", "a"), PAGE).await.expect("answered");
    assert_eq!(team.iter().map(|job| job.sequence_number).collect::<Vec<_>>(), [14, 1]);
    let counted: u64 = store.counts().await.expect("answered").by_state.values().sum();
    assert_eq!(counted, shown.len() as u64);
    assert_eq!(store.list_nodes().await.expect("answered").len(), 2);
    assert!(store.node(NodeId::from_u128(2)).await.expect("found").draining);
}

#[tokio::test]
async fn work_goes_on_in_a_database_of_schema_1() {
    let place = TempDir::new().expect("a directory");
    let (path, shown) = schema_001(&place);
    let store = SqliteStore::open(&path).expect("it is brought up to date");
    let of = |state| shown.iter().map(|shown| &shown.job).filter(move |job| job.state == state);
    // A known key is still known, and a purged number is not given again.
    let mut again = draft();
    again.idempotency = Some(Idempotency { key: "upload-1".into(), digest: "d1".into() });
    let known = store.submit(vec![again], at(40)).await.expect("accepted").remove(0);
    assert!(!known.created && known.job.state == JobState::Completed);
    assert_eq!(store.submit(vec![draft()], at(40)).await.expect("accepted")[0].job.sequence_number, 16);
    // What an attempt of before the change says is heard.
    let running = of(JobState::Running).next().expect("one runs");
    let outcome = Outcome::Completed(Box::default());
    let finish = JobCommand::Finish { lease: running.lease().expect("it is held"), outcome };
    let done = store.apply(vec![(running.id, finish)], at(41)).await.expect("answered").remove(0).expect("accepted");
    assert_eq!(done.state, JobState::Completed);
    // Leases and backoffs come due, dependencies are waited for, ranks hold.
    assert_eq!(store.due(at(1_000_000), 10).await.expect("answered").len(), 3);
    let waiting = of(JobState::Waiting).next().expect("one waits");
    assert_eq!(store.dependents(waiting.depends_on[0]).await.expect("answered"), std::slice::from_ref(waiting));
    let claimed = store.claim(&order(9), at(42)).await.expect("answered");
    assert_eq!(claimed.iter().map(|job| job.sequence_number).collect::<Vec<_>>(), [16, 14, 6, 8]);
    assert_eq!(claimed[0].attempts.len(), 1);
}

/// A whole that cannot be moved stays as it is.
#[test]
fn a_damaged_row_of_schema_1_is_refused_and_left_alone() {
    let place = TempDir::new().expect("a directory");
    let (path, _) = schema_001(&place);
    let raw = rusqlite::Connection::open(&path).expect("it opens");
    raw.execute("UPDATE jobs SET document = '{' WHERE sequence = 7", []).expect("changed");
    let before: i64 = raw.query_row("SELECT sum(length(document)) FROM jobs", [], |row| row.get(0)).expect("read");
    let error = SqliteStore::open(&path).expect_err("it is refused");
    assert!(error.code() == Code::Storage && error.message().contains("job 7"), "{error}");
    let after: i64 = raw.query_row("SELECT sum(length(document)) FROM jobs", [], |row| row.get(0)).expect("read");
    assert_eq!(before, after);
}

/// The copy is one moment of a database that goes on changing.
#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_one_moment_of_a_live_database() {
    let place = TempDir::new().expect("a directory");
    let store = std::sync::Arc::new(SqliteStore::open(&place.path().join("master.db")).expect("it opens"));
    for _ in 0..20 {
        store.submit((0..100).map(|_| draft()).collect(), at(0)).await.expect("accepted");
    }
    let writing = {
        let store = store.clone();
        let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(async move {
            while stopped.try_recv().is_err() {
                for job in store.claim(&order(1), at(1)).await.expect("answered") {
                    let outcome = Outcome::Completed(Box::default());
                    let finish = JobCommand::Finish { lease: job.lease().expect("held"), outcome };
                    store.apply(vec![(job.id, finish)], at(2)).await.expect("answered").remove(0).expect("accepted");
                    store.submit(vec![draft()], at(2)).await.expect("accepted");
                }
            }
        });
        (stop, task)
    };
    let copy = place.path().join("copy.db");
    store.backup(&copy).await.expect("copied");
    backup_sqlite(&place.path().join("master.db"), &place.path().join("other.db")).expect("copied by another program");
    writing.0.send(()).expect("it writes");
    writing.1.await.expect("no panic");
    assert_eq!(fs::metadata(&copy).expect("there").permissions().mode() & 0o777, 0o600);
    let error = store.backup(&copy).await.expect_err("an older copy is not overwritten");
    assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("to")));
    let names = fs::read_dir(place.path()).expect("a directory").map(|entry| entry.expect("an entry").file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("unfinished")));
    for copy in [copy, place.path().join("other.db")] {
        let copied = SqliteStore::open(&copy).expect("the copy opens");
        let counts = copied.counts().await.expect("answered").by_state;
        let queued = counts.get(&JobState::Queued).copied().unwrap_or(0);
        let active = counts.get(&JobState::Assigned).copied().unwrap_or(0);
        let ended = counts.get(&JobState::Completed).copied().unwrap_or(0);
        // A job is submitted for each that has ended, one after the other.
        assert!((1999..=2000).contains(&(queued + active)), "{counts:?}");
        assert_eq!(queued + active + ended, counts.values().sum::<u64>());
    }
}

#[test]
fn only_databases_of_ours_are_backed_up() {
    let place = TempDir::new().expect("a directory");
    let (from, to) = (place.path().join("other.db"), place.path().join("copy.db"));
    assert_eq!(backup_sqlite(&from, &to).expect_err("there is none").code(), Code::Storage);
    let other = rusqlite::Connection::open(&from).expect("it opens");
    other.execute_batch("CREATE TABLE t (x)").expect("made");
    assert!(backup_sqlite(&from, &to).expect_err("it is not ours").message().contains("not a database of ffrtmp"));
    assert!(!to.exists());
    assert_eq!(fs::read_dir(place.path()).expect("a directory").count(), 1, "nothing is left behind");
}

/// Everything that a store keeps goes out and in again; in between the target is closed.
#[tokio::test]
async fn everything_moves_in_and_out() {
    let place = TempDir::new().expect("a directory");
    let (path, shown) = schema_001(&place);
    let from = SqliteStore::open(&path).expect("it is brought up to date");
    let middle = MemoryStore::new();
    let out = migrate(&from, &middle, |_| {}).await.expect("moved out");
    assert_eq!(out.jobs, shown.len() as u64);
    let target = place.path().join("target.db");
    let to = SqliteStore::open_for_import(&target, SqliteOptions::default()).expect("it opens");
    to.begin_import().await.expect("empty");
    to.import(middle.export(0, 5).await.expect("answered")).await.expect("accepted");
    drop(to);
    let refused = SqliteStore::open(&target).expect_err("a move has not ended");
    assert!(refused.message().contains("has not ended"), "{refused}");
    let to = SqliteStore::open_for_import(&target, SqliteOptions::default()).expect("it opens");
    assert_eq!(migrate(&middle, &to, |_| {}).await.expect("moved in"), out);
    drop(to);
    let reopened = SqliteStore::open(&target).expect("it is open to masters");
    let listed = reopened.list_jobs(&JobFilter::default(), PAGE).await.expect("answered");
    assert_same(&listed, &shown);
    assert_eq!(reopened.submit(vec![draft()], at(50)).await.expect("accepted")[0].job.sequence_number, 16);
    assert_eq!(reopened.due(at(1_000_000), 10).await.expect("answered").len(), 4);
}
