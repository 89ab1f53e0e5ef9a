//! The metrics of an agent, by the names of the contract.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::attempt::Ended;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::id::NodeId;
use ffrtmp_core::job::SlaVerdict;
use ffrtmp_core::node::Telemetry;
use prometheus::{Counter, CounterVec, Gauge, GaugeVec, Histogram, HistogramOpts, Opts, Registry, TextEncoder};

/// Every metric, labelled with the node's id.
pub(super) struct AgentMetrics {
    registry: Registry,
    started: Instant,
    cpu_usage: Gauge,
    memory_bytes: Gauge,
    active_jobs: Gauge,
    heartbeats: Counter,
    heartbeat: Counter,
    jobs: CounterVec,
    duration: Histogram,
    uptime: Gauge,
    power: Gauge,
    temperature: Gauge,
    gpu_usage: GaugeVec,
    held_back: Gauge,
    sla: Gauge,
    sla_verdicts: Mutex<(u64, u64)>,
    input_bytes: Counter,
    output_bytes: Counter,
    cpu_seconds: Counter,
    throttled_seconds: Counter,
    energy: Counter,
}

impl AgentMetrics {
    pub(super) fn new(node: NodeId) -> Result<Self> {
        Self::build(node).map_err(|error| Error::new(Code::Internal, "cannot set up metrics").source(error))
    }

