//! One chunk: from its key frame in the source to a sealed file of packets.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use ffrtmp_core::engine::{Control, MediaBounds, Unobserved};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::VideoEncode;

use super::Fit;
use super::part::{Header, PartWriter, Sealed};
use super::plan::{Chunk, ChunkPlan, sources};
use crate::libav::capabilities::Encoders;
use crate::libav::fault::failed;
use crate::libav::hdr::HdrMetadata;
use crate::libav::limit::Limit;
use crate::libav::meter::Meter;
use crate::libav::notes::Notes;
use crate::libav::probe;
use crate::libav::reaper::Reaper;
use crate::libav::rungs::Place;
use crate::libav::session::Tools;
use crate::libav::stage::Delivery;
use crate::libav::stills::Taps;
use crate::libav::sys::{AvError, Encoder, Input, Packet, TimeBase};
use crate::libav::timeline::Timeline;
use crate::libav::video::VideoTrack;

/// What chunks are encoded with.
pub(super) struct Bench<'a> {
    pub(super) encoders: &'a Encoders,
    pub(super) reaper: &'a Arc<Reaper>,
    pub(super) plan: &'a ChunkPlan,
    pub(super) path: &'a Path,
    pub(super) bounds: MediaBounds,
    pub(super) control: &'a Control,
    pub(super) tally: Arc<Tally>,
}

/// Counts the pictures of all chunks, in whatever order they are encoded.
pub(super) struct Tally {
    meter: Arc<Meter>,
    /// Pictures of the source, and how long they are in seconds.
    pictures: u64,
    seconds: f64,
    encoded: AtomicU64,
}

impl Tally {
    pub(super) fn new(meter: Arc<Meter>, pictures: u64, seconds: f64) -> Self {
        Self { meter, pictures, seconds, encoded: AtomicU64::new(0) }
    }

    fn add(&self) {
        let encoded = self.encoded.fetch_add(1, Relaxed) + 1;
        self.meter.add_frame();
        self.meter.reach(self.seconds * (encoded as f64 / self.pictures.max(1) as f64).min(1.0));
    }
}

/// A chunk that was encoded.
pub(super) struct Encoded<W> {
    pub(super) sink: W,
    pub(super) sealed: Sealed,
    pub(super) encoder: String,
}

impl Bench<'_> {
    /// Opens the source for one worker, which seeks in it from chunk to chunk.
    pub(super) fn open(&self) -> Result<Input> {
        let (mut input, _) = probe::open(self.path, &self.bounds, self.control)?;
        for other in (0..input.len()).filter(|other| *other != self.plan.stream) {
            input.discard(other);
        }
        Ok(input)
    }

    /// Encodes a chunk into a sink. The same chunk always gives the same bytes.
    ///
    /// # Errors
    /// Those of the encode; why the chunk is not what the scan said comes as a reason.
    pub(super) fn encode<W: Write + Send + 'static>(
        &self,
        input: &mut Input,
        chunk: &Chunk,
        sink: W,
        is_wanted: &dyn Fn() -> bool,
    ) -> Result<Fit<Encoded<W>>> {
        let limit = self.limit(chunk);
        let tools = Tools {
            encoders: self.encoders,
            reaper: Arc::clone(self.reaper),
            limit: limit.clone(),
            fullness: chunk.fullness,
            stills: Taps::default(),
            passes: None,
        };
        let (picture, collector) = (self.plan.picture()?, Collector::new(self, chunk, sink));
        let stream = input.stream(self.plan.stream).ok_or_else(gone)?;
        let base = stream.time_base();
        let mut notes = Notes::new(&Unobserved);
        let (mut track, names) = VideoTrack::open(stream, picture, &tools, &collector, &mut notes)?;
        let mut timeline = Timeline::new(input, &sources(&self.plan.plan, self.plan.stream));
        if base != self.plan.base() || timeline.shift() != self.plan.shift {
            return Ok(Err("the source is not the one that was divided".to_owned()));
        }
        let mut packet = Packet::new();
        let mut more = self.go_to(input, chunk, &mut packet)?;
        if !more {
            return Ok(Err(format!("the key frame of chunk {} was not found again", chunk.index)));
        }
        while more && !track.is_done() {
            if !is_wanted() {
                return Err(Error::new(Code::Canceled, "nobody wants the chunk any more"));
            }
            if packet.stream() == self.plan.stream {
                timeline.place(&mut packet, base);
                track.packet(&packet, &limit)?;
            }
            more = self.read(input, &mut packet)?;
        }
        track.finish(&limit)?;
        let damaged = track.damaged;
        drop(track);
        let (sink, sealed) = collector.finish()?;
        if damaged > 0 {
            return Ok(Err("the source is damaged".to_owned()));
        }
        if picture.fps.is_none() && sealed.packets != chunk.pictures {
            let Sealed { packets, .. } = sealed;
            return Ok(Err(format!("chunk {} has {packets} pictures instead of {}", chunk.index, chunk.pictures)));
        }
        Ok(Ok(Encoded { sink, sealed, encoder: names.first().cloned().unwrap_or_default() }))
    }

    fn limit(&self, chunk: &Chunk) -> Limit {
        let end = chunk.end.map(|end| self.plan.seconds(end));
        let cut = self.plan.plan.duration.map(|length| length.value());
        Limit {
            from: chunk.start.map(|start| self.plan.seconds(start)),
            seconds: [end, cut].into_iter().flatten().reduce(f64::min),
            bounds: MediaBounds { threads: 1, ..self.bounds },
            control: self.control.clone(),
            // Chunks are not encoded in order: the tally counts.
            meter: Arc::new(Meter::new()),
        }
    }

    /// Reads up to the key frame of a chunk; false if it is not there.
    fn go_to(&self, input: &mut Input, chunk: &Chunk, packet: &mut Packet) -> Result<bool> {
        // An index counts by presentation or by decoding; the beginning is always there.
        for time in [chunk.entry.pts, chunk.entry.dts.unwrap_or(chunk.entry.pts), i64::MIN + 1] {
            if let Err(error) = input.seek(self.plan.stream, time) {
                tracing::debug!(%error, time, "seeking failed");
                continue;
            }
            while self.read(input, packet)? {
                if packet.stream() != self.plan.stream || !packet.is_key() {
                    continue;
                }
                match packet.pts().map(|pts| pts.cmp(&chunk.entry.pts)) {
                    Some(Ordering::Equal) => return Ok(true),
                    Some(Ordering::Greater) => break,
                    _ => {}
                }
            }
        }
        Ok(false)
    }

    fn read(&self, input: &mut Input, packet: &mut Packet) -> Result<bool> {
        loop {
            self.control.checkpoint()?;
            match input.read(packet) {
                Ok(()) => return Ok(true),
                Err(AvError::AGAIN) => {}
                Err(AvError::EOF) => return Ok(false),
                Err(error) => {
                    self.control.checkpoint()?;
                    return Err(failed(Code::InputInvalid, "the input cannot be read on", error).field("input"));
                }
            }
        }
    }
}

