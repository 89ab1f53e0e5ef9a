//! Samples of a codec become raw media, on the way into the session.

use std::sync::Arc;
use std::time::Duration;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{AudioCodec, VideoCodec};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::super::media::{Raw, TrackKind};
use super::super::room::{Room, over};
use super::super::{LiveSession, Pushed, StreamFormat, fault};
use super::kinds::{Pictures, Sound};
use crate::gstreamer::elements;

/// Samples that wait for the decoder.
const ROOM: usize = 4;
/// How long one wait for room in the session lasts before it is begun again.
const WAIT: Duration = Duration::from_secs(1);

/// A decoder with what it feeds.
pub(super) struct Decoder {
    pipeline: gst::Pipeline,
    source: gst_app::AppSrc,
    pub(super) room: Arc<Room>,
}

impl Decoder {
    pub(super) fn pictures(session: &Arc<LiveSession>, input: &Pictures) -> Result<Option<Self>> {
        let Pictures::Coded { codec, format, config, fps } = input else { return Ok(None) };
        let mut caps = video_caps(*codec, *format);
        if let Some(fps) = fps {
            caps = caps.field("framerate", gst::Fraction::new(fps.num.cast_signed(), fps.den.cast_signed()));
        }
        let name = elements::first_here(elements::video_decoders(*codec)).ok_or_else(|| missing(codec.as_str()))?;
        let mut chain = Vec::new();
        if let Some(parser) = elements::video_parser(*codec) {
            chain.push(elements::make(parser)?);
        }
        chain.push(decoder(name)?);
        Self::start(session, TrackKind::Video, with_config(caps, config.as_deref()), chain).map(Some)
    }

    pub(super) fn sound(session: &Arc<LiveSession>, input: &Sound) -> Result<Option<Self>> {
        let Sound::Coded { codec, format, config, rate, channels } = input else { return Ok(None) };
        let caps =
            audio_caps(*codec, *format).field("rate", rate.cast_signed()).field("channels", i32::from(*channels));
        let name = elements::first_here(elements::audio_decoders(*codec)).ok_or_else(|| missing(codec.as_str()))?;
        let chain = vec![elements::make(elements::audio_parser(*codec))?, elements::make(name)?];
        Self::start(session, TrackKind::Audio, with_config(caps, config.as_deref()), chain).map(Some)
    }

    fn start(session: &Arc<LiveSession>, kind: TrackKind, caps: gst::Caps, middle: Vec<gst::Element>) -> Result<Self> {
        let odd = || Error::new(Code::Internal, "the parts of a decoder do not fit together");
        let room = Arc::new(Room::new(ROOM));
        let source = elements::make("appsrc")?.downcast::<gst_app::AppSrc>().map_err(|_| odd())?;
        source.set_format(gst::Format::Time);
        source.set_max_bytes(0);
        source.set_caps(Some(&caps));
        let leaving = Arc::clone(&room);
        let pad = source.static_pad("src").ok_or_else(odd)?;
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, _| {
            leaving.leave();
            gst::PadProbeReturn::Ok
        });
        let sink = sink(session, kind)?;
        let chain: Vec<_> = [source.clone().upcast()].into_iter().chain(middle).chain([sink]).collect();
        let pipeline = gst::Pipeline::new();
        pipeline.add_many(&chain).and_then(|()| gst::Element::link_many(&chain)).map_err(|_| odd())?;
        let (failing, closing) = (Arc::downgrade(session), Arc::clone(&room));
        pipeline.bus().ok_or_else(odd)?.set_sync_handler(move |_, message| {
            if let (gst::MessageView::Error(error), Some(session)) = (message.view(), failing.upgrade()) {
                session.fail(fault::of(error));
                closing.close();
            }
            gst::BusSyncReply::Drop
        });
        let decoder = Self { pipeline, source, room };
        let playing = decoder.pipeline.set_state(gst::State::Playing);
        playing.map_err(|_| Error::new(Code::CodecUnavailable, "the decoder does not start"))?;
        Ok(decoder)
    }

    pub(super) fn push(&self, buffer: gst::Buffer) -> Result<()> {
        self.room.enter();
        self.source.push_buffer(buffer).map(drop).map_err(|_| over())
    }

    pub(super) fn finish(&self) {
        self.room.close();
        // A decoder that does not flow any more has told why.
        let _ = self.source.end_of_stream();
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        self.room.close();
        // There is no device that could refuse, and nobody to tell.
        let _ = self.pipeline.set_state(gst::State::Null);
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

/// Hands what was decoded to the session, which holds it back while it is full.
fn sink(session: &Arc<LiveSession>, kind: TrackKind) -> Result<gst::Element> {
    let element = elements::make("appsink")?;
    element.set_property("sync", false);
    element.set_property("async", false);
    element.set_property("qos", false);
    element.set_property("enable-last-sample", false);
    let name = if kind == TrackKind::Video { "video/x-raw" } else { "audio/x-raw" };
    element.set_property("caps", gst::Caps::builder(name).build());
    let Some(sink) = element.dynamic_cast_ref::<gst_app::AppSink>() else { return Ok(element) };
    let (samples, end) = (Arc::downgrade(session), Arc::downgrade(session));
    let callbacks = gst_app::AppSinkCallbacks::builder()
        .new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            let session = samples.upgrade().ok_or(gst::FlowError::Eos)?;
            let raw = Raw { kind, sample };
            loop {
                match session.push_within(&raw, WAIT) {
                    Ok(Pushed::Taken) => return Ok(gst::FlowSuccess::Ok),
                    Ok(Pushed::Full) => {}
                    Err(_) => return Err(gst::FlowError::Eos),
                }
            }
        })
        .eos(move |_| {
            if let Some(session) = end.upgrade() {
                session.finish(kind);
            }
        });
    sink.set_callbacks(callbacks.build());
    Ok(element)
}

