//! Who of several masters looks after what happens by the passing of time, and what time it is.
//!
//! Every master asks the store; one leads. The others move their clocks to the leader's, so that a
//! lease given by one master means the same to all. A master that takes the lead without having
//! heard a leader lately knows neither how long nobody reaped nor by whose clock the leases were
//! given: it renews them all once. One that followed goes on where its predecessor ended, so a node
//! that died with the leader is missed no later.

use std::sync::PoisonError;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::error::Result;
use crate::job::JobState;
use crate::lifecycle::JobCommand;
use crate::policy::retry;
use crate::store::Lead;

use super::Coordinator;

/// Between looks for a leader at start.
const LISTEN: Duration = Duration::from_millis(100);
/// Looks until a leader that says nothing is no longer waited for.
const LISTEN_LOOKS: u32 = 30;

/// The place of a master among the masters on its store.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Its term, if it leads.
    term: Option<Term>,
    /// When it last heard a leader, itself included.
    heard: Option<Timestamp>,
}

/// The time that one master leads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Term {
    /// When it began.
    pub(super) since: Timestamp,
    /// Whether agents had a master to report to before.
    pub(super) continues: bool,
}

impl Term {
    /// From when on silence counts after a word at `last`: while no master was there, nobody could
    /// say anything.
    pub(super) fn heard_at(self, last: Timestamp) -> Timestamp {
        if self.continues { last } else { last.max(self.since) }
    }

    /// Whether a lease until then can be one of this term: when it began, it renewed all others.
    pub(super) fn gave(self, until: Option<Timestamp>) -> bool {
        self.continues || until.is_some_and(|until| until >= self.since)
    }
}

impl Coordinator {
    /// Finds this master's place among those on the store: learns the time from the leader, or
    /// leads. Call it before serving.
    ///
    /// # Errors
    /// `storage`.
    pub async fn join(&self) -> Result<()> {
        for _ in 0..LISTEN_LOOKS {
            if self.leads().await?.is_some() || self.place().heard.is_some() {
                return Ok(());
            }
            tokio::time::sleep(LISTEN).await;
        }
        tracing::warn!("another master leads and does not say what time it is; this one keeps its own");
        Ok(())
    }

    /// Whether this master looked after leases, nodes and old jobs when it last asked.
    #[must_use]
    pub fn is_leading(&self) -> bool {
        self.place().term.is_some()
    }

    /// Asks whether this master leads.
    pub(super) async fn leads(&self) -> Result<Option<Term>> {
        let newly = match self.store.lead(self.clock.glance()).await? {
            Lead::Leader { newly } => newly,
            Lead::Follower { time } => {
                self.follow(time);
                return Ok(None);
            }
        };
        let Place { term, heard } = self.place();
        let term = match term {
            Some(term) if !newly => term,
            _ => self.take_over(heard).await?,
        };
        *self.place_mut() = Place { term: Some(term), heard: Some(self.clock.glance()) };
        Ok(Some(term))
    }

    fn follow(&self, leader: Option<Timestamp>) {
        if let Some(time) = leader {
            self.clock.follow(time);
        }
        let heard = leader.map(|_| self.clock.glance());
        let mut place = self.place_mut();
        *place = Place { term: None, heard: heard.or(place.heard) };
    }

    /// Begins to lead. Agents of a predecessor that was heard lately could always report to this
    /// master; otherwise they have a lease time from now.
    async fn take_over(&self, heard: Option<Timestamp>) -> Result<Term> {
        self.settle_next_round();
        let now = self.now();
        if heard.is_some_and(|heard| now.since(heard) < self.settings.heartbeat_timeout / 2) {
            tracing::info!("this master leads and goes on where the last leader ended");
            return Ok(Term { since: now, continues: true });
        }
        let renewed = self.renew_leases().await?;
        let requeued = self.requeue_from_the_future().await?;
        tracing::info!(renewed, requeued, "this master leads; attempts under way have one lease time to be heard of");
        Ok(Term { since: now, continues: false })
    }

    /// Leases and backoffs that a clock far ahead of this one has set: they would not end for long.
    pub(super) async fn mend_stamps_from_the_future(&self) -> Result<()> {
        let latest = self.now() + self.settings.heartbeat_timeout * 2;
        let held = self.all_in(vec![JobState::Assigned, JobState::Running, JobState::Paused]).await?;
        let ahead = held.iter().filter(|job| job.lease_expires_at.is_some_and(|at| at > latest));
        self.store.apply(ahead.filter_map(|job| self.renewal_of(job)).collect(), self.now()).await?;
        self.requeue_from_the_future().await.map(drop)
    }

    /// Backoffs that a clock far ahead of this one has set.
    async fn requeue_from_the_future(&self) -> Result<u64> {
        let latest = self.now() + retry::MAX_DELAY;
        let mut requeued = 0;
        for job in self.all_in(vec![JobState::Retrying]).await? {
            if job.retry_at.is_some_and(|at| at > latest) {
                requeued += u64::from(self.unless_moved(job.id, JobCommand::Requeue).await?.is_some());
            }
        }
        Ok(requeued)
    }

    fn place(&self) -> Place {
        *self.place_mut()
    }

    fn place_mut(&self) -> std::sync::MutexGuard<'_, Place> {
        self.place.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
