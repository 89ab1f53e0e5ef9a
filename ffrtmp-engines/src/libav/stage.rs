//! The encoder of a video stream.
//!
//! Encoders see a steady count of frames instead of times: frame 0, 1, 2 … at the nominal rate.
//! What comes out gets the times of the frames back that went in. So variable frame rates, odd time
//! bases and rounding survive every encoder exactly, and decoding times follow from the order.

use std::collections::VecDeque;
use std::sync::Arc;

use ffrtmp_core::engine::Control;
use ffrtmp_core::error::{Code, Error, Result};

use super::fault::failed;
use super::mux::Muxer;
use super::reaper::Reaper;
use super::session::Limit;
use super::sys::{AvError, Encoder, Frame, Packet, TimeBase};

/// No codec decodes a frame more places than this before it is shown.
const MAX_REORDER: u64 = 64;

/// How encoders end.
#[derive(Clone)]
pub(super) struct Ends {
    pub(super) control: Control,
    pub(super) reaper: Arc<Reaper>,
}

/// The encoder, with the times of the frames that are in it.
pub(super) struct Stage {
    /// `None` only while it is being dropped.
    encoder: Option<Encoder>,
    control: Control,
    reaper: Arc<Reaper>,
    pub(super) lane: usize,
    base: TimeBase,
    /// Ticks that a frame lasts when nothing better is known.
    nominal: i64,
    held: Option<(Frame, i64)>,
    /// Number of the next frame for the encoder.
    count: i64,
    first: i64,
    last: Option<i64>,
    /// Added to times after the clock of the source went back.
    shift: i64,
    /// Time and length of frames by number, from number `forgotten` on.
    times: VecDeque<(i64, i64)>,
    forgotten: i64,
    packet: Packet,
    /// Whether the wanted length is reached.
    pub(super) done: bool,
}

impl Stage {
    pub(super) fn new(encoder: Encoder, lane: usize, base: TimeBase, nominal: i64, ends: &Ends) -> Self {
        Self {
            encoder: Some(encoder),
            control: ends.control.clone(),
            reaper: Arc::clone(&ends.reaper),
            lane,
            base,
            nominal,
            held: None,
            count: 0,
            first: 0,
            last: None,
            shift: 0,
            times: VecDeque::new(),
            forgotten: 0,
            packet: Packet::new(),
            done: false,
        }
    }

    /// Takes a frame with its time in `base`; the one before it now has its length.
    pub(super) fn push(
        &mut self,
        frame: &mut Frame,
        base: TimeBase,
        muxer: &mut Muxer<'_>,
        limit: &Limit<'_>,
    ) -> Result<()> {
        if self.done {
            return Ok(());
        }
        let pts = self.in_order(frame.pts().map(|pts| base.rescale(pts, self.base)));
        if let Some(end) = limit.seconds.map(|seconds| self.base.ticks(seconds)).filter(|end| pts >= *end) {
            self.done = true;
            return match self.held.take() {
                Some((frame, start)) => self.encode(frame, start, end - start, muxer, limit),
                None => Ok(()),
            };
        }
        limit.check(self.base.seconds(pts))?;
        let held = self.held.replace((std::mem::replace(frame, Frame::new()), pts));
        self.last = Some(pts);
        match held {
            Some((frame, start)) => self.encode(frame, start, pts - start, muxer, limit),
            None => Ok(()),
        }
    }

    /// Ends the stream. The last frame is shown until `last`, a time and its unit, if that is known.
    pub(super) fn finish(
        &mut self,
        last: Option<(i64, TimeBase)>,
        muxer: &mut Muxer<'_>,
        limit: &Limit<'_>,
    ) -> Result<()> {
        if let Some((frame, start)) = self.held.take() {
            let end = limit.seconds.map_or(i64::MAX, |seconds| self.base.ticks(seconds));
            let last = last.map(|(ticks, base)| base.rescale(ticks, self.base).saturating_add(self.shift) - start);
            let length = last.filter(|length| *length > 0).unwrap_or(self.nominal).min(end - start).max(1);
            limit.check(self.base.seconds(start.saturating_add(length)))?;
            self.encode(frame, start, length, muxer, limit)?;
        }
        if self.count == 0 {
            return Ok(());
        }
        self.encoder()?.send(None).map_err(|error| failed(Code::EncodeFailed, "the encoder did not end", error))?;
        self.drain(muxer, limit)
    }

    fn encoder(&mut self) -> Result<&mut Encoder> {
        self.encoder.as_mut().ok_or_else(|| Error::new(Code::Internal, "the encoder is gone"))
    }

