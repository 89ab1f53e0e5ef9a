//! What the lanes tell about flows and about where the service stands.

use std::collections::BTreeMap;

use crate::id::TenantId;
use crate::job::{EngineName, Job, Queue};
use crate::node::Requirements;
use crate::scheduler::Cluster;
use crate::store::{LaneStanding, Rank};

/// Jobs that compete for the same machines: equal engine, graphics processor and labels. Places are
/// compared within a pool only, since pools are served at speeds of their own. What a tenant can
/// choose freely (codec, memory, disk) makes no pool, or it could get a share for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pool {
    engine: EngineName,
    gpu: bool,
    labels: BTreeMap<String, String>,
}

impl Pool {
    pub(super) fn of(job: &Job) -> Self {
        let needs = Requirements::of(job);
        needs.unwrap_or_else(|_| Requirements::engine(job.engine_used.unwrap_or(EngineName::Ffmpeg))).into()
    }

    fn holds(&self, needs: &Requirements) -> bool {
        self.engine == needs.engine && self.gpu == needs.gpu && self.labels == needs.labels
    }
}

impl From<Requirements> for Pool {
    fn from(needs: Requirements) -> Self {
        Self { engine: needs.engine, gpu: needs.gpu, labels: needs.labels }
    }
}

/// What the highest rank of a flow tells. A rank is a place; of equal places the more urgent job
/// comes first. Its lowest bits are the memory of the flow: how urgent the most urgent of the jobs
/// in turn is, and how many turns ago it came, so that no equal is overtaken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    pub(super) place: i64,
    pub(super) level: i64,
    pub(super) urgent_level: i64,
    /// At most [`MAX_AGO`]: whoever came before that was further ahead.
    pub(super) urgent_ago: i64,
}

const LEVEL_BITS: i64 = 1 << 3;
const AGO_BITS: i64 = 1 << 8;
const MAX_AGO: i64 = AGO_BITS - 1;
const MEMORY: i64 = LEVEL_BITS * LEVEL_BITS * AGO_BITS;

impl Tail {
    /// A job that has nobody before it, or overtakes.
    pub(super) fn alone(place: i64, level: i64) -> Self {
        Self { place, level, urgent_level: level, urgent_ago: 0 }
    }

    /// The job that takes the next turn behind this one.
    pub(super) fn followed_by(&self, place: i64, level: i64) -> Self {
        if level <= self.urgent_level {
            return Self::alone(place, level);
        }
        Self { place, level, urgent_ago: (self.urgent_ago + 1).min(MAX_AGO), ..*self }
    }
}

impl From<Rank> for Tail {
    fn from(Rank(rank): Rank) -> Self {
        Self {
            place: rank / MEMORY,
            level: rank / (LEVEL_BITS * AGO_BITS) % LEVEL_BITS,
            urgent_level: rank / AGO_BITS % LEVEL_BITS,
            urgent_ago: rank % AGO_BITS,
        }
    }
}

impl From<Tail> for Rank {
    fn from(tail: Tail) -> Self {
        let Tail { place, level, urgent_level, urgent_ago } = tail;
        let place = place.clamp(0, i64::MAX / MEMORY - 1);
        Self(((place * LEVEL_BITS + level) * LEVEL_BITS + urgent_level) * AGO_BITS + urgent_ago)
    }
}

/// The queued jobs of a tenant in a queue and a pool, without the live ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) queued: i64,
    pub(super) first: i64,
    pub(super) tail: Tail,
}

impl Flow {
    /// The flow of a job; `None` if nothing of it is queued.
    pub(super) fn of(cluster: &Cluster, job: &Job, pool: &Pool, turn: i64) -> Option<Self> {
        let own = |standing: &&LaneStanding| {
            let lane = &standing.lane;
            lane.queue == job.queue && lane.tenant == job.tenant && pool.holds(&lane.requirements)
        };
        cluster.lanes.iter().filter(own).filter_map(|standing| Self::of_lane(standing, turn)).reduce(Self::with)
    }

    fn of_lane(standing: &LaneStanding, turn: i64) -> Option<Self> {
        let tail: Tail = standing.last.filter(|last| !is_live(*last))?.into();
        let flow = Self { queued: i64::try_from(standing.queued).unwrap_or(i64::MAX), first: tail.place, tail };
        let first = match standing.first.filter(|first| !is_live(*first)) {
            Some(first) => Tail::from(first).place.min(tail.place),
            // Live jobs hide the others' first place.
            None => flow.begin(turn),
        };
        Some(Self { first, ..flow })
    }

    fn with(self, other: Self) -> Self {
        let tail = if Rank::from(self.tail) >= Rank::from(other.tail) { self.tail } else { other.tail };
        Self { queued: self.queued.saturating_add(other.queued), first: self.first.min(other.first), tail }
    }

    /// How far it has come: its first place, unless a few jobs that nothing can run stand far
    /// behind the others, which are one turn apart.
    fn position(&self, turn: i64) -> i64 {
        self.first.max(self.begin(turn))
    }

    fn begin(&self, turn: i64) -> i64 {
        self.tail.place.saturating_sub(self.queued.saturating_sub(1).max(0).saturating_mul(turn)).max(0)
    }
}

/// Where the service stands: the lowest position of the flows that keep pace. Of flows that are
/// served fairly none is more than one turn behind another; one that is further behind stands still
/// (its nodes are gone, its tenant is at its cap) and does not count. Flows of the pool decide, if
/// there are any; `None` if nothing is queued.
pub(super) fn virtual_time(cluster: &Cluster, pool: &Pool, turn: impl Fn(&TenantId, Queue) -> i64) -> Option<i64> {
    let time = |within: &dyn Fn(&LaneStanding) -> bool| {
        let mut flows: BTreeMap<(&TenantId, Queue), Flow> = BTreeMap::new();
        for standing in cluster.lanes.iter().filter(|standing| within(standing)) {
            let (tenant, queue) = (&standing.lane.tenant, standing.lane.queue);
            if let Some(flow) = Flow::of_lane(standing, turn(tenant, queue)) {
                flows.entry((tenant, queue)).and_modify(|known| *known = known.with(flow)).or_insert(flow);
            }
        }
        let stands = |((tenant, queue), flow): ((&TenantId, Queue), Flow)| {
            let turn = turn(tenant, queue);
            (flow.position(turn), turn)
        };
        let flows: Vec<(i64, i64)> = flows.into_iter().map(stands).collect();
        let (top, top_turn) = flows.iter().copied().max()?;
        let keeps_pace = |(place, turn): &(i64, i64)| place.saturating_add(top_turn.max(*turn)) >= top;
        flows.into_iter().filter(keeps_pace).map(|(place, _)| place).min()
    };
    time(&|standing| pool.holds(&standing.lane.requirements)).or_else(|| time(&|_| true))
}

/// Live work has negative ranks.
fn is_live(rank: Rank) -> bool {
    rank.0 < 0
}
