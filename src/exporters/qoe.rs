//! Port 9503: how good outputs are, and how live work went, by scenario.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ffrtmp_core::coordinator::Watcher;
use ffrtmp_core::job::{Job, JobReport};
use ffrtmp_core::live::LiveReport;
use ffrtmp_core::units::Resolution;
use prometheus::proto::MetricFamily;
use serde_json::Value;

use super::results::{completed, mean_power, scenario};
use super::rows::{Bounded, Column, families, one};
use super::{Exporter, MOST_VALUES};

/// What is known of the outputs of a scenario.
#[derive(Default)]
struct Seen {
    jobs: u64,
    measured: u64,
    vmaf: Option<f64>,
    psnr: Option<f64>,
    ssim: Option<f64>,
    quality_per_watt: Option<f64>,
    efficiency: Option<f64>,
    frames: f64,
    dropped: f64,
    frame_rate: Option<f64>,
    bits_per_pixel: Option<f64>,
    live: Option<Live>,
}

#[derive(Default)]
struct Live {
    jobs: u64,
    latency_p50: Option<f64>,
    latency_p95: Option<f64>,
    first_output: Option<f64>,
    slowest_speed: Option<f64>,
    source_losses: f64,
    source_away: f64,
    output_losses: f64,
    dropped_groups: f64,
    dropped_frames: f64,
    preset_changes: f64,
}

type Of = Column<Seen>;

const LATENCY: &str = "qoe_live_added_latency_seconds";
const LATENCY_HELP: &str = "Arrival of a picture to its encoded form, of the latest live job, seconds";

const COLUMNS: &[Of] = &[
    Of::counter("qoe_jobs_total", "Completed jobs", |it| Some(it.jobs as f64)),
    Of::counter("qoe_jobs_measured_total", "Completed jobs with a measured quality", |it| Some(it.measured as f64)),
    Of::gauge("qoe_vmaf_score", "VMAF of the latest measured output, 0 to 100", |it| it.vmaf),
    Of::gauge("qoe_psnr_score", "PSNR of the latest measured output, decibels", |it| it.psnr),
    Of::gauge("qoe_ssim_score", "SSIM of the latest measured output, 0 to 1", |it| it.ssim),
    Of::gauge("qoe_quality_per_watt", "VMAF by mean power of the latest measured job", |it| it.quality_per_watt),
    Of::gauge("qoe_efficiency_score", "Pixels by joule times VMAF/100 of the latest measured job", |it| it.efficiency),
    Of::gauge("qoe_drop_rate", "Pictures that outputs did not get, part of all, 0 to 1", |it| {
        let all = it.frames + it.dropped;
        (all > 0.0).then(|| it.dropped / all)
    }),
    Of::gauge("qoe_frames_per_second", "Frame rate of the latest output", |it| it.frame_rate),
    Of::gauge("qoe_bits_per_pixel", "Bits of the latest output by pixel", |it| it.bits_per_pixel),
    Of::counter("qoe_live_jobs_total", "Live jobs completed", |it| Some(it.live.as_ref()?.jobs as f64)),
    Of::gauge(LATENCY, LATENCY_HELP, |it| it.live.as_ref()?.latency_p50).part("quantile", "0.5"),
    Of::gauge(LATENCY, LATENCY_HELP, |it| it.live.as_ref()?.latency_p95).part("quantile", "0.95"),
    Of::gauge("qoe_live_first_output_seconds", "Start to first output of the latest live job, seconds", |it| {
        it.live.as_ref()?.first_output
    }),
    Of::gauge("qoe_live_slowest_speed_ratio", "Lowest speed over ten seconds of the latest live job", |it| {
        it.live.as_ref()?.slowest_speed
    }),
    Of::counter("qoe_live_source_losses_total", "How often sources went away", |it| {
        Some(it.live.as_ref()?.source_losses)
    }),
    Of::counter("qoe_live_source_away_seconds_total", "Time without a source, seconds", |it| {
        Some(it.live.as_ref()?.source_away)
    }),
    Of::counter("qoe_live_output_losses_total", "How often outputs went away", |it| {
        Some(it.live.as_ref()?.output_losses)
    }),
    Of::counter("qoe_live_dropped_groups_total", "Groups of pictures that an output did not get", |it| {
        Some(it.live.as_ref()?.dropped_groups)
    }),
    Of::counter("qoe_live_dropped_frames_total", "Pictures that an output did not get", |it| {
        Some(it.live.as_ref()?.dropped_frames)
    }),
    Of::counter("qoe_live_preset_changes_total", "How often the preset changed to keep up", |it| {
        Some(it.live.as_ref()?.preset_changes)
    }),
];

