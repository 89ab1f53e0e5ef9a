//! Where every job stands, in memory, so that no claim, no look at the clock and no metric has to
//! search: the lanes with their queues, the ends of leases and backoffs, encode sessions, the tally.
//!
//! A store that has all changes to itself keeps one: it must see every change exactly once, and
//! whoever takes a change back says the same change the other way round. No job is in it, only
//! numbers, and no rule of how a job changes.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::ops::Bound;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::NodeId;
use ffrtmp_core::job::Job;
use ffrtmp_core::store::{ClaimOrder, Counts, Lane, LaneStanding, Rank};

use crate::record::Phase;
use crate::room::Room;
use crate::tally::{Cell, Tally};

/// Number of a lane, from 0 without gaps in the order in which they were opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LaneId(pub(crate) u32);

/// Where a job stands, as far as the ledger counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) sequence: u64,
    pub(crate) cell: Cell,
    pub(crate) phase: Phase,
    pub(crate) lane: LaneId,
    pub(crate) rank: Rank,
    /// Who holds it.
    pub(crate) node: Option<NodeId>,
    /// When its lease or its backoff is over.
    pub(crate) until: Option<Timestamp>,
}

impl Place {
    pub(crate) fn of(job: &Job, lane: LaneId, rank: Rank) -> Self {
        let phase = Phase::from(job);
        let until = match phase {
            Phase::Leased => job.lease_expires_at,
            Phase::Backoff => job.retry_at,
            _ => None,
        };
        let node = job.node_id.filter(|_| phase == Phase::Leased);
        Self { sequence: job.sequence_number, cell: Cell::from(job), phase, lane, rank, node, until }
    }
}

/// Something whose time has come, by sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Over {
    Lease(u64),
    Backoff(u64),
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    tally: Tally,
    lanes: Vec<Standing>,
    by_lane: HashMap<Lane, LaneId>,
    /// Lanes with queued or active jobs.
    busy: BTreeSet<LaneId>,
    /// Active jobs that take an encode session, by node.
    sessions: HashMap<NodeId, u32>,
    leases: BTreeSet<(Timestamp, u64)>,
    backoffs: BTreeSet<(Timestamp, u64)>,
}

#[derive(Debug)]
struct Standing {
    lane: Lane,
    queued: BTreeSet<(Rank, u64)>,
    active: u64,
}

impl Ledger {
    /// The number of a lane, if it was opened.
    pub(crate) fn lane(&self, lane: &Lane) -> Option<LaneId> {
        self.by_lane.get(lane).copied()
    }

    /// The lane with this number.
    pub(crate) fn lane_of(&self, id: LaneId) -> Option<&Lane> {
        self.lanes.get(id.0 as usize).map(|standing| &standing.lane)
    }

    /// Opens a lane that is not open yet.
    pub(crate) fn open_lane(&mut self, lane: Lane) -> LaneId {
        let id = LaneId(u32::try_from(self.lanes.len()).unwrap_or(u32::MAX));
        self.by_lane.insert(lane.clone(), id);
        self.lanes.push(Standing { lane, queued: BTreeSet::new(), active: 0 });
        id
    }

    /// How many lanes were opened.
    pub(crate) fn lanes_opened(&self) -> usize {
        self.lanes.len()
    }

    /// Forgets the lanes that were opened after there were `count`. No job may stand in them.
    pub(crate) fn close_lanes(&mut self, count: usize) {
        for standing in self.lanes.drain(count.min(self.lanes.len())..) {
            self.by_lane.remove(&standing.lane);
        }
    }

    /// Counts jobs that have ended before: they have no place.
    pub(crate) fn count(&mut self, cell: Cell, jobs: u64) {
        self.tally.add(cell, jobs);
    }

    /// A job came, went or changed.
    pub(crate) fn moved(&mut self, from: Option<&Place>, to: Option<&Place>) {
        if let (Some(from), Some(to)) = (from, to)
            && from.phase == Phase::Leased
            && (from.phase, from.lane, from.node) == (to.phase, to.lane, to.node)
        {
            return self.stayed(from, to);
        }
        if let Some(from) = from {
            self.tally.remove(from.cell);
            self.leave(from);
        }
        if let Some(to) = to {
            self.tally.add(to.cell, 1);
            self.join(to);
        }
    }

    /// An attempt goes on.
    fn stayed(&mut self, from: &Place, to: &Place) {
        if from.cell != to.cell {
            self.tally.remove(from.cell);
            self.tally.add(to.cell, 1);
        }
        if from.until != to.until {
            from.until.map(|at| self.leases.remove(&(at, from.sequence)));
            self.leases.extend(to.until.map(|at| (at, to.sequence)));
        }
    }

