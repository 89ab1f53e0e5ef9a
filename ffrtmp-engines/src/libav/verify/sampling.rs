//! Packets at chosen points of a stream, decoded after the file was read.

use ffrtmp_core::engine::MediaBounds;
use ffrtmp_core::error::{Error, Result};
use ffrtmp_core::media::StreamKind;

use super::super::sys::{Packet, Preview, StreamView};
use super::{ExpectedLane, Origin, differs};

/// Packets kept from a point on: some pictures come out only after others went in.
const RUN: usize = 16;

/// The first, a middle and the last key frame of a stream of pictures; the beginning of sound.
pub(super) struct Samples<'a> {
    lane: &'a ExpectedLane,
    middle: f64,
    /// Points that stay: the first, then the middle.
    runs: Vec<Run>,
    /// From the latest key frame on.
    latest: Option<Run>,
}

struct Run {
    start: f64,
    packets: Vec<Packet>,
}

impl<'a> Samples<'a> {
    pub(super) fn of(lane: &'a ExpectedLane) -> Self {
        Self { lane, middle: f64::midpoint(lane.first, lane.end), runs: Vec::new(), latest: None }
    }

    /// Looks at the next packet of the stream, and may keep it.
    pub(super) fn see(&mut self, packet: &mut Packet, start: f64) {
        let begins = match self.lane.kind {
            StreamKind::Video => packet.is_key(),
            StreamKind::Audio => self.latest.is_none(),
            _ => return,
        };
        if begins {
            self.keep_latest();
            self.latest = Some(Run { start, packets: Vec::new() });
        }
        if let Some(run) = self.latest.as_mut().filter(|run| run.packets.len() < RUN) {
            run.packets.push(std::mem::replace(packet, Packet::new()));
        }
    }

    fn keep_latest(&mut self) {
        let Some(run) = self.latest.take() else { return };
        let is_middle = self.runs.len() == 1 && run.start >= self.middle;
        if self.runs.is_empty() || is_middle {
            self.runs.push(run);
        }
    }

    /// Decodes what was kept. A stream that nothing here decodes is not judged.
    pub(super) fn check(&self, stream: StreamView<'_>, bounds: &MediaBounds) -> Result<()> {
        if self.lane.packets == 0 || self.lane.kind == StreamKind::Subtitle || !stream.has_decoder() {
            return Ok(());
        }
        let mut decoder = Preview::open(stream, bounds.max_pixels).map_err(|error| self.refused().source(error))?;
        let mut seen = 0;
        for run in self.runs.iter().chain(&self.latest) {
            let decoded = run.decode(&mut decoder, self.lane);
            if decoded && self.lane.origin == Origin::Copied {
                return Ok(());
            }
            if !decoded && self.lane.origin == Origin::Encoded {
                return Err(differs(&format!(
                    "the {} stream cannot be decoded at {:.3} s",
                    self.lane.codec, run.start
                )));
            }
            seen += usize::from(decoded);
        }
        if seen == 0 { Err(self.refused()) } else { Ok(()) }
    }

    fn refused(&self) -> Error {
        let error = differs(&format!("the {} stream cannot be decoded", self.lane.codec));
        match self.lane.origin {
            Origin::Copied => error.hint("this container cannot carry it as it is; name a codec instead of copy"),
            Origin::Encoded => error,
        }
    }
}

impl Run {
    /// The first packet alone, for that is quick, unless it is sound of our own; with what follows
    /// where that shows nothing. A copied picture is the source's: that the decoder knows it by the
    /// headers of this container is enough, where that can be told.
    fn decode(&self, decoder: &mut Preview, lane: &ExpectedLane) -> bool {
        let packets: Vec<&Packet> = self.packets.iter().collect();
        let Some(first) = packets.first() else { return false };
        let shows = |frames: usize| frames > 0;
        let is_copied = lane.origin == Origin::Copied;
        if is_copied && lane.kind == StreamKind::Video && decoder.knows(first) {
            return true;
        }
        let alone = is_copied || lane.kind == StreamKind::Video;
        alone && decoder.decode(&packets[..1]).is_ok_and(shows) || decoder.decode(&packets).is_ok_and(shows)
    }
}
