//! The `Scheduler` trait: the order of jobs and the choice of a node, as pure functions.

use crate::clock::Timestamp;
use crate::job::Job;
use crate::node::{Node, Requirements};
use crate::store::{Lane, LaneStanding, Rank};

/// What a scheduler knows of the other jobs: how every lane stands.
#[derive(Clone, Debug, Default)]
pub struct Cluster {
    /// Lanes with queued or active jobs.
    pub lanes: Vec<LaneStanding>,
}

impl Cluster {
    /// Counts a job that was just ranked, so that the next one of the same batch sees it.
    pub fn note(&mut self, job: &Job, requirements: &Requirements, rank: Rank) {
        let same = |standing: &&mut LaneStanding| {
            let Lane { requirements: needs, tenant, queue } = &standing.lane;
            *queue == job.queue && *tenant == job.tenant && needs == requirements
        };
        if let Some(standing) = self.lanes.iter_mut().find(same) {
            standing.queued += 1;
            standing.first = Some(standing.first.map_or(rank, |first| first.min(rank)));
            standing.last = Some(standing.last.map_or(rank, |last| last.max(rank)));
            return;
        }
        let lane = Lane { requirements: requirements.clone(), tenant: job.tenant.clone(), queue: job.queue };
        self.lanes.push(LaneStanding { lane, queued: 1, active: 0, first: Some(rank), last: Some(rank) });
    }
}

/// Orders jobs and chooses nodes.
///
/// # Contract
/// - Pure: the same arguments give the same answer; no I/O, no clock.
/// - `rank` is stored with the job when it is submitted; claims take the lowest first. Of two jobs
///   that differ only in `created_at`, the older one ranks lower or equal. Jobs of one instant that
///   differ in nothing are ranked in the order of submission, each [noted](Cluster::note) before
///   the next one: no later one ranks lower.
/// - Whatever the cluster's ranks are, `rank` answers: they may be those of another scheduler.
/// - `place` returns one of `nodes` that takes jobs and meets the requirements, or `None` if none
///   does.
pub trait Scheduler: Send + Sync + 'static {
    /// Name for people.
    fn name(&self) -> &'static str;

    /// The job's place in the order. `cluster` is empty where [`Scheduler::reads_cluster`] says no.
    fn rank(&self, job: &Job, cluster: &Cluster, now: Timestamp) -> Rank;

    /// Whether a rank depends on the other jobs. Reading them costs a query per submission.
    fn reads_cluster(&self) -> bool {
        false
    }

    /// The node that suits best.
    fn place<'a>(&self, needs: &Requirements, nodes: &'a [Node]) -> Option<&'a Node>;
}
