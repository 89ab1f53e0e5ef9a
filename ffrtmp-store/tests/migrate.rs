//! Everything moves from store to store: SQLite to PostgreSQL and back, also after the move broke
//! off, and nobody works on a half.

use std::path::Path;
use std::time::Duration;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, NodeId};
use ffrtmp_core::job::{Job, JobReport, JobRequest};
use ffrtmp_core::lifecycle::{JobCommand, Lease, Outcome};
use ffrtmp_core::node::{About, Offer};
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::request;
use ffrtmp_core::store::{Caps, ClaimOrder, Idempotency, NewJob, Rank, Store};
use ffrtmp_core::{Code, Error};
use ffrtmp_store::private_server::PrivateServer;
use ffrtmp_store::transfer::{Portable, Step, migrate};
use ffrtmp_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};
use tempfile::TempDir;

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(1_767_700_000_000_001) + Duration::from_secs(seconds)
}

fn order(slots: usize) -> ClaimOrder {
    ClaimOrder {
        node: NodeId::from_u128(7),
        node_name: "seven".into(),
        offer: Offer::default(),
        slots,
        lease: Duration::from_secs(60),
        caps: Caps::default(),
    }
}

fn draft(number: usize, after: &[JobId]) -> NewJob {
    let labels = [("show".to_owned(), format!("ünïcode {number}"))].into();
    let depends_on = after.to_vec();
    let scenario = if number.is_multiple_of(2) { "720p30-h264" } else { "1080p-vp9-test" };
    let request = JobRequest { scenario: scenario.into(), labels, depends_on, ..JobRequest::default() };
    let prepared = request::prepare(request, JobId::random(), 3, at(number as u64)).expect("a valid request");
    let idempotency = number.is_multiple_of(3).then(|| Idempotency { key: format!("k{number}"), digest: "d".into() });
    NewJob { job: prepared.job, rank: Rank(number as i64), requirements: prepared.requirements, idempotency }
}

async fn one(store: &dyn Store, id: JobId, command: JobCommand) -> Job {
    store.apply(vec![(id, command)], at(900)).await.expect("answered").remove(0).expect("accepted")
}

/// Jobs in every state, with logs, keys, labels and a gap in the numbers.
async fn fill(store: &dyn Store) -> Vec<Job> {
    for number in 0..450 {
        store.submit(vec![draft(number, &[])], at(800)).await.expect("stored");
    }
    let held = store.claim(&order(64), at(801)).await.expect("answered");
    for (turn, job) in held.iter().enumerate() {
        let lease = Lease { node: NodeId::from_u128(7), fence: job.fence };
        let line = |text: &str| LogLine { at: at(turn as u64), level: "info".into(), text: text.into() };
        store.append_logs(job.id, job.attempt, vec![line("first"), line("second\n")]).await.expect("kept");
        let failed = |code| Outcome::Failed((&Error::new(code, "it broke")).into());
        match turn % 7 {
            0 => continue,
            1 => drop(one(store, job.id, JobCommand::Start { lease, engine: None }).await),
            2 => {
                let report = JobReport { size_bytes: 5, ..JobReport::default() };
                let outcome = Outcome::Completed(Box::new(report));
                one(store, job.id, JobCommand::Finish { lease, outcome }).await;
            }
            3 => drop(one(store, job.id, JobCommand::Finish { lease, outcome: failed(Code::Network) }).await),
            4 => drop(one(store, job.id, JobCommand::Finish { lease, outcome: failed(Code::EncodeFailed) }).await),
            5 => drop(one(store, job.id, JobCommand::Cancel).await),
            _ => {
                one(store, job.id, JobCommand::Start { lease, engine: None }).await;
                one(store, job.id, JobCommand::Pause).await;
            }
        }
    }
    store.submit(vec![draft(451, &[held[0].id])], at(802)).await.expect("waits");
    let about = About { name: "seven".into(), ..About::default() };
    store.register_node(NodeId::from_u128(7), about, at(803)).await.expect("kept");
    held
}

async fn postgres() -> (String, PostgresStore) {
    let make = || PrivateServer::shared().and_then(PrivateServer::new_database);
    let dsn = tokio::task::spawn_blocking(make).await.expect("no panic").expect("a database");
    let store = PostgresStore::connect_for_import(&dsn, PostgresOptions::default()).await.expect("it opens");
    (dsn, store)
}

fn target(path: &Path) -> SqliteStore {
    SqliteStore::open_for_import(path, SqliteOptions::default()).expect("it opens")
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_moves_there_and_back() {
    let place = TempDir::new().expect("a directory");
    let first = SqliteStore::open(&place.path().join("first.db")).expect("it opens");
    let held = fill(&first).await;
    let (dsn, second) = postgres().await;
    let moved = migrate(&first, &second, |_| {}).await.expect("moved");
    assert_eq!((moved.jobs, moved.log_lines, moved.nodes), (451, 128, 1));
    second.close().await.expect("closed");
    // Work goes on at the new place: leases hold, keys are known, numbers go on, the order is kept.
    let second = PostgresStore::connect(&dsn, PostgresOptions::default()).await.expect("open to masters");
    let lease = Lease { node: NodeId::from_u128(7), fence: held[0].fence };
    let outcome = Outcome::Completed(Box::default());
    one(&second, held[0].id, JobCommand::Finish { lease, outcome }).await;
    let known = second.submit(vec![draft(0, &[])], at(804)).await.expect("answered").remove(0);
    assert!(!known.created);
    let next = second.submit(vec![draft(452, &[])], at(805)).await.expect("stored").remove(0).job;
    assert_eq!(next.sequence_number, 452);
    assert_eq!(second.claim(&order(1), at(806)).await.expect("answered")[0].sequence_number, 65);
    let third = target(&place.path().join("third.db"));
    let back = migrate(&second, &third, |_| {}).await.expect("moved back");
    assert_eq!(back.jobs, 452);
    let again = migrate(&first, &third, |_| {}).await.expect_err("it is in use");
    assert_eq!((again.code(), again.field_name()), (Code::InvalidField, Some("to")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_move_that_broke_off_goes_on() {
    let place = TempDir::new().expect("a directory");
    let from = SqliteStore::open(&place.path().join("from.db")).expect("it opens");
    fill(&from).await;
    let (dsn, to) = postgres().await;
    // The move ends after its first steps, as a killed one does.
    to.begin_import().await.expect("begun");
    let parcels = from.export(0, 200).await.expect("read");
    to.import(parcels.clone()).await.expect("stored");
    to.import(parcels).await.expect("a step whose answer was lost is done again");
    to.close().await.expect("closed");
    let refused = PostgresStore::connect(&dsn, PostgresOptions::default()).await.expect_err("it is half full");
    assert!(refused.to_string().contains("a move into the database has not ended"), "{refused}");
    let to = PostgresStore::connect_for_import(&dsn, PostgresOptions::default()).await.expect("it opens");
    let mut copied = 0;
    let moved = migrate(&from, &to, |step| {
        if let Step::Copied(jobs) = step {
            copied = jobs;
        }
    });
    assert_eq!(moved.await.expect("moved").jobs, 451);
    assert_eq!(copied, 251, "what was there already is not copied again");
    to.close().await.expect("closed");
    PostgresStore::connect(&dsn, PostgresOptions::default()).await.expect("open to masters");
}
