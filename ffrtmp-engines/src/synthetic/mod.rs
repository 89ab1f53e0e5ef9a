//! An engine without codecs, for tests and simulations: it plans like every engine, takes as long
//! as it is told, writes a small file of its own format, and obeys.
//!
//! What it writes it can read again, and it refuses everything else with the errors of a real
//! engine. The format is in `format.rs`.

mod format;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, EngineCapabilities, MediaBounds, Observer, Progress, Source, Task};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{EngineName, JobReport, Stage};
use ffrtmp_core::media::{MediaInfo, VideoCodec};
use ffrtmp_core::plan::{Plan, VideoPlan};
use ffrtmp_core::units::{FrameRate, Resolution, Seconds};
use serde::{Deserialize, Serialize};

use format::{FRAME_BYTES, Header};

use crate::stages::Stages;

/// Time between two reports of progress.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// Longest wait before orders are looked at again.
const SLICE: Duration = Duration::from_millis(10);

/// How a [`SyntheticEngine`] behaves; the default is as fast as it can and without failures.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Seconds of output made per second of wall time; as many as possible if absent.
    pub speed: Option<f64>,
    /// A failure in mid-work.
    pub failure: Option<Failure>,
}

/// A failure in mid-work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// How it is classified.
    pub code: Code,
    /// Percent of the work that is done before it happens.
    pub after_percent: f64,
}

/// An engine without codecs.
///
/// It says that it encodes every codec; its outputs are files of its own format under any name.
#[derive(Debug)]
pub struct SyntheticEngine {
    name: EngineName,
    behaviour: Behaviour,
    capabilities: EngineCapabilities,
}

impl Default for SyntheticEngine {
    fn default() -> Self {
        Self::new(Behaviour::default())
    }
}

impl SyntheticEngine {
    /// An engine that behaves like this.
    #[must_use]
    pub fn new(behaviour: Behaviour) -> Self {
        let encoder = |codec: &VideoCodec| (*codec, vec![format!("synthetic_{codec}")]);
        let capabilities = EngineCapabilities {
            video_encoders: VideoCodec::ALL.iter().map(encoder).collect(),
            audio_encoders: vec!["synthetic_aac".into(), "synthetic_opus".into()],
            versions: vec![format!("synthetic {}", env!("CARGO_PKG_VERSION"))],
            missing: Vec::new(),
            sandbox: Vec::new(),
        };
        Self { name: EngineName::Synthetic, behaviour, capabilities }
    }

    /// An engine that makes this many seconds of output per second.
    #[must_use]
    pub fn at_speed(speed: f64) -> Self {
        Self::new(Behaviour { speed: Some(speed), failure: None })
    }

    /// The same in the place of another engine, which jobs can ask for.
    #[must_use]
    pub fn standing_in_for(self, name: EngineName) -> Self {
        Self { name, ..self }
    }

    /// An engine whose every attempt fails with this code after this percent of the work.
    #[must_use]
    pub fn failing(code: Code, after_percent: f64) -> Self {
        Self::new(Behaviour { speed: None, failure: Some(Failure { code, after_percent }) })
    }
}

impl Engine for SyntheticEngine {
    fn name(&self) -> EngineName {
        self.name
    }

    fn capabilities(&self) -> &EngineCapabilities {
        &self.capabilities
    }

    fn probe(&self, source: &Source, bounds: &MediaBounds) -> Result<MediaInfo> {
        match source {
            Source::File(path) => {
                let (header, size) = Header::read(path)?;
                header.check(bounds)?;
                Ok(header.describe(size))
            }
            Source::Generated(length) => Ok(Header::generated(*length).describe(0)),
            Source::Live(endpoint) => Err(Source::refused_live(endpoint)),
        }
    }

    fn run(&self, task: &Task, control: &Control, observer: &dyn Observer) -> Result<JobReport> {
        let stages = Stages::begin();
        let plan = self.plan(task)?;
        stages.end(Stage::Probe);
        let mut work = Work::prepare(task, &plan)?;
        let output = create(&task.output)?;
        let report = work
            .write(output, &self.behaviour, control, observer)
            .inspect(|()| stages.end(Stage::Encode))
            .and_then(|()| format::verify(&task.output, &work.header))
            .inspect(|_| stages.end(Stage::Verify))
            .map(|size| JobReport { stages: stages.times(), ..work.report(size) });
        if report.is_err() {
            // The first error is the one to tell; a file that is gone already is as good.
            let _ = std::fs::remove_file(&task.output);
        }
        report
    }
}

/// Opens the output. It never follows what stands there already: that is not this attempt's.
fn create(path: &Path) -> Result<File> {
    File::options().write(true).create_new(true).open(path).or_else(|error| {
        let code = match error.kind() {
            io::ErrorKind::NotFound => Code::OutputDirectoryMissing,
            io::ErrorKind::AlreadyExists if path.is_file() => {
                return File::options().write(true).truncate(true).open(path).map_err(|error| unwritable(path, error));
            }
            _ => return Err(unwritable(path, error)),
        };
        Err(Error::new(code, format!("cannot write {}", path.display())).field("output").source(error))
    })
}

fn unwritable(path: &Path, error: io::Error) -> Error {
    Error::new(Code::OutputNotWritable, format!("cannot write {}", path.display())).field("output").source(error)
}

