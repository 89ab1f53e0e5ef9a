//! What passes from an RTMP server to the demuxer: tags of FLV, one in a buffer.
//!
//! The demuxer takes a source without pictures for one of sound alone after six seconds, and ignores
//! pictures that come later, as they do where a source with long groups is joined in the middle. The
//! description at the beginning tells whether there are pictures; sound waits for them here.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::basin::Basin;
use crate::gstreamer::media::TrackKind;

const SOUND: u8 = 8;
const PICTURE: u8 = 9;
const DESCRIPTION: u8 = 18;
/// Bytes of the header of a file, which comes with the first tag.
const FILE_HEADER: usize = 13;
/// Bytes of the header of a tag.
const TAG_HEADER: usize = 11;

/// Has sound wait for pictures that were announced, at most so long, and tells a basin of both.
pub(super) fn watch(pad: &gst::Pad, basin: &Arc<Basin>, patience: Duration) {
    let basin = Arc::clone(basin);
    let door = Mutex::new(Door { patience, ..Door::default() });
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(Ok(data)) = info.buffer().map(|buffer| buffer.map_readable()) else { return gst::PadProbeReturn::Ok };
        let mut door = door.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = door.passes(&data, Instant::now());
        if let Some(announced) = door.announced.take() {
            for kind in [TrackKind::Video, TrackKind::Audio] {
                if announced[kind as usize] {
                    basin.open(kind, None);
                }
            }
            basin.introduce();
        }
        if passes { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Drop }
    });
}

#[derive(Debug, Default)]
struct Door {
    patience: Duration,
    /// What the description tells of, by kind, until it is passed on.
    announced: Option<[bool; 2]>,
    /// Sound waits until then for pictures.
    waits: Option<Instant>,
}

impl Door {
    /// Whether a buffer goes on.
    fn passes(&mut self, data: &[u8], now: Instant) -> bool {
        let is_first = data.starts_with(b"FLV");
        let tag = data.get(if is_first { FILE_HEADER } else { 0 }..).unwrap_or_default();
        let Some((kind, content)) = tag.first().map(|first| first & 0x1f).zip(tag.get(TAG_HEADER..)) else {
            return true;
        };
        match kind {
            DESCRIPTION => {
                let [video, audio] = [b"videocodecid".as_slice(), b"audiocodecid"].map(|name| names(content, name));
                self.announced = Some([video, audio]);
                self.waits = video.then(|| now + self.patience);
                true
            }
            PICTURE => {
                self.waits = None;
                true
            }
            SOUND => is_first || is_configuration(content) || self.waits.is_none_or(|until| now >= until),
            _ => true,
        }
    }
}

/// The tag of AAC that tells how to decode what follows.
fn is_configuration(content: &[u8]) -> bool {
    matches!(content, [format, 0, ..] if format >> 4 == 10)
}

/// Whether a description has a property that is neither null nor zero.
fn names(content: &[u8], property: &[u8]) -> bool {
    let at = content.windows(property.len()).position(|window| window == property);
    let value = at.and_then(|at| content.get(at + property.len()..)).unwrap_or_default();
    match value {
        // A number of eight bytes, or a text such as `avc1`.
        [0, number @ ..] => number.iter().take(8).any(|byte| *byte != 0),
        [2, high, low, ..] => (*high, *low) != (0, 0),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tag(kind: u8, content: &[u8]) -> Vec<u8> {
        let mut tag = vec![0; TAG_HEADER];
        tag[0] = kind;
        tag.extend_from_slice(content);
        tag
    }

    fn description(video: f64) -> Vec<u8> {
        let mut content = b"\x02\x00\x0aonMetaData\x08\x00\x00\x00\x02\x00\x0cvideocodecid\x00".to_vec();
        content.extend(video.to_be_bytes());
        content.extend(b"\x00\x0caudiocodecid\x00");
        content.extend(10_f64.to_be_bytes());
        tag(DESCRIPTION, &content)
    }

    #[test]
    fn sound_waits_for_pictures_that_were_announced() {
        let (now, patience) = (Instant::now(), Duration::from_secs(8));
        let (sound, setup, picture) = (tag(SOUND, &[0xaf, 1, 7]), tag(SOUND, &[0xaf, 0, 7]), tag(PICTURE, &[0x17, 0]));
        for (name, before, passes) in [
            ("nothing is known", vec![], true),
            ("pictures are announced", vec![description(7.0)], false),
            ("sound alone is announced", vec![description(0.0)], true),
            ("a picture came", vec![description(7.0), picture], true),
        ] {
            let mut door = Door { patience, ..Door::default() };
            assert!(before.iter().all(|tag| door.passes(tag, now)), "{name}");
            assert_eq!(door.passes(&sound, now), passes, "{name}");
            assert!(door.passes(&setup, now) && door.passes(&sound, now + patience), "{name}");
        }
        let mut door = Door { patience, ..Door::default() };
        door.passes(&description(7.0), now);
        assert_eq!(door.announced, Some([true, true]));
        let first = [b"FLV\x01\x05\0\0\0\x09\0\0\0\0".as_slice(), &sound].concat();
        assert!(door.passes(&first, now), "the header of the file came with it");
    }

    #[test]
    fn any_bytes_pass_without_harm() {
        for data in [b"".as_slice(), b"F", b"FLV", b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x12", b"\x12\0\0", b"\x08"] {
            assert!(Door::default().passes(data, Instant::now()), "{data:?}");
        }
    }
}
