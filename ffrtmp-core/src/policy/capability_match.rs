//! Keeps rare nodes free for the jobs that only they can run.

use crate::clock::Timestamp;
use crate::job::Job;
use crate::media::VideoCodec;
use crate::node::{Node, Requirements};
use crate::policy::fifo::{PriorityFifo, free_slots, ready};
use crate::scheduler::{Cluster, Scheduler};
use crate::store::Rank;

/// The able node with the least that the job does not need: engines, codecs and graphics
/// processors; of equals the one with the most free slots, then the first by id. The order of the
/// jobs is that of another scheduler.
#[derive(Clone, Copy, Debug, Default)]
pub struct CapabilityMatch<S = PriorityFifo> {
    /// Orders the jobs.
    pub order: S,
}

impl<S: Scheduler> Scheduler for CapabilityMatch<S> {
    fn name(&self) -> &'static str {
        "capability-match"
    }

    fn rank(&self, job: &Job, cluster: &Cluster, now: Timestamp) -> Rank {
        self.order.rank(job, cluster, now)
    }

    fn reads_cluster(&self) -> bool {
        self.order.reads_cluster()
    }

    fn place<'a>(&self, needs: &Requirements, nodes: &'a [Node]) -> Option<&'a Node> {
        ready(needs, nodes).min_by_key(|node| (versatility(node), std::cmp::Reverse(free_slots(node)), node.id))
    }
}

/// How much a node can do. What the job needs is common to all able nodes and does not matter.
fn versatility(node: &Node) -> usize {
    let capabilities = &node.about.capabilities;
    let codecs = capabilities.video_codecs.as_ref().map_or(VideoCodec::ALL.len(), Vec::len);
    let gpus = node.about.gpus.len().max(usize::from(node.about.has_gpu));
    capabilities.engines.len() + codecs + gpus
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::NodeId;
    use crate::job::EngineName;
    use crate::node::{About, Capabilities};

    #[test]
    fn plain_jobs_leave_rare_nodes_free() {
        let node = |id, has_gpu, codecs: &[VideoCodec]| {
            let capabilities = Capabilities { video_codecs: Some(codecs.to_vec()), ..Capabilities::default() };
            let about = About { has_gpu, capabilities, max_concurrent_jobs: 1, ..About::default() };
            Node::new(NodeId::from_u128(id), about, Timestamp::default())
        };
        let nodes = [
            node(1, true, &[VideoCodec::H264]),
            node(2, false, &[VideoCodec::H264, VideoCodec::Av1]),
            node(3, false, &[VideoCodec::H264]),
        ];
        for (codec, id) in [(VideoCodec::H264, 3), (VideoCodec::Av1, 2)] {
            let needs = Requirements { video_codec: Some(codec), ..Requirements::engine(EngineName::Ffmpeg) };
            let chosen = CapabilityMatch::<PriorityFifo>::default().place(&needs, &nodes).unwrap();
            assert_eq!(chosen.id, NodeId::from_u128(id), "{codec}");
        }
    }
}
