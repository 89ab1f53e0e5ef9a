//! What `mp4mux` gets wrong in a fragmented MP4, corrected on its way out. Pure functions over bytes, but
//! for the probe.
//!
//! - It counts the times of each track from its own first sample, so that sound which begins later than
//!   the pictures would be early: the times that fragments begin with are shifted.
//! - At the end it writes the index anew where that stands, for the sake of the duration, whatever its
//!   length is by then: a longer one would cover the beginning of the first fragment. The first one stays,
//!   with the duration.

use std::sync::{Arc, Mutex, PoisonError};

use ffrtmp_core::error::{Code, Error, Result};
use gstreamer as gst;
use gstreamer::prelude::*;

/// First times of the tracks, and their units.
#[derive(Debug, Default)]
pub(super) struct Starts(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Of the first sample of all.
    begin: Option<gst::ClockTime>,
    /// Of each track, what it begins later.
    later: Vec<Option<gst::ClockTime>>,
    /// Of each track, units of a second.
    scales: Vec<u32>,
    /// The index as it was written first.
    index: Option<Vec<u8>>,
}

impl Starts {
    /// Corrects what a muxer of so many tracks gives from now on.
    ///
    /// # Errors
    /// `internal` for an element that gives nothing.
    pub(super) fn of(muxer: &gst::Element, tracks: usize) -> Result<Arc<Self>> {
        let pad = muxer.static_pad("src").ok_or_else(|| Error::new(Code::Internal, "a muxer that gives nothing"))?;
        let starts = Arc::new(Self(Mutex::new(State { later: vec![None; tracks], ..State::default() })));
        let own = Arc::clone(&starts);
        pad.add_probe(gst::PadProbeType::BUFFER, move |_, info| {
            if let Some(gst::PadProbeData::Buffer(buffer)) = &mut info.data {
                let index = buffer.make_mut().map_writable().ok().and_then(|mut bytes| {
                    let mut state = own.0.lock().unwrap_or_else(PoisonError::into_inner);
                    state.correct(&mut bytes);
                    state.index_instead(&bytes)
                });
                if let Some(index) = index {
                    *buffer = gst::Buffer::from_mut_slice(index);
                }
            }
            gst::PadProbeReturn::Ok
        });
        Ok(starts)
    }

    /// Notes a sample of a track.
    pub(super) fn note(&self, track: usize, time: gst::ClockTime) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let begin = *state.begin.get_or_insert(time);
        if let Some(later) = state.later.get_mut(track) {
            later.get_or_insert(time.saturating_sub(begin));
        }
    }
}

impl State {
    fn correct(&mut self, bytes: &mut [u8]) {
        if let Some(moov) = place(bytes, b"moov") {
            let traks = inside(bytes, &moov, b"trak");
            let headers = traks.iter().flat_map(|trak| inside(bytes, trak, b"mdia"));
            let headers: Vec<_> = headers.flat_map(|mdia| inside(bytes, &mdia, b"mdhd")).collect();
            self.scales = headers.iter().filter_map(|header| number(bytes, header.start + 12)).collect();
        }
        let moofs: Vec<_> = boxes(bytes, 0, bytes.len()).into_iter().filter(|(kind, _)| kind == b"moof").collect();
        for (_, moof) in moofs {
            for traf in inside(bytes, &moof, b"traf") {
                self.shift(bytes, &traf);
            }
        }
    }

    /// What stands in the place of an index that is written again: the first one, with the new duration.
    fn index_instead(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let moov = place(bytes, b"moov")?;
        let Some(mut first) = self.index.clone() else {
            self.index = bytes.get(moov.start - 8..moov.end).map(<[u8]>::to_vec);
            return None;
        };
        let duration =
            |bytes: &[u8]| inside(bytes, inside(bytes, &place(bytes, b"moov")?, b"mvex").first()?, b"mehd").pop();
        if let (Some(new), Some(old)) = (duration(bytes), duration(&first))
            && let Some((new, old)) = bytes.get(new).zip(first.get_mut(old))
            && new.len() == old.len()
        {
            old.copy_from_slice(new);
        }
        Some([&bytes[..moov.start - 8], &first, &bytes[moov.end..]].concat())
    }

