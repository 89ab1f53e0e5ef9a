//! Reads a media file for the checks: with `ffprobe` where it is installed, a reader that shares
//! no code with the engine's writing side; else with the engine's own probe.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ffrtmp::core::engine::{Engine, MediaBounds, Source};
use ffrtmp::core::media::MediaInfo;
use ffrtmp::core::{Code, Error, Result};
use ffrtmp::engines::IsolatedEngine;
use serde::Deserialize;

/// Who reads.
pub(super) enum Reader {
    /// `ffprobe`, at this path.
    Ffprobe(PathBuf),
    /// The engine's probe.
    Own(IsolatedEngine),
}

/// What a reader saw.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Seen {
    /// Codec of the video stream, as libav names it.
    pub(super) codec: String,
    /// Coded pixels across.
    pub(super) width: u32,
    /// Coded pixels down.
    pub(super) height: u32,
    /// Frames, if they were counted.
    pub(super) frames: Option<u64>,
    /// Length of the video stream, if known.
    pub(super) seconds: Option<f64>,
    /// Codecs of the audio streams.
    pub(super) audio: Vec<String>,
}

/// Where `ffprobe` is on the `PATH`.
pub(crate) fn ffprobe() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join("ffprobe")).find(|program| program.is_file())
}

impl Reader {
    /// The best one of this machine.
    pub(super) fn here(engine: IsolatedEngine) -> Self {
        ffprobe().map_or(Self::Own(engine), Self::Ffprobe)
    }

    /// Reads a file.
    ///
    /// # Errors
    /// `verify_failed` if it cannot be read, or holds no video.
    pub(super) fn read(&self, path: &Path) -> Result<Seen> {
        match self {
            Self::Ffprobe(program) => independent(program, path),
            Self::Own(engine) => {
                let info = engine.probe(&Source::File(path.to_owned()), &MediaBounds::default())?;
                own(&info).ok_or_else(|| unreadable(path, "it holds no video"))
            }
        }
    }
}

fn own(info: &MediaInfo) -> Option<Seen> {
    let (stream, video) = info.best_video()?;
    Some(Seen {
        codec: stream.codec.clone(),
        width: video.width,
        height: video.height,
        frames: stream.frames,
        seconds: stream.duration_seconds.or(info.duration_seconds),
        audio: info.audio().map(|(stream, _)| stream.codec.clone()).collect(),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Shown {
    streams: Vec<ShownStream>,
    frames: Vec<ShownFrame>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ShownStream {
    index: usize,
    codec_type: String,
    codec_name: String,
    width: u32,
    height: u32,
    avg_frame_rate: String,
    disposition: Disposition,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Disposition {
    attached_pic: u8,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ShownFrame {
    best_effort_timestamp_time: Option<String>,
}

/// Streams first, then every frame of the video stream, decoded.
fn independent(program: &Path, path: &Path) -> Result<Seen> {
    let Shown { streams, .. } = ask(program, path, &["-show_streams"])?;
    let video = streams
        .iter()
        .filter(|stream| stream.codec_type == "video" && stream.disposition.attached_pic == 0)
        .max_by_key(|stream| u64::from(stream.width) * u64::from(stream.height))
        .ok_or_else(|| unreadable(path, "it holds no video"))?;
    let index = video.index.to_string();
    let wanted = ["-select_streams", &index, "-show_entries", "frame=best_effort_timestamp_time"];
    let Shown { frames, .. } = ask(program, path, &wanted)?;
    let audio = streams.iter().filter(|stream| stream.codec_type == "audio");
    Ok(Seen {
        codec: video.codec_name.clone(),
        width: video.width,
        height: video.height,
        frames: Some(frames.len() as u64),
        seconds: length(&frames, rate(&video.avg_frame_rate)),
        audio: audio.map(|stream| stream.codec_name.clone()).collect(),
    })
}

/// From the first frame to the end of the last one.
fn length(frames: &[ShownFrame], rate: Option<f64>) -> Option<f64> {
    let times = frames.iter().filter_map(|frame| frame.best_effort_timestamp_time.as_ref()?.parse::<f64>().ok());
    let (first, last) = times.fold(None, |span: Option<(f64, f64)>, time| match span {
        None => Some((time, time)),
        Some((first, last)) => Some((first.min(time), last.max(time))),
    })?;
    let spans = frames.len().saturating_sub(1).max(1) as f64;
    Some(last - first + rate.map_or((last - first) / spans, |rate| 1.0 / rate))
}

/// A rate as ffprobe writes it: `30000/1001`.
fn rate(text: &str) -> Option<f64> {
    let (num, den) = text.split_once('/')?;
    let rate = num.parse::<f64>().ok()? / den.parse::<f64>().ok()?;
    (rate.is_finite() && rate > 0.0).then_some(rate)
}

fn ask(program: &Path, path: &Path, wanted: &[&str]) -> Result<Shown> {
    let output = Command::new(program)
        .args(["-v", "error", "-of", "json"])
        .args(wanted)
        .arg("-i")
        .arg(path)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| Error::new(Code::Internal, "ffprobe cannot be started").source(error))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        return Err(unreadable(path, &crate::console::one_line(&said)));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| unreadable(path, "ffprobe gave no JSON").source(error))
}

fn unreadable(path: &Path, why: &str) -> Error {
    Error::new(Code::VerifyFailed, format!("{} cannot be read back: {why}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_video_lasts_to_the_end_of_its_last_frame() {
        let frames: Vec<_> = ["0.08", "0.00", "0.04"]
            .map(|time| ShownFrame { best_effort_timestamp_time: Some(time.to_owned()) })
            .into();
        assert!((length(&frames, rate("25/1")).unwrap() - 0.12).abs() < 1e-9);
        assert_eq!(length(&[], rate("25/1")), None);
        assert_eq!(rate("0/0"), None);
    }
}
