//! The pipeline of a session: pictures are converted once, every rendition is scaled from the one
//! above it, each encoder has a thread of its own where there are several.
//!
//! ```text
//! appsrc → fit ┬→ queue → encoder → parser → appsink
//!              └→ fit ┬→ queue → encoder → parser → appsink
//!                     └→ …
//! appsrc → convert → resample → encoder → parser → appsink
//! ```

use std::num::NonZero;
use std::sync::Arc;

use ffrtmp_core::encoding::{Channels, Profile};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{AudioCodec, VideoCodec};
use ffrtmp_core::plan::{AudioEncode, VideoEncode};
use ffrtmp_core::units::FrameRate;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;
use gstreamer_video as gst_video;

use super::super::media::TrackKind;
use super::rung::{Kind, Rung};
use super::shared::Shared;
use super::{Pace, Pictures, SessionOptions, StreamFormat, sink};
use crate::gstreamer::elements;

/// Pictures that wait between scaling and an encoder. One is encoded while the next is scaled.
const QUEUED: u32 = 1;
const QUEUED_CALM: u32 = 8;

/// Pixel formats that are tried, for 8 and 10 bits, the usual one first.
const EIGHT_BITS: [&str; 2] = ["I420", "NV12"];
const TEN_BITS: [&str; 2] = ["I420_10LE", "P010_10LE"];

pub(super) fn not_linked(what: &str) -> Error {
    Error::new(Code::Internal, format!("the parts of {what} do not fit together"))
}

/// The source of one kind of raw media.
pub(super) fn source(shared: &Arc<Shared>, kind: TrackKind, caps: &gst::Caps) -> Result<gst_app::AppSrc> {
    let element = elements::make("appsrc")?;
    let source = element.downcast::<gst_app::AppSrc>().map_err(|_| not_linked("appsrc"))?;
    source.set_format(gst::Format::Time);
    // Room is counted by this session, in samples.
    source.set_max_bytes(0);
    source.set_block(false);
    source.set_caps(Some(caps));
    let pad = source.static_pad("src").ok_or_else(|| not_linked("appsrc"))?;
    let shared = Arc::clone(shared);
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
        shared.room(kind).leave();
        gst::PadProbeReturn::Ok
    });
    Ok(source)
}

/// Builds the way of the pictures; returns its source and the renditions.
pub(super) fn pictures(
    pipeline: &gst::Pipeline,
    options: &SessionOptions,
    pictures: &Pictures,
    shared: &Arc<Shared>,
) -> Result<(gst_app::AppSrc, Vec<Arc<Rung>>)> {
    let source = source(shared, TrackKind::Video, &pictures.caps)?;
    pipeline.add(&source).map_err(|_| not_linked("the pictures"))?;
    let mut way = Way { pipeline, options, pictures, shared, rungs: Vec::new() };
    let mut start: gst::Element = source.clone().upcast();
    if pictures.is_interlaced {
        start = way.after(&start, &[deinterlace()?])?;
    }
    let start = way.fork(&start, options.renditions.len() > 1)?;
    let mut nodes: Vec<Node> = Vec::new();
    for (index, plan) in options.renditions.iter().enumerate() {
        let ten_bits = pictures.has_ten_bits(plan);
        let parent = nodes.iter().rev().find(|node| node.serves(plan, ten_bits)).map_or(&start, |node| &node.fork);
        let end = way.rendition(parent, index, plan, ten_bits)?;
        nodes.push(Node { plan: plan.clone(), ten_bits, fork: end });
    }
    Ok((source, way.rungs))
}

fn deinterlace() -> Result<gst::Element> {
    let element = elements::make("deinterlace")?;
    element.set_property_from_str("fields", "top");
    element.set_property_from_str("method", "linear");
    Ok(element)
}

/// A rendition that others may be scaled from.
struct Node {
    plan: VideoEncode,
    ten_bits: bool,
    fork: gst::Element,
}

impl Node {
    fn serves(&self, plan: &VideoEncode, ten_bits: bool) -> bool {
        let (own, wanted) = (self.plan.size, plan.size);
        own.width >= wanted.width && own.height >= wanted.height && (self.ten_bits || !ten_bits)
    }
}

struct Way<'a> {
    pipeline: &'a gst::Pipeline,
    options: &'a SessionOptions,
    pictures: &'a Pictures,
    shared: &'a Arc<Shared>,
    rungs: Vec<Arc<Rung>>,
}

