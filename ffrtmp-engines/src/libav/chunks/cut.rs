//! Where the pictures are divided: a pure function of the coded pictures of the source, so that every
//! machine and every number of workers divides alike.
//!
//! A boundary makes a key frame that the undivided encode may not have, so scene cuts come first:
//! there a key frame costs nothing. They show in the sizes: an encoder answers a cut with a key frame
//! before its time, or with a picture much larger than its neighbours. Where no cut is near, any key
//! frame of the source serves, then any picture; a worker then decodes from the key frame before it.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use ffrtmp_core::media::VideoCodec;
use serde::{Deserialize, Serialize};

use crate::libav::sys::TimeBase;

/// Chunks are not shorter than this, in seconds: what encoders look ahead is lost at every end.
pub(super) const SHORTEST: f64 = 1.8;
/// Wanted length of a chunk in seconds, between these bounds.
const WANTED: RangeInclusive<f64> = 2.5..=10.0;
/// The same for codecs of which a key frame is worth many other pictures.
const WANTED_LONG: RangeInclusive<f64> = 5.0..=10.0;
/// Chunks that a source of middle length makes.
const COUNT: f64 = 16.0;
/// A boundary lies this near to the wanted length, as a share of it.
const NEAR: f64 = 0.4;
/// A boundary in mid-GOP is at most this far behind its key frame, in seconds: the way to it is
/// decoded once more.
const FARTHEST: f64 = 20.0;
/// A picture this many times as large as its neighbours begins a scene.
const SPIKE: u32 = 5;
/// Neighbours on each side that a picture is compared with.
const NEIGHBOURS: usize = 6;
/// A key frame that comes before this share of the longest distance was asked for by the picture.
const EARLY: f64 = 0.9;

/// One coded picture of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    /// Presentation in ticks of the stream.
    pub(super) pts: i64,
    /// Size in bytes.
    pub(super) size: u32,
    /// Whether decoding can begin here: its number among the key frames.
    pub(super) key: Option<u32>,
}

/// Where decoding begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Presentation of the key frame, in ticks of the stream.
    pub pts: i64,
    /// Its place in decoding order, in ticks of the stream, where the container says it.
    pub dts: Option<i64>,
}

/// A run of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// Places of the first picture and of the one after the last, in the order of presentation.
    pub(super) first: usize,
    pub(super) end: usize,
    /// Number of the key frame that decoding begins at.
    pub(super) key: u32,
}

/// Divides pictures in the order of their presentation, of which the first is a key frame, for a
/// codec of the output.
pub(super) fn divide(pictures: &[Picture], base: TimeBase, codec: VideoCodec) -> Vec<Span> {
    let Some(first) = pictures.first() else { return Vec::new() };
    let cutter = Cutter::new(pictures, base, codec);
    let mut spans = Vec::new();
    let (mut start, mut key) = (0, first.key.unwrap_or(0));
    while let Some(boundary) = cutter.next(start) {
        spans.push(Span { first: start, end: boundary, key });
        key = cutter.key_before(boundary);
        start = boundary;
    }
    spans.push(Span { first: start, end: pictures.len(), key });
    spans
}

struct Cutter<'a> {
    pictures: &'a [Picture],
    base: TimeBase,
    /// Places of the key frames.
    keys: Vec<usize>,
    /// The longest distance between key frames, in seconds.
    interval: f64,
    wanted: f64,
}

/// How good a boundary is; the least is the best.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
struct Rank(u8, f64);

impl<'a> Cutter<'a> {
    fn new(pictures: &'a [Picture], base: TimeBase, codec: VideoCodec) -> Self {
        let range = match codec {
            VideoCodec::H264 | VideoCodec::H265 => WANTED,
            VideoCodec::Vp8 | VideoCodec::Vp9 | VideoCodec::Av1 => WANTED_LONG,
        };
        let keys: Vec<usize> = (0..pictures.len()).filter(|index| pictures[*index].key.is_some()).collect();
        let mut cutter = Self { pictures, base, keys, interval: 0.0, wanted: 0.0 };
        let ends = cutter.keys.iter().copied().skip(1).chain([pictures.len() - 1]);
        cutter.interval = cutter.keys.iter().zip(ends).map(|(key, end)| cutter.between(*key, end)).fold(0.0, f64::max);
        cutter.wanted = (cutter.between(0, pictures.len() - 1) / COUNT).clamp(*range.start(), *range.end());
        cutter
    }

    /// The best boundary behind a start; `None` where the rest is one chunk.
    fn next(&self, start: usize) -> Option<usize> {
        let last = self.pictures.len() - 1;
        if self.between(start, last) <= self.wanted * (1.0 + NEAR) {
            return None;
        }
        let near = (self.wanted * (1.0 - NEAR)).max(SHORTEST)..=self.wanted * (1.0 + NEAR);
        let best = (start + 1..last)
            .map(|index| (index, self.between(start, index)))
            .skip_while(|(_, length)| length < near.start())
            .take_while(|(_, length)| length <= near.end())
            .filter(|(index, _)| self.between(*index, last) >= SHORTEST)
            .filter_map(|(index, length)| Some((index, self.rank(index, length)?)))
            .min_by(|(_, one), (_, other)| one.partial_cmp(other).unwrap_or(Ordering::Equal));
        match best {
            Some((index, _)) => Some(index),
            // Beyond the reach of the last key frame only another one helps.
            None => self
                .keys
                .iter()
                .copied()
                .find(|key| self.between(start, *key) >= *near.start() && self.between(*key, last) >= SHORTEST),
        }
    }

