//! Databases, jobs and short calls that the cases share.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, NodeId};
use ffrtmp_core::job::{Job, JobReport, JobRequest};
use ffrtmp_core::lifecycle::{JobCommand, Outcome};
use ffrtmp_core::node::Offer;
use ffrtmp_core::request;
use ffrtmp_core::store::{Caps, ClaimOrder, NewJob, Rank, Store};
use ffrtmp_store::private_server::PrivateServer;
use ffrtmp_store::{PostgresOptions, PostgresStore};

pub(crate) const LEASE: Duration = Duration::from_secs(30);

/// An empty database on the server that all tests share.
pub(crate) async fn database() -> String {
    let make = || PrivateServer::shared().and_then(PrivateServer::new_database);
    tokio::task::spawn_blocking(make).await.expect("no panic").expect("a database")
}

pub(crate) async fn sql(dsn: &str, statement: &str) -> String {
    let (dsn, statement) = (dsn.to_owned(), statement.to_owned());
    let run = move || PrivateServer::shared().and_then(|server| server.sql(&dsn, &statement));
    tokio::task::spawn_blocking(run).await.expect("no panic").expect("the statement runs")
}

pub(crate) async fn store(dsn: &str) -> Arc<PostgresStore> {
    Arc::new(PostgresStore::connect(dsn, PostgresOptions::default()).await.expect("it connects"))
}

pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    Timestamp::from_micros(i64::try_from(since.as_micros()).expect("before 290000"))
}

pub(crate) fn job(after: &[JobId]) -> NewJob {
    let request = JobRequest { scenario: "720p".into(), depends_on: after.to_vec(), ..JobRequest::default() };
    let prepared = request::prepare(request, JobId::random(), 3, now()).expect("a good request");
    NewJob { job: prepared.job, rank: Rank(0), requirements: prepared.requirements, idempotency: None }
}

pub(crate) async fn submit(store: &dyn Store, new: NewJob) -> Job {
    store.submit(vec![new], now()).await.expect("accepted").remove(0).job
}

pub(crate) fn order(node: u128, slots: usize) -> ClaimOrder {
    ClaimOrder {
        node: NodeId::from_u128(node),
        node_name: format!("node-{node}"),
        offer: Offer::default(),
        slots,
        lease: LEASE,
        caps: Caps::default(),
    }
}

pub(crate) fn start(job: &Job) -> JobCommand {
    JobCommand::Start { lease: job.lease().expect("held"), engine: None }
}

pub(crate) fn complete(job: &Job) -> JobCommand {
    let outcome = Outcome::Completed(Box::<JobReport>::default());
    JobCommand::Finish { lease: job.lease().expect("held"), outcome }
}

pub(crate) async fn apply(store: &dyn Store, id: JobId, command: JobCommand) -> ffrtmp_core::Result<Job> {
    store.apply(vec![(id, command)], now()).await?.remove(0)
}
