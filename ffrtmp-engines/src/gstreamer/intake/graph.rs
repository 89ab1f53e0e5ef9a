//! The pipelines of sources: from a connection, a file or nothing to raw media in a basin.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ffrtmp_core::encoding::Deinterlace;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::live::Endpoint;
use ffrtmp_core::location::Scheme;
use ffrtmp_core::units::{FrameRate, Resolution, Seconds};
use gstreamer as gst;
use gstreamer::glib;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::basin::{Basin, Item};
use super::played::Played;
use super::{Wants, facts, fault, tags};
use crate::gstreamer::media::TrackKind;

/// Formats of pictures that go on as they are.
const PICTURES: [&str; 4] = ["I420", "NV12", "I420_10LE", "P010_10LE"];
/// Formats of sound that go on as they are.
const SOUNDS: [&str; 2] = ["S16LE", "F32LE"];
/// Rate of generated sound, and samples of a piece of it.
const TONE: (i32, i32) = (48_000, 480);
/// Time for which what comes from RTSP is put in order, in milliseconds.
const RTSP_LATENCY: u32 = 100;
/// Time between demuxer and decoder.
const QUEUE: Duration = Duration::from_secs(2);

/// A picture and a tone that nobody sends.
#[derive(Clone, Copy, Debug)]
pub(in crate::gstreamer) struct Generated {
    pub(in crate::gstreamer) length: Seconds,
    pub(in crate::gstreamer) size: Resolution,
    pub(in crate::gstreamer) rate: FrameRate,
}

