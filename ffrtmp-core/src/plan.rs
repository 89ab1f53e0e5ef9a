//! From wishes to a plan: what the scenario and the parameters leave open comes from the source,
//! then from the bit rate table.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::job::Parameters;
use crate::media::{AudioCodec, Container, MediaInfo, VideoCodec};
use crate::scenario::Scenario;
use crate::units::{Bitrate, Crf, FrameRate, Ratio, Resolution, Seconds};

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

impl Plan {
    /// Works out the plan for a source; `None` is a generated one.
    ///
    /// # Errors
    /// `container_mismatch`, `input_unsupported` for a source with neither video nor audio,
    /// `invalid_field` for wishes that contradict each other.
    pub fn resolve(request: &OutputRequest, source: Option<&MediaInfo>) -> Result<Self> {
        let _ = (request, source);
        Err(crate::error::Error::new(crate::error::Code::Internal, "not written yet"))
    }
}
