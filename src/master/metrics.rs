//! The metrics of a master, by the names of the contract.

use std::time::Instant;

use ffrtmp_core::coordinator::{Coordinator, Watcher};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{EngineName, Job, JobState, Priority, Queue};
use ffrtmp_core::node::NodeStatus;
use prometheus::{
    Counter, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounterVec, Opts, Registry, TextEncoder,
};

/// Counters that grow with events, and gauges that are read from the store when somebody looks.
pub(super) struct MasterMetrics {
    registry: Registry,
    started: Instant,
    jobs_total: GaugeVec,
    active_jobs: Gauge,
    queue_length: Gauge,
    queue_by_priority: GaugeVec,
    queue_by_type: GaugeVec,
    nodes_total: GaugeVec,
    schedule_attempts: IntCounterVec,
    job_duration: Histogram,
    job_wait: Histogram,
    jobs_by_engine: GaugeVec,
    completed_by_engine: GaugeVec,
    uptime: Gauge,
    leads: Gauge,
    http_bytes: IntCounterVec,
    http_requests: IntCounterVec,
    jobs_by_queue: GaugeVec,
    scheduler_nodes: Gauge,
    scrape_errors: Counter,
}

impl MasterMetrics {
    pub(super) fn new() -> Result<Self> {
        Self::build().map_err(|error| Error::new(Code::Internal, "cannot set up metrics").source(error))
    }

    fn build() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let gauge = |name, help| keep(&registry, Gauge::with_opts(Opts::new(name, help))?);
        let gauges = |name, help, labels: &[&str]| keep(&registry, GaugeVec::new(Opts::new(name, help), labels)?);
        let counters =
            |name, help, labels: &[&str]| keep(&registry, IntCounterVec::new(Opts::new(name, help), labels)?);
        let seconds = |name, help| {
            let buckets = vec![0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 30.0, 60.0, 300.0, 900.0, 3600.0, 14400.0];
            keep(&registry, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?)
        };
        Ok(Self {
            started: Instant::now(),
            jobs_total: gauges("ffrtmp_jobs_total", "Jobs in the store, by state", &["state"])?,
            active_jobs: gauge("ffrtmp_active_jobs", "Jobs assigned or running")?,
            queue_length: gauge("ffrtmp_queue_length", "Jobs ready to be claimed")?,
            queue_by_priority: gauges(
                "ffrtmp_queue_by_priority",
                "Jobs ready to be claimed, by priority",
                &["priority"],
            )?,
            queue_by_type: gauges("ffrtmp_queue_by_type", "Jobs ready to be claimed, by queue", &["type"])?,
            nodes_total: gauges("ffrtmp_nodes_total", "Nodes, by status", &["status"])?,
            schedule_attempts: counters("ffrtmp_schedule_attempts_total", "Claims answered, by result", &["result"])?,
            job_duration: seconds(
                "ffrtmp_job_duration_seconds",
                "Time from start to end of the last attempt, seconds",
            )?,
            job_wait: seconds("ffrtmp_job_wait_time_seconds", "Time from queued to started, seconds")?,
            jobs_by_engine: gauges("ffrtmp_jobs_by_engine", "Jobs in the store, by engine", &["engine"])?,
            completed_by_engine: gauges(
                "ffrtmp_jobs_completed_by_engine",
                "Completed jobs in the store, by engine",
                &["engine"],
            )?,
            uptime: gauge("ffrtmp_master_uptime_seconds", "Time since the master started, seconds")?,
            leads: gauge("ffrtmp_master_leads", "1 on the one of several masters that reaps, else 0")?,
            http_bytes: counters(
                "scheduler_http_bandwidth_bytes_total",
                "Bytes of HTTP bodies, by direction",
                &["direction"],
            )?,
            http_requests: counters(
                "scheduler_http_requests_total",
                "HTTP requests, by method, route pattern and status",
                &["method", "endpoint", "status"],
            )?,
            jobs_by_queue: gauges("scheduler_jobs_by_queue", "Jobs in the store, by queue", &["queue"])?,
            scheduler_nodes: gauge("scheduler_nodes_total", "Nodes known")?,
            scrape_errors: keep(
                &registry,
                Counter::with_opts(Opts::new(
                    "ffrtmp_master_scrape_errors_total",
                    "Scrapes that could not read the store",
                ))?,
            )?,
            registry,
        })
    }

    /// One answered HTTP request; `endpoint` is the route's pattern.
    pub(super) fn http(&self, method: &str, endpoint: &str, status: u16, bytes_in: u64, bytes_out: u64) {
        self.http_requests.with_label_values(&[method, endpoint, &status.to_string()]).inc();
        self.http_bytes.with_label_values(&["in"]).inc_by(bytes_in);
        self.http_bytes.with_label_values(&["out"]).inc_by(bytes_out);
    }

    /// Everything in the text format, with the gauges read now.
    pub(super) async fn text(&self, coordinator: &Coordinator) -> String {
        if let Err(error) = self.read(coordinator).await {
            self.scrape_errors.inc();
            tracing::warn!(%error, "metrics show old numbers");
        }
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "cannot encode metrics");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    async fn read(&self, coordinator: &Coordinator) -> Result<()> {
        let counts = coordinator.counts().await?;
        let number = |count: Option<&u64>| count.copied().unwrap_or(0) as f64;
        for state in JobState::ALL {
            self.jobs_total.with_label_values(&[state.as_str()]).set(number(counts.by_state.get(state)));
        }
        for priority in Priority::ALL {
            self.queue_by_priority
                .with_label_values(&[priority.as_str()])
                .set(number(counts.queued_by_priority.get(priority)));
        }
        for queue in Queue::ALL {
            self.queue_by_type.with_label_values(&[queue.as_str()]).set(number(counts.queued_by_queue.get(queue)));
            self.jobs_by_queue.with_label_values(&[queue.as_str()]).set(number(counts.by_queue.get(queue)));
        }
        for engine in [EngineName::Ffmpeg, EngineName::Gstreamer] {
            self.jobs_by_engine.with_label_values(&[engine.as_str()]).set(number(counts.by_engine.get(&engine)));
            self.completed_by_engine
                .with_label_values(&[engine.as_str()])
                .set(number(counts.completed_by_engine.get(&engine)));
        }
        let active = number(counts.by_state.get(&JobState::Assigned)) + number(counts.by_state.get(&JobState::Running));
        self.active_jobs.set(active);
        self.queue_length.set(number(counts.by_state.get(&JobState::Queued)));
        self.uptime.set(self.started.elapsed().as_secs_f64());
        self.leads.set(if coordinator.is_leading() { 1.0 } else { 0.0 });
        let nodes = coordinator.nodes().await?;
        self.scheduler_nodes.set(nodes.len() as f64);
        for status in NodeStatus::ALL {
            let count = nodes.iter().filter(|node| node.status == *status).count();
            self.nodes_total.with_label_values(&[status.as_str()]).set(count as f64);
        }
        Ok(())
    }
}

impl Watcher for MasterMetrics {
    fn claimed(&self, jobs: &[Job]) {
        let result = if jobs.is_empty() { "empty" } else { "assigned" };
        self.schedule_attempts.with_label_values(&[result]).inc();
    }

    fn started(&self, job: &Job) {
        if let (Some(started), Some(queued)) = (job.started_at, job.queued_at) {
            self.job_wait.observe(started.since(queued).as_secs_f64());
        }
    }

    fn ended(&self, job: &Job) {
        if let (Some(ended), Some(started)) = (job.completed_at, job.started_at) {
            self.job_duration.observe(ended.since(started).as_secs_f64());
        }
    }
}

fn keep<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
