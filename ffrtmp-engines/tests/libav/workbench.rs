//! Makes inputs and reads outputs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use ffrtmp_core::encoding::{Channels, Chunking, Deinterlace, EncoderOptions, Hardware, Stills, ToneMap};
use ffrtmp_core::engine::{Control, Engine, MediaBounds, Observer, Progress, Source};
use ffrtmp_core::error::Result;
use ffrtmp_core::job::JobReport;
use ffrtmp_core::media::{AudioCodec, Container, MediaInfo, VideoCodec};
use ffrtmp_core::plan::{self, AudioEncode, AudioWork, Gop, PicturePlan, RateControl, Vbv, VideoEncode};
use ffrtmp_core::units::{Bitrate, FrameRate, Ratio, Resolution, Seconds};
use ffrtmp_engines::libav::LibavEngine;
use tempfile::TempDir;

pub(crate) static ENGINE: LazyLock<LibavEngine> = LazyLock::new(|| LibavEngine::new().unwrap());

/// A directory for one test, with ways to fill it.
pub(crate) struct Bench(TempDir);

impl Bench {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Makes a file with the `ffmpeg` program; `None`, with a line, where it is not installed.
    pub(crate) fn ffmpeg(&self, name: &str, arguments: &str) -> Option<PathBuf> {
        let path = self.path(name);
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error", "-y"])
            .args(arguments.split_whitespace())
            .arg(&path)
            .current_dir(self.0.path())
            .status();
        match made {
            Ok(status) => {
                assert!(status.success(), "ffmpeg {arguments}");
                Some(path)
            }
            Err(_) => {
                eprintln!("skipped: ffmpeg is not installed");
                None
            }
        }
    }

    /// Runs a plan on a file.
    pub(crate) fn run(&self, plan: &Plan, input: &Path, name: &str) -> Result<(JobReport, PathBuf)> {
        let output = self.path(name);
        let source = Source::File(input.to_owned());
        let report = ENGINE.execute(
            &plan.on(&source),
            &source,
            &output,
            &MediaBounds::default(),
            &Control::default(),
            &Listener::default(),
        )?;
        Ok((report, output))
    }

    /// Generates a clip with the engine.
    pub(crate) fn generate(&self, plan: &Plan, seconds: f64, name: &str) -> (JobReport, PathBuf) {
        let output = self.path(name);
        let source = Source::Generated(Seconds::try_from(seconds).unwrap());
        let run = ENGINE.execute(
            &plan.on(&source),
            &source,
            &output,
            &MediaBounds::default(),
            &Control::default(),
            &Listener::default(),
        );
        (run.unwrap(), output)
    }

    pub(crate) fn is_empty(&self) -> bool {
        std::fs::read_dir(self.0.path()).unwrap().next().is_none()
    }
}

/// Remembers what it was told.
#[derive(Default)]
pub(crate) struct Listener {
    pub(crate) progress: Mutex<Vec<Progress>>,
}

impl Observer for Listener {
    fn progress(&self, progress: Progress) {
        self.progress.lock().unwrap().push(progress);
    }

    fn log(&self, _: &str, _: &str) {}
}

/// What to do with the best picture and every sound of whatever source.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) container: Container,
    pub(crate) video: Option<VideoPlan>,
    pub(crate) audio: Option<AudioPlan>,
    pub(crate) duration: Option<Seconds>,
}

