//! The rules of a master by simulated time: leases, lost nodes, retries, time limits, dependencies,
//! waiting claims. Memory store and a clock that moves when told to.

use std::sync::Arc;
use std::time::Duration;

use ffrtmp::core::clock::{ManualClock, Timestamp};
use ffrtmp::core::coordinator::{Coordinator, Settings, Unrunnable};
use ffrtmp::core::error::{Code, Error};
use ffrtmp::core::id::NodeId;
use ffrtmp::core::job::{EngineName, Job, JobReport, JobRequest, JobState, Queue};
use ffrtmp::core::node::{Capabilities, NodeStatus, Registration};
use ffrtmp::core::policy::fifo::PriorityFifo;
use ffrtmp::core::protocol::{
    AttemptStatus, ClaimRequest, DirectiveKind, ErrorText, FinishRequest, Heartbeat, LogText, ResultStatus,
    StartRequest,
};
use ffrtmp::store::MemoryStore;

struct World {
    master: Arc<Coordinator>,
    store: Arc<MemoryStore>,
    clock: Arc<ManualClock>,
}

impl World {
    fn new() -> Self {
        Self::with(Settings::default())
    }

    fn with(settings: Settings) -> Self {
        let clock = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
        let store = Arc::new(MemoryStore::new());
        let master = Coordinator::new(store.clone(), Arc::new(PriorityFifo::default()), clock.clone(), settings);
        Self { master, store, clock }
    }

    /// The master dies, and another one starts on what it stored.
    async fn restart(&mut self) {
        let (store, clock) = (self.store.clone(), self.clock.clone());
        self.master = Coordinator::new(store, Arc::new(PriorityFifo::default()), clock, Settings::default());
        self.master.join().await.unwrap();
    }

    async fn node(&self, name: &str) -> NodeId {
        let registration = Registration { name: name.into(), max_concurrent_jobs: Some(4), ..Registration::default() };
        self.master.register(registration).await.unwrap().node.id
    }

    async fn submit(&self, scenario: &str) -> Job {
        self.submit_with(JobRequest { scenario: scenario.into(), ..JobRequest::default() }).await
    }

    async fn submit_with(&self, request: JobRequest) -> Job {
        self.master.submit(request, None).await.unwrap().job
    }

    async fn claim(&self, node: NodeId) -> Vec<Job> {
        self.claim_waiting(node, 0).await
    }

    async fn claim_waiting(&self, node: NodeId, wait_ms: u64) -> Vec<Job> {
        self.master.claim(ClaimRequest { node_id: node, slots: 1, wait_ms, request_id: None }).await.unwrap().jobs
    }

    async fn running(&self, node: NodeId) -> Job {
        let job = self.claim(node).await.pop().expect("a job to claim");
        self.master.start(job.id, StartRequest { node_id: node, fence: job.fence }).await.unwrap()
    }

    async fn beat(&self, node: NodeId, jobs: &[&Job], progress: f64) -> Vec<DirectiveKind> {
        let attempts = jobs.iter().map(|job| AttemptStatus {
            job_id: job.id,
            fence: job.fence,
            progress: Some(progress),
            logs: Vec::new(),
            logs_from: None,
        });
        let heartbeat = Heartbeat { telemetry: None, attempts: attempts.collect() };
        let answer = self.master.heartbeat(node, heartbeat).await.unwrap();
        answer.directives.into_iter().map(|order| order.directive).collect()
    }

    async fn finish(&self, node: NodeId, job: &Job, failed_with: Option<Code>) -> ffrtmp::Result<Job> {
        let error = failed_with.map(|code| ErrorText::Typed((&Error::new(code, "simulated")).into()));
        let status = if error.is_some() { ResultStatus::Failed } else { ResultStatus::Completed };
        let request = FinishRequest {
            job_id: job.id,
            node_id: node,
            fence: job.fence,
            status,
            metrics: Some(JobReport::default()),
            error,
            logs: None,
            logs_from: None,
            completed_at: None,
        };
        self.master.finish(request).await
    }

    async fn pass(&self, time: Duration) {
        self.clock.advance(time);
        self.master.tick().await.unwrap();
    }

