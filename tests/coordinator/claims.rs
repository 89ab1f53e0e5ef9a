//! Asking for work.

use std::sync::Arc;

use ffrtmp::core::coordinator::{Settings, Unrunnable};
use ffrtmp::core::error::Code;
use ffrtmp::core::job::{EngineName, JobRequest, JobState};
use ffrtmp::core::node::{Capabilities, Registration};
use ffrtmp::core::protocol::{ClaimRequest, RoomLeft};

use crate::world::{Kind, SECOND, World, over_every_store};

async fn a_waiting_claim_wakes_when_work_arrives(kind: Kind) {
    let world = Arc::new(World::new(kind).await);
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

async fn a_claim_whose_answer_was_lost_is_answered_again(kind: Kind) {
    let world = World::new(kind).await;
    let node = world.node("a").await;
    world.submit("720p30-h264").await;
    world.submit("720p30-h264").await;
    let request = ClaimRequest { node_id: node, slots: 1, wait_ms: 0, request_id: Some("r1".into()), room: None };
    let first = world.master.claim(request.clone()).await.unwrap().jobs;
    let again = world.master.claim(request.clone()).await.unwrap().jobs;
    assert_eq!(
        first.iter().map(|job| (job.id, job.fence)).collect::<Vec<_>>(),
        again.iter().map(|job| (job.id, job.fence)).collect::<Vec<_>>()
    );
    let next = world.master.claim(ClaimRequest { request_id: Some("r2".into()), ..request }).await.unwrap().jobs;
    assert_ne!(next[0].id, first[0].id);
}

async fn a_job_that_nobody_can_run_says_so_or_is_rejected(kind: Kind) {
    let capabilities =
        Capabilities { video_codecs: Some(vec![]), engines: vec![EngineName::Ffmpeg], ..Capabilities::default() };
    for unrunnable in [Unrunnable::Wait, Unrunnable::Reject] {
        let world = World::with(kind, Settings { unrunnable, ..Settings::default() }).await;
        let registration =
            Registration { name: "a".into(), capabilities: capabilities.clone(), ..Registration::default() };
        world.master.register(registration).await.unwrap();
        let job = world.submit("720p30-av1").await;
        assert_eq!(job.waiting_reason.as_deref(), Some("needs an encoder of av1: 0 of 1 nodes have it"));
        world.pass(SECOND).await;
        let expected = if unrunnable == Unrunnable::Reject { JobState::Rejected } else { JobState::Queued };
        assert_eq!(world.state(&job).await, expected);
    }
}

async fn a_stopping_node_hears_what_it_was_given_and_gets_nothing_new(kind: Kind) {
    let world = World::new(kind).await;
    let node = world.node("a").await;
    for _ in 0..3 {
        world.submit("720p30-h264").await;
    }
    let request = |slots, name: &str| ClaimRequest {
        node_id: node,
        slots,
        wait_ms: 0,
        request_id: Some(name.into()),
        room: None,
    };
    let unseen = world.master.claim(request(2, "r1")).await.unwrap().jobs;
    let told = world.master.claim(request(0, "r1")).await.unwrap().jobs;
    let fences = |jobs: &[ffrtmp::core::job::Job]| jobs.iter().map(|job| (job.id, job.fence)).collect::<Vec<_>>();
    assert_eq!((told.len(), fences(&told)), (2, fences(&unseen)));
    assert!(world.master.claim(request(0, "r2")).await.unwrap().jobs.is_empty());
    let nameless = ClaimRequest { request_id: None, ..request(0, "") };
    assert_eq!(world.master.claim(nameless).await.unwrap_err().code(), Code::InvalidField);
}

async fn a_node_is_given_only_what_it_has_left(kind: Kind) {
    let world = World::new(kind).await;
    let machine = Registration { name: "a".into(), ram_total_bytes: 16 << 30, ..Registration::default() };
    let node = world.register(machine).await;
    let mut large = JobRequest { scenario: "720p30-h264".into(), ..JobRequest::default() };
    large.resource_limits.max_memory_mb = Some(8 << 10);
    let large = world.submit_with(large).await;
    let small = world.submit("720p30-h264").await;
    let left = |gib: Option<u64>| RoomLeft { memory_bytes: gib.map(|gib| gib << 30), ..RoomLeft::default() };
    for (room, given) in [(Some(left(Some(7))), &small), (Some(left(None)), &large)] {
        let request = ClaimRequest { node_id: node, slots: 1, wait_ms: 0, request_id: None, room };
        let jobs = world.master.claim(request).await.unwrap().jobs;
        assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), [given.id]);
    }
}

over_every_store!(
    a_node_is_given_only_what_it_has_left,
    a_waiting_claim_wakes_when_work_arrives,
    a_claim_whose_answer_was_lost_is_answered_again,
    a_job_that_nobody_can_run_says_so_or_is_rejected,
    a_stopping_node_hears_what_it_was_given_and_gets_nothing_new,
);
