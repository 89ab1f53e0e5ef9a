//! The jobs that this master gave to nodes, so that their next change needs no read. The database
//! has the last word: every write compares the version, and a refusal is looked up before it is
//! told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::JobId;

use super::rows::Held;

/// How long after its lease a job that another master ended is still kept.
const GRACE: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Active(Mutex<HashMap<JobId, Arc<Held>>>);

impl Active {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a job out to be changed; it is remembered again once the change is stored.
    pub(super) fn take(&self, id: JobId) -> Option<Held> {
        self.jobs().remove(&id).map(Arc::unwrap_or_clone)
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
