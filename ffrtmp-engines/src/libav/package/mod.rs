//! Writes the streams of a job as a package for adaptive streaming: HLS and DASH, with segments of
//! fragmented MP4 (CMAF) or MPEG-TS.
//!
//! | file | subject |
//! |---|---|
//! | `cuts.rs` | where segments begin |
//! | `stream.rs`, `track.rs` | one stream; its muxer and segments |
//! | `text.rs` | subtitles as WebVTT |
//! | `boxes.rs`, `codecs.rs` | what has to be read and mended in the bytes of muxers |
//! | `manifests.rs`, `rendition.rs` | what manifests say |
//! | `playlist.rs`, `mpd.rs` | how HLS and DASH say it |
//! | `folder.rs`, `names.rs` | files and their names |
//! | `live.rs` | a package that grows, of streams that are coded elsewhere |
//!
//! Every stream has a muxer of its own that writes into memory, a fragment at a time; the files are
//! opened here, below the directory of the job and nowhere else. Except in `live.rs`, the package is
//! for video on demand: manifests are written when all segments are there, the one that the job names
//! last.
//!
//! # Timing
//! All streams keep the times they are given; nothing is moved for a stream alone. What is decoded
//! before zero, as the priming of audio codecs and pictures ahead of B-frames, is kept; in CMAF an
//! edit list says where presentation begins (offsets of composition are never negative, which
//! FFmpeg reads wrongly in fragments), and in transport streams all times are 1.4 s later.
//!
//! What is not here: choosing renditions, encoding with key frames where segments begin
//! (`VideoEncode`), and publishing the staging directory.

mod boxes;
mod codecs;
mod cuts;
mod folder;
#[cfg(feature = "gstreamer")]
pub(crate) mod live;
mod manifests;
mod mpd;
mod names;
mod playlist;
mod rendition;
mod stream;
#[cfg(test)]
mod tests;
mod text;
mod track;

use std::collections::VecDeque;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffrtmp_core::encoding::SegmentKind;
use ffrtmp_core::engine::Control;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{Container, StreamKind};
use ffrtmp_core::plan::{Plan, SegmentPlan};

use self::cuts::{Boundaries, Cut, Follower, Pictures, Rest};
use self::folder::{Folder, Ledger, Place};
use self::rendition::Label;
use self::stream::{Body, Stream};
use self::text::Cues;
use self::track::{Target, Track};
use super::fault::failed;
use super::limit::Limit;
use super::meter::Meter;
use super::mux::Lane;
use super::outputs::Sink;
use super::sys::{AvError, Input, Output, Packet, StreamView, TimeBase};
use super::verify::{self, Expected, ExpectedLane};

/// Bytes of one track of sound that wait for the video to say where segments begin.
const MAX_WAITING: usize = 16 << 20;

/// Which manifests a package has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manifest {
    /// Playlists of HLS.
    Hls,
    /// A media presentation description of DASH.
    Dash,
    /// Playlists of HLS, and a media presentation description inside the directory.
    Both,
}

/// What segments are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Segments {
    /// Fragmented MP4 by the rules of CMAF.
    Cmaf,
    /// MPEG transport streams, for old players of HLS.
    MpegTs,
}

impl From<SegmentKind> for Segments {
    fn from(kind: SegmentKind) -> Self {
        match kind {
            SegmentKind::Fmp4 => Self::Cmaf,
            SegmentKind::Ts => Self::MpegTs,
        }
    }
}

impl Segments {
    fn segment_name(self, index: usize) -> String {
        let extension = match self {
            Self::Cmaf => "m4s",
            Self::MpegTs => "ts",
        };
        format!("seg_{:05}.{extension}", index + 1)
    }

    /// Whether players know what to do with a codec in such segments. The muxers take more.
    fn carry(self, codec: &str) -> bool {
        const CMAF: &[&str] =
            &["h264", "h265", "hevc", "vp9", "av1", "aac", "mp3", "opus", "flac", "alac", "ac3", "eac3", "webvtt"];
        const TRANSPORT: &[&str] = &["h264", "h265", "hevc", "aac", "mp3", "ac3", "eac3", "webvtt"];
        match self {
            Self::Cmaf => CMAF.contains(&codec),
            Self::MpegTs => TRANSPORT.contains(&codec),
        }
    }
}

