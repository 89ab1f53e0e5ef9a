//! What a master serves of its metrics: all that the documentation names, never more series than it
//! says, and what a job costs.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use async_trait::async_trait;
use ffrtmp_core::conformance::store::Harness;
use ffrtmp_core::coordinator::Coordinator;
use ffrtmp_core::cost::{Currency, Days, Period, Tariff};
use ffrtmp_core::id::NodeId;
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::protocol::{ClaimRequest, FinishRequest, StartRequest};
use ffrtmp_core::trace::SampleRatio;
use ffrtmp_store::MemoryStore;
use ffrtmp_transport::http::certificate;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;
use crate::exporters::page::{keeps_its_promise, series};

const HERE: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// A master that serves, and how to stop it.
struct Running {
    coordinator: Arc<Coordinator>,
    metrics: Arc<MasterMetrics>,
    scrape: SocketAddr,
    exporters: Vec<SocketAddr>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<Result<()>>,
}

impl Running {
    async fn start(options: MasterOptions) -> Self {
        let all = ExporterAddresses { results: Some(HERE), qoe: Some(HERE), cost: Some(HERE), predictions: Some(HERE) };
        let options = MasterOptions { metrics_address: Some(HERE), exporters: all, ..options };
        let master = Master::new(Arc::new(MemoryStore::new()), options).await.unwrap();
        let (coordinator, metrics) = (master.coordinator(), Arc::clone(&master.metrics));
        let (scrape, exporters) = (master.metrics_address().unwrap(), master.exporter_addresses());
        let stop = CancellationToken::new();
        let task = tokio::spawn(master.run(stop.clone()));
        Self { coordinator, metrics, scrape, exporters, stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }

    async fn node(&self, name: &str) -> NodeId {
        let registration = serde_json::from_value(json!({"name": name, "max_concurrent_jobs": 64})).unwrap();
        let id = self.coordinator.register(registration).await.unwrap().node.id;
        let telemetry = json!({"disk_available_bytes": 50, "disk_total_bytes": 200});
        let heartbeat = serde_json::from_value(json!({"telemetry": telemetry, "attempts": []})).unwrap();
        self.coordinator.heartbeat(id, heartbeat).await.unwrap();
        id
    }

    async fn submit(&self, request: Value) -> Job {
        self.coordinator.submit(serde_json::from_value(request).unwrap(), None).await.unwrap().job
    }

    async fn claim(&self, node: NodeId) -> Vec<Job> {
        let request: ClaimRequest =
            serde_json::from_value(json!({"node_id": node, "slots": 64, "wait_ms": 0})).unwrap();
        self.coordinator.claim(request).await.unwrap().jobs
    }

    /// Runs everything that is ready to its end.
    async fn work(&self, node: NodeId, status: &str, more: &Value) -> Vec<Job> {
        let mut ended = Vec::new();
        loop {
            let jobs = self.claim(node).await;
            if jobs.is_empty() {
                return ended;
            }
            let start = |job: &Job| (job.id, StartRequest { node_id: node, fence: job.fence });
            self.coordinator.start_many(jobs.iter().map(start).collect()).await.unwrap();
            for job in jobs {
                let mut finish = json!({"job_id": job.id, "node_id": node, "fence": job.fence, "status": status});
                finish.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
                let finish: FinishRequest = serde_json::from_value(finish).unwrap();
                ended.push(self.coordinator.finish(finish).await.unwrap());
            }
        }
    }
}

async fn get(address: SocketAddr) -> String {
    get_as(address, "", "text/plain; version=0.0.4; charset=utf-8").await
}

async fn get_as(address: SocketAddr, accept: &str, kind: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let accept = if accept.is_empty() { String::new() } else { format!("Accept: {accept}\r\n") };
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\n{accept}Connection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200") && head.contains(&format!("content-type: {kind}")), "{head}");
    assert!(!head.contains("chunked"), "{head}");
    body.to_owned()
}

fn tariff() -> Tariff {
    let mut tariff = Tariff { cpu_hour: 3.6, infrastructure_job: 0.5, ..Tariff::free(Currency::USD) };
    let time = |text: &str| text.parse().unwrap();
    let (name, days) = ("night".to_owned(), Days::ALL);
    tariff.energy.kwh = 0.5;
    tariff.energy.periods = vec![Period { name, days, from: time("22:00"), to: time("06:00"), kwh: 0.5 }];
    tariff
}

/// A report with everything in it.
fn measured() -> Value {
    json!({"metrics": {
        "duration_seconds": 10.0, "frames": 300, "fps": 60.0, "speed": 2.0, "wall_seconds": 5.0, "cpu_seconds": 10.0,
        "peak_memory_bytes": 1000, "input_bytes": 4_000_000, "output_bytes": 1_000_000, "bit_rate": 800_000,
        "energy_joules": 36_000.0, "energy_source": "rapl", "throttled_seconds": 0.5, "resolution": "1280x720",
        "sandbox_off": ["landlock: not in this kernel"], "vmaf": 93.5, "quality": {"psnr": 41.0, "ssim": 0.98},
        "stages": [{"name": "encode", "offset_seconds": 0.1, "seconds": 4.5}],
        "live": {"added_latency_ms_p50": 40.0, "added_latency_ms_p95": 90.0, "first_output_ms": 700.0,
            "source_losses": 1, "source_away_seconds": 2.5, "output_losses": 1, "dropped_groups": 2,
            "dropped_frames": 100, "slowest_speed": 0.97, "preset_changes": 1},
    }})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_on_the_page_is_served_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let (cert, key) = (dir.path().join("a.crt"), dir.path().join("a.key"));
    certificate::generate(&cert, &key, &[], &[]).unwrap();
    let settings = Settings { tariff: Some(tariff()), ..Settings::default() };
    let tls = Some(TlsConfig { cert, key, client_ca: None });
    let running = Running::start(MasterOptions { tls, settings, ..MasterOptions::default() }).await;
    let node = running.node("a").await;
    running.submit(json!({"scenario": "720p30-h264"})).await;
    running.work(node, "completed", &measured()).await;
    running.submit(json!({"scenario": "720p30-h264"})).await;
    let mut broken = json!({"error": {"code": "input_invalid", "disposition": "terminal", "message": "m", "hint": ""}});
    broken["metrics"] = json!({"cpu_seconds": 2.0, "wall_seconds": 1.0, "energy_joules": 3600.0});
    running.work(node, "failed", &broken).await;
    running.submit(json!({"scenario": "720p30-h264"})).await;
    running.metrics.own.http("GET", "/jobs/{id}", 200, 10, 20);

    let text = get(running.scrape).await;
    keeps_its_promise("## Master, port 9090", &text, &[]);
    for line in [
        "ffrtmp_jobs_total{state=\"completed\"} 1",
        "ffrtmp_jobs_ended_total{queue=\"default\",state=\"failed\"} 1",
        "ffrtmp_job_failures_total{code=\"input_invalid\"} 1",
        "ffrtmp_job_failure_reasons_total{reason=\"input_error\"} 1",
        "ffrtmp_retries_total{code=\"network\"} 0",
        "ffrtmp_attempts_total{engine=\"ffmpeg\",outcome=\"completed\"} 1",
        "ffrtmp_stage_seconds_sum{stage=\"encode\"} 4.5",
        "ffrtmp_stage_seconds_count{stage=\"claim_wait\"} 2",
        "ffrtmp_frames_dropped_total{queue=\"default\"} 100",
        "ffrtmp_job_compression_ratio_sum 4",
        "ffrtmp_energy_joules_total{source=\"rapl\"} 36000",
        "ffrtmp_wasted_cpu_seconds_total 2",
        "ffrtmp_wasted_energy_joules_total 3600",
        "ffrtmp_attempts_without_sandbox_layer_total{layer=\"landlock\"} 1",
        "ffrtmp_queue_by_reason{reason=\"next_in_line\"} 1",
        "ffrtmp_tenant_queued_jobs{tenant=\"default\"} 1",
        "ffrtmp_sla_jobs_total{verdict=\"compliant\"} 2",
        "ffrtmp_tenant_jobs_ended_total{tenant=\"default\",state=\"completed\"} 1",
    ] {
        assert!(text.lines().any(|served| served == line), "{line} in\n{text}");
    }
    assert!(text.contains(&format!("ffrtmp_node_disk_free_ratio{{node_id=\"{node}\",node=\"a\"}} 0.25")), "{text}");
    let told = |name: &'static str| {
        let line = text.lines().find(|line| line.starts_with(name) && !line.starts_with('#')).expect(name);
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    assert!(told("ffrtmp_store_seconds_count{operation=\"claim\"}") >= 3.0, "{text}");
    assert!(told("ffrtmp_certificate_expiry_timestamp_seconds") > 2e9);

    let headings =
        ["### Results, master", "### Quality of experience, master", "### Cost, master", "### Predictions, master"];
    let mut texts = Vec::new();
    for (heading, address) in headings.into_iter().zip(&running.exporters) {
        let text = get(*address).await;
        keeps_its_promise(heading, &text, &[]);
        texts.push(text);
    }
    for (text, line) in [
        (&texts[0], "results_scenario_jobs_total{scenario=\"720p30-h264\",state=\"completed\"} 1"),
        (&texts[0], "results_scenario_mean_power_watts{scenario=\"720p30-h264\"} 7200"),
        (&texts[1], "qoe_vmaf_score{scenario=\"720p30-h264\"} 93.5"),
        (&texts[1], "qoe_psnr_score{scenario=\"720p30-h264\"} 41"),
        (&texts[1], "qoe_drop_rate{scenario=\"720p30-h264\"} 0.25"),
        (&texts[1], "qoe_live_added_latency_seconds{scenario=\"720p30-h264\",quantile=\"0.95\"} 0.09"),
        (&texts[2], "cost_spent_total{kind=\"cpu\",currency=\"USD\"} 0.012"),
        (&texts[2], "cost_spent_total{kind=\"energy\",currency=\"USD\"} 0.0055"),
        (&texts[2], "cost_wasted_total{currency=\"USD\"} 0.0025"),
        (&texts[2], "cost_tenant_total{tenant=\"default\",currency=\"USD\"} 0.5175"),
        (&texts[2], "cost_rate{resource=\"energy_kwh\",currency=\"USD\"} 0.5"),
        (&texts[3], "ml_exporter_up 0"),
    ] {
        assert!(text.lines().any(|served| served == line), "{line} in\n{text}");
    }
    running.stop().await;
}

/// The bound of the documentation: nodes, tenants and scenarios of their own, and one for all others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_jobs_and_five_hundred_nodes_leave_few_series() {
    let settings = Settings { tariff: Some(tariff()), ..Settings::default() };
    let running = Running::start(MasterOptions { settings, ..MasterOptions::default() }).await;
    let mut nodes = Vec::new();
    for number in 0..500 {
        nodes.push(running.node(&format!("node-{number}")).await);
    }
    let before = series(&get(running.scrape).await);
    for round in 0..10 {
        let request = |number| json!({"scenario": format!("show{}-720p30-h264", round * 1000 + number)});
        let requests = (0..1000).map(|number| serde_json::from_value(request(number)).unwrap()).collect();
        running.coordinator.submit_batch(requests).await.unwrap();
        let ended = running.work(nodes[round * 50], "completed", &measured()).await;
        assert!(ended.len() == 1000 && ended.iter().all(|job| job.state == JobState::Completed));
    }
    let crowded = get(running.scrape).await;
    assert_eq!(series(&crowded), before + 6, "what became of the jobs of one tenant");
    for (address, families) in running.exporters.iter().zip([18, 21, 7, 0]) {
        let text = get(*address).await;
        assert!(series(&text) <= 101 * (families + 3) + 30, "{} series at {address}", series(&text));
        let other = text.lines().any(|line| line.contains("scenario=\"other\""));
        assert_eq!(other, families > 0, "{text}");
    }
    for node in nodes {
        running.coordinator.remove_node(node).await.unwrap();
    }
    let after = get(running.scrape).await;
    assert_eq!(series(&after), series(&crowded) - 500 * 5, "nodes that left have no series");
    assert!(after.len() < 200_000, "{} bytes", after.len());
    running.stop().await;
}

