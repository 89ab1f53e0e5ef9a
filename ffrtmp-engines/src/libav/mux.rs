//! Writes packets of all streams into the container and remembers what it wrote, for the check
//! afterwards.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use ffrtmp_core::engine::{Control, MediaBounds};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::Container;

use super::fault::{failed, file_failed, write_failed};
use super::meter::Meter;
use super::sys::{AvError, Encoder, Guard, Input, Output, Packet, StreamView, TimeBase};

/// Rounding to a container's unit may move a copied picture by this, in seconds.
const ROUNDING: f64 = 0.002;

/// The output and what went into it.
pub(super) struct Muxer<'a> {
    output: Output,
    container: Container,
    lanes: Vec<Lane>,
    meter: &'a Meter,
    started: bool,
}

/// One stream of the output.
#[derive(Clone, Debug)]
pub(super) struct Lane {
    pub(super) codec: String,
    pub(super) is_video: bool,
    pub(super) is_copied: bool,
    /// Stream of the source that it comes from, if there is one.
    pub(super) source: Option<usize>,
    /// Packets written.
    pub(super) packets: u64,
    /// Presentation of the first packet and end of the last one as they are meant, in seconds.
    pub(super) first: f64,
    pub(super) end: f64,
    /// Length of the longest packet, in seconds.
    pub(super) longest: f64,
    last_dts: Option<i64>,
    /// Times that had to be moved to stay in order.
    pub(super) moved: u64,
}

impl<'a> Muxer<'a> {
    pub(super) fn create(
        container: Container,
        path: &Path,
        bounds: &MediaBounds,
        control: &Control,
        meter: &'a Meter,
    ) -> Result<Self> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
            .open(path)
            .map_err(file_failed)?;
        let output = Output::new(muxer(container), file, path, Guard::new(control.clone()), bounds.max_output_bytes)
            .map_err(|error| failed(Code::CodecUnavailable, format!("no muxer for {container}"), error))?;
        Ok(Self { output, container, lanes: Vec::new(), meter, started: false })
    }

    pub(super) fn wants_global_header(&self) -> bool {
        self.output.wants_global_header()
    }

    pub(super) fn add_encoded(
        &mut self,
        encoder: &Encoder,
        codec: &str,
        base: TimeBase,
        frame_rate: Option<(i32, i32)>,
    ) -> Result<usize> {
        let added = self.output.add_encoded(encoder, base, frame_rate);
        self.added(added, codec, frame_rate.is_some(), None)
    }

    pub(super) fn add_copied(&mut self, source: StreamView<'_>) -> Result<usize> {
        let added = self.output.add_copied(source);
        self.added(added, &source.codec(), source.is_video(), Some(source.index()))
    }

    /// Whether a copied stream's pictures are decoded in another order than they are shown.
    pub(super) fn is_reordered(&self, lane: usize) -> bool {
        self.output.video_delay(lane) > 0
    }

    fn added(
        &mut self,
        added: Result<usize, AvError>,
        codec: &str,
        is_video: bool,
        copied: Option<usize>,
    ) -> Result<usize> {
        let index = added.map_err(|error| failed(Code::EncodeFailed, "the muxer takes no such stream", error))?;
        self.lanes.push(Lane::new(codec, is_video, copied));
        Ok(index)
    }

    /// Carries language, title and dispositions of a stream over.
    pub(super) fn describe_stream(&mut self, lane: usize, source: StreamView<'_>) {
        let tags: Vec<_> = source.tags().into_iter().filter(|(key, _)| is_kept(key)).collect();
        self.output.describe_stream(lane, source, &tags);
        self.lanes[lane].source = Some(source.index());
    }

    /// Carries tags and chapters of the file over; `shift` moves its clock to ours.
    pub(super) fn describe(&mut self, input: &Input, shift: i64, limit: Option<i64>) -> Result<()> {
        let tags: Vec<_> = input.tags().into_iter().filter(|(key, _)| is_kept(key)).collect();
        self.output.describe(&tags);
        for (start, end, title) in input.chapters() {
            let start = start.saturating_add(shift).max(0);
            let end = limit.map_or(end.saturating_add(shift), |limit| end.saturating_add(shift).min(limit));
            if start < end {
                let added = self.output.add_chapter(start, end, title.as_deref());
                added.map_err(|error| failed(Code::EncodeFailed, "a chapter could not be added", error))?;
            }
        }
        Ok(())
    }

    pub(super) fn start(&mut self) -> Result<()> {
        let settings: &[(&str, &str)] = match self.container {
            Container::Mp4 => &[("movflags", "+faststart"), ("strict", "experimental")],
            Container::Mkv | Container::Webm | Container::MpegTs => &[("strict", "experimental")],
        };
        let started = self.output.start(settings);
        started.map_err(|error| match self.output.fault() {
            Some(_) => write_failed(&self.output, "", error),
            None => failed(Code::ContainerMismatch, format!("{} cannot carry these streams", self.container), error),
        })?;
        self.started = true;
        Ok(())
    }

    /// Writes a packet whose times are in `base`.
    pub(super) fn write(&mut self, lane: usize, packet: &mut Packet, base: TimeBase) -> Result<()> {
        let target = self.output.time_base(lane);
        packet.rescale(base, target);
        packet.set_stream(lane);
        packet.clear_position();
        let state = &mut self.lanes[lane];
        let meant = packet.pts();
        state.order(packet, target)?;
        state.count(meant.or(packet.pts()), packet.duration(), target);
        self.meter.reach(state.end);
        let written = self.output.write(packet);
        written.map_err(|error| write_failed(&self.output, "the muxer refused a packet", error))?;
        self.meter.set_bytes(self.output.bytes());
        Ok(())
    }

    /// Ends the file.
    pub(super) fn finish(&mut self) -> Result<()> {
        if self.lanes.iter().all(|lane| lane.packets == 0) {
            return Err(Error::new(Code::InputInvalid, "the input has no pictures and no sound").field("input"));
        }
        let finished = self.output.finish();
        finished.map_err(|error| write_failed(&self.output, "the container could not be finished", error))?;
        self.meter.set_bytes(self.output.bytes());
        Ok(())
    }

    pub(super) fn lanes(&self) -> &[Lane] {
        &self.lanes
    }
}