    fn rank(&self, index: usize, length: f64) -> Option<Rank> {
        let off = (length - self.wanted).abs();
        let before = self.keys[self.keys.partition_point(|key| *key <= index) - 1];
        if before == index {
            let previous = self.keys[..].partition_point(|key| *key < index).checked_sub(1).map(|at| self.keys[at]);
            let is_early = previous.is_some_and(|key| self.between(key, index) < self.interval * EARLY);
            return Some(if is_early { Rank(0, off) } else { Rank(2, off) });
        }
        if self.between(before, index) > FARTHEST {
            return None;
        }
        Some(if self.is_spike(index) { Rank(1, off) } else { Rank(3, off) })
    }

    fn is_spike(&self, index: usize) -> bool {
        let around = index.saturating_sub(NEIGHBOURS)..(index + NEIGHBOURS + 1).min(self.pictures.len());
        let mut sizes: Vec<u32> = around.filter(|at| *at != index).map(|at| self.pictures[at].size).collect();
        sizes.sort_unstable();
        sizes.get(sizes.len() / 2).is_some_and(|middle| self.pictures[index].size / SPIKE > *middle)
    }

    /// Number of the last key frame that is not after a picture.
    fn key_before(&self, index: usize) -> u32 {
        let at = self.keys.partition_point(|key| *key <= index).saturating_sub(1);
        self.keys.get(at).and_then(|key| self.pictures[*key].key).unwrap_or(0)
    }

    fn between(&self, one: usize, other: usize) -> f64 {
        self.base.seconds(self.pictures[other].pts - self.pictures[one].pts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: TimeBase = TimeBase { num: 1, den: 25 };

    /// Pictures of one size at 25 per second, with key frames at these places.
    fn pictures(count: usize, keys: &[usize]) -> Vec<Picture> {
        let number = |index| keys.iter().position(|key| *key == index).map(|at| at as u32);
        (0..count).map(|index| Picture { pts: index as i64, size: 1000, key: number(index) }).collect()
    }

    fn ends(pictures: &[Picture]) -> Vec<usize> {
        divide(pictures, BASE, VideoCodec::H264).iter().map(|span| span.end).collect()
    }

    #[test]
    fn every_picture_is_in_one_chunk_and_chunks_keep_their_length() {
        for (count, keys) in [
            (1, vec![0]),
            (60, vec![0]),
            (5000, vec![0]),
            (528, vec![0, 132, 264, 396]),
            (3000, (0..3000).step_by(10).collect()),
            (100_000, (0..100_000).step_by(250).collect()),
            (2000, vec![0, 3, 4, 5, 900, 901, 1999]),
        ] {
            let pictures = pictures(count, &keys);
            let spans = divide(&pictures, BASE, VideoCodec::H264);
            assert_eq!((spans[0].first, spans[spans.len() - 1].end), (0, count));
            assert!(spans.windows(2).all(|pair| pair[0].end == pair[1].first), "{count}: {spans:?}");
            for span in &spans {
                let seconds = (span.end - span.first) as f64 / 25.0;
                assert!(spans.len() == 1 || seconds >= SHORTEST, "{count}: {span:?}");
                assert!(keys[span.key as usize] <= span.first, "{count}: {span:?}");
                assert!(keys.get(span.key as usize + 1).is_none_or(|next| *next > span.first), "{count}: {span:?}");
            }
        }
    }

    #[test]
    fn boundaries_go_to_early_keys_then_to_spikes_then_to_any_key() {
        // Key frames every 50 pictures, one of them early.
        let regular: Vec<usize> = (0..500).step_by(50).collect();
        assert_eq!(ends(&pictures(500, &regular))[0], 50);
        let mut early = regular;
        early.insert(2, 75);
        assert_eq!(ends(&pictures(500, &early))[0], 75);
        let mut spiked = pictures(500, &[0, 250]);
        spiked[58].size = 20_000;
        assert_eq!(ends(&spiked)[0], 58);
        assert_eq!(ends(&pictures(500, &[0]))[0], 62, "nothing better than the wanted length");
    }

    #[test]
    fn a_long_way_behind_a_key_frame_only_another_one_divides() {
        let spans = divide(&pictures(4000, &[0, 3000]), BASE, VideoCodec::H264);
        let far = spans.iter().find(|span| span.first < 3000 && span.end == 3000).unwrap();
        assert!(far.first as f64 / 25.0 <= FARTHEST, "{spans:?}");
    }
}
