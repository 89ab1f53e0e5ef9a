//! What every [`Transport`] must do, as cases that any implementation and any decorator runs.
//!
//! A harness makes a fresh master and a transport to it; the cases submit through the coordinator
//! and act as an agent through the transport, so that they see what an agent sees.

#![allow(clippy::missing_panics_doc, reason = "a case says what it found by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::coordinator::Coordinator;
use crate::error::{Code, JobError};
use crate::id::{Fence, JobId, NodeId};
use crate::job::{Job, JobReport, JobRequest, JobState};
use crate::node::{NodeStatus, Registration};
use crate::protocol::{
    AttemptStatus, ClaimRequest, DirectiveKind, ErrorText, FinishRequest, Heartbeat, LogLine, ResultStatus,
    StartRequest,
};
use crate::transport::Transport;

/// Makes the masters that a case works on.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A new master without jobs and nodes, and a way to it.
    async fn fresh(&self) -> (Arc<Coordinator>, Arc<dyn Transport>);
}

/// How soon a job must reach an agent that waits for one, on a machine that is busy with tests.
/// The contract's 50 ms are measured by [`wake_latency`].
const WAKE_LIMIT: Duration = Duration::from_millis(500);

/// How soon each of several waiting claims must have its job: before any of them looks again unasked.
const TURN_LIMIT: Duration = Duration::from_millis(1500);

/// Runs every case, one after the other.
pub async fn run_all(harness: &dyn Harness) {
    registers_and_knows_again(harness).await;
    claim_answers_empty_in_time(harness).await;
    claim_is_woken_by_a_submission(harness).await;
    waiting_claims_take_turns(harness).await;
    claim_can_be_repeated(harness).await;
    an_attempt_from_start_to_finish(harness).await;
    heartbeats_carry_orders(harness).await;
    the_last_heartbeat_takes_a_node_out_of_service(harness).await;
    stale_attempts_are_refused(harness).await;
    failures_keep_their_code(harness).await;
    strangers_are_told_to_register(harness).await;
    errors_name_the_field(harness).await;
}

/// A node is new once, keeps its id, and hears how often to report.
pub async fn registers_and_knows_again(harness: &dyn Harness) {
    let (coordinator, transport) = harness.fresh().await;
    let first = transport.register(registration(None)).await.unwrap();
    assert!(first.created && first.lease_ms > 0 && first.heartbeat_interval_ms > 0);
    let again = transport.register(registration(Some(first.node.id))).await.unwrap();
    assert!(!again.created && again.node.id == first.node.id);
    assert_eq!(coordinator.nodes().await.unwrap().len(), 1);
    assert_eq!(again.node.about, first.node.about, "what a node says of itself arrives whole");
}

/// Without work a claim waits as long as it is asked to, and no longer.
pub async fn claim_answers_empty_in_time(harness: &dyn Harness) {
    let (_, transport) = harness.fresh().await;
    let node = register(&*transport).await;
    let started = Instant::now();
    let claimed = transport.claim(claim(node, 1, 200)).await.unwrap();
    let waited = started.elapsed();
    assert!(claimed.jobs.is_empty() && claimed.lease_ms > 0);
    assert!(waited >= Duration::from_millis(200) && waited < Duration::from_secs(5), "{waited:?}");
}

/// A job that is submitted while an agent waits reaches it at once.
pub async fn claim_is_woken_by_a_submission(harness: &dyn Harness) {
    let latency = wake_latency(harness).await;
    assert!(latency < WAKE_LIMIT, "{latency:?}");
}

/// Time from the submission of a job until a waiting claim has it, the median of nine.
pub async fn wake_latency(harness: &dyn Harness) -> Duration {
    let (coordinator, transport) = harness.fresh().await;
    let node = register(&*transport).await;
    let mut latencies = Vec::new();
    for _ in 0..9 {
        let waiting = Arc::clone(&transport);
        let claim = tokio::spawn(async move {
            let claimed = waiting.claim(claim(node, 1, 10_000)).await.unwrap();
            (claimed, Instant::now())
        });
        // Nothing tells that a claim waits, so give it time to: one that comes later finds the job
        // at once, which proves less but fails nothing.
        tokio::time::sleep(Duration::from_millis(30)).await;
        let submitted_at = Instant::now();
        let job = coordinator.submit(request(), None).await.unwrap().job;
        let (claimed, arrived_at) = claim.await.unwrap();
        assert_eq!(claimed.jobs.first().map(|job| job.id), Some(job.id));
        latencies.push(arrived_at.saturating_duration_since(submitted_at));
    }
    latencies.sort_unstable();
    latencies[latencies.len() / 2]
}

