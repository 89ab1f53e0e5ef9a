//! The jobs that this master gave to nodes, so that their next change needs no read. The database
//! has the last word: every write compares the version, and a refusal is looked up before it is
//! told.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::JobId;

use super::rows::Held;
use crate::record::Phase;

/// How long after its lease a job that another master ended is still kept.
const GRACE: Duration = Duration::from_secs(300);

#[derive(Debug, Default)]
pub(super) struct Active(Mutex<HashMap<JobId, Arc<Held>>>);

impl Active {
    fn jobs(&self) -> MutexGuard<'_, HashMap<JobId, Arc<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn find(&self, id: JobId) -> Option<Arc<Held>> {
        self.jobs().get(&id).cloned()
    }

    /// Remembers jobs as they are now stored, and forgets those that no node holds any more.
    pub(super) fn keep(&self, stored: impl IntoIterator<Item = Arc<Held>>) {
        let mut jobs = self.jobs();
        for held in stored {
            let id = held.record.job.id;
            if held.phase() == Phase::Leased {
                jobs.insert(id, held);
            } else {
                jobs.remove(&id);
            }
        }
    }

    pub(super) fn forget(&self, ids: impl IntoIterator<Item = JobId>) {
        let mut jobs = self.jobs();
        for id in ids {
            jobs.remove(&id);
        }
    }

    /// Forgets what other masters must have ended.
    pub(super) fn prune(&self, now: Timestamp) {
        self.jobs().retain(|_, held| held.record.job.lease_expires_at.is_some_and(|end| end + GRACE > now));
    }
}