/// What a pipeline reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Feed<'a> {
    File(&'a Path),
    Generated(&'a Generated),
    Live(&'a Endpoint, &'a Played),
}

/// A pipeline that plays into a basin. Dropped, it ends.
#[derive(Debug)]
pub(super) struct Connection {
    pipeline: gst::Pipeline,
    pub(super) basin: Arc<Basin>,
}

impl Connection {
    /// Starts a pipeline; what goes wrong later comes out of the basin.
    pub(super) fn start(feed: Feed<'_>, wants: &Wants, patience: Duration, basin: Basin) -> Result<Self> {
        let connection = Self { pipeline: gst::Pipeline::new(), basin: Arc::new(basin) };
        let wiring = Arc::new(Wiring {
            pipeline: connection.pipeline.downgrade(),
            basin: Arc::clone(&connection.basin),
            wants: *wants,
            found: Default::default(),
        });
        connection.listen(match feed {
            Feed::Live(endpoint, _) => Some(endpoint.clone()),
            Feed::File(_) | Feed::Generated(_) => None,
        });
        match feed {
            Feed::File(path) => wiring.file(path)?,
            Feed::Generated(generated) => wiring.generated(generated)?,
            Feed::Live(endpoint, played) => wiring.live(endpoint, played, patience)?,
        }
        // Why it does not start, the bus says.
        if connection.pipeline.set_state(gst::State::Playing).is_err() {
            connection.basin.fail(Error::new(Code::Network, "the input cannot be opened").field("input"));
        }
        Ok(connection)
    }

    /// Whether the source says how long it is; a live playlist does not.
    pub(super) fn has_length(&self) -> bool {
        self.pipeline.query_duration::<gst::ClockTime>().is_some_and(|length| !length.is_zero())
    }

    fn listen(&self, endpoint: Option<Endpoint>) {
        let Some(bus) = self.pipeline.bus() else { return };
        let basin = Arc::clone(&self.basin);
        bus.set_sync_handler(move |_, message| {
            match message.view() {
                gst::MessageView::Eos(_) => basin.end(),
                gst::MessageView::Error(_) => {
                    if let Some(error) = fault::of_message(message, endpoint.as_ref()) {
                        basin.fail(error);
                    }
                }
                _ => {}
            }
            gst::BusSyncReply::Drop
        });
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.basin.close();
        if self.pipeline.set_state(gst::State::Null).is_err() {
            tracing::warn!("a source does not end as it should");
        }
        if let Some(bus) = self.pipeline.bus() {
            bus.unset_sync_handler();
        }
    }
}

/// What the callbacks of a pipeline share.
struct Wiring {
    pipeline: glib::WeakRef<gst::Pipeline>,
    basin: Arc<Basin>,
    wants: Wants,
    /// Streams of each kind so far.
    found: [AtomicUsize; 2],
}

impl Wiring {
    fn file(self: &Arc<Self>, path: &Path) -> Result<()> {
        let source = element("filesrc", [("location", path.to_string_lossy().as_ref().into())])?;
        let decoder = element("decodebin", [])?;
        refuse_playlists(&decoder);
        for kind in [TrackKind::Video, TrackKind::Audio] {
            if self.wanted(kind).is_some() {
                self.basin.open(kind, None);
            }
        }
        self.follow(&decoder, Arc::clone(self));
        self.link(&[source, decoder])
    }

    fn generated(self: &Arc<Self>, generated: &Generated) -> Result<()> {
        let Generated { length, size, rate } = generated;
        if self.wants.video.is_some() {
            let frames = count(length.value() * rate.as_f64());
            let source = element("videotestsrc", [("num-buffers", frames.into()), ("horizontal-speed", 4.into())])?;
            let fps = gst::Fraction::new(signed(rate.num), signed(rate.den));
            let caps = gst::Caps::builder("video/x-raw").field("format", "I420").field("framerate", fps);
            let caps = caps.field("width", signed(size.width)).field("height", signed(size.height));
            self.generate(TrackKind::Video, source, caps.build())?;
        }
        if self.wants.audio.is_some() {
            let (rate, samples) = TONE;
            let pieces = count(length.value() * f64::from(rate / samples));
            let source =
                element("audiotestsrc", [("num-buffers", pieces.into()), ("samplesperbuffer", samples.into())])?;
            source.set_property("volume", 0.25_f64);
            let caps = gst::Caps::builder("audio/x-raw").field("format", "S16LE").field("layout", "interleaved");
            self.generate(TrackKind::Audio, source, caps.field("rate", rate).field("channels", 2).build())?;
        }
        self.basin.settle();
        Ok(())
    }

    fn generate(self: &Arc<Self>, kind: TrackKind, source: gst::Element, caps: gst::Caps) -> Result<()> {
        self.basin.open(kind, None);
        let filter = element("capsfilter", [("caps", caps.into())])?;
        self.link(&[source, filter, self.sink(kind)])
    }

    fn live(self: &Arc<Self>, endpoint: &Endpoint, played: &Played, patience: Duration) -> Result<()> {
        let seconds = u32::try_from(patience.as_secs().max(1)).unwrap_or(u32::MAX);
        let uri = || endpoint.reveal();
        match endpoint.scheme() {
            Scheme::Rtmp => {
                let source = element("rtmp2src", [("location", uri().into()), ("timeout", seconds.into())])?;
                let demuxer = element("flvdemux", [])?;
                if let Some(pad) = source.static_pad("src") {
                    // What waits longer would be taken for a source that is silent.
                    tags::watch(&pad, &demuxer, &self.basin, patience.mul_f32(0.8));
                }
                self.follow(&demuxer, Arc::clone(self));
                self.link(&[source, demuxer])
            }
            Scheme::Srt => {
                let source = element("srtsrc", [("uri", uri().into()), ("auto-reconnect", false.into())])?;
                self.transport_stream(source)
            }
            Scheme::Udp => {
                let caps = gst::Caps::builder("video/mpegts").field("systemstream", true).build();
                self.transport_stream(element("udpsrc", [("uri", uri().into()), ("caps", caps.into())])?)
            }
            Scheme::Rtsp => {
                let source = element("rtspsrc", [("location", uri().into()), ("latency", RTSP_LATENCY.into())])?;
                source.set_property_from_str("protocols", "tcp");
                source.set_property("tcp-timeout", u64::from(seconds) * 1_000_000);
                self.follow(&source, Arc::clone(self));
                self.link(&[source])
            }
            Scheme::Http => {
                let source = element("uridecodebin", [("uri", uri().into())])?;
                played.begin();
                played.watch(&source);
                self.follow(&source, Arc::clone(self));
                self.link(&[source])
            }
            Scheme::File => Err(Error::new(Code::Internal, "a file is no live source")),
        }
    }

    fn transport_stream(self: &Arc<Self>, source: gst::Element) -> Result<()> {
        if let Some(pad) = source.static_pad("src") {
            count_in_bytes(&pad);
        }
        let demuxer = element("tsdemux", [("latency", 0.into())])?;
        self.follow(&demuxer, Arc::clone(self));
        self.link(&[source, demuxer])
    }

    /// Takes up the streams that an element finds.
    fn follow(&self, element: &gst::Element, wiring: Arc<Self>) {
        let settled = Arc::clone(&self.basin);
        element.connect_no_more_pads(move |_| settled.settle());
        element.connect_pad_added(move |_, pad| {
            if let Err(error) = wiring.take_up(pad) {
                wiring.basin.fail(error);
            }
        });
    }

    /// Leads a stream to its end if it is wanted.
    fn take_up(self: &Arc<Self>, pad: &gst::Pad) -> Result<()> {
        let caps = pad.current_caps().unwrap_or_else(|| pad.query_caps(None));
        let Some(kind) = kind_of(&caps) else { return Ok(()) };
        if self.wanted(kind) != Some(self.found[kind as usize].fetch_add(1, Ordering::Relaxed)) {
            return Ok(());
        }
        self.basin.open(kind, facts::codec_name(&caps));
        if caps.structure(0).is_some_and(|it| it.name().ends_with("/x-raw")) {
            return self.finish(kind, pad);
        }
        let queue = element("queue", [("max-size-buffers", 0_u32.into()), ("max-size-bytes", 0_u32.into())])?;
        queue.set_property("max-size-time", QUEUE.as_nanos() as u64);
        let decoder = element("decodebin", [])?;
        refuse_playlists(&decoder);
        decode_at_once(&decoder);
        let wiring = Arc::clone(self);
        decoder.connect_pad_added(move |_, pad| {
            if let Err(error) = wiring.finish(kind, pad) {
                wiring.basin.fail(error);
            }
        });
        self.append(pad, vec![queue, decoder])
    }

    /// From decoded media to the basin.
    fn finish(self: &Arc<Self>, kind: TrackKind, pad: &gst::Pad) -> Result<()> {
        let mut chain = Vec::new();
        match kind {
            TrackKind::Video => {
                if let Some(fields) = fields(self.wants.deinterlace) {
                    let deinterlace = element("deinterlace", [])?;
                    deinterlace.set_property_from_str("fields", fields);
                    chain.push(deinterlace);
                }
                if self.wants.turned {
                    let flip = element("videoflip", [])?;
                    flip.set_property_from_str("video-direction", "auto");
                    chain.push(flip);
                }
                chain.push(element("videoconvert", [])?);
                chain.push(filter("video/x-raw", &PICTURES)?);
            }
            TrackKind::Audio => {
                chain.push(element("audioconvert", [])?);
                chain.push(filter("audio/x-raw", &SOUNDS)?);
            }
        }
        chain.push(self.sink(kind));
        self.append(pad, chain)
    }

    fn sink(&self, kind: TrackKind) -> gst::Element {
        let basin = Arc::clone(&self.basin);
        let ended = Arc::clone(&self.basin);
        let callbacks = gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                let welcome = item(kind, sample).is_none_or(|item| basin.pour(item));
                if welcome { Ok(gst::FlowSuccess::Ok) } else { Err(gst::FlowError::Flushing) }
            })
            .eos(move |_| ended.end_lane(kind));
        // Live sources are told apart by the clock of the attempt, not by that of their pipeline.
        let sink = gst_app::AppSink::builder().sync(false).async_(false).max_buffers(1).callbacks(callbacks.build());
        sink.build().upcast()
    }

    fn wanted(&self, kind: TrackKind) -> Option<usize> {
        match kind {
            TrackKind::Video => self.wants.video,
            TrackKind::Audio => self.wants.audio,
        }
    }

    fn link(&self, chain: &[gst::Element]) -> Result<()> {
        let Some(pipeline) = self.pipeline.upgrade() else { return Ok(()) };
        pipeline.add_many(chain).map_err(broken)?;
        gst::Element::link_many(chain).map_err(broken)
    }

    /// Puts elements behind a pad of a pipeline that runs.
    fn append(&self, pad: &gst::Pad, chain: Vec<gst::Element>) -> Result<()> {
        self.link(&chain)?;
        for element in chain.iter().rev() {
            element.sync_state_with_parent().map_err(broken)?;
        }
        let Some(sink) = chain.first().and_then(|first| first.static_pad("sink")) else { return Ok(()) };
        pad.link(&sink).map(drop).map_err(|error| broken(glib::bool_error!("{error}")))
    }
}

