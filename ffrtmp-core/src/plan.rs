//! From wishes to a plan: what the scenario and the parameters leave open comes from the source,
//! then from the bit rate table.
//!
//! `check` and `lost` refuse wishes that contradict each other or would be lost, `carriage` chooses container and codecs,
//! `streams` selects what goes along, `renditions` makes the ladder, `size` fits the picture,
//! [`rate`] holds the bit rate table and the default qualities.
//! `docs/scenarios.md` explains them to people.

use serde::{Deserialize, Serialize};

use crate::encoding::{
    Channels, Chunking, Deinterlace, EncoderOptions, Hardware, SegmentKind, Selection, Stills, Timing, ToneMap,
    VideoEncoder,
};
use crate::error::{Code, Error, Result};
use crate::job::{Job, Parameters};
use crate::media::{AudioCodec, Container, MediaInfo, StreamInfo, SubtitleCodec, Target, VideoCodec};
use crate::scenario::Scenario;
use crate::units::{Bitrate, Crf, FrameRate, Ratio, Resolution, Seconds};
use streams::Found;

mod carriage;
mod check;
mod lost;
mod options;
pub mod rate;
mod renditions;
mod size;
mod streams;
pub mod subtitles;

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
    /// The pictures; `None` if there are none.
    pub video: Option<VideoPlan>,
    /// The audio tracks of the output, in their order.
    pub audio: Vec<AudioPlan>,
    /// The subtitle tracks of the output, in their order.
    pub subtitles: Vec<SubtitlePlan>,
    /// Streams of the source whose attached pictures go along.
    pub cover_art: Vec<usize>,
    /// Streams of the source that are files and go along.
    pub attachments: Vec<usize>,
    /// What does not go along.
    pub left_out: Vec<LeftOut>,
    /// Still pictures to take.
    pub stills: Stills,
    /// How a package is cut; `None` for a file.
    pub segments: Option<SegmentPlan>,
    /// Whether the pictures may be encoded in chunks side by side.
    pub chunks: Chunking,
    /// Cut after this much; `None` runs to the end of the source.
    pub duration: Option<Seconds>,
}

/// What to do with the pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VideoPlan {
    /// Pass the packets of this stream through.
    Copy(usize),
    /// Decode once, filter, encode as often as there are renditions.
    Encode(PicturePlan),
}

/// One decode and what is made of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PicturePlan {
    /// Stream of the source; `None` for a generated picture.
    pub stream: Option<usize>,
    /// What to do with interlaced pictures.
    pub deinterlace: Deinterlace,
    /// How high dynamic range becomes standard range.
    pub tone_map: ToneMap,
    /// Constant frame rate; `None` keeps the source's timestamps.
    pub fps: Option<FrameRate>,
    /// The renditions, the largest first; at least one.
    pub renditions: Vec<VideoEncode>,
}

/// How to encode one rendition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VideoEncode {
    /// Name of the rendition, such as `720p`; part of file names where there are several.
    pub name: String,
    /// Codec.
    pub codec: VideoCodec,
    /// A particular encoder; `None` leaves the choice to the engine.
    pub encoder: Option<VideoEncoder>,
    /// Whether encoders on devices are used.
    pub hardware: Hardware,
    /// Picture size of the output, upright: rotation is already applied. Even on both sides.
    pub size: Resolution,
    /// Shape of an output pixel.
    pub sample_aspect_ratio: Ratio,
    /// Constant frame rate; `None` keeps the source's timestamps.
    pub fps: Option<FrameRate>,
    /// Bits per component, 8 or 10; `None` is the source's, as far as the encoder has them.
    pub bit_depth: Option<u8>,
    /// Quality or rate.
    pub rate: RateControl,
    /// Preset in x264 words or a number; `None` is the engine's default.
    pub preset: Option<String>,
    /// Key frames.
    pub gop: Gop,
    /// Options of the encoder.
    pub options: EncoderOptions,
}

/// Where key frames are. Groups of pictures are always closed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Gop {
    /// Where the encoder wants them, at most 10 s and 250 frames apart; scene cuts get their own.
    Free,
    /// At most this far apart; scene cuts get their own.
    AtMost(Seconds),
    /// At every multiple of this time and nowhere else: renditions and segments are aligned.
    Fixed(Seconds),
    /// At every multiple of this time, and at scene cuts, found once for all renditions.
    FixedAndCuts(Seconds),
}

