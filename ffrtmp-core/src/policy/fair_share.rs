//! Fair shares between tenants and queues.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::id::TenantId;
use crate::job::{Job, Queue};
use crate::node::{Node, Requirements};
use crate::policy::fifo::{self, PriorityFifo};
use crate::scheduler::{Cluster, Scheduler};
use crate::store::Rank;

use standing::{Flow, Pool, Tail, virtual_time};

mod standing;

/// Every tenant gets turns in proportion to its weight, however many jobs it has submitted; what it
/// does not use is shared by the others. Live work stands in front of everything.
///
/// The jobs of a tenant in a queue, for one pool of machines (engine, graphics processor, labels),
/// are a *flow*. A job's place is its flow's next turn: one
/// `1 / weight` after the flow's last queued job, or after the *virtual time* if that is later. The
/// virtual time is where the service stands: the lowest place of the flows that keep pace. So a
/// tenant that comes late is owed nothing for the time before, and one that has a thousand jobs
/// queued does not stand in front of it either.
///
/// Inside a flow a more urgent job overtakes those that are less urgent, and takes one of every two
/// turns for as long as there are such jobs: a tenant that mixes priorities gets at most one and a
/// half times its share, and only while it has a backlog to overtake. Among equals it is first in,
/// first out.
///
/// A job waits for at most as many turns of each other flow as lie between the virtual time and its
/// place: nothing starves.
///
/// Source: Goyal, Vin, Cheng, Start-time Fair Queueing, SIGCOMM 1996, with one rank per job that is
/// never changed afterwards: the place is the finish tag, as in self-clocked fair queueing (Golestani,
/// INFOCOM 1994). Each job counts as one, whatever its length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FairShare {
    /// Weights of tenants; 1 for those that are not named. Zero counts as 1, and more than 64 as 64.
    pub tenants: BTreeMap<TenantId, u32>,
    /// Weights of queues, in the same way. A flow weighs what its tenant and queue weigh together.
    pub queues: BTreeMap<Queue, u32>,
}

impl Default for FairShare {
    /// Tenants alike; of five turns of a tenant four for its default queue and one for its batch
    /// queue, while both have jobs.
    fn default() -> Self {
        Self { tenants: BTreeMap::new(), queues: [(Queue::Default, 4), (Queue::Batch, 1)].into() }
    }
}

/// Places per turn of a flow of weight 1.
const TURN: i64 = 1 << 13;
/// A turn of weight 1 lasts 128 ms of idle time, so that the places of a backlog do not run far
/// ahead of the clock, from which the virtual time starts when nothing waits.
const MICROS_PER_PLACE: i64 = 128_000 / TURN;

const MAX_WEIGHT: u32 = 64;

impl Scheduler for FairShare {
    fn name(&self) -> &'static str {
        "fair-share"
    }

    fn reads_cluster(&self) -> bool {
        true
    }

    fn rank(&self, job: &Job, cluster: &Cluster, now: Timestamp) -> Rank {
        if let Some(rank) = fifo::live(job) {
            return rank;
        }
        let turn = self.turn(&job.tenant, job.queue);
        let pool = Pool::of(job);
        let flow = Flow::of(cluster, job, &pool, turn);
        let time = virtual_time(cluster, &pool, |tenant, queue| self.turn(tenant, queue));
        let time = time.unwrap_or_else(|| now.as_micros() / MICROS_PER_PLACE);
        next(flow, time, turn, job.priority as i64).into()
    }

    fn place<'a>(&self, needs: &Requirements, nodes: &'a [Node]) -> Option<&'a Node> {
        PriorityFifo::default().place(needs, nodes)
    }
}

impl FairShare {
    /// Places between two jobs of a flow.
    fn turn(&self, tenant: &TenantId, queue: Queue) -> i64 {
        let weight = |weight: Option<&u32>| i64::from(weight.copied().unwrap_or(1).clamp(1, MAX_WEIGHT));
        TURN / (weight(self.tenants.get(tenant)) * weight(self.queues.get(&queue)))
    }
}

/// The next turn of a flow; for a job that is more urgent than the last one of the flow, the next
/// turn of those that overtake.
fn next(flow: Option<Flow>, time: i64, turn: i64, level: i64) -> Tail {
    let Some(flow) = flow else { return Tail::alone(time.saturating_add(turn), level) };
    overtaking(&flow, turn, level).unwrap_or_else(|| {
        let behind = time.max(flow.tail.place).saturating_add(turn);
        flow.tail.followed_by(behind, level)
    })
}

/// The place of a job between those of its flow, if it may overtake and would gain by it.
fn overtaking(flow: &Flow, turn: i64, level: i64) -> Option<Tail> {
    let tail = &flow.tail;
    if level >= tail.level || level > tail.urgent_level {
        return None;
    }
    // Those in turn stand one turn apart; whoever is there beyond has overtaken. Fewer have left gaps
    // behind, and nothing can be told from their number.
    let in_turn = (tail.place - flow.first) / turn + 1;
    let overtaken = flow.queued.saturating_sub(in_turn);
    if overtaken < 0 {
        return None;
    }
    let between = flow.first.saturating_add(overtaken.saturating_add(1).saturating_mul(2 * turn));
    let equal = if level == tail.urgent_level { tail.place - tail.urgent_ago * turn } else { 0 };
    let place = between.max(equal);
    (place < tail.place).then(|| Tail::alone(place, level))
}

#[cfg(test)]
mod tests;
