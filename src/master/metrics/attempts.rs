//! Attempts: how they ended, and what those that completed measured.

use ffrtmp_core::error::{Code, JobError};
use ffrtmp_core::job::{Attempt, AttemptOutcome, EnergySource, EngineName, Job, JobReport, JobState, Queue, Stage};
use ffrtmp_governor::sandbox::Layer;
use prometheus::{Counter, CounterVec, Histogram, HistogramVec, IntCounterVec, Result};

use super::jobs::names;
use crate::exporters::OTHER;
use crate::exporters::table::{LONG, RATIO, SPEED, Table};

/// What happened to attempts.
pub(super) struct AttemptMetrics {
    ended: IntCounterVec,
    failures: IntCounterVec,
    retries: IntCounterVec,
    expiries: IntCounterVec,
    seconds: HistogramVec,
    stages: HistogramVec,
    speed: HistogramVec,
    compression: Histogram,
    frames: CounterVec,
    dropped: CounterVec,
    bytes: CounterVec,
    media: Counter,
    cpu: Counter,
    throttled: Counter,
    energy: CounterVec,
    unconfined: IntCounterVec,
}

/// The time before an attempt, which no node reports.
const CLAIM_WAIT: &str = "claim_wait";
/// Errors with which the master ends attempts itself.
const EXPIRIES: [Code; 3] = [Code::LeaseExpired, Code::NeverStarted, Code::NodeLost];

impl AttemptMetrics {
    pub(super) fn new(table: &Table) -> Result<Self> {
        let codes = names(Code::ALL, |code| code.as_str());
        let outcomes = names(AttemptOutcome::ALL, |outcome| outcome.as_str());
        let queues = names(Queue::ALL, |queue| queue.as_str());
        let mut sources = names(EnergySource::ALL, |source| source.as_str());
        let mut layers = names(Layer::ALL, Layer::as_str);
        sources.push(OTHER);
        layers.push(OTHER);
        let mut stages = vec![CLAIM_WAIT];
        stages.extend(names(Stage::ALL, |stage| stage.as_str()));
        let ended = table.counts(
            "ffrtmp_attempts_total",
            "Attempts that ended, by outcome and engine",
            &["outcome", "engine"],
        )?;
        for outcome in &outcomes {
            let engines = [EngineName::Ffmpeg, EngineName::Gstreamer];
            engines.iter().for_each(|engine| drop(ended.with_label_values(&[*outcome, engine.as_str()])));
        }
        Ok(Self {
            ended,
            failures: table.counts_of(
                "ffrtmp_attempt_failures_total",
                "Attempts that failed, by error code",
                "code",
                &codes,
            )?,
            retries: table.counts_of(
                "ffrtmp_retries_total",
                "Attempts whose job is tried again, by error code",
                "code",
                &codes,
            )?,
            expiries: table.counts_of(
                "ffrtmp_lease_expiries_total",
                "Attempts that the master took back, by error code",
                "code",
                &EXPIRIES.map(Code::as_str),
            )?,
            seconds: table.histograms_of(
                "ffrtmp_attempt_seconds",
                "Time from claim to end of an attempt, seconds",
                LONG,
                "outcome",
                &outcomes,
            )?,
            stages: table.histograms_of("ffrtmp_stage_seconds", "Time of a stage, seconds", LONG, "stage", &stages)?,
            speed: table.histograms_of(
                "ffrtmp_job_speed_ratio",
                "Seconds of output made per second of wall time",
                SPEED,
                "queue",
                &queues,
            )?,
            compression: table.histogram("ffrtmp_job_compression_ratio", "Bytes of input per byte of output", RATIO)?,
            frames: table.sums_of("ffrtmp_frames_encoded_total", "Video frames in outputs", "queue", &queues)?,
            dropped: table.sums_of(
                "ffrtmp_frames_dropped_total",
                "Pictures that a live output did not get",
                "queue",
                &queues,
            )?,
            bytes: table.sums_of(
                "ffrtmp_media_bytes_total",
                "Bytes that completed attempts read and wrote",
                "direction",
                &["in", "out"],
            )?,
            media: table.sum("ffrtmp_media_seconds_total", "Length of outputs, seconds")?,
            cpu: table.sum("ffrtmp_cpu_seconds_total", "Processor time of completed attempts, seconds")?,
            throttled: table.sum(
                "ffrtmp_throttled_seconds_total",
                "Time for which limits on the processor held completed attempts back, seconds",
            )?,
            energy: table.sums_of(
                "ffrtmp_energy_joules_total",
                "Energy of completed attempts, by how it was found, joules",
                "source",
                &sources,
            )?,
            unconfined: table.counts_of(
                "ffrtmp_attempts_without_sandbox_layer_total",
                "Completed attempts that ran without a layer of the sandbox",
                "layer",
                &layers,
            )?,
        })
    }

