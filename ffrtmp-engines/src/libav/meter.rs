//! Counts what an attempt does and tells the observer, also while an encoder is slow.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Observer, Progress};

/// Half of what the contract of `Observer::progress` allows.
const INTERVAL: Duration = Duration::from_millis(250);

/// Counters that the pipeline writes and the reporter reads.
pub(super) struct Meter {
    started: Instant,
    /// Length of the output in microseconds; 0 if it is not known.
    expected: AtomicU64,
    frames: AtomicU64,
    micros: AtomicU64,
    bytes: AtomicU64,
    /// Looks at the pictures that there are, and that are over.
    looks: AtomicU64,
    looked: AtomicU64,
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Meter {
    pub(super) fn new() -> Self {
        Self {
            started: Instant::now(),
            expected: AtomicU64::new(0),
            frames: AtomicU64::new(0),
            micros: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            looks: AtomicU64::new(1),
            looked: AtomicU64::new(0),
            ended: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    /// Runs the work while another thread reports; the last report is the final state.
    pub(super) fn watch<T>(&self, observer: &dyn Observer, work: impl FnOnce() -> T) -> T {
        thread::scope(|scope| {
            scope.spawn(|| self.report(observer));
            // Also when the work panics, or the scope would wait for ever.
            let _end = End(self);
            work()
        })
    }

    fn report(&self, observer: &dyn Observer) {
        let mut ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            observer.progress(self.progress());
            if *ended {
                return;
            }
            ended = self.changed.wait_timeout(ended, INTERVAL).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    pub(super) fn expect(&self, seconds: f64) {
        self.expected.store((seconds * 1e6) as u64, Ordering::Relaxed);
    }

    /// Length of the output in seconds; 0 if it is not known.
    pub(super) fn expected(&self) -> f64 {
        self.expected.load(Ordering::Relaxed) as f64 / 1e6
    }

    /// Everything will be looked at twice; this is the first time.
    pub(super) fn begin_first_look(&self) {
        self.looks.store(2, Ordering::Relaxed);
    }

    /// What counts begins now.
    pub(super) fn end_first_look(&self) {
        self.looked.store(1, Ordering::Relaxed);
        self.frames.store(0, Ordering::Relaxed);
        self.micros.store(0, Ordering::Relaxed);
    }

    pub(super) fn add_frame(&self) {
        self.frames.fetch_add(1, Ordering::Relaxed);
    }

    /// The output reaches to here at least.
    pub(super) fn reach(&self, seconds: f64) {
        self.micros.fetch_max((seconds * 1e6) as u64, Ordering::Relaxed);
    }

    /// Bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(super) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    fn progress(&self) -> Progress {
        let out_seconds = self.micros.load(Ordering::Relaxed) as f64 / 1e6;
        let expected = self.expected();
        let [looks, looked] = [&self.looks, &self.looked].map(|count| count.load(Ordering::Relaxed) as f64);
        Progress {
            percent: (expected > 0.0).then(|| (looked + (out_seconds / expected).clamp(0.0, 1.0)) / looks * 100.0),
            frames: self.frames.load(Ordering::Relaxed),
            out_seconds,
            speed: out_seconds / self.elapsed().as_secs_f64().max(1e-3),
            out_bytes: self.bytes.load(Ordering::Relaxed),
        }
    }
}

struct End<'a>(&'a Meter);

impl Drop for End<'_> {
    fn drop(&mut self) {
        *self.0.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.0.changed.notify_all();
    }
}
