//! Reads where the pictures of a source are, without decoding any.
//!
//! What makes a source unfit to be divided is found here: pictures without a time of their own,
//! pictures that are hidden in the middle, codecs of which the entry points are not certain.

use ffrtmp_core::engine::Control;
use ffrtmp_core::error::{Code, Error, Result};

use super::Fit;
use super::cut::{Entry, Picture};
use crate::libav::fault::failed;
use crate::libav::sys::{AvError, Input, Packet, StreamView, TimeBase};

/// Pictures of a source; what is known of each of them stays in memory.
const MOST: usize = 4_000_000;
/// Pictures may be decoded this much after a later key frame, in seconds.
const REORDERING: f64 = 5.0;
/// Containers with an index to go by, and a time on every picture.
const CONTAINERS: &[&str] = &["mp4", "mov", "matroska", "webm"];
/// Codecs of which a key frame needs nothing that came before it.
const CODECS: &[&str] =
    &["h264", "hevc", "mpeg2video", "mpeg4", "vp8", "vp9", "av1", "mjpeg", "prores", "dnxhd", "ffv1"];
/// A picture from which an H.264 decoder begins with nothing: ITU-T H.264 table 7-1.
const IDR: u8 = 5;

/// Where the pictures are, in the order of their presentation.
#[derive(Debug)]
pub(super) struct Scan {
    pub(super) base: TimeBase,
    pub(super) pictures: Vec<Picture>,
    /// The key frames that [`Picture::key`] counts.
    pub(super) entries: Vec<Entry>,
}

/// Reads the packets of a stream up to a time on the stream's own clock, in seconds; all other
/// streams are discarded.
///
/// # Errors
/// `canceled`, `input_invalid` where the file cannot be read on.
pub(super) fn scan(input: &mut Input, index: usize, end: Option<f64>, control: &Control) -> Result<Fit<Scan>> {
    let format = input.format();
    if !format.split(',').any(|name| CONTAINERS.contains(&name)) {
        return Ok(Err(format!("{format} has no index of its pictures")));
    }
    for other in (0..input.len()).filter(|other| *other != index) {
        input.discard(other);
    }
    let Some(stream) = input.stream(index) else {
        return Err(Error::new(Code::InvalidField, format!("the input has no stream {index}")).field("input"));
    };
    if !CODECS.contains(&stream.codec().as_str()) {
        return Ok(Err(format!("it is not known where decoding of {} can begin", stream.codec())));
    }
    let mut reading = Reading::new(stream);
    let mut packet = Packet::new();
    loop {
        control.checkpoint()?;
        match input.read(&mut packet) {
            Ok(()) if packet.stream() != index => continue,
            Ok(()) => {}
            Err(AvError::AGAIN) => continue,
            Err(AvError::EOF) => break,
            Err(error) => return Err(failed(Code::InputInvalid, "the input cannot be read on", error).field("input")),
        }
        if let Err(reason) = reading.take(&packet) {
            return Ok(Err(reason));
        }
        if end.is_some_and(|end| reading.decoded_until() > end + REORDERING) {
            break;
        }
    }
    Ok(reading.end(end))
}

struct Reading {
    base: TimeBase,
    /// Bytes of a NAL unit's length in H.264; 0 for start codes. `None` for other codecs.
    lengths: Option<usize>,
    last_dts: Option<i64>,
    pictures: Vec<Picture>,
    entries: Vec<Entry>,
}

impl Reading {
    fn new(stream: StreamView<'_>) -> Self {
        let lengths = (stream.codec() == "h264").then(|| match stream.header() {
            [1, _, _, _, size, ..] => usize::from(size & 3) + 1,
            _ => 0,
        });
        Self { base: stream.time_base(), lengths, last_dts: None, pictures: Vec::new(), entries: Vec::new() }
    }

