//! An encoded chunk as a file: packets with their times, framed and sealed with a checksum, so that
//! another machine can make it and what was cut off or altered on the way is noticed.
//!
//! ```text
//! "FFRTMPC1"
//! u32 length, JSON header
//! per packet: u8 1, u8 key, i64 pts, i64 dts, i64 duration, u32 length, data
//! at the end: u8 0, u64 packets, BLAKE3 of everything before
//! ```
//! Numbers are big-endian, times in the header's unit.

use std::io::{self, Read, Seek, SeekFrom, Write};

use blake3::Hasher;
use ffrtmp_core::error::{Code, Error, Result};
use serde::{Deserialize, Serialize};

use crate::libav::fault::file_failed;

const MAGIC: &[u8; 8] = b"FFRTMPC1";
const PACKET: u8 = 1;
const END: u8 = 0;
/// Bytes of a header, and of a packet: more is damage.
const MAX_HEADER: u32 = 1 << 20;
const MAX_PACKET: u32 = 1 << 29;

/// What all packets of a chunk share.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Header {
    /// Place of the chunk.
    pub(super) index: u32,
    /// Name of the encoder.
    pub(super) encoder: String,
    /// The codec's header for the container.
    pub(super) codec_header: Vec<u8>,
    /// Unit of the times.
    pub(super) base: (i32, i32),
    /// How full the encoder was told that the decoder's buffer is.
    pub(super) fullness: Option<f64>,
}

/// One coded picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Coded {
    pub(super) pts: i64,
    pub(super) dts: i64,
    pub(super) duration: i64,
    pub(super) is_key: bool,
    pub(super) data: Vec<u8>,
}

/// Writes a chunk.
pub(super) struct PartWriter<W> {
    inner: W,
    digest: Hasher,
    packets: u64,
    bytes: u64,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sealed {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) hash: [u8; 32],
}

impl<W: Write> PartWriter<W> {
    pub(super) fn new(inner: W, header: &Header) -> Result<Self> {
        let header = serde_json::to_vec(header)
            .map_err(|error| Error::new(Code::Internal, "the header of a chunk cannot be written").source(error))?;
        let mut writer = Self { inner, digest: Hasher::new(), packets: 0, bytes: 0 };
        writer.put(MAGIC)?;
        writer.put(&length(header.len())?.to_be_bytes())?;
        writer.put(&header)?;
        Ok(writer)
    }

    pub(super) fn packet(&mut self, times: (i64, i64), duration: i64, is_key: bool, data: &[u8]) -> Result<()> {
        let mut head = Vec::with_capacity(30);
        head.extend([PACKET, u8::from(is_key)]);
        for number in [times.0, times.1, duration] {
            head.extend(number.to_be_bytes());
        }
        head.extend(length(data.len())?.to_be_bytes());
        self.put(&head)?;
        self.put(data)?;
        self.packets += 1;
        Ok(())
    }

    /// Seals the chunk and gives the writer back.
    pub(super) fn finish(mut self) -> Result<(W, Sealed)> {
        self.put(&[END])?;
        self.put(&self.packets.to_be_bytes())?;
        let hash: [u8; 32] = self.digest.finalize().into();
        self.inner.write_all(&hash).and_then(|()| self.inner.flush()).map_err(file_failed)?;
        Ok((self.inner, Sealed { packets: self.packets, bytes: self.bytes + 32, hash }))
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        self.inner.write_all(bytes).map_err(file_failed)
    }
}

/// Reads a chunk of which the checksum holds.
pub(super) struct PartReader<R> {
    inner: R,
    header: Header,
    /// Where the packets begin.
    start: u64,
}

impl<R: Read + Seek> PartReader<R> {
    /// Reads everything once to check it.
    ///
    /// # Errors
    /// `input_invalid` for anything that is not a whole chunk.
    pub(super) fn open(mut inner: R) -> Result<Self> {
        check(&mut inner)?;
        inner.seek(SeekFrom::Start(MAGIC.len() as u64)).map_err(unreadable)?;
        let size = u32::from_be_bytes(array(&mut inner)?);
        if size > MAX_HEADER {
            return Err(damaged());
        }
        let mut bytes = vec![0; size as usize];
        inner.read_exact(&mut bytes).map_err(unreadable)?;
        let header = serde_json::from_slice(&bytes).map_err(|error| damaged().source(error))?;
        let start = MAGIC.len() as u64 + 4 + u64::from(size);
        Ok(Self { inner, header, start })
    }