    pub(super) fn assigned(&self, job: &Job) {
        if let (Some(attempt), Some(queued)) = (job.attempts.last(), job.queued_at) {
            let waited = attempt.assigned_at.since(queued).as_secs_f64();
            self.stages.with_label_values(&[CLAIM_WAIT]).observe(waited);
        }
    }

    pub(super) fn ended(&self, job: &Job, attempt: &Attempt) {
        let Some(outcome) = attempt.outcome else { return };
        let engine = job.engine_used.map_or("none", EngineName::as_str);
        self.ended.with_label_values(&[outcome.as_str(), engine]).inc();
        if let Some(ended) = attempt.ended_at {
            let took = ended.since(attempt.assigned_at).as_secs_f64();
            self.seconds.with_label_values(&[outcome.as_str()]).observe(took);
        }
        if let Some(error) = attempt.error.as_ref().filter(|_| outcome == AttemptOutcome::Failed) {
            self.failed(job, error);
        }
        if let Some(report) = job.result.as_deref().filter(|_| outcome == AttemptOutcome::Completed) {
            self.completed(job.queue, report);
        }
    }

    fn failed(&self, job: &Job, error: &JobError) {
        let code = &[error.code.as_str()];
        self.failures.with_label_values(code).inc();
        if matches!(job.state, JobState::Retrying | JobState::Queued | JobState::Paused) {
            self.retries.with_label_values(code).inc();
        }
        if EXPIRIES.contains(&error.code) {
            self.expiries.with_label_values(code).inc();
        }
    }

    fn completed(&self, queue: Queue, report: &JobReport) {
        let of_queue = &[queue.as_str()];
        self.speed.with_label_values(of_queue).observe(report.speed);
        self.frames.with_label_values(of_queue).inc_by(report.frames as f64);
        let dropped = report.live.as_ref().map_or(0, |live| live.dropped_frames);
        self.dropped.with_label_values(of_queue).inc_by(dropped as f64);
        for stage in &report.stages {
            self.stages.with_label_values(&[stage.name.as_str()]).observe(stage.seconds);
        }
        if report.input_bytes > 0 && report.output_bytes > 0 {
            self.compression.observe(report.input_bytes as f64 / report.output_bytes as f64);
        }
        self.bytes.with_label_values(&["in"]).inc_by(report.input_bytes as f64);
        self.bytes.with_label_values(&["out"]).inc_by(report.output_bytes as f64);
        self.media.inc_by(report.duration_seconds);
        self.cpu.inc_by(report.cpu_seconds);
        self.throttled.inc_by(report.throttled_seconds.unwrap_or_default());
        if let Some(joules) = report.energy_joules {
            let source = report.energy_source.map_or(OTHER, EnergySource::as_str);
            self.energy.with_label_values(&[source]).inc_by(joules.0);
        }
        for off in &report.sandbox_off {
            self.unconfined.with_label_values(&[layer(off)]).inc();
        }
    }
}

/// The layer that a report names with its reason; what this version does not know is `other`.
fn layer(off: &str) -> &'static str {
    let name = off.split_once(':').map_or(off, |(name, _)| name).trim();
    Layer::ALL.iter().map(|layer| layer.as_str()).find(|known| *known == name).unwrap_or(OTHER)
}
