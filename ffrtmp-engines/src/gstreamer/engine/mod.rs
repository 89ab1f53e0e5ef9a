//! The live engine: an attempt composes an intake, a session and outputs, keeps the rules of live
//! work and measures.
//!
//! | file | subject |
//! |---|---|
//! | `attempt.rs` | one attempt, from the source to the report |
//! | `outlets.rs` | which track goes to which output |
//! | `pace.rs` | whether encoding keeps up, and what follows |
//! | `tally.rs`, `teller.rs` | counts; progress and events for the observer |
//! | `reaper.rs` | encoders that outlive a cancel |
//! | `report.rs` | what was made, read back and described |
//!
//! What is not here: the pipelines themselves (`intake`, `session`, `output`), and protection against
//! a decoder that crashes, which is the isolated engine's part.

mod attempt;
mod outlets;
mod pace;
mod reaper;
mod report;
mod tally;
mod teller;

use std::sync::{Arc, OnceLock};

use ffrtmp_core::engine::{Control, Engine, EngineCapabilities, MediaBounds, Observer, Source, Task};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{EngineName, JobReport};
use ffrtmp_core::live::LiveRules;
use ffrtmp_core::media::{AudioCodec, MediaInfo, VideoCodec};
use ffrtmp_core::plan::Plan;
use gstreamer as gst;

use super::elements;
use super::intake::{Intake, Origin, Wants};
use super::media::Events;
use crate::libav::readback;
use reaper::Reaper;

/// Transcodes in this process with the elements of GStreamer: live sources and outputs, and files.
///
/// # Measures
/// CPU time and peak memory in its reports are those of the whole process.
///
/// # Cancel safety
/// It looks at the control between pictures; pipelines are taken down before `run` returns. An encoder
/// that works off what it holds before it lets go ends on a thread of the engine after a cancel; the
/// engine waits for it when it is dropped.
#[derive(Debug, Default)]
pub struct GstreamerEngine {
    capabilities: OnceLock<EngineCapabilities>,
    reaper: Reaper,
}

impl GstreamerEngine {
    /// Loads the engine; which encoders work is found out when first needed.
    ///
    /// # Errors
    /// `engine_unavailable` if GStreamer cannot start.
    pub fn new() -> Result<Self> {
        super::init()?;
        Ok(Self::default())
    }
}

impl Engine for GstreamerEngine {
    fn name(&self) -> EngineName {
        EngineName::Gstreamer
    }

    fn capabilities(&self) -> &EngineCapabilities {
        self.capabilities.get_or_init(find_capabilities)
    }

    fn probe(&self, source: &Source, bounds: &MediaBounds) -> Result<MediaInfo> {
        match source {
            Source::File(path) => readback::describe(path, bounds, &Control::default()),
            Source::Generated(_) => {
                Err(Error::new(Code::InputUnsupported, "a generated input has nothing to probe").field("input"))
            }
            Source::Live(endpoint) => {
                let rules = LiveRules { stall: bounds.max_probe, connect: bounds.max_probe, ..LiveRules::default() };
                let events: Events = Arc::new(|_| {});
                let origin = Origin::Live(endpoint.clone());
                let mut intake = Intake::open(origin, Wants::everything(), &rules, bounds, events)?;
                let info = intake.look(&Control::default())?;
                info.ok_or_else(|| Error::new(Code::Internal, "a live source without a description"))
            }
        }
    }

    fn plan(&self, task: &Task) -> Result<Plan> {
        let info = match &task.source {
            Source::Generated(_) => None,
            source => Some(self.probe(source, &task.bounds)?),
        };
        attempt::plan(task, info.as_ref())
    }

    fn run(&self, task: &Task, control: &Control, observer: &dyn Observer) -> Result<JobReport> {
        attempt::run(task, &self.reaper, control, observer)
    }
}

/// Tries every encoder that is installed.
fn find_capabilities() -> EngineCapabilities {
    let codecs = [VideoCodec::H264, VideoCodec::H265, VideoCodec::Vp9, VideoCodec::Av1];
    let of_codec = |codec| {
        let usable = elements::video_encoders(codec).iter().filter(|it| elements::works(it.element).is_ok());
        let mut names: Vec<String> = usable.map(encoder_name).collect();
        names.dedup();
        (!names.is_empty()).then_some((codec, names))
    };
    let sounds = [AudioCodec::Aac, AudioCodec::Opus].into_iter();
    let audio = sounds.flat_map(elements::audio_encoders).filter(|element| elements::works(element).is_ok());
    EngineCapabilities {
        video_encoders: codecs.into_iter().filter_map(of_codec).collect(),
        audio_encoders: audio.map(|element| (*element).to_owned()).collect(),
        versions: vec![gst::version_string().to_string()],
        missing: elements::missing().into_iter().map(|(what, package)| (what.to_owned(), package.to_owned())).collect(),
        sandbox: Vec::new(),
    }
}

/// The name that jobs have for an encoder, or that of its element.
pub(super) fn encoder_name(element: &elements::VideoElement) -> String {
    element.encoder.map_or_else(|| element.element.to_owned(), |encoder| encoder.as_str().to_owned())
}