impl fmt::Display for Segments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cmaf => "CMAF",
            Self::MpegTs => "MPEG-TS",
        })
    }
}

/// How a package is made.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) manifest: Manifest,
    pub(super) segments: Segments,
    /// Length of a segment in seconds; it ends at the first key frame from there on.
    pub(super) seconds: f64,
    /// Names of the video renditions in the order they are added; the height where there is none.
    pub(super) names: Vec<String>,
}

impl Settings {
    /// What a plan asks for; `None` if its output is no package of segments.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let manifest = match plan.container {
            Container::Hls => Manifest::Hls,
            Container::Dash => Manifest::Dash,
            _ => return None,
        };
        let SegmentPlan { duration, kind } = plan.segments?;
        let names = plan.renditions().iter().map(|rendition| rendition.name.clone()).collect();
        Some(Self { manifest, segments: kind.into(), seconds: duration.value(), names })
    }
}

/// A package and what went into it.
///
/// # Contract
/// Streams are added, then `start`, then packets in the order of each stream, then `finish`.
/// Streams need not be interleaved, but sound waits in memory until the video has come as far, up
/// to 16 MiB for each track; beyond that it is cut by time alone.
///
/// A package that is dropped before it is finished removes its directory.
pub(super) struct Packager {
    settings: Settings,
    place: Place,
    /// The file that stands for the package.
    manifest: PathBuf,
    root: Folder,
    ledger: Ledger,
    boundaries: Boundaries,
    /// Whether all packets are there.
    is_ending: bool,
    title: Option<String>,
    lanes: Vec<Lane>,
    streams: Vec<Stream>,
    control: Control,
    meter: Arc<Meter>,
    /// Bytes that the meter knows of.
    metered: u64,
}

impl Sink for Packager {
    fn wants_global_header(&self) -> bool {
        self.settings.segments == Segments::Cmaf
    }

    /// A stream of subtitles holds cues of WebVTT: packets of text alone, times beside it.
    fn add(&mut self, lane: Lane, add: &mut dyn FnMut(&mut Output) -> Result<usize, AvError>) -> Result<usize> {
        let body = self.body(&lane, add)?;
        self.lanes.push(lane);
        self.streams.push(Stream::new(body));
        Ok(self.streams.len() - 1)
    }

    fn describe_stream(&mut self, lane: usize, source: StreamView<'_>) {
        let tags = source.tags();
        let tag = |key: &str| tags.get(key).filter(|value| !value.trim().is_empty());
        let stream = &mut self.streams[lane];
        stream.label = Label {
            language: tag("language").and_then(|language| names::language(language)),
            title: tag("title").cloned(),
            is_default: source.is_default(),
            is_forced: source.dispositions().any(|name| name == "forced"),
            characteristics: source.dispositions().find_map(characteristics),
        };
        let kept: Vec<_> =
            tag("language").map(|language| ("language".to_owned(), language.clone())).into_iter().collect();
        if let Body::Pictures { track, .. } | Body::Sound { track, .. } = &mut stream.body {
            track.describe(source, &kept);
        }
        self.lanes[lane].source = Some(source.index());
    }

    /// Chapters have no place in manifests.
    fn describe(&mut self, input: &Input, _: i64, _: Option<i64>) -> Result<()> {
        self.title = input.tags().remove("title");
        Ok(())
    }

    fn video_delay(&self, lane: usize) -> i32 {
        self.streams[lane].track().map_or(0, Track::video_delay)
    }

    /// Names the streams and lets their muxers begin.
    ///
    /// # Errors
    /// `container_mismatch` for a codec that the segments cannot carry.
    fn start(&mut self) -> Result<()> {
        if !self.lanes.iter().any(Lane::is_video) {
            self.boundaries.complete();
        }
        let mut taken = Vec::new();
        let mut given = self.settings.names.iter();
        for stream in &mut self.streams {
            let wish = stream.wished_name(if stream.is_video() { given.next() } else { None });
            stream.name = names::distinct(wish, &taken);
            taken.push(stream.name.clone());
            if let Body::Pictures { track, .. } | Body::Sound { track, .. } = &mut stream.body {
                track.start()?;
            }
        }
        Ok(())
    }

