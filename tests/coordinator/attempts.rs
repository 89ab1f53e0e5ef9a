//! How attempts end, and what follows.

use ffrtmp::core::error::Code;
use ffrtmp::core::job::JobState;
use ffrtmp::core::protocol::{FinishRequest, LogText, ResultStatus};

use crate::world::{Kind, SECOND, World, over_every_store};

async fn only_transient_failures_are_tried_again_and_not_for_ever(kind: Kind) {
    let world = World::new(kind).await;
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

async fn a_result_said_twice_keeps_its_logs_once(kind: Kind) {
    let world = World::new(kind).await;
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

over_every_store!(only_transient_failures_are_tried_again_and_not_for_ever, a_result_said_twice_keeps_its_logs_once,);
