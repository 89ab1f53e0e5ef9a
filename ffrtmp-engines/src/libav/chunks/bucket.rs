//! The buffer of a decoder, carried across chunks.
//!
//! Encoders of chunks know nothing of each other: each begins with a buffer as full as encoders
//! begin with. Whether that was too optimistic is found by filling and draining the buffer with the
//! pictures as they were coded (ITU-T H.264 annex C, leaky bucket); a chunk that would empty it is
//! encoded again from the fullness that it really finds.

use ffrtmp_core::plan::{RateControl, Vbv, VideoEncode};

/// How full the buffer is when an encode begins, as a share: what x264 and x265 take.
pub(super) const USUAL: f64 = 0.9;
/// The least fullness that an encoder is told; with less it could not write a key frame at all.
const LEAST: f64 = 0.1;
/// Differences below this share of the buffer are rounding.
const SLACK: f64 = 0.001;

/// A buffer that fills at a steady rate and gives a picture at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Bucket {
    /// Bits per second.
    rate: f64,
    /// Bits.
    size: f64,
    /// Bits in it.
    level: f64,
}

/// Tells an encoder how full the buffer is when it begins, as a share.
pub(in crate::libav) fn fullness(plan: &VideoEncode, share: f64) -> Option<(String, String)> {
    let bucket = Bucket::of(plan)?;
    Some(("rc_init_occupancy".to_owned(), ((bucket.size * share) as u64).to_string()))
}

/// What a chunk did to the buffer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Passage {
    /// It kept the buffer.
    Kept,
    /// It would have emptied it; to be encoded again from this fullness, as a share.
    Again(f64),
}

impl Bucket {
    /// The buffer of a rendition that has one and is not an average over the whole.
    pub(super) fn of(plan: &VideoEncode) -> Option<Self> {
        match plan.rate {
            RateControl::Quality { cap: Some(vbv), .. } => Some(Self::new(vbv)),
            _ => None,
        }
    }

    fn new(vbv: Vbv) -> Self {
        let (rate, size) = (vbv.max_rate.bps() as f64, vbv.buffer.bps() as f64);
        Self { rate, size, level: size * USUAL }
    }

    /// Takes the pictures of a chunk in decoding order, as pairs of bytes and seconds until the next
    /// one; `began` is the fullness that its encoder was told.
    pub(super) fn pass(&mut self, pictures: impl Iterator<Item = (u64, f64)>, began: f64) -> Passage {
        let start = (self.level / self.size).clamp(LEAST, 1.0);
        let mut level = self.level;
        let mut lowest = f64::INFINITY;
        for (bytes, seconds) in pictures {
            level -= bytes as f64 * 8.0;
            lowest = lowest.min(level);
            level = (level + self.rate * seconds).min(self.size);
        }
        if lowest < -SLACK * self.size && start + SLACK < began {
            return Passage::Again(start);
        }
        // What is still too much cannot be mended; the next chunk pays for it.
        self.level = level.max(0.0);
        Passage::Kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A megabit per second into a buffer of one, 25 pictures per second.
    fn bucket() -> Bucket {
        Bucket { rate: 1e6, size: 1e6, level: 0.9e6 }
    }

    fn pictures(first: u64, rest: u64, count: usize) -> impl Iterator<Item = (u64, f64)> {
        std::iter::once((first, 0.04)).chain(std::iter::repeat_n((rest, 0.04), count))
    }

    #[test]
    fn a_chunk_that_empties_what_it_finds_is_encoded_again_from_there() {
        let mut bucket = bucket();
        // 0.9 of the buffer in the first picture, then just what comes in.
        assert_eq!(bucket.pass(pictures(100_000, 5_000, 50), USUAL), Passage::Kept);
        assert!((bucket.level - 0.14e6).abs() < 1.0, "{bucket:?}");
        let before = bucket;
        let Passage::Again(start) = bucket.pass(pictures(100_000, 5_000, 50), USUAL) else { panic!("kept") };
        assert!((start - 0.14).abs() < 1e-6, "{start}");
        assert_eq!(bucket, before, "nothing has passed");
        assert_eq!(bucket.pass(pictures(15_000, 5_000, 50), start), Passage::Kept);
        assert!((bucket.level - 0.06e6).abs() < 1.0, "{bucket:?}");
    }

    #[test]
    fn a_calm_chunk_fills_the_buffer_up_to_its_size() {
        let mut bucket = bucket();
        assert_eq!(bucket.pass(pictures(10_000, 100, 500), USUAL), Passage::Kept);
        assert!((bucket.level - 1e6).abs() < 1.0, "{bucket:?}");
    }

    #[test]
    fn an_encode_that_cannot_be_mended_ends_the_trying() {
        let mut bucket = Bucket { level: 0.0, ..bucket() };
        assert_eq!(bucket.pass(pictures(200_000, 5_000, 5), LEAST), Passage::Kept);
        assert_eq!(bucket.level, 0.0);
    }
}
