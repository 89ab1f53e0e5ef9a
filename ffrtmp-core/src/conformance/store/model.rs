//! A store without any cleverness: a list of jobs, and for every question one look at all of them.
//! It says what the answer must be; how fast is not its business.

use std::collections::BTreeMap;

use crate::clock::Timestamp;
use crate::error::{Code, Result};
use crate::id::{JobId, NodeId};
use crate::job::{Job, JobState};
use crate::lifecycle::JobCommand;
use crate::store::{ClaimOrder, Counts, Due, JobFilter, Lane, LaneStanding, NewJob, Rank};

/// What the store should hold.
#[derive(Default)]
pub(super) struct Model {
    entries: Vec<Entry>,
}

struct Entry {
    job: Job,
    rank: Rank,
    lane: Lane,
}

impl Model {
    /// One job that depends on jobs of earlier calls, under the number that the store gave it.
    pub(super) fn submit(&mut self, new: NewJob, sequence_number: u64, now: Timestamp) -> Job {
        let NewJob { mut job, rank, requirements, .. } = new;
        job.sequence_number = sequence_number;
        if job.state == JobState::Waiting {
            let state = |id: &JobId| self.job(*id).map(|job| job.state);
            let bad =
                |id: &&JobId| matches!(state(id), Some(JobState::Failed | JobState::Canceled | JobState::Rejected));
            let command = match job.depends_on.iter().find(bad) {
                Some(id) => Some(JobCommand::DependencyFailed(*id, state(id))),
                None => {
                    let done = job.depends_on.iter().all(|id| state(id) == Some(JobState::Completed));
                    done.then_some(JobCommand::Ready)
                }
            };
            if let Some(command) = command {
                job.apply(command, now).expect("a waiting job takes it");
            }
        }
        let lane = Lane { requirements, tenant: job.tenant.clone(), queue: job.queue };
        self.entries.push(Entry { job: job.clone(), rank, lane });
        job
    }

    pub(super) fn jobs(&self) -> impl DoubleEndedIterator<Item = &Job> {
        self.entries.iter().map(|entry| &entry.job)
    }

    fn job(&self, id: JobId) -> Option<&Job> {
        self.jobs().find(|job| job.id == id)
    }

