//! How long an attempt may hold a job.

use ffrtmp::core::coordinator::Settings;
use ffrtmp::core::error::Code;
use ffrtmp::core::job::{JobRequest, JobState, Queue};
use ffrtmp::core::node::NodeStatus;
use ffrtmp::core::protocol::{ClaimRequest, DirectiveKind};
use ffrtmp::core::store::Page;

use crate::world::{Kind, SECOND, World, over_every_store};

async fn a_lease_holds_while_it_is_renewed_and_no_longer(kind: Kind) {
    let world = World::new(kind).await;
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

async fn a_lost_node_gives_its_jobs_back_and_may_return(kind: Kind) {
    let world = World::new(kind).await;
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

async fn overlong_and_stalled_attempts_end(kind: Kind) {
    let world = World::new(kind).await;
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

async fn a_paused_attempt_keeps_its_lease_and_goes_on(kind: Kind) {
    let world = World::new(kind).await;
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

async fn a_drained_node_gets_nothing_and_a_removed_one_must_register(kind: Kind) {
    let world = World::new(kind).await;
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    world.master.drain(node).await.unwrap();
    assert!(world.claim(node).await.is_empty());
    let reason = world.master.jobs(&Default::default(), Page { limit: 1, before: None }).await.unwrap();
    assert_eq!(reason[0].waiting_reason.as_deref(), Some("the only node that can run it is draining"));
    world.master.activate(node).await.unwrap();
    let job = world.running(node).await;
    world.master.remove_node(node).await.unwrap();
    assert!(matches!(world.state(&job).await, JobState::Retrying));
    let refused =
        world.master.claim(ClaimRequest { node_id: node, slots: 1, wait_ms: 0, request_id: None, room: None }).await;
    assert_eq!(refused.unwrap_err().code(), Code::NodeNotFound);
}

async fn agents_have_one_lease_time_to_find_a_master_that_was_away(kind: Kind) {
    let mut world = World::new(kind).await;
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

async fn an_attempt_that_does_not_begin_ends_though_its_lease_is_long(kind: Kind) {
    let hour = SECOND * 3600;
    let world = World::with(kind, Settings { heartbeat_timeout: hour, ..Settings::default() }).await;
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    let job = world.claim(node).await.pop().expect("a job");
    world.pass(SECOND * 299).await;
    assert_eq!(world.state(&job).await, JobState::Assigned);
    world.pass(SECOND * 2).await;
    let ended = world.job(&job).await;
    assert_eq!((ended.state, ended.error.map(|error| error.code)), (JobState::Retrying, Some(Code::NeverStarted)));
}

async fn a_lost_answer_to_a_claim_costs_one_lease(kind: Kind) {
    let world = World::new(kind).await;
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    let unseen = world.claim(node).await.pop().expect("a job");
    for _ in 0..8 {
        world.clock.advance(SECOND * 10);
        world.beat(node, &[], 0.0).await;
        world.master.tick_due().await.unwrap();
    }
    assert_eq!(world.state(&unseen).await, JobState::Assigned);
    world.pass(SECOND * 12).await;
    assert_eq!(world.state(&unseen).await, JobState::Retrying, "after a lease and two seconds");
    world.pass(SECOND * 2).await;
    let again = world.running(node).await;
    assert_eq!((again.id, again.attempt), (unseen.id, 2));
    assert_eq!(world.finish(node, &unseen, None).await.unwrap_err().code(), Code::StaleFence);
    assert_eq!(world.finish(node, &again, None).await.unwrap().state, JobState::Completed);
}

over_every_store!(
    a_lease_holds_while_it_is_renewed_and_no_longer,
    a_lost_node_gives_its_jobs_back_and_may_return,
    overlong_and_stalled_attempts_end,
    a_paused_attempt_keeps_its_lease_and_goes_on,
    a_drained_node_gets_nothing_and_a_removed_one_must_register,
    agents_have_one_lease_time_to_find_a_master_that_was_away,
    an_attempt_that_does_not_begin_ends_though_its_lease_is_long,
    a_lost_answer_to_a_claim_costs_one_lease,
);
