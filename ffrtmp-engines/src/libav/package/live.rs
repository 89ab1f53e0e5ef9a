//! A package of HLS that grows while its media comes: playlists name segments as soon as they are
//! complete, and what has left the window is removed.
//!
//! Streams are coded elsewhere; times are those of the caller. Playlists are replaced whole, never
//! written in place, and the one that names all others appears when each stream has a segment.
//!
//! Low latency needs parts, which players fetch while their segment is still being written; that
//! takes a server that holds requests back, so it is not made here.

use std::collections::VecDeque;
use std::path::Path;

use ffrtmp_core::encoding::SegmentKind;
use ffrtmp_core::engine::Control;
use ffrtmp_core::error::{Code, Error, Result};

use super::cuts::{Boundaries, Cut, Follower, Pictures, Rest};
use super::folder::{Folder, Ledger, Place};
use super::playlist::{self, Extent, PLAYLIST};
use super::rendition::{Content, Label, Range, Rendition, Span};
use super::track::{Segment, Target, Track};
use super::{Segments, names};
use crate::libav::fault::failed;
use crate::libav::sys::{Described, DescribedShape, Packet, TimeBase};

/// Times of samples come in nanoseconds.
const NANOS: TimeBase = TimeBase { num: 1, den: 1_000_000_000 };
/// Segments that stay after they have left the playlist, for players that have just read it.
const SPARE: usize = 3;
/// Pieces of sound that wait for the video to say where segments begin.
const MAX_WAITING: usize = 4096;

/// How a live package is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiveSettings {
    pub(crate) segments: SegmentKind,
    /// Length of a segment; it ends at the first key frame from there on.
    pub(crate) seconds: f64,
    /// Segments that playlists name; `None` keeps all, for viewers who begin at the beginning.
    pub(crate) window: Option<usize>,
    /// Bytes that all files may take at a time.
    pub(crate) limit: Option<u64>,
}

/// One sample in decoding order, its times in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LiveSample<'a> {
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    pub(crate) duration: i64,
    pub(crate) is_key: bool,
    pub(crate) data: &'a [u8],
}

/// A package that is being made. Dropped before it is finished, it removes its directory.
pub(crate) struct LivePackager {
    settings: LiveSettings,
    place: Place,
    ledger: Ledger,
    boundaries: Boundaries,
    streams: Vec<Stream>,
    /// Seconds that every playlist promises as the most a segment lasts; never lowered.
    target: u64,
    manifest_bytes: u64,
}

struct Stream {
    track: Track,
    folder: Folder,
    name: String,
    way: Way,
    is_video: bool,
    end: f64,
    samples: u64,
    /// Segments that are told of, and that are still there.
    told: usize,
    removed: usize,
    playlist_bytes: u64,
}

enum Way {
    Pictures(Pictures),
    /// Sound follows the pictures.
    Sound(Follower, VecDeque<Packet>),
}

impl LivePackager {
    /// Makes the directory next to the playlist, which must not exist yet, and the streams.
    ///
    /// # Errors
    /// `container_mismatch` for a codec that the segments cannot carry; why the directory could not
    /// be made.
    pub(crate) fn create(playlist: &Path, streams: &[(String, Described)], settings: LiveSettings) -> Result<Self> {
        let format = Segments::from(settings.segments);
        if let Some((_, described)) = streams.iter().find(|(_, described)| !format.carry(described.codec)) {
            let what = format!("{format} segments cannot carry {}", described.codec);
            return Err(Error::new(Code::ContainerMismatch, what).hint("leave out segment_type, or change the codec"));
        }
        let place = Place::make(playlist)?;
        let root = place.open()?;
        let mut taken = Vec::new();
        let mut made = Vec::new();
        for (name, described) in streams {
            let name = names::distinct(names::file_part(name).unwrap_or_else(|| "stream".to_owned()), &taken);
            taken.push(name.clone());
            made.push(Stream::new(name, described, &settings, &root)?);
        }
        let mut boundaries = Boundaries::new(settings.seconds);
        if !made.iter().any(|stream| stream.is_video) {
            boundaries.complete();
        }
        let target = (settings.seconds.round() as u64).max(1);
        let ledger = Ledger::new(settings.limit);
        Ok(Self { settings, place, ledger, boundaries, streams: made, target, manifest_bytes: 0 })
    }

