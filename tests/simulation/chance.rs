//! Chance that is the same every time. Every part of the world has a stream of its own, so that one
//! part asking more often changes nothing for the others.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// SplitMix64 (Steele, Lea and Flood, 2014).
#[derive(Debug)]
pub(crate) struct Chance(Mutex<u64>);

impl Chance {
    /// The stream of `who` in the world of `seed`.
    pub(crate) fn of(seed: u64, who: &str) -> Self {
        let mixed = who.bytes().fold(seed ^ 0xcbf2_9ce4_8422_2325, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(23)
        });
        Self(Mutex::new(mixed))
    }

    pub(crate) fn next(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (*state ^ (*state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// `low..=high`.
    pub(crate) fn between(&self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    pub(crate) fn index(&self, length: usize) -> usize {
        (self.next() % length.max(1) as u64) as usize
    }

    pub(crate) fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        &of[self.index(of.len())]
    }

    /// True so many times in a thousand.
    pub(crate) fn hits(&self, per_mille: u64) -> bool {
        self.next() % 1000 < per_mille
    }

    /// So many milliseconds.
    pub(crate) fn ms(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}