    async fn state(&self, job: &Job) -> JobState {
        self.master.job(&job.id.into()).await.unwrap().state
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_lease_holds_while_it_is_renewed_and_no_longer() {
    let world = World::new();
    let (node, other) = (world.node("a").await, world.node("b").await);
    world.submit("720p30-h264").await;
    let job = world.running(node).await;
    for n in 0..10 {
        world.pass(SECOND * 60).await;
        world.beat(other, &[], 0.0).await;
        assert!(world.beat(node, &[&job], f64::from(n)).await.is_empty());
        assert_eq!(world.state(&job).await, JobState::Running);
    }
    world.pass(SECOND * 91).await;
    let lost = world.master.job(&job.id.into()).await.unwrap();
    assert_eq!((lost.state, lost.retry_count), (JobState::Retrying, 1));
    world.pass(SECOND * 2).await;
    let second = world.claim(other).await.pop().expect("queued again after the backoff");
    assert_eq!((second.id, second.fence, second.attempt), (job.id, job.fence.next(), 2));
    assert_eq!(world.beat(node, &[&job], 50.0).await, [DirectiveKind::Cancel], "the first node is told to stop");
    assert_eq!(world.finish(node, &job, None).await.unwrap_err().code(), Code::StaleFence);
    assert_eq!(world.finish(other, &second, None).await.unwrap().state, JobState::Completed);
    assert_eq!(
        world.finish(other, &second, None).await.unwrap().state,
        JobState::Completed,
        "said twice, answered twice"
    );
}

#[tokio::test]
async fn a_lost_node_gives_its_jobs_back_and_may_return() {
    let world = World::new();
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    let job = world.running(node).await;
    world.pass(SECOND * 95).await;
    assert_eq!(world.master.node(node).await.unwrap().status, NodeStatus::Offline);
    assert!(matches!(world.state(&job).await, JobState::Retrying | JobState::Queued));
    world.pass(SECOND * 2).await;
    assert_eq!(world.claim(node).await.len(), 1, "asking for work is a sign of life");
    assert_ne!(world.master.node(node).await.unwrap().status, NodeStatus::Offline);
}

#[tokio::test]
async fn only_transient_failures_are_tried_again_and_not_for_ever() {
    let world = World::new();
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    let job = world.running(node).await;
    let ended = world.finish(node, &job, Some(Code::InputInvalid)).await.unwrap();
    assert_eq!((ended.state, ended.retry_count), (JobState::Failed, 0));

    let job = world.submit("720p30-h264").await;
    for attempt in 1..=4 {
        let running = world.running(node).await;
        assert_eq!((running.id, running.attempt), (job.id, attempt));
        world.finish(node, &running, Some(Code::DiskFull)).await.unwrap();
        assert!(world.claim(node).await.is_empty(), "the backoff is not over");
        world.clock.advance(SECOND * 61);
        world.beat(node, &[], 0.0).await;
        world.master.tick().await.unwrap();
    }
    let ended = world.master.job(&job.id.into()).await.unwrap();
    assert_eq!((ended.state, ended.retry_count, ended.error.unwrap().code), (JobState::Failed, 3, Code::DiskFull));
    let again = world.master.retry(&job.id.into()).await.unwrap();
    assert_eq!((again.state, again.retry_count), (JobState::Queued, 0));
}

#[tokio::test]
async fn overlong_and_stalled_attempts_end() {
    let world = World::new();
    let node = world.node("a").await;
    for (queue, quiet, limit) in
        [(Queue::Default, 31 * 60, 36_000), (Queue::Live, 6 * 60, 36_000), (Queue::Default, 40, 5)]
    {
        let mut request = JobRequest { scenario: "720p30-h264".into(), queue: Some(queue), ..JobRequest::default() };
        request.resource_limits.timeout_sec = Some(limit);
        world.submit_with(request).await;
        let job = world.running(node).await;
        let mut passed = 0;
        while passed < quiet && world.state(&job).await == JobState::Running {
            world.clock.advance(SECOND * 20);
            passed += 20;
            // Alive, but no further than before.
            world.beat(node, &[&job], 0.0).await;
            world.master.tick().await.unwrap();
        }
        let ended = world.master.job(&job.id.into()).await.unwrap();
        assert_eq!(
            (ended.state, ended.error.map(|error| error.code)),
            (JobState::Failed, Some(Code::Timeout)),
            "{queue}"
        );
        assert_eq!(world.beat(node, &[&job], 0.0).await, [DirectiveKind::Cancel]);
    }
}

#[tokio::test]
async fn a_paused_attempt_keeps_its_lease_and_goes_on() {
    let world = World::new();
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    let job = world.running(node).await;
    world.master.pause(&job.id.into()).await.unwrap();
    assert_eq!(world.beat(node, &[&job], 10.0).await, [DirectiveKind::Pause]);
    for _ in 0..120 {
        world.clock.advance(SECOND * 60);
        world.beat(node, &[&job], 10.0).await;
        world.master.tick().await.unwrap();
    }
    assert_eq!(world.state(&job).await, JobState::Paused, "time that it stands still does not count");
    world.master.resume(&job.id.into()).await.unwrap();
    assert_eq!(world.beat(node, &[&job], 10.0).await, [DirectiveKind::Resume]);
    assert_eq!(world.finish(node, &job, None).await.unwrap().state, JobState::Completed);
}

#[tokio::test]
async fn dependents_follow_what_they_wait_for() {
    let world = World::new();
    let node = world.node("a").await;
    let first = world.submit("720p30-h264").await;
    let depends_on = vec![first.id];
    let second =
        world.submit_with(JobRequest { scenario: "480p-vp9".into(), depends_on, ..JobRequest::default() }).await;
    let depends_on = vec![second.id];
    let third =
        world.submit_with(JobRequest { scenario: "360p-av1".into(), depends_on, ..JobRequest::default() }).await;
    assert_eq!(second.state, JobState::Waiting);
    let running = world.running(node).await;
    assert_eq!(running.id, first.id);
    world.finish(node, &running, None).await.unwrap();
    let running = world.running(node).await;
    assert_eq!(running.id, second.id);
    world.finish(node, &running, Some(Code::EncodeFailed)).await.unwrap();
    let third = world.master.job(&third.id.into()).await.unwrap();
    assert_eq!((third.state, third.error.unwrap().code), (JobState::Failed, Code::DependencyFailed));
}

#[tokio::test]
async fn a_waiting_claim_wakes_when_work_arrives() {
    let world = Arc::new(World::new());
    let node = world.node("a").await;
    let waiting = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.claim_waiting(node, 20_000).await }
    });
    tokio::task::yield_now().await;
    let job = world.submit("720p30-h264").await;
    let claimed = tokio::time::timeout(SECOND * 5, waiting).await.expect("woken").unwrap();
    assert_eq!(claimed.first().map(|job| job.id), Some(job.id));

    let waiting = tokio::spawn({
        let world = Arc::clone(&world);
        async move { world.claim_waiting(node, 20_000).await }
    });
    tokio::task::yield_now().await;
    world.master.close();
    assert!(tokio::time::timeout(SECOND * 5, waiting).await.expect("woken by the end").unwrap().is_empty());
}

