//! The jobs that this master gave to nodes, so that their next change needs no read. The database
//! has the last word: every write compares the version, and a refusal is looked up before it is
//! told.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::JobId;

use super::rows::Held;

/// How long after its lease a job that another master ended is still kept.
const GRACE: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Active(Mutex<Jobs>);

type Jobs = HashMap<JobId, Arc<Held>, Digits>;

impl Active {
    /// The jobs. One that is taken out to be changed is remembered again once the change is stored.
    pub(super) fn jobs(&self) -> MutexGuard<'_, Jobs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers jobs that a node holds, as they are now stored.
    pub(super) fn keep(&self, stored: impl IntoIterator<Item = Arc<Held>>) {
        self.jobs().extend(stored.into_iter().map(|held| (held.record.job.id, held)));
    }

    /// Forgets what other masters must have ended.
    pub(super) fn prune(&self, now: Timestamp) {
        self.jobs().retain(|_, held| held.record.job.lease_expires_at.is_some_and(|end| end + GRACE > now));
    }
}

/// Hashes job ids, which are random already, by mixing their digits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Digits(u64);

impl BuildHasher for Digits {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        *self
    }
}

impl Hasher for Digits {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for part in bytes.chunks(8) {
            let mut digits = [0; 8];
            digits[..part.len()].copy_from_slice(part);
            let mixed = u128::from(self.0 ^ u64::from_le_bytes(digits)) * 0x9e37_79b9_7f4a_7c15;
            self.0 = (mixed as u64) ^ (mixed >> 64) as u64;
        }
    }
}
