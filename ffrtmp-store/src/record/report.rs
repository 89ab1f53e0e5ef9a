//! The JSON of what was measured of a job: short names, and nothing that is absent or zero. The names
//! are stored: never change one.

use std::borrow::Cow;
use std::collections::BTreeMap;

use ffrtmp_core::Result;
use ffrtmp_core::cost::{Currency, JobCost};
use ffrtmp_core::job::{ChunkReport, EnergySource, JobReport, OutputFile, RenditionReport, Stage, StageTime};
use ffrtmp_core::live::LiveReport;
use ffrtmp_core::units::Joules;
use serde::{Deserialize, Serialize};

use super::story::is_zero;
use super::{encode, unstorable};

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Measured<'a> {
    #[serde(rename = "u", skip_serializing_if = "Option::is_none")]
    output_uri: Option<Cow<'a, str>>,
    #[serde(rename = "s", skip_serializing_if = "is_zero")]
    size_bytes: u64,
    #[serde(rename = "d", skip_serializing_if = "is_zero")]
    duration_seconds: f64,
    #[serde(rename = "n", skip_serializing_if = "is_zero")]
    frames: u64,
    #[serde(rename = "f", skip_serializing_if = "is_zero")]
    fps: f64,
    #[serde(rename = "v", skip_serializing_if = "is_zero")]
    speed: f64,
    #[serde(rename = "w", skip_serializing_if = "is_zero")]
    wall_seconds: f64,
    #[serde(rename = "c", skip_serializing_if = "is_zero")]
    cpu_seconds: f64,
    #[serde(rename = "pm", skip_serializing_if = "is_zero")]
    peak_memory_bytes: u64,
    #[serde(rename = "i", skip_serializing_if = "is_zero")]
    input_bytes: u64,
    #[serde(rename = "o", skip_serializing_if = "is_zero")]
    output_bytes: u64,
    #[serde(rename = "j", skip_serializing_if = "Option::is_none")]
    energy_joules: Option<Joules>,
    #[serde(rename = "js", skip_serializing_if = "Option::is_none")]
    energy_source: Option<EnergySource>,
    #[serde(rename = "t", skip_serializing_if = "Option::is_none")]
    throttled_seconds: Option<f64>,
    #[serde(rename = "g", skip_serializing_if = "Option::is_none")]
    gpu: Option<u32>,
    #[serde(rename = "so", skip_serializing_if = "<[_]>::is_empty")]
    sandbox_off: Cow<'a, [String]>,
    #[serde(rename = "h", skip_serializing_if = "Option::is_none")]
    hash: Option<Cow<'a, str>>,
    #[serde(rename = "e", skip_serializing_if = "Option::is_none")]
    video_encoder: Option<Cow<'a, str>>,
    #[serde(rename = "vc", skip_serializing_if = "Option::is_none")]
    video_codec: Option<Cow<'a, str>>,
    #[serde(rename = "p", skip_serializing_if = "Option::is_none")]
    resolution: Option<Cow<'a, str>>,
    #[serde(rename = "b", skip_serializing_if = "is_zero")]
    bit_rate: u64,
    #[serde(rename = "wa", skip_serializing_if = "<[_]>::is_empty")]
    warnings: Cow<'a, [String]>,
    #[serde(rename = "fi", skip_serializing_if = "<[_]>::is_empty")]
    files: Cow<'a, [OutputFile]>,
    #[serde(rename = "r", skip_serializing_if = "<[_]>::is_empty")]
    renditions: Cow<'a, [RenditionReport]>,
    #[serde(rename = "ch", skip_serializing_if = "Option::is_none")]
    chunking: Option<Cow<'a, ChunkReport>>,
    #[serde(rename = "l", skip_serializing_if = "Option::is_none")]
    live: Option<Cow<'a, LiveReport>>,
    /// Name, offset and length.
    #[serde(rename = "st", skip_serializing_if = "Vec::is_empty")]
    stages: Vec<(Stage, f64, f64)>,
    #[serde(rename = "co", skip_serializing_if = "Option::is_none")]
    cost: Option<Cost>,
    /// What foreign agents measure, a null included.
    #[serde(rename = "x", skip_serializing_if = "BTreeMap::is_empty")]
    other: Cow<'a, BTreeMap<String, serde_json::Value>>,
}

