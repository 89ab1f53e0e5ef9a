//! Whether a container has its end: sizes that add up to the file, and the index that players need.
//!
//! Only headers are read, a few bytes each.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use ffrtmp_core::error::{Error, Result};
use ffrtmp_core::media::Container;

use super::differs;

/// Bytes of a packet of a transport stream, and what each begins with.
const TS_PACKET: u64 = 188;
const TS_SYNC: u8 = 0x47;
/// Matroska's elements that matter here.
const EBML: u32 = 0x1a45_dfa3;
const SEGMENT: u32 = 0x1853_8067;
const CUES: u32 = 0x1c53_bb6b;
const CLUSTER: u32 = 0x1f43_b675;

/// # Errors
/// `verify_failed` for what is missing.
pub(super) fn check(container: Container, parts: &[(File, u64)]) -> Result<()> {
    match container {
        Container::Mp4 | Container::Fmp4 => boxes(parts),
        Container::Mkv | Container::Webm => parts.iter().try_for_each(|(file, length)| elements(file, *length)),
        Container::MpegTs => parts.iter().try_for_each(|(file, length)| packets(file, *length)),
        // Rows of frames or pages without a size of the whole: counting them is the check.
        Container::Mp3 | Container::Flac | Container::Ogg | Container::Hls | Container::Dash => Ok(()),
    }
}

/// An MP4 is a row of boxes that begin with their size. One must be the index.
fn boxes(parts: &[(File, u64)]) -> Result<()> {
    let mut names = Vec::new();
    for (file, length) in parts {
        let mut position = 0;
        while position < *length {
            let mut head = [0; 16];
            let known = head_at(file, position, &mut head)?;
            let size = match u32::from_be_bytes([head[0], head[1], head[2], head[3]]) {
                1 if known == 16 => u64::from_be_bytes(std::array::from_fn(|index| head[8 + index])),
                size => u64::from(size),
            };
            let Some(end) = position.checked_add(size).filter(|end| known >= 8 && size >= 8 && end <= length) else {
                return Err(differs("a box of the container goes beyond its end"));
            };
            names.push([head[4], head[5], head[6], head[7]]);
            position = end;
        }
    }
    match [b"moov", b"mdat"].into_iter().find(|name| !names.contains(name)) {
        Some(name) => Err(differs(&format!("the container has no {}", String::from_utf8_lossy(name)))),
        None => Ok(()),
    }
}

/// A Matroska file is one segment, with clusters and an index of them.
fn elements(file: &File, length: u64) -> Result<()> {
    let (mut position, mut end) = (0, length);
    let (mut clusters, mut cues, mut segments) = (false, false, false);
    while position < end {
        let mut head = [0; 12];
        let known = head_at(file, position, &mut head)?;
        let Some((id, size, header)) = element(&head[..known]) else {
            return Err(differs("an element of the container was left open"));
        };
        let Some(next) = position.checked_add(header + size).filter(|next| *next <= end) else {
            return Err(differs("an element of the container goes beyond its end"));
        };
        clusters |= id == CLUSTER;
        cues |= id == CUES;
        if id == SEGMENT && next != length || position == 0 && id != EBML {
            return Err(differs("the container does not end where it says"));
        }
        let enters = id == SEGMENT && !segments;
        segments |= enters;
        (position, end) = if enters { (position + header, next) } else { (next, end) };
    }
    match (segments, clusters, cues) {
        (true, true, false) => Err(differs("the container has no index")),
        (false, ..) => Err(differs("the container has no segment")),
        _ => Ok(()),
    }
}

/// Identifier, size of the content, and bytes before it; `None` for an unknown size.
fn element(head: &[u8]) -> Option<(u32, u64, u64)> {
    let width = head.first()?.leading_zeros() as usize + 1;
    let id = head.get(..width).filter(|_| width <= 4)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let rest = &head[width..];
    let size_width = rest.first()?.leading_zeros() as usize + 1;
    let digits = rest.get(..size_width).filter(|_| size_width <= 8)?;
    let mask = (1_u64 << (7 * size_width)) - 1;
    let size = digits.iter().fold(0, |size, byte| size << 8 | u64::from(*byte)) & mask;
    (size != mask).then_some((id, size, (width + size_width) as u64))
}

