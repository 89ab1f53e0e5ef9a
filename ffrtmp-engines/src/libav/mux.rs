//! One output file: writes packets of all streams into the container and remembers what it wrote,
//! for the check afterwards.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{Container, StreamKind};

use super::fault::{failed, file_failed, over_limit, write_failed};
use super::limit::Limit;
use super::meter::Meter;
use super::outputs::Sink;
use super::sys::{AvError, Guard, Input, Output, Packet, StreamView, TimeBase};
use super::tags::{self, Passage};
use super::verify::{self, Expected, ExpectedLane};

/// Rounding to a container's unit may move a copied picture by this, in seconds.
const ROUNDING: f64 = 0.002;

/// One file and what went into it.
pub(super) struct Muxer {
    output: Output,
    container: Container,
    path: PathBuf,
    lanes: Vec<Lane>,
    meter: Arc<Meter>,
    /// Of all outputs together.
    max_bytes: Option<u64>,
}

/// One stream of an output.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) codec: String,
    pub(super) kind: StreamKind,
    pub(super) is_copied: bool,
    /// Pixels across and down of encoded pictures.
    pub(super) size: Option<(u32, u32)>,
    /// Stream of the source that it comes from, if there is one.
    pub(super) source: Option<usize>,
    /// Packets written, and their bytes.
    pub(super) packets: u64,
    pub(super) bytes: u64,
    /// Presentation of the first packet and end of the last one as they are meant, in seconds.
    pub(super) first: f64,
    pub(super) end: f64,
    /// Length of the longest packet, in seconds.
    pub(super) longest: f64,
    last_dts: Option<i64>,
    /// Whether the container refuses two packets at one time, even of text.
    pub(super) is_strict: bool,
    /// Whether packets of sound may begin together: they can be shorter than a tick.
    pub(super) may_tie: bool,
    /// Times that had to be moved to stay in order.
    pub(super) moved: u64,
}

impl Muxer {
    pub(super) fn create(container: Container, path: &Path, limit: &Limit) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(file_failed)?;
        let guard = Guard::new(limit.control.clone());
        let output = Output::new(muxer(container), file, path, guard, limit.bounds.max_output_bytes)
            .map_err(|error| failed(Code::CodecUnavailable, format!("no muxer for {container}"), error))?;
        let meter = Arc::clone(&limit.meter);
        let max_bytes = limit.bounds.max_output_bytes;
        Ok(Self { output, container, path: path.to_path_buf(), lanes: Vec::new(), meter, max_bytes })
    }

    fn counted<T>(&mut self, write: impl FnOnce(&mut Output) -> Result<T, AvError>, what: &str) -> Result<T> {
        let before = self.output.bytes();
        let written = write(&mut self.output).map_err(|error| write_failed(&self.output, what, error))?;
        self.meter.add_bytes(self.output.bytes().saturating_sub(before));
        // The file knows its own limit; together with others it may be too much as well.
        if self.max_bytes.is_some_and(|max| self.meter.bytes() > max) {
            return Err(over_limit());
        }
        Ok(written)
    }
}

impl Sink for Muxer {
    fn wants_global_header(&self) -> bool {
        self.output.wants_global_header()
    }

    fn add(&mut self, lane: Lane, add: &mut dyn FnMut(&mut Output) -> Result<usize, AvError>) -> Result<usize> {
        let added = add(&mut self.output);
        let index = added.map_err(|error| failed(Code::EncodeFailed, "the muxer takes no such stream", error))?;
        let is_strict = matches!(self.container, Container::Mp4 | Container::Fmp4);
        let may_tie = matches!(self.container, Container::Mkv | Container::Webm);
        self.lanes.push(Lane { is_strict, may_tie, ..lane });
        Ok(index)
    }

    fn describe_stream(&mut self, lane: usize, source: StreamView<'_>) {
        let passage = if self.lanes[lane].is_copied { Passage::Copied } else { Passage::Encoded };
        let tags = tags::of_stream(source.tags(), self.container, passage);
        self.output.describe_stream(lane, source, &tags);
        self.lanes[lane].source = Some(source.index());
    }

    fn describe(&mut self, input: &Input, shift: i64, limit: Option<i64>) -> Result<()> {
        self.output.describe(&tags::of_file(input.tags()));
        for (start, end, title) in input.chapters() {
            let start = start.saturating_add(shift).max(0);
            let end = limit.map_or(end.saturating_add(shift), |limit| end.saturating_add(shift).min(limit));
            if start < end {
                let added = self.output.add_chapter(start, end, tags::of_chapter(title).as_deref());
                added.map_err(|error| failed(Code::EncodeFailed, "a chapter could not be added", error))?;
            }
        }
        Ok(())
    }

    fn video_delay(&self, lane: usize) -> i32 {
        self.output.video_delay(lane)
    }

    fn start(&mut self) -> Result<()> {
        let started = self.output.start(settings(self.container));
        started.map_err(|error| match self.output.fault() {
            Some(_) => write_failed(&self.output, "", error),
            None => failed(Code::ContainerMismatch, format!("{} cannot carry these streams", self.container), error),
        })?;
        self.meter.add_bytes(self.output.bytes());
        Ok(())
    }

