//! Where another scene begins, found once for all renditions.
//!
//! The measure is that of libav's `scdet`: the mean difference of light to the picture before, and
//! by how much that mean itself jumps; the smaller of the two says whether the scene changed. A
//! pan moves both pictures alike, a flash is a jump back as well.

use super::super::sys::{Frame, Luma};

/// Score from which on a scene is another one, in per cent of the brightest light.
const THRESHOLD: f64 = 10.0;
/// Every so manieth sample across and down is looked at in a picture of 1080 lines.
const STEP: usize = 8;
/// Samples that are enough in a small picture.
const ENOUGH: usize = 64;

/// Compares each picture with the one before it.
#[derive(Debug, Default)]
pub(in super::super) struct Cuts {
    before: Vec<u8>,
    now: Vec<u8>,
    difference: f64,
}

impl Cuts {
    /// Whether this picture begins another scene than the one before. The first one does not, nor
    /// does a picture whose light does not lie in memory.
    pub(in super::super) fn begins(&mut self, frame: &Frame) -> bool {
        frame.luma().is_some_and(|luma| self.score(luma) >= THRESHOLD)
    }

    fn score(&mut self, luma: Luma<'_>) -> f64 {
        let step = (luma.width.min(luma.height) / ENOUGH).clamp(1, STEP);
        let shift = luma.depth.saturating_sub(8);
        self.now.clear();
        for line in (0..luma.height).step_by(step) {
            self.now.extend(luma.samples(line, step).map(|light| (light >> shift).min(255) as u8));
        }
        std::mem::swap(&mut self.before, &mut self.now);
        if self.before.len() != self.now.len() {
            return 0.0;
        }
        let sum: u64 = self.before.iter().zip(&self.now).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let difference = sum as f64 * 100.0 / (255.0 * self.now.len().max(1) as f64);
        let jump = (difference - self.difference).abs();
        self.difference = difference;
        difference.min(jump)
    }
}
