//! Live jobs against a real RTMP server: what a publisher sends comes back transcoded, through the
//! loss of the publisher, of the server and of the node; and no key is told to anybody.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ffrtmp::core::error::Code;
use ffrtmp::core::job::{EngineName, Job, JobState};
use serde_json::json;

use crate::cluster::{AgentSetup, Cluster, PATIENCE, SHORT_LEASE, Setup, files_under, until};
use crate::servers::{self, Packet, RtmpServer, Running};

const KEY: &str = "s3cret-key-of-the-stream";

/// One node that may contact this machine.
fn live_node(name: &'static str) -> AgentSetup {
    AgentSetup::new(name).flag("--allow-host=127.0.0.1")
}

fn start() -> Cluster {
    Cluster::start(Setup { agents: vec![live_node("first")], ..Setup::default() })
}

/// Pictures of what is on the server under a key now.
fn pictures(server: &RtmpServer, key: &str, seconds: u32) -> Vec<Packet> {
    let packets = servers::packets(server.url(key), Some(seconds));
    packets.into_iter().filter(|packet| packet.is_video).collect()
}

/// Waits until the stream goes on at its rate.
fn await_pictures(server: &RtmpServer, key: &str) {
    until("pictures flow", PATIENCE, || (pictures(server, key, 3).len() > 60).then_some(()));
}

fn key_frames(packets: &[Packet]) -> Vec<f64> {
    packets.iter().filter(|packet| packet.is_key).map(|packet| packet.pts).collect()
}

fn has_log(cluster: &Cluster, id: &str, word: &str) -> Option<()> {
    let logs = cluster.call(cluster.client.logs(id)).ok()?;
    logs.iter().any(|line| line.text.contains(word)).then_some(())
}

#[test]
fn a_ladder_goes_from_a_server_to_a_server_through_losses() {
    let mut server = RtmpServer::start();
    let mut cluster = start();
    let clip = servers::clip(&cluster.files(), "320x240", 6);
    let publisher = servers::publish(&clip, "flv", &server.url("source"));
    let id = cluster.submit(json!({
        "scenario": "live-rtmp", "input": server.url("source"),
        "parameters": {
            "rtmp_url": server.url("").trim_end_matches('/'), "stream_key": KEY, "preset": "ultrafast",
            "ladder": [{"resolution": "320x240", "bitrate": "400k"}, {"resolution": "160x120", "bitrate": "150k"}],
            "keyframe_interval": 1,
        },
    }));
    let job = cluster.job_when(&id, "running", |job| job.state == JobState::Running || job.state.is_final());
    assert_eq!((job.state, job.engine_used), (JobState::Running, Some(EngineName::Gstreamer)), "{job:#?}");
    assert!(job.engine_reason.as_deref().unwrap_or_default().contains("RTMP"), "{:?}", job.engine_reason);
    until("the outputs are there", PATIENCE, || has_log(&cluster, &id, "output_started"));

    let rungs = ["240p", "120p"].map(|rung| format!("{KEY}_{rung}"));
    let seen = rungs.each_ref().map(|key| pictures(&server, key, 4));
    for packets in &seen {
        assert!(packets.len() > 60, "{} pictures in 4 s", packets.len());
        assert!(packets.windows(2).all(|pair| pair[0].dts < pair[1].dts), "times go on");
    }
    assert_aligned(&server, &rungs);

    drop(publisher);
    until("the loss of the source is told", PATIENCE, || has_log(&cluster, &id, "source_lost"));
    let publisher = servers::publish(&clip, "flv", &server.url("source"));
    until("its return is told", PATIENCE, || has_log(&cluster, &id, "source_back"));
    await_pictures(&server, &rungs[0]);

    server.kill();
    drop(publisher);
    until("the loss of the output is told", PATIENCE, || has_log(&cluster, &id, "output_lost"));
    server.begin();
    let _publisher = servers::publish(&clip, "flv", &server.url("source"));
    until("the output returns", PATIENCE, || has_log(&cluster, &id, "output_back"));
    await_pictures(&server, &rungs[0]);

    drain_to_another_node(&mut cluster, &server, &id, &rungs[0]);
    let job = cluster.call(cluster.client.cancel(&id)).expect("canceled").job;
    assert_eq!(job.state, JobState::Canceled);
    until("the output ends", PATIENCE, || (!server.statistics().contains(&rungs[0])).then_some(()));
    assert_secret(&cluster, &id);
    cluster.assert_no_panic();
}

