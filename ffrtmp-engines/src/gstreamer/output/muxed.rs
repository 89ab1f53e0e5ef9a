//! Everything that a muxer packs: transport streams over SRT and UDP, recordings; and RTSP, whose
//! sink packs by itself.
//!
//! A muxer interleaves: it waits until it knows what comes next of every track. A track that has
//! nothing is said to have a gap, so that it holds up the others for [`PATIENCE`] at most.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::live::{Endpoint, LiveRules};
use ffrtmp_core::media::Container;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSrc;

use super::carriage;
use super::fragments::Starts;
use super::line::{Link, Shared};
use super::pipeline::{self, Pipeline, feed};
use crate::gstreamer::elements::make;
use crate::gstreamer::media::Track;

/// Time by which a track may be behind the others before it is said to have a gap.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_seconds(1);
/// Packets of a transport stream in a datagram: 1316 bytes, as SRT and multicast want it.
const PER_DATAGRAM: i32 = 7;
/// Milliseconds of a fragment of a recording that grows: what a crash may cost. The mode of `mp4mux`
/// that makes a plain file of the fragments at the end leaves out sizes of samples until then, where
/// tracks take turns in a fragment, so that nobody can read what a crash leaves.
const FRAGMENT: u32 = 2000;

/// # Errors
/// `engine_unavailable` for elements that are not installed.
pub(super) fn check_push(endpoint: &Endpoint) -> Result<()> {
    match scheme(endpoint) {
        "srt" => needs(&["mpegtsmux", "srtsink"]),
        "udp" => needs(&["mpegtsmux", "udpsink"]),
        _ => needs(&["rtspclientsink"]),
    }
}

/// # Errors
/// `engine_unavailable` for elements that are not installed.
pub(super) fn check_record(container: Container) -> Result<()> {
    needs(&[muxer_name(container), "filesink"])
}

fn needs(names: &[&str]) -> Result<()> {
    names.iter().try_for_each(|name| make(name).map(drop))
}

/// A connection that is being made.
pub(super) fn push(
    endpoint: &Endpoint,
    tracks: &[Track],
    rules: &LiveRules,
    shared: &Arc<Shared>,
) -> Result<Box<dyn Link>> {
    match scheme(endpoint) {
        "srt" => build(tracks, Some(transport(Some(PER_DATAGRAM))?), srt(endpoint)?, None, shared),
        "udp" => build(tracks, Some(transport(Some(PER_DATAGRAM))?), udp(endpoint)?, None, shared),
        _ => build(tracks, None, rtsp(endpoint, rules)?, None, shared),
    }
}

/// A recording that is being begun; one that `grows` can be read at any time.
pub(super) fn record(
    path: &Path,
    container: Container,
    grows: bool,
    tracks: &[Track],
    shared: &Arc<Shared>,
) -> Result<Box<dyn Link>> {
    let muxer = match container {
        Container::MpegTs => transport(None)?,
        container => make(muxer_name(container))?,
    };
    let mut starts = None;
    if grows && muxer.has_property("fragment-mode") {
        starts = Some(Starts::of(&muxer, tracks.len())?);
        muxer.set_property("fragment-duration", FRAGMENT);
        muxer.set_property_from_str("fragment-mode", "dash-or-mss");
    }
    let sink = make("filesink")?;
    sink.set_property("location", path);
    sink.set_property("async", false);
    // What was written is in the file, whatever becomes of this process.
    sink.set_property_from_str("buffer-mode", "unbuffered");
    build(tracks, Some(muxer), sink, starts, shared)
}

struct Muxed {
    pipeline: Pipeline,
    /// The time that each track has come to.
    reached: Vec<gst::ClockTime>,
    is_listener: bool,
    starts: Option<Arc<Starts>>,
}

impl Link for Muxed {
    fn has_room(&self) -> bool {
        self.pipeline.has_room()
    }

    fn send(&mut self, track: usize, _: bool, buffer: &gst::Buffer) -> Result<()> {
        if let Some(time) = buffer.dts_or_pts() {
            if let Some(starts) = &self.starts {
                starts.note(track, time);
            }
            self.reached[track] = self.reached[track].max(time);
            self.fill_gaps(self.reached[track]);
        }
        self.pipeline.push(track, buffer.clone())
    }

    fn end(&mut self) -> Result<()> {
        self.pipeline.end();
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.pipeline.bytes()
    }

    fn is_listener(&self) -> bool {
        self.is_listener
    }
}

impl Muxed {
    fn fill_gaps(&mut self, newest: gst::ClockTime) {
        let until = newest.saturating_sub(PATIENCE);
        for (track, reached) in self.reached.iter_mut().enumerate() {
            if *reached < until {
                *reached = until;
                self.pipeline.skip(track, until);
            }
        }
    }
}