    fn join(&mut self, place: &Place) {
        let until = place.until.map(|at| (at, place.sequence));
        match place.phase {
            Phase::Ready => {
                if let Some(standing) = self.lanes.get_mut(place.lane.0 as usize) {
                    standing.queued.insert((place.rank, place.sequence));
                    self.busy.insert(place.lane);
                }
            }
            Phase::Leased => {
                self.leases.extend(until);
                let Some(standing) = self.lanes.get_mut(place.lane.0 as usize) else { return };
                standing.active += 1;
                self.busy.insert(place.lane);
                if let Some(node) = place.node.filter(|_| standing.lane.requirements.gpu) {
                    *self.sessions.entry(node).or_default() += 1;
                }
            }
            Phase::Backoff => self.backoffs.extend(until),
            Phase::Waiting | Phase::Held | Phase::Ended => {}
        }
    }

    fn leave(&mut self, place: &Place) {
        let until = place.until.map(|at| (at, place.sequence));
        match place.phase {
            Phase::Ready => self.step_out(place, |standing| {
                standing.queued.remove(&(place.rank, place.sequence));
            }),
            Phase::Leased => {
                until.map(|at| self.leases.remove(&at));
                self.step_out(place, |standing| standing.active = standing.active.saturating_sub(1));
                let takes_session = self.lane_of(place.lane).is_some_and(|lane| lane.requirements.gpu);
                if let Some(node) = place.node.filter(|_| takes_session)
                    && let Some(sessions) = self.sessions.get_mut(&node)
                {
                    *sessions = sessions.saturating_sub(1);
                }
            }
            Phase::Backoff => {
                until.map(|at| self.backoffs.remove(&at));
            }
            Phase::Waiting | Phase::Held | Phase::Ended => {}
        }
    }

    fn step_out(&mut self, place: &Place, step: impl FnOnce(&mut Standing)) {
        let Some(standing) = self.lanes.get_mut(place.lane.0 as usize) else { return };
        step(standing);
        if standing.queued.is_empty() && standing.active == 0 {
            self.busy.remove(&place.lane);
        }
    }

    /// The jobs that a claim gets, best first.
    pub(crate) fn heads(&self, order: &ClaimOrder) -> Vec<u64> {
        let sessions = self.sessions.get(&order.node).copied().unwrap_or(0);
        let mut room = Room::new(order, self.busy().map(|(_, standing)| (&standing.lane, standing.active)), sessions);
        let mut heads: BinaryHeap<_> = self
            .busy()
            .filter_map(|(id, standing)| standing.queued.first().map(|head| (id, standing, *head)))
            .filter(|(_, standing, _)| standing.lane.requirements.met_by(&order.offer))
            .map(|(id, _, head)| Reverse((head, id)))
            .collect();
        let mut sequences = Vec::new();
        while sequences.len() < order.slots
            && let Some(Reverse((head, id))) = heads.pop()
        {
            let Some(standing) = self.lanes.get(id.0 as usize) else { continue };
            let next_lane = heads.peek().map(|Reverse(next)| *next);
            let rest = (Bound::Included(head), Bound::Unbounded);
            for queued in standing.queued.range(rest) {
                if sequences.len() == order.slots {
                    break;
                }
                if next_lane.is_some_and(|next| next < (*queued, id)) {
                    heads.push(Reverse((*queued, id)));
                    break;
                }
                // A lane without room stays so for this claim.
                if !room.take(&standing.lane) {
                    break;
                }
                sequences.push(queued.1);
            }
        }
        sequences
    }

    fn busy(&self) -> impl Iterator<Item = (LaneId, &Standing)> {
        self.busy.iter().filter_map(|id| self.lanes.get(id.0 as usize).map(|standing| (*id, standing)))
    }

    /// What is over at `now`, oldest first.
    pub(crate) fn over(&self, now: Timestamp, limit: usize) -> Vec<Over> {
        let past = ..=(now, u64::MAX);
        let leases = self.leases.range(past).take(limit).map(|(at, sequence)| (*at, Over::Lease(*sequence)));
        let backoffs = self.backoffs.range(past).take(limit).map(|(at, sequence)| (*at, Over::Backoff(*sequence)));
        let mut over: Vec<_> = leases.chain(backoffs).collect();
        over.sort_unstable();
        over.truncate(limit);
        over.into_iter().map(|(_, over)| over).collect()
    }

    /// How the busy lanes stand.
    pub(crate) fn standings(&self) -> Vec<LaneStanding> {
        let stands = |(_, standing): (LaneId, &Standing)| LaneStanding {
            lane: standing.lane.clone(),
            queued: standing.queued.len() as u64,
            active: standing.active,
            first: standing.queued.first().map(|head| head.0),
            last: standing.queued.last().map(|last| last.0),
        };
        self.busy().map(stands).collect()
    }

    pub(crate) fn counts(&self) -> Counts {
        self.tally.counts()
    }

    /// Takes a job that cannot be read out of the way of the others; it stays counted.
    pub(crate) fn set_aside(&mut self, sequence: u64) {
        for standing in &mut self.lanes {
            standing.queued.retain(|queued| queued.1 != sequence);
        }
    }
}
