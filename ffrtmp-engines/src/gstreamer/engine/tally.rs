//! Counts of what was encoded, for progress, for the report and for the check of recordings.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ffrtmp_core::engine::Progress;
use gstreamer as gst;

/// What was encoded along one track; times in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) packets: u64,
    pub(super) bytes: u64,
    pub(super) first: Option<u64>,
    pub(super) end: u64,
    pub(super) longest: u64,
}

impl Tally {
    pub(super) fn add(&mut self, buffer: &gst::BufferRef) {
        self.packets += 1;
        self.bytes += buffer.size() as u64;
        let duration = buffer.duration().map_or(0, gst::ClockTime::nseconds);
        self.longest = self.longest.max(duration);
        if let Some(pts) = buffer.pts().map(gst::ClockTime::nseconds) {
            self.first = Some(self.first.map_or(pts, |first| first.min(pts)));
            self.end = self.end.max(pts + duration);
        }
    }

    /// Seconds from the first packet to the end of the last one.
    pub(super) fn seconds(&self) -> f64 {
        self.first.map_or(0.0, |first| seconds(self.end.saturating_sub(first)))
    }
}

/// Nanoseconds as seconds.
pub(super) fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Counters that the pipelines write and the reporter reads.
#[derive(Debug)]
pub(super) struct Meter {
    started: Instant,
    /// Length of the output in nanoseconds; 0 if it is not known.
    expected: AtomicU64,
    frames: AtomicU64,
    reached: AtomicU64,
    bytes: AtomicU64,
}

impl Meter {
    pub(super) fn start() -> Self {
        let zero = || AtomicU64::new(0);
        Self { started: Instant::now(), expected: zero(), frames: zero(), reached: zero(), bytes: zero() }
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn expect(&self, seconds: f64) {
        self.expected.store((seconds * 1e9) as u64, Ordering::Relaxed);
    }

    pub(super) fn add_frame(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// Encoded media reaches to here at least.
    pub(super) fn reach(&self, nanos: u64) {
        self.reached.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(super) fn reached(&self) -> Duration {
        Duration::from_nanos(self.reached.load(Ordering::Relaxed))
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn progress(&self) -> Progress {
        let out_seconds = self.reached().as_secs_f64();
        let expected = seconds(self.expected.load(Ordering::Relaxed));
        Progress {
            percent: (expected > 0.0).then(|| (out_seconds / expected).clamp(0.0, 1.0) * 100.0),
            frames: self.frames.load(Ordering::Relaxed),
            out_seconds,
            speed: out_seconds / self.elapsed().as_secs_f64().max(1e-3),
            out_bytes: self.bytes(),
        }
    }
}
