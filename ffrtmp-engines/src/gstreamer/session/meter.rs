//! How long pictures are inside: from the push to the encoded form, kept as a histogram, so that
//! a session of a month takes no more memory than one of a minute.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Pictures whose arrival is remembered; more than any encoder holds back.
const REMEMBERED: usize = 512;
/// Classes of the histogram: each is 2 % wider than the one before, from 10 µs to 100 s.
const CLASSES: usize = 815;
const NARROWEST: f64 = 10e-6;
const WIDENING: f64 = 1.02;

/// Time that pictures spent inside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Latency {
    /// Pictures that were measured.
    pub pictures: u64,
    /// The median.
    pub p50: Duration,
    /// All but one in twenty.
    pub p95: Duration,
    /// The longest.
    pub most: Duration,
}

/// The times of a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencySummary {
    /// Of all renditions.
    pub all: Latency,
    /// Of each rendition, by name.
    pub renditions: Vec<(String, Latency)>,
}

/// When pictures arrived, by their time.
#[derive(Debug, Default)]
pub(super) struct Arrivals(VecDeque<(u64, Instant)>);

impl Arrivals {
    pub(super) fn note(&mut self, time: u64, arrived: Instant) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((time, arrived));
    }

    /// When the picture of this time arrived, or, where the rate was changed inside, the one before.
    pub(super) fn of(&self, time: u64) -> Option<Instant> {
        let after = self.0.partition_point(|(noted, _)| *noted <= time);
        after.checked_sub(1).and_then(|index| self.0.get(index)).map(|(_, arrived)| *arrived)
    }
}

/// Times, counted by class.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    counts: Vec<u32>,
    total: u64,
    most: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; CLASSES], total: 0, most: Duration::ZERO }
    }
}

impl Histogram {
    pub(super) fn add(&mut self, time: Duration) {
        let class = (time.as_secs_f64() / NARROWEST).max(1.0).log(WIDENING) as usize;
        let count = &mut self.counts[class.min(CLASSES - 1)];
        *count = count.saturating_add(1);
        self.total += 1;
        self.most = self.most.max(time);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (count, more) in self.counts.iter_mut().zip(&other.counts) {
            *count = count.saturating_add(*more);
        }
        self.total += other.total;
        self.most = self.most.max(other.most);
    }

    pub(super) fn summary(&self) -> Latency {
        Latency { pictures: self.total, p50: self.at(0.50), p95: self.at(0.95), most: self.most }
    }

    /// The middle of the class in which this share of all lies.
    fn at(&self, share: f64) -> Duration {
        let wanted = (self.total as f64 * share).ceil() as u64;
        let mut seen = 0;
        for (class, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted.max(1) {
                let middle = NARROWEST * WIDENING.powf(class as f64 + 0.5);
                return Duration::from_secs_f64(middle).min(self.most);
            }
        }
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_right_within_a_class() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.summary(), Latency::default());
        (1..=1000).for_each(|ms| histogram.add(Duration::from_millis(ms)));
        let Latency { pictures, p50, p95, most } = histogram.summary();
        assert_eq!((pictures, most), (1000, Duration::from_secs(1)));
        assert!((0.49..=0.51).contains(&p50.as_secs_f64()), "{p50:?}");
        assert!((0.93..=0.97).contains(&p95.as_secs_f64()), "{p95:?}");
    }

    #[test]
    fn arrivals_are_found_by_time() {
        let begun = Instant::now();
        let mut arrivals = Arrivals::default();
        (0..600).for_each(|index| arrivals.note(index * 40, begun + Duration::from_millis(index)));
        assert_eq!(arrivals.of(599 * 40 + 7), Some(begun + Duration::from_millis(599)));
        assert_eq!(arrivals.of(500 * 40), Some(begun + Duration::from_millis(500)));
        assert_eq!(arrivals.of(0), None);
    }
}
