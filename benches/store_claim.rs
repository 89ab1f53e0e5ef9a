//! How fast stores hand out work.
//!
//! First a comparison that is printed as a table: claim and finish through [`SqliteStore`], by one
//! caller and by 64 at once, beside the ceiling that SQLite itself sets, a bare loop of the two
//! statements with the same durability (WAL, `synchronous=FULL`, one commit per call). The
//! contenders take turns in one run, so that they share whatever else the machine does. Then
//! criterion's own figures for submit, claim and finish per store, single and in batches.
//!
//! `cargo bench --bench store_claim`; `TMPDIR` chooses the disk.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput};
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, NodeId};
use ffrtmp_core::job::{Job, JobReport, JobRequest};
use ffrtmp_core::lifecycle::{JobCommand, Lease, Outcome};
use ffrtmp_core::node::Offer;
use ffrtmp_core::request;
use ffrtmp_core::store::{Caps, ClaimOrder, NewJob, Rank, Store};
use ffrtmp_store::{MemoryStore, SqliteStore};
use rusqlite::{Connection, params};
use tempfile::TempDir;
use tokio::runtime::Runtime;

const BATCH: usize = 64;
const CALLERS: usize = 64;

fn main() {
    let runtime = Runtime::new().expect("a runtime");
    // `cargo test --benches` only wants to know that everything runs.
    let is_test = std::env::args().any(|argument| argument == "--test");
    let rounds = if is_test { Rounds { count: 1, single: 4 } } else { Rounds { count: 9, single: 400 } };
    compare(&runtime, rounds);
    let mut criterion = Criterion::default().measurement_time(Duration::from_secs(3)).configure_from_args();
    cycles(&mut criterion, &runtime);
    criterion.final_summary();
}

/// How long the comparison runs.
#[derive(Clone, Copy)]
struct Rounds {
    count: usize,
    /// Jobs per round of one caller; 64 callers take 16 times as many.
    single: usize,
}

/// Jobs claimed and finished per second, median of the rounds, one line per contender.
#[allow(clippy::print_stdout, reason = "a benchmark reports on the terminal")]
fn compare(runtime: &Runtime, rounds: Rounds) {
    let directory = TempDir::new().expect("a directory");
    let raw = Raw::open(&directory.path().join("raw.db"));
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&directory.path().join("store.db")).expect("it opens"));
    let mut figures = [const { Vec::new() }; 3];
    for _ in 0..rounds.count {
        raw.fill(rounds.single);
        figures[0].push(rate(rounds.single, || raw.drain()));
        runtime.block_on(submit(&*store, rounds.single));
        figures[1].push(rate(rounds.single, || runtime.block_on(drain(&*store, 1))));
        let many = rounds.single * 16;
        runtime.block_on(submit(&*store, many));
        figures[2].push(rate(many, || runtime.block_on(drain_together(&store))));
    }
    let [ceiling, one, together] = figures.map(median);
    println!("claim + finish, each committed with fsync, jobs per second:");
    println!("  bare rusqlite loop, one caller   {ceiling:>9.0}");
    println!("  SqliteStore, one caller          {one:>9.0}   {:.2} of the bare loop", one / ceiling);
    println!("  SqliteStore, {CALLERS} callers         {together:>9.0}   {:.2} of the bare loop", together / ceiling);
}

