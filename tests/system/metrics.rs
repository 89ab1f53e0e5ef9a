//! What the programs export: every name of the contract, with labels that stay few.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::json;

use crate::cluster::{AgentSetup, Cluster, Setup, command};

const MASTER: [&str; 16] = [
    "ffrtmp_jobs_total",
    "ffrtmp_active_jobs",
    "ffrtmp_queue_length",
    "ffrtmp_queue_by_priority",
    "ffrtmp_queue_by_type",
    "ffrtmp_nodes_total",
    "ffrtmp_schedule_attempts_total",
    "ffrtmp_job_duration_seconds",
    "ffrtmp_job_wait_time_seconds",
    "ffrtmp_jobs_by_engine",
    "ffrtmp_jobs_completed_by_engine",
    "ffrtmp_master_uptime_seconds",
    "scheduler_http_bandwidth_bytes_total",
    "scheduler_http_requests_total",
    "scheduler_jobs_by_queue",
    "scheduler_nodes_total",
];

/// Those that every machine has; power, temperature and graphics processors depend on the machine.
const AGENT: [&str; 17] = [
    "ffrtmp_worker_cpu_usage",
    "ffrtmp_worker_memory_bytes",
    "ffrtmp_worker_active_jobs",
    "ffrtmp_worker_heartbeats_total",
    "ffrtmp_worker_heartbeat_total",
    "ffrtmp_worker_jobs_total",
    "ffrtmp_worker_job_duration_seconds",
    "ffrtmp_worker_uptime_seconds",
    "ffrtmp_worker_sla_compliance_rate",
    "ffrtmp_worker_has_gpu",
    "ffrtmp_worker_nvenc_available",
    "ffrtmp_worker_qsv_available",
    "ffrtmp_worker_vaapi_available",
    "ffrtmp_job_input_bytes_total",
    "ffrtmp_job_output_bytes_total",
    "ffrtmp_job_energy_joules_total",
    "ffrtmp_job_cpu_seconds_total",
];

#[test]
fn every_metric_of_the_contract_is_exported_with_few_labels() {
    let agents = vec![AgentSetup::new("first")];
    let mut cluster = Cluster::start(Setup { agents, ..Setup::default() });
    let ids: Vec<_> = (0..3)
        .map(|_| {
            cluster.submit(json!({"scenario": "144p-h264", "parameters": {"duration": 0.2, "preset": "ultrafast"}}))
        })
        .collect();
    ids.iter().for_each(|id| drop(cluster.completed(id)));
    let failed = cluster.submit(json!({"scenario": "144p-h264", "input": "missing.mp4"}));
    cluster.ended(&failed);
    for path in ["/jobs/1", "/api/v1/jobs/2", "/jobs/zzzz", "/nowhere/1", "/nowhere/2", "/a%20b?x=1"] {
        cluster.http("GET", path, None);
    }

    let text = scrape(&cluster, cluster.metrics_port);
    for name in MASTER {
        assert!(exports(&text, name), "{name} is missing:\n{text}");
    }
    assert_eq!(value(&text, "ffrtmp_jobs_total{state=\"completed\"}"), 3.0);
    assert_eq!(value(&text, "ffrtmp_jobs_total{state=\"failed\"}"), 1.0);
    assert_eq!(value(&text, "ffrtmp_jobs_completed_by_engine{engine=\"ffmpeg\"}"), 3.0);
    assert_eq!(value(&text, "scheduler_nodes_total"), 1.0);
    assert_eq!(value(&text, "ffrtmp_job_wait_time_seconds_count"), 4.0);
    assert_eq!(value(&text, "ffrtmp_job_duration_seconds_count"), 4.0);
    let endpoints: BTreeSet<_> =
        text.lines().filter_map(|line| line.split("endpoint=\"").nth(1)?.split('"').next()).collect();
    assert!(endpoints.iter().any(|endpoint| endpoint.contains("{id}")), "{endpoints:?}");
    for endpoint in &endpoints {
        let raw = ids.iter().any(|id| endpoint.contains(id.as_str()));
        assert!(!raw && !endpoint.contains("nowhere") && !endpoint.contains("zzzz"), "{endpoint} is a raw path");
    }
    assert!(endpoints.len() < 30, "{endpoints:?}");

    let port = cluster.worker(0).metrics_port;
    let node = cluster.worker(0).node.clone();
    let text = scrape(&cluster, port);
    for name in AGENT {
        assert!(exports(&text, name), "{name} is missing:\n{text}");
    }
    for line in text.lines().filter(|line| line.starts_with("ffrtmp_")) {
        assert!(line.contains(&format!("node_id=\"{node}\"")), "{line}");
    }
    let of_node = |name: &str| value(&text, &format!("{name}{{node_id=\"{node}\"}}"));
    assert!(of_node("ffrtmp_worker_heartbeats_total") > 0.0);
    assert!(of_node("ffrtmp_job_cpu_seconds_total") > 0.0);
    assert!(of_node("ffrtmp_job_output_bytes_total") > 1000.0);
    for path in ["health", "ready"] {
        let mut curl = command(Path::new("curl"), &cluster.home());
        let url = format!("http://127.0.0.1:{port}/{path}");
        let answer = curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]).output().expect("curl runs");
        assert_eq!(answer.stdout, b"200", "{path}");
    }
}

fn scrape(cluster: &Cluster, port: u16) -> String {
    let mut curl = command(Path::new("curl"), &cluster.home());
    let output = curl.args(["-sS", "--fail", &format!("http://127.0.0.1:{port}/metrics")]).output().expect("curl runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Whether a metric has at least one value.
fn exports(text: &str, name: &str) -> bool {
    text.lines().any(|line| {
        let rest = line.strip_prefix(name).unwrap_or_default();
        rest.starts_with([' ', '{']) || rest.starts_with("_count")
    })
}

fn value(text: &str, series: &str) -> f64 {
    let line =
        text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or_else(|| panic!("no {series}:\n{text}"));
    line.trim().parse().expect("a number")
}
