//! What passes from an RTMP server to the demuxer: tags of FLV, one in a buffer.
//!
//! The demuxer takes a source without pictures for one of sound alone after six seconds, and the other
//! way round, and ignores what comes later. The description at the beginning tells what there is: sound
//! waits here for pictures, as where a source with long groups is joined in the middle, and a kind that
//! comes too late for the demuxer asks for a new connection. Times are made even on the way
//! ([`Stamps`]).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gstreamer as gst;
use gstreamer::prelude::*;

use super::basin::{Basin, Shape};
use super::stamps::Stamps;
use crate::gstreamer::media::TrackKind;

const SOUND: u8 = 8;
const PICTURE: u8 = 9;
const DESCRIPTION: u8 = 18;
/// Bytes of the header of a file, which comes with the first tag.
const FILE_HEADER: usize = 13;
/// Bytes of the header of a tag.
const TAG_HEADER: usize = 11;
/// Number of H.264 among codecs of pictures.
const AVC: u8 = 7;

/// Watches what passes into and out of a demuxer: has sound wait for pictures that were announced, at
/// most so long, and tells a basin of both.
pub(super) fn watch(source: &gst::Pad, demuxer: &gst::Element, basin: &Arc<Basin>, patience: Duration) {
    let gate = Arc::new(Mutex::new(Gate { door: Door { patience, ..Door::default() }, ..Gate::default() }));
    let (own, basin) = (Arc::clone(&gate), Arc::clone(basin));
    source.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data else { return gst::PadProbeReturn::Ok };
        let Ok(mut data) = buffer.make_mut().map_writable() else { return gst::PadProbeReturn::Ok };
        let mut gate = own.lock().unwrap_or_else(PoisonError::into_inner);
        let passes = gate.pass(&mut data, Instant::now());
        gate.tell(&basin);
        if passes { gst::PadProbeReturn::Ok } else { gst::PadProbeReturn::Drop }
    });
    let closed = Arc::clone(&gate);
    demuxer.connect_no_more_pads(move |_| closed.lock().unwrap_or_else(PoisonError::into_inner).is_closed = true);
    demuxer.connect_pad_added(move |_, pad| {
        let kind = if pad.name() == "audio" { TrackKind::Audio } else { TrackKind::Video };
        gate.lock().unwrap_or_else(PoisonError::into_inner).taken[kind as usize] = true;
        restore(pad, kind, Arc::clone(&gate));
    });
}

/// Gives media the times that it had before they were made even for the demuxer.
fn restore(pad: &gst::Pad, kind: TrackKind, gate: Arc<Mutex<Gate>>) {
    pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
        let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data else { return gst::PadProbeReturn::Ok };
        let Some(fed) = buffer.dts_or_pts() else { return gst::PadProbeReturn::Ok };
        let gate = gate.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = u64::from(gate.stamps.taken_off(kind, fed.mseconds() as u32));
        if taken > 0 {
            let (pts, dts) = (buffer.pts(), buffer.dts());
            let later = |time: Option<gst::ClockTime>| time.map(|time| time + gst::ClockTime::from_mseconds(taken));
            let buffer = buffer.make_mut();
            buffer.set_pts(later(pts));
            buffer.set_dts(later(dts));
        }
        gst::PadProbeReturn::Ok
    });
}

#[derive(Debug, Default)]
struct Gate {
    door: Door,
    stamps: Stamps,
    begun: Option<Instant>,
    /// The kinds that the demuxer has taken up, and whether it takes up no more.
    taken: [bool; 2],
    is_closed: bool,
    /// The kind that came too late, until it is passed on.
    late: Option<TrackKind>,
}

impl Gate {
    /// Whether a buffer goes on; its time is made even.
    fn pass(&mut self, data: &mut [u8], now: Instant) -> bool {
        let passes = self.door.passes(data, now);
        let begin = if data.starts_with(b"FLV") { FILE_HEADER } else { 0 };
        let Some(tag) = data.get_mut(begin..).filter(|tag| tag.len() >= TAG_HEADER) else { return passes };
        let since = now.duration_since(*self.begun.get_or_insert(now));
        let even = match media(tag) {
            Some(kind) if passes => self.note(kind, time(tag), since),
            Some(_) => return false,
            None => self.stamps.of_others(),
        };
        let even = even.to_be_bytes();
        tag[4..7].copy_from_slice(&even[1..]);
        tag[7] = even[0];
        passes
    }