    /// Up to the last key frame.
    fn decoded_until(&self) -> f64 {
        self.entries.last().map_or(f64::NEG_INFINITY, |entry| self.base.seconds(entry.pts))
    }

    /// Takes a packet in decoding order.
    fn take(&mut self, packet: &Packet) -> Fit<()> {
        if packet.is_corrupt() {
            return Err("a part of the source is missing".to_owned());
        }
        let Some(pts) = packet.pts() else { return Err("not every picture has a time".to_owned()) };
        let dts = packet.dts();
        if dts.zip(self.last_dts).is_some_and(|(dts, last)| last >= dts) {
            return Err("the times of the source go back".to_owned());
        }
        self.last_dts = dts.or(self.last_dts);
        let is_entry = packet.is_key() && self.lengths.is_none_or(|length| has_unit(packet.data(), length, IDR));
        if self.entries.is_empty() && !is_entry {
            return Err("the source does not begin with a key frame".to_owned());
        }
        let key = is_entry.then(|| u32::try_from(self.entries.len()).unwrap_or(u32::MAX));
        if is_entry {
            if self.entries.last().is_some_and(|last| last.pts >= pts) {
                return Err("the key frames of the source are out of order".to_owned());
            }
            self.entries.push(Entry { pts, dts });
        }
        if packet.is_hidden() {
            let begun = self.pictures.is_empty();
            return begun.then_some(()).ok_or_else(|| "an edit list hides pictures in the middle".to_owned());
        }
        if self.pictures.len() == MOST {
            return Err(format!("the source has more than {MOST} pictures"));
        }
        let size = u32::try_from(packet.size()).unwrap_or(u32::MAX);
        self.pictures.push(Picture { pts, size, key });
        Ok(())
    }

    fn end(mut self, end: Option<f64>) -> Fit<Scan> {
        self.pictures.sort_unstable_by_key(|picture| picture.pts);
        if let Some(end) = end {
            self.pictures.retain(|picture| self.base.seconds(picture.pts) < end);
        }
        if self.pictures.windows(2).any(|pair| pair[0].pts == pair[1].pts) {
            return Err("two pictures have the same time".to_owned());
        }
        match self.pictures.first_mut() {
            None => Err("there are no pictures".to_owned()),
            Some(first) => {
                // What is shown first is decoded from the first entry, also where that is hidden.
                first.key.get_or_insert(0);
                Ok(Scan { base: self.base, pictures: self.pictures, entries: self.entries })
            }
        }
    }
}

/// Whether H.264 data has a NAL unit of a type; `length` is the size of the units' lengths, 0 for
/// start codes.
fn has_unit(data: &[u8], length: usize, kind: u8) -> bool {
    let is_kind = |header: &u8| header & 0x1f == kind;
    if length == 0 {
        return data.windows(4).any(|bytes| bytes[..3] == [0, 0, 1] && is_kind(&bytes[3]));
    }
    let mut rest = data;
    while let Some((size, after)) = rest.split_at_checked(length) {
        let size = size.iter().fold(0usize, |size, byte| size << 8 | usize::from(*byte));
        if after.first().is_some_and(is_kind) {
            return true;
        }
        let Some(next) = after.get(size..) else { return false };
        rest = next;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_found_behind_lengths_and_start_codes() {
        for (data, length, found) in [
            (&[0, 0, 0, 2, 0x09, 0xf0, 0, 0, 0, 1, 0x65][..], 4, true),
            (&[0, 2, 0x06, 0x05, 0, 1, 0x41], 2, false),
            (&[0, 0, 0, 1, 0x67, 1, 0, 0, 1, 0x25, 1], 0, true),
            (&[0, 0, 0, 1, 0x61, 1, 5], 0, false),
            (&[255, 255, 255, 255, 0x01], 4, false),
            (&[], 4, false),
            (&[], 0, false),
        ] {
            assert_eq!(has_unit(data, length, IDR), found, "{data:?}");
        }
    }
}
