//! A master over one of the stores, with a clock of the test's own.

use std::sync::Arc;
use std::time::Duration;

use ffrtmp::core::clock::{ManualClock, Timestamp};
use ffrtmp::core::coordinator::{Coordinator, Settings};
use ffrtmp::core::error::{Code, Error};
use ffrtmp::core::id::NodeId;
use ffrtmp::core::job::{Job, JobReport, JobRequest, JobState};
use ffrtmp::core::node::{Registration, Telemetry};
use ffrtmp::core::policy::fifo::PriorityFifo;
use ffrtmp::core::protocol::{
    AttemptStatus, ClaimRequest, DirectiveKind, ErrorText, FinishRequest, Heartbeat, LogLine, LogText, ResultStatus,
    StartRequest,
};
use ffrtmp::core::store::Store;
use ffrtmp::store::private_server::PrivateServer;
use ffrtmp::store::{MemoryStore, PostgresOptions, PostgresStore, SqliteStore};

pub(crate) const SECOND: Duration = Duration::from_secs(1);

/// What a rule is tested over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Memory,
    Sqlite,
    Postgres,
}

/// Makes tests of functions that take a [`Kind`].
macro_rules! over_every_store {
    ($($rule:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test] async fn $rule() { super::$rule(crate::world::Kind::Memory).await; })*
        }
        mod sqlite {
            $(#[tokio::test] async fn $rule() { super::$rule(crate::world::Kind::Sqlite).await; })*
        }
        mod postgres {
            $(#[tokio::test] async fn $rule() { super::$rule(crate::world::Kind::Postgres).await; })*
        }
    };
}
pub(crate) use over_every_store;

pub(crate) struct World {
    pub(crate) master: Arc<Coordinator>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<ManualClock>,
    _home: tempfile::TempDir,
}

impl World {
    pub(crate) async fn new(kind: Kind) -> Self {
        Self::with(kind, Settings::default()).await
    }

    pub(crate) async fn with(kind: Kind, settings: Settings) -> Self {
        let home = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = match kind {
            Kind::Memory => Arc::new(MemoryStore::new()),
            Kind::Sqlite => Arc::new(SqliteStore::open(&home.path().join("master.db")).unwrap()),
            Kind::Postgres => connect(&new_database().await).await,
        };
        let clock = Arc::new(ManualClock::new(start()));
        let master = master(&store, &clock, settings).await;
        Self { master, store, clock, _home: home }
    }

    /// The master dies, and another one starts on what it stored.
    pub(crate) async fn restart(&mut self) {
        self.master = self.another_master().await;
    }

    /// One more master on the same store.
    pub(crate) async fn another_master(&self) -> Arc<Coordinator> {
        master(&self.store, &self.clock, Settings::default()).await
    }

    pub(crate) async fn node(&self, name: &str) -> NodeId {
        let registration = Registration { name: name.into(), max_concurrent_jobs: Some(4), ..Registration::default() };
        self.register(registration).await
    }

    pub(crate) async fn register(&self, registration: Registration) -> NodeId {
        self.master.register(registration).await.unwrap().node.id
    }

    pub(crate) async fn submit(&self, scenario: &str) -> Job {
        self.submit_with(JobRequest { scenario: scenario.into(), ..JobRequest::default() }).await
    }

    pub(crate) async fn submit_with(&self, request: JobRequest) -> Job {
        self.master.submit(request, None).await.unwrap().job
    }

    pub(crate) async fn claim(&self, node: NodeId) -> Vec<Job> {
        self.claim_waiting(node, 0).await
    }

    pub(crate) async fn claim_waiting(&self, node: NodeId, wait_ms: u64) -> Vec<Job> {
        self.master
            .claim(ClaimRequest { node_id: node, slots: 1, wait_ms, request_id: None, room: None })
            .await
            .unwrap()
            .jobs
    }