fn build(
    tracks: &[Track],
    muxer: Option<gst::Element>,
    sink: gst::Element,
    starts: Option<Arc<Starts>>,
    shared: &Arc<Shared>,
) -> Result<Box<dyn Link>> {
    let pipeline = gst::Pipeline::new();
    let unlinked = |error| Error::new(Code::EncodeFailed, "the elements of an output do not fit").source(error);
    pipeline.add(&sink).map_err(unlinked)?;
    if let Some(muxer) = &muxer {
        pipeline.add(muxer).map_err(unlinked)?;
        muxer.link(&sink).map_err(unlinked)?;
    }
    let goal = muxer.as_ref().unwrap_or(&sink);
    let mut feeds: Vec<AppSrc> = Vec::new();
    for track in tracks {
        let source = feed(&track.caps, shared);
        pipeline.add(&source).map_err(unlinked)?;
        match parser(track)? {
            Some(parser) => {
                pipeline.add(&parser).map_err(unlinked)?;
                keep_caps(&parser);
                gst::Element::link_many([source.upcast_ref(), &parser, goal]).map_err(unlinked)?;
            }
            None => source.link(goal).map_err(unlinked)?,
        }
        feeds.push(source);
    }
    let begin = gst::ClockTime::ZERO;
    let reached = vec![begin; tracks.len()];
    let is_listener = pipeline::is_listener(&sink);
    Ok(Box::new(Muxed { pipeline: Pipeline::start(pipeline, feeds, &sink, shared)?, reached, is_listener, starts }))
}

/// What brings samples into the form that a muxer wants.
fn parser(track: &Track) -> Result<Option<gst::Element>> {
    let name = match carriage::codec(track) {
        "H.264" => "h264parse",
        "H.265" => "h265parse",
        "VP9" => "vp9parse",
        "AV1" => "av1parse",
        "AAC" => "aacparse",
        "MP3" => "mpegaudioparse",
        "Opus" => "opusparse",
        "FLAC" => "flacparse",
        _ => return Ok(None),
    };
    let parser = make(name)?;
    if parser.has_property("config-interval") {
        // Headers with every key frame, where they are not in front of all.
        parser.set_property("config-interval", -1_i32);
    }
    Ok(Some(parser))
}

/// An encoder that takes the place of another tells anew how to decode, in the caps and with each key
/// frame. A muxer has written its headers by then: some refuse other caps, so those of the beginning stay.
fn keep_caps(parser: &gst::Element) {
    let Some(pad) = parser.static_pad("src") else { return };
    let kept = Mutex::new((None, false));
    let types = gst::PadProbeType::BUFFER | gst::PadProbeType::EVENT_DOWNSTREAM;
    pad.add_probe(types, move |_, info| {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        let (caps, has_begun) = &mut *kept;
        match &mut info.data {
            Some(gst::PadProbeData::Buffer(_)) => *has_begun = true,
            Some(gst::PadProbeData::Event(event)) if event.type_() == gst::EventType::Caps => match caps {
                Some(first) if *has_begun => *event = gst::Event::clone(first),
                _ => *caps = Some(event.clone()),
            },
            _ => {}
        }
        gst::PadProbeReturn::Ok
    });
}

fn muxer_name(container: Container) -> &'static str {
    match container {
        Container::MpegTs => "mpegtsmux",
        Container::Webm => "webmmux",
        Container::Mkv => "matroskamux",
        _ => "mp4mux",
    }
}

fn transport(alignment: Option<i32>) -> Result<gst::Element> {
    let muxer = make("mpegtsmux")?;
    if let Some(packets) = alignment {
        muxer.set_property("alignment", packets);
    }
    Ok(muxer)
}

fn srt(endpoint: &Endpoint) -> Result<gst::Element> {
    let sink = make("srtsink")?;
    sink.set_property("uri", endpoint.reveal());
    // A lost peer is ours to tell and to find again; to a listener anybody may come at any time.
    sink.set_property("auto-reconnect", false);
    sink.set_property("wait-for-connection", false);
    at_once(&sink);
    Ok(sink)
}

fn udp(endpoint: &Endpoint) -> Result<gst::Element> {
    let wrong = || {
        Error::new(Code::InvalidField, format!("{endpoint} names no host and port"))
            .field("output")
            .hint("write it as udp://HOST:PORT")
    };
    let authority = endpoint.reveal().split("://").nth(1).and_then(|rest| rest.split(['/', '?']).next());
    let (host, port) = authority.and_then(|authority| authority.rsplit_once(':')).ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    let sink = make("udpsink")?;
    sink.set_property("host", host.trim_start_matches('@').trim_matches(['[', ']']));
    sink.set_property("port", i32::from(port));
    at_once(&sink);
    Ok(sink)
}

fn rtsp(endpoint: &Endpoint, rules: &LiveRules) -> Result<gst::Element> {
    let sink = make("rtspclientsink")?;
    sink.set_property("location", endpoint.reveal());
    sink.set_property("tcp-timeout", u64::try_from(rules.connect.as_micros()).unwrap_or(u64::MAX));
    Ok(sink)
}

/// Everything is sent when it is there; nothing waits for a clock or for a first picture.
fn at_once(sink: &gst::Element) {
    sink.set_property("sync", false);
    sink.set_property("async", false);
}

/// The scheme, in lower case; empty for one that nothing here sends to.
pub(super) fn scheme(endpoint: &Endpoint) -> &'static str {
    let scheme = endpoint.reveal().split("://").next().unwrap_or_default();
    ["srt", "udp", "rtsp", "rtsps"].into_iter().find(|known| scheme.eq_ignore_ascii_case(known)).unwrap_or_default()
}
