//! Logs of the programs: files, the ids of jobs on every line about one, and no secret in any; and what
//! attempts say.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ffrtmp::core::job::JobState;
use serde_json::{Map, Value, json};

use crate::cluster::{AgentSetup, Cluster, PATIENCE, Setup, until};

/// The text for as long as the tests run: flags of a master are static.
fn lasting(text: impl Into<String>) -> &'static str {
    text.into().leak()
}

fn lines(path: &Path) -> Vec<Map<String, Value>> {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

#[test]
fn every_line_about_a_job_says_whose_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = lasting(dir.path().display().to_string());
    let flags = ["--log-dir", place, "--log-level", "debug"];
    let master = flags.to_vec();
    let agent = flags.iter().fold(AgentSetup::new("worker 1"), |agent, flag| agent.flag(*flag));
    let cluster = Cluster::start(Setup { master, agents: vec![agent] });
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let good = cluster.submit(json!({
        "scenario": "144p-h264", "parameters": {"duration": 0.5, "preset": "ultrafast"}, "traceparent": parent,
    }));
    cluster.completed(&good);
    let bad = cluster.submit(json!({"scenario": "144p-h264", "input": "missing.mp4"}));
    let failed = cluster.ended(&bad);
    let node = failed.node_id.expect("a node").to_string();

    let agent = dir.path().join("agent/worker_1.log");
    until("the agent has logged the end", PATIENCE, || {
        let ends = lines(&agent).iter().filter(|line| line["message"] == "attempt ended").count();
        (ends == 2).then_some(())
    });
    for (path, messages) in [
        (agent, &["attempt begins", "attempt ended", "attempt ended without an output"][..]),
        (
            dir.path().join("master/master.log"),
            &["job submitted", "job given to a node", "attempt started", "job ended"],
        ),
    ] {
        let lines = lines(&path);
        for message in messages {
            let said: Vec<_> = lines.iter().filter(|line| line["message"] == *message).collect();
            assert!(!said.is_empty(), "{message} in {}", path.display());
            for line in said {
                let job = line["job"].as_str().expect("a job");
                assert!(job == good || job == bad, "{line:?}");
                assert_eq!(line["tenant"], "default", "{line:?}");
                assert_eq!(line.get("trace").is_some(), job == good, "{line:?}");
                if *message != "job submitted" {
                    assert_eq!((&line["attempt"], &line["node"]), (&json!(1), &json!(node)), "{line:?}");
                }
            }
        }
        let traced = lines.iter().find(|line| line.get("job").is_some_and(|job| *job == good)).expect("a line");
        assert_eq!(traced["trace"], &parent[3..35]);
    }
}

#[test]
fn a_directory_that_cannot_be_written_costs_one_warning() {
    let flags = ["--log-dir", "/proc/ffrtmp"];
    let agent = flags.iter().fold(AgentSetup::new("first"), |agent, flag| agent.flag(*flag));
    let mut cluster = Cluster::start(Setup { master: flags.to_vec(), agents: vec![agent] });
    let job = cluster.submit(json!({"scenario": "144p-h264", "parameters": {"duration": 0.2, "preset": "ultrafast"}}));
    cluster.completed(&job);
    let agent = cluster.worker(0).program.log_text();
    for (console, file) in [
        (cluster.master.log_text(), cluster.path("logs/master/master.log")),
        (agent, cluster.files().join("logs/agent/first.log")),
    ] {
        let warnings = console.lines().filter(|line| line.contains("cannot write logs to")).count();
        assert_eq!(warnings, 1, "{console}");
        assert!(console.contains("--log-dir"), "the cure is named: {console}");
        assert!(!lines(&file).is_empty());
    }
}

#[test]
fn no_log_shows_a_secret_at_any_level() {
    let level = ["--log-level", "trace"];
    let agent = level.iter().fold(AgentSetup::new("first"), |agent, flag| agent.flag(*flag));
    let agent = agent.flag("--allow-host").flag("127.0.0.1");
    let cluster = Cluster::start(Setup { master: level.to_vec(), agents: vec![agent] });
    let secrets = ["sesame-password", "sesame-key-of-a-stream", "sesame-wrong-key", cluster.key.as_str()];
    // Nobody listens there.
    for request in [
        json!({"scenario": "144p-h264", "input": "http://user:sesame-password@127.0.0.1:9/in.mp4", "max_retries": 0}),
        json!({"scenario": "144p-h264", "output": "rtmp://user:sesame-password@127.0.0.1:9/live", "max_retries": 0,
            "queue": "live", "parameters": {"stream_key": "sesame-key-of-a-stream", "output_mode": "rtmp", "duration": 1}}),
        json!({"scenario": "144p-h264", "input": "rtmp://user:sesame-password@127.0.0.1:9/live/sesame-key-of-a-stream",
            "max_retries": 0}),
        json!({"scenario": "144p-h264", "output": "/nowhere/sesame/out.mp4"}),
    ] {
        let body = request.to_string();
        // What is refused at once is an error path too.
        let (status, answer) = cluster.http("POST", "/api/v1/jobs", Some(body.as_bytes()));
        if status == 201 {
            let id = answer["id"].as_str().expect("an id").to_owned();
            let job = cluster.job_when(&id, "ended or without a node", |job| {
                job.state.is_final() || (job.state == JobState::Queued && job.waiting_reason.is_some())
            });
            let error = format!("{:?}", job.error);
            assert!(!secrets.iter().any(|secret| error.contains(secret)), "{error}");
        }
    }
    let wrong = std::process::Command::new("curl")
        .args(["-sS", "--max-time", "30", "-k", "-H", "Authorization: Bearer sesame-wrong-key"])
        .arg(format!("{}/api/v1/jobs", cluster.url()))
        .output()
        .expect("curl runs");
    assert!(String::from_utf8_lossy(&wrong.stdout).contains("unauthorized"));
    for log in [cluster.path("master.log"), cluster.path("first.log")] {
        let text = fs::read_to_string(&log).expect("a log");
        assert!(text.contains("\"level\":\"TRACE\""), "{} is at trace", log.display());
        for secret in secrets {
            let shown = text.lines().find(|line| line.contains(secret));
            assert!(shown.is_none(), "{}: {}", log.display(), shown.unwrap_or_default());
        }
    }
}

#[test]
fn what_encoders_say_is_followed_to_the_end() {
    let cluster = Cluster::single();
    let job = cluster.submit(json!({"scenario": "144p-h264", "parameters": {"duration": 3, "preset": "ultrafast"}}));
    let followed = cluster.ffrtmp(&["--output", "json", "jobs", "logs", "--follow", &job]);
    assert!(followed.status.success(), "{}", String::from_utf8_lossy(&followed.stderr));
    let (job, _) = cluster.completed(&job);
    assert_eq!(job.attempt, 1);
    let said: Vec<Value> = String::from_utf8_lossy(&followed.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line"))
        .collect();
    let kept = cluster.call(cluster.client.logs(&job.id.to_string())).expect("the log");
    assert_eq!(said, kept.iter().map(|line| json!(line)).collect::<Vec<_>>(), "each line once");
    let has = |words: &str| kept.iter().any(|line| line.text.contains(words));
    assert!(has("libx264"), "the encoder speaks on threads of its own: {kept:#?}");
    assert!(has("verified"), "{kept:#?}");
    assert!(kept.windows(2).all(|pair| pair[0].at <= pair[1].at + Duration::from_secs(1)));
}