impl Way<'_> {
    /// Puts elements behind another; returns the last one.
    fn after(&self, start: &gst::Element, elements: &[gst::Element]) -> Result<gst::Element> {
        let mut last = start.clone();
        for element in elements {
            self.pipeline.add(element).and_then(|()| last.link(element)).map_err(|_| not_linked("the pictures"))?;
            last = element.clone();
        }
        Ok(last)
    }

    /// Where several ways begin.
    fn fork(&self, start: &gst::Element, is_fork: bool) -> Result<gst::Element> {
        if is_fork { self.after(start, &[elements::make("tee")?]) } else { Ok(start.clone()) }
    }

    /// Builds the way of one rendition; returns where the next one may begin.
    fn rendition(
        &mut self,
        parent: &gst::Element,
        index: usize,
        plan: &VideoEncode,
        ten_bits: bool,
    ) -> Result<gst::Element> {
        let choice = elements::choose(plan.codec, plan.encoder, plan.hardware)?;
        let is_ladder = self.options.renditions.len() > 1;
        let kind = Kind {
            what: choice.element,
            pace: self.options.pace,
            fps: self.rate_of(plan).or(self.pictures.fps),
            threads: self.threads(plan),
        };
        let rung = Arc::new(Rung::new(kind, plan.clone())?);
        let fit = self.fit(plan, &rung.encoder(), ten_bits)?;
        let fitted = self.after(parent, &fit)?;
        let fork = self.fork(&fitted, index + 1 < self.options.renditions.len())?;
        let before = if is_ladder { self.after(&fork, &[self.queue()?])? } else { fork.clone() };
        let sink = sink::make(&caps_of(plan.codec, self.options.format), self.shared, index, sink::Of::Pictures)?;
        let mut chain = vec![rung.encoder()];
        if let Some(parser) = elements::video_parser(plan.codec) {
            chain.push(profile_filter(plan)?);
            chain.push(parser_of(parser, self.options.format)?);
        }
        chain.push(sink);
        self.after(&before, &chain)?;
        let pad = before.static_pad("src").ok_or_else(|| not_linked("the pictures"))?;
        rung.watch(&pad)?;
        self.rungs.push(rung);
        Ok(fork)
    }

    /// What makes the pictures of a rendition from those before: size, format, and rate where this
    /// rendition has one of its own.
    fn fit(&self, plan: &VideoEncode, encoder: &gst::Element, ten_bits: bool) -> Result<Vec<gst::Element>> {
        let scale = elements::make("videoconvertscale")?;
        scale.set_property("add-borders", false);
        // As sharp as bicubic scaling elsewhere, and no dearer here than the softer ones.
        scale.set_property_from_str("method", "lanczos");
        let formats = formats_of(encoder, ten_bits);
        let filter = elements::make("capsfilter")?;
        let mut caps = gst::Caps::builder("video/x-raw")
            .field("format", gst::List::new(formats))
            .field("width", plan.size.width.cast_signed())
            .field("height", plan.size.height.cast_signed())
            .field(
                "pixel-aspect-ratio",
                gst::Fraction::new(plan.sample_aspect_ratio.num, plan.sample_aspect_ratio.den),
            );
        if let Some(colors) = &self.pictures.colors {
            caps = caps.field("colorimetry", colors.as_str());
        }
        let mut parts = Vec::new();
        if let Some(rate) = self.rate_of(plan) {
            let regulate = elements::make("videorate")?;
            regulate.set_property("skip-to-first", true);
            parts.push(regulate);
            caps = caps.field("framerate", gst::Fraction::new(rate.num.cast_signed(), rate.den.cast_signed()));
        }
        filter.set_property("caps", caps.build());
        parts.extend([scale, filter]);
        Ok(parts)
    }

    /// The rate of a rendition that is not the one of all pictures.
    fn rate_of(&self, plan: &VideoEncode) -> Option<FrameRate> {
        plan.fps.filter(|rate| self.pictures.grid != Some(*rate))
    }

    fn queue(&self) -> Result<gst::Element> {
        let queue = elements::make("queue")?;
        let pictures = if self.options.pace == Pace::Live { QUEUED } else { QUEUED_CALM };
        queue.set_property("max-size-buffers", pictures);
        queue.set_property("max-size-bytes", 0u32);
        queue.set_property("max-size-time", 0u64);
        queue.set_property("silent", true);
        Ok(queue)
    }

    /// Processors by share of the pixels, so that renditions do not get in each other's way.
    fn threads(&self, plan: &VideoEncode) -> usize {
        let cores = match self.options.threads {
            0 => std::thread::available_parallelism().map_or(1, NonZero::get),
            given => given,
        };
        let all: u64 = self.options.renditions.iter().map(|plan| plan.size.pixels()).sum();
        let share = plan.size.pixels() as f64 / all.max(1) as f64;
        ((cores as f64 * share).round() as usize).clamp(1, cores)
    }
}