    fn write(&mut self, lane: usize, packet: &mut Packet, base: TimeBase) -> Result<()> {
        self.control.checkpoint()?;
        let is_text = matches!(self.streams[lane].body, Body::Text { .. });
        // A packet without data tells of new headers, as FLAC's last one does: here they are written already.
        if packet.size() == 0 && !is_text {
            return Ok(());
        }
        let state = &mut self.lanes[lane];
        let target = self.streams[lane].track().map_or(base, Track::base);
        packet.rescale(base, target);
        let meant = packet.pts();
        if !is_text {
            state.order(packet, target)?;
        }
        state.count(meant.or(packet.pts()), packet, target);
        self.meter.reach(state.end);
        let (pts, dts) = (packet.pts().unwrap_or(0), packet.dts().unwrap_or(0));
        let times = [dts, pts, packet.duration()].map(|ticks| target.seconds(ticks));
        match &mut self.streams[lane].body {
            Body::Pictures { pictures, .. } => {
                let [dts, pts, length] = times;
                let cut = pictures.place(&mut self.boundaries, packet.is_key(), dts, pts, length)?;
                self.push(lane, packet, cut)?;
                for other in 0..self.streams.len() {
                    self.advance(other)?;
                }
            }
            Body::Sound { waiting, bytes, .. } => {
                *bytes += packet.size();
                waiting.push_back(std::mem::replace(packet, Packet::new()));
                self.advance(lane)?;
            }
            Body::Text { cues } => {
                cues.add(times[1], times[2], packet.data())?;
                packet.clear();
            }
        }
        self.meter();
        Ok(())
    }

    /// # Errors
    /// `input_invalid` if no packet came; `encode_failed` if renditions have no common key frames.
    fn finish(&mut self) -> Result<()> {
        if self.lanes.iter().all(|lane| lane.packets == 0) {
            return Err(Error::new(Code::InputInvalid, "the input has no pictures and no sound").field("input"));
        }
        for stream in &self.streams {
            if let Body::Pictures { pictures, .. } = &stream.body {
                self.boundaries.check(pictures)?;
            }
        }
        self.boundaries.complete();
        self.is_ending = true;
        for lane in 0..self.streams.len() {
            self.advance(lane)?;
            self.end(lane)?;
        }
        self.write_manifests()?;
        self.meter();
        Ok(())
    }

    fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    fn primary(&self) -> &Path {
        &self.manifest
    }

    /// The manifest, and everything in the package's directory.
    fn files(&self) -> Vec<PathBuf> {
        let mut others: Vec<_> = self.ledger.files().iter().filter(|file| **file != self.manifest).cloned().collect();
        // They were begun in the order in which threads came by.
        others.sort();
        others.insert(0, self.manifest.clone());
        others
    }

    /// Every stream with a muxer, as one file of its segments end to end.
    fn checks(&self) -> Vec<verify::Output> {
        let streams = self.streams.iter().zip(&self.lanes);
        let tracks = streams.filter_map(|(stream, lane)| Some((stream.track()?, &stream.name, lane)));
        tracks
            .filter(|(_, _, lane)| lane.packets > 0)
            .map(|(track, name, lane)| self.check(track, name, lane))
            .collect()
    }
}

/// What a stream does for people who cannot hear or see, by libav's name of its disposition.
fn characteristics(disposition: &str) -> Option<&'static str> {
    match disposition {
        "hearing_impaired" | "captions" => {
            Some("public.accessibility.transcribes-spoken-dialog,public.accessibility.describes-music-and-sound")
        }
        "visual_impaired" | "descriptions" => Some("public.accessibility.describes-video"),
        _ => None,
    }
}

impl Packager {
    /// Makes the directory next to the manifest, which must not exist yet.
    ///
    /// # Errors
    /// `invalid_field` for settings that do not go together; else why the directory could not be
    /// made.
    pub(super) fn create(primary: &Path, settings: Settings, limit: &Limit) -> Result<Self> {
        if settings.segments == Segments::MpegTs && settings.manifest != Manifest::Hls {
            let what = "DASH is made of CMAF segments only";
            return Err(Error::new(Code::InvalidField, what).field("segment_type").hint("give fmp4, or make HLS"));
        }
        if !(settings.seconds.is_finite() && settings.seconds > 0.0) {
            return Err(Error::new(Code::InvalidField, "segments need a length above zero").field("segment_duration"));
        }
        let place = Place::make(primary)?;
        Ok(Self {
            root: place.open()?,
            manifest: place.manifest(),
            place,
            ledger: Ledger::new(limit.bounds.max_output_bytes),
            boundaries: Boundaries::new(settings.seconds),
            settings,
            is_ending: false,
            title: None,
            lanes: Vec::new(),
            streams: Vec::new(),
            control: limit.control.clone(),
            meter: Arc::clone(&limit.meter),
            metered: 0,
        })
    }

