//! From wishes to a plan: what the scenario and the parameters leave open comes from the source,
//! then from the bit rate table.
//!
//! `check` refuses wishes that contradict each other, `carriage` chooses container and codecs,
//! `size` fits the picture, [`rate`] holds the bit rate table and the default qualities.
//! `docs/scenarios.md` explains them to people.

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::job::{Job, Parameters};
use crate::media::{AudioCodec, Container, MediaInfo, Target, VideoCodec};
use crate::scenario::Scenario;
use crate::units::{Bitrate, Crf, FrameRate, Ratio, Resolution, Seconds};

mod carriage;
mod check;
pub mod rate;
mod size;

/// What to make, before the source is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OutputRequest {
    /// The scenario; an empty one leaves everything open.
    pub scenario: Scenario,
    /// Wishes that win over it.
    pub parameters: Parameters,
    /// The container that the name of the final output stands for, if it has one.
    pub container: Option<Container>,
}

/// What an engine shall do, with nothing left open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Output container.
    pub container: Container,
    /// The video stream; `None` for a source without one.
    pub video: Option<VideoPlan>,
    /// Every audio stream; `None` for a source without one.
    pub audio: Option<AudioPlan>,
    /// Cut after this much; `None` runs to the end of the source.
    pub duration: Option<Seconds>,
}

/// What to do with the video stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoPlan {
    /// Pass the packets through.
    Copy,
    /// Decode, filter, encode.
    Encode(VideoEncode),
}

/// How to encode the video stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoEncode {
    /// Codec.
    pub codec: VideoCodec,
    /// Picture size of the output, upright: rotation is already applied. Even on both sides.
    pub size: Resolution,
    /// Shape of an output pixel.
    pub sample_aspect_ratio: Ratio,
    /// Constant frame rate; `None` keeps the source's timestamps.
    pub fps: Option<FrameRate>,
    /// Quality or rate.
    pub rate: RateControl,
    /// Preset in x264 words or a number; `None` is the engine's default.
    pub preset: Option<String>,
}

/// What the encoder holds constant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateControl {
    /// Quality.
    Quality(Crf),
    /// Average bit rate.
    Average(Bitrate),
}

/// What to do with every audio stream.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioPlan {
    /// Pass the packets through.
    Copy,
    /// Decode, resample where needed, encode; channels are kept.
    Encode {
        /// Codec.
        codec: AudioCodec,
        /// Bit rate of a stereo track; other layouts scale with their channels.
        bitrate: Bitrate,
    },
}

/// Frames per second of a generated picture when nothing else is asked for.
const GENERATED_FPS: u32 = 30;
/// Seconds of a generated input when nothing else is asked for.
const GENERATED_SECONDS: f64 = 10.0;

impl OutputRequest {
    /// The wishes of a job.
    ///
    /// # Errors
    /// Those of the scenario grammar, for a job that another version stored.
    pub fn for_job(job: &Job) -> Result<Self> {
        let scenario = if job.scenario.is_empty() { Scenario::default() } else { job.scenario.parse()? };
        Ok(Self {
            scenario,
            parameters: job.parameters.clone(),
            container: job.output.as_deref().and_then(Container::from_path),
        })
    }

    /// Length of the input that is generated when the job has none: 10 s unless asked otherwise.
    #[must_use]
    pub fn generated_length(&self) -> Seconds {
        self.parameters.duration.unwrap_or_else(|| Seconds::try_from(GENERATED_SECONDS).expect("10 s is a valid span"))
    }

    /// Frames per second that are asked for; the parameter wins over the scenario.
    fn fps(&self) -> Option<FrameRate> {
        self.parameters.fps.or(self.scenario.fps)
    }
}

impl Plan {
    /// Works out the plan for a source; `None` is a generated one.
    ///
    /// # Errors
    /// `container_mismatch`, `input_unsupported` for a source with neither video nor audio,
    /// `invalid_field` for wishes that contradict each other.
    pub fn resolve(request: &OutputRequest, source: Option<&MediaInfo>) -> Result<Self> {
        request.check()?;
        let has_video = source.is_none_or(|info| info.best_video().is_some());
        let has_audio = source.is_none_or(|info| info.audio().next().is_some());
        if !has_video && !has_audio {
            return Err(Error::new(Code::InputUnsupported, "the input has neither video nor audio")
                .field("input")
                .hint("`ffrtmp probe FILE` lists its streams; give one with a picture or sound"));
        }
        if source.is_none() {
            request.check_generated()?;
        }
        let carriage = carriage::choose(request, source)?;
        Ok(Self {
            container: carriage.container,
            video: has_video.then(|| video_plan(request, carriage.video, source)).transpose()?,
            audio: has_audio.then(|| audio_plan(request, carriage.audio)),
            duration: request.parameters.duration,
        })
    }
}

fn video_plan(request: &OutputRequest, target: Target<VideoCodec>, source: Option<&MediaInfo>) -> Result<VideoPlan> {
    let Target::Encode(codec) = target else {
        return Ok(VideoPlan::Copy);
    };
    let picture = source.and_then(MediaInfo::best_video).map(|(_, video)| video);
    let wish = request.parameters.resolution.or(request.scenario.size);
    let (size, sample_aspect_ratio) = size::fit(wish, picture)?;
    let fps = request.fps().or_else(|| source.is_none().then(|| FrameRate::whole(GENERATED_FPS)));
    Ok(VideoPlan::Encode(VideoEncode {
        codec,
        size,
        sample_aspect_ratio,
        fps,
        rate: rate::choose(request, codec, size, fps, source),
        preset: request.parameters.preset.as_ref().map(|preset| preset.to_ascii_lowercase()),
    }))
}

fn audio_plan(request: &OutputRequest, target: Target<AudioCodec>) -> AudioPlan {
    match target {
        Target::Copy => AudioPlan::Copy,
        Target::Encode(codec) => AudioPlan::Encode {
            codec,
            bitrate: request.parameters.audio_bitrate.unwrap_or_else(|| rate::default_audio(codec)),
        },
    }
}

#[cfg(test)]
mod tests;