    /// Takes a sample of a stream.
    ///
    /// # Errors
    /// `disk_quota_exceeded`, `disk_full`; `encode_failed` for renditions without common key frames.
    pub(crate) fn push(&mut self, stream: usize, sample: &LiveSample<'_>) -> Result<()> {
        let broken = |error| failed(Code::EncodeFailed, "a sample does not fit into memory", error);
        let mut packet = Packet::with_data(sample.data, sample.is_key).map_err(broken)?;
        let own = &mut self.streams[stream];
        packet.set_times(Some(sample.pts), Some(sample.dts), sample.duration);
        packet.rescale(NANOS, own.track.base());
        let [dts, pts, length] = [sample.dts, sample.pts, sample.duration].map(|ticks| NANOS.seconds(ticks));
        own.end = own.end.max(pts + length);
        own.samples += 1;
        match &mut own.way {
            Way::Pictures(pictures) => {
                let cut = pictures.place(&mut self.boundaries, sample.is_key, dts, pts, length)?;
                own.write(packet, cut, &mut self.ledger)?;
                for other in 0..self.streams.len() {
                    self.advance(other, false)?;
                }
            }
            Way::Sound(_, waiting) => {
                waiting.push_back(packet);
                self.advance(stream, false)?;
            }
        }
        self.tell(false)
    }

    /// Ends every stream: playlists say that nothing more comes.
    ///
    /// # Errors
    /// As [`Self::push`]; `input_invalid` if nothing came.
    pub(crate) fn finish(&mut self) -> Result<()> {
        if self.streams.iter().all(|stream| stream.samples == 0) {
            return Err(Error::new(Code::InputInvalid, "the input has no pictures and no sound").field("input"));
        }
        self.boundaries.complete();
        for place in 0..self.streams.len() {
            self.advance(place, true)?;
            let stream = &mut self.streams[place];
            let end = stream.track.base().ticks(stream.end);
            stream.track.finish(end, &mut Target { folder: &stream.folder, ledger: &mut self.ledger })?;
        }
        self.streams.retain(|stream| stream.samples > 0);
        self.tell(true)?;
        self.place.complete();
        Ok(())
    }

    /// Bytes in all files that are there.
    pub(crate) fn bytes(&self) -> u64 {
        self.ledger.written()
    }

    /// Writes the sound of which the segment is known.
    fn advance(&mut self, place: usize, is_all: bool) -> Result<()> {
        loop {
            let stream = &mut self.streams[place];
            let Way::Sound(follower, waiting) = &mut stream.way else { return Ok(()) };
            let Some(packet) = waiting.front() else { return Ok(()) };
            let base = stream.track.base();
            let (start, length) = (base.seconds(packet.pts().unwrap_or(0)), base.seconds(packet.duration()));
            let rest = Rest { seconds: stream.end - start, is_all };
            let cut = match follower.place(&self.boundaries, start, length, rest) {
                Cut::Unknown if waiting.len() > MAX_WAITING => follower.place_alone(&self.boundaries, start, length),
                Cut::Unknown => return Ok(()),
                cut => cut,
            };
            let Some(packet) = waiting.pop_front() else { return Ok(()) };
            stream.write(packet, cut == Cut::Here, &mut self.ledger)?;
        }
    }