    /// The directory with everything but the manifest that the job names.
    pub(super) fn directory(&self) -> PathBuf {
        self.place.directory()
    }

    fn check(&self, track: &Track, name: &str, lane: &Lane) -> verify::Output {
        let folder = self.place.directory().join(name);
        let format = self.settings.segments;
        let (header, container) = match format {
            Segments::Cmaf => (Some(folder.join(track::HEADER)), Container::Fmp4),
            Segments::MpegTs => (None, Container::MpegTs),
        };
        let segments = (0..track.made().segments.len()).map(|index| folder.join(format.segment_name(index)));
        let expected = Expected { container, lanes: vec![ExpectedLane::of(lane)] };
        verify::Output { parts: header.into_iter().chain(segments).collect(), expected }
    }

    fn body(&self, lane: &Lane, add: &mut dyn FnMut(&mut Output) -> Result<usize, AvError>) -> Result<Body> {
        if !self.settings.segments.carry(&lane.codec) {
            let what = format!("{} segments cannot carry {}", self.settings.segments, lane.codec);
            return Err(Error::new(Code::ContainerMismatch, what).hint("leave out segment_type, or change the codec"));
        }
        if lane.kind == StreamKind::Subtitle {
            return Ok(Body::Text { cues: Cues::default() });
        }
        let mut track = Track::new(self.settings.segments, &lane.codec, lane.is_video(), &self.control)?;
        add(track.output()).map_err(|error| failed(Code::EncodeFailed, "the muxer takes no such stream", error))?;
        if !lane.is_video() {
            return Ok(Body::Sound { track, follower: Follower::default(), waiting: VecDeque::new(), bytes: 0 });
        }
        // What is copied follows its own key frames, and only alone they are everyone's.
        let binding = !lane.is_copied || !self.lanes.iter().any(Lane::is_video);
        Ok(Body::Pictures { track, pictures: Pictures::new(binding, self.settings.seconds) })
    }

    fn meter(&mut self) {
        self.meter.add_bytes(self.ledger.written() - self.metered);
        self.metered = self.ledger.written();
    }

    /// Writes the sound of which the segment is known.
    fn advance(&mut self, lane: usize) -> Result<()> {
        let end = self.lanes[lane].end;
        loop {
            let Body::Sound { track, follower, waiting, bytes } = &mut self.streams[lane].body else { return Ok(()) };
            let Some(packet) = waiting.front() else { return Ok(()) };
            let base = track.base();
            let (start, length) = (base.seconds(packet.pts().unwrap_or(0)), base.seconds(packet.duration()));
            let rest = Rest { seconds: end - start, is_all: self.is_ending };
            let cut = match follower.place(&self.boundaries, start, length, rest) {
                Cut::Unknown if *bytes > MAX_WAITING => follower.place_alone(&self.boundaries, start, length),
                Cut::Unknown => return Ok(()),
                cut => cut,
            };
            let Some(mut packet) = waiting.pop_front() else { return Ok(()) };
            *bytes -= packet.size();
            self.push(lane, &mut packet, cut == Cut::Here)?;
        }
    }

    fn push(&mut self, lane: usize, packet: &mut Packet, cut: bool) -> Result<()> {
        let Stream { body, folder, name, .. } = &mut self.streams[lane];
        let (Body::Pictures { track, .. } | Body::Sound { track, .. }) = body else { return Ok(()) };
        let folder = match folder {
            Some(folder) => folder,
            none => none.insert(self.root.make(name)?),
        };
        track.push(packet, cut, &mut Target { folder, ledger: &mut self.ledger })
    }

    fn end(&mut self, lane: usize) -> Result<()> {
        let Stream { body, folder: Some(folder), .. } = &mut self.streams[lane] else { return Ok(()) };
        let (Body::Pictures { track, .. } | Body::Sound { track, .. }) = body else { return Ok(()) };
        let end = track.base().ticks(self.lanes[lane].end);
        track.finish(end, &mut Target { folder, ledger: &mut self.ledger })
    }
}