/// A transport stream is whole packets.
fn packets(file: &File, length: u64) -> Result<()> {
    let ends = [0, length.saturating_sub(TS_PACKET)];
    let mut is_whole = length.is_multiple_of(TS_PACKET);
    for position in ends {
        let mut head = [0; 1];
        is_whole &= head_at(file, position, &mut head)? == 1 && head[0] == TS_SYNC;
    }
    if is_whole { Ok(()) } else { Err(differs("the container ends inside a packet")) }
}

/// Fills as much as there is.
fn head_at(file: &File, position: u64, head: &mut [u8]) -> Result<usize> {
    let unreadable = |error: io::Error| -> Error { differs("the output cannot be read back").source(error) };
    let mut known = 0;
    while known < head.len() {
        match file.read_at(&mut head[known..], position + known as u64) {
            Ok(0) => break,
            Ok(count) => known += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(error)),
        }
    }
    Ok(known)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn checked(container: Container, bytes: &[u8]) -> Result<()> {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), bytes).unwrap();
        check(container, &[(File::open(file.path()).unwrap(), bytes.len() as u64)])
    }

    fn mp4(names: &[&[u8; 4]]) -> Vec<u8> {
        names.iter().flat_map(|name| [&[0, 0, 0, 12], name.as_slice(), b"data"].concat()).collect()
    }

    #[test]
    fn an_mp4_ends_with_a_box() {
        let whole = mp4(&[b"ftyp", b"moov", b"mdat"]);
        checked(Container::Mp4, &whole).unwrap();
        for cut in 1..whole.len() {
            checked(Container::Mp4, &whole[..cut]).unwrap_err();
        }
        checked(Container::Mp4, &mp4(&[b"ftyp", b"mdat"])).unwrap_err();
        let large = [&[0, 0, 0, 1], b"mdat".as_slice(), &20_u64.to_be_bytes(), b"data"].concat();
        checked(Container::Mp4, &[mp4(&[b"moov"]), large].concat()).unwrap();
        checked(Container::Mp4, &[mp4(&[b"moov", b"mdat"]), vec![0; 12]].concat()).unwrap_err();
    }

    #[test]
    fn a_matroska_segment_is_closed_and_has_cues() {
        let element =
            |id: u32, content: &[u8]| [&id.to_be_bytes(), [0x40, content.len() as u8].as_slice(), content].concat();
        let file = |content: &[Vec<u8>]| [element(EBML, b"x"), element(SEGMENT, &content.concat())].concat();
        let (cluster, cues) = (element(CLUSTER, b"data"), element(CUES, b"index"));
        let whole = file(&[cluster.clone(), cues.clone()]);
        checked(Container::Mkv, &whole).unwrap();
        for cut in 1..whole.len() {
            checked(Container::Mkv, &whole[..cut]).unwrap_err();
        }
        checked(Container::Mkv, &file(&[cluster])).unwrap_err();
        checked(Container::Mkv, &[whole, cues].concat()).unwrap_err();
        // A segment that was never closed: its size is all ones.
        let open = [element(EBML, b"x"), SEGMENT.to_be_bytes().to_vec(), vec![0x01, 255, 255, 255, 255, 255, 255, 255]];
        checked(Container::Mkv, &open.concat()).unwrap_err();
    }

    #[test]
    fn a_transport_stream_is_whole_packets() {
        let mut packet = [0; 188];
        packet[0] = TS_SYNC;
        checked(Container::MpegTs, &packet.repeat(3)).unwrap();
        checked(Container::MpegTs, &packet.repeat(3)[..500]).unwrap_err();
    }
}