fn item(kind: TrackKind, sample: gst::Sample) -> Option<Item> {
    let (buffer, segment) = (sample.buffer()?, sample.segment()?);
    let pts = buffer.pts()?;
    let time = segment.downcast_ref::<gst::ClockTime>()?.to_running_time(pts)?.nseconds();
    let duration = buffer.duration().map_or(0, gst::ClockTime::nseconds);
    Some(Item { kind, time, duration, sample })
}

/// Kind of a stream by its caps.
fn kind_of(caps: &gst::CapsRef) -> Option<TrackKind> {
    let structure = caps.structure(0)?;
    let name = structure.name().as_str();
    let media = if name == "application/x-rtp" { structure.get::<&str>("media").ok()? } else { name };
    if media.starts_with("video") || media.starts_with("image/") {
        Some(TrackKind::Video)
    } else {
        media.starts_with("audio").then_some(TrackKind::Audio)
    }
}

/// A demuxer of transport streams bends times to those of arrival, unless what comes is counted in
/// bytes; then they are those of the stream.
fn count_in_bytes(pad: &gst::Pad) {
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, |_, info| {
        if info.event().is_some_and(|event| event.type_() == gst::EventType::Segment) {
            let segment = gst::FormattedSegment::<gst::format::Bytes>::new();
            info.data = Some(gst::PadProbeData::Event(gst::event::Segment::new(&segment)));
        }
        gst::PadProbeReturn::Ok
    });
}

