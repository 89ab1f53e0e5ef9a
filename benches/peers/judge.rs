//! What is in the outputs, told by the distribution's `ffprobe` and `ffmpeg`, and whether ours and
//! theirs hold the same.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::curve::Point;
use crate::race::{OURS, Runner};
use crate::{Result, sys};

/// One output.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    pub(crate) name: String,
    pub(crate) size: (u64, u64),
    pub(crate) frames: u64,
    pub(crate) seconds: f64,
    /// Bits of the video packets.
    pub(crate) video_bits: u64,
    pub(crate) audio_packets: u64,
    /// Against the source, scaled to the same size.
    pub(crate) ssim: Option<f64>,
}

impl Facts {
    pub(crate) fn of(name: &str, path: &Path, source: Option<&Path>) -> Result<Self> {
        let entries = "stream=index,codec_type,width,height:format=duration:packet=stream_index,size";
        let mut probe = Command::new("ffprobe");
        probe.args(["-v", "error", "-of", "json", "-show_packets", "-show_entries", entries]).arg(path);
        let told: Value = serde_json::from_str(&sys::run(&mut probe)?.1)?;
        let streams = list(&told, "streams");
        let first = |kind| streams.iter().find(|stream| stream["codec_type"] == kind).map(|stream| &stream["index"]);
        let of = |index: Option<&Value>| {
            let sizes = list(&told, "packets").iter().filter(|packet| index == Some(&packet["stream_index"]));
            sizes
                .filter_map(|packet| number(&packet["size"]))
                .fold((0, 0.0), |(count, sum), size| (count + 1, sum + size))
        };
        let (frames, bytes) = of(first("video"));
        let video = streams.iter().find(|stream| stream["codec_type"] == "video");
        let side = |key| video.and_then(|video| video[key].as_u64()).unwrap_or(0);
        let size = (side("width"), side("height"));
        Ok(Self {
            name: name.to_owned(),
            size,
            frames,
            seconds: number(&told["format"]["duration"]).unwrap_or(0.0),
            video_bits: bytes as u64 * 8,
            audio_packets: of(first("audio")).0,
            ssim: source.map(|source| ssim(path, source, size)).transpose()?,
        })
    }

    pub(crate) fn point(&self) -> Option<Point> {
        Some(Point { ssim_db: decibels(self.ssim?), bits: self.video_bits as f64 })
    }
}

/// What ours and a peer's outputs do not have in common.
pub(crate) fn compare(runners: &[Runner]) -> Vec<String> {
    let Some(ours) = runners.iter().find(|runner| runner.name == OURS) else { return Vec::new() };
    let mut differences = Vec::new();
    for peer in runners.iter().filter(|runner| !std::ptr::eq(*runner, ours)) {
        for (mine, theirs) in ours
            .outputs
            .iter()
            .filter_map(|mine| Some((mine, peer.outputs.iter().find(|output| output.name == mine.name)?)))
        {
            differences.extend(difference(mine, theirs).map(|what| format!("{} of {}: {what}", mine.name, peer.name)));
        }
    }
    differences
}

/// Within one frame and two packets of sound: encoders differ in priming. Pictures that were scaled
/// down in steps differ more from a source that was scaled at once than an encoder's own choices do.
fn difference(ours: &Facts, theirs: &Facts) -> Option<String> {
    let off = |what: &str, ours: f64, theirs: f64, slack: f64| {
        ((ours - theirs).abs() > slack).then(|| format!("{what} {ours} instead of {theirs}"))
    };
    let frame = theirs.seconds / theirs.frames.max(1) as f64;
    let ssim = || off("SSIM", ours.ssim?, theirs.ssim?, 0.02);
    off("frames", ours.frames as f64, theirs.frames as f64, 0.0)
        .or_else(|| off("width", ours.size.0 as f64, theirs.size.0 as f64, 0.0))
        .or_else(|| off("height", ours.size.1 as f64, theirs.size.1 as f64, 0.0))
        .or_else(|| off("seconds", ours.seconds, theirs.seconds, frame.max(0.05)))
        .or_else(|| off("packets of sound", ours.audio_packets as f64, theirs.audio_packets as f64, 2.0))
        .or_else(ssim)
}

/// Frame by frame, whatever the containers say of times.
fn ssim(output: &Path, source: &Path, (width, height): (u64, u64)) -> Result<f64> {
    let count = "format=yuv420p,settb=1/25,setpts=N";
    let graph =
        format!("[0:v:0]{count}[a];[1:v:0]scale={width}:{height}:flags=bicubic,{count}[b];[a][b]ssim=stats_file=-");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-nostdin", "-i"]).arg(output).arg("-i").arg(source);
    command.args(["-lavfi", &graph, "-fps_mode", "passthrough", "-enc_time_base", "1/25", "-an", "-f", "null", "-"]);
    let lines = sys::run(&mut command)?.1;
    let values: Vec<f64> = lines.lines().filter_map(all_planes).collect();
    if values.is_empty() {
        return Err(format!("no SSIM for {}", output.display()).into());
    }
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

/// `n:1 Y:0.97 U:0.98 V:0.98 All:0.975 (16.0)`.
fn all_planes(line: &str) -> Option<f64> {
    line.split_whitespace().find_map(|word| word.strip_prefix("All:"))?.parse().ok()
}

fn decibels(ssim: f64) -> f64 {
    -10.0 * (1.0 - ssim).max(1e-9).log10()
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key].as_array().map_or(&[], Vec::as_slice)
}

/// ffprobe writes numbers as text.
fn number(value: &Value) -> Option<f64> {
    value.as_str().and_then(|text| text.parse().ok()).or_else(|| value.as_f64())
}