/// Formats that the encoder takes without conversion, of those that keep the depth.
fn formats_of(encoder: &gst::Element, ten_bits: bool) -> Vec<&'static str> {
    let wanted = if ten_bits { TEN_BITS } else { EIGHT_BITS };
    let taken = encoder.static_pad("sink").map(|pad| pad.pad_template_caps());
    let fits = |format: &str| {
        let caps = gst::Caps::builder("video/x-raw").field("format", format).build();
        taken.as_ref().is_some_and(|taken| taken.can_intersect(&caps))
    };
    let formats: Vec<_> = wanted.into_iter().filter(|format| fits(format)).collect();
    // One that takes none of the depth takes the usual one.
    if formats.is_empty() { EIGHT_BITS.to_vec() } else { formats }
}

/// Holds the encoder to a profile, where one was asked for.
fn profile_filter(plan: &VideoEncode) -> Result<gst::Element> {
    let filter = elements::make("capsfilter")?;
    let name = match (plan.codec, plan.options.profile) {
        (VideoCodec::H264 | VideoCodec::H265, Some(Profile::Main)) => "main",
        (VideoCodec::H264, Some(Profile::Baseline)) => "constrained-baseline",
        (VideoCodec::H264, Some(Profile::High)) => "high",
        (VideoCodec::H264, Some(Profile::High10)) => "high-10",
        (VideoCodec::H265, Some(Profile::Main10)) => "main-10",
        _ => return Ok(filter),
    };
    let kind = if plan.codec == VideoCodec::H264 { "video/x-h264" } else { "video/x-h265" };
    filter.set_property("caps", gst::Caps::builder(kind).field("profile", name).build());
    Ok(filter)
}

fn parser_of(parser: &str, format: StreamFormat) -> Result<gst::Element> {
    let element = elements::make(parser)?;
    if format == StreamFormat::ByteStream && element.find_property("config-interval").is_some() {
        // With every key frame, so that decoding can begin at each.
        element.set_property("config-interval", -1);
    }
    Ok(element)
}

/// What the samples of a codec are.
fn caps_of(codec: VideoCodec, format: StreamFormat) -> gst::Caps {
    let bytes = format == StreamFormat::ByteStream;
    let caps = |kind: &str, stream: &str, alignment: &str| {
        gst::Caps::builder(kind).field("stream-format", stream).field("alignment", alignment).build()
    };
    match codec {
        VideoCodec::H264 => caps("video/x-h264", if bytes { "byte-stream" } else { "avc" }, "au"),
        VideoCodec::H265 => caps("video/x-h265", if bytes { "byte-stream" } else { "hvc1" }, "au"),
        VideoCodec::Av1 => caps("video/x-av1", "obu-stream", "tu"),
        VideoCodec::Vp8 => gst::Caps::builder("video/x-vp8").build(),
        VideoCodec::Vp9 => gst::Caps::builder("video/x-vp9").field("alignment", "super-frame").build(),
    }
}

/// Builds the way of the sound; returns its source.
pub(super) fn sound(
    pipeline: &gst::Pipeline,
    input: &gst::Caps,
    plan: &AudioEncode,
    options: &SessionOptions,
    shared: &Arc<Shared>,
) -> Result<gst_app::AppSrc> {
    let source = source(shared, TrackKind::Audio, input)?;
    let name = elements::choose_audio(plan.codec)?;
    let encoder = elements::make(name)?;
    let format = SoundFormat::of(plan, input);
    format.set_rate(&encoder, name, plan);
    let filter = elements::make("capsfilter")?;
    filter.set_property("caps", format.caps());
    let delay = gst::ClockTime::from_seconds(encoder_delay(name)).mul_div_floor(1, format.rate.unsigned_abs().into());
    let kind = sink::Of::Sound { delay: delay.unwrap_or_default() };
    let sink = sink::make(&caps_of_sound(plan.codec, options.format), shared, options.renditions.len(), kind)?;
    let parser = elements::make(elements::audio_parser(plan.codec))?;
    let start: gst::Element = source.clone().upcast();
    let chain =
        [start, elements::make("audioconvert")?, elements::make("audioresample")?, filter, encoder, parser, sink];
    let built = pipeline.add_many(&chain).and_then(|()| gst::Element::link_many(&chain));
    built.map_err(|_| not_linked("the sound"))?;
    Ok(source)
}