impl Seen {
    fn completed(&mut self, report: &JobReport) {
        self.jobs += 1;
        self.frames += report.frames as f64;
        let picture = report.resolution.as_deref().and_then(picture);
        let frame_rate = report.frames as f64 / report.duration_seconds;
        self.frame_rate = Some(frame_rate).filter(|rate| rate.is_finite() && *rate > 0.0).or(self.frame_rate);
        let bits_per_pixel = picture.map(|pixels| report.bit_rate as f64 / (pixels * frame_rate));
        self.bits_per_pixel = bits_per_pixel.filter(|bits| bits.is_finite()).or(self.bits_per_pixel);
        if let Some(live) = &report.live {
            self.dropped += live.dropped_frames as f64;
            self.live.get_or_insert_default().ended(live);
        }
        self.measured(report);
    }

    fn measured(&mut self, report: &JobReport) {
        let score = |name, range: std::ops::RangeInclusive<f64>| score(report, name).filter(|it| range.contains(it));
        let (vmaf, psnr, ssim) = (score("vmaf", 0.0..=100.0), score("psnr", 0.0..=1000.0), score("ssim", -1.0..=1.0));
        if vmaf.or(psnr).or(ssim).is_none() {
            return;
        }
        self.measured += 1;
        (self.vmaf, self.psnr, self.ssim) = (vmaf, psnr, ssim);
        self.quality_per_watt = finite(vmaf.zip(mean_power(report)).map(|(vmaf, watts)| vmaf / watts));
        let joules = report.energy_joules.map(|joules| joules.0);
        let encoded = Some(encoded_pixels(report)).filter(|pixels| *pixels > 0.0);
        let efficiency = vmaf.zip(joules).zip(encoded).map(|((vmaf, joules), pixels)| pixels / joules * vmaf / 100.0);
        self.efficiency = finite(efficiency);
    }
}

impl Live {
    fn ended(&mut self, live: &LiveReport) {
        let seconds = |milliseconds: Option<f64>| milliseconds.map(|milliseconds| milliseconds / 1e3);
        self.jobs += 1;
        self.latency_p50 = seconds(live.added_latency_ms_p50);
        self.latency_p95 = seconds(live.added_latency_ms_p95);
        self.first_output = seconds(live.first_output_ms);
        self.slowest_speed = live.slowest_speed;
        self.source_losses += live.source_losses as f64;
        self.source_away += live.source_away_seconds;
        self.output_losses += live.output_losses as f64;
        self.dropped_groups += live.dropped_groups as f64;
        self.dropped_frames += live.dropped_frames as f64;
        self.preset_changes += live.preset_changes as f64;
    }
}

fn finite(value: Option<f64>) -> Option<f64> {
    value.filter(|value| value.is_finite())
}

/// A score that an agent or a tool measured, in the result or in its `quality`.
fn score(report: &JobReport, name: &str) -> Option<f64> {
    let within = || report.other.get("quality").and_then(|quality| quality.get(name));
    report.other.get(name).or_else(within).and_then(Value::as_f64)
}

/// Pixels of all encoded pictures, of every rendition.
pub(super) fn encoded_pixels(report: &JobReport) -> f64 {
    let of = |size: &str, frames: u64| picture(size).unwrap_or_default() * frames as f64;
    let primary = || report.resolution.as_deref().map_or(0.0, |size| of(size, report.frames));
    let renditions = report.renditions.iter().map(|rendition| of(&rendition.resolution, rendition.frames));
    if report.renditions.is_empty() { primary() } else { renditions.sum() }
}

fn picture(size: &str) -> Option<f64> {
    let size: Resolution = size.parse().ok()?;
    Some(f64::from(size.width) * f64::from(size.height))
}

/// Looks at every output.
pub(crate) struct Quality(Mutex<Bounded<Seen>>);

impl Default for Quality {
    fn default() -> Self {
        Self(Mutex::new(Bounded::new(MOST_VALUES)))
    }
}

impl Watcher for Quality {
    fn claimed(&self, _: &[Job]) {}

    fn started(&self, _: &Job) {}

    fn ended(&self, job: &Job) {
        if let Some(report) = completed(job) {
            let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            rows.row(scenario(job), Instant::now()).completed(report);
        }
    }
}

impl Exporter for Quality {
    fn families(&self) -> Vec<MetricFamily> {
        let rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut told = vec![one("qoe_exporter_up", "1 while the exporter runs", 1.0)];
        told.extend(families(COLUMNS, rows.labelled("scenario")));
        told
    }
}
