//! Where streams begin in containers whose header does not list them.
//!
//! libav finds streams that begin late by keeping every packet until then, in memory. What it would
//! find is seen here by the heads of packets alone, so that it is asked for only where there is
//! something, and only as far as that. Nothing is decided by what is seen here.

use super::input::{Input, StreamView};
use super::pages::Pages;

/// How far streams are looked for.
const REACH: u64 = 64 << 20;
/// Bytes behind a beginning in which a stream shows what it is.
const ROOM: u64 = 5_000_000;
/// Bytes that may belong to nothing before the rest is left alone.
const RUBBISH: u64 = 1 << 20;

/// A container whose header does not list its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    TransportStream,
    ProgramStream,
    Flash,
}

/// Number of a stream in its container: a PID, the code or sub-code that begins its packets, or the
/// type of a tag.
type Id = i32;

const FLASH_SOUND: Id = 8;
const FLASH_PICTURE: Id = 9;

impl Input {
    /// Bytes to look at for all streams that begin within reach; `None` where all are known.
    pub(super) fn late_streams(&mut self) -> Option<u64> {
        let format = self.format();
        let is = |name| format.split(',').any(|known| known == name);
        let kind = match () {
            () if is("mpegts") => Kind::TransportStream,
            () if is("mpeg") => Kind::ProgramStream,
            () if is("flv") => Kind::Flash,
            () => return Some(REACH),
        };
        let known: Vec<Id> =
            self.streams().filter(|stream| !stream.has_not_begun()).map(|stream| kind.id(&stream)).collect();
        let mut pages = Pages::new(|position, buffer| self.peek(position, buffer));
        let last = beginnings(kind, &mut pages, &known).into_iter().map(|(_, position)| position).max()?;
        Some((last + ROOM).min(REACH))
    }
}

impl Kind {
    fn id(self, stream: &StreamView<'_>) -> Id {
        match self {
            Self::TransportStream => stream.raw().id,
            // libav writes the code with what comes before it.
            Self::ProgramStream => stream.raw().id & 0xff,
            Self::Flash if stream.is_video() => FLASH_PICTURE,
            Self::Flash if stream.is_audio() => FLASH_SOUND,
            Self::Flash => 0,
        }
    }
}

/// The streams of pictures and sound that are not known, each with the place of its first packet.
fn beginnings(kind: Kind, pages: &mut Pages<'_>, known: &[Id]) -> Vec<(Id, u64)> {
    let mut found: Vec<(Id, u64)> = Vec::new();
    let mut see = |id: Id, position: u64| {
        if !known.contains(&id) && !found.iter().any(|(other, _)| *other == id) {
            found.push((id, position));
        }
    };
    // The end of the file ends it too.
    let _ = match kind {
        Kind::TransportStream => transport_stream(pages, &mut see),
        Kind::ProgramStream => program_stream(pages, &mut see),
        Kind::Flash => flash(pages, &mut see),
    };
    found
}

/// Packets of one size, each with a PID; those that begin a packet of a stream say so.
fn transport_stream(pages: &mut Pages<'_>, see: &mut dyn FnMut(Id, u64)) -> Option<()> {
    const SIZES: [u64; 3] = [188, 192, 204];
    const SYNC: u8 = 0x47;
    let follows = |pages: &mut Pages<'_>, position: u64, size: u64| {
        (1..4).all(|place| pages.at(position + place * size).is_none_or(|[sync]: [u8; 1]| sync == SYNC))
    };
    let (mut position, mut rubbish, mut size) = (0, 0, None);
    while position < REACH && rubbish < RUBBISH {
        let [sync, high, low, flags, field]: [u8; 5] = pages.at(position)?;
        size = size.filter(|_| sync == SYNC);
        if sync == SYNC && size.is_none() {
            size = SIZES.into_iter().find(|size| follows(pages, position, *size));
        }
        let Some(step) = size else {
            (position, rubbish) = (position + 1, rubbish + 1);
            continue;
        };
        let (begins, has_field, has_payload) = (high & 0x40 != 0, flags & 0x20 != 0, flags & 0x10 != 0);
        if begins && has_payload {
            let payload = 4 + if has_field { 1 + u64::from(field) } else { 0 };
            let [zero, null, one, code] = pages.at(position + payload)?;
            if payload <= 184 && [zero, null, one] == [0, 0, 1] && is_heard_or_seen(code) {
                see(i32::from(high & 0x1f) << 8 | i32::from(low), position);
            }
        }
        position += step;
    }
    Some(())
}

