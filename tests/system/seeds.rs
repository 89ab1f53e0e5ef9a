//! The command and curl lines about jobs and nodes that users of earlier systems know: each works as
//! it was written, apart from where binaries, hosts and ports are.
//!
//! Lines with a key go to a master with a key; those without one to a master that asks for none,
//! as in their guides; those over `http://` to one without TLS.

use std::path::Path;
use std::process::Output;

use ffrtmp::core::job::{EngineChoice, Job, JobState, Priority, Queue};
use serde_json::{Value, json};

use crate::cluster::{AgentSetup, Cluster, Setup, binary, command};

/// Submissions, and what the newest job must be afterwards: scenario, seconds, bits per second.
const SUBMISSIONS: &[(&str, &str, Option<f64>, Option<u64>)] = &[
    (
        "./bin/ffrtmp jobs submit --master https://MASTER_IP:8080 --scenario 1080p-h264 --bitrate 5M --duration 300",
        "1080p-h264",
        Some(300.0),
        Some(5_000_000),
    ),
    (
        "./bin/ffrtmp jobs submit --scenario 1080p-h264 --bitrate 5M --duration 60",
        "1080p-h264",
        Some(60.0),
        Some(5_000_000),
    ),
    (
        "./bin/ffrtmp jobs submit --scenario live-4k --queue live --priority high --duration 3600",
        "live-4k",
        Some(3600.0),
        None,
    ),
    ("./bin/ffrtmp jobs submit --scenario live-stream --engine auto", "live-stream", None, None),
    ("./bin/ffrtmp jobs submit --scenario transcode --engine ffmpeg", "transcode", None, None),
    ("./bin/ffrtmp jobs submit --scenario live-rtmp --engine gstreamer", "live-rtmp", None, None),
    (
        "./bin/ffrtmp jobs submit --scenario 4K-h265 --bitrate 15M --duration 3600",
        "4K-h265",
        Some(3600.0),
        Some(15_000_000),
    ),
    (
        "./bin/ffrtmp jobs submit --scenario 1080p-h264 --bitrate 5M --duration 1800",
        "1080p-h264",
        Some(1800.0),
        Some(5_000_000),
    ),
    (
        "./bin/ffrtmp jobs submit --scenario 1080p-h264 --duration 600 \\\n--cpu-limit 200 # 2 cores",
        "1080p-h264",
        Some(600.0),
        None,
    ),
    (
        "./bin/ffrtmp jobs submit --scenario 1080p-h264 --duration 600 \\\n--cpu-limit 100 # 1 core",
        "1080p-h264",
        Some(600.0),
        None,
    ),
    (
        "./bin/ffrtmp jobs submit --scenario 4K60-h264 --bitrate 10M --duration 120",
        "4K60-h264",
        Some(120.0),
        Some(10_000_000),
    ),
    (
        "./bin/ffrtmp jobs submit --scenario 1080p60-h264 --bitrate 5M --duration 60",
        "1080p60-h264",
        Some(60.0),
        Some(5_000_000),
    ),
    (
        "./bin/ffrtmp jobs submit --scenario 4K60-h265 --bitrate 10M --duration 120",
        "4K60-h265",
        Some(120.0),
        Some(10_000_000),
    ),
    (
        "./bin/ffrtmp jobs submit --scenario 1080p60-h265 --bitrate 5M --duration 60",
        "1080p60-h265",
        Some(60.0),
        Some(5_000_000),
    ),
    (
        "./bin/ffrtmp jobs submit \\\n  --scenario 720p30-h264 \\\n  --duration 120 \\\n  --bitrate 2M \\\n  --priority medium \\\n  --queue default",
        "720p30-h264",
        Some(120.0),
        Some(2_000_000),
    ),
    ("./bin/ffrtmp jobs submit --scenario 720p30-h264 --engine ffmpeg", "720p30-h264", None, None),
    (
        "./bin/ffrtmp jobs submit --scenario \"test1\" --bitrate 2000k --duration 60",
        "test1",
        Some(60.0),
        Some(2_000_000),
    ),
    (
        "ffrtmp jobs submit --scenario \"720p30-h264\" --bitrate 2M --duration 60",
        "720p30-h264",
        Some(60.0),
        Some(2_000_000),
    ),
    (
        r#"curl -X POST https://master:8080/jobs \
-H "Authorization: Bearer $MASTER_API_KEY" \
-H "Content-Type: application/json" \
-d '{"scenario": "1080p30-h264"}'"#,
        "1080p30-h264",
        None,
        None,
    ),
    (
        r#"curl -X POST https://MASTER_IP:8080/jobs \
-H "Authorization: Bearer $MASTER_API_KEY" \
-H "Content-Type: application/json" \
-d '{
"scenario": "1080p-h264",
"confidence": "auto",
"parameters": {"duration": 300, "bitrate": "5M"}
}'"#,
        "1080p-h264",
        Some(300.0),
        Some(5_000_000),
    ),
    (
        r#"curl -X POST https://MASTER_IP:8080/jobs \
  -H "Authorization: Bearer $MASTER_API_KEY" \
  -H "Content-Type: application/json" \
  -d '{
    "scenario": "1080p-test",
    "confidence": "auto",
    "parameters": {"duration": 300, "bitrate": "5000k"}
  }'"#,
        "1080p-test",
        Some(300.0),
        Some(5_000_000),
    ),
    (
        r#"curl -X POST https://master:8080/jobs \
-H "Authorization: Bearer $MASTER_API_KEY" \
-H "Content-Type: application/json" \
-d @benchmark_config.json"#,
        "720p30-h264",
        Some(120.0),
        Some(2_000_000),
    ),
];

