//! Encode sessions set aside for attempts.
//!
//! A driver shows a session only once an encoder is open, seconds after it was set aside, and does
//! not say whose it is. So the pool counts what it gave out and estimates what others hold: of
//! `shown` sessions at least `shown − own` and at most `shown` are theirs, and within these bounds
//! the estimate stays what it was. It is exact whenever no session of ours is about to open, and
//! errs for a moment only while one is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ffrtmp_core::node::{EncodeBound, Gpu, GpuTelemetry};
use ffrtmp_core::policy::gpu::Candidate;

use super::{Fleet, GpuRule, Look, Refusal};

/// Gives out encode sessions of the cards of a machine. Clones share what is given out.
///
/// Where cards of several makers are there, only those of the first with an encoder are given out:
/// an index says which card an encoder opens, and encoders of one maker know only its own cards.
#[derive(Clone, Debug)]
pub struct Pool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    fleet: Arc<Fleet>,
    rule: GpuRule,
    held: Mutex<Held>,
}

/// What is given out and what others seem to hold, by index of the card.
#[derive(Debug, Default)]
struct Held {
    cards: BTreeMap<u32, Sessions>,
    /// The look of the last estimate.
    seen: Option<Instant>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sessions {
    own: u32,
    /// Most of ours since the last estimate: one that has just ended may still be shown.
    peak: u32,
    others: u32,
}

/// An encode session on a card; dropped, it is free again.
#[derive(Debug)]
pub struct GpuLease {
    index: u32,
    shared: Arc<Shared>,
}

impl GpuLease {
    /// The index of the card.
    #[must_use]
    pub const fn index(&self) -> u32 {
        self.index
    }
}

impl Drop for GpuLease {
    fn drop(&mut self) {
        let mut held = self.shared.held();
        let sessions = held.cards.entry(self.index).or_default();
        sessions.own = sessions.own.saturating_sub(1);
    }
}

impl Pool {
    /// Gives out the sessions of these cards by this rule.
    #[must_use]
    pub fn new(fleet: Arc<Fleet>, rule: GpuRule) -> Self {
        Self { shared: Arc::new(Shared { fleet, rule, held: Mutex::default() }) }
    }

    /// Sets a session aside on the card that the rule chooses. Takes a quarter of a second at most.
    ///
    /// # Errors
    /// Why each card takes none.
    pub fn reserve(&self) -> Result<GpuLease, Refusal> {
        self.decide(|rule, candidates, held| {
            let index = rule.choose(candidates)?;
            let sessions = held.entry(index).or_default();
            sessions.own = sessions.own.saturating_add(1);
            sessions.peak = sessions.peak.max(sessions.own);
            Ok(GpuLease { index, shared: Arc::clone(&self.shared) })
        })
    }

    /// Why [`Self::reserve`] would refuse now; sets nothing aside.
    #[must_use]
    pub fn refusal(&self) -> Option<Refusal> {
        self.decide(|rule, candidates, _| rule.choose(candidates).err())
    }

    /// Sessions that are left; `u32::MAX` where nothing bounds them.
    #[must_use]
    pub fn free_sessions(&self) -> u32 {
        self.decide(|rule, candidates, _| rule.free_sessions(candidates))
    }

    /// The cards.
    #[must_use]
    pub fn fleet(&self) -> &Arc<Fleet> {
        &self.shared.fleet
    }

    /// The look comes before the lock: a driver that hangs holds nobody up who gives back.
    fn decide<R>(&self, decide: impl FnOnce(&GpuRule, &[Candidate<'_>], &mut BTreeMap<u32, Sessions>) -> R) -> R {
        let look = self.shared.fleet.look();
        let mut held = self.shared.held();
        held.estimate(&look);
        let cards = given_out(self.shared.fleet.cards());
        let candidates: Vec<_> = cards
            .filter_map(|gpu| {
                let now = look.cards.iter().find(|now| now.index == gpu.index)?;
                let sessions = held.cards.get(&gpu.index).copied().unwrap_or_default();
                Some(Candidate { gpu, now, sessions: sessions.own.saturating_add(sessions.others) })
            })
            .collect();
        decide(&self.shared.rule, &candidates, &mut held.cards)
    }
}

impl Shared {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn estimate(&mut self, look: &Look) {
        // A look that was overtaken by a later one says nothing any more.
        if self.seen.is_some_and(|seen| look.at <= seen) {
            return;
        }
        self.seen = Some(look.at);
        for now in &look.cards {
            self.cards.entry(now.index).or_default().estimate(now);
        }
    }
}

impl Sessions {
    fn estimate(&mut self, now: &GpuTelemetry) {
        if let Some(shown) = now.encode_sessions {
            self.others = self.others.clamp(shown.saturating_sub(self.peak), shown);
        }
        self.peak = self.own;
    }
}

/// The cards of the first maker with an encoder; all if none has one, so that each has its reason.
fn given_out(cards: &[Gpu]) -> impl Iterator<Item = &Gpu> {
    let first = cards.iter().find(|card| card.encode_bound != EncodeBound::None).map(|card| card.vendor.as_str());
    cards.iter().filter(move |card| first.is_none_or(|vendor| card.vendor == vendor))
}
