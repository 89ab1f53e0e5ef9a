//! The in-process libav engine: probe, then demux → decode → filter → encode → mux → verify.
//!
//! A job's way through the files:
//!
//! | file | subject |
//! |---|---|
//! | `probe.rs` | opens foreign media within bounds and describes it |
//! | `session.rs` | one attempt: opens the tracks, pumps packets, judges the source |
//! | `timeline.rs`, `promise.rs` | the source's clock; the length that it says it has |
//! | `video.rs`, `picture.rs` | decode pictures; the filters that make every rendition of them |
//! | `rungs.rs`, `stage.rs` | from rendition to rendition; encode each with its times |
//! | `hdr.rs` | the screen of high dynamic range, in the notations of the encoders |
//! | `audio.rs`, `channels.rs`, `copy.rs` | sound, and its channels; streams that pass through |
//! | `chunks/` | the pictures divided, side by side here or on several machines |
//! | `encoders.rs`, `capabilities.rs` | what a plan means to each encoder; which of them work here |
//! | `mux.rs`, `verify.rs`, `report.rs` | write, read back, describe |
//! | `passes.rs` | two passes |
//! | `meter.rs`, `notes.rs`, `fault.rs` | progress, warnings, errors |
//! | `readback.rs` | the same for files of the live engine |
//! | `reaper.rs` | encoders that outlive a cancel |
//! | `sys/` | owning types around the C libraries; the only unsafe code |
//!
//! What is not here: choosing what to make (`ffrtmp_core::plan`), and protection against a decoder
//! that crashes, which is the isolated engine's part.

mod attached;
mod audio;
mod capabilities;
mod channels;
mod chunks;
mod copy;
mod encoders;
mod fault;
mod hdr;
mod limit;
mod meter;
mod mux;
mod names;
mod notes;
mod outputs;
mod package;
mod passes;
mod picture;
mod probe;
mod promise;
mod queue;
#[cfg(feature = "gstreamer")]
pub(crate) mod readback;
mod reaper;
mod remains;
mod report;
mod rungs;
mod session;
mod stage;
mod stills;
mod subtitles;
mod sys;
mod tags;
mod timeline;
mod tracks;
mod verify;
mod video;

#[cfg(feature = "gstreamer")]
pub(crate) use package::live::{LivePackager, LiveSample, LiveSettings};
#[cfg(feature = "gstreamer")]
pub(crate) use sys::{Described, DescribedShape};

use std::path::Path;
use std::sync::Arc;

use ffrtmp_core::engine::{Control, Engine, EngineCapabilities, MediaBounds, Observer, Source, Task};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{EngineName, JobReport, Stage};
use ffrtmp_core::media::MediaInfo;
use ffrtmp_core::plan::Plan;

use capabilities::Encoders;
pub use chunks::{Chunk, ChunkDone, ChunkPlan, Entry};
use reaper::Reaper;
use remains::Remains;
use session::{Opened, Order};
use sys::log::{self, Collector};

use crate::stages::Stages;

/// Prepares the process for codec libraries: their words go to `tracing`; SVT-AV1, which only knows an
/// environment variable for that, stays silent; the allocator keeps up to 8 MiB per arena that codecs
/// gave back for the next ones, where the environment does not tell it otherwise.
///
/// Programs call it first thing in `main`: the variable can be set only before a second thread
/// exists. [`LibavEngine::new`] does the rest where it was not called.
pub fn init() {
    sys::quiet_svt();
    sys::keep_memory();
    log::redirect();
}

/// Transcodes in this process with the libraries of FFmpeg.
///
/// # Measures
/// CPU time and peak memory in its reports are those of the whole process.
///
/// # Cancel safety
/// It looks at the control between packets and frames and gives up blocking reads; what is inside
/// an encoder when a cancel comes is thrown away. An encoder that works off its pipeline before it
/// lets go, as SVT-AV1 does, ends on a thread of the engine, up to seconds after a canceled run has
/// returned; the engine waits for it when it is dropped.
#[derive(Debug, Default)]
pub struct LibavEngine {
    encoders: Encoders,
    reaper: Arc<Reaper>,
}

impl LibavEngine {
    /// Loads the engine; which encoders work is found out when first needed.
    ///
    /// # Errors
    /// `engine_unavailable` if the libraries are not those it was built for.
    pub fn new() -> Result<Self> {
        init();
        if sys::libraries_match() {
            Ok(Self::default())
        } else {
            Err(Error::new(
                Code::EngineUnavailable,
                "the FFmpeg libraries here are not those this program was built for",
            )
            .hint("rebuild it on this machine, or install the FFmpeg version it was built with"))
        }
    }