    pub(super) fn reached(&self) -> f64 {
        self.base.seconds(self.last.unwrap_or(0))
    }

    /// Time of a frame on a clock that only goes forward. A step back of more than a second is a
    /// new epoch of the source's clock; less is disorder.
    fn in_order(&mut self, pts: Option<i64>) -> i64 {
        let Some(last) = self.last else { return pts.unwrap_or(0) };
        let Some(pts) = pts else { return last + self.nominal };
        let pts = pts.saturating_add(self.shift);
        if pts > last {
            return pts;
        }
        if self.base.seconds(last - pts) > 1.0 {
            self.shift = self.shift.saturating_add(last + self.nominal - pts);
            return last + self.nominal;
        }
        last + 1
    }

    fn encode(
        &mut self,
        mut frame: Frame,
        start: i64,
        length: i64,
        muxer: &mut Muxer<'_>,
        limit: &Limit<'_>,
    ) -> Result<()> {
        limit.control.checkpoint()?;
        if self.count == 0 {
            self.first = start;
        }
        self.times.push_back((start, length));
        frame.prepare_for_encoder();
        frame.set_pts(self.count);
        self.count += 1;
        loop {
            match self.encoder()?.send(Some(&frame)) {
                Ok(()) => break,
                Err(AvError::AGAIN) => self.drain(muxer, limit)?,
                Err(error) => return Err(failed(Code::EncodeFailed, "the encoder refused a frame", error)),
            }
        }
        limit.meter.add_frame();
        limit.meter.reach(self.base.seconds(start));
        drop(frame);
        self.drain(muxer, limit)
    }

    fn drain(&mut self, muxer: &mut Muxer<'_>, limit: &Limit<'_>) -> Result<()> {
        loop {
            limit.control.checkpoint()?;
            match receive(&mut self.encoder, &mut self.packet) {
                Ok(()) => self.deliver(muxer)?,
                Err(AvError::AGAIN | AvError::EOF) => return Ok(()),
                Err(error) => return Err(failed(Code::EncodeFailed, "the encoder failed", error)),
            }
        }
    }

    /// Turns frame numbers back into times.
    fn deliver(&mut self, muxer: &mut Muxer<'_>) -> Result<()> {
        let number = self.packet.pts().unwrap_or(self.forgotten);
        let (pts, length) = self.time_of(number);
        let order = decoding_place(number, self.packet.dts());
        let dts = self.time_of(order).0.min(pts);
        self.forget_before(order);
        self.packet.set_times(Some(pts), Some(dts), length);
        muxer.write(self.lane, &mut self.packet, self.base)
    }

    fn time_of(&self, number: i64) -> (i64, i64) {
        if number < 0 {
            // As far before the first frame as its counterpart comes after it, so that the decoding
            // times of a slow clip are as slow.
            let after = self.frame(-number).map_or(-number * self.nominal, |(start, _)| start - self.first);
            return (self.first - after, self.nominal);
        }
        self.frame(number).or(self.times.back().copied()).unwrap_or((self.first, self.nominal))
    }

    fn frame(&self, number: i64) -> Option<(i64, i64)> {
        self.times.get(usize::try_from(number - self.forgotten).ok()?).copied()
    }

    /// Packets come in decoding order, so no later one asks for a frame before this.
    fn forget_before(&mut self, number: i64) {
        while self.forgotten < number && self.times.len() > 1 {
            self.times.pop_front();
            self.forgotten += 1;
        }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        if let Some(encoder) = self.encoder.take().filter(|_| self.control.is_canceled()) {
            self.reaper.take(encoder);
        }
    }
}

/// Place of a frame in decoding order. x265 leaves it uninitialised where a clip has fewer frames
/// than its delay; so short a clip is not reordered.
fn decoding_place(number: i64, dts: Option<i64>) -> i64 {
    dts.filter(|dts| dts.abs_diff(number) <= MAX_REORDER).unwrap_or(number)
}

fn receive(encoder: &mut Option<Encoder>, packet: &mut Packet) -> std::result::Result<(), AvError> {
    encoder.as_mut().ok_or(AvError::EOF)?.receive(packet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plausible_decoding_places_count() {
        for (dts, place) in [(Some(-2), -2), (Some(3), 3), (None, 1), (Some(i64::MIN), 1), (Some(i64::MAX), 1)] {
            assert_eq!(decoding_place(1, dts), place, "{dts:?}");
        }
    }
}