/// Of many claims that wait, each gets what its node can run, and none is forgotten behind another.
pub async fn waiting_claims_take_turns(harness: &dyn Harness) {
    let (coordinator, transport) = harness.fresh().await;
    let mut waiting = Vec::new();
    for number in 0..6 {
        // The last in line is the only one on its shelf.
        let shelf = if number == 5 { "top" } else { "bottom" };
        let labels = [("shelf".to_owned(), shelf.to_owned())].into();
        let node = transport.register(Registration { labels, ..registration(None) }).await.unwrap().node.id;
        let transport = Arc::clone(&transport);
        waiting.push(tokio::spawn(async move { transport.claim(claim(node, 1, 20_000)).await.unwrap().jobs }));
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    let on_top = JobRequest { labels: [("node.shelf".to_owned(), "top".to_owned())].into(), ..request() };
    let special = coordinator.submit(on_top, None).await.unwrap().job.id;
    let last = waiting.pop().expect("six wait");
    let got = tokio::time::timeout(TURN_LIMIT, last).await.expect("the one that can run it is called").unwrap();
    assert_eq!(got.iter().map(|job| job.id).collect::<Vec<_>>(), [special]);

    let mut submitted: Vec<_> =
        coordinator.submit_batch(vec![request(); 5]).await.unwrap().iter().map(|job| job.id).collect();
    let mut claimed = Vec::new();
    for claim in waiting {
        let got = tokio::time::timeout(TURN_LIMIT, claim).await.expect("there is a job for each").unwrap();
        assert_eq!(got.len(), 1);
        claimed.push(got[0].id);
    }
    claimed.sort_unstable();
    submitted.sort_unstable();
    assert_eq!(claimed, submitted, "each job went to one claim");
}

/// The same request id gives the same jobs with the same fences, and no job twice.
pub async fn claim_can_be_repeated(harness: &dyn Harness) {
    let (coordinator, transport) = harness.fresh().await;
    let node = register(&*transport).await;
    for _ in 0..3 {
        coordinator.submit(request(), None).await.unwrap();
    }
    let named = ClaimRequest { request_id: Some("first".into()), ..claim(node, 2, 0) };
    let names = |jobs: &[Job]| jobs.iter().map(|job| (job.id, job.fence)).collect::<Vec<_>>();
    let first = transport.claim(named.clone()).await.unwrap();
    let again = transport.claim(named).await.unwrap();
    assert_eq!(first.jobs.len(), 2);
    assert_eq!(names(&first.jobs), names(&again.jobs));
    let rest = transport.claim(claim(node, 2, 0)).await.unwrap();
    assert_eq!(rest.jobs.len(), 1);
    assert!(!names(&first.jobs).contains(&names(&rest.jobs)[0]));
}

/// Claim, start, progress and logs, finish; start and finish said twice are one effect.
pub async fn an_attempt_from_start_to_finish(harness: &dyn Harness) {
    let (coordinator, transport) = harness.fresh().await;
    let (node, job) = claimed(&coordinator, &*transport).await;
    assert_eq!(job.state, JobState::Assigned);
    for _ in 0..2 {
        let started = transport.start(job.id, start(node, job.fence)).await.unwrap();
        assert_eq!(started.state, JobState::Running);
    }
    let beat =
        Heartbeat { attempts: vec![attempt(&job, Some(40.0), "half way\nand \u{1f3ac}")], ..Heartbeat::default() };
    assert!(transport.heartbeat(node, beat).await.unwrap().directives.is_empty());
    assert_eq!(coordinator.job(&job.id.into()).await.unwrap().progress, 40.0);
    assert_eq!(coordinator.logs(&job.id.into()).await.unwrap()[0].1.text, "half way\nand \u{1f3ac}");

    let report = JobReport { frames: 300, size_bytes: u64::from(u32::MAX) * 7, speed: 2.5, ..JobReport::default() };
    let finish = FinishRequest { metrics: Some(report.clone()), ..finish(node, &job, ResultStatus::Completed) };
    let first = transport.finish(finish.clone()).await.unwrap();
    let again = transport.finish(finish).await.unwrap();
    let ended = coordinator.job(&job.id.into()).await.unwrap();
    assert_eq!((first.job_id, first.fence, first.state), (job.id, job.fence, JobState::Completed));
    assert_eq!((ended.state, ended.sla), (JobState::Completed, first.sla.clone()));
    assert_eq!(ended.result.as_deref(), Some(&report));
    assert!(first.sla.is_some() && again == first);
}

/// Cancel, pause and drain reach the node with its next heartbeat.
pub async fn heartbeats_carry_orders(harness: &dyn Harness) {
    let (coordinator, transport) = harness.fresh().await;
    let (node, job) = claimed(&coordinator, &*transport).await;
    transport.start(job.id, start(node, job.fence)).await.unwrap();
    let beat = || Heartbeat { attempts: vec![attempt(&job, None, "")], ..Heartbeat::default() };

    coordinator.pause(&job.id.into()).await.unwrap();
    coordinator.drain(node).await.unwrap();
    let answer = transport.heartbeat(node, beat()).await.unwrap();
    assert_eq!(answer.directives.iter().map(|order| order.directive).collect::<Vec<_>>(), [DirectiveKind::Pause]);
    assert!(answer.drain);

    coordinator.cancel(&job.id.into()).await.unwrap();
    let answer = transport.heartbeat(node, beat()).await.unwrap();
    let order = answer.directives.first().expect("an order to cancel");
    assert_eq!((order.directive, order.job_id, order.fence), (DirectiveKind::Cancel, job.id, job.fence));
}

/// A node that says that it stops is offline at once and gets no jobs, until it is there again.
pub async fn the_last_heartbeat_takes_a_node_out_of_service(harness: &dyn Harness) {
    let (coordinator, transport) = harness.fresh().await;
    let node = register(&*transport).await;
    let status = async || coordinator.node(node).await.unwrap().status;
    transport.heartbeat(node, Heartbeat::default()).await.unwrap();
    assert_eq!(status().await, NodeStatus::Available);
    transport.heartbeat(node, Heartbeat { leaving: true, ..Heartbeat::default() }).await.unwrap();
    assert_eq!(status().await, NodeStatus::Offline);
    let job = coordinator.submit(request(), None).await.unwrap().job;
    let why = coordinator.job(&job.id.into()).await.unwrap().waiting_reason;
    assert!(why.as_ref().is_some_and(|why| why.contains("offline")), "{why:?}");

    transport.register(registration(Some(node))).await.unwrap();
    assert_eq!(status().await, NodeStatus::Available);
    let got = transport.claim(claim(node, 1, 0)).await.unwrap().jobs;
    assert_eq!(got.iter().map(|job| job.id).collect::<Vec<_>>(), [job.id]);
}

/// Who holds an older fence, or none, changes nothing.
pub async fn stale_attempts_are_refused(harness: &dyn Harness) {
    let (coordinator, transport) = harness.fresh().await;
    let (node, first) = claimed(&coordinator, &*transport).await;
    transport.finish(finish(node, &first, ResultStatus::Released)).await.unwrap();
    let second = transport.claim(claim(node, 1, 0)).await.unwrap().jobs.remove(0);
    assert!(second.id == first.id && second.fence > first.fence);

    let late = transport.finish(finish(node, &first, ResultStatus::Completed)).await.unwrap_err();
    assert_eq!(late.code(), Code::StaleFence);
    let stranger = register(&*transport).await;
    for (node, fence) in [(node, first.fence), (stranger, second.fence)] {
        let refused = transport.start(first.id, start(node, fence)).await.unwrap_err();
        assert_eq!(refused.code(), Code::StaleFence);
    }
    assert_eq!(coordinator.job(&first.id.into()).await.unwrap().state, JobState::Assigned);
}

/// An error crosses with its code, and the code decides about a retry.
pub async fn failures_keep_their_code(harness: &dyn Harness) {
    let (coordinator, transport) = harness.fresh().await;
    for (code, state) in [(Code::InputInvalid, JobState::Failed), (Code::DiskFull, JobState::Retrying)] {
        let (node, job) = claimed(&coordinator, &*transport).await;
        transport.start(job.id, start(node, job.fence)).await.unwrap();
        let error: JobError = (&crate::Error::new(code, "it went wrong")).into();
        let finish = FinishRequest { error: Some(ErrorText::Typed(error)), ..finish(node, &job, ResultStatus::Failed) };
        let ended = transport.finish(finish).await.unwrap();
        let job = coordinator.job(&job.id.into()).await.unwrap();
        assert_eq!((ended.state, job.state, job.error.map(|error| error.code)), (state, state, Some(code)));
    }
}

/// A node that the master does not know gets `node_not_found`, which makes an agent register.
pub async fn strangers_are_told_to_register(harness: &dyn Harness) {
    let (_, transport) = harness.fresh().await;
    let stranger = NodeId::random();
    let claim = transport.claim(claim(stranger, 1, 10_000)).await.unwrap_err();
    let beat = transport.heartbeat(stranger, Heartbeat::default()).await.unwrap_err();
    assert_eq!((claim.code(), beat.code()), (Code::NodeNotFound, Code::NodeNotFound));
    let start = transport.start(JobId::random(), start(stranger, Fence(1))).await.unwrap_err();
    assert_eq!(start.code(), Code::JobNotFound);
}

/// What the coordinator says about a wrong value arrives with field and hint.
pub async fn errors_name_the_field(harness: &dyn Harness) {
    let (_, transport) = harness.fresh().await;
    let node = register(&*transport).await;
    for (request, field) in
        [(claim(node, 0, 0), "slots"), (claim(node, 65, 0), "slots"), (claim(node, 1, 60_001), "wait_ms")]
    {
        let error = transport.claim(request).await.unwrap_err();
        assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some(field)));
        assert!(error.hint_text().starts_with("give"), "{}", error.hint_text());
    }
    let nameless = Registration { name: String::new(), ..registration(None) };
    assert_eq!(transport.register(nameless).await.unwrap_err().field_name(), Some("name"));
}