    /// Brings the playlists up to date where segments were completed.
    fn tell(&mut self, is_ended: bool) -> Result<()> {
        let has_news = |stream: &Stream| stream.track.made().segments.len() > stream.told;
        if !is_ended && !self.streams.iter().any(has_news) {
            return Ok(());
        }
        let renditions: Vec<_> = self.streams.iter().map(|stream| stream.rendition(self.settings.window)).collect();
        self.target = self.target.max(playlist::common_target(&renditions));
        let extent = |stream: &Stream| Extent {
            first: stream.first(self.settings.window),
            kind: match self.settings.window {
                None => Some("EVENT"),
                Some(_) => None,
            },
            is_ended,
        };
        let format = self.settings.segments.into();
        for (stream, rendition) in self.streams.iter_mut().zip(&renditions) {
            if !is_ended && !has_news(stream) {
                continue;
            }
            let text = playlist::list(rendition, format, self.target, &extent(stream));
            stream.folder.renew(PLAYLIST.as_ref(), &text, stream.playlist_bytes, &mut self.ledger)?;
            stream.playlist_bytes = text.len() as u64;
            stream.told = stream.track.made().segments.len();
            stream.remove_old(self.settings.window, format, &mut self.ledger)?;
        }
        if renditions.iter().all(|rendition| !rendition.segments.is_empty()) {
            let text = playlist::multivariant(&renditions, format, &self.place.reference(), self.target);
            self.place.renew(&text, self.manifest_bytes, &mut self.ledger)?;
            self.manifest_bytes = text.len() as u64;
        }
        Ok(())
    }
}

impl Stream {
    fn new(name: String, described: &Described, settings: &LiveSettings, root: &Folder) -> Result<Self> {
        let is_video = matches!(described.shape, DescribedShape::Video { .. });
        let mut track = Track::new(settings.segments.into(), described.codec, is_video, &Control::default())?;
        let refused = |error| failed(Code::EncodeFailed, "the muxer takes no such stream", error);
        track.output().add_described(described, NANOS).map_err(refused)?;
        track.start()?;
        let way = match is_video {
            true => Way::Pictures(Pictures::new(true, settings.seconds)),
            false => Way::Sound(Follower::default(), VecDeque::new()),
        };
        let folder = root.make(&name)?;
        Ok(Self { track, folder, name, way, is_video, end: 0.0, samples: 0, told: 0, removed: 0, playlist_bytes: 0 })
    }

    fn write(&mut self, mut packet: Packet, cut: bool, ledger: &mut Ledger) -> Result<()> {
        self.track.push(&mut packet, cut, &mut Target { folder: &self.folder, ledger })
    }

    /// The first segment that a playlist names.
    fn first(&self, window: Option<usize>) -> usize {
        window.map_or(0, |window| self.track.made().segments.len().saturating_sub(window))
    }

    fn remove_old(&mut self, window: Option<usize>, format: Segments, ledger: &mut Ledger) -> Result<()> {
        let until = self.first(window).saturating_sub(SPARE);
        while self.removed < until {
            let bytes = self.track.made().segments[self.removed].bytes;
            self.folder.remove(&format.segment_name(self.removed), bytes, ledger)?;
            self.removed += 1;
        }
        Ok(())
    }

    fn rendition(&self, window: Option<usize>) -> Rendition {
        let (made, shape, base) = (self.track.made(), self.track.shape(), self.track.base());
        let span = |segment: &Segment| Span {
            start: base.seconds(segment.start),
            end: base.seconds(segment.end),
            bytes: segment.bytes,
        };
        let segments: Vec<Span> = made.segments.iter().skip(self.first(window)).map(span).collect();
        let content = match shape {
            Some(shape) if self.is_video => Content::Video {
                size: shape.size,
                display: shape.display(),
                frame_rate: shape.frame_rate.unwrap_or(0.0),
                range: Range::of_transfer(shape.transfer),
                keys: Vec::new(),
            },
            shape => Content::Audio {
                channels: shape.as_ref().map_or(0, |shape| shape.channels),
                sample_rate: shape.as_ref().map_or(0, |shape| shape.sample_rate),
            },
        };
        let (name, codec) = (self.name.clone(), made.codec.clone());
        Rendition { name, content, codec, label: Label::default(), segments, timescale: made.timescale }
    }
}
