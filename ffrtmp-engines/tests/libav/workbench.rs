//! Makes inputs and reads outputs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use ffrtmp_core::engine::{Control, Engine, MediaBounds, Observer, Progress, Source};
use ffrtmp_core::error::Result;
use ffrtmp_core::job::JobReport;
use ffrtmp_core::media::{AudioCodec, Container, MediaInfo, VideoCodec};
use ffrtmp_core::plan::{AudioPlan, Plan, RateControl, VideoEncode, VideoPlan};
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
            plan,
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
        let run =
            ENGINE.execute(plan, &source, &output, &MediaBounds::default(), &Control::default(), &Listener::default());
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
        codec,
        size: Resolution { width, height },
        sample_aspect_ratio: Ratio { num: 1, den: 1 },
        fps: None,
        rate: RateControl::Average(Bitrate::from_kbps(300)),
        preset: Some("ultrafast".to_owned()),
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