#[tokio::test]
async fn the_master_says_what_a_job_cost() {
    let settings = Settings { tariff: Some(tariff()), ..Settings::default() };
    let running = Running::start(MasterOptions { settings, ..MasterOptions::default() }).await;
    let node = running.node("a").await;
    running.submit(json!({"scenario": "720p30-h264"})).await;
    let claim = json!({"metrics": {"cpu_seconds": 10.0, "cost": {"currency": "EUR", "total": 1e9}}});
    let ended = running.work(node, "completed", &claim).await;
    let cost = ended[0].result.as_ref().unwrap().cost.as_ref().unwrap();
    assert_eq!((cost.currency.as_str(), cost.cpu, cost.energy, cost.total), ("USD", 0.01, None, 0.51));
    let stored = running.coordinator.job(&ended[0].id.into()).await.unwrap();
    assert_eq!(stored.result.unwrap().cost.as_deref(), Some(&**cost));
    running.stop().await;

    let free = Running::start(MasterOptions::default()).await;
    let node = free.node("a").await;
    free.submit(json!({"scenario": "720p30-h264"})).await;
    let ended = free.work(node, "completed", &claim).await;
    assert_eq!(ended[0].result.as_ref().unwrap().cost, None, "a node cannot say what it costs");
    assert!(get(free.exporters[2]).await.ends_with("cost_exporter_up 0\n"));
    free.stop().await;
}