fn registration(id: Option<NodeId>) -> Registration {
    Registration {
        id,
        name: "worker \u{1f3ac} -i".into(),
        node_type: "server".into(),
        cpu_threads: 8,
        ram_total_bytes: u64::from(u32::MAX) * 4,
        labels: [("rack".to_owned(), "b=7".to_owned())].into(),
        max_concurrent_jobs: Some(64),
        ..Registration::default()
    }
}

async fn register(transport: &dyn Transport) -> NodeId {
    transport.register(registration(None)).await.unwrap().node.id
}

fn request() -> JobRequest {
    JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() }
}

/// A node with a job that it has just claimed.
async fn claimed(coordinator: &Coordinator, transport: &dyn Transport) -> (NodeId, Job) {
    let node = register(transport).await;
    let id = coordinator.submit(request(), None).await.unwrap().job.id;
    let mut jobs = transport.claim(claim(node, 1, 0)).await.unwrap().jobs;
    assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [id]);
    (node, jobs.remove(0))
}

fn claim(node_id: NodeId, slots: u32, wait_ms: u64) -> ClaimRequest {
    ClaimRequest { node_id, slots, wait_ms, request_id: None, room: None }
}

fn start(node_id: NodeId, fence: Fence) -> StartRequest {
    StartRequest { node_id, fence }
}

fn attempt(job: &Job, progress: Option<f64>, text: &str) -> AttemptStatus {
    let line = LogLine { at: job.created_at, level: "info".into(), text: text.into() };
    let logs = if text.is_empty() { Vec::new() } else { vec![line] };
    AttemptStatus { job_id: job.id, fence: job.fence, progress, logs, logs_from: None }
}

fn finish(node_id: NodeId, job: &Job, status: ResultStatus) -> FinishRequest {
    FinishRequest {
        job_id: job.id,
        node_id,
        fence: job.fence,
        status,
        metrics: None,
        error: None,
        logs: None,
        logs_from: None,
        completed_at: None,
    }
}
