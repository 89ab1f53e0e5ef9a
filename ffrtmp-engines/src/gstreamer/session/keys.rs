//! Which pictures become key frames: those at each multiple of the interval, and those that were
//! asked for. It is decided once, when a picture is pushed, so that all renditions have theirs at
//! the same times.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use ffrtmp_core::plan::Gop;

/// A picture that comes this much too early still belongs to the multiple that it was meant for:
/// sums of rounded durations fall short.
const SLACK: u64 = 500_000;
/// Marks that wait for their pictures; more than any queue holds.
const MOST_MARKS: usize = 256;

/// When a rendition is due for a key frame. Times are running times in nanoseconds.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Option<u64>,
    last: Option<u64>,
}

impl Schedule {
    pub(super) fn of(gop: Gop) -> Self {
        let interval = match gop {
            Gop::Free | Gop::AtMost(_) => None,
            Gop::Fixed(interval) | Gop::FixedAndCuts(interval) => Some((interval.value() * 1e9).round() as u64),
        };
        Self { interval: interval.filter(|interval| *interval > 0), last: None }
    }

    /// Whether the picture at this time is the first one of its interval.
    pub(super) fn is_due(&mut self, time: u64) -> bool {
        let Some(interval) = self.interval else { return false };
        let multiple = (time + SLACK) / interval;
        let due = self.last.is_none_or(|last| multiple > last);
        if due {
            self.last = Some(multiple);
        }
        due
    }

    pub(super) const fn is_free(&self) -> bool {
        self.interval.is_none()
    }
}

/// Times of pictures that were decided on and have not come by yet.
#[derive(Debug, Default)]
pub(super) struct Marks(Mutex<VecDeque<u64>>);

impl Marks {
    pub(super) fn put(&self, time: u64) {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.len() == MOST_MARKS {
            marks.pop_front();
        }
        marks.push_back(time);
    }

    /// Whether the picture of this time is marked: it is the first one at or after a mark.
    pub(super) fn take(&self, time: u64) -> bool {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = marks.iter().take_while(|mark| **mark <= time).count();
        marks.drain(..passed);
        passed > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(seconds: f64, times: impl Iterator<Item = u64>) -> Vec<u64> {
        let mut schedule = Schedule::of(Gop::Fixed(seconds.try_into().unwrap()));
        times.filter(|time| schedule.is_due(*time)).collect()
    }

    #[test]
    fn multiples_are_found() {
        let at = |rate: u64| move |index: u64| index * 1_000_000_000 / rate;
        assert_eq!(keys(2.0, (0..101).map(at(25))), [0, 2_000_000_000, 4_000_000_000]);
        // Sums of rounded durations.
        assert_eq!(keys(1.0, (0..61).map(|index| index * 33_333_333)), [0, 999_999_990, 1_999_999_980]);
        // It begins in the middle, and a gap leaves one out.
        assert_eq!(
            keys(1.0, [1_500, 1_900, 2_040, 2_100, 5_500, 5_990, 6_000].map(|ms| ms * 1_000_000).into_iter()),
            [1_500_000_000, 2_040_000_000, 5_500_000_000, 6_000_000_000]
        );
        assert!(Schedule::of(Gop::Free).is_free());
    }

    #[test]
    fn a_mark_is_met_once() {
        let marks = Marks::default();
        marks.put(40);
        marks.put(50);
        assert!(!marks.take(39));
        assert!(marks.take(60));
        assert!(!marks.take(61));
    }
}
