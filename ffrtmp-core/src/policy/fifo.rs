//! The default order: priority, then first in, first out, with bounded aging.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::{Job, Priority, Queue};
use crate::node::{Node, Requirements};
use crate::scheduler::{Cluster, Scheduler};
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

    fn rank(&self, job: &Job, _cluster: &Cluster, _now: Timestamp) -> Rank {
        if let Some(rank) = live(job) {
            return rank;
        }
        let step = i64::try_from(self.aging_step.as_micros()).unwrap_or(i64::MAX / 1024).min(BAND / 1024);
        let queue = if job.queue == Queue::Batch { 1 } else { 0 };
        let level = queue * Priority::ALL.len() as i64 + job.priority as i64;
        Rank(job.created_at.as_micros() + step * level)
    }

    /// The least loaded node: the most free slots; of equals the lower use of its cores, then the
    /// first by id.
    fn place<'a>(&self, needs: &Requirements, nodes: &'a [Node]) -> Option<&'a Node> {
        ready(needs, nodes).min_by(|a, b| {
            let load = |node: &Node| node.telemetry.cpu_percent;
            free_slots(b).cmp(&free_slots(a)).then(load(a).total_cmp(&load(b))).then(a.id.cmp(&b.id))
        })
    }
}

/// The rank of live work, below that of everything else: strictly by queue, priority, time. It does
/// not age. `None` for a job that is not live.
pub(super) fn live(job: &Job) -> Option<Rank> {
    (job.queue == Queue::Live || job.priority == Priority::Live).then(|| {
        let level = job.queue as i64 * Priority::ALL.len() as i64 + job.priority as i64;
        Rank(job.created_at.as_micros() - BAND + level * (BAND / 64))
    })
}

/// Nodes that take jobs, have a free slot and meet the requirements.
pub(super) fn ready<'a>(needs: &Requirements, nodes: &'a [Node]) -> impl Iterator<Item = &'a Node> {
    nodes
        .iter()
        .filter(|node| node.takes_jobs() && free_slots(node) > 0)
        .filter(move |node| needs.met_by(&node.offer()))
}

pub(super) fn free_slots(node: &Node) -> u32 {
    node.about.max_concurrent_jobs.saturating_sub(node.active_jobs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;
    use crate::job::JobRequest;
    use crate::request;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_secs(second)
    }

    fn rank_with(policy: PriorityFifo, queue: Queue, priority: Priority, second: u64) -> Rank {
        let (queue, priority) = (Some(queue), Some(priority));
        let request = JobRequest { scenario: "720p".into(), queue, priority, ..JobRequest::default() };
        policy.rank(
            &request::prepare(request, JobId::from_u128(1), 3, at(second)).unwrap().job,
            &Cluster::default(),
            at(second),
        )
    }

    fn rank(queue: Queue, priority: Priority, second: u64) -> Rank {
        rank_with(PriorityFifo::default(), queue, priority, second)
    }

    /// All pairs, most urgent first.
    fn pairs() -> Vec<(Queue, Priority)> {
        use Priority::{Batch, High, Live, Low, Medium};
        let mut pairs: Vec<_> = Priority::ALL.iter().map(|priority| (Queue::Live, *priority)).collect();
        pairs.extend([(Queue::Default, Live), (Queue::Batch, Live)]);
        for queue in [Queue::Default, Queue::Batch] {
            pairs.extend([High, Medium, Low, Batch].map(|priority| (queue, priority)));
        }
        pairs
    }

    #[test]
    fn live_before_the_rest_then_queue_then_priority() {
        let pairs = pairs();
        assert_eq!(pairs.len(), Queue::ALL.len() * Priority::ALL.len());
        for window in pairs.windows(2) {
            let [first, second] = [window[0], window[1]].map(|(queue, priority)| rank(queue, priority, 0));
            assert!(first < second, "{:?} does not stand before {:?}", window[0], window[1]);
        }
    }

    #[test]
    fn first_in_first_out_within_a_level() {
        for (queue, priority) in pairs() {
            assert!(rank(queue, priority, 0) < rank(queue, priority, 1), "{queue}/{priority}");
        }
    }

    #[test]
    fn waiting_lifts_a_job_one_level_per_step_but_never_above_live_work() {
        let step = PriorityFifo::default().aging_step.as_secs();
        let levels: Vec<_> = pairs()
            .into_iter()
            .filter(|(queue, priority)| *queue != Queue::Live && *priority != Priority::Live)
            .collect();
        let last = levels[levels.len() - 1];
        let patience = step * 9;
        for (queue, priority) in &levels {
            assert!(
                rank(last.0, last.1, 0) < rank(*queue, *priority, patience + 1),
                "the last level starves behind {queue}/{priority}"
            );
        }
        assert!(rank(Queue::Default, Priority::Medium, 0) > rank(Queue::Default, Priority::High, step - 1));
        assert!(rank(Queue::Default, Priority::Medium, 0) < rank(Queue::Default, Priority::High, step + 1));
        let years = 100 * 365 * 86_400;
        assert!(rank(Queue::Default, Priority::High, 0) > rank(Queue::Batch, Priority::Live, years));
    }

    #[test]
    fn any_aging_step_keeps_the_order() {
        for aging_step in [Duration::ZERO, Duration::from_micros(1), Duration::MAX] {
            let policy = PriorityFifo { aging_step };
            let of = |queue, priority, second| rank_with(policy, queue, priority, second);
            assert!(of(Queue::Default, Priority::High, 0) <= of(Queue::Default, Priority::Low, 0), "{aging_step:?}");
            assert!(of(Queue::Live, Priority::Batch, 9) < of(Queue::Default, Priority::High, 0), "{aging_step:?}");
            assert!(of(Queue::Batch, Priority::Low, 0) < of(Queue::Batch, Priority::Low, 1), "{aging_step:?}");
        }
    }
}