impl<'a> Measured<'a> {
    pub(super) fn of(report: &'a JobReport) -> Self {
        let text = |text: &'a Option<String>| text.as_deref().map(Cow::Borrowed);
        // Exhaustive, so that a new measure is not forgotten.
        let JobReport {
            output_uri,
            size_bytes,
            duration_seconds,
            frames,
            fps,
            speed,
            wall_seconds,
            cpu_seconds,
            peak_memory_bytes,
            input_bytes,
            output_bytes,
            energy_joules,
            energy_source,
            throttled_seconds,
            gpu,
            sandbox_off,
            hash,
            video_encoder,
            video_codec,
            resolution,
            bit_rate,
            warnings,
            files,
            renditions,
            chunking,
            live,
            stages,
            cost,
            other,
        } = report;
        Self {
            output_uri: text(output_uri),
            size_bytes: *size_bytes,
            duration_seconds: *duration_seconds,
            frames: *frames,
            fps: *fps,
            speed: *speed,
            wall_seconds: *wall_seconds,
            cpu_seconds: *cpu_seconds,
            peak_memory_bytes: *peak_memory_bytes,
            input_bytes: *input_bytes,
            output_bytes: *output_bytes,
            energy_joules: *energy_joules,
            energy_source: *energy_source,
            throttled_seconds: *throttled_seconds,
            gpu: *gpu,
            sandbox_off: Cow::Borrowed(sandbox_off),
            hash: text(hash),
            video_encoder: text(video_encoder),
            video_codec: text(video_codec),
            resolution: text(resolution),
            bit_rate: *bit_rate,
            warnings: Cow::Borrowed(warnings),
            files: Cow::Borrowed(files),
            renditions: Cow::Borrowed(renditions),
            chunking: chunking.as_ref().map(Cow::Borrowed),
            live: live.as_deref().map(Cow::Borrowed),
            stages: stages.iter().map(|stage| (stage.name, stage.offset_seconds, stage.seconds)).collect(),
            cost: cost.as_deref().map(stored),
            other: Cow::Borrowed(other),
        }
    }

    pub(super) fn report(self) -> JobReport {
        let text = |text: Option<Cow<'a, str>>| text.map(Cow::into_owned);
        JobReport {
            output_uri: text(self.output_uri),
            size_bytes: self.size_bytes,
            duration_seconds: self.duration_seconds,
            frames: self.frames,
            fps: self.fps,
            speed: self.speed,
            wall_seconds: self.wall_seconds,
            cpu_seconds: self.cpu_seconds,
            peak_memory_bytes: self.peak_memory_bytes,
            input_bytes: self.input_bytes,
            output_bytes: self.output_bytes,
            energy_joules: self.energy_joules,
            energy_source: self.energy_source,
            throttled_seconds: self.throttled_seconds,
            gpu: self.gpu,
            sandbox_off: self.sandbox_off.into_owned(),
            hash: text(self.hash),
            video_encoder: text(self.video_encoder),
            video_codec: text(self.video_codec),
            resolution: text(self.resolution),
            bit_rate: self.bit_rate,
            warnings: self.warnings.into_owned(),
            files: self.files.into_owned(),
            renditions: self.renditions.into_owned(),
            chunking: self.chunking.map(Cow::into_owned),
            live: self.live.map(|live| Box::new(live.into_owned())),
            stages: self.stages.into_iter().map(stage).collect(),
            cost: self.cost.map(|cost| Box::new(told(cost))),
            other: self.other.into_owned(),
        }
    }

    /// Whether every number has a JSON form; what is in `other` is JSON already.
    fn is_finite(&self) -> bool {
        let numbers = [
            self.duration_seconds,
            self.fps,
            self.speed,
            self.wall_seconds,
            self.cpu_seconds,
            self.energy_joules.map_or(0.0, |joules| joules.0),
            self.throttled_seconds.unwrap_or_default(),
            self.live.as_ref().map_or(0.0, |live| sum(live)),
            self.stages.iter().map(|(_, offset, seconds)| offset + seconds).sum(),
            self.cost.map_or(0.0, |cost| told(cost).sum() + cost.1),
        ];
        numbers.iter().all(|number| number.is_finite())
    }
}

/// The currency and the total, then processors, graphics processors, energy, storage, egress and
/// infrastructure.
type Cost = (Currency, f64, f64, f64, Option<f64>, f64, f64, f64);

fn stored(cost: &JobCost) -> Cost {
    let JobCost { currency, total, cpu, gpu, energy, storage, egress, infrastructure } = *cost;
    (currency, total, cpu, gpu, energy, storage, egress, infrastructure)
}

fn told((currency, total, cpu, gpu, energy, storage, egress, infrastructure): Cost) -> JobCost {
    JobCost { currency, total, cpu, gpu, energy, storage, egress, infrastructure }
}

fn stage((name, offset_seconds, seconds): (Stage, f64, f64)) -> StageTime {
    StageTime { name, offset_seconds, seconds }
}

/// Not finite where one of its numbers is not.
fn sum(live: &LiveReport) -> f64 {
    let optional = [live.added_latency_ms_p50, live.added_latency_ms_p95, live.first_output_ms, live.slowest_speed];
    optional.into_iter().flatten().sum::<f64>() + live.source_away_seconds
}

/// The text of a report, proven to be readable where it will stand: one unreadable row would stand
/// in the way of every list.
///
/// # Errors
/// `invalid_field` for a value that JSON cannot hold, such as a number that is not finite.
pub(crate) fn report(report: &JobReport) -> Result<String> {
    let measured = Measured::of(report);
    let text = encode(&measured, "metrics")?;
    if !report.other.is_empty() || !measured.is_finite() {
        serde_json::from_str::<(Measured<'_>,)>(&format!("[{text}]")).map_err(|error| unstorable("metrics", error))?;
    }
    Ok(text)
}