/// The body of `POST /jobs` in the API guide.
const DOCUMENTED_JOB: &str = r#"{
  "scenario": "720p30-h264",
  "confidence": "auto",
  "engine": "ffmpeg",
  "queue": "default",
  "priority": "medium",
  "parameters": {
    "duration": 120,
    "bitrate": "2M"
  }
}"#;

/// The body of `POST /nodes/register` in the API guide.
const DOCUMENTED_NODE: &str = r#"{
  "name": "worker-01",
  "type": "server",
  "cpu_threads": 16,
  "cpu_model": "Intel Xeon",
  "has_gpu": true,
  "gpu_type": "NVIDIA RTX 3090",
  "ram_total_bytes": 34359738368
}"#;

#[test]
fn submissions_with_a_key_work_as_written() {
    let cluster = Cluster::start(Setup::default());
    std::fs::write(cluster.files().join("benchmark_config.json"), DOCUMENTED_JOB).expect("a file");
    for (count, (line, scenario, seconds, bits)) in (1..).zip(SUBMISSIONS) {
        let output = shell(&cluster, line);
        let job = cluster.newest_job().unwrap_or_else(|| panic!("{line}: {output:?}"));
        assert_eq!(job.sequence_number, count, "{line}: {output:?}");
        assert_eq!(job.scenario, *scenario, "{line}");
        assert_eq!(job.parameters.duration.map(|duration| duration.value()), *seconds, "{line}");
        let expected: Option<ffrtmp::core::units::Bitrate> = bits.map(|bits| bits.to_string().parse().expect("a rate"));
        assert_eq!(job.parameters.bitrate, expected, "{line}");
        assert_eq!(job.state, JobState::Queued, "{line}");
    }
    let jobs: Vec<Job> = (1..=SUBMISSIONS.len()).map(|number| cluster.job(&number.to_string())).collect();
    assert_eq!((jobs[2].queue, jobs[2].priority), (Queue::Live, Priority::High));
    assert_eq!(jobs[3].queue, Queue::Live, "the words of the scenario hint the queue");
    assert_eq!(jobs[5].engine, EngineChoice::Gstreamer);
    assert_eq!(jobs[5].waiting_reason.as_deref().map(str::is_empty), Some(false), "it says why it waits");
    assert_eq!([8, 9].map(|at: usize| jobs[at].resource_limits.max_cpu_percent), [Some(200), Some(100)]);

    let list = text(&shell(&cluster, "./bin/ffrtmp jobs status"));
    assert!(list.contains("4K60-h265") && list.contains("queued"), "{list}");
    let one = text(&shell(&cluster, &format!("./bin/ffrtmp jobs status {}", jobs[0].id)));
    assert!(one.contains("1080p-h264") && one.contains(&jobs[0].id.to_string()), "{one}");
}

#[test]
fn nodes_health_claims_and_following_work_as_written() {
    let cluster = Cluster::start(Setup { agents: vec![AgentSetup::paced("worker-02", 4.0)], ..Setup::default() });
    let (status, node) = cluster.http("POST", "/nodes/register", Some(DOCUMENTED_NODE.as_bytes()));
    assert_eq!((status, &node["name"], &node["has_gpu"]), (201, &json!("worker-01"), &json!(true)), "{node}");
    let list = text(&shell(&cluster, "./bin/ffrtmp nodes list"));
    assert!(list.contains("worker-01") && list.contains("worker-02"), "{list}");
    let (status, health) = cluster.http("GET", "/health", None);
    assert_eq!(status, 200, "{health}");

    let id = cluster.submit(json!({"scenario": "720p30-h264", "parameters": {"duration": 8}}));
    let followed = text(&shell(&cluster, &format!("./bin/ffrtmp jobs status {id} --follow")));
    assert!(followed.contains("completed"), "{followed}");
    assert_eq!(cluster.job(&id).state, JobState::Completed, "following ends with the job");

    // The older way to claim: one job at once, or nothing.
    let worker = cluster.node_named("worker-02").expect("the agent").id.to_string();
    cluster.call(cluster.client.drain(&worker)).expect("drained");
    let (status, job) = cluster.http("POST", "/jobs", Some(DOCUMENTED_JOB.as_bytes()));
    assert_eq!(status, 201, "{job}");
    let node = node["id"].as_str().expect("an id");
    let (status, next) = cluster.http("GET", &format!("/jobs/next?node_id={node}"), None);
    assert_eq!(status, 200, "{next}");
    assert!(next.to_string().contains(job["id"].as_str().expect("an id")), "{next}");
    let id = job["id"].as_str().expect("an id");
    assert_eq!(cluster.job(id).state, JobState::Assigned);
    let fence = cluster.job(id).fence;
    let result = json!({"job_id": id, "node_id": node, "fence": fence, "status": "completed", "metrics": {"fps": 31.5}, "logs": "done"});
    let (status, done) = cluster.http("POST", "/results", Some(result.to_string().as_bytes()));
    assert_eq!((status, &done["status"]), (200, &json!("completed")), "{done}");
}

