//! Earliest deadline first.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::job::Job;
use crate::node::{Node, Requirements};
use crate::policy::fifo::{self, PriorityFifo};
use crate::scheduler::{Cluster, Scheduler};
use crate::store::Rank;

/// Live work first; then by the time at which the result is wanted.
///
/// A job without a deadline is taken to be wanted `slack` after its submission, so jobs without
/// deadlines are first in, first out. A deadline counts from the submission at the earliest and
/// `patience` after it at the latest: whoever submits now can go before jobs of the last `patience`
/// at most, and nothing starves. Queues and priorities other than live do not count.
///
/// On one machine the order is optimal: if any order meets all deadlines, this one does.
/// Source: Liu, Layland, Scheduling Algorithms for Multiprogramming in a Hard-Real-Time
/// Environment, J. ACM 20 (1973).
#[derive(Clone, Copy, Debug)]
pub struct EarliestDeadline {
    /// When a job without a deadline is wanted, after its submission.
    pub slack: Duration,
    /// How long after its submission a deadline still makes a difference.
    pub patience: Duration,
}

impl Default for EarliestDeadline {
    /// A day without a deadline, at most a week with one.
    fn default() -> Self {
        Self { slack: Duration::from_secs(24 * 3600), patience: Duration::from_secs(7 * 24 * 3600) }
    }
}

impl Scheduler for EarliestDeadline {
    fn name(&self) -> &'static str {
        "deadline"
    }

    fn rank(&self, job: &Job, _cluster: &Cluster, _now: Timestamp) -> Rank {
        if let Some(rank) = fifo::live(job) {
            return rank;
        }
        let first = job.created_at;
        let last = first + self.patience;
        let wanted = job.deadline.unwrap_or(first + self.slack).clamp(first, last);
        // The band of live work lies below zero.
        Rank(wanted.as_micros().max(0))
    }

    fn place<'a>(&self, needs: &Requirements, nodes: &'a [Node]) -> Option<&'a Node> {
        PriorityFifo::default().place(needs, nodes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::JobId;
    use crate::job::{JobRequest, Priority, Queue};
    use crate::request;

    const HOUR: u64 = 3600;
    const DAY: u64 = 24 * HOUR;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_secs(second)
    }

    fn rank_of(submitted: u64, deadline: Option<Timestamp>, queue: Queue, priority: Priority) -> Rank {
        let request = JobRequest {
            scenario: "720p".into(),
            queue: Some(queue),
            priority: Some(priority),
            deadline,
            ..JobRequest::default()
        };
        let job = request::prepare(request, JobId::from_u128(1), 3, at(submitted)).unwrap().job;
        EarliestDeadline::default().rank(&job, &Cluster::default(), at(submitted))
    }

    fn rank(submitted: u64, deadline: Option<u64>) -> Rank {
        rank_of(submitted, deadline.map(at), Queue::Default, Priority::Medium)
    }

    #[test]
    fn what_is_wanted_first_is_first() {
        let mut jobs = [
            ("in two days", rank(0, Some(2 * DAY))),
            ("no deadline", rank(60, None)),
            ("in an hour", rank(3000, Some(3000 + HOUR))),
            ("later, no deadline", rank(120, None)),
            ("at once", rank(3500, Some(3500))),
        ];
        jobs.sort_by_key(|(_, rank)| *rank);
        let order = jobs.map(|(name, _)| name);
        assert_eq!(order, ["at once", "in an hour", "no deadline", "later, no deadline", "in two days"]);
    }

    #[test]
    fn live_work_stays_in_front() {
        let years = 100 * 365 * DAY;
        let overdue = rank_of(0, Some(Timestamp::from_micros(i64::MIN)), Queue::Default, Priority::High);
        for queue in Queue::ALL {
            assert!(rank_of(years, None, *queue, Priority::Live) < overdue, "{queue}");
        }
        assert!(rank_of(years, Some(at(2 * years)), Queue::Live, Priority::Batch) < overdue);
    }

    #[test]
    fn whatever_it_says_a_job_waits_for_the_jobs_of_its_patience_only() {
        let patience = EarliestDeadline::default().patience.as_secs();
        let far: Timestamp = "9999-12-31T23:59:59Z".parse().unwrap();
        for wish in [None, Some(far), Some(at(30 * DAY)), Some(Timestamp::from_micros(i64::MAX))] {
            let waits = rank_of(0, wish, Queue::Batch, Priority::Batch);
            for hurried in [None, Some(Timestamp::from_micros(i64::MIN)), Some(at(0)), Some(at(patience + 1))] {
                let later = rank_of(patience + 1, hurried, Queue::Default, Priority::High);
                assert!(waits < later, "{wish:?} starves behind {hurried:?}");
            }
        }
        assert!(rank(0, Some(2 * DAY)) > rank(DAY / 2, Some(DAY)), "deadlines matter before that");
    }
}
