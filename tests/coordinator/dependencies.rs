//! Jobs that wait for others.

use ffrtmp::core::error::Code;
use ffrtmp::core::job::{JobRequest, JobState};

use crate::world::{Kind, World, over_every_store};

async fn dependents_follow_what_they_wait_for(kind: Kind) {
    let world = World::new(kind).await;
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
    let error = third.error.unwrap();
    assert_eq!((third.state, error.code), (JobState::Failed, Code::DependencyFailed));
    assert_eq!(error.message, format!("job {}, which this one depends on, ended as failed", second.id));
}

async fn a_retry_waits_for_what_the_job_depends_on(kind: Kind) {
    let world = World::new(kind).await;
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

over_every_store!(dependents_follow_what_they_wait_for, a_retry_waits_for_what_the_job_depends_on,);
