//! The server goes away under load and comes back: every job ends exactly once.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ffrtmp_core::error::Disposition;
use ffrtmp_core::id::JobId;
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::store::{Due, JobFilter, Page, Store};
use ffrtmp_core::{Code, Error};
use ffrtmp_store::private_server::{PrivateServer, Shutdown};
use ffrtmp_store::{PostgresOptions, PostgresStore};

use crate::fixture::{LEASE, complete, job, now, order, start};

const JOBS: usize = 600;

/// What the callers saw.
#[derive(Default)]
struct Tally {
    submitted: Mutex<Vec<JobId>>,
    finished: Mutex<HashMap<JobId, u32>>,
    stop: AtomicBool,
}

impl Tally {
    /// Does it again while the database is away.
    async fn insist<T, F: Future<Output = Result<T, Error>>>(&self, what: impl Fn() -> F) -> Result<T, Error> {
        loop {
            match what().await {
                Err(error) if error.disposition() == Disposition::Transient => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                answer => return answer,
            }
        }
    }

    async fn submit_all(&self, store: &PostgresStore) {
        for _ in 0..JOBS / 20 {
            let jobs: Vec<_> = (0..20).map(|_| job(&[])).collect();
            // An id that is stored was stored by the call whose answer was lost.
            match self.insist(|| store.submit(jobs.clone(), now())).await {
                Ok(_) => {}
                Err(error) => assert_eq!(error.field_name(), Some("id"), "{error:?}"),
            }
            self.submitted.lock().unwrap().extend(jobs.iter().map(|new| new.job.id));
        }
    }

    async fn work(&self, store: &PostgresStore, node: u128) {
        while !self.stop.load(Ordering::Relaxed) {
            let order = order(node, 5);
            let held = self.insist(|| store.claim(&order, now())).await.expect("a claim is answered");
            for job in &held {
                self.run(store, job).await;
            }
            if held.is_empty() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    async fn run(&self, store: &PostgresStore, job: &Job) {
        for command in [start(job), complete(job)] {
            let answer = self.insist(|| async { store.apply(vec![(job.id, command.clone())], now()).await?.remove(0) });
            match answer.await {
                Ok(after) if after.state == JobState::Completed => {
                    *self.finished.lock().unwrap().entry(job.id).or_default() += 1;
                }
                Ok(_) => {}
                Err(error) => assert_eq!(error.code(), Code::StaleFence, "{error:?}"),
            }
        }
    }

    /// What a leader does with leases whose claim was never answered.
    async fn reap(&self, store: &PostgresStore) {
        let late = now() + LEASE * 2;
        for due in self.insist(|| store.due(late, 500)).await.expect("answered") {
            let (id, command) = match due {
                Due::LeaseExpired(id, fence) => {
                    let error = (&Error::new(Code::LeaseExpired, "the claim was not answered")).into();
                    (id, JobCommand::Evict { fence, error })
                }
                Due::BackoffOver(id) => (id, JobCommand::Requeue),
            };
            let _ = self.insist(|| store.apply(vec![(id, command.clone())], late)).await.expect("answered");
        }
    }
}

async fn under_load(disturb: impl AsyncFn(&PrivateServer, &str)) {
    let server = tokio::task::spawn_blocking(PrivateServer::start).await.expect("no panic").expect("a server");
    let dsn = server.new_database().expect("a database");
    // Little patience, so that callers see the outage and not only the store.
    let options = PostgresOptions { patience: Duration::from_millis(200), ..PostgresOptions::default() };
    let store = Arc::new(PostgresStore::connect(&dsn, options).await.expect("it connects"));
    let tally = Arc::new(Tally::default());
    let mut tasks = Vec::new();
    for node in 1..=4 {
        let (store, tally) = (Arc::clone(&store), Arc::clone(&tally));
        tasks.push(tokio::spawn(async move { tally.work(&store, node).await }));
    }
    let submitter = {
        let (store, tally) = (Arc::clone(&store), Arc::clone(&tally));
        tokio::spawn(async move { tally.submit_all(&store).await })
    };
    disturb(&server, &dsn).await;
    submitter.await.expect("no panic");
    let completed = JobFilter { states: vec![JobState::Completed], ..JobFilter::default() };
    let deadline = tokio::time::Instant::now() + Duration::from_secs(90);
    loop {
        let done = tally.insist(|| store.counts()).await.expect("answered").by_state.get(&JobState::Completed).copied();
        if done == Some(JOBS as u64) {
            break;
        }
        assert!(tokio::time::Instant::now() < deadline, "{done:?} of {JOBS} completed");
        tokio::time::sleep(Duration::from_millis(100)).await;
        tally.reap(&store).await;
    }
    tally.stop.store(true, Ordering::Relaxed);
    for task in tasks {
        task.await.expect("no panic");
    }
    let (mut ended, mut before) = (Vec::new(), None);
    loop {
        let page = tally.insist(|| store.list_jobs(&completed, Page { limit: 500, before })).await.expect("a page");
        let Some(last) = page.last() else { break };
        before = Some(last.sequence_number);
        ended.extend(page);
    }
    let mut submitted = tally.submitted.lock().unwrap().clone();
    let mut ids: Vec<JobId> = ended.iter().map(|job| job.id).collect();
    submitted.sort_unstable();
    ids.sort_unstable();
    assert_eq!(ids, submitted, "every job is there once");
    for job in &ended {
        let ends = job.state_transitions.iter().filter(|change| change.to == JobState::Completed).count();
        assert_eq!(ends, 1, "{job:?}");
    }
    let finished = tally.finished.lock().unwrap();
    assert_eq!(finished.len(), JOBS, "somebody saw each end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_restarts_twice_loses_nothing() {
    under_load(async |server, _| {
        for shutdown in [Shutdown::Fast, Shutdown::Immediate] {
            tokio::time::sleep(Duration::from_millis(700)).await;
            tokio::task::block_in_place(|| server.restart(shutdown)).expect("it restarts");
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backends_that_are_ended_lose_nothing() {
    under_load(async |server, dsn| {
        let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
                   WHERE application_name = 'ffrtmp' AND pid <> pg_backend_pid()";
        for _ in 0..20 {
            tokio::time::sleep(Duration::from_millis(150)).await;
            tokio::task::block_in_place(|| server.sql(dsn, end)).expect("they end");
        }
    })
    .await;
}