/// Key frames of all rungs have the same times: the recordings of the server begin with the stream.
fn assert_aligned(server: &RtmpServer, rungs: &[String; 2]) {
    let times = rungs.each_ref().map(|key| {
        let file = server.published(key).pop().expect("a recording");
        let packets = servers::packets(file, None);
        key_frames(&packets.into_iter().filter(|packet| packet.is_video).collect::<Vec<_>>())
    });
    let common = times[0].len().min(times[1].len());
    assert!(common >= 3, "{times:?}");
    for (one, other) in times[0].iter().zip(&times[1]) {
        assert!((one - other).abs() < 0.002, "{times:?}");
    }
}

fn drain_to_another_node(cluster: &mut Cluster, server: &RtmpServer, id: &str, key: &str) {
    let before = server.published(key).len();
    cluster.add_agent(&live_node("second"));
    let first = cluster.worker(0).node.clone();
    let asked = Instant::now();
    cluster.call(cluster.client.drain(&first)).expect("drained");
    cluster.job_when(id, "on the other node", |job| {
        job.state == JobState::Running && job.node_name.as_deref() == Some("second")
    });
    until("it publishes again", PATIENCE, || (server.published(key).len() > before).then_some(()));
    let gap = asked.elapsed();
    eprintln!("measured: drain to the first picture from the other node {gap:?}");
    assert!(gap < Duration::from_secs(5), "a gap of {gap:?}");
    await_pictures(server, key);
}

/// The key is in no log, no answer and no process title.
fn assert_secret(cluster: &Cluster, id: &str) {
    let (status, body) = cluster.http("GET", &format!("/jobs/{id}"), None);
    assert_eq!((status, body["parameters"]["stream_key"].as_str()), (200, Some("***")), "{body}");
    let (_, list) = cluster.http("GET", "/jobs", None);
    let (_, logs) = cluster.http("GET", &format!("/jobs/{id}/logs"), None);
    let (_, events) = cluster.http("GET", &format!("/jobs/{id}/events"), None);
    for answer in [body, list, logs, events] {
        assert!(!answer.to_string().contains(KEY), "{answer}");
    }
    let logs =
        files_under(&cluster.path("")).into_iter().filter(|path| path.extension().is_some_and(|end| end == "log"));
    for path in logs {
        let text = std::fs::read_to_string(&path).expect("a log");
        assert!(!text.contains(KEY), "{} holds the key", path.display());
    }
}

#[test]
fn a_canceled_live_job_completes_its_recording() {
    let server = RtmpServer::start();
    let cluster = start();
    let record = cluster.file("out/record.mp4");
    let id = cluster.submit(json!({
        "scenario": "live-240p", "output": server.url("out"),
        "parameters": {"duration": 600, "preset": "ultrafast", "record": record, "keyframe_interval": 1},
    }));
    until("the output is there", PATIENCE, || has_log(&cluster, &id, "output_started"));
    await_pictures(&server, "out");
    cluster.call(cluster.client.cancel(&id)).expect("canceled");
    until("the recording is there", PATIENCE, || Path::new(&record).exists().then_some(()));
    assert!(servers::decoded(&record) > 60, "what was sent until then");
    assert_eq!(cluster.job(&id).state, JobState::Canceled);
}

/// What a drained node recorded is a part of its own; the attempt that goes on writes the output.
#[test]
fn a_drained_live_job_leaves_what_it_recorded() {
    let server = RtmpServer::start();
    let mut cluster = start();
    let (part, record) = (cluster.file("out/record.1.mp4"), cluster.file("out/record.mp4"));
    let id = cluster.submit(json!({
        "scenario": "live-240p", "output": server.url("out"),
        "parameters": {"duration": 600, "preset": "ultrafast", "record": record, "keyframe_interval": 1},
    }));
    until("the output is there", PATIENCE, || has_log(&cluster, &id, "output_started"));
    await_pictures(&server, "out");
    drain_to_another_node(&mut cluster, &server, &id, "out");
    until("the part is there", PATIENCE, || Path::new(&part).exists().then_some(()));
    assert!(servers::decoded(&part) > 60, "what the first node recorded");
    until("it is told", PATIENCE, || has_log(&cluster, &id, "record.1.mp4"));
    let logs = cluster.call(cluster.client.logs(&id)).expect("logs");
    assert!(!logs.iter().any(|line| line.text.contains("short of memory")), "{logs:?}");
    cluster.call(cluster.client.cancel(&id)).expect("canceled");
    until("the recording is there", PATIENCE, || Path::new(&record).exists().then_some(()));
    assert!(servers::decoded(&record) > 25, "what the other node recorded");
}