/// Packs, and packets that each begin with a code and say their length.
fn program_stream(pages: &mut Pages<'_>, see: &mut dyn FnMut(Id, u64)) -> Option<()> {
    const PACK: u8 = 0xba;
    const PRIVATE: u8 = 0xbd;
    /// From here on sub-codes of private streams are those of sound.
    const SOUND: u8 = 0x80;
    let (mut position, mut rubbish) = (0, 0);
    while position < REACH && rubbish < RUBBISH {
        let [zero, null, one, code, first, second] = pages.at(position)?;
        let length = u64::from(u16::from_be_bytes([first, second]));
        position += match code {
            _ if [zero, null, one] != [0, 0, 1] => {
                rubbish += 1;
                1
            }
            PACK if first & 0xc0 == 0x40 => {
                let [stuffing]: [u8; 1] = pages.at(position + 13)?;
                14 + u64::from(stuffing & 7)
            }
            PACK => 12,
            ..PACK => 4,
            PRIVATE => {
                let [header]: [u8; 1] = pages.at(position + 8)?;
                let [sub]: [u8; 1] = pages.at(position + 9 + u64::from(header))?;
                if sub >= SOUND {
                    see(i32::from(sub), position);
                }
                6 + length
            }
            code => {
                if is_heard_or_seen(code) {
                    see(i32::from(code), position);
                }
                6 + length
            }
        };
    }
    Some(())
}

/// Tags that each say their type and length.
fn flash(pages: &mut Pages<'_>, see: &mut dyn FnMut(Id, u64)) -> Option<()> {
    /// Of a tag, and of the length behind it.
    const HEAD: u64 = 11;
    const TAIL: u64 = 4;
    let header: [u8; 4] = pages.at(5)?;
    let mut position = u64::from(u32::from_be_bytes(header)) + TAIL;
    while position < REACH {
        let [kind, high, middle, low] = pages.at(position)?;
        let length = u64::from(u32::from_be_bytes([0, high, middle, low]));
        let [flags]: [u8; 1] = pages.at(position + HEAD)?;
        match i32::from(kind & 0x1f) {
            // Commands to the player come as pictures without a picture.
            FLASH_PICTURE if flags >> 4 == 5 => {}
            id @ (FLASH_SOUND | FLASH_PICTURE) if length > 0 => see(id, position),
            _ => {}
        }
        position += HEAD + length + TAIL;
    }
    Some(())
}