/// All attempts of a job cost, whatever became of them, and each once.
#[tokio::test]
async fn attempts_without_an_output_cost_too() {
    let settings = Settings { tariff: Some(tariff()), ..Settings::default() };
    let running = Running::start(MasterOptions { settings, ..MasterOptions::default() }).await;
    let node = running.node("a").await;
    let metrics = json!({"cpu_seconds": 10.0, "wall_seconds": 5.0});
    let end = async |status: &str, cancel: bool| {
        let job = running.claim(node).await.remove(0);
        running.coordinator.start(job.id, StartRequest { node_id: node, fence: job.fence }).await.unwrap();
        if cancel {
            running.coordinator.cancel(&job.id.into()).await.unwrap();
        }
        let said = json!({"job_id": job.id, "node_id": node, "fence": job.fence, "status": status, "metrics": metrics});
        let finish: FinishRequest = serde_json::from_value(said).unwrap();
        running.coordinator.finish(finish.clone()).await.unwrap();
        // An answer that was lost: said again, it is the same end.
        running.coordinator.finish(finish).await.unwrap()
    };
    running.submit(json!({"scenario": "720p30-h264"})).await;
    let released = end("released", false).await;
    let spent = released.spent.clone().unwrap();
    assert_eq!((spent.attempts, spent.cpu_seconds, spent.cost.unwrap().total), (1, 10.0, 0.01));
    let completed = end("completed", false).await;
    assert_eq!((completed.spent.clone(), completed.cost().unwrap().total), (released.spent, 0.52));
    running.submit(json!({"scenario": "1080p30-h264"})).await;
    let canceled = end("canceled", true).await;
    assert_eq!((canceled.state, canceled.spent), (JobState::Canceled, None), "its end was before");

    let text = get(running.exporters[2]).await;
    for line in [
        "cost_wasted_total{currency=\"USD\"} 0.02",
        "cost_jobs_total{currency=\"USD\"} 1",
        "cost_tenant_total{tenant=\"default\",currency=\"USD\"} 0.53",
        "cost_per_job{scenario=\"720p30-h264\",currency=\"USD\"} 0.52",
        "cost_total_load_aware{scenario=\"720p30-h264\",currency=\"USD\"} 0.52",
        "cost_scenario_total{scenario=\"1080p30-h264\",currency=\"USD\"} 0.01",
    ] {
        assert!(text.lines().any(|served| served == line), "{line} in\n{text}");
    }
    assert!(!text.contains("cost_per_job{scenario=\"1080p30-h264\""), "{text}");
    running.stop().await;
}