/// Which fields become pictures.
const fn fields(deinterlace: Deinterlace) -> Option<&'static str> {
    match deinterlace {
        Deinterlace::Off => None,
        Deinterlace::Auto | Deinterlace::Frame => Some("top"),
        Deinterlace::Field => Some("all"),
    }
}

/// Media that names other media is followed by nobody.
fn refuse_playlists(decoder: &gst::Element) {
    decoder.connect("autoplug-select", false, |values| {
        let factory = values.get(3)?.get::<gst::ElementFactory>().ok()?;
        let klass = factory.metadata(gst::ELEMENT_METADATA_KLASS).unwrap_or_default();
        // What unpacks RTP is of the network too, and fetches nothing.
        let is_fetcher = klass.contains("Network") && !klass.contains("Depayloader");
        let is_open = is_fetcher
            || ["Adaptive", "Source"].iter().any(|word| klass.contains(word))
            || matches!(factory.name().as_str(), "sdpdemux" | "dashdemux" | "hlsdemux" | "mssdemux");
        let results = glib::EnumClass::with_type(glib::Type::from_name("GstAutoplugSelectResult")?)?;
        results.to_value_by_nick(if is_open { "skip" } else { "try" })
    });
}

/// Decoders of live media use threads within a picture only: more of them would be more delay.
fn decode_at_once(decoder: &gst::Element) {
    let Some(bin) = decoder.downcast_ref::<gst::Bin>() else { return };
    bin.connect_deep_element_added(|_, _, element| {
        if element.find_property("thread-type").is_some() {
            element.set_property_from_str("thread-type", "slice");
        }
    });
}

fn filter(media: &str, formats: &[&str]) -> Result<gst::Element> {
    let caps = gst::Caps::builder(media).field("format", gst::List::new(formats));
    let caps = if media == "audio/x-raw" { caps.field("layout", "interleaved") } else { caps };
    element("capsfilter", [("caps", caps.build().into())])
}

fn element<const N: usize>(factory: &str, properties: [(&str, glib::Value); N]) -> Result<gst::Element> {
    let mut builder = gst::ElementFactory::make(factory);
    for (name, value) in properties {
        builder = builder.property(name, value);
    }
    builder.build().map_err(|error| {
        Error::new(Code::EngineUnavailable, format!("the element {factory} is missing"))
            .hint("`ffrtmp doctor` names the package that has it")
            .source(error)
    })
}

fn broken(error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::new(Code::Internal, "the pipeline of the input cannot be built").source(error)
}

fn count(number: f64) -> i32 {
    number.round().clamp(1.0, f64::from(i32::MAX)) as i32
}

fn signed(number: u32) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}