/// Whether a packet with this code may be one of sound or pictures.
const fn is_heard_or_seen(code: u8) -> bool {
    matches!(code, 0xbd | 0xc0..=0xef | 0xfd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kind: Kind, bytes: &[u8], known: &[Id]) -> Vec<(Id, u64)> {
        let mut pages = Pages::new(|position, buffer| {
            let rest = usize::try_from(position).ok().and_then(|position| bytes.get(position..)).unwrap_or_default();
            // Reads are shorter than asked for.
            let count = rest.len().min(buffer.len()).min(999);
            buffer[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        });
        beginnings(kind, &mut pages, known)
    }

    /// A packet of a transport stream; with a code it begins a packet of the stream.
    fn packet(pid: u16, code: Option<u8>, stuffed: usize) -> Vec<u8> {
        let mut packet = vec![0x47, (pid >> 8) as u8 | if code.is_some() { 0x40 } else { 0 }, pid as u8, 0x10];
        if stuffed > 0 {
            packet[3] = 0x30;
            packet.push(stuffed as u8);
            packet.resize(5 + stuffed, 0xff);
        }
        packet.extend(code.map(|code| [0, 0, 1, code]).into_iter().flatten());
        packet.resize(188, 0xaa);
        packet
    }

    #[test]
    fn a_transport_stream_shows_what_begins_late() {
        let packets = [
            packet(0, Some(0), 0),
            packet(256, Some(0xe0), 0),
            packet(257, None, 0),
            packet(256, None, 100),
            packet(257, Some(0xc0), 40),
            packet(257, Some(0xc0), 0),
            packet(300, Some(0xbe), 0),
            packet(0x1234, Some(0xbd), 0),
        ];
        for (extra, lead, from) in [(0, 0, 0), (4, 4, 4), (16, 0, 0), (0, 77, 77)] {
            let size = 188 + extra as u64;
            let each = packets.iter().flat_map(|packet| [&packet[..], &vec![0; extra]].concat());
            let bytes: Vec<u8> = vec![0; lead].into_iter().chain(each).collect();
            let place = |number: u64| from + number * size;
            let all = [(256, place(1)), (257, place(4)), (0x1234, place(7))];
            assert_eq!(found(Kind::TransportStream, &bytes, &[]), all, "{extra} {lead}");
            assert_eq!(found(Kind::TransportStream, &bytes, &[256, 0x1234]), all[1..2], "{extra} {lead}");
        }
        // Rubbish in between costs the packet that it is in.
        let rubbish = [packets[1..4].concat(), packets[3].clone(), vec![0; 50], packets[4..].concat()].concat();
        assert_eq!(found(Kind::TransportStream, &rubbish, &[]), [(256, 0), (257, 802), (0x1234, 1366)]);
        assert_eq!(found(Kind::TransportStream, &[0x47; 5000], &[]), []);
    }

    #[test]
    fn a_program_stream_shows_what_begins_late() {
        let pack = [&[0, 0, 1, 0xba, 0x44][..], &[9; 8], &[0xfa, 0xff, 0xff]].concat();
        let old_pack = [&[0, 0, 1, 0xba, 0x21][..], &[9; 7]].concat();
        let piece = |code: u8, body: &[u8]| [&[0, 0, 1, code, 0, body.len() as u8][..], body].concat();
        let bytes = [
            pack,
            piece(0xbb, &[0, 0, 1, 0xc0, 0, 0]),
            piece(0xe0, &[0x80, 0, 0, 1, 2, 3]),
            piece(0xbd, &[0x80, 0, 1, 0xff, 0x20, 7]),
            old_pack,
            piece(0xbd, &[0x80, 0, 1, 0xff, 0x80, 7]),
            vec![0, 0, 1, 0xb9],
            vec![7, 0, 0],
            piece(0xc0, &[0x80, 0, 0, 1, 2, 3]),
        ]
        .concat();
        assert_eq!(found(Kind::ProgramStream, &bytes, &[0xe0]), [(0x80, 64), (0xc0, 83)]);
        assert_eq!(found(Kind::ProgramStream, &bytes, &[0xe0, 0x80, 0xc0]), []);
    }

    #[test]
    fn flash_video_shows_what_begins_late() {
        let tag = |kind: u8, body: &[u8]| {
            let mut tag = vec![kind, 0, 0, body.len() as u8];
            tag.resize(11, 0);
            [&tag, body, &[0; 4]].concat()
        };
        let header = *b"FLV\x01\x05\0\0\0\x09\0\0\0\0";
        let bytes = [&header[..], &tag(18, &[2; 99]), &tag(9, &[0x57, 0]), &tag(9, &[0x17, 1]), &tag(8, &[])].concat();
        assert_eq!(found(Kind::Flash, &bytes, &[]), [(FLASH_PICTURE, 144)]);
        let bytes = [&bytes, &tag(8, &[0xaf])[..]].concat();
        assert_eq!(found(Kind::Flash, &bytes, &[FLASH_PICTURE]), [(FLASH_SOUND, 176)]);
    }
}
