//! Which lanes there are, and from where on each can have queued jobs.
//!
//! A claim that began at the front of a lane's index would walk over the remains of every job that
//! left it, for as long as any old snapshot keeps them. So each master remembers the lowest key
//! that can still be there: its claims raise it, its own submissions and the notifications of
//! other masters lower it, and a look from the front now and then finds what was missed.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ffrtmp_core::store::{Lane, Rank};

/// Row of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct LaneId(pub(super) i32);

/// A place in a lane: rank and sequence number.
pub(super) type Key = (i64, i64);

const FRONT: Key = (i64::MIN, i64::MIN);

/// A lane that may have queued jobs.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) id: LaneId,
    pub(super) lane: Arc<Lane>,
    pub(super) from: Key,
}

#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    ids: HashMap<Arc<Lane>, LaneId>,
    lanes: BTreeMap<LaneId, Standing>,
}

#[derive(Debug)]
struct Standing {
    lane: Arc<Lane>,
    /// The lowest key that can be queued; `None` if nothing is.
    from: Option<Key>,
    /// The lowest key that was announced since the scan under way began.
    announced: Option<Key>,
}

impl Lanes {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn id(&self, lane: &Lane) -> Option<LaneId> {
        self.inner().ids.get(lane).copied()
    }

    pub(super) fn lane(&self, id: LaneId) -> Option<Arc<Lane>> {
        self.inner().lanes.get(&id).map(|standing| Arc::clone(&standing.lane))
    }

    /// The lanes that pass, for lists.
    pub(super) fn matching(&self, pass: impl Fn(&Lane) -> bool) -> Vec<i32> {
        let inner = self.inner();
        inner.lanes.iter().filter(|(_, standing)| pass(&standing.lane)).map(|(id, _)| id.0).collect()
    }

    /// Takes a lane over from the database; it may have jobs.
    pub(super) fn learn(&self, id: LaneId, lane: Lane) {
        let lane = Arc::new(lane);
        let mut inner = self.inner();
        inner.ids.insert(Arc::clone(&lane), id);
        inner.lanes.entry(id).or_insert(Standing { lane, from: Some(FRONT), announced: Some(FRONT) });
    }

    pub(super) fn knows(&self, id: LaneId) -> bool {
        self.inner().lanes.contains_key(&id)
    }

    /// A job of this rank became ready.
    pub(super) fn announce(&self, id: LaneId, rank: Rank) {
        if let Some(standing) = self.inner().lanes.get_mut(&id) {
            standing.announce((rank.0, i64::MIN));
        }
    }

    /// Whether a claim would not see a job at this place.
    pub(super) fn is_behind(&self, id: LaneId, key: Key) -> bool {
        self.inner().lanes.get(&id).is_some_and(|standing| standing.from.is_none_or(|from| key < from))
    }

    /// Anything may have become ready.
    pub(super) fn announce_all(&self) {
        self.inner().lanes.values_mut().for_each(|standing| standing.announce(FRONT));
    }

    /// Begins a scan: the lanes that may have jobs and that pass. One scan at a time.
    pub(super) fn begin(&self, pass: impl Fn(&Lane) -> bool) -> Vec<Open> {
        let mut open = Vec::new();
        for (id, standing) in &mut self.inner().lanes {
            let Some(from) = standing.from.filter(|_| pass(&standing.lane)) else { continue };
            standing.announced = None;
            open.push(Open { id: *id, lane: Arc::clone(&standing.lane), from });
        }
        open
    }

    /// Ends a scan of a lane: what the scan saw begins at `from`, or there is nothing.
    pub(super) fn advance(&self, id: LaneId, from: Option<Key>) {
        if let Some(standing) = self.inner().lanes.get_mut(&id) {
            standing.from = lower(from, standing.announced);
        }
    }
}

impl Standing {
    fn announce(&mut self, key: Key) {
        self.from = lower(self.from, Some(key));
        self.announced = lower(self.announced, Some(key));
    }
}

/// The lower of two keys, where `None` is behind every key.
fn lower(one: Option<Key>, other: Option<Key>) -> Option<Key> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::id::TenantId;
    use ffrtmp_core::job::{EngineName, Queue};
    use ffrtmp_core::node::Requirements;

    use super::*;

    fn from(lanes: &Lanes) -> Option<Key> {
        lanes.begin(|_| true).first().map(|open| open.from)
    }

    #[test]
    fn what_is_announced_during_a_scan_is_not_forgotten() {
        let requirements = Requirements::engine(EngineName::Ffmpeg);
        let lane = Lane { requirements, tenant: TenantId::single(), queue: Queue::Default };
        let (lanes, id) = (Lanes::default(), LaneId(7));
        lanes.learn(id, lane);
        assert_eq!(from(&lanes), Some(FRONT));
        lanes.advance(id, Some((5, 3)));
        assert_eq!(from(&lanes), Some((5, 3)));
        lanes.announce(id, Rank(9));
        lanes.advance(id, None);
        assert_eq!(from(&lanes), Some((9, i64::MIN)), "a scan that saw nothing must not hide it");
        lanes.announce(id, Rank(2));
        lanes.advance(id, Some((9, 1)));
        assert_eq!(from(&lanes), Some((2, i64::MIN)));
        lanes.advance(id, None);
        assert_eq!(from(&lanes), None);
        lanes.announce(id, Rank(4));
        assert_eq!(from(&lanes), Some((4, i64::MIN)));
        lanes.announce_all();
        assert_eq!(from(&lanes), Some(FRONT));
    }
}