/// What a killed node recorded is published when it starts again, as a part; the attempt that takes
/// over writes the output.
#[test]
fn a_killed_agent_leaves_what_it_recorded() {
    let server = RtmpServer::start();
    let agent = live_node("first");
    let mut cluster = Cluster::start(Setup { master: SHORT_LEASE.into(), agents: vec![agent.clone()] });
    let (part, record) = (cluster.file("out/record.1.mp4"), cluster.file("out/record.mp4"));
    let id = cluster.submit(json!({
        "scenario": "live-240p", "output": server.url("out"),
        "parameters": {"duration": 600, "preset": "ultrafast", "record": record, "keyframe_interval": 1},
    }));
    until("the output is there", PATIENCE, || has_log(&cluster, &id, "output_started"));
    // Each track has fragments of its own.
    until("fragments are written", PATIENCE, || (fragments(&cluster, ".record.mp4.") > 5).then_some(()));
    cluster.worker(0).program.kill();
    cluster.add_agent(&agent);
    until("the part is there", PATIENCE, || Path::new(&part).exists().then_some(()));
    // The last fragment may have been cut off.
    let recorded = servers::packets(&part, None).into_iter().filter(|packet| packet.is_video).count();
    assert!(recorded >= 25, "{recorded} pictures were recorded before the end");
    cluster.job_when(&id, "under way again", |job| job.state == JobState::Running && job.attempt == 2);
    until("the output is back", PATIENCE, || (server.published("out").len() > 1).then_some(()));
    await_pictures(&server, "out");
    cluster.call(cluster.client.cancel(&id)).expect("canceled");
    until("the recording is there", PATIENCE, || Path::new(&record).exists().then_some(()));
    assert!(servers::decoded(&record) > 25, "what the second attempt recorded");
}

/// Fragments in the outputs whose names begin like this.
fn fragments(cluster: &Cluster, prefix: &str) -> usize {
    let is_meant = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix));
    let files = files_under(Path::new(&cluster.file("out"))).into_iter().filter(is_meant);
    let count = |bytes: Vec<u8>| bytes.windows(4).filter(|window| window == b"moof").count();
    files.filter_map(|path| std::fs::read(path).ok()).map(count).sum()
}

/// A source of sound alone is a job of sound alone.
#[test]
fn a_source_of_sound_alone_is_passed_on() {
    let server = RtmpServer::start();
    let cluster = start();
    let clip = servers::clip(&cluster.files(), "320x240", 6);
    let mut radio = servers::ffmpeg();
    radio.args(["-re", "-stream_loop", "-1", "-i"]).arg(&clip).args(["-vn", "-c", "copy", "-f", "flv"]);
    let _publisher = Running::start(radio.arg(server.url("radio")));
    let record = cluster.file("out/radio.mp4");
    let id = cluster.submit(json!({
        "scenario": "live-rtmp", "input": server.url("radio"), "output": server.url("music"),
        "parameters": {"record": record, "stall_timeout": 30},
    }));
    until("the outputs are there", PATIENCE, || has_log(&cluster, &id, "output_started"));
    let packets = servers::packets(server.url("music"), Some(3));
    assert!(packets.len() > 100 && packets.iter().all(|packet| !packet.is_video), "{} packets", packets.len());
    cluster.call(cluster.client.cancel(&id)).expect("canceled");
    until("the recording is there", PATIENCE, || Path::new(&record).exists().then_some(()));
    let recorded = servers::packets(&record, None);
    assert!(recorded.len() > 100 && recorded.iter().all(|packet| !packet.is_video), "{} packets", recorded.len());
}