#[tokio::test]
async fn a_claim_whose_answer_was_lost_is_answered_again() {
    let world = World::new();
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    world.submit("720p30-h264").await;
    let request = ClaimRequest { node_id: node, slots: 1, wait_ms: 0, request_id: Some("r1".into()) };
    let first = world.master.claim(request.clone()).await.unwrap().jobs;
    let again = world.master.claim(request.clone()).await.unwrap().jobs;
    assert_eq!(
        first.iter().map(|job| (job.id, job.fence)).collect::<Vec<_>>(),
        again.iter().map(|job| (job.id, job.fence)).collect::<Vec<_>>()
    );
    let next = world.master.claim(ClaimRequest { request_id: Some("r2".into()), ..request }).await.unwrap().jobs;
    assert_ne!(next[0].id, first[0].id);
}

#[tokio::test]
async fn a_drained_node_gets_nothing_and_a_removed_one_must_register() {
    let world = World::new();
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    world.master.drain(node).await.unwrap();
    assert!(world.claim(node).await.is_empty());
    let reason =
        world.master.jobs(&Default::default(), ffrtmp::core::store::Page { limit: 1, before: None }).await.unwrap();
    assert_eq!(reason[0].waiting_reason.as_deref(), Some("the only node that can run it is offline or draining"));
    world.master.activate(node).await.unwrap();
    let job = world.running(node).await;
    world.master.remove_node(node).await.unwrap();
    assert!(matches!(world.state(&job).await, JobState::Retrying));
    let refused = world.master.claim(ClaimRequest { node_id: node, slots: 1, wait_ms: 0, request_id: None }).await;
    assert_eq!(refused.unwrap_err().code(), Code::NodeNotFound);
}