    fn write(&mut self, lane: usize, packet: &mut Packet, base: TimeBase) -> Result<()> {
        let target = self.output.time_base(lane);
        packet.rescale(base, target);
        packet.set_stream(lane);
        packet.clear_position();
        // A packet without data tells of new headers, as FLAC's last one does; nobody plays it.
        if packet.size() == 0 {
            return self.counted(|output| output.write(packet), "the muxer refused new headers");
        }
        let state = &mut self.lanes[lane];
        let meant = packet.pts();
        state.order(packet, target)?;
        state.count(meant.or(packet.pts()), packet, target);
        self.meter.reach(state.end);
        self.counted(|output| output.write(packet), "the muxer refused a packet")
    }

    fn finish(&mut self) -> Result<()> {
        if self.lanes.iter().all(|lane| lane.packets == 0) {
            return Err(Error::new(Code::InputInvalid, "the input has no pictures and no sound").field("input"));
        }
        self.counted(Output::finish, "the container could not be finished")
    }

    fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    fn primary(&self) -> &Path {
        &self.path
    }

    fn files(&self) -> Vec<PathBuf> {
        vec![self.path.clone()]
    }

    fn checks(&self) -> Vec<verify::Output> {
        let counted = self.lanes.iter().filter(|lane| lane.kind != StreamKind::Attachment);
        let lanes = counted.map(ExpectedLane::of).collect();
        let expected = Expected { container: self.container, lanes };
        vec![verify::Output { parts: vec![self.path.clone()], expected }]
    }
}

/// Options of the muxer of a container.
const fn settings(container: Container) -> &'static [(&'static str, &'static str)] {
    match container {
        Container::Mp4 => &[("movflags", "+faststart"), ("strict", "experimental")],
        // Not `cmaf`: it makes offsets negative, and FFmpeg then shows fragments a frame late.
        Container::Fmp4 => &[
            ("movflags", "+frag_keyframe+empty_moov+default_base_moof+global_sidx+delay_moov"),
            ("strict", "experimental"),
        ],
        _ => &[("strict", "experimental")],
    }
}

impl Lane {
    /// Pictures of this size that an encoder makes.
    pub(super) fn video(codec: &str, size: (u32, u32)) -> Self {
        Self { size: Some(size), ..Self::new(codec, StreamKind::Video, None) }
    }

    pub(super) fn audio(codec: &str) -> Self {
        Self::new(codec, StreamKind::Audio, None)
    }

    pub(super) fn subtitle(codec: &str) -> Self {
        Self::new(codec, StreamKind::Subtitle, None)
    }

    pub(super) fn copied(source: StreamView<'_>) -> Self {
        let kind = match () {
            () if source.is_video() => StreamKind::Video,
            () if source.is_audio() => StreamKind::Audio,
            () => StreamKind::Subtitle,
        };
        Self::new(&source.codec(), kind, Some(source.index()))
    }

    /// `copied` is the stream of the source whose packets pass through.
    pub(super) fn new(codec: &str, kind: StreamKind, copied: Option<usize>) -> Self {
        Self {
            codec: codec.to_owned(),
            kind,
            is_copied: copied.is_some(),
            size: None,
            source: copied,
            packets: 0,
            bytes: 0,
            first: f64::INFINITY,
            end: 0.0,
            longest: 0.0,
            last_dts: None,
            is_strict: false,
            may_tie: false,
            moved: 0,
        }
    }

    /// A picture or file that comes along.
    pub(super) fn attached(source: StreamView<'_>) -> Self {
        Self::new(&source.codec(), StreamKind::Attachment, Some(source.index()))
    }

    pub(super) fn is_video(&self) -> bool {
        self.kind == StreamKind::Video
    }

    /// Muxers take decoding times that grow, and no presentation before decoding. Copied pictures
    /// keep their presentation: moving it would show them in another order.
    pub(super) fn order(&mut self, packet: &mut Packet, base: TimeBase) -> Result<()> {
        let dts = packet.dts().or(packet.pts()).unwrap_or_else(|| self.last_dts.map_or(0, |last| last + 1));
        let wanted = packet.pts().unwrap_or(dts);
        let dts = dts.min(wanted);
        let may_tie = match self.kind {
            StreamKind::Subtitle => !self.is_strict,
            StreamKind::Audio => self.may_tie,
            _ => false,
        };
        let step = if may_tie { 0 } else { 1 };
        let ordered = self.last_dts.map_or(dts, |last| dts.max(last + step));
        let pts = wanted.max(ordered);
        if self.is_copied && self.is_video() && base.seconds(pts - wanted) > ROUNDING {
            return Err(disordered(base.seconds(wanted)));
        }
        if ordered != dts {
            self.moved += 1;
        }
        packet.set_times(Some(pts), Some(ordered), packet.duration());
        self.last_dts = Some(ordered);
        Ok(())
    }

    pub(super) fn count(&mut self, pts: Option<i64>, packet: &Packet, base: TimeBase) {
        let start = base.seconds(pts.unwrap_or(0));
        let length = base.seconds(packet.duration());
        self.packets += 1;
        self.bytes += packet.size() as u64;
        self.first = self.first.min(start);
        self.end = self.end.max(start + length);
        self.longest = self.longest.max(length);
    }
}

fn disordered(seconds: f64) -> Error {
    let what = format!("the video cannot be copied: its times are out of order at {seconds:.3} s");
    Error::new(Code::InputUnsupported, what).field("input").hint("name a codec instead of copy")
}

const fn muxer(container: Container) -> &'static str {
    match container {
        Container::Mp4 | Container::Fmp4 | Container::Dash | Container::Hls => "mp4",
        Container::Mkv => "matroska",
        Container::Webm => "webm",
        Container::MpegTs => "mpegts",
        Container::Mp3 => "mp3",
        Container::Flac => "flac",
        Container::Ogg => "ogg",
    }
}
