//! Remote inputs: only hosts that the operator allowed, resumed, bounded, and classified.

use std::fs;

use ffrtmp::Code;
use ffrtmp::core::job::{Job, JobState};
use serde_json::{Value, json};

use crate::cluster::{AgentSetup, Cluster, Setup};
use crate::media;
use crate::origin::Origin;

#[test]
fn private_hosts_are_refused_unless_they_are_named() {
    let cluster = Cluster::single();
    let origin = origin(&cluster, "http://example.invalid/");
    let port = origin.address.port();
    for url in [
        origin.url("/whole"),
        format!("http://localhost:{port}/whole"),
        format!("http://2130706433:{port}/whole"),
        format!("http://0x7f.1:{port}/whole"),
        format!("http://0.0.0.0:{port}/whole"),
        format!("http://[::ffff:127.0.0.1]:{port}/whole"),
        format!("http://user:word@127.0.0.1:{port}/whole"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://10.0.0.1/".to_owned(),
    ] {
        let job = failed(&cluster, &url, json!({}));
        assert_eq!(job.error.as_ref().map(|error| error.code), Some(Code::HostNotAllowed), "{url}: {:?}", job.error);
        assert!(job.error.is_some_and(|error| error.hint.contains("--allow-host")), "{url}");
    }
    assert!(!origin.was_visited(), "no request left");
    cluster.assert_no_residue();
}

#[test]
fn allowed_hosts_are_resumed_bounded_and_classified() {
    let agents = vec![AgentSetup::new("first").flag("--allow-host=127.0.0.1")];
    let cluster = Cluster::start(Setup { agents, ..Setup::default() });
    let elsewhere = Origin::start("127.0.0.2", Vec::new(), "");
    let origin = origin(&cluster, &elsewhere.url("/whole"));

    for (path, visits) in [("/whole", 1), ("/cut", 2), ("/busy", 2)] {
        let output = format!("out{path}.mp4");
        let id = cluster.submit(json!({
            "scenario": "144p-h264", "input": origin.url(path), "output": output, "parameters": {"preset": "ultrafast"},
        }));
        let (job, report) = cluster.completed(&id);
        assert_eq!((job.attempt, report.frames), (1, 25), "{path}: {job:?}");
        assert_eq!(media::look(&cluster.files().join(output)).picture.frames, 25, "{path}");
        assert_eq!(origin.requests(path).len(), visits, "{path}: {:?}", origin.requests(path));
    }
    let second = origin.requests("/cut")[1].from.unwrap_or(0);
    assert!(second > 0, "a broken transfer goes on where it broke");

    for (path, code, limits) in [
        ("/none", Code::InputNotFound, json!({})),
        ("/forbidden", Code::InputUnreadable, json!({})),
        ("/moved", Code::HostNotAllowed, json!({})),
        ("/endless", Code::DiskQuotaExceeded, json!({"max_disk_mb": 2})),
    ] {
        let job = failed(&cluster, &origin.url(path), limits);
        assert_eq!(job.error.as_ref().map(|error| error.code), Some(code), "{path}: {:?}", job.error);
    }
    assert!(!elsewhere.was_visited(), "a redirect does not lead to a host that is not allowed");
    cluster.assert_no_residue();
    cluster.assert_no_panic();
}

fn origin(cluster: &Cluster, redirect_to: &str) -> Origin {
    let clip = cluster.path("outside").join("clip.mp4");
    media::make_clip(&clip, "320x180", 1.0);
    Origin::start("127.0.0.1", fs::read(clip).expect("the clip"), redirect_to)
}

/// A job with this input, once it has failed for good in one attempt.
fn failed(cluster: &Cluster, input: &str, limits: Value) -> Job {
    let request = json!({"scenario": "144p-h264", "engine": "ffmpeg", "input": input, "resource_limits": limits});
    let job = cluster.ended(&cluster.submit(request));
    assert_eq!((job.state, job.attempt), (JobState::Failed, 1), "{input}: {:?}", job.error);
    job
}
