//! RTMP and RTMPS: tags of FLV into `rtmp2sink`.

use std::sync::Arc;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::live::{Endpoint, LiveRules};
use gstreamer as gst;
use gstreamer::prelude::*;

use super::flv;
use super::line::{Link, Shared};
use super::pipeline::{Pipeline, feed};
use crate::gstreamer::elements;
use crate::gstreamer::media::{Track, TrackKind};

/// Bytes of a chunk. The default of 128 costs a header each 128 bytes.
const CHUNK: u32 = 4096;

/// Whether an endpoint is one of RTMP.
pub(super) fn is_meant(endpoint: &Endpoint) -> bool {
    endpoint
        .reveal()
        .split("://")
        .next()
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("rtmp") || scheme.eq_ignore_ascii_case("rtmps"))
}

/// # Errors
/// `engine_unavailable` where it is not installed; `invalid_field` for an address that can be none.
pub(super) fn check(endpoint: &Endpoint, rules: &LiveRules) -> Result<()> {
    configure(&elements::make("rtmp2sink")?, endpoint, rules)
}

/// A connection that is being made.
pub(super) fn open(
    endpoint: &Endpoint,
    tracks: &[Track],
    rules: &LiveRules,
    shared: &Arc<Shared>,
) -> Result<Box<dyn Link>> {
    let headers = flv::headers(&tracks.iter().collect::<Vec<_>>())?;
    let headers = headers.into_iter().map(|tag| gst::Buffer::from_mut_slice(tag).to_send_value());
    let caps = gst::Caps::builder("video/x-flv").field("streamheader", gst::Array::from_values(headers)).build();
    let sink = elements::make("rtmp2sink")?;
    configure(&sink, endpoint, rules)?;
    let pipeline = gst::Pipeline::new();
    let source = feed(&caps, shared);
    pipeline
        .add_many([source.upcast_ref(), &sink])
        .and_then(|()| source.link(&sink))
        .map_err(|error| Error::new(Code::EncodeFailed, "rtmp2sink takes no FLV").source(error))?;
    let pipeline = Pipeline::start(pipeline, vec![source], &sink, shared)?;
    Ok(Box::new(Rtmp { pipeline, kinds: tracks.iter().map(|track| track.kind).collect() }))
}

struct Rtmp {
    pipeline: Pipeline,
    kinds: Vec<TrackKind>,
}

impl Link for Rtmp {
    fn has_room(&self) -> bool {
        self.pipeline.has_room()
    }

    fn send(&mut self, track: usize, is_key: bool, buffer: &gst::Buffer) -> Result<()> {
        let data = buffer.map_readable();
        let data = data.map_err(|error| Error::new(Code::EncodeFailed, "a sample cannot be read").source(error))?;
        let shown = buffer.pts().unwrap_or_default();
        let decoded = buffer.dts().unwrap_or(shown);
        let tag = match self.kinds[track] {
            TrackKind::Video => flv::picture(decoded.mseconds(), shown.mseconds(), is_key, &data),
            TrackKind::Audio => flv::sound(shown.mseconds(), &data),
        };
        let mut tag = gst::Buffer::from_mut_slice(tag);
        if let Some(tag) = tag.get_mut() {
            tag.set_pts(shown);
            tag.set_dts(decoded);
        }
        self.pipeline.push(0, tag)
    }

    fn end(&mut self) -> Result<()> {
        self.pipeline.end();
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.pipeline.bytes()
    }
}

/// Address and names are given apart: what follows the last `/` of the path is the stream key.
fn configure(sink: &gst::Element, endpoint: &Endpoint, rules: &LiveRules) -> Result<()> {
    let wrong = |what: &str| {
        Error::new(Code::InvalidField, format!("{endpoint} {what}"))
            .field("output")
            .hint("write it as rtmp://HOST[:PORT]/APPLICATION/KEY")
    };
    let (scheme, rest) = endpoint.reveal().split_once("://").ok_or_else(|| wrong("has no scheme"))?;
    let (authority, path) = rest.split_once('/').ok_or_else(|| wrong("names no application"))?;
    let (place, query) = path.find(['?', '#']).map_or((path, ""), |at| path.split_at(at));
    let (application, key) = place.rsplit_once('/').ok_or_else(|| wrong("names no stream"))?;
    if application.is_empty() || key.is_empty() {
        return Err(wrong(if key.is_empty() { "names no stream" } else { "names no application" }));
    }
    let (user, host) = authority.rsplit_once('@').map_or((None, authority), |(user, host)| (Some(user), host));
    let is_secure = scheme.eq_ignore_ascii_case("rtmps");
    let (host, port) = split_port(host).ok_or_else(|| wrong("has a port that is none"))?;
    sink.set_property_from_str("scheme", if is_secure { "rtmps" } else { "rtmp" });
    sink.set_property("host", host);
    sink.set_property("port", i32::from(port.unwrap_or(if is_secure { 443 } else { 1935 })));
    sink.set_property("application", application);
    sink.set_property("stream", format!("{key}{query}"));
    if let Some((name, password)) = user.and_then(|user| user.split_once(':')) {
        sink.set_property("username", name);
        sink.set_property("password", password);
    }
    sink.set_property("timeout", u32::try_from(rules.connect.as_secs()).unwrap_or(u32::MAX).max(1));
    sink.set_property("chunk-size", CHUNK);
    // Everything is sent when it is there; nothing waits for a clock or for a first picture.
    sink.set_property("sync", false);
    sink.set_property("async", false);
    Ok(())
}

/// Host and port; `[::1]:1935` too.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        return match port.strip_prefix(':') {
            Some(port) => Some((host, Some(port.parse().ok()?))),
            None => port.is_empty().then_some((host, None)),
        };
    }
    match authority.split_once(':') {
        Some((host, port)) => Some((host, Some(port.parse().ok()?))),
        None => Some((authority, None)),
    }
}