    /// Does what a plan says, for callers that planned themselves.
    ///
    /// # Errors
    /// As [`Engine::run`].
    pub fn execute(
        &self,
        plan: &Plan,
        source: &Source,
        output: &Path,
        bounds: &MediaBounds,
        control: &Control,
        observer: &dyn Observer,
    ) -> Result<JobReport> {
        let _lines = Collector::start();
        self.attempt(plan, source, None, output, bounds, control, observer)
    }

    #[allow(clippy::too_many_arguments, reason = "what an attempt is made of")]
    fn attempt(
        &self,
        plan: &Plan,
        source: &Source,
        division: Option<chunks::Division>,
        output: &Path,
        bounds: &MediaBounds,
        control: &Control,
        observer: &dyn Observer,
    ) -> Result<JobReport> {
        let (stages, kept) = (&Stages::begin(), Remains::of(output));
        control.checkpoint()?;
        let (opened, _) = Opened::source(source, bounds, control)?;
        stages.end(Stage::Probe);
        let (encoders, reaper, remains) = (&self.encoders, &self.reaper, &kept);
        let order =
            Order { encoders, reaper, plan, source, division, output, bounds, control, observer, remains, stages };
        let report = session::transcode(&order, opened)?;
        kept.keep();
        Ok(report)
    }
}

impl Engine for LibavEngine {
    fn name(&self) -> EngineName {
        EngineName::Ffmpeg
    }

    fn capabilities(&self) -> &EngineCapabilities {
        self.encoders.all()
    }

    fn findings(&self) -> Option<String> {
        self.encoders.findings()
    }

    fn learn(&self, findings: &str) {
        self.encoders.learn(findings);
    }

    fn probe(&self, source: &Source, bounds: &MediaBounds) -> Result<MediaInfo> {
        let _lines = Collector::start();
        match source {
            Source::File(path) => {
                let (input, size) = probe::open(path, bounds, &Control::default())?;
                Ok(probe::describe(&input, size))
            }
            Source::Generated(_) => {
                Err(Error::new(Code::InputUnsupported, "a generated input has nothing to probe").field("input"))
            }
            Source::Live(endpoint) => Err(Source::refused_live(endpoint)),
        }
    }

    fn run(&self, task: &Task, control: &Control, observer: &dyn Observer) -> Result<JobReport> {
        let _lines = Collector::start();
        let stages = Stages::begin();
        let remains = Remains::of(&task.output);
        control.checkpoint()?;
        let (opened, size) = Opened::source(&task.source, &task.bounds, control)?;
        let info = match &opened {
            Opened::File(input) => Some(probe::describe(input, size)),
            Opened::Generated(_) => None,
        };
        let plan = Plan::resolve(&task.request, info.as_ref())?;
        stages.end(Stage::Probe);
        let order = Order {
            encoders: &self.encoders,
            reaper: &self.reaper,
            plan: &plan,
            source: &task.source,
            division: None,
            output: &task.output,
            bounds: &task.bounds,
            control,
            observer,
            remains: &remains,
            stages: &stages,
        };
        let report = session::transcode(&order, opened)?;
        remains.keep();
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::encoding::Selection;
    use ffrtmp_core::engine::Unobserved;
    use ffrtmp_core::job::Parameters;
    use ffrtmp_core::media::{Container, Target, VideoCodec};
    use ffrtmp_core::plan::OutputRequest;
    use ffrtmp_core::units::{Bitrate, FrameRate, Seconds};

    use super::*;

    /// A hardware encoder that passed its test may be gone when a job comes.
    #[test]
    fn an_encoder_that_does_not_open_gives_way_to_the_next() {
        let names = ["gone_nvenc", "gone_vaapi", "libx264"].map(str::to_owned).to_vec();
        let engine = LibavEngine { encoders: Encoders::preset(VideoCodec::H264, names), ..LibavEngine::default() };
        log::redirect();
        let parameters = Parameters {
            codec: Some(Target::Encode(VideoCodec::H264)),
            resolution: Some("64x48".parse().unwrap()),
            fps: Some(FrameRate::whole(25)),
            bitrate: Some(Bitrate::from_kbps(100)),
            audio_streams: Some(Selection::None),
            container: Some(Container::Mkv),
            ..Parameters::default()
        };
        let plan = Plan::resolve(&OutputRequest { parameters, ..OutputRequest::default() }, None).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let source = Source::Generated(Seconds::try_from(0.2).unwrap());
        let output = directory.path().join("out");
        let report =
            engine.execute(&plan, &source, &output, &MediaBounds::default(), &Control::default(), &Unobserved).unwrap();
        assert_eq!((report.video_encoder.as_deref(), report.frames), (Some("libx264"), 5));
        assert_eq!(report.warnings.len(), 2, "{:?}", report.warnings);
        assert!(report.warnings[0].contains("gone_nvenc"), "{:?}", report.warnings);
    }
}