    pub(crate) async fn running(&self, node: NodeId) -> Job {
        let job = self.claim(node).await.pop().expect("a job to claim");
        self.master.start(job.id, StartRequest { node_id: node, fence: job.fence }).await.unwrap();
        self.job(&job).await
    }

    pub(crate) async fn beat(&self, node: NodeId, jobs: &[&Job], progress: f64) -> Vec<DirectiveKind> {
        let attempts = jobs.iter().map(|job| AttemptStatus { progress: Some(progress), ..status(job, None, &[]) });
        self.report(node, attempts.collect()).await
    }

    pub(crate) async fn report(&self, node: NodeId, attempts: Vec<AttemptStatus>) -> Vec<DirectiveKind> {
        let answer = self.master.heartbeat(node, Heartbeat { attempts, ..Heartbeat::default() }).await.unwrap();
        answer.directives.into_iter().map(|order| order.directive).collect()
    }

    /// The node tells why it takes no jobs, or that it does again.
    pub(crate) async fn hold_back(&self, node: NodeId, why: Option<&str>) {
        let telemetry = Telemetry { held_back: why.map(str::to_owned), ..Telemetry::default() };
        let heartbeat = Heartbeat { telemetry: Some(telemetry), ..Heartbeat::default() };
        self.master.heartbeat(node, heartbeat).await.unwrap();
    }

    pub(crate) async fn finish(&self, node: NodeId, job: &Job, failed_with: Option<Code>) -> ffrtmp::Result<Job> {
        self.master.finish(result(node, job, failed_with)).await?;
        Ok(self.job(job).await)
    }

    pub(crate) async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.master.tick().await.unwrap();
    }

    pub(crate) async fn job(&self, job: &Job) -> Job {
        self.master.job(&job.id.into()).await.unwrap()
    }

    pub(crate) async fn state(&self, job: &Job) -> JobState {
        self.job(job).await.state
    }

    pub(crate) async fn reason(&self, job: &Job) -> String {
        self.job(job).await.waiting_reason.expect("a reason")
    }
}

/// When every test begins.
pub(crate) fn start() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

/// A master that has found its place.
pub(crate) async fn master(store: &Arc<dyn Store>, clock: &Arc<ManualClock>, settings: Settings) -> Arc<Coordinator> {
    let (store, clock) = (Arc::clone(store), Arc::clone(clock));
    let master = Coordinator::new(store, Arc::new(PriorityFifo::default()), clock, settings);
    master.join().await.unwrap();
    master
}

/// A fresh database on the server that all tests share.
pub(crate) async fn new_database() -> String {
    tokio::task::spawn_blocking(|| PrivateServer::shared().and_then(PrivateServer::new_database))
        .await
        .unwrap()
        .unwrap()
}

pub(crate) async fn connect(dsn: &str) -> Arc<dyn Store> {
    Arc::new(PostgresStore::connect(dsn, PostgresOptions::default()).await.unwrap())
}

pub(crate) fn result(node: NodeId, job: &Job, failed_with: Option<Code>) -> FinishRequest {
    let error = failed_with.map(|code| ErrorText::Typed((&Error::new(code, "simulated")).into()));
    let status = if error.is_some() { ResultStatus::Failed } else { ResultStatus::Completed };
    FinishRequest {
        job_id: job.id,
        node_id: node,
        fence: job.fence,
        status,
        metrics: Some(JobReport::default()),
        error,
        logs: None,
        logs_from: None,
        completed_at: None,
    }
}

pub(crate) fn status(job: &Job, logs_from: Option<u64>, texts: &[&str]) -> AttemptStatus {
    AttemptStatus { job_id: job.id, fence: job.fence, progress: None, logs: lines(texts), logs_from }
}

pub(crate) fn log_text(texts: &[&str]) -> Option<LogText> {
    Some(LogText::Lines(lines(texts)))
}

fn lines(texts: &[&str]) -> Vec<LogLine> {
    texts.iter().map(|text| LogLine { at: start(), level: "info".into(), text: (*text).into() }).collect()
}
