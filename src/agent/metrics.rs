//! The metrics of an agent, by the names of `docs/metrics.md`.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::attempt::Ended;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::id::NodeId;
use ffrtmp_core::job::{JobReport, SlaVerdict, Stage};
use ffrtmp_core::node::{Registration, Safeguard, Telemetry};
use ffrtmp_core::protocol::ResultStatus;
use prometheus::{Counter, Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec};

use crate::exporters::table::{LONG, SPEED, Table};
use crate::exporters::text;

/// Every metric, labelled with the node's id.
pub(super) struct AgentMetrics {
    table: Table,
    started: Instant,
    machine: Machine,
    work: Work,
    looked: Mutex<Option<Instant>>,
}

/// How the machine is.
struct Machine {
    cpu_usage: Gauge,
    load: Gauge,
    memory_used: Gauge,
    memory_total: Gauge,
    swap_used: Gauge,
    disk_free: Gauge,
    disk_total: Gauge,
    network: GaugeVec,
    pressure: GaugeVec,
    power: Gauge,
    temperature: Gauge,
    gpu_usage: GaugeVec,
    has_gpu: Gauge,
    nvenc: Gauge,
    qsv: Gauge,
    vaapi: Gauge,
    sandbox: GaugeVec,
    limits: GaugeVec,
}

/// What the agent does.
struct Work {
    slots: Gauge,
    active_jobs: Gauge,
    slowest: GaugeVec,
    held_back: Gauge,
    connected: Gauge,
    uptime: Gauge,
    heartbeats: IntCounter,
    heartbeat: IntCounter,
    heartbeat_failures: IntCounter,
    jobs: IntCounterVec,
    failures: IntCounterVec,
    duration: Histogram,
    stages: HistogramVec,
    speed: Histogram,
    sla: Gauge,
    sla_verdicts: Mutex<(u64, u64)>,
    input_bytes: Counter,
    output_bytes: Counter,
    frames: Counter,
    dropped_frames: Counter,
    cpu_seconds: Counter,
    throttled_seconds: Counter,
    energy: Counter,
}

/// How the attempts under way are, at a scrape.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct UnderWay {
    pub(super) attempts: usize,
    pub(super) connected: bool,
    /// Lowest speed of live attempts, and of the others.
    pub(super) slowest_live: Option<f64>,
    pub(super) slowest_file: Option<f64>,
}

impl AgentMetrics {
    pub(super) fn new(node: NodeId, slots: u32) -> Result<Self> {
        Self::build(node, slots).map_err(|error| Error::new(Code::Internal, "cannot set up metrics").source(error))
    }

    fn build(node: NodeId, slots: u32) -> prometheus::Result<Self> {
        let table = Table::of("node_id", node.to_string());
        let (machine, work) = (Machine::new(&table)?, Work::new(&table)?);
        work.slots.set(f64::from(slots));
        Ok(Self { table, started: Instant::now(), machine, work, looked: Mutex::default() })
    }

    /// What the machine is, as the agent introduces it.
    pub(super) fn introduced(&self, said: &Registration) {
        self.machine.introduced(said);
    }

    pub(super) fn heartbeat(&self) {
        self.work.heartbeats.inc();
        self.work.heartbeat.inc();
    }

    pub(super) fn heartbeat_failed(&self) {
        self.work.heartbeat_failures.inc();
    }

    pub(super) fn telemetry(&self, telemetry: &Telemetry) {
        *self.looked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        self.machine.telemetry(telemetry);
        self.work.held_back.set(flag(telemetry.held_back.is_some()));
    }

    /// Whether nobody has looked at the machine for so long.
    pub(super) fn is_older_than(&self, age: Duration) -> bool {
        self.looked.lock().unwrap_or_else(PoisonError::into_inner).is_none_or(|looked| looked.elapsed() > age)
    }

    /// The master's verdict on a job that ended here.
    pub(super) fn judged(&self, verdict: &SlaVerdict) {
        if !verdict.counted {
            return;
        }
        let mut verdicts = self.work.sla_verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        verdicts.0 += 1;
        verdicts.1 += u64::from(verdict.compliant);
        self.work.sla.set(verdicts.1 as f64 * 100.0 / verdicts.0 as f64);
    }