#[tokio::test]
async fn a_job_that_nobody_can_run_says_so_or_is_rejected() {
    let capabilities =
        Capabilities { video_codecs: Some(vec![]), engines: vec![EngineName::Ffmpeg], ..Capabilities::default() };
    for unrunnable in [Unrunnable::Wait, Unrunnable::Reject] {
        let world = World::with(Settings { unrunnable, ..Settings::default() });
        let registration =
            Registration { name: "a".into(), capabilities: capabilities.clone(), ..Registration::default() };
        world.master.register(registration).await.unwrap();
        let job = world.submit("720p30-av1").await;
        assert_eq!(job.waiting_reason.as_deref(), Some("needs ffmpeg/av1: 0 of 1 nodes have it"));
        world.pass(SECOND).await;
        let expected = if unrunnable == Unrunnable::Reject { JobState::Rejected } else { JobState::Queued };
        assert_eq!(world.state(&job).await, expected);
    }
}

#[tokio::test]
async fn agents_have_one_lease_time_to_find_a_master_that_was_away() {
    let mut world = World::new();
    let node = world.node("a").await;
    for _ in 0..2 {
        world.submit("720p30-h264").await;
    }
    let running = world.running(node).await;
    let assigned = world.claim(node).await.pop().expect("a second job");
    world.clock.advance(SECOND * 600);
    world.restart().await;
    world.pass(SECOND * 60).await;
    assert_eq!(world.state(&running).await, JobState::Running);
    assert_eq!(world.state(&assigned).await, JobState::Assigned);
    assert_ne!(world.master.node(node).await.unwrap().status, NodeStatus::Offline);
    assert_eq!(world.finish(node, &running, None).await.unwrap().attempt, 1, "its work was not lost");
    world.pass(SECOND * 60).await;
    assert_eq!(world.state(&assigned).await, JobState::Retrying, "but nobody waits for ever");
}

#[tokio::test]
async fn a_result_said_twice_keeps_its_logs_once() {
    let world = World::new();
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    let job = world.running(node).await;
    let request = FinishRequest {
        job_id: job.id,
        node_id: node,
        fence: job.fence,
        status: ResultStatus::Completed,
        metrics: None,
        error: None,
        logs: Some(LogText::Text("one\ntwo".into())),
        logs_from: None,
        completed_at: None,
    };
    for _ in 0..2 {
        world.master.finish(request.clone()).await.unwrap();
    }
    assert_eq!(world.master.logs(&job.id.into()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_retry_waits_for_what_the_job_depends_on() {
    let world = World::new();
    let node = world.node("a").await;
    let first = world.submit("720p30-h264").await;
    let depends_on = vec![first.id];
    let second =
        world.submit_with(JobRequest { scenario: "480p-vp9".into(), depends_on, ..JobRequest::default() }).await;
    let running = world.running(node).await;
    world.finish(node, &running, Some(Code::EncodeFailed)).await.unwrap();
    let refused = world.master.retry(&second.id.into()).await.unwrap_err();
    assert_eq!((refused.code(), refused.field_name()), (Code::WrongState, Some("depends_on")));
    for _ in 0..2 {
        assert_eq!(world.master.retry(&first.id.into()).await.unwrap().state, JobState::Queued, "twice is once");
    }
    let running = world.running(node).await;
    world.finish(node, &running, None).await.unwrap();
    assert_eq!(world.master.retry(&second.id.into()).await.unwrap().state, JobState::Queued);
}
