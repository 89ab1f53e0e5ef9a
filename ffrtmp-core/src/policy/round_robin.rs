//! Deals jobs to the nodes in turn.

use crate::clock::Timestamp;
use crate::job::Job;
use crate::node::{Node, Requirements};
use crate::policy::fifo::{PriorityFifo, ready};
use crate::scheduler::{Cluster, Scheduler};
use crate::store::Rank;

/// Every able node gets one job before any gets its second: the next job goes to the node with
/// the fewest under way, and of equals to the first by id. Speed and load of the machines do not
/// count. The order of the jobs is that of another scheduler.
///
/// A scheduler is pure and so remembers no turn; the jobs under way are the memory.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundRobin<S = PriorityFifo> {
    /// Orders the jobs.
    pub order: S,
}

impl<S: Scheduler> Scheduler for RoundRobin<S> {
    fn name(&self) -> &'static str {
        "round-robin"
    }

    fn rank(&self, job: &Job, cluster: &Cluster, now: Timestamp) -> Rank {
        self.order.rank(job, cluster, now)
    }

    fn reads_cluster(&self) -> bool {
        self.order.reads_cluster()
    }

    fn place<'a>(&self, needs: &Requirements, nodes: &'a [Node]) -> Option<&'a Node> {
        ready(needs, nodes).min_by_key(|node| (node.active_jobs, node.id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;
    use crate::job::EngineName;
    use crate::node::{About, NodeCommand};

    #[test]
    fn jobs_are_dealt_like_cards() {
        let about = About { max_concurrent_jobs: 3, ..About::default() };
        let mut nodes: Vec<Node> =
            (0..3).map(|id| Node::new(NodeId::from_u128(id), about.clone(), Timestamp::default())).collect();
        let needs = Requirements::engine(EngineName::Ffmpeg);
        for round in 1..=3 {
            for turn in 0..3 {
                let id = RoundRobin::<PriorityFifo>::default().place(&needs, &nodes).unwrap().id;
                assert_eq!(id, NodeId::from_u128(turn), "round {round}");
                let node = nodes.iter_mut().find(|node| node.id == id).unwrap();
                let heartbeat = NodeCommand::Heartbeat { telemetry: None, active_jobs: round };
                node.apply(heartbeat, Timestamp::default()).unwrap();
            }
        }
        assert!(RoundRobin::<PriorityFifo>::default().place(&needs, &nodes).is_none(), "everybody is busy");
    }
}
