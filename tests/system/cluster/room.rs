//! How many clusters may run at once, so that tests do not starve each other.

use std::sync::{Condvar, Mutex, PoisonError};

static TAKEN: Mutex<usize> = Mutex::new(0);
static FREED: Condvar = Condvar::new();

/// A share of the machine, given back when dropped.
#[derive(Debug)]
pub(crate) struct Room(usize);

impl Room {
    /// A share that leaves room for others on a machine with more than three cores.
    pub(crate) fn some() -> Self {
        Self::take(1)
    }

    /// The whole machine, for measurements.
    pub(crate) fn all() -> Self {
        Self::take(shares())
    }

    fn take(wanted: usize) -> Self {
        let taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |taken: &mut usize| *taken + wanted > shares();
        let mut taken = FREED.wait_while(taken, full).unwrap_or_else(PoisonError::into_inner);
        *taken += wanted;
        Self(wanted)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        *TAKEN.lock().unwrap_or_else(PoisonError::into_inner) -= self.0;
        FREED.notify_all();
    }
}

fn shares() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).max(1)
}
