//! What a [`super::MemoryStore`] holds: the jobs by id, and beside them one ordered set per
//! question that is asked often. Whoever changes a job does it through [`State::change`], which
//! keeps the sets true.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap, VecDeque};
use std::ops::Bound;

use ffrtmp_core::Result;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, JobKey, NodeId, TenantId};
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::node::{About, Node, NodeCommand};
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::store::{
    ClaimOrder, Counts, Due, Idempotency, JobFilter, Lane, LaneStanding, MAX_LOG_LINES, NewJob, Page, Rank, Submitted,
};

use crate::admission::{self, Admission, Stored};
use crate::room::Room;
use crate::tally::{Cell, Tally};
use crate::transfer::Parcel;
use crate::{ambiguous, job_not_found, node_not_found, prefix};

#[derive(Debug, Default)]
pub(super) struct State {
    /// Set by a change that made a job claimable, taken by the store.
    pub(super) claimable: bool,
    /// Whether somebody asked to lead.
    pub(super) led: bool,
    jobs: BTreeMap<JobId, Entry>,
    by_sequence: BTreeMap<u64, JobId>,
    last_sequence: u64,
    keys: HashMap<(TenantId, String), (String, JobId)>,
    lanes: BTreeMap<Lane, Standing>,
    /// Active jobs that need a graphics processor, by node.
    gpu: BTreeMap<NodeId, u32>,
    leases: BTreeSet<(Timestamp, u64)>,
    backoffs: BTreeSet<(Timestamp, u64)>,
    ended: BTreeSet<(Timestamp, u64)>,
    /// Sequence numbers of waiting jobs, by what they wait for.
    waiting: BTreeMap<JobId, BTreeSet<u64>>,
    tally: Tally,
    nodes: BTreeMap<NodeId, Node>,
}

/// The jobs of a lane.
#[derive(Debug, Default)]
struct Standing {
    queued: BTreeSet<(Rank, u64)>,
    active: u64,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    rank: Rank,
    lane: Lane,
    key: Option<(TenantId, String)>,
    logs: VecDeque<(u32, LogLine)>,
}

impl Stored for State {
    type Fault = ffrtmp_core::Error;

    fn state(&self, id: JobId) -> Result<Option<JobState>> {
        Ok(self.jobs.get(&id).map(|entry| entry.job.state))
    }

    fn idempotent(&self, tenant: &TenantId, key: &str) -> Result<Option<(String, JobId)>> {
        Ok(self.keys.get(&(tenant.clone(), key.to_owned())).cloned())
    }
}