fn rate(jobs: usize, work: impl FnOnce() -> usize) -> f64 {
    let begin = Instant::now();
    assert_eq!(work(), jobs, "every job is claimed once");
    jobs as f64 / begin.elapsed().as_secs_f64()
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// The least that SQLite can do for a claim and a finish.
struct Raw(Connection);

impl Raw {
    fn open(path: &Path) -> Self {
        let connection = Connection::open(path).expect("it opens");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE jobs (sequence INTEGER PRIMARY KEY, state TEXT NOT NULL, rank INTEGER NOT NULL,
                                    fence INTEGER NOT NULL, document TEXT NOT NULL) STRICT;
                 CREATE INDEX claim ON jobs (rank, sequence) WHERE state = 'queued';",
            )
            .expect("a schema");
        Self(connection)
    }

    fn fill(&self, jobs: usize) {
        let document = serde_json::to_string(&draft().job).expect("a document");
        let transaction = self.0.unchecked_transaction().expect("begins");
        let mut insert = transaction
            .prepare_cached("INSERT INTO jobs (state, rank, fence, document) VALUES ('queued', 0, 0, ?1)")
            .expect("prepared");
        for _ in 0..jobs {
            insert.execute([&document]).expect("inserted");
        }
        drop(insert);
        transaction.commit().expect("committed");
    }

    fn drain(&self) -> usize {
        let mut claim = self
            .0
            .prepare_cached(
                "UPDATE jobs SET state = 'assigned', fence = fence + 1
                 WHERE sequence = (SELECT sequence FROM jobs WHERE state = 'queued' ORDER BY rank, sequence LIMIT 1)
                 RETURNING sequence, document",
            )
            .expect("prepared");
        let mut finish = self
            .0
            .prepare_cached("UPDATE jobs SET state = 'completed', document = ?2 WHERE sequence = ?1")
            .expect("prepared");
        let mut drained = 0;
        loop {
            let claimed: Result<(i64, String), _> = claim.query_row([], |row| Ok((row.get(0)?, row.get(1)?)));
            let Ok((sequence, document)) = claimed else { return drained };
            finish.execute(params![sequence, document]).expect("finished");
            drained += 1;
        }
    }
}

fn draft() -> NewJob {
    let request = JobRequest {
        scenario: "720p30-h264".into(),
        input: Some("/srv/media/input.mp4".into()),
        output: Some("/srv/media/output.mp4".into()),
        ..JobRequest::default()
    };
    let prepared = request::prepare(request, JobId::random(), 3, now()).expect("a valid request");
    NewJob { job: prepared.job, rank: Rank(0), requirements: prepared.requirements, idempotency: None }
}

fn now() -> Timestamp {
    Timestamp::from_micros(1_767_700_000_000_000)
}

fn order(slots: usize) -> ClaimOrder {
    ClaimOrder {
        node: NodeId::from_u128(1),
        node_name: "bench".into(),
        offer: Offer::default(),
        slots,
        lease: Duration::from_secs(60),
        caps: Caps::default(),
    }
}

fn finish(job: &Job) -> (JobId, JobCommand) {
    let lease = Lease { node: NodeId::from_u128(1), fence: job.fence };
    (job.id, JobCommand::Finish { lease, outcome: Outcome::Completed(Box::<JobReport>::default()) })
}

async fn submit(store: &dyn Store, jobs: usize) {
    let mut left = jobs;
    while left > 0 {
        let batch = left.min(1000);
        store.submit((0..batch).map(|_| draft()).collect(), now()).await.expect("accepted");
        left -= batch;
    }
}

/// Claims and finishes until the queue is empty, `slots` jobs per call.
async fn drain(store: &dyn Store, slots: usize) -> usize {
    let mut drained = 0;
    loop {
        let claimed = store.claim(&order(slots), now()).await.expect("answered");
        if claimed.is_empty() {
            return drained;
        }
        drained += claimed.len();
        let answers = store.apply(claimed.iter().map(finish).collect(), now()).await.expect("answered");
        assert!(answers.iter().all(Result::is_ok));
    }
}

/// The same by many callers, one job per call each.
async fn drain_together(store: &Arc<dyn Store>) -> usize {
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { drain(&*store, 1).await })
        })
        .collect();
    let mut drained = 0;
    for caller in callers {
        drained += caller.await.expect("no panic");
    }
    drained
}

/// Submit, claim and finish, per store, one job and many per call.
fn cycles(criterion: &mut Criterion, runtime: &Runtime) {
    let directory = TempDir::new().expect("a directory");
    let stores: [(&str, Arc<dyn Store>); 2] = [
        ("memory", Arc::new(MemoryStore::new())),
        ("sqlite", Arc::new(SqliteStore::open(&directory.path().join("cycle.db")).expect("it opens"))),
    ];
    let mut group = criterion.benchmark_group("submit_claim_finish");
    group.sample_size(20);
    for (name, store) in stores {
        for jobs in [1, BATCH] {
            group.throughput(Throughput::Elements(jobs as u64));
            group.bench_function(format!("{name}/{jobs}"), |bencher| {
                bencher.iter(|| {
                    runtime.block_on(async {
                        submit(&*store, jobs).await;
                        assert_eq!(drain(&*store, jobs).await, jobs);
                    });
                });
            });
        }
    }
    group.finish();
}