    pub(super) fn ended(&self, ended: &Ended, took: Duration) {
        self.work.jobs.with_label_values(&[ended.status.as_str()]).inc();
        self.work.duration.observe(took.as_secs_f64());
        if let Some(code) = ended.failure {
            self.work.failures.with_label_values(&[code.as_str()]).inc();
        }
        if let Some(report) = &ended.report {
            self.work.measured(report);
        }
        if let Some(used) = ended.report.as_ref().or(ended.spent.as_ref()) {
            self.work.used(used);
        }
    }

    pub(super) fn text(&self, now: UnderWay) -> String {
        self.work.uptime.set(self.started.elapsed().as_secs_f64());
        self.work.active_jobs.set(now.attempts as f64);
        self.work.connected.set(flag(now.connected));
        for (kind, speed) in [("live", now.slowest_live), ("file", now.slowest_file)] {
            self.work.slowest.with_label_values(&[kind]).set(speed.unwrap_or(f64::NAN));
        }
        text(&self.table.gather())
    }
}

impl Machine {
    fn new(table: &Table) -> prometheus::Result<Self> {
        Ok(Self {
            cpu_usage: table.gauge("ffrtmp_worker_cpu_usage", "Use of all cores, percent 0 to 100")?,
            load: table.gauge("ffrtmp_worker_load1", "Load average over one minute")?,
            memory_used: table.gauge("ffrtmp_worker_memory_bytes", "Memory in use on the machine, bytes")?,
            memory_total: table.gauge("ffrtmp_worker_memory_total_bytes", "Memory of the machine, bytes")?,
            swap_used: table
                .unknown("ffrtmp_worker_swap_used_bytes", "Swap in use, bytes, NaN where the kernel does not tell")?,
            disk_free: table.gauge("ffrtmp_worker_disk_free_bytes", "Free space for work, bytes")?,
            disk_total: table.gauge("ffrtmp_worker_disk_total_bytes", "Size of the file system for work, bytes")?,
            network: table.gauges(
                "ffrtmp_worker_network_bytes_per_second",
                "Network traffic but that of the loopback, bytes per second",
                &["direction"],
            )?,
            pressure: table.gauges(
                "ffrtmp_worker_pressure_percent",
                "Time for which work waited for a resource, over 10 s, percent",
                &["resource", "kind"],
            )?,
            power: table.unknown("ffrtmp_worker_power_watts", "Package power, watts, NaN where RAPL does not tell")?,
            temperature: table
                .unknown("ffrtmp_worker_temperature_celsius", "Hottest sensor, degrees Celsius, NaN without sensors")?,
            gpu_usage: table.gauges(
                "ffrtmp_worker_gpu_usage",
                "Use of a graphics processor, percent 0 to 100",
                &["gpu"],
            )?,
            has_gpu: table.gauge("ffrtmp_worker_has_gpu", "Whether the machine has a graphics processor, 1 or 0")?,
            nvenc: table
                .gauge("ffrtmp_worker_nvenc_available", "Whether an NVENC encoder passed its test encode, 1 or 0")?,
            qsv: table.gauge("ffrtmp_worker_qsv_available", "Whether a QSV encoder passed its test encode, 1 or 0")?,
            vaapi: table
                .gauge("ffrtmp_worker_vaapi_available", "Whether a VA-API encoder passed its test encode, 1 or 0")?,
            sandbox: table.gauges(
                "ffrtmp_worker_sandbox_layer",
                "Whether a layer of the sandbox is in force around attempts, 1 or 0",
                &["layer"],
            )?,
            limits: table.gauges(
                "ffrtmp_worker_limit_enforced",
                "Whether a limit of attempts holds, 1, or is only watched, 0",
                &["limit"],
            )?,
        })
    }

    fn introduced(&self, said: &Registration) {
        let works = |suffix: &str| flag(said.capabilities.encoders.iter().any(|encoder| encoder.ends_with(suffix)));
        self.has_gpu.set(flag(said.has_gpu));
        self.nvenc.set(works("_nvenc"));
        self.qsv.set(works("_qsv"));
        self.vaapi.set(works("_vaapi"));
        let show = |gauges: &GaugeVec, guards: &[Safeguard]| {
            gauges.reset();
            guards.iter().for_each(|guard| gauges.with_label_values(&[&guard.name]).set(flag(guard.on)));
        };
        show(&self.sandbox, &said.capabilities.sandbox);
        show(&self.limits, &said.capabilities.limits);
    }