/// A publisher that changes the size of its pictures while it is connected: the output goes on in its
/// own size.
#[test]
fn a_source_may_change_its_size() {
    let server = RtmpServer::start();
    let cluster = start();
    let list = cluster.files().join("list");
    let clips = ["320x240", "640x360"].map(|size| servers::clip(&cluster.files(), size, 6).display().to_string());
    std::fs::write(&list, format!("file '{}'\nfile '{}'\n", clips[0], clips[1])).expect("a list");
    let mut publisher = servers::ffmpeg();
    publisher.args(["-re", "-stream_loop", "-1", "-f", "concat", "-safe", "0", "-i"]).arg(&list);
    let _publisher = Running::start(publisher.args(["-c", "copy", "-f", "flv", &server.url("source")]));
    let id = cluster.submit(json!({
        "scenario": "live-rtmp", "input": server.url("source"), "output": server.url("out"),
        "parameters": {"preset": "ultrafast", "resolution": "320x240", "keyframe_interval": 1},
    }));
    until("the output is there", PATIENCE, || has_log(&cluster, &id, "output_started"));
    for size in ["640x360", "320x240"] {
        until("a change of size is told", PATIENCE, || has_log(&cluster, &id, &format!("the source is {size}")));
    }
    await_pictures(&server, "out");
    cluster.call(cluster.client.cancel(&id)).expect("canceled");
    until("the output ends", PATIENCE, || (!server.statistics().contains("<name>out</name>")).then_some(()));
    assert!(has_log(&cluster, &id, "output_lost").is_none(), "the output was never lost");
    let recordings = server.published("out");
    assert_eq!(recordings.len(), 1, "one stream");
    assert!(servers::decoded(&recordings[0]) > 75);
    assert_eq!(servers::sizes(&recordings[0]), ["320x240"]);
}

#[test]
fn a_live_job_ends_after_its_duration_and_reports() {
    let server = RtmpServer::start();
    let cluster = start();
    let id = cluster.submit(json!({
        "scenario": "live-240p", "output": server.url("out"), "parameters": {"duration": 4, "preset": "ultrafast"},
    }));
    let (job, report) = cluster.completed(&id);
    assert_eq!(job.engine_used, Some(EngineName::Gstreamer));
    let live = report.live.as_deref().expect("measures of live work");
    let first = live.first_output_ms.expect("a first output");
    eprintln!("measured: first output after {first:.0} ms, added latency {:?} ms", live.added_latency_ms_p50);
    assert!((3.0..6.0).contains(&report.wall_seconds), "it keeps to the clock: {report:?}");
    assert_eq!(report.output_uri.as_deref(), Some(server.url("***").as_str()), "{report:?}");
}

#[test]
fn what_cannot_work_ends_with_its_reason() {
    let server = RtmpServer::start();
    let cluster = start();
    let failed = |request: serde_json::Value| -> Job {
        let id = cluster.submit(request);
        let job = cluster.ended(&id);
        assert_eq!(job.state, JobState::Failed, "{job:#?}");
        job
    };
    let code = |job: &Job| job.error.as_ref().map(|error| error.code);
    let parameters = json!({"duration": 5, "stall_timeout": 3, "preset": "ultrafast"});
    let job = failed(json!({
        "scenario": "live-240p", "output": "rtmp://192.168.250.250/live/x", "parameters": parameters, "max_retries": 0,
    }));
    assert_eq!(code(&job), Some(Code::HostNotAllowed), "{job:#?}");
    let job = failed(json!({
        "scenario": "live-240p", "input": server.url("nobody"), "output": "out/nothing.mp4", "parameters": parameters,
        "max_retries": 0,
    }));
    assert!(job.error.is_some(), "{job:#?}");
    let job = failed(json!({
        "scenario": "live-240p", "output": server.url(servers::REFUSED), "parameters": parameters, "max_retries": 0,
    }));
    assert_eq!(code(&job), Some(Code::OutputNotWritable), "{job:#?}");
    assert!(!job.error.as_ref().is_some_and(|error| error.message.contains(servers::REFUSED)), "{job:#?}");
    let job = failed(json!({
        "scenario": "240p-vp9", "output": server.url("x"), "parameters": parameters, "max_retries": 0,
    }));
    assert_eq!(code(&job), Some(Code::ContainerMismatch), "RTMP carries no VP9: {job:#?}");
    cluster.assert_no_residue();
}