/// A decoder that holds no pictures back beyond what their order needs.
fn decoder(name: &str) -> Result<gst::Element> {
    let element = elements::make(name)?;
    if element.find_property("thread-type").is_some() {
        element.set_property_from_str("thread-type", "slice");
    }
    Ok(element)
}

fn with_config(caps: gst::caps::Builder<gst::caps::NoFeature>, config: Option<&[u8]>) -> gst::Caps {
    match config {
        Some(config) => caps.field("codec_data", gst::Buffer::from_slice(config.to_vec())).build(),
        None => caps.build(),
    }
}

fn video_caps(codec: VideoCodec, format: StreamFormat) -> gst::caps::Builder<gst::caps::NoFeature> {
    let bytes = format == StreamFormat::ByteStream;
    let caps = |kind: &str, stream: &str, alignment: &str| {
        gst::Caps::builder(kind).field("stream-format", stream).field("alignment", alignment)
    };
    match codec {
        VideoCodec::H264 => caps("video/x-h264", if bytes { "byte-stream" } else { "avc" }, "au"),
        VideoCodec::H265 => caps("video/x-h265", if bytes { "byte-stream" } else { "hvc1" }, "au"),
        VideoCodec::Av1 => caps("video/x-av1", "obu-stream", "tu"),
        VideoCodec::Vp8 => gst::Caps::builder("video/x-vp8"),
        VideoCodec::Vp9 => gst::Caps::builder("video/x-vp9"),
    }
}

fn audio_caps(codec: AudioCodec, format: StreamFormat) -> gst::caps::Builder<gst::caps::NoFeature> {
    match codec {
        AudioCodec::Aac => {
            let stream = if format == StreamFormat::ByteStream { "adts" } else { "raw" };
            gst::Caps::builder("audio/mpeg").field("mpegversion", 4).field("stream-format", stream)
        }
        AudioCodec::Opus => gst::Caps::builder("audio/x-opus").field("channel-mapping-family", 0),
        AudioCodec::Mp3 => gst::Caps::builder("audio/mpeg").field("mpegversion", 1).field("layer", 3),
        AudioCodec::Flac => gst::Caps::builder("audio/x-flac"),
    }
}

fn missing(codec: &str) -> Error {
    Error::new(Code::CodecUnavailable, format!("no decoder for {codec} is installed"))
        .hint("install gstreamer1.0-libav and gstreamer1.0-plugins-bad")
}