    fn build(node: NodeId) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let opts = |name: &str, help: &str| Opts::new(name, help).const_label("node_id", node.to_string());
        let gauge = |name, help| register(&registry, Gauge::with_opts(opts(name, help))?);
        // Not a number until it is known: what no sensor tells is not 0.
        let known = |name, help| {
            let gauge = register(&registry, Gauge::with_opts(opts(name, help))?)?;
            gauge.set(f64::NAN);
            Ok::<_, prometheus::Error>(gauge)
        };
        let counter = |name, help| register(&registry, Counter::with_opts(opts(name, help))?);
        Ok(Self {
            started: Instant::now(),
            cpu_usage: gauge("ffrtmp_worker_cpu_usage", "Use of all cores, percent 0 to 100")?,
            memory_bytes: gauge("ffrtmp_worker_memory_bytes", "Memory in use on the machine, bytes")?,
            active_jobs: gauge("ffrtmp_worker_active_jobs", "Attempts under way")?,
            heartbeats: counter("ffrtmp_worker_heartbeats_total", "Heartbeats that the master took")?,
            heartbeat: counter("ffrtmp_worker_heartbeat_total", "The same as ffrtmp_worker_heartbeats_total")?,
            jobs: register(
                &registry,
                CounterVec::new(opts("ffrtmp_worker_jobs_total", "Attempts that ended, by result"), &["result"])?,
            )?,
            duration: register(
                &registry,
                Histogram::with_opts(HistogramOpts {
                    common_opts: opts("ffrtmp_worker_job_duration_seconds", "Wall time of attempts, seconds"),
                    buckets: vec![0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3600.0],
                })?,
            )?,
            uptime: gauge("ffrtmp_worker_uptime_seconds", "Time since the agent started, seconds")?,
            power: known("ffrtmp_worker_power_watts", "Package power, watts, NaN where RAPL does not tell")?,
            temperature: known(
                "ffrtmp_worker_temperature_celsius",
                "Hottest sensor, degrees Celsius, NaN without sensors",
            )?,
            gpu_usage: register(
                &registry,
                GaugeVec::new(
                    opts("ffrtmp_worker_gpu_usage", "Use of a graphics processor, percent 0 to 100"),
                    &["gpu"],
                )?,
            )?,
            held_back: gauge("ffrtmp_worker_held_back", "1 while no jobs are taken although slots are free, else 0")?,
            sla: known(
                "ffrtmp_worker_sla_compliance_rate",
                "Counted jobs that kept their service level, percent, NaN before the first",
            )?,
            sla_verdicts: Mutex::default(),
            input_bytes: counter("ffrtmp_job_input_bytes_total", "Bytes read from inputs")?,
            output_bytes: counter("ffrtmp_job_output_bytes_total", "Bytes written to outputs")?,
            cpu_seconds: counter("ffrtmp_job_cpu_seconds_total", "CPU time of attempts, seconds")?,
            throttled_seconds: counter(
                "ffrtmp_job_throttled_seconds_total",
                "Time for which limits on the processor held attempts back, seconds",
            )?,
            energy: counter("ffrtmp_job_energy_joules_total", "Energy counted for attempts, joules")?,
            registry,
        })
    }

    /// Gauges that follow from what the machine is, set once.
    pub(super) fn machine(&self, node: NodeId, encoders: &[String], has_gpu: bool) {
        let flags = [
            ("ffrtmp_worker_has_gpu", "Whether the machine has a graphics processor", has_gpu),
            (
                "ffrtmp_worker_nvenc_available",
                "Whether an NVENC encoder passed its test encode",
                any(encoders, "_nvenc"),
            ),
            ("ffrtmp_worker_qsv_available", "Whether a QSV encoder passed its test encode", any(encoders, "_qsv")),
            (
                "ffrtmp_worker_vaapi_available",
                "Whether a VA-API encoder passed its test encode",
                any(encoders, "_vaapi"),
            ),
        ];
        for (name, help, on) in flags {
            let gauge = Gauge::with_opts(Opts::new(name, help).const_label("node_id", node.to_string()));
            // Registered before: the value cannot have changed.
            if let Ok(gauge) = gauge.and_then(|gauge| register(&self.registry, gauge)) {
                gauge.set(f64::from(u8::from(on)));
            }
        }
    }

    pub(super) fn heartbeat(&self) {
        self.heartbeats.inc();
        self.heartbeat.inc();
    }

    pub(super) fn active(&self, attempts: usize) {
        self.active_jobs.set(attempts as f64);
    }

    pub(super) fn telemetry(&self, telemetry: &Telemetry) {
        self.cpu_usage.set(telemetry.cpu_percent);
        self.memory_bytes.set(telemetry.memory_used_bytes as f64);
        self.power.set(telemetry.power_watts.unwrap_or(f64::NAN));
        self.temperature.set(telemetry.temperature_celsius.unwrap_or(f64::NAN));
        self.held_back.set(f64::from(u8::from(telemetry.held_back.is_some())));
        for gpu in &telemetry.gpus {
            // One that is lost is not idle.
            let usage = gpu.utilization_percent.unwrap_or(f64::NAN);
            self.gpu_usage.with_label_values(&[&gpu.index.to_string()]).set(usage);
        }
    }

    /// The master's verdict on a job that ended here.
    pub(super) fn judged(&self, verdict: &SlaVerdict) {
        if !verdict.counted {
            return;
        }
        let mut verdicts = self.sla_verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.0 += 1;
        verdicts.1 += u64::from(verdict.compliant);
        self.sla.set(verdicts.1 as f64 * 100.0 / verdicts.0 as f64);
    }

    pub(super) fn ended(&self, ended: &Ended, took: Duration) {
        self.jobs.with_label_values(&[ended.status.as_str()]).inc();
        self.duration.observe(took.as_secs_f64());
        if let Some(report) = &ended.report {
            self.input_bytes.inc_by(report.input_bytes as f64);
            self.output_bytes.inc_by(report.output_bytes as f64);
            self.cpu_seconds.inc_by(report.cpu_seconds.max(0.0));
            self.throttled_seconds.inc_by(report.throttled_seconds.unwrap_or_default().max(0.0));
            self.energy.inc_by(report.energy_joules.map_or(0.0, |joules| joules.0.max(0.0)));
        }
    }

    pub(super) fn text(&self) -> String {
        self.uptime.set(self.started.elapsed().as_secs_f64());
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

fn any(encoders: &[String], suffix: &str) -> bool {
    encoders.iter().any(|encoder| encoder.ends_with(suffix))
}

fn register<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: C) -> prometheus::Result<C> {
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}
