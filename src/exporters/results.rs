//! Port 9502: what jobs of each scenario gave.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ffrtmp_core::coordinator::Watcher;
use ffrtmp_core::job::{Job, JobReport, JobState};
use prometheus::proto::MetricFamily;

use super::rows::{Bounded, Column, families, one};
use super::{Exporter, MOST_VALUES};

/// What the jobs of a scenario gave together, and the latest one.
#[derive(Default)]
struct Sums {
    completed: u64,
    failed: u64,
    canceled: u64,
    rejected: u64,
    wall_seconds: f64,
    cpu_seconds: f64,
    output_seconds: f64,
    frames: f64,
    dropped_frames: f64,
    input_bytes: f64,
    output_bytes: f64,
    energy_joules: f64,
    latest: Option<Latest>,
}

struct Latest {
    wall_seconds: f64,
    fps: f64,
    speed: f64,
    power_watts: Option<f64>,
    bit_rate: u64,
    peak_memory_bytes: u64,
}

type Of = Column<Sums>;

const JOBS: &str = "results_scenario_jobs_total";
const JOBS_HELP: &str = "Jobs that ended, by state";

const COLUMNS: &[Of] = &[
    Of::counter(JOBS, JOBS_HELP, |it| Some(it.completed as f64)).part("state", "completed"),
    Of::counter(JOBS, JOBS_HELP, |it| Some(it.failed as f64)).part("state", "failed"),
    Of::counter(JOBS, JOBS_HELP, |it| Some(it.canceled as f64)).part("state", "canceled"),
    Of::counter(JOBS, JOBS_HELP, |it| Some(it.rejected as f64)).part("state", "rejected"),
    Of::counter("results_scenario_wall_seconds_total", "Wall time of completed jobs, seconds", |it| {
        Some(it.wall_seconds)
    }),
    Of::counter("results_scenario_cpu_seconds_total", "Processor time of completed jobs, seconds", |it| {
        Some(it.cpu_seconds)
    }),
    Of::counter("results_scenario_output_seconds_total", "Length of outputs, seconds", |it| Some(it.output_seconds)),
    Of::counter("results_scenario_total_frames", "Video frames in outputs", |it| Some(it.frames)),
    Of::counter("results_scenario_dropped_frames", "Pictures that live outputs did not get", |it| {
        Some(it.dropped_frames)
    }),
    Of::counter("results_scenario_input_bytes_total", "Bytes read", |it| Some(it.input_bytes)),
    Of::counter("results_scenario_output_bytes_total", "Bytes written", |it| Some(it.output_bytes)),
    Of::counter("results_scenario_total_energy_joules", "Energy of completed jobs that have a figure, joules", |it| {
        Some(it.energy_joules)
    }),
    Of::gauge("results_scenario_duration_seconds", "Wall time of the latest job, seconds", |it| {
        it.latest.as_ref().map(|latest| latest.wall_seconds)
    }),
    Of::gauge("results_scenario_avg_fps", "Frames per second of wall time of the latest job", |it| {
        it.latest.as_ref().map(|latest| latest.fps)
    }),
    Of::gauge("results_scenario_speed_ratio", "Seconds of output per second of wall time of the latest job", |it| {
        it.latest.as_ref().map(|latest| latest.speed)
    }),
    Of::gauge("results_scenario_mean_power_watts", "Energy by wall time of the latest job, watts", |it| {
        it.latest.as_ref()?.power_watts
    }),
    Of::gauge("results_scenario_bits_per_second", "Average bit rate of the latest output", |it| {
        it.latest.as_ref().map(|latest| latest.bit_rate as f64)
    }),
    Of::gauge("results_scenario_peak_memory_bytes", "Largest memory of the latest attempt, bytes", |it| {
        it.latest.as_ref().map(|latest| latest.peak_memory_bytes as f64)
    }),
];

impl Sums {
    fn completed(&mut self, report: &JobReport) {
        self.completed += 1;
        self.wall_seconds += report.wall_seconds;
        self.cpu_seconds += report.cpu_seconds;
        self.output_seconds += report.duration_seconds;
        self.frames += report.frames as f64;
        self.dropped_frames += report.live.as_ref().map_or(0, |live| live.dropped_frames) as f64;
        self.input_bytes += report.input_bytes as f64;
        self.output_bytes += report.output_bytes as f64;
        self.energy_joules += report.energy_joules.map_or(0.0, |joules| joules.0);
        self.latest = Some(Latest {
            wall_seconds: report.wall_seconds,
            fps: report.fps,
            speed: report.speed,
            power_watts: mean_power(report),
            bit_rate: report.bit_rate,
            peak_memory_bytes: report.peak_memory_bytes,
        });
    }
}

/// Watts over the wall time; `None` without a figure of energy.
pub(super) fn mean_power(report: &JobReport) -> Option<f64> {
    let watts = report.energy_joules?.0 / report.wall_seconds;
    watts.is_finite().then_some(watts)
}

/// The report of a job that completed.
pub(super) fn completed(job: &Job) -> Option<&JobReport> {
    job.result.as_deref().filter(|_| job.state == JobState::Completed)
}

/// The label of a job's scenario; a job may have none.
pub(super) fn scenario(job: &Job) -> &str {
    if job.scenario.is_empty() { "none" } else { &job.scenario }
}

/// Adds up what jobs of each scenario gave.
pub(crate) struct Results(Mutex<Bounded<Sums>>);

impl Default for Results {
    fn default() -> Self {
        Self(Mutex::new(Bounded::new(MOST_VALUES)))
    }
}

impl Watcher for Results {
    fn claimed(&self, _: &[Job]) {}

    fn started(&self, _: &Job) {}

    fn ended(&self, job: &Job) {
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let row = rows.row(scenario(job), Instant::now());
        match (job.state, &job.result) {
            (JobState::Completed, Some(report)) => row.completed(report),
            (JobState::Completed, None) => row.completed += 1,
            (JobState::Canceled, _) => row.canceled += 1,
            (JobState::Rejected, _) => row.rejected += 1,
            _ => row.failed += 1,
        }
    }
}

impl Exporter for Results {
    fn families(&self) -> Vec<MetricFamily> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = vec![
            one("results_exporter_up", "1 while the exporter runs", 1.0),
            one("results_scenarios_total", "Scenarios with series of their own", rows.len() as f64),
        ];
        told.extend(families(COLUMNS, rows.labelled("scenario")));
        told
    }
}