fn write_failed(error: io::Error) -> Error {
    let code = if error.kind() == io::ErrorKind::StorageFull { Code::DiskFull } else { Code::Storage };
    Error::new(code, "cannot write the output").operation("synthetic.write").source(error)
}

/// One run.
struct Work {
    header: Header,
    frame: Duration,
    input_bytes: u64,
    most_bytes: u64,
    started: Instant,
}

impl Work {
    fn prepare(task: &Task, plan: &Plan) -> Result<Self> {
        let (input, input_bytes) = match &task.source {
            Source::File(path) => Header::read(path)?,
            Source::Generated(length) => (Header::generated(*length), 0),
            Source::Live(endpoint) => return Err(Source::refused_live(endpoint)),
        };
        let header = planned(&input, plan);
        header.check(&task.bounds)?;
        Ok(Self {
            frame: Duration::from_secs_f64(1.0 / header.fps.as_f64()),
            header,
            input_bytes,
            most_bytes: task.bounds.max_output_bytes.unwrap_or(u64::MAX),
            started: Instant::now(),
        })
    }

    fn write(&mut self, output: File, behaviour: &Behaviour, control: &Control, observer: &dyn Observer) -> Result<()> {
        let mut writer = BufWriter::new(output);
        let mut bytes = self.header.write(&mut writer).map_err(write_failed)?;
        let mut told: Option<Instant> = None;
        let fails_at = behaviour.failure.as_ref().map(|failure| (failure, self.share(failure.after_percent)));
        observer.log("info", &format!("synthetic: {} frames", self.header.frames));
        for frame in 0..self.header.frames {
            control.checkpoint()?;
            if let Some((failure, _)) = fails_at.filter(|(_, at)| frame >= *at) {
                return Err(Error::new(failure.code, "the synthetic engine was told to fail"));
            }
            bytes += FRAME_BYTES as u64;
            if bytes > self.most_bytes {
                return Err(Error::new(Code::DiskQuotaExceeded, "the output is larger than the attempt may write"));
            }
            writer.write_all(&format::frame(frame)).map_err(write_failed)?;
            if told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY) {
                told = Some(Instant::now());
                observer.progress(self.progress(frame, bytes));
            }
            if let Some(speed) = behaviour.speed {
                pace(self.frame.div_f64(speed.max(1e-3)), control, || {
                    if told.is_none_or(|told| told.elapsed() >= PROGRESS_EVERY) {
                        told = Some(Instant::now());
                        observer.progress(self.progress(frame, bytes));
                    }
                })?;
            }
        }
        writer.flush().map_err(write_failed)?;
        observer.progress(self.progress(self.header.frames, bytes));
        Ok(())
    }

    fn share(&self, percent: f64) -> u64 {
        (self.header.frames as f64 * percent.clamp(0.0, 100.0) / 100.0) as u64
    }

    fn progress(&self, frames: u64, bytes: u64) -> Progress {
        let out_seconds = frames as f64 * self.frame.as_secs_f64();
        Progress {
            percent: Some(100.0 * frames as f64 / self.header.frames.max(1) as f64),
            frames,
            out_seconds,
            speed: out_seconds / self.started.elapsed().as_secs_f64().max(1e-9),
            out_bytes: bytes,
        }
    }

    fn report(&self, size: u64) -> JobReport {
        let wall = self.started.elapsed().as_secs_f64().max(1e-9);
        let duration = self.header.seconds();
        JobReport {
            size_bytes: size,
            duration_seconds: duration,
            frames: self.header.frames,
            fps: self.header.frames as f64 / wall,
            speed: duration / wall,
            wall_seconds: wall,
            input_bytes: self.input_bytes,
            output_bytes: size,
            video_encoder: Some(format!("synthetic_{}", self.header.codec)),
            video_codec: Some(self.header.codec.to_string()),
            resolution: Some(self.header.size.to_string()),
            bit_rate: (size as f64 * 8.0 / duration.max(1e-3)) as u64,
            ..JobReport::default()
        }
    }
}

/// Lets `time` pass, obeying orders; time spent in a pause counts as passed.
fn pace(time: Duration, control: &Control, mut tell: impl FnMut()) -> Result<()> {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        control.checkpoint()?;
        control.wait(left.min(SLICE));
        tell();
    }
    Ok(())
}

/// What the plan makes of an input.
fn planned(input: &Header, plan: &Plan) -> Header {
    let seconds = plan.duration.map_or(input.seconds(), |cut| cut.value().min(input.seconds()));
    let (codec, size, fps): (VideoCodec, Resolution, FrameRate) = match &plan.video {
        Some(VideoPlan::Encode(pictures)) => match pictures.renditions.first() {
            Some(encode) => (encode.codec, encode.size, encode.fps.unwrap_or(input.fps)),
            None => (input.codec, input.size, input.fps),
        },
        Some(VideoPlan::Copy(_)) | None => (input.codec, input.size, input.fps),
    };
    Header { codec, size, fps, frames: (seconds * fps.as_f64()).round().max(1.0) as u64 }
}

impl Header {
    /// What stands in for a generated picture.
    fn generated(length: Seconds) -> Self {
        let fps = FrameRate::whole(30);
        let size = Resolution { width: 1280, height: 720 };
        Self { codec: VideoCodec::H264, size, fps, frames: (length.value() * 30.0).round().max(1.0) as u64 }
    }
}
