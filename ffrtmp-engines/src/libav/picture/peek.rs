//! What only a decoded picture tells.
//!
//! Encoders and headers must know the screen of an HDR10 source before they open, and where the
//! container does not say it, the first coded picture may.

use std::collections::VecDeque;

use ffrtmp_core::engine::{Control, MediaBounds};
use ffrtmp_core::error::Result;

use super::super::hdr::HdrMetadata;
use super::super::sys::{Color, Decoder, Frame, Input, Packet, bit_depth};

/// Packets of all streams that are read ahead at most.
const MAX_PACKETS: usize = 400;
/// Bytes that are read ahead at most.
const MAX_BYTES: usize = 16 << 20;

/// What the first picture of a stream says.
#[derive(Default)]
pub(in super::super) struct First {
    /// Packets that were read to get there, of all streams in their order; they come before what
    /// the input gives next.
    pub(in super::super) packets: VecDeque<Packet>,
    pub(super) color: Color,
    pub(super) hdr: HdrMetadata,
    pub(super) interlaced: bool,
}

/// Reads ahead to the first picture of a stream, where that may tell what the container does not:
/// the screen of high dynamic range. Else nothing is read.
///
/// # Errors
/// `canceled`.
pub(in super::super) fn first(
    input: &mut Input,
    stream: usize,
    bounds: &MediaBounds,
    control: &Control,
) -> Result<First> {
    let mut first = First { color: Color { primaries: 2, transfer: 2, matrix: 2, range: 0 }, ..First::default() };
    let Some(decoder) = input.stream(stream).filter(|stream| {
        let deep = stream.pixel_format().is_some_and(|format| bit_depth(&format) > 8);
        deep && stream.hdr().mastering.is_none() && stream.color().transfer != Color::BT709
    }) else {
        return Ok(first);
    };
    // A stream that does not decode says so where it is decoded for good.
    let Ok(mut decoder) = Decoder::open(decoder, 1, bounds.max_pixels) else { return Ok(first) };
    let (mut frame, mut bytes) = (Frame::new(), 0);
    while first.packets.len() < MAX_PACKETS && bytes < MAX_BYTES {
        control.checkpoint()?;
        let mut packet = Packet::new();
        if input.read(&mut packet).is_err() {
            break;
        }
        bytes += packet.size();
        let found =
            packet.stream() == stream && decoder.send(Some(&packet)).is_ok() && decoder.receive(&mut frame).is_ok();
        first.packets.push_back(packet);
        if found {
            (first.color, first.hdr, first.interlaced) = (frame.color().sane(), frame.hdr(), frame.is_interlaced());
            break;
        }
    }
    Ok(first)
}
