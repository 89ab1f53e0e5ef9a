//! A stream of a package with its place in it: what to call it, and what manifests say about it.

use std::collections::VecDeque;

use ffrtmp_core::error::Result;

use super::cuts::{Follower, Pictures};
use super::folder::{Folder, Ledger};
use super::rendition::{Content, Key, Label, Range, Rendition, Span};
use super::text::{self, Cues};
use super::track::{KeyPicture, Segment, Track};
use super::{Manifest, Settings, names, playlist};
use crate::libav::mux::Lane;
use crate::libav::sys::{Packet, StreamShape};

/// One stream and what it is made of.
pub(super) struct Stream {
    pub(super) body: Body,
    pub(super) label: Label,
    /// Its directory; empty before the package starts.
    pub(super) name: String,
    /// The directory, from the first packet on.
    pub(super) folder: Option<Folder>,
}

pub(super) enum Body {
    Pictures {
        track: Track,
        pictures: Pictures,
    },
    /// Packets wait until the video says where segments begin.
    Sound {
        track: Track,
        follower: Follower,
        waiting: VecDeque<Packet>,
        bytes: usize,
    },
    Text {
        cues: Cues,
    },
}

impl Stream {
    pub(super) fn new(body: Body) -> Self {
        Self { body, label: Label::default(), name: String::new(), folder: None }
    }

    pub(super) fn track(&self) -> Option<&Track> {
        match &self.body {
            Body::Pictures { track, .. } | Body::Sound { track, .. } => Some(track),
            Body::Text { .. } => None,
        }
    }

    pub(super) fn is_video(&self) -> bool {
        matches!(self.body, Body::Pictures { .. })
    }

    /// The name of its directory, if no other stream has it: `720p`, `audio_en_128k`, `subs_en`.
    pub(super) fn wished_name(&self, given: Option<&String>) -> String {
        if let Some(part) = given.and_then(|given| names::file_part(given)) {
            return part;
        }
        let shape = self.track().and_then(Track::shape);
        let language = self.label.language.as_deref().and_then(names::file_part);
        let language = language.map(|language| format!("_{language}")).unwrap_or_default();
        match &self.body {
            Body::Pictures { .. } => format!("{}p", shape.map_or(0, |shape| shape.size.1)),
            Body::Sound { .. } => {
                let rate = shape.and_then(|shape| shape.bit_rate).map(|rate| format!("_{}k", rate.div_ceil(1000)));
                format!("audio{language}{}", rate.unwrap_or_default())
            }
            Body::Text { .. } => format!("subs{language}"),
        }
    }

    pub(super) fn rendition(&self, track: &Track, lane: &Lane) -> Rendition {
        let (made, shape) = (track.made(), track.shape());
        let base = track.base();
        let span = |segment: &Segment| Span {
            start: base.seconds(segment.start),
            end: base.seconds(segment.end),
            bytes: segment.bytes,
        };
        let key = |key: &KeyPicture| Key {
            segment: key.segment,
            start: base.seconds(key.pts),
            offset: key.offset,
            length: key.length,
        };
        let segments: Vec<Span> = made.segments.iter().map(span).collect();
        let content = if lane.is_video() {
            let measured = lane.packets as f64 / (lane.end - lane.first).max(1e-3);
            Content::Video {
                size: shape.as_ref().map_or((0, 0), |shape| shape.size),
                display: shape.as_ref().map_or((0, 0), StreamShape::display),
                frame_rate: shape.as_ref().and_then(|shape| shape.frame_rate).unwrap_or(measured),
                range: Range::of_transfer(shape.as_ref().map_or(0, |shape| shape.transfer)),
                keys: made.keys.iter().map(key).collect(),
            }
        } else {
            Content::Audio {
                channels: shape.as_ref().map_or(0, |shape| shape.channels),
                sample_rate: shape.as_ref().map_or(0, |shape| shape.sample_rate),
            }
        };
        Rendition {
            name: self.name.clone(),
            content,
            codec: made.codec.clone(),
            label: self.label.clone(),
            segments,
            timescale: made.timescale,
        }
    }
}

/// Segments of subtitles: those of the first video, else of the first sound, from zero on and to the
/// end of all.
pub(super) fn text_spans(renditions: &[Rendition]) -> Vec<Span> {
    let leader = renditions.iter().find(|rendition| rendition.is_video()).or(renditions.first());
    let mut spans = leader.map(|leader| leader.segments.clone()).unwrap_or_default();
    if let Some(first) = spans.first_mut() {
        first.start = first.start.min(0.0);
    }
    if let Some(last) = spans.last_mut() {
        last.end = renditions.iter().map(Rendition::end).fold(last.end, f64::max);
    }
    spans
}

pub(super) fn write_text(
    label: Label,
    name: &str,
    cues: &Cues,
    mut segments: Vec<Span>,
    folder: &Folder,
    settings: &Settings,
    ledger: &mut Ledger,
) -> Result<Rendition> {
    if settings.manifest != Manifest::Hls {
        folder.write(text::WHOLE, cues.whole().as_bytes(), ledger)?;
    }
    for (index, span) in segments.iter_mut().enumerate() {
        let text = cues.segment(span.start, span.end, settings.segments);
        span.bytes = text.len() as u64;
        if settings.manifest != Manifest::Dash {
            folder.write(&playlist::text_segment(index), text.as_bytes(), ledger)?;
        }
    }
    Ok(Rendition { name: name.to_owned(), content: Content::Text, codec: None, label, segments, timescale: 0 })
}
