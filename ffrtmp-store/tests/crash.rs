//! A master that is killed in the middle of its writes: what it was told is stored, is stored.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, NodeId};
use ffrtmp_core::job::{JobRequest, JobState};
use ffrtmp_core::lifecycle::{JobCommand, Lease, Outcome};
use ffrtmp_core::node::Offer;
use ffrtmp_core::request;
use ffrtmp_core::store::{Caps, ClaimOrder, JobFilter, NewJob, Page, Rank, Store};
use ffrtmp_store::SqliteStore;

const DATABASE: &str = "FFRTMP_CRASH_TEST_DB";
const LINES_BEFORE_THE_KILL: usize = 60;

fn now() -> Timestamp {
    Timestamp::from_micros(1_767_700_000_000_000)
}

/// The victim: submits, claims and finishes, and says on its standard output what was answered.
/// It runs only when the other test starts it.
#[tokio::test]
async fn victim() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let store = SqliteStore::open(Path::new(&path)).expect("it opens");
    let order = ClaimOrder {
        node: NodeId::from_u128(1),
        node_name: "victim".into(),
        offer: Offer::default(),
        slots: 1,
        lease: std::time::Duration::from_secs(30),
        caps: Caps::default(),
    };
    let mut output = std::io::stderr().lock();
    loop {
        let request = JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() };
        let prepared = request::prepare(request, JobId::random(), 3, now()).expect("a valid request");
        let new = NewJob { job: prepared.job, rank: Rank(0), requirements: prepared.requirements, idempotency: None };
        let id = store.submit(vec![new], now()).await.expect("stored")[0].job.id;
        writeln!(output, "answered {id} queued").expect("the parent listens");
        let held = store.claim(&order, now()).await.expect("answered").remove(0);
        writeln!(output, "answered {id} assigned").expect("the parent listens");
        let lease = Lease { node: order.node, fence: held.fence };
        let finish = JobCommand::Finish { lease, outcome: Outcome::Completed(Box::default()) };
        store.apply(vec![(id, finish)], now()).await.expect("answered").remove(0).expect("accepted");
        writeln!(output, "answered {id} completed").expect("the parent listens");
    }
}

#[tokio::test]
async fn what_was_answered_before_a_kill_is_kept() {
    let place = tempfile::TempDir::new().expect("a directory");
    let path = place.path().join("master.db");
    let mut told: BTreeMap<JobId, JobState> = BTreeMap::new();
    for round in 0..5 {
        for (id, state) in run_and_kill(&path, LINES_BEFORE_THE_KILL + round) {
            told.insert(id, state);
        }
        let store = SqliteStore::open(&path).expect("the lock of the dead is free and the file undamaged");
        let jobs = store.list_jobs(&JobFilter::default(), Page { limit: 500, before: None }).await.expect("answered");
        for (id, state) in &told {
            let job = jobs.iter().find(|job| job.id == *id).unwrap_or_else(|| panic!("{id} was answered and is lost"));
            assert!(progress(job.state) >= progress(*state), "{id} was {state} and is {}", job.state);
        }
        // At most the one job under way is ahead of what was told.
        assert!(jobs.len() <= told.len() + round + 1, "{} jobs, {} told", jobs.len(), told.len());
        let counted: u64 = store.counts().await.expect("answered").by_state.values().sum();
        assert_eq!(counted, jobs.len() as u64);
        for job in jobs.iter().filter(|job| !job.state.is_final()) {
            store
                .apply(vec![(job.id, JobCommand::Cancel)], now())
                .await
                .expect("answered")
                .remove(0)
                .expect("accepted");
            told.insert(job.id, JobState::Canceled);
        }
        store.close().await.expect("closed");
    }
}

fn progress(state: JobState) -> u8 {
    match state {
        JobState::Queued => 0,
        JobState::Assigned => 1,
        _ => 2,
    }
}

/// Runs the victim until it said `lines` lines, kills it, and returns everything it said.
fn run_and_kill(path: &Path, lines: usize) -> Vec<(JobId, JobState)> {
    let program = std::env::current_exe().expect("this program");
    let mut victim = Command::new(program)
        .args(["--exact", "victim", "--nocapture"])
        .env(DATABASE, path)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut said = BufReader::new(victim.stderr.take().expect("piped")).lines();
    let mut heard: Vec<String> = said.by_ref().take(lines).map(|line| line.expect("a line")).collect();
    victim.kill().expect("it runs");
    victim.wait().expect("it ends");
    heard.extend(said.map_while(Result::ok));
    let told: Vec<_> = heard.iter().filter_map(|line| answer(line)).collect();
    assert!(told.len() >= lines / 2, "{heard:?}");
    told
}

fn answer(line: &str) -> Option<(JobId, JobState)> {
    let mut words = line.strip_prefix("answered ")?.split(' ');
    Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?))
}