#[test]
fn lines_without_a_key_work_where_none_is_asked_for() {
    let mut cluster = Cluster::start(Setup { master: vec!["--insecure-no-auth"], ..Setup::default() });
    cluster.submit(json!({"scenario": "4K-h265"}));
    for line in [
        "curl -k https://localhost:8080/nodes # List registered workers",
        "curl -k https://localhost:8080/jobs # List jobs",
        "curl -k https://master:8080/jobs",
        "curl -k https://master:8080/jobs # Check job state transitions",
    ] {
        let answer: Value = serde_json::from_slice(&shell(&cluster, line).stdout).expect(line);
        assert!(answer["jobs"].is_array() || answer["nodes"].is_array(), "{line}: {answer}");
        if let Some(job) = answer["jobs"].as_array().and_then(|jobs| jobs.first()) {
            assert_eq!(job["status"], "queued", "{line}");
            assert!(!job["state_transitions"].as_array().expect("transitions").is_empty(), "{line}");
        }
    }
    let metrics = text(&shell(&cluster, "curl http://localhost:9090/metrics # Prometheus metrics"));
    assert!(metrics.contains("ffrtmp_jobs_total"), "{metrics}");
    cluster.add_agent(&AgentSetup::paced("worker", 50.0));
    let usage = text(&shell(&cluster, "curl http://worker:9091/metrics | grep cpu_usage"));
    assert!(usage.contains("ffrtmp_worker_cpu_usage"), "{usage}");
}

#[test]
fn lines_without_tls_work_where_there_is_none() {
    let setup = Setup { master: vec!["--insecure-no-auth", "--tls", "false"], ..Setup::default() };
    let cluster = Cluster::start(setup);
    std::fs::write(cluster.files().join("benchmark_config.json"), DOCUMENTED_JOB).expect("a file");
    for (line, scenario) in [
        (
            r#"curl -X POST http://master:8080/jobs -H "Content-Type: application/json" -d '{
  "scenario": "4K-h265", "confidence": "auto",
  "parameters": {"duration": 3600, "bitrate": "15000k"}
}'"#,
            "4K-h265",
        ),
        ("curl -X POST http://master:8080/jobs -d @benchmark_config.json", "720p30-h264"),
    ] {
        let output = shell(&cluster, line);
        let job = cluster.newest_job().unwrap_or_else(|| panic!("{line}: {output:?}"));
        assert_eq!(job.scenario, scenario, "{line}: {output:?}");
    }
    for line in [
        "curl http://localhost:8080/nodes      # List registered agents",
        "curl http://localhost:8080/jobs       # List jobs",
    ] {
        let answer: Value = serde_json::from_slice(&shell(&cluster, line).stdout).expect(line);
        assert!(answer["count"].is_u64(), "{line}: {answer}");
    }
}

/// Runs a line as a shell does, where its binaries, hosts and ports are here.
fn shell(cluster: &Cluster, line: &str) -> Output {
    let bin = binary("ffrtmp").parent().expect("a directory").display().to_string();
    let agent = cluster.agent_metrics_port().unwrap_or_default();
    let mut here = line.replace("./bin/ffrtmp", &format!("{bin}/ffrtmp"));
    for host in ["MASTER_IP", "master", "localhost"] {
        here = here.replace(&format!("//{host}:8080"), &format!("//127.0.0.1:{}", cluster.port));
        here = here.replace(&format!("//{host}:9090"), &format!("//127.0.0.1:{}", cluster.metrics_port));
    }
    here = here.replace("//worker:9091", &format!("//127.0.0.1:{agent}"));
    let mut sh = command(Path::new("/bin/sh"), &cluster.home());
    let path = std::env::var("PATH").unwrap_or_default();
    sh.args(["-c", &here]).current_dir(cluster.files()).env("PATH", format!("{bin}:{path}"));
    sh.env("MASTER_URL", cluster.url()).env("MASTER_API_KEY", &cluster.key);
    sh.env("CURL_CA_BUNDLE", cluster.path("certs/master.crt"));
    let output = sh.output().expect("sh runs");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