    fn active<'a>(&'a self, belongs: impl Fn(&Entry) -> bool + 'a) -> usize {
        self.entries.iter().filter(|entry| entry.job.lease().is_some() && belongs(entry)).count()
    }

    fn has_room(&self, entry: &Entry, order: &ClaimOrder) -> bool {
        let Lane { requirements, tenant, queue } = &entry.lane;
        let below = |cap: Option<u32>, active: usize| cap.is_none_or(|cap| active < cap as usize);
        let in_queue = self.active(|other| other.lane.queue == *queue);
        let of_tenant = self.active(|other| other.lane.tenant == *tenant);
        let on_device = self.active(|other| other.lane.requirements.gpu && other.job.node_id == Some(order.node));
        below(order.caps.queues.get(queue).copied(), in_queue)
            && below(order.caps.of_tenant(tenant), of_tenant)
            && (!requirements.gpu || below(order.offer.gpu_sessions, on_device))
    }

    pub(super) fn claim(&mut self, order: &ClaimOrder, now: Timestamp) -> Vec<Job> {
        let mut queue: Vec<usize> = (0..self.entries.len()).collect();
        queue.sort_by_key(|index| (self.entries[*index].rank, self.entries[*index].job.sequence_number));
        let mut given = Vec::new();
        for index in queue {
            let entry = &self.entries[index];
            let fits = entry.job.state == JobState::Queued && entry.lane.requirements.met_by(&order.offer);
            if given.len() < order.slots && fits && self.has_room(entry, order) {
                let job = &mut self.entries[index].job;
                job.assign(order.node, &order.node_name, order.lease, now).expect("it is queued");
                given.push(job.clone());
            }
        }
        given
    }

    pub(super) fn apply(&mut self, id: JobId, command: JobCommand, now: Timestamp) -> Result<Job, Code> {
        let entry = self.entries.iter_mut().find(|entry| entry.job.id == id).ok_or(Code::JobNotFound)?;
        entry.job.apply(command, now).map_err(|error| error.code())?;
        Ok(entry.job.clone())
    }

    pub(super) fn rerank(&mut self, ranks: &[(JobId, Rank)]) {
        for (id, rank) in ranks {
            let queued = |entry: &&mut Entry| entry.job.id == *id && entry.job.state == JobState::Queued;
            if let Some(entry) = self.entries.iter_mut().find(queued) {
                entry.rank = *rank;
            }
        }
    }

    pub(super) fn purge(&mut self, before: Timestamp) -> u64 {
        let named: Vec<JobId> = self
            .jobs()
            .filter(|job| job.state == JobState::Waiting)
            .flat_map(|job| job.depends_on.iter().copied())
            .collect();
        let all = self.entries.len();
        self.entries.retain(|Entry { job, .. }| {
            named.contains(&job.id) || !job.state.is_final() || job.completed_at.is_none_or(|end| end >= before)
        });
        (all - self.entries.len()) as u64
    }

    /// With the time of each, in their order.
    pub(super) fn due(&self, now: Timestamp) -> Vec<(Timestamp, Due)> {
        let leases = self.jobs().filter_map(|job| Some((job.lease_expires_at?, Due::LeaseExpired(job.id, job.fence))));
        let backoffs = self.jobs().filter_map(|job| Some((job.retry_at?, Due::BackoffOver(job.id))));
        let mut due: Vec<_> = leases.chain(backoffs).filter(|(at, _)| *at <= now).collect();
        due.sort_by_key(|(at, _)| *at);
        due
    }

    pub(super) fn lanes(&self) -> Vec<LaneStanding> {
        let mut lanes: BTreeMap<&Lane, LaneStanding> = BTreeMap::new();
        for Entry { job, rank, lane } in &self.entries {
            let (queued, active) = (job.state == JobState::Queued, job.lease().is_some());
            if !queued && !active {
                continue;
            }
            let none = LaneStanding { lane: lane.clone(), queued: 0, active: 0, first: None, last: None };
            let standing = lanes.entry(lane).or_insert(none);
            standing.active += u64::from(active);
            if queued {
                standing.queued += 1;
                standing.first = Some(standing.first.map_or(*rank, |first| first.min(*rank)));
                standing.last = Some(standing.last.map_or(*rank, |last| last.max(*rank)));
            }
        }
        lanes.into_values().collect()
    }

    pub(super) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for job in self.jobs() {
            *counts.by_state.entry(job.state).or_default() += 1;
            *counts.by_queue.entry(job.queue).or_default() += 1;
            if job.state == JobState::Queued {
                *counts.queued_by_priority.entry(job.priority).or_default() += 1;
                *counts.queued_by_queue.entry(job.queue).or_default() += 1;
            }
            if let Some(engine) = job.engine_used {
                *counts.by_engine.entry(engine).or_default() += 1;
                if job.state == JobState::Completed {
                    *counts.completed_by_engine.entry(engine).or_default() += 1;
                }
            }
        }
        counts
    }

    /// Newest first.
    pub(super) fn list(&self, filter: &JobFilter) -> Vec<Job> {
        self.jobs().rev().filter(|job| passes(filter, job)).cloned().collect()
    }

    pub(super) fn dependents(&self, dependency: JobId) -> Vec<JobId> {
        let waits = |job: &&Job| job.state == JobState::Waiting && job.depends_on.contains(&dependency);
        self.jobs().filter(waits).map(|job| job.id).collect()
    }

    pub(super) fn held_by(&self, node: NodeId) -> impl Iterator<Item = &Job> {
        self.jobs().filter(move |job| job.lease().is_some_and(|lease| lease.node == node))
    }
}

fn passes(filter: &JobFilter, job: &Job) -> bool {
    (filter.states.is_empty() || filter.states.contains(&job.state))
        && filter.queue.is_none_or(|queue| queue == job.queue)
        && filter.tenant.as_ref().is_none_or(|tenant| *tenant == job.tenant)
        && filter.node_id.is_none_or(|node| job.node_id == Some(node))
}
