//! Thumbnails: a number of pictures, evenly spread over a length that may turn out to be another
//! one than was expected, or that nobody knows before the end.

use std::sync::Arc;

use ffrtmp_core::error::Result;

use super::Size;
use super::files::Files;
use super::print::Printer;
use super::tap::Shown;

/// Where nobody asks for another one.
const WIDTH: u32 = 320;
/// Seconds between candidates at the beginning of a source of unknown length.
const FIRST_STEP: f64 = 0.1;

/// The width that is meant.
pub(super) fn width(wanted: Option<u32>) -> u32 {
    wanted.unwrap_or(WIDTH)
}

/// Takes candidates and chooses among them at the end.
pub(super) struct Thumbnails {
    width: u32,
    size: Option<Size>,
    candidates: Candidates<Arc<[u8]>>,
    printer: Printer,
    /// When the picture was shown that was printed last.
    printed: Option<(f64, Arc<[u8]>)>,
}

impl Thumbnails {
    pub(super) fn new(count: u32, wanted: Option<u32>, expected: Option<f64>) -> Self {
        let count = count.max(1) as usize;
        let step = expected.map_or(FIRST_STEP, |seconds| seconds / count as f64);
        Self {
            width: width(wanted),
            size: None,
            candidates: Candidates::new(count, step),
            printer: Printer::default(),
            printed: None,
        }
    }

    pub(super) fn due(&self) -> f64 {
        self.candidates.due()
    }

    pub(super) fn take(&mut self, shown: &Shown) -> Result<()> {
        let picture = match &self.printed {
            Some((seconds, picture)) if *seconds == shown.seconds => Arc::clone(picture),
            _ => {
                let size = *self.size.get_or_insert_with(|| shown.fitted(self.width));
                Arc::from(self.printer.print(&shown.frame, size)?)
            }
        };
        self.printed = Some((shown.seconds, Arc::clone(&picture)));
        self.candidates.add(picture);
        Ok(())
    }

    pub(super) fn finish(mut self, last: &Shown, end: f64, files: &mut Files) -> Result<()> {
        if self.candidates.is_empty() {
            self.take(last)?;
        }
        let digits = self.candidates.wanted.to_string().len().max(2);
        for (index, picture) in self.candidates.choose(end).into_iter().enumerate() {
            files.write(&format!("thumb_{:0digits$}.jpg", index + 1), picture)?;
        }
        Ok(())
    }
}

/// Pictures in the middle of equal steps. When there are three times as many as wanted, the steps
/// become three times as long and two of three pictures go: the middle one of three steps is in the
/// middle of the long one.
struct Candidates<T> {
    wanted: usize,
    step: f64,
    kept: Vec<T>,
}

impl<T> Candidates<T> {
    fn new(wanted: usize, step: f64) -> Self {
        Self { wanted, step, kept: Vec::new() }
    }

    fn middle(&self, index: usize) -> f64 {
        (index as f64 + 0.5) * self.step
    }

    fn due(&self) -> f64 {
        self.middle(self.kept.len())
    }

    fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    fn add(&mut self, picture: T) {
        self.kept.push(picture);
        if self.kept.len() >= 3 * self.wanted {
            self.kept = self.kept.drain(..).skip(1).step_by(3).collect();
            self.step *= 3.0;
        }
    }

    /// For each equal part of the whole length the picture nearest to its middle.
    fn choose(&self, length: f64) -> Vec<&T> {
        let part = length / self.wanted as f64;
        let nearest = |target: f64| ((target / self.step - 0.5).round().max(0.0) as usize).min(self.kept.len() - 1);
        (0..self.wanted).map(|index| &self.kept[nearest((index as f64 + 0.5) * part)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(wanted: usize, step: f64, length: f64) -> (Vec<f64>, usize) {
        let mut candidates = Candidates::new(wanted, step);
        let mut most = 0;
        while candidates.due() < length {
            candidates.add(candidates.due());
            most = most.max(candidates.kept.len());
        }
        (candidates.choose(length).into_iter().copied().collect(), most)
    }

    #[test]
    fn an_expected_length_gives_the_middles_of_equal_parts() {
        let (chosen, taken) = times(4, 2.5, 10.0);
        assert_eq!((chosen, taken), (vec![1.25, 3.75, 6.25, 8.75], 4));
    }

    /// Whatever the length turns out to be, they are distinct and less than half a part off.
    #[test]
    fn an_unknown_length_gives_nearly_the_same() {
        for length in [2.0, 3.1, 59.0, 3600.0, 172_800.0] {
            for wanted in [1, 2, 10, 99] {
                let (chosen, most) = times(wanted, FIRST_STEP, length);
                assert!(most <= 3 * wanted, "{length} {wanted}");
                if length < FIRST_STEP * wanted as f64 {
                    continue;
                }
                let part = length / wanted as f64;
                for (index, time) in chosen.iter().enumerate() {
                    let meant = (index as f64 + 0.5) * part;
                    assert!((time - meant).abs() <= part / 2.0 + 1e-6, "{length} {wanted}: {time} for {meant}");
                    assert!(index == 0 || *time > chosen[index - 1], "{length} {wanted}: {chosen:?}");
                }
            }
        }
    }
}
