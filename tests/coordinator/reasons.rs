//! Why a job waits, in words.

use std::collections::BTreeMap;

use ffrtmp::core::coordinator::Settings;
use ffrtmp::core::error::Code;
use ffrtmp::core::id::TenantId;
use ffrtmp::core::job::{JobRequest, Parameters, Queue};
use ffrtmp::core::node::{Capabilities, Gpu, Registration};
use ffrtmp::core::store::Caps;

use crate::world::{Kind, World, over_every_store};

fn machine(name: &str, encoders: &[&str], memory_mb: u64) -> Registration {
    let encoders = encoders.iter().map(|name| (*name).to_owned()).collect();
    Registration {
        name: name.into(),
        capabilities: Capabilities { encoders, ..Capabilities::default() },
        ram_total_bytes: memory_mb << 20,
        max_concurrent_jobs: Some(4),
        ..Registration::default()
    }
}

fn with_encoder(name: &str) -> JobRequest {
    let parameters = Parameters { encoder: Some(name.parse().unwrap()), ..Parameters::default() };
    JobRequest { scenario: "transcode".into(), parameters, ..JobRequest::default() }
}

async fn what_nodes_lack_is_named(kind: Kind) {
    let world = World::new(kind).await;
    let job = world.submit_with(with_encoder("hevc_nvenc")).await;
    assert_eq!(job.waiting_reason.as_deref(), Some("no node has registered yet"));
    for name in ["a", "b"] {
        world.register(machine(name, &["libx264", "libx265"], 4096)).await;
    }
    assert_eq!(world.reason(&job).await, "needs hevc_nvenc: 0 of 2 nodes have it");

    let mut demanding = with_encoder("hevc_nvenc");
    demanding.resource_limits.max_memory_mb = Some(8192);
    let demanding = world.submit_with(demanding).await;
    world.register(Registration { has_gpu: true, ..machine("c", &["hevc_nvenc"], 4096) }).await;
    assert_eq!(
        world.reason(&demanding).await,
        "none of 3 nodes can run it: 2 without hevc_nvenc, 1 without 8192 MB of memory"
    );
    assert_eq!(world.reason(&job).await, "next in line");
}

async fn nodes_that_cannot_serve_are_told_apart(kind: Kind) {
    let world = World::new(kind).await;
    let (first, second) = (world.node("a").await, world.node("b").await);
    let job = world.submit("720p30-h264").await;
    for _ in 0..4 {
        let other = world.submit("720p30-h264").await;
        world.master.pause(&other.id.into()).await.unwrap();
    }
    world.master.drain(first).await.unwrap();
    assert_eq!(world.reason(&job).await, "next in line");
    world.master.drain(second).await.unwrap();
    assert_eq!(world.reason(&job).await, "all 2 nodes that can run it are draining");
    world.pass(crate::world::SECOND * 100).await;
    assert_eq!(world.reason(&job).await, "all 2 nodes that can run it are offline");
    world.beat(first, &[], 0.0).await;
    assert_eq!(world.reason(&job).await, "all 2 nodes that can run it are offline or draining");
    world.master.activate(first).await.unwrap();
    world.hold_back(first, Some("4.0 % of the disk is free")).await;
    let held = "the only node that can run it takes no jobs now: 4.0 % of the disk is free";
    assert_eq!(world.reason(&job).await, held);
    world.hold_back(first, None).await;
    let busy = world.running(first).await;
    let job = world.submit("720p30-h264").await;
    world.beat(first, &[&busy, &busy, &busy, &busy], 1.0).await;
    assert_eq!(world.reason(&job).await, "the only node that can run it is busy");
    world.master.pause(&job.id.into()).await.unwrap();
    assert_eq!(world.reason(&job).await, "paused by a person; resume it to go on");
}

async fn caps_and_sessions_are_named(kind: Kind) {
    let acme: TenantId = TenantId::single();
    let caps =
        Caps { queues: BTreeMap::from([(Queue::Live, 1)]), tenants: BTreeMap::from([(acme, 2)]), ..Caps::default() };
    let world = World::with(kind, Settings { caps, ..Settings::default() }).await;
    let gpu = Gpu { max_encode_sessions: 1, ..Gpu::default() };
    let node = world
        .register(Registration { has_gpu: true, gpus: vec![gpu], ..machine("a", &["libx264", "hevc_nvenc"], 4096) })
        .await;
    let live = || JobRequest { scenario: "720p30-h264".into(), queue: Some(Queue::Live), ..JobRequest::default() };
    world.submit_with(live()).await;
    let running = world.running(node).await;
    let job = world.submit_with(live()).await;
    assert_eq!(job.waiting_reason.as_deref(), Some("queue live has 1 of 1 jobs running"));
    assert!(world.claim(node).await.is_empty());

    world.submit_with(with_encoder("hevc_nvenc")).await;
    let on_device = world.running(node).await;
    let job = world.submit_with(with_encoder("hevc_nvenc")).await;
    assert_eq!(job.waiting_reason.as_deref(), Some("tenant default has 2 of 2 jobs running"));
    world.finish(node, &running, None).await.unwrap();
    assert_eq!(world.reason(&job).await, "all 1 encode sessions of the graphics processors are taken");
    world.finish(node, &on_device, None).await.unwrap();
    assert_eq!(world.reason(&job).await, "next in line");
}

async fn dependencies_and_backoffs_are_named(kind: Kind) {
    let world = World::new(kind).await;
    let node = world.node("a").await;
    let (first, second) = (world.submit("720p30-h264").await, world.submit("720p30-h264").await);
    let depends_on = vec![first.id, second.id];
    let third = world.submit_with(JobRequest { scenario: "480p".into(), depends_on, ..JobRequest::default() }).await;
    let running = world.running(node).await;
    assert_eq!(running.id, first.id);
    let reason = world.reason(&third).await;
    assert_eq!(reason, format!("waits for {} (running), {} (queued)", first.id, second.id));
    world.finish(node, &running, None).await.unwrap();
    assert_eq!(world.reason(&third).await, format!("waits for {} (queued)", second.id));
    let running = world.running(node).await;
    world.finish(node, &running, Some(Code::DiskFull)).await.unwrap();
    let reason = world.reason(&second).await;
    assert!(reason.starts_with("tries again at 2023-") && reason.ends_with("after: simulated"), "{reason}");
}

over_every_store!(
    what_nodes_lack_is_named,
    nodes_that_cannot_serve_are_told_apart,
    caps_and_sessions_are_named,
    dependencies_and_backoffs_are_named,
);