    fn telemetry(&self, seen: &Telemetry) {
        let bytes = |bytes: Option<u64>| bytes.map_or(f64::NAN, |bytes| bytes as f64);
        self.cpu_usage.set(seen.cpu_percent);
        self.load.set(seen.load_avg_1m);
        self.memory_used.set(seen.memory_used_bytes as f64);
        self.memory_total.set(seen.memory_total_bytes as f64);
        self.swap_used.set(bytes(seen.swap_used_bytes));
        self.disk_free.set(seen.disk_available_bytes as f64);
        self.disk_total.set(seen.disk_total_bytes as f64);
        let network = [("in", seen.network_receive_bytes_per_second), ("out", seen.network_send_bytes_per_second)];
        for (direction, rate) in network {
            self.network.with_label_values(&[direction]).set(rate.unwrap_or(f64::NAN));
        }
        for (resource, kind, percent) in [
            ("cpu", "some", seen.cpu_pressure_avg10),
            ("cpu", "full", seen.cpu_pressure_full_avg10),
            ("memory", "some", seen.memory_pressure_avg10),
            ("memory", "full", seen.memory_pressure_full_avg10),
            ("io", "some", seen.io_pressure_avg10),
            ("io", "full", seen.io_pressure_full_avg10),
        ] {
            if let Some(percent) = percent {
                self.pressure.with_label_values(&[resource, kind]).set(percent);
            }
        }
        self.power.set(seen.power_watts.unwrap_or(f64::NAN));
        self.temperature.set(seen.temperature_celsius.unwrap_or(f64::NAN));
        for gpu in &seen.gpus {
            // One that is lost is not idle.
            let usage = gpu.utilization_percent.unwrap_or(f64::NAN);
            self.gpu_usage.with_label_values(&[gpu.index.to_string()]).set(usage);
        }
    }
}

impl Work {
    fn new(table: &Table) -> prometheus::Result<Self> {
        let results: Vec<_> = ResultStatus::ALL.iter().map(|status| status.as_str()).collect();
        let stages: Vec<_> = Stage::ALL.iter().map(|stage| stage.as_str()).collect();
        let codes: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        Ok(Self {
            slots: table.gauge("ffrtmp_worker_slots", "Attempts at once")?,
            active_jobs: table.gauge("ffrtmp_worker_active_jobs", "Attempts under way")?,
            slowest: table.gauges(
                "ffrtmp_worker_slowest_speed_ratio",
                "Speed of the slowest attempt under way, seconds of output per second, NaN without one",
                &["kind"],
            )?,
            held_back: table
                .gauge("ffrtmp_worker_held_back", "1 while no jobs are taken although slots are free, else 0")?,
            connected: table.gauge("ffrtmp_worker_connected", "1 while the master answers, else 0")?,
            uptime: table.gauge("ffrtmp_worker_uptime_seconds", "Time since the agent started, seconds")?,
            heartbeats: table.count("ffrtmp_worker_heartbeats_total", "Heartbeats that the master took")?,
            heartbeat: table.count("ffrtmp_worker_heartbeat_total", "The same as ffrtmp_worker_heartbeats_total")?,
            heartbeat_failures: table
                .count("ffrtmp_worker_heartbeat_failures_total", "Heartbeats that the master did not take")?,
            jobs: table.counts_of("ffrtmp_worker_jobs_total", "Attempts that ended, by result", "result", &results)?,
            failures: table.counts_of(
                "ffrtmp_worker_attempt_failures_total",
                "Attempts that failed here, by error code",
                "code",
                &codes,
            )?,
            duration: table.histogram("ffrtmp_worker_job_duration_seconds", "Wall time of attempts, seconds", LONG)?,
            stages: table.histograms_of(
                "ffrtmp_worker_stage_seconds",
                "Time of a stage of completed attempts, seconds",
                LONG,
                "stage",
                &stages,
            )?,
            speed: table.histogram(
                "ffrtmp_worker_job_speed_ratio",
                "Seconds of output made per second of wall time",
                SPEED,
            )?,
            sla: table.unknown(
                "ffrtmp_worker_sla_compliance_rate",
                "Counted jobs that kept their service level, percent, NaN before the first",
            )?,
            sla_verdicts: Mutex::default(),
            input_bytes: table.sum("ffrtmp_job_input_bytes_total", "Bytes read from inputs")?,
            output_bytes: table.sum("ffrtmp_job_output_bytes_total", "Bytes written to outputs")?,
            frames: table.sum("ffrtmp_job_frames_total", "Video frames in outputs")?,
            dropped_frames: table.sum("ffrtmp_job_dropped_frames_total", "Pictures that a live output did not get")?,
            cpu_seconds: table.sum("ffrtmp_job_cpu_seconds_total", "CPU time of attempts, seconds")?,
            throttled_seconds: table.sum(
                "ffrtmp_job_throttled_seconds_total",
                "Time for which limits on the processor held attempts back, seconds",
            )?,
            energy: table.sum("ffrtmp_job_energy_joules_total", "Energy counted for attempts, joules")?,
        })
    }

