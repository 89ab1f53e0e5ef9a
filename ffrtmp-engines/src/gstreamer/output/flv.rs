//! Media as tags of FLV, which is what RTMP carries: H.264 and AAC. Pure functions over bytes, by
//! Adobe's "Video File Format Specification" version 10.
//!
//! A muxer that interleaves would hold every picture back until sound of the same time is there. RTMP
//! needs no such order, so each unit becomes one tag at once.

use gstreamer as gst;

use ffrtmp_core::error::{Code, Error, Result};

use super::super::media::{Track, TrackKind};

const AUDIO: u8 = 8;
const VIDEO: u8 = 9;
const SCRIPT: u8 = 18;
/// AAC; 44 kHz, 16 bits and stereo whatever it is, as the format wants.
const AAC: u8 = 0xaf;
const AVC: u8 = 7;
const KEY: u8 = 0x10;
const DELTA: u8 = 0x20;
const AMF_NUMBER: u8 = 0;
const AMF_STRING: u8 = 2;
const AMF_MAP: u8 = 8;

/// The first tags of a stream: what it is, and the headers of its codecs.
///
/// # Errors
/// `encode_failed` for tracks without the headers of their codec.
pub(super) fn headers(tracks: &[&Track]) -> Result<Vec<Vec<u8>>> {
    let mut tags = vec![tag(SCRIPT, 0, &[&metadata(tracks)])];
    for track in tracks {
        let data = codec_data(&track.caps)?;
        tags.push(match track.kind {
            TrackKind::Video => tag(VIDEO, 0, &[&[KEY | AVC, 0, 0, 0, 0], &data]),
            TrackKind::Audio => tag(AUDIO, 0, &[&[AAC, 0], &data]),
        });
    }
    Ok(tags)
}

/// One picture: `decoded` is when it is decoded, `shown` when it is shown, in milliseconds.
pub(super) fn picture(decoded: u64, shown: u64, is_key: bool, data: &[u8]) -> Vec<u8> {
    let ahead = i32::try_from(shown as i64 - decoded as i64).unwrap_or(0).to_be_bytes();
    let head = [if is_key { KEY } else { DELTA } | AVC, 1, ahead[1], ahead[2], ahead[3]];
    tag(VIDEO, decoded, &[&head, data])
}

/// One piece of sound, in milliseconds.
pub(super) fn sound(time: u64, data: &[u8]) -> Vec<u8> {
    tag(AUDIO, time, &[&[AAC, 1], data])
}

fn tag(kind: u8, milliseconds: u64, parts: &[&[u8]]) -> Vec<u8> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let size = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    // Times wrap after 49 days; the upper byte stands behind the lower three.
    let time = (milliseconds as u32).to_be_bytes();
    let mut bytes = Vec::with_capacity(length + 15);
    bytes.extend([kind, size[1], size[2], size[3], time[1], time[2], time[3], time[0], 0, 0, 0]);
    for part in parts {
        bytes.extend_from_slice(part);
    }
    bytes.extend((u32::from_be_bytes(size) + 11).to_be_bytes());
    bytes
}

fn codec_data(caps: &gst::Caps) -> Result<Vec<u8>> {
    let missing = || Error::new(Code::EncodeFailed, "a track without the headers of its codec");
    let data = caps.structure(0).and_then(|caps| caps.get::<gst::Buffer>("codec_data").ok()).ok_or_else(missing)?;
    let data = data.map_readable().map_err(|_| missing())?;
    Ok(data.to_vec())
}

fn metadata(tracks: &[&Track]) -> Vec<u8> {
    let mut entries: Vec<(&str, f64)> = Vec::new();
    for track in tracks {
        let Some(caps) = track.caps.structure(0) else { continue };
        let number = |name: &str| caps.get::<i32>(name).ok().map(f64::from);
        match track.kind {
            TrackKind::Video => {
                entries.push(("videocodecid", f64::from(AVC)));
                entries.extend(number("width").map(|width| ("width", width)));
                entries.extend(number("height").map(|height| ("height", height)));
                let rate = caps.get::<gst::Fraction>("framerate").ok().filter(|rate| rate.numer() > 0);
                entries.extend(rate.map(|rate| ("framerate", f64::from(rate.numer()) / f64::from(rate.denom()))));
            }
            TrackKind::Audio => {
                entries.push(("audiocodecid", 10.0));
                entries.extend(number("rate").map(|rate| ("audiosamplerate", rate)));
                entries.extend(number("channels").map(|channels| ("audiochannels", channels)));
            }
        }
    }
    let mut bytes = vec![AMF_STRING];
    bytes.extend(name("onMetaData"));
    bytes.push(AMF_MAP);
    bytes.extend((entries.len() as u32).to_be_bytes());
    for (key, value) in entries {
        bytes.extend(name(key));
        bytes.push(AMF_NUMBER);
        bytes.extend(value.to_be_bytes());
    }
    bytes.extend([0, 0, 9]);
    bytes
}

fn name(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_say_what_they_hold_and_when() {
        assert_eq!(
            picture(0x0102_0304, 0x0102_0304 + 80, true, b"abc"),
            [9, 0, 0, 8, 2, 3, 4, 1, 0, 0, 0, 0x17, 1, 0, 0, 80, b'a', b'b', b'c', 0, 0, 0, 19]
        );
        assert_eq!(picture(40, 20, false, b"")[11..16], [0x27, 1, 0xff, 0xff, 0xec]);
        assert_eq!(sound(1, b"x"), [8, 0, 0, 3, 0, 0, 1, 0, 0, 0, 0, 0xaf, 1, b'x', 0, 0, 0, 14]);
    }

    #[test]
    fn a_stream_begins_with_what_it_is() {
        super::super::super::init().unwrap();
        let caps = gst::Caps::builder("video/x-h264")
            .field("codec_data", gst::Buffer::from_slice([1, 0x42]))
            .field("width", 640)
            .build();
        let track = Track { kind: TrackKind::Video, name: "360p".to_owned(), caps };
        let tags = headers(&[&track]).unwrap();
        let map = [&[8, 0, 0, 0, 2, 0, 12][..], b"videocodecid", &[0], &7_f64.to_be_bytes(), &[0, 5], b"width", &[0]];
        assert!(tags[0].windows(map.concat().len()).any(|window| window == map.concat()), "{:?}", tags[0]);
        assert_eq!(tags[1][11..18], [0x17, 0, 0, 0, 0, 1, 0x42]);
        let bare = Track { caps: gst::Caps::new_empty_simple("video/x-h264"), ..track };
        assert_eq!(headers(&[&bare]).unwrap_err().code(), Code::EncodeFailed);
    }
}
