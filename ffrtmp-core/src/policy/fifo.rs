//! The default order: priority, then first in, first out, with bounded aging.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::{Job, Priority, Queue};
use crate::node::{Node, NodeStatus, Requirements};
use crate::scheduler::Scheduler;
use crate::store::Rank;

/// Live work first; then by queue, then by priority, then by age.
///
/// A rank is the time of submission plus one step per level below the most urgent. A job that has
/// waited for `n` steps therefore stands before jobs `n` levels above that are submitted now:
/// nothing starves. The boost is bounded: no wait lifts a job above live work.
#[derive(Clone, Copy, Debug)]
pub struct PriorityFifo {
    /// How long a job waits to make up for one level.
    pub aging_step: Duration,
}

impl Default for PriorityFifo {
    /// Ten minutes per level.
    fn default() -> Self {
        Self { aging_step: Duration::from_secs(600) }
    }
}

/// Distance between live work and the rest, in microseconds: longer than any uptime.
const BAND: i64 = i64::MAX / 4;

impl Scheduler for PriorityFifo {
    fn name(&self) -> &'static str {
        "priority-fifo"
    }

    fn rank(&self, job: &Job, _now: Timestamp) -> Rank {
        let priority = job.priority as i64;
        let submitted = job.created_at.as_micros();
        let step = i64::try_from(self.aging_step.as_micros()).unwrap_or(i64::MAX / 1024).min(BAND / 1024);
        if job.queue == Queue::Live || job.priority == Priority::Live {
            // Live work does not age: strictly by queue, priority, time.
            let level = job.queue as i64 * Priority::ALL.len() as i64 + priority;
            return Rank(submitted - BAND + level * (BAND / 64));
        }
        let queue = if job.queue == Queue::Batch { 1 } else { 0 };
        Rank(submitted + step * (queue * Priority::ALL.len() as i64 + priority))
    }

    /// The node with the most free slots; of equals the one with the lower load.
    fn place<'a>(&self, needs: &Requirements, nodes: &'a [Node]) -> Option<&'a Node> {
        nodes
            .iter()
            .filter(|node| node.takes_jobs() && node.status != NodeStatus::Busy)
            .filter(|node| needs.met_by(&node.about.capabilities, &node.about.labels))
            .max_by(|a, b| {
                let free = |node: &Node| node.about.max_concurrent_jobs.saturating_sub(node.active_jobs);
                free(a).cmp(&free(b)).then(b.telemetry.cpu_percent.total_cmp(&a.telemetry.cpu_percent))
            })
    }
}