    fn shift(&self, bytes: &mut [u8], traf: &std::ops::Range<usize>) {
        let track = inside(bytes, traf, b"tfhd").first().and_then(|header| number(bytes, header.start + 4));
        let Some(place) = track.and_then(|track| usize::try_from(track).ok()?.checked_sub(1)) else { return };
        let Some((Some(later), scale)) = self.later.get(place).zip(self.scales.get(place)) else { return };
        let units = later.nseconds() as u128 * u128::from(*scale) / 1_000_000_000;
        for time in inside(bytes, traf, b"tfdt") {
            let is_long = bytes.get(time.start).is_some_and(|version| *version == 1);
            let Some(field) = bytes.get_mut(time.start + 4..time.end) else { return };
            if is_long && let Ok(old) = <[u8; 8]>::try_from(&*field) {
                field.copy_from_slice(&u64::from_be_bytes(old).wrapping_add(units as u64).to_be_bytes());
            } else if let Ok(old) = <[u8; 4]>::try_from(&*field) {
                field.copy_from_slice(&u32::from_be_bytes(old).wrapping_add(units as u32).to_be_bytes());
            }
        }
    }
}

/// Boxes between two places, each with where its content lies; none behind one that is cut off.
fn boxes(bytes: &[u8], from: usize, to: usize) -> Vec<([u8; 4], std::ops::Range<usize>)> {
    let mut found = Vec::new();
    let mut at = from;
    while let Some(length) = number(bytes, at).map(|length| length as usize) {
        let Some(kind) = bytes.get(at + 4..at + 8).and_then(|kind| <[u8; 4]>::try_from(kind).ok()) else { break };
        if length < 8 || at + length > to {
            break;
        }
        found.push((kind, at + 8..at + length));
        at += length;
    }
    found
}

/// Where the content of the first box of a kind lies, of those that are inside no other.
fn place(bytes: &[u8], kind: &[u8; 4]) -> Option<std::ops::Range<usize>> {
    inside(bytes, &(0..bytes.len()), kind).into_iter().next()
}

fn inside(bytes: &[u8], outer: &std::ops::Range<usize>, kind: &[u8; 4]) -> Vec<std::ops::Range<usize>> {
    let all = boxes(bytes, outer.start, outer.end).into_iter();
    all.filter(|(own, _)| own == kind).map(|(_, content)| content).collect()
}

fn number(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
        [&(content.len() as u32 + 8).to_be_bytes()[..], kind, content].concat()
    }

    /// A longer index than the first would cover what stands behind it.
    #[test]
    fn an_index_that_is_written_again_keeps_its_length() {
        let index = |about: &[u8], duration: u32| {
            let duration = of(b"mvex", &of(b"mehd", &[&[0; 4][..], &duration.to_be_bytes()].concat()));
            of(b"moov", &[of(b"trak", about), duration].concat())
        };
        let mut state = State::default();
        let first = [of(b"ftyp", b"iso5"), index(b"short", 0)].concat();
        assert_eq!(state.index_instead(&first), None);
        assert_eq!(state.index_instead(&of(b"moof", b"")), None);
        for again in [&b"short"[..], b"longer", b""] {
            assert_eq!(state.index_instead(&index(again, 7000)), Some(index(b"short", 7000)));
        }
        assert_eq!(state.index_instead(&of(b"moov", b"")), Some(index(b"short", 0)), "without a duration");
    }

    #[test]
    fn fragments_begin_when_their_tracks_do() {
        let header =
            |scale: u32| of(b"trak", &of(b"mdia", &of(b"mdhd", &[&[0; 12][..], &scale.to_be_bytes()].concat())));
        let mut moov = of(b"moov", &[header(2500), header(48_000)].concat());
        let fragment = |track: u8, version: u8, time: &[u8]| {
            let head = of(b"tfhd", &[0, 0, 0, 0, 0, 0, 0, track]);
            of(b"moof", &of(b"traf", &[head, of(b"tfdt", &[&[version, 0, 0, 0], time].concat())].concat()))
        };
        let starts = Starts(Mutex::new(State { later: vec![None; 2], ..State::default() }));
        starts.note(0, gst::ClockTime::from_seconds(3));
        starts.note(1, gst::ClockTime::from_mseconds(4500));
        starts.note(1, gst::ClockTime::from_mseconds(4600));
        let mut state = starts.0.into_inner().unwrap();
        state.correct(&mut moov);
        for (track, version, before, after) in [
            (1, 0, &[0, 0, 1, 0][..], &[0, 0, 1, 0][..]),
            (2, 0, &[0, 0, 0, 5], &72_005_u32.to_be_bytes()),
            (2, 1, &[0, 0, 0, 0, 0, 0, 0, 5], &72_005_u64.to_be_bytes()),
            (3, 0, &[0, 0, 1, 0], &[0, 0, 1, 0]),
        ] {
            let mut bytes = fragment(track, version, before);
            state.correct(&mut bytes);
            assert_eq!(bytes, fragment(track, version, after), "{track} {version}");
        }
        for mut cut in [vec![], vec![0, 0, 0, 9, b'm', b'o', b'o', b'f'], vec![0xff; 30]] {
            state.correct(&mut cut);
        }
    }
}
