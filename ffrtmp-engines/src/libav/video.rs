//! One video stream: decode, and hand the pictures to the renditions in `rungs.rs`.
//!
//! What is done to the pictures is in `picture.rs`; the encoder's side, and what happens to the
//! times, in `stage.rs`.

use ffrtmp_core::engine::MediaBounds;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::PicturePlan;

use super::fault::failed;
use super::limit::Limit;
use super::notes::Notes;
use super::picture::{Filters, Picture, UNKNOWN_RATE};
use super::rungs::{Place, Rungs};
use super::session::Tools;
use super::sys::{AvError, Decoder, Encoder, Frame, Packet, StreamView, TimeBase};

/// Rates above this are units of clocks.
const MAX_RATE: i32 = 1000;

/// Decodes the packets of one stream and hands the pictures to its renditions.
pub(super) struct VideoTrack {
    decoder: Decoder,
    rungs: Rungs,
    base: TimeBase,
    nominal: i64,
    next: Option<i64>,
    frame: Frame,
    pub(super) damaged: u64,
    pub(super) decoded: u64,
}

impl VideoTrack {
    /// Opens decoder, filters and encoders; also returns the names of the encoders.
    pub(super) fn open(
        stream: StreamView<'_>,
        plan: &PicturePlan,
        tools: &Tools<'_>,
        place: &dyn Place,
        notes: &mut Notes<'_>,
    ) -> Result<(Self, Vec<String>)> {
        let decoder = open_decoder(stream, &tools.limit.bounds)?;
        let picture = Picture::of(stream).ok_or_else(|| {
            let what = format!("the {} video could not be decoded", stream.codec());
            Error::new(Code::InputInvalid, what).field("input")
        })?;
        let base = picture.base;
        let filters = Filters::new(picture, plan, tools.limit.bounds.threads)?;
        let (rungs, names) = Rungs::open(filters, plan, tools, place, notes)?;
        // What only later pictures tell is remarked when they are through.
        rungs.filters().remarks().into_iter().for_each(|remark| notes.warn_once(remark));
        let nominal = frame_time(stream).rescale(1, base).max(1);
        let (frame, next) = (Frame::new(), None);
        Ok((Self { decoder, rungs, base, nominal, next, frame, damaged: 0, decoded: 0 }, names))
    }

    /// Whether the wanted length is reached.
    pub(super) fn is_done(&self) -> bool {
        self.rungs.is_done()
    }

    /// What became of the pictures that a reader of the report should know.
    pub(super) fn remarks(&self) -> Vec<String> {
        self.rungs.filters().remarks()
    }

    /// Takes one packet with its times on the output's clock.
    pub(super) fn packet(&mut self, packet: &Packet, limit: &Limit) -> Result<()> {
        match self.decoder.send(Some(packet)) {
            Ok(()) => {}
            Err(AvError::AGAIN) => {
                self.receive(limit)?;
                self.damaged += u64::from(self.decoder.send(Some(packet)).is_err());
            }
            Err(AvError::MEMORY) => return Err(Error::new(Code::MemoryExceeded, "the video decoder found no memory")),
            Err(_) => self.damaged += 1,
        }
        self.receive(limit)
    }

    /// Empties decoder, filters and encoders, and gives the encoders back.
    pub(super) fn finish(&mut self, limit: &Limit) -> Result<Vec<Encoder>> {
        if !self.rungs.is_done() {
            // A decoder that refuses to drain has nothing left.
            let _ = self.decoder.send(None);
            self.receive(limit)?;
            self.rungs.close_head(self.next.unwrap_or(0), limit)?;
        }
        // Frames of a fixed rate all last the same.
        let is_fixed = self.rungs.filters().is_constant();
        let last = self.next.filter(|_| !is_fixed).map(|next| (next, self.base));
        self.rungs.finish(last, limit)
    }

    fn receive(&mut self, limit: &Limit) -> Result<()> {
        while !self.rungs.is_done() {
            limit.control.checkpoint()?;
            match self.decoder.receive(&mut self.frame) {
                Ok(()) => self.filter(limit)?,
                Err(AvError::AGAIN | AvError::EOF) => return Ok(()),
                Err(AvError::MEMORY) => {
                    return Err(Error::new(Code::MemoryExceeded, "the video decoder found no memory"));
                }
                Err(_) => {
                    self.damaged += 1;
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    fn filter(&mut self, limit: &Limit) -> Result<()> {
        self.decoded += 1;
        let end = self.next.unwrap_or(0);
        let pts = self.frame.best_effort_pts().or(self.next).unwrap_or(0);
        limit.check(self.base.seconds(pts))?;
        let length = Some(self.frame.duration()).filter(|length| *length > 0).unwrap_or(self.nominal);
        self.next = Some(pts.saturating_add(length));
        self.frame.set_pts(pts);
        if limit.from.is_some_and(|from| pts < self.base.ticks(from)) {
            return Ok(());
        }
        self.rungs.push(&mut self.frame, end, limit)
    }
}

/// A generated moving picture, encoded.
pub(super) struct PatternTrack(Rungs);

impl PatternTrack {
    pub(super) fn open(
        plan: &PicturePlan,
        seconds: f64,
        tools: &Tools<'_>,
        place: &dyn Place,
        notes: &mut Notes<'_>,
    ) -> Result<(Self, Vec<String>)> {
        let filters = Filters::generated(plan, seconds, tools.limit.bounds.threads)?;
        let (rungs, names) = Rungs::open(filters, plan, tools, place, notes)?;
        Ok((Self(rungs), names))
    }

    /// Makes one more frame; false at the end.
    pub(super) fn advance(&mut self, limit: &Limit) -> Result<bool> {
        self.0.advance(limit)
    }

    pub(super) fn reached(&self) -> f64 {
        self.0.reached()
    }

    pub(super) fn finish(&mut self, limit: &Limit) -> Result<Vec<Encoder>> {
        self.0.finish(None, limit)
    }
}

fn open_decoder(stream: StreamView<'_>, bounds: &MediaBounds) -> Result<Decoder> {
    if !stream.has_decoder() {
        let what = format!("no decoder for {} video", stream.codec());
        return Err(Error::new(Code::InputUnsupported, what).field("input"));
    }
    // Encoding takes several times the work. libav would take one thread more than there are cores,
    // and pictures and a delay for each.
    let threads = match bounds.threads {
        0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().div_ceil(2)),
        threads => threads,
    };
    Decoder::open(stream, threads, bounds.max_pixels)
        .map_err(|error| failed(Code::InputInvalid, format!("the {} video cannot be decoded", stream.codec()), error))
}

/// How long a frame is shown where it does not say so itself.
fn frame_time(stream: StreamView<'_>) -> TimeBase {
    let is_rate = |(num, den): &(i32, i32)| *num > 0 && *den > 0 && num / den <= MAX_RATE;
    let (num, den) = stream.frame_rates().into_iter().find(is_rate).unwrap_or(UNKNOWN_RATE);
    TimeBase::new(den, num)
}