/// Whoever asks as Prometheus does gets OpenMetrics, and in it the latest traced job of each bucket.
#[tokio::test]
async fn exemplars_lead_from_histograms_to_traces() {
    let settings = Settings { tracing: Some(SampleRatio::ALL), ..Settings::default() };
    let running = Running::start(MasterOptions { settings, ..MasterOptions::default() }).await;
    let node = running.node("a").await;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    running.submit(json!({"scenario": "720p30-h264", "traceparent": format!("00-{id}-00f067aa0ba902b7-01")})).await;
    running.work(node, "completed", &measured()).await;
    let accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let text = get_as(running.scrape, accept, crate::exporters::openmetrics::CONTENT_TYPE).await;
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
    for series in [
        "ffrtmp_stage_seconds_bucket{stage=\"encode\",le=\"5.0\"} 1",
        "ffrtmp_stage_seconds_bucket{stage=\"claim_wait\",le=",
        "ffrtmp_job_speed_ratio_bucket{queue=\"default\",le=\"2.0\"} 1",
        "ffrtmp_attempt_seconds_bucket{outcome=\"completed\",le=",
        "ffrtmp_job_duration_seconds_bucket{le=",
        "ffrtmp_job_wait_time_seconds_bucket{le=",
    ] {
        let traced = format!(" # {{trace_id=\"{id}\"}} ");
        let found: Vec<_> = text.lines().filter(|line| line.starts_with(series) && line.contains(&traced)).collect();
        assert_eq!(found.len(), 1, "{series} in\n{text}");
    }
    let plain = get(running.scrape).await;
    assert!(!plain.contains(id) && !plain.contains("# EOF"), "{plain}");
    let served = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(served(&text), served(&plain), "the same series");
    running.stop().await;
}

struct FreshTimed;

#[async_trait]
impl Harness for FreshTimed {
    async fn fresh(&self) -> Arc<dyn Store> {
        let calls = MasterMetrics::new().unwrap().own.calls;
        Arc::new(Timed::new(Arc::new(MemoryStore::new()), calls))
    }
}

mod a_timed_store {
    ffrtmp_core::store_conformance!(crate::master::tests::FreshTimed);
}

#[tokio::test]
async fn a_taken_port_costs_one_exporter() {
    let taken = TcpListener::bind(HERE).await.unwrap();
    let exporters =
        ExporterAddresses { results: taken.local_addr().ok(), qoe: Some(HERE), ..ExporterAddresses::default() };
    let master = Master::new(Arc::new(MemoryStore::new()), MasterOptions { exporters, ..MasterOptions::default() });
    assert_eq!(master.await.unwrap().exporter_addresses().len(), 1);
}
