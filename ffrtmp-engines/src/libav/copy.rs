//! One stream whose packets pass through as they are.

use ffrtmp_core::error::Result;

use super::mux::Muxer;
use super::session::Limit;
use super::sys::{Packet, StreamView, TimeBase};

/// Passes packets through, from the first key frame to the wanted length.
pub(super) struct CopyTrack {
    lane: usize,
    begun: bool,
    done: bool,
}

impl CopyTrack {
    pub(super) fn open(stream: StreamView<'_>, muxer: &mut Muxer<'_>) -> Result<Self> {
        // Sound can be joined anywhere; pictures need a key frame first.
        Ok(Self { lane: muxer.add_copied(stream)?, begun: stream.is_audio(), done: false })
    }

    pub(super) fn lane(&self) -> usize {
        self.lane
    }

    pub(super) fn is_done(&self) -> bool {
        self.done
    }

    pub(super) fn packet(
        &mut self,
        packet: &mut Packet,
        base: TimeBase,
        muxer: &mut Muxer<'_>,
        limit: &Limit<'_>,
    ) -> Result<()> {
        self.begun |= packet.is_key();
        if !self.begun || self.done || packet.size() == 0 {
            return Ok(());
        }
        let time = |ticks: Option<i64>| ticks.map(|ticks| base.seconds(ticks));
        if let Some(dts) = time(packet.dts().or(packet.pts())) {
            limit.check(dts)?;
            if limit.seconds.is_some_and(|end| dts >= end) {
                self.done = true;
                return Ok(());
            }
        }
        // With B-frames a packet after the cut may come before one that is still inside.
        if limit.seconds.is_some_and(|end| time(packet.pts()).is_some_and(|pts| pts >= end)) {
            return Ok(());
        }
        if muxer.lanes()[self.lane].is_video {
            limit.meter.add_frame();
        }
        muxer.write(self.lane, packet, base)
    }
}