/// What the encoder holds constant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RateControl {
    /// Quality, below a cap if there is one.
    Quality {
        /// The quality.
        crf: Crf,
        /// Bound on bursts.
        cap: Option<Vbv>,
    },
    /// Average bit rate.
    Average {
        /// The average.
        bitrate: Bitrate,
        /// Bound on bursts.
        cap: Vbv,
        /// Whether everything is looked at once before.
        two_pass: bool,
    },
    /// The same rate at every moment.
    Constant {
        /// The rate.
        bitrate: Bitrate,
        /// Bits of the decoder's buffer.
        buffer: Bitrate,
    },
}

/// The buffer model of a decoder: video buffering verifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vbv {
    /// Rate at which the buffer fills.
    pub max_rate: Bitrate,
    /// Its size, in bits.
    pub buffer: Bitrate,
}

/// What to do with one audio stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AudioPlan {
    /// Stream of the source; `None` for a generated tone.
    pub stream: Option<usize>,
    /// What becomes of it.
    pub work: AudioWork,
}

/// What becomes of an audio stream.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AudioWork {
    /// Pass the packets through.
    Copy,
    /// Decode, resample where needed, encode.
    Encode(AudioEncode),
}

/// How to encode one audio track.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioEncode {
    /// Codec.
    pub codec: AudioCodec,
    /// Bit rate of a stereo track; other layouts scale with their channels. FLAC has none.
    pub bitrate: Bitrate,
    /// Speakers.
    pub channels: Channels,
    /// Samples per second; `None` keeps the source's where the codec has it.
    pub sample_rate: Option<u32>,
}

/// What to do with one subtitle stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubtitlePlan {
    /// Stream of the source.
    pub stream: usize,
    /// What becomes of it.
    pub codec: Target<SubtitleCodec>,
}

/// A stream that does not go along.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Index in the source.
    pub stream: usize,
    /// What it is and why it stays behind.
    pub reason: String,
}

/// How a package is cut.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct SegmentPlan {
    /// Length of a segment.
    pub duration: Seconds,
    /// What the segments are.
    pub kind: SegmentKind,
}

/// Frames per second of a generated picture when nothing else is asked for.
const GENERATED_FPS: u32 = 30;
/// Seconds of a generated input when nothing else is asked for.
const GENERATED_SECONDS: f64 = 10.0;
/// Constant rate of a source that does not tell its own.
const ASSUMED_FPS: u32 = 25;
/// Length of a segment when nothing else is asked for.
const SEGMENT_SECONDS: u32 = 6;

impl OutputRequest {
    /// The wishes of a job.
    ///
    /// # Errors
    /// Those of the scenario grammar, for a job that another version stored.
    pub fn for_job(job: &Job) -> Result<Self> {
        let scenario = if job.scenario.is_empty() { Scenario::default() } else { job.scenario.parse()? };
        Ok(Self::for_output(scenario, Parameters::clone(&job.parameters), job.output.as_deref()))
    }

    /// Wishes for an output of this name, whose extension says the container. One that stands for
    /// sound, such as `.m4a`, leaves the pictures out where no video stream is asked for.
    #[must_use]
    pub fn for_output(scenario: Scenario, mut parameters: Parameters, name: Option<&str>) -> Self {
        if name.is_some_and(Container::is_name_of_sound) {
            parameters.video_stream.get_or_insert(Selection::None);
        }
        Self { scenario, parameters, container: name.and_then(Container::from_path) }
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
        let picture = streams::video(request, source)?;
        let sound = streams::audio(request, source)?;
        if picture == Found::Nothing && sound.is_empty() {
            return Err(nothing_to_do(source));
        }
        if source.is_none() {
            request.check_generated()?;
        }
        let carriage = carriage::choose(request, source)?;
        let container = carriage.container;
        let video = match (picture, carriage.video) {
            (Found::Nothing, _) | (_, None) => None,
            (Found::Generated, Some(target)) => Some(video_plan(request, target, None, source)?),
            (Found::Stream(index), Some(target)) => Some(video_plan(request, target, Some(index), source)?),
        };
        if video.is_none() && sound.is_empty() {
            return Err(Error::new(
                Code::ContainerMismatch,
                format!("{container} holds sound, and the input has none"),
            )
            .field("output")
            .hint("name the output .mp4, .mkv, .webm or .ts"));
        }
        let audio = sound.into_iter().map(|stream| AudioPlan { stream, work: audio_work(request, carriage.audio) });
        let mut plan = Self {
            container,
            video,
            audio: audio.collect(),
            subtitles: Vec::new(),
            cover_art: Vec::new(),
            attachments: Vec::new(),
            left_out: Vec::new(),
            stills: request.parameters.stills,
            segments: segments(request, container),
            chunks: request.parameters.chunks.unwrap_or(Chunking::Auto),
            duration: request.parameters.duration,
        };
        if let Some(info) = source {
            streams::besides(request, info, &mut plan)?;
        }
        Ok(plan)
    }