/// Samples that an encoder puts before what it is given without saying so in its times.
fn encoder_delay(name: &str) -> u64 {
    match name {
        "avenc_aac" => 1024,
        _ => 0,
    }
}

/// What an encoder of sound is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SoundFormat {
    rate: i32,
    channels: i32,
}

/// Samples per second that AAC has.
const AAC_RATES: [i32; 13] = [7350, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 64000, 88200, 96000];
const MP3_RATES: [i32; 9] = [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000];
const USUAL_RATE: i32 = 48000;

impl SoundFormat {
    fn of(plan: &AudioEncode, input: &gst::Caps) -> Self {
        let own = |name: &str| input.structure(0).and_then(|caps| caps.get::<i32>(name).ok());
        let wanted = plan.sample_rate.and_then(|rate| i32::try_from(rate).ok()).or_else(|| own("rate"));
        let wanted = wanted.unwrap_or(USUAL_RATE);
        let rates: &[i32] = match plan.codec {
            // It decodes at this rate whatever went in.
            AudioCodec::Opus => &[USUAL_RATE],
            AudioCodec::Aac => &AAC_RATES,
            AudioCodec::Mp3 => &MP3_RATES,
            AudioCodec::Flac => &[wanted],
        };
        let rate = rates.iter().copied().find(|rate| *rate == wanted).unwrap_or(USUAL_RATE);
        let most = match plan.codec {
            AudioCodec::Mp3 => 2,
            AudioCodec::Aac => 6,
            AudioCodec::Opus | AudioCodec::Flac => 8,
        };
        let channels = match plan.channels {
            Channels::Mono => 1,
            Channels::Stereo => 2,
            Channels::Surround51 => 6,
            Channels::Surround71 => 8,
            Channels::Source => own("channels").unwrap_or(2),
        };
        Self { rate, channels: if channels > most { 2 } else { channels } }
    }

    fn caps(self) -> gst::Caps {
        gst::Caps::builder("audio/x-raw").field("rate", self.rate).field("channels", self.channels).build()
    }

    /// The rate of a stereo track, grown with the channels.
    fn set_rate(self, encoder: &gst::Element, name: &str, plan: &AudioEncode) {
        let channels = u64::from(self.channels.unsigned_abs());
        let bits = plan.bitrate.bps() / 2 * channels;
        // The encoder's own bound: 6144 bits for each channel and frame of 1024 samples.
        let bound = u64::from(self.rate.unsigned_abs()) * 6 * channels;
        let value = match (plan.codec, name) {
            (AudioCodec::Flac, _) => return,
            (AudioCodec::Mp3, _) => {
                encoder.set_property_from_str("target", "bitrate");
                (plan.bitrate.bps() / 1000).clamp(8, 320)
            }
            (AudioCodec::Opus, _) => bits.clamp(4_000, 650_000),
            (AudioCodec::Aac, _) => bits.min(bound),
        };
        if let Some(known) = encoder.find_property("bitrate")
            && let Ok(value) = gst::glib::Value::deserialize(&value.to_string(), known.value_type())
        {
            encoder.set_property("bitrate", value);
        }
    }
}

fn caps_of_sound(codec: AudioCodec, format: StreamFormat) -> gst::Caps {
    match codec {
        AudioCodec::Aac => {
            let stream = if format == StreamFormat::ByteStream { "adts" } else { "raw" };
            gst::Caps::builder("audio/mpeg").field("mpegversion", 4).field("stream-format", stream).build()
        }
        AudioCodec::Opus => gst::Caps::builder("audio/x-opus").build(),
        AudioCodec::Mp3 => gst::Caps::builder("audio/mpeg").field("mpegversion", 1).field("layer", 3).build(),
        AudioCodec::Flac => gst::Caps::builder("audio/x-flac").build(),
    }
}

/// What is in the caps of raw pictures, made definite.
pub(super) fn picture_info(caps: &gst::Caps) -> Result<gst_video::VideoInfo> {
    gst_video::VideoInfo::from_caps(caps).map_err(|_| {
        Error::new(Code::InvalidField, "these caps are not of raw pictures")
            .field("video")
            .hint("give video/x-raw with format, width and height")
    })
}