#[derive(Clone, Debug)]
pub(crate) enum VideoPlan {
    Copy,
    Encode(VideoEncode),
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum AudioPlan {
    Copy,
    Encode { codec: AudioCodec, bitrate: Bitrate },
}

impl Plan {
    /// The plan for a source; one that cannot be described gets a plan for stream 0.
    pub(crate) fn on(&self, source: &Source) -> plan::Plan {
        let info = match source {
            Source::File(_) => Some(ENGINE.probe(source, &MediaBounds::default()).unwrap_or_default()),
            Source::Generated(_) | Source::Live(_) => None,
        };
        let best = info.as_ref().and_then(|info| info.best_video()).map(|(stream, _)| stream.index);
        let seen = info.is_none() || best.is_some();
        let heard: Vec<Option<usize>> =
            info.as_ref().map_or(vec![None], |info| info.audio().map(|(stream, _)| Some(stream.index)).collect());
        let video = self.video.as_ref().filter(|_| seen || heard.is_empty()).map(|video| match video {
            VideoPlan::Copy => plan::VideoPlan::Copy(best.unwrap_or(0)),
            VideoPlan::Encode(encode) => {
                plan::VideoPlan::Encode(pictures(info.is_some().then(|| best.unwrap_or(0)), encode))
            }
        });
        let work = self.audio.map(|audio| match audio {
            AudioPlan::Copy => AudioWork::Copy,
            AudioPlan::Encode { codec, bitrate } => {
                AudioWork::Encode(AudioEncode { codec, bitrate, channels: Channels::Source, sample_rate: None })
            }
        });
        let audio = heard.into_iter().filter_map(|stream| Some(plan::AudioPlan { stream, work: work? })).collect();
        let others = |stream: &&ffrtmp_core::media::StreamInfo| {
            Some(stream.index) != best && (stream.audio.is_none() || work.is_none())
        };
        let left_out = info.iter().flat_map(|info| &info.streams).filter(others);
        plan::Plan {
            container: self.container,
            video,
            audio,
            subtitles: Vec::new(),
            cover_art: Vec::new(),
            attachments: Vec::new(),
            left_out: left_out
                .map(|stream| plan::LeftOut { stream: stream.index, reason: stream.codec.clone() })
                .collect(),
            stills: Stills::default(),
            segments: None,
            chunks: Chunking::Off,
            duration: self.duration,
        }
    }
}

fn pictures(stream: Option<usize>, encode: &VideoEncode) -> PicturePlan {
    PicturePlan {
        stream,
        deinterlace: Deinterlace::Auto,
        tone_map: ToneMap::Off,
        fps: encode.fps,
        renditions: vec![encode.clone()],
    }
}

/// A plan for small, fast pictures.
pub(crate) fn plan(container: Container, video: VideoCodec, audio: AudioCodec) -> Plan {
    Plan {
        container,
        video: Some(VideoPlan::Encode(encode(video, 192, 108))),
        audio: Some(AudioPlan::Encode { codec: audio, bitrate: Bitrate::from_kbps(96) }),
        duration: None,
    }
}

pub(crate) fn encode(codec: VideoCodec, width: u32, height: u32) -> VideoEncode {
    VideoEncode {
        name: String::new(),
        codec,
        encoder: None,
        hardware: Hardware::Auto,
        size: Resolution { width, height },
        sample_aspect_ratio: Ratio { num: 1, den: 1 },
        fps: None,
        bit_depth: None,
        rate: average(300),
        preset: Some("ultrafast".to_owned()),
        gop: Gop::Free,
        options: EncoderOptions::default(),
    }
}

/// An average rate with room for bursts.
pub(crate) fn average(kbps: u64) -> RateControl {
    RateControl::Average {
        bitrate: Bitrate::from_kbps(kbps),
        cap: Vbv { max_rate: Bitrate::from_kbps(kbps * 3 / 2), buffer: Bitrate::from_kbps(kbps * 2) },
        two_pass: false,
    }
}

/// The same plan at a fixed frame rate.
pub(crate) fn at(mut plan: Plan, num: u32, den: u32) -> Plan {
    if let Some(VideoPlan::Encode(video)) = &mut plan.video {
        video.fps = Some(FrameRate::new(num, den).unwrap());
    }
    plan
}

pub(crate) fn probe(path: &Path) -> MediaInfo {
    ENGINE.probe(&Source::File(path.to_owned()), &MediaBounds::default()).unwrap()
}

/// Presentation times in seconds of the frames that a player shows of the first stream of a kind,
/// and the decoded size. By `ffprobe`, which decodes everything; `None` where it is not installed.
pub(crate) fn frames(path: &Path, stream: &str) -> Option<Vec<f64>> {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", stream, "-show_entries", "frame=best_effort_timestamp_time"])
        .args(["-of", "csv=p=0"])
        .arg(path)
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).unwrap();
    let complaints = String::from_utf8(output.stderr).unwrap();
    assert!(complaints.trim().is_empty(), "{}: {complaints}", path.display());
    let number = |line: &str| line.trim_matches([',', ' ']).parse().ok();
    Some(text.lines().filter_map(number).collect())
}

/// The real clips: next to the workspace, or where the environment says.
pub(crate) fn media(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("FFRTMP_MEDIA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media"), PathBuf::from);
    let path = folder.join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: no {name} in {}", folder.display());
    None
}

/// Sums up one frame of raw samples: the mean of each third of the picture, by `ffmpeg`.
pub(crate) fn pixels(path: &Path, filter: &str, size: usize) -> Option<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-noautorotate", "-i"])
        .arg(path)
        .args(["-frames:v", "1", "-vf", filter, "-f", "rawvideo", "-pix_fmt", "gray", "-"])
        .output()
        .ok()?;
    assert_eq!(output.stdout.len(), size, "{}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout)
}