    /// The renditions that are encoded, the largest first; empty for a copy and for sound only.
    #[must_use]
    pub fn renditions(&self) -> &[VideoEncode] {
        match &self.video {
            Some(VideoPlan::Encode(pictures)) => &pictures.renditions,
            _ => &[],
        }
    }

    /// Whether the output is more than one file: they go into a directory of their own before they
    /// are published together.
    #[must_use]
    pub fn is_package(&self) -> bool {
        self.container.is_segmented() || self.renditions().len() > 1 || !self.stills.is_empty()
    }
}

impl OutputRequest {
    /// Whether what is asked for may be more than one file; known before the source is.
    #[must_use]
    pub fn may_be_package(&self) -> bool {
        let parameters = &self.parameters;
        parameters.ladder.is_some()
            || !parameters.stills.is_empty()
            || self.named_container().is_some_and(Container::is_segmented)
    }
}

/// Why a source gives nothing to encode.
fn nothing_to_do(source: Option<&MediaInfo>) -> Error {
    let streams = source.map_or(&[][..], |info| &info.streams);
    let is_unsized = |stream: &&StreamInfo| {
        stream.video.as_ref().is_some_and(|video| !video.cover_art && (video.width == 0 || video.height == 0))
    };
    let message = match streams.iter().find(is_unsized) {
        Some(stream) => {
            format!("the pictures of stream {} ({}) have no size that is known", stream.index, stream.codec)
        }
        None => "the input has neither video nor audio".to_owned(),
    };
    Error::new(Code::InputUnsupported, message)
        .field("input")
        .hint("`ffrtmp probe FILE` lists its streams; give one with a picture or sound that can be decoded")
}

fn segments(request: &OutputRequest, container: Container) -> Option<SegmentPlan> {
    container.is_segmented().then(|| SegmentPlan {
        duration: request.parameters.segment_duration.unwrap_or_else(|| whole_seconds(SEGMENT_SECONDS)),
        kind: request.parameters.segment_type.unwrap_or(SegmentKind::Fmp4),
    })
}

fn video_plan(
    request: &OutputRequest,
    target: Target<VideoCodec>,
    stream: Option<usize>,
    source: Option<&MediaInfo>,
) -> Result<VideoPlan> {
    let codec = match (target, stream) {
        (Target::Copy, Some(stream)) => return Ok(VideoPlan::Copy(stream)),
        (Target::Encode(codec), _) => codec,
        (Target::Copy, None) => return Err(check::nothing_to_copy("codec")),
    };
    let picture = source.zip(stream).and_then(|(info, index)| info.streams.get(index)?.video.as_ref());
    let parameters = &request.parameters;
    let fps = request.fps().or_else(|| match source {
        None => Some(FrameRate::whole(GENERATED_FPS)),
        Some(_) if parameters.timing == Some(Timing::Constant) => {
            let own = picture.and_then(|video| video.frame_rate).unwrap_or(FrameRate::whole(ASSUMED_FPS));
            // One picture for each field is twice as many.
            let by_field = parameters.deinterlace == Some(Deinterlace::Field);
            Some(if by_field { FrameRate::new(own.num * 2, own.den).unwrap_or(own) } else { own })
        }
        Some(_) => None,
    });
    Ok(VideoPlan::Encode(PicturePlan {
        stream,
        deinterlace: parameters.deinterlace.unwrap_or(Deinterlace::Auto),
        tone_map: parameters.tone_map.unwrap_or(ToneMap::Off),
        fps,
        renditions: renditions::plan(request, codec, fps, picture, source)?,
    }))
}

fn audio_work(request: &OutputRequest, target: Target<AudioCodec>) -> AudioWork {
    match target {
        Target::Copy => AudioWork::Copy,
        Target::Encode(codec) => AudioWork::Encode(AudioEncode {
            codec,
            bitrate: request.parameters.audio_bitrate.unwrap_or_else(|| rate::default_audio(codec)),
            channels: request.parameters.audio_channels.unwrap_or(Channels::Source),
            sample_rate: request.parameters.audio_sample_rate,
        }),
    }
}

fn whole_seconds(seconds: u32) -> Seconds {
    Seconds::try_from(f64::from(seconds)).expect("a small number is a valid span")
}

#[cfg(test)]
mod tests;