    fn note(&mut self, kind: TrackKind, time: u32, since: Duration) -> u32 {
        if self.is_closed && !std::mem::replace(&mut self.taken[kind as usize], true) {
            self.late = Some(kind);
        }
        self.stamps.of_media(kind, time, u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn tell(&mut self, basin: &Basin) {
        if let Some(announced) = self.door.announced.take() {
            for kind in [TrackKind::Video, TrackKind::Audio] {
                if announced[kind as usize] {
                    basin.open(kind, None);
                }
            }
            basin.introduce(self.door.shape);
        }
        if let Some(kind) = self.late.take() {
            basin.renew(kind);
        }
    }
}

/// The kind of a tag that holds media and not how to decode it.
fn media(tag: &[u8]) -> Option<TrackKind> {
    let content = tag.get(TAG_HEADER..)?;
    match tag.first()? & 0x1f {
        SOUND if !is_configuration(content) => Some(TrackKind::Audio),
        PICTURE if !matches!(content, [format, 0 | 2, ..] if format & 0xf == AVC) => Some(TrackKind::Video),
        _ => None,
    }
}

fn time(tag: &[u8]) -> u32 {
    u32::from_be_bytes([tag[7], tag[4], tag[5], tag[6]])
}

#[derive(Debug, Default)]
struct Door {
    patience: Duration,
    /// What the description tells of, by kind, until it is passed on.
    announced: Option<[bool; 2]>,
    /// The size of the pictures and their rate, where it tells.
    shape: Option<Shape>,
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
                let [video, audio] = ["videocodecid", "audiocodecid"].map(|name| names(content, name));
                self.announced = Some([video, audio]);
                self.shape = shape(content);
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
fn names(content: &[u8], name: &str) -> bool {
    match property(content, name) {
        // A number of eight bytes, or a text such as `avc1`.
        [0, number @ ..] => number.iter().take(8).any(|byte| *byte != 0),
        [2, high, low, ..] => (*high, *low) != (0, 0),
        _ => false,
    }
}

fn shape(content: &[u8]) -> Option<Shape> {
    let number = |name| match property(content, name) {
        [0, number @ ..] => Some(f64::from_be_bytes(*number.first_chunk()?)).filter(|number| *number >= 1.0),
        _ => None,
    };
    let rate = number("framerate").map_or(0.0, |rate| rate * 1000.0);
    Some(Shape { width: number("width")? as u32, height: number("height")? as u32, millihertz: rate as u32 })
}

/// What stands behind the name of a property: its type, then its value.
fn property<'a>(content: &'a [u8], name: &str) -> &'a [u8] {
    let name = [&(name.len() as u16).to_be_bytes(), name.as_bytes()].concat();
    let at = content.windows(name.len()).position(|window| window == name);
    at.and_then(|at| content.get(at + name.len()..)).unwrap_or_default()
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
        assert_eq!((door.announced, door.shape), (Some([true, true]), None));
        let first = [b"FLV\x01\x05\0\0\0\x09\0\0\0\0".as_slice(), &sound].concat();
        assert!(door.passes(&first, now), "the header of the file came with it");
    }

    #[test]
    fn a_description_tells_the_shape_of_pictures() {
        let number = |name: &str, value: f64| {
            [&(name.len() as u16).to_be_bytes(), name.as_bytes(), &[0], value.to_be_bytes().as_slice()].concat()
        };
        let (mut shaped, heights) = (description(7.0), number("height", 360.0));
        shaped.extend([number("displayWidth", 99.0), number("width", 640.0), heights].concat());
        let mut door = Door::default();
        door.passes(&shaped, Instant::now());
        assert_eq!(door.shape, Some(Shape { width: 640, height: 360, millihertz: 0 }));
        door.passes(&[shaped, number("framerate", 29.97)].concat(), Instant::now());
        assert_eq!(door.shape.map(|shape| shape.millihertz), Some(29_970));
    }

    #[test]
    fn a_kind_that_the_demuxer_would_ignore_is_told_once() {
        let now = Instant::now();
        let mut gate = Gate { taken: [true, false], is_closed: true, ..Gate::default() };
        let at = |mut tag: Vec<u8>, milliseconds: u32| {
            tag[4..7].copy_from_slice(&milliseconds.to_be_bytes()[1..]);
            tag
        };
        let (sound, setup, picture) = (tag(SOUND, &[0xaf, 1]), tag(SOUND, &[0xaf, 0]), tag(PICTURE, &[0x17, 1]));
        for (tag, milliseconds, late) in [
            (&picture, 0, None),
            (&setup, 0, None),
            (&picture, 30_000, None),
            (&sound, 30_010, Some(TrackKind::Audio)),
            (&sound, 30_030, None),
        ] {
            let now = now + Duration::from_millis(milliseconds);
            assert!(gate.pass(&mut at(tag.clone(), milliseconds as u32), now));
            assert_eq!(gate.late.take(), late, "{milliseconds}");
        }
    }

    #[test]
    fn any_bytes_pass_without_harm() {
        for data in [b"".as_slice(), b"F", b"FLV", b"FLV\x01\x05\0\0\0\x09\0\0\0\0\x12", b"\x12\0\0", b"\x08"] {
            assert!(Gate::default().pass(&mut data.to_vec(), Instant::now()), "{data:?}");
        }
    }
}