    pub(super) fn header(&self) -> &Header {
        &self.header
    }

    /// Goes back to the first packet.
    pub(super) fn rewind(&mut self) -> Result<()> {
        self.inner.seek(SeekFrom::Start(self.start)).map(drop).map_err(unreadable)
    }

    /// The next packet in decoding order; `None` after the last one.
    pub(super) fn next(&mut self) -> Result<Option<Coded>> {
        match array::<1, _>(&mut self.inner)?[0] {
            END => return Ok(None),
            PACKET => {}
            _ => return Err(damaged()),
        }
        let is_key = array::<1, _>(&mut self.inner)?[0] != 0;
        let mut number = || array(&mut self.inner).map(i64::from_be_bytes);
        let (pts, dts, duration) = (number()?, number()?, number()?);
        let size = u32::from_be_bytes(array(&mut self.inner)?);
        if size > MAX_PACKET {
            return Err(damaged());
        }
        // No more memory than there is data, whatever the length says.
        let mut data = Vec::new();
        (&mut self.inner).take(u64::from(size)).read_to_end(&mut data).map_err(unreadable)?;
        if data.len() != size as usize {
            return Err(damaged());
        }
        Ok(Some(Coded { pts, dts, duration, is_key, data }))
    }
}

fn check<R: Read + Seek>(inner: &mut R) -> Result<()> {
    let size = inner.seek(SeekFrom::End(0)).map_err(unreadable)?;
    let sealed = size.checked_sub(32).ok_or_else(damaged)?;
    inner.rewind().map_err(unreadable)?;
    if &array::<8, _>(inner)? != MAGIC {
        return Err(damaged());
    }
    inner.rewind().map_err(unreadable)?;
    let mut digest = Hasher::new();
    let mut left = sealed;
    let mut buffer = vec![0; 1 << 16];
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
        inner.read_exact(&mut buffer[..size]).map_err(unreadable)?;
        digest.update(&buffer[..size]);
        left -= size as u64;
    }
    if array::<32, _>(inner)? == <[u8; 32]>::from(digest.finalize()) { Ok(()) } else { Err(damaged()) }
}

fn array<const N: usize, R: Read>(inner: &mut R) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    inner.read_exact(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

fn length(length: usize) -> Result<u32> {
    u32::try_from(length)
        .ok()
        .filter(|length| *length <= MAX_PACKET)
        .ok_or_else(|| Error::new(Code::EncodeFailed, "a coded picture is larger than a chunk can hold"))
}

fn damaged() -> Error {
    Error::new(Code::InputInvalid, "an encoded chunk is damaged or cut off")
        .field("parts")
        .hint("encode the chunk again; the same bytes come out")
}

fn unreadable(error: io::Error) -> Error {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return damaged();
    }
    Error::new(Code::InputUnreadable, "an encoded chunk cannot be read").field("parts").source(error)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;

    fn part() -> Vec<u8> {
        let header = Header {
            index: 3,
            encoder: "libx264".to_owned(),
            codec_header: vec![1, 2, 3],
            base: (1, 12800),
            fullness: Some(0.5),
        };
        let mut writer = PartWriter::new(Vec::new(), &header).unwrap();
        writer.packet((-5, -1024), 512, true, b"key").unwrap();
        writer.packet((512, -512), 512, false, b"").unwrap();
        let (bytes, sealed) = writer.finish().unwrap();
        assert_eq!((sealed.packets, sealed.bytes), (2, bytes.len() as u64));
        bytes
    }

    #[test]
    fn packets_come_back_as_often_as_wanted() {
        let mut reader = PartReader::open(Cursor::new(part())).unwrap();
        assert_eq!((reader.header().index, reader.header().base), (3, (1, 12800)));
        for _ in 0..2 {
            let first = reader.next().unwrap().unwrap();
            assert_eq!((first.pts, first.dts, first.is_key, first.data.as_slice()), (-5, -1024, true, &b"key"[..]));
            assert_eq!(reader.next().unwrap().unwrap().data, b"");
            assert_eq!(reader.next().unwrap(), None);
            reader.rewind().unwrap();
        }
    }

    #[test]
    fn every_cut_and_every_flipped_byte_is_noticed() {
        let whole = part();
        for end in 0..whole.len() {
            let error = PartReader::open(Cursor::new(&whole[..end])).err().unwrap();
            assert_eq!(error.code(), Code::InputInvalid, "{end}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x20;
            assert!(PartReader::open(Cursor::new(bytes)).is_err(), "{at}");
        }
    }
}