impl State {
    pub(super) fn submit(&mut self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Submitted>> {
        let admissions = admission::admit(jobs, self, now)?;
        admissions
            .into_iter()
            .map(|admission| match admission {
                Admission::New(new) => Ok(Submitted { job: self.insert(*new), created: true }),
                Admission::Known(id) => Ok(Submitted { job: self.entry(id)?.job.clone(), created: false }),
            })
            .collect()
    }

    fn insert(&mut self, new: NewJob) -> Job {
        let NewJob { mut job, rank, requirements, idempotency } = new;
        self.last_sequence += 1;
        job.sequence_number = self.last_sequence;
        let key = idempotency.map(|idempotency| {
            let key = (job.tenant.clone(), idempotency.key);
            self.keys.insert(key.clone(), (idempotency.digest, job.id));
            key
        });
        self.by_sequence.insert(job.sequence_number, job.id);
        let lane = Lane { requirements, tenant: job.tenant.clone(), queue: job.queue };
        let entry = Entry { job: job.clone(), rank, lane, key, logs: VecDeque::new() };
        self.index(&entry);
        self.claimable |= job.state == JobState::Queued;
        self.jobs.insert(job.id, entry);
        job
    }

    fn entry(&self, id: JobId) -> Result<&Entry> {
        self.jobs.get(&id).ok_or_else(|| job_not_found(id))
    }

    fn numbered(&self, sequence: u64) -> Option<&Entry> {
        self.by_sequence.get(&sequence).and_then(|id| self.jobs.get(id))
    }

    pub(super) fn find(&self, key: &JobKey) -> Result<Job> {
        let entry = match key {
            JobKey::Id(id) => self.jobs.get(id),
            JobKey::Sequence(sequence) => self.numbered(*sequence),
            JobKey::Prefix(text) => {
                let mut found = prefix::ids(text).into_iter().flat_map(|ids| self.jobs.range(ids));
                let first = found.next();
                if found.next().is_some() {
                    return Err(ambiguous(text));
                }
                first.map(|(_, entry)| entry)
            }
        };
        entry.map(|entry| entry.job.clone()).ok_or_else(|| job_not_found(key))
    }

    pub(super) fn list(&self, filter: &JobFilter, page: Page) -> Vec<Job> {
        self.by_sequence
            .range(..page.before.unwrap_or(u64::MAX))
            .rev()
            .filter_map(|(_, id)| self.jobs.get(id))
            .map(|entry| &entry.job)
            .filter(|job| passes(filter, job))
            .take(page.limit)
            .cloned()
            .collect()
    }

    pub(super) fn claim(&mut self, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>> {
        let mut room = Room::new(order, self.active(), self.gpu.get(&order.node).copied().unwrap_or(0));
        let mut heads: BinaryHeap<_> = self
            .lanes
            .iter()
            .filter(|(lane, _)| lane.requirements.met_by(&order.offer))
            .filter_map(|(lane, standing)| standing.queued.first().map(|head| Reverse((*head, lane))))
            .collect();
        let mut ids = Vec::new();
        while let Some(Reverse((head, lane))) = heads.pop()
            && ids.len() < order.slots
        {
            // A lane without room stays so for this claim.
            if !room.take(lane) {
                continue;
            }
            ids.extend(self.by_sequence.get(&head.1));
            let rest = (Bound::Excluded(head), Bound::Unbounded);
            let next = self.lanes.get(lane).and_then(|standing| standing.queued.range(rest).next());
            heads.extend(next.map(|next| Reverse((*next, lane))));
        }
        ids.into_iter()
            .map(|id| self.change(id, |job| job.assign(order.node, &order.node_name, order.lease, now).map(|_| ())))
            .collect()
    }

    pub(super) fn apply(&mut self, id: JobId, command: JobCommand, now: Timestamp) -> Result<Job> {
        self.change(id, |job| job.apply(command, now).map(|_| ()))
    }

    /// Changes a job and everything that is kept about it, or nothing if `change` refuses.
    fn change(&mut self, id: JobId, change: impl FnOnce(&mut Job) -> Result<()>) -> Result<Job> {
        let mut job = self.entry(id)?.job.clone();
        change(&mut job)?;
        let mut entry = self.jobs.remove(&id).ok_or_else(|| job_not_found(id))?;
        self.unindex(&entry);
        self.claimable |= entry.job.state != JobState::Queued && job.state == JobState::Queued;
        entry.job = job.clone();
        self.index(&entry);
        self.jobs.insert(id, entry);
        Ok(job)
    }

    fn index(&mut self, entry: &Entry) {
        let (job, sequence) = (&entry.job, entry.job.sequence_number);
        self.tally.add(Cell::from(job), 1);
        if job.state == JobState::Queued {
            self.lanes.entry(entry.lane.clone()).or_default().queued.insert((entry.rank, sequence));
        }
        if let Some(lease) = job.lease() {
            self.lanes.entry(entry.lane.clone()).or_default().active += 1;
            *self.gpu.entry(lease.node).or_default() += u32::from(entry.lane.requirements.gpu);
        }
        if job.state == JobState::Waiting {
            for dependency in &job.depends_on {
                self.waiting.entry(*dependency).or_default().insert(sequence);
            }
        }
        self.leases.extend(job.lease_expires_at.map(|at| (at, sequence)));
        self.backoffs.extend(job.retry_at.map(|at| (at, sequence)));
        self.ended.extend(end_of(job).map(|at| (at, sequence)));
    }

    fn unindex(&mut self, entry: &Entry) {
        let (job, sequence) = (&entry.job, entry.job.sequence_number);
        self.tally.remove(Cell::from(job));
        if let Some(standing) = self.lanes.get_mut(&entry.lane) {
            standing.queued.remove(&(entry.rank, sequence));
            standing.active -= u64::from(job.lease().is_some());
            if standing.queued.is_empty() && standing.active == 0 {
                self.lanes.remove(&entry.lane);
            }
        }
        if let Some(lease) = job.lease().filter(|_| entry.lane.requirements.gpu)
            && let Some(sessions) = self.gpu.get_mut(&lease.node)
        {
            *sessions = sessions.saturating_sub(1);
        }
        for dependency in &job.depends_on {
            if let Some(dependents) = self.waiting.get_mut(dependency) {
                dependents.remove(&sequence);
                if dependents.is_empty() {
                    self.waiting.remove(dependency);
                }
            }
        }
        job.lease_expires_at.map(|at| self.leases.remove(&(at, sequence)));
        job.retry_at.map(|at| self.backoffs.remove(&(at, sequence)));
        end_of(job).map(|at| self.ended.remove(&(at, sequence)));
    }

    pub(super) fn due(&self, now: Timestamp, limit: usize) -> Vec<Due> {
        let past = ..=(now, u64::MAX);
        let leases = self.leases.range(past).take(limit).map(|at| (at, true));
        let backoffs = self.backoffs.range(past).take(limit).map(|at| (at, false));
        let mut due: Vec<_> = leases.chain(backoffs).collect();
        due.sort_unstable();
        due.into_iter()
            .take(limit)
            .filter_map(|((_, sequence), is_lease)| self.numbered(*sequence).map(|entry| (&entry.job, is_lease)))
            .map(
                |(job, is_lease)| {
                    if is_lease { Due::LeaseExpired(job.id, job.fence) } else { Due::BackoffOver(job.id) }
                },
            )
            .collect()
    }

    pub(super) fn dependents(&self, dependency: JobId) -> Vec<Job> {
        let sequences = self.waiting.get(&dependency).into_iter().flatten();
        sequences.filter_map(|sequence| self.numbered(*sequence)).map(|entry| entry.job.clone()).collect()
    }

    pub(super) fn rerank(&mut self, id: JobId, rank: Rank) {
        let Some(entry) = self.jobs.get_mut(&id).filter(|entry| entry.job.state == JobState::Queued) else { return };
        let heads = &mut self.lanes.entry(entry.lane.clone()).or_default().queued;
        heads.remove(&(entry.rank, entry.job.sequence_number));
        heads.insert((rank, entry.job.sequence_number));
        entry.rank = rank;
    }

    pub(super) fn lanes(&self) -> Vec<LaneStanding> {
        let stands = |(lane, standing): (&Lane, &Standing)| LaneStanding {
            lane: lane.clone(),
            queued: standing.queued.len() as u64,
            active: standing.active,
            first: standing.queued.first().map(|head| head.0),
            last: standing.queued.last().map(|head| head.0),
        };
        self.lanes.iter().map(stands).collect()
    }

    /// Active jobs by lane.
    fn active(&self) -> impl Iterator<Item = (&Lane, u64)> {
        self.lanes.iter().map(|(lane, standing)| (lane, standing.active))
    }

    pub(super) fn append_logs(&mut self, id: JobId, attempt: u32, lines: Vec<LogLine>) -> Result<()> {
        let entry = self.jobs.get_mut(&id).ok_or_else(|| job_not_found(id))?;
        entry.logs.extend(lines.into_iter().map(|line| (attempt, line)));
        let surplus = entry.logs.len().saturating_sub(MAX_LOG_LINES);
        entry.logs.drain(..surplus);
        Ok(())
    }

    pub(super) fn logs(&self, id: JobId) -> Result<Vec<(u32, LogLine)>> {
        Ok(self.entry(id)?.logs.iter().cloned().collect())
    }

    pub(super) fn register_node(&mut self, id: NodeId, about: About, now: Timestamp) -> (Node, bool) {
        match self.nodes.get_mut(&id) {
            Some(node) => {
                node.register_again(about, now);
                (node.clone(), false)
            }
            None => (self.nodes.entry(id).or_insert(Node::new(id, about, now)).clone(), true),
        }
    }

    pub(super) fn node(&self, id: NodeId) -> Result<&Node> {
        self.nodes.get(&id).ok_or_else(|| node_not_found(id))
    }

    pub(super) fn list_nodes(&self) -> Vec<Node> {
        let mut nodes: Vec<Node> = self.nodes.values().cloned().collect();
        nodes.sort_by(|a, b| (&a.about.name, a.id).cmp(&(&b.about.name, b.id)));
        nodes
    }

    pub(super) fn apply_node(&mut self, id: NodeId, command: NodeCommand, now: Timestamp) -> Result<Node> {
        let mut node = self.node(id)?.clone();
        node.apply(command, now)?;
        self.nodes.insert(id, node.clone());
        Ok(node)
    }

    pub(super) fn remove_node(&mut self, id: NodeId) -> Result<()> {
        self.nodes.remove(&id).map(|_| ()).ok_or_else(|| node_not_found(id))
    }

    pub(super) fn counts(&self) -> Counts {
        self.tally.counts()
    }

    pub(super) fn purge(&mut self, before: Timestamp, limit: usize) -> u64 {
        let over: Vec<JobId> = self
            .ended
            .range(..(before, 0))
            .filter_map(|(_, sequence)| self.by_sequence.get(sequence))
            .filter(|id| !self.waiting.contains_key(id))
            .take(limit)
            .copied()
            .collect();
        over.iter().for_each(|id| self.forget(*id));
        over.len() as u64
    }

    pub(super) fn is_empty(&self) -> bool {
        self.jobs.is_empty() && self.nodes.is_empty()
    }

    pub(super) fn last_sequence(&self) -> u64 {
        self.last_sequence
    }

    pub(super) fn number_from(&mut self, last_sequence: u64) {
        self.last_sequence = self.last_sequence.max(last_sequence);
    }

    pub(super) fn export(&self, after: u64, limit: usize) -> Vec<Parcel> {
        let rest = (Bound::Excluded(after), Bound::Unbounded);
        let entries = self.by_sequence.range(rest).filter_map(|(_, id)| self.jobs.get(id));
        let parcel = |entry: &Entry| Parcel {
            job: entry.job.clone(),
            rank: entry.rank,
            requirements: entry.lane.requirements.clone(),
            idempotency: entry.key.as_ref().and_then(|key| {
                self.keys.get(key).map(|(digest, _)| Idempotency { key: key.1.clone(), digest: digest.clone() })
            }),
            logs: entry.logs.iter().cloned().collect(),
        };
        entries.take(limit).map(parcel).collect()
    }

    pub(super) fn import(&mut self, parcel: Parcel) {
        let Parcel { job, rank, requirements, idempotency, logs } = parcel;
        self.forget(job.id);
        let lane = Lane { requirements, tenant: job.tenant.clone(), queue: job.queue };
        let key = idempotency.map(|known| ((job.tenant.clone(), known.key), known.digest));
        if let Some((key, digest)) = &key {
            self.keys.insert(key.clone(), (digest.clone(), job.id));
        }
        self.last_sequence = self.last_sequence.max(job.sequence_number);
        self.by_sequence.insert(job.sequence_number, job.id);
        let entry = Entry { rank, lane, key: key.map(|(key, _)| key), logs: logs.into(), job };
        self.index(&entry);
        self.claimable |= entry.job.state == JobState::Queued;
        self.jobs.insert(entry.job.id, entry);
    }

    pub(super) fn import_nodes(&mut self, nodes: Vec<Node>) {
        self.nodes.extend(nodes.into_iter().map(|node| (node.id, node)));
    }

    fn forget(&mut self, id: JobId) {
        let Some(entry) = self.jobs.remove(&id) else { return };
        self.unindex(&entry);
        self.by_sequence.remove(&entry.job.sequence_number);
        entry.key.map(|key| self.keys.remove(&key));
    }
}

fn end_of(job: &Job) -> Option<Timestamp> {
    job.completed_at.filter(|_| job.state.is_final())
}

fn passes(filter: &JobFilter, job: &Job) -> bool {
    filter.tenant.as_ref().is_none_or(|tenant| *tenant == job.tenant)
        && (filter.states.is_empty() || filter.states.contains(&job.state))
        && filter.queue.is_none_or(|queue| queue == job.queue)
        && filter.priority.is_none_or(|priority| priority == job.priority)
        && filter.classification.is_none_or(|classification| classification == job.classification)
        && filter.node_id.is_none_or(|node| job.node_id == Some(node))
        && filter.scenario.as_ref().is_none_or(|scenario| *scenario == job.scenario)
        && filter.labels.iter().all(|(key, value)| job.labels.get(key) == Some(value))
        && filter.created_after.is_none_or(|after| job.created_at >= after)
        && filter.created_before.is_none_or(|before| job.created_at < before)
}
