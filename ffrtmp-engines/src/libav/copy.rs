//! One stream whose packets pass through as they are.
//!
//! Times of presentation are the source's own and are never moved. Where its container leaves
//! decoding times out, they are counted; where nothing tells when a picture is shown, the stream
//! cannot be copied.

use ffrtmp_core::error::{Code, Error, Result};

use super::limit::Limit;
use super::outputs::{Outputs, Route};
use super::probe;
use super::sys::{Packet, StreamView, TimeBase};

/// Packets that may come before the first decoding time; no codec reorders further.
const MAX_HELD: usize = 32;

/// Passes packets through, from the first key frame to the wanted length.
pub(super) struct CopyTrack {
    route: Route,
    is_video: bool,
    base: TimeBase,
    clock: Clock,
    /// Pictures from before the first decoding time.
    held: Vec<Packet>,
    begun: bool,
    done: bool,
}

impl CopyTrack {
    pub(super) fn open(stream: StreamView<'_>, outputs: &Outputs) -> Result<Self> {
        let route = outputs.add_copied(stream)?;
        let base = stream.time_base();
        let step = probe::frame_rate(stream).map(|rate| base.ticks(1.0 / rate.as_f64()).max(1));
        let clock = match () {
            () if !stream.is_video() => Clock::Sound { end: 0 },
            () => Clock::Pictures { step, reordered: outputs.is_reordered(route), next: None },
        };
        // Sound can be joined anywhere; pictures need a key frame first.
        Ok(Self {
            route,
            is_video: stream.is_video(),
            base,
            clock,
            held: Vec::new(),
            begun: !stream.is_video(),
            done: false,
        })
    }

    pub(super) fn route(&self) -> Route {
        self.route
    }

    pub(super) fn is_video(&self) -> bool {
        self.is_video
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn packet(&mut self, packet: &mut Packet, outputs: &Outputs, limit: &Limit) -> Result<()> {
        self.begun |= packet.is_key();
        if !self.begun || self.done || packet.size() == 0 {
            return Ok(());
        }
        match self.clock.complete(packet)? {
            Timed::Yes => {
                self.release(packet.dts(), outputs, limit)?;
                self.pass(packet, outputs, limit)
            }
            Timed::NotYet => {
                self.held.push(std::mem::replace(packet, Packet::new()));
                if self.held.len() < MAX_HELD { Ok(()) } else { self.release(None, outputs, limit) }
            }
        }
    }

    /// Passes on what is still held.
    pub(super) fn finish(&mut self, outputs: &Outputs, limit: &Limit) -> Result<()> {
        self.release(None, outputs, limit)
    }

    /// Counts decoding times of held pictures back from the first that is known, or else from the
    /// first picture shown.
    fn release(&mut self, known: Option<i64>, outputs: &Outputs, limit: &Limit) -> Result<()> {
        let held = std::mem::take(&mut self.held);
        let Some(shown) = held.iter().filter_map(Packet::pts).min() else { return Ok(()) };
        let (count, step) = (held.len() as i64, self.clock.step(&held[0]));
        let first = known.unwrap_or(i64::MAX).min(shown.saturating_add(step)).saturating_sub(count * step);
        for (mut packet, place) in held.into_iter().zip(0..) {
            packet.set_times(packet.pts(), Some(first.saturating_add(place * step)), packet.duration());
            self.clock.passed(&packet);
            self.pass(&mut packet, outputs, limit)?;
        }
        Ok(())
    }

    fn pass(&mut self, packet: &mut Packet, outputs: &Outputs, limit: &Limit) -> Result<()> {
        let time = |ticks: Option<i64>| ticks.map(|ticks| self.base.seconds(ticks));
        if let Some(dts) = time(packet.dts()) {
            limit.check(dts)?;
            if self.done || limit.seconds.is_some_and(|end| dts >= end) {
                self.done = true;
                return Ok(());
            }
        }
        // With B-frames a packet after the cut may come before one that is still inside.
        if limit.seconds.is_some_and(|end| time(packet.pts()).is_some_and(|pts| pts >= end)) {
            return Ok(());
        }
        if self.is_video {
            limit.meter.add_frame();
        }
        outputs.write(self.route, packet, self.base)
    }
}

/// Completes the times of packets, in ticks of the source's stream.
#[derive(Debug)]
enum Clock {
    Sound {
        /// End of the packet before.
        end: i64,
    },
    Pictures {
        /// Length of a frame, where the source has a frame rate.
        step: Option<i64>,
        /// Whether pictures are decoded in another order than they are shown.
        reordered: bool,
        /// Decoding time after that of the picture before.
        next: Option<i64>,
    },
}

/// Whether a packet has both of its times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timed {
    Yes,
    NotYet,
}

impl Clock {
    fn complete(&mut self, packet: &mut Packet) -> Result<Timed> {
        let (pts, dts) = match *self {
            Self::Sound { end } => {
                let pts = packet.pts().or(packet.dts()).unwrap_or(end);
                (pts, packet.dts().unwrap_or(pts))
            }
            Self::Pictures { step, reordered, next } => match (packet.pts(), packet.dts()) {
                (Some(pts), Some(dts)) => (pts, dts),
                (Some(pts), None) => match next {
                    Some(next) => (pts, next.min(pts)),
                    None => return Ok(Timed::NotYet),
                },
                (None, Some(dts)) if !reordered => (dts, dts),
                (None, None) if !reordered && step.is_some() => (next.unwrap_or(0), next.unwrap_or(0)),
                (None, _) => return Err(untimed()),
            },
        };
        packet.set_times(Some(pts), Some(dts), packet.duration());
        self.passed(packet);
        Ok(Timed::Yes)
    }

    fn passed(&mut self, packet: &Packet) {
        let length = self.step(packet);
        match self {
            Self::Sound { end } => *end = packet.pts().unwrap_or(*end).saturating_add(packet.duration()),
            Self::Pictures { next, .. } => *next = packet.dts().map(|dts| dts.saturating_add(length)),
        }
    }

    fn step(&self, packet: &Packet) -> i64 {
        match self {
            Self::Pictures { step: Some(step), .. } => *step,
            _ => packet.duration().max(1),
        }
    }
}

fn untimed() -> Error {
    let what = "the video cannot be copied: its packets do not say when their pictures are shown";
    Error::new(Code::InputUnsupported, what)
        .field("input")
        .hint("name a codec instead of copy; pictures then get their times in the order they are shown")
}
