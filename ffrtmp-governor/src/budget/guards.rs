//! Processes under limits, and the memory that they use of what is reserved.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Governed, ProcessLimits, Usage};

/// How long what a process uses is taken as true: it is read from many files.
const COUNT_EVERY: Duration = Duration::from_secs(1);

/// Every guard that lives.
#[derive(Default)]
pub(crate) struct Guards(Arc<Mutex<Living>>);

#[derive(Default)]
struct Living {
    next: u64,
    /// With the memory of each, if it was counted yet.
    guards: BTreeMap<u64, (Arc<dyn Governed>, Option<u64>)>,
    counted: Option<Instant>,
}

/// A guard that is counted while it lives.
struct CountedGuard {
    living: Arc<Mutex<Living>>,
    key: u64,
    inner: Arc<dyn Governed>,
}

impl Guards {
    /// Counts a guard from now on.
    pub(crate) fn counted(&self, inner: Arc<dyn Governed>) -> Box<dyn Governed> {
        let mut living = lock(&self.0);
        living.next += 1;
        let key = living.next;
        living.guards.insert(key, (Arc::clone(&inner), None));
        Box::new(CountedGuard { living: Arc::clone(&self.0), key, inner })
    }

    /// Bytes that all of them use, at their peaks.
    pub(crate) fn memory(&self) -> u64 {
        let Living { guards, counted, .. } = &mut *lock(&self.0);
        let recount = counted.is_none_or(|when| when.elapsed() >= COUNT_EVERY);
        if recount {
            *counted = Some(Instant::now());
        }
        let known = guards.values_mut().map(|(guard, bytes)| match bytes {
            Some(bytes) if !recount => *bytes,
            _ => *bytes.insert(guard.usage().peak_memory_bytes),
        });
        known.fold(0, u64::saturating_add)
    }
}

fn lock(living: &Mutex<Living>) -> MutexGuard<'_, Living> {
    living.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Governed for CountedGuard {
    fn usage(&self) -> Usage {
        self.inner.usage()
    }

    fn count(&self, cpu: Duration) {
        self.inner.count(cpu);
    }

    fn limit(&self, limits: &ProcessLimits) -> Result<bool> {
        self.inner.limit(limits)
    }

    fn freeze(&self, frozen: bool) -> Result<bool> {
        self.inner.freeze(frozen)
    }

    fn kill(&self) -> Result<bool> {
        self.inner.kill()
    }
}

impl Drop for CountedGuard {
    /// Leaves the last handle inside here, so that the limits are lifted when this returns and not
    /// by another thread that counts.
    fn drop(&mut self) {
        lock(&self.living).guards.remove(&self.key);
    }
}