    fn measured(&self, report: &JobReport) {
        self.speed.observe(report.speed);
        for stage in &report.stages {
            self.stages.with_label_values(&[stage.name.as_str()]).observe(stage.seconds);
        }
        self.input_bytes.inc_by(report.input_bytes as f64);
        self.output_bytes.inc_by(report.output_bytes as f64);
        self.frames.inc_by(report.frames as f64);
        self.dropped_frames.inc_by(report.live.as_ref().map_or(0, |live| live.dropped_frames) as f64);
        self.throttled_seconds.inc_by(report.throttled_seconds.unwrap_or_default().max(0.0));
    }

    /// What an attempt took of the machine, whether it made something of it or not.
    fn used(&self, report: &JobReport) {
        self.cpu_seconds.inc_by(report.cpu_seconds.max(0.0));
        self.energy.inc_by(report.energy_joules.map_or(0.0, |joules| joules.0.max(0.0)));
    }
}

fn flag(on: bool) -> f64 {
    f64::from(u8::from(on))
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::node::GpuTelemetry;
    use ffrtmp_core::units::Joules;

    use super::*;
    use crate::exporters::page::keeps_its_promise;

    #[test]
    fn everything_on_the_page_is_served_and_nothing_else() {
        let metrics = AgentMetrics::new(NodeId::random(), 4).unwrap();
        let mut said = Registration { has_gpu: true, ..Registration::default() };
        said.capabilities.encoders = vec!["libx264".into(), "h264_nvenc".into()];
        said.capabilities.sandbox = vec![Safeguard::on("seccomp", "a filter"), Safeguard::off("landlock", "no kernel")];
        said.capabilities.limits = vec![Safeguard::on("memory", "a group")];
        metrics.introduced(&said);
        let some = Some(1.5);
        metrics.telemetry(&Telemetry {
            cpu_pressure_avg10: some,
            io_pressure_full_avg10: some,
            held_back: Some("a full disk".into()),
            gpus: vec![GpuTelemetry { utilization_percent: Some(30.0), ..GpuTelemetry::default() }],
            ..Telemetry::default()
        });
        let status = ResultStatus::Failed;
        let spent = Some(JobReport { cpu_seconds: 1.5, energy_joules: Some(Joules(6.0)), ..JobReport::default() });
        let failed = Ended { status, report: None, spent, failure: Some(Code::Network) };
        metrics.ended(&failed, Duration::from_secs(2));
        let text = metrics.text(UnderWay { slowest_live: Some(0.8), ..UnderWay::default() });
        keeps_its_promise("## Agent, port 9091", &text, &["node_id"]);
        for line in [
            "ffrtmp_worker_slots{node_id=ID} 4",
            "ffrtmp_worker_nvenc_available{node_id=ID} 1",
            "ffrtmp_worker_vaapi_available{node_id=ID} 0",
            "ffrtmp_worker_sandbox_layer{layer=\"landlock\",node_id=ID} 0",
            "ffrtmp_worker_limit_enforced{limit=\"memory\",node_id=ID} 1",
            "ffrtmp_worker_pressure_percent{kind=\"full\",node_id=ID,resource=\"io\"} 1.5",
            "ffrtmp_worker_slowest_speed_ratio{kind=\"live\",node_id=ID} 0.8",
            "ffrtmp_worker_slowest_speed_ratio{kind=\"file\",node_id=ID} NaN",
            "ffrtmp_worker_attempt_failures_total{code=\"network\",node_id=ID} 1",
            "ffrtmp_job_cpu_seconds_total{node_id=ID} 1.5",
            "ffrtmp_job_energy_joules_total{node_id=ID} 6",
            "ffrtmp_worker_held_back{node_id=ID} 1",
            "ffrtmp_worker_power_watts{node_id=ID} NaN",
        ] {
            let id = text.split("node_id=").nth(1).and_then(|rest| rest.split(['}', ',']).next()).unwrap();
            let line = line.replace("ID}", &format!("{id}}}")).replace("ID,", &format!("{id},"));
            assert!(text.lines().any(|served| served == line), "{line} in\n{text}");
        }
    }
}
