//! Attempts: how they ended, and what those that completed measured.

use ffrtmp_core::cost::Spent;
use ffrtmp_core::error::{Code, JobError};
use ffrtmp_core::job::{Attempt, AttemptOutcome, EnergySource, EngineName, Job, JobReport, JobState, Queue, Stage};
use ffrtmp_governor::sandbox::Layer;
use prometheus::{Counter, CounterVec, Histogram, IntCounterVec, Result};

use super::jobs::names;
use crate::exporters::OTHER;
use crate::exporters::exemplars::Traced;
use crate::exporters::table::{LONG, RATIO, SPEED, Table};

/// What happened to attempts.
pub(super) struct AttemptMetrics {
    ended: IntCounterVec,
    failures: IntCounterVec,
    retries: IntCounterVec,
    expiries: IntCounterVec,
    seconds: Traced,
    stages: Traced,
    speed: Traced,
    compression: Histogram,
    frames: CounterVec,
    dropped: CounterVec,
    bytes: CounterVec,
    media: Counter,
    cpu: Counter,
    throttled: Counter,
    energy: CounterVec,
    wasted_cpu: Counter,
    wasted_energy: Counter,
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
            seconds: table.traced(
                "ffrtmp_attempt_seconds",
                "Time from claim to end of an attempt, seconds",
                LONG,
                Some(("outcome", &outcomes)),
            )?,
            stages: table.traced("ffrtmp_stage_seconds", "Time of a stage, seconds", LONG, Some(("stage", &stages)))?,
            speed: table.traced(
                "ffrtmp_job_speed_ratio",
                "Seconds of output made per second of wall time",
                SPEED,
                Some(("queue", &queues)),
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
            wasted_cpu: table
                .sum("ffrtmp_wasted_cpu_seconds_total", "Processor time of attempts that made no output, seconds")?,
            wasted_energy: table
                .sum("ffrtmp_wasted_energy_joules_total", "Energy of attempts that made no output, joules")?,
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
            self.stages.observe(Some(CLAIM_WAIT), waited, job);
        }
    }

    pub(super) fn ended(&self, job: &Job, attempt: &Attempt) {
        let Some(outcome) = attempt.outcome else { return };
        let engine = job.engine_used.map_or("none", EngineName::as_str);
        self.ended.with_label_values(&[outcome.as_str(), engine]).inc();
        if let Some(ended) = attempt.ended_at {
            let took = ended.since(attempt.assigned_at).as_secs_f64();
            self.seconds.observe(Some(outcome.as_str()), took, job);
        }
        if let Some(error) = attempt.error.as_ref().filter(|_| outcome == AttemptOutcome::Failed) {
            self.failed(job, error);
        }
        if let Some(report) = job.result.as_deref().filter(|_| outcome == AttemptOutcome::Completed) {
            self.completed(job, report);
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

    pub(super) fn spent(&self, spent: &Spent) {
        self.wasted_cpu.inc_by(spent.cpu_seconds);
        self.wasted_energy.inc_by(spent.energy_joules.map_or(0.0, |joules| joules.0));
    }

    fn completed(&self, job: &Job, report: &JobReport) {
        let of_queue = &[job.queue.as_str()];
        self.speed.observe(Some(job.queue.as_str()), report.speed, job);
        self.frames.with_label_values(of_queue).inc_by(report.frames as f64);
        let dropped = report.live.as_ref().map_or(0, |live| live.dropped_frames);
        self.dropped.with_label_values(of_queue).inc_by(dropped as f64);
        for stage in &report.stages {
            self.stages.observe(Some(stage.name.as_str()), stage.seconds, job);
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