fn gone() -> Error {
    Error::new(Code::InputInvalid, "the source is not the one that was divided").field("input")
}

/// Takes the packets of a chunk.
struct Collector<W> {
    index: u32,
    fullness: Option<f64>,
    global_header: bool,
    tally: Arc<Tally>,
    sink: RefCell<Option<W>>,
    writer: Shared<W>,
}

type Shared<W> = Arc<Mutex<Option<PartWriter<W>>>>;

impl<W: Write + Send + 'static> Collector<W> {
    fn new(bench: &Bench<'_>, chunk: &Chunk, sink: W) -> Self {
        Self {
            index: chunk.index,
            fullness: chunk.fullness,
            global_header: bench.plan.wants_global_header(),
            tally: Arc::clone(&bench.tally),
            sink: RefCell::new(Some(sink)),
            writer: Arc::default(),
        }
    }

    fn finish(self) -> Result<(W, Sealed)> {
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        writer.ok_or_else(|| Error::new(Code::Internal, "a chunk was encoded nowhere"))?.finish()
    }
}

impl<W: Write + Send + 'static> Place for Collector<W> {
    fn wants_global_header(&self) -> bool {
        self.global_header
    }

    fn open(
        &self,
        _: usize,
        encoder: &Encoder,
        _: &VideoEncode,
        base: TimeBase,
        _: (i32, i32),
        _: &HdrMetadata,
    ) -> Result<Delivery> {
        let header = Header {
            index: self.index,
            encoder: encoder.name(),
            codec_header: encoder.header().to_vec(),
            base: (base.num, base.den),
            fullness: self.fullness,
        };
        let sink = self.sink.take().ok_or_else(|| Error::new(Code::Internal, "a chunk was opened twice"))?;
        *self.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(PartWriter::new(sink, &header)?);
        let (writer, tally) = (Arc::clone(&self.writer), Arc::clone(&self.tally));
        Ok(Box::new(move |packet, _| {
            let mut writer = writer.lock().unwrap_or_else(PoisonError::into_inner);
            let writer = writer.as_mut().ok_or_else(|| Error::new(Code::Internal, "a chunk went on after its end"))?;
            let pts = packet.pts().unwrap_or_default();
            let times = (pts, packet.dts().unwrap_or(pts));
            tally.add();
            writer.packet(times, packet.duration(), packet.is_key(), packet.data())
        }))
    }
}