impl Lane {
    /// `copied` is the stream of the source whose packets pass through.
    pub(super) fn new(codec: &str, is_video: bool, copied: Option<usize>) -> Self {
        Self {
            codec: codec.to_owned(),
            is_video,
            is_copied: copied.is_some(),
            source: copied,
            packets: 0,
            first: f64::INFINITY,
            end: 0.0,
            longest: 0.0,
            last_dts: None,
            moved: 0,
        }
    }

    /// Muxers take decoding times that grow, and no presentation before decoding. Copied pictures
    /// keep their presentation: moving it would show them in another order.
    pub(super) fn order(&mut self, packet: &mut Packet, base: TimeBase) -> Result<()> {
        let dts = packet.dts().or(packet.pts()).unwrap_or_else(|| self.last_dts.map_or(0, |last| last + 1));
        let wanted = packet.pts().unwrap_or(dts);
        let dts = dts.min(wanted);
        let ordered = self.last_dts.map_or(dts, |last| dts.max(last + 1));
        let pts = wanted.max(ordered);
        if self.is_copied && self.is_video && base.seconds(pts - wanted) > ROUNDING {
            return Err(disordered(base.seconds(wanted)));
        }
        if ordered != dts {
            self.moved += 1;
        }
        packet.set_times(Some(pts), Some(ordered), packet.duration());
        self.last_dts = Some(ordered);
        Ok(())
    }

    pub(super) fn count(&mut self, pts: Option<i64>, duration: i64, base: TimeBase) {
        let start = base.seconds(pts.unwrap_or(0));
        let length = base.seconds(duration);
        self.packets += 1;
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
        Container::Mp4 => "mp4",
        Container::Mkv => "matroska",
        Container::Webm => "webm",
        Container::MpegTs => "mpegts",
    }
}

/// Tags that describe the source file or its coding would be wrong on the output.
fn is_kept(key: &str) -> bool {
    const DROPPED: &[&str] = &[
        "major_brand",
        "minor_version",
        "compatible_brands",
        "encoder",
        "rotate",
        "duration",
        "bps",
        "number_of_frames",
        "number_of_bytes",
        "vendor_id",
        "source_id",
    ];
    let key = key.to_ascii_lowercase();
    !DROPPED.contains(&key.split('-').next().unwrap_or_default()) && !key.starts_with("_statistics")
}
