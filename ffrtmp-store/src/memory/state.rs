//! What a [`super::MemoryStore`] holds: the jobs by number, the ledger of where they stand, and one
//! ordered set per other question that is asked often. Whoever changes a job does it through
//! [`State::change`], which keeps all of it true.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
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
use crate::ledger::{Ledger, Over, Place};
use crate::record::Phase;
use crate::transfer::Parcel;
use crate::{ambiguous, job_not_found, node_not_found, prefix};

#[derive(Debug, Default)]
pub(super) struct State {
    /// Set by a change that made a job claimable, taken by the store.
    pub(super) claimable: bool,
    /// Whether somebody asked to lead.
    pub(super) led: bool,
    jobs: BTreeMap<u64, Box<Entry>>,
    numbers: BTreeMap<JobId, u64>,
    last_sequence: u64,
    keys: HashMap<(TenantId, String), (String, JobId)>,
    ledger: Ledger,
    ended: BTreeSet<(Timestamp, u64)>,
    /// Sequence numbers of waiting jobs, by what they wait for.
    waiting: BTreeMap<JobId, BTreeSet<u64>>,
    nodes: BTreeMap<NodeId, Node>,
}

#[derive(Debug)]
struct Entry {
    job: Job,
    place: Place,
    key: Option<(TenantId, String)>,
    logs: VecDeque<(u32, LogLine)>,
}

impl Stored for State {
    type Fault = ffrtmp_core::Error;

    fn state(&self, id: JobId) -> Result<Option<JobState>> {
        Ok(self.entry(id).ok().map(|entry| entry.job.state))
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
        job.sequence_number = self.last_sequence + 1;
        let answer = job.clone();
        self.store(Parcel { job, rank, requirements, idempotency, logs: Vec::new() });
        answer
    }

    fn store(&mut self, parcel: Parcel) {
        let Parcel { job, rank, requirements, idempotency, logs } = parcel;
        let key = idempotency.map(|known| {
            let key = (job.tenant.clone(), known.key);
            self.keys.insert(key.clone(), (known.digest, job.id));
            key
        });
        let lane = Lane { requirements, tenant: job.tenant.clone(), queue: job.queue };
        let lane = self.ledger.lane(&lane).unwrap_or_else(|| self.ledger.open_lane(lane));
        let place = Place::of(&job, lane, rank);
        self.last_sequence = self.last_sequence.max(place.sequence);
        self.numbers.insert(job.id, place.sequence);
        self.moved(&job, None, Some(place));
        self.jobs.insert(place.sequence, Box::new(Entry { job, place, key, logs: logs.into() }));
    }

    fn number(&self, id: JobId) -> Result<u64> {
        self.numbers.get(&id).copied().ok_or_else(|| job_not_found(id))
    }

    fn entry(&self, id: JobId) -> Result<&Entry> {
        self.jobs.get(&self.number(id)?).map(AsRef::as_ref).ok_or_else(|| job_not_found(id))
    }

    pub(super) fn find(&self, key: &JobKey) -> Result<Job> {
        let entry = match key {
            JobKey::Id(id) => self.entry(*id).ok(),
            JobKey::Sequence(sequence) => self.jobs.get(sequence).map(AsRef::as_ref),
            JobKey::Prefix(text) => {
                let mut found = prefix::ids(text).into_iter().flat_map(|ids| self.numbers.range(ids));
                let first = found.next();
                if found.next().is_some() {
                    return Err(ambiguous(text));
                }
                first.and_then(|(_, sequence)| self.jobs.get(sequence)).map(AsRef::as_ref)
            }
        };
        entry.map(|entry| entry.job.clone()).ok_or_else(|| job_not_found(key))
    }

    pub(super) fn list(&self, filter: &JobFilter, page: Page) -> Vec<Job> {
        self.jobs
            .range(..page.before.unwrap_or(u64::MAX))
            .rev()
            .map(|(_, entry)| &entry.job)
            .filter(|job| passes(filter, job))
            .take(page.limit)
            .cloned()
            .collect()
    }

    pub(super) fn claim(&mut self, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>> {
        let assign = |job: &mut Job| job.assign(order.node, &order.node_name, order.lease, now).map(|_| ());
        self.ledger.heads(order).into_iter().map(|sequence| self.change(sequence, assign)).collect()
    }

    pub(super) fn apply(&mut self, id: JobId, command: JobCommand, now: Timestamp) -> Result<Job> {
        self.change(self.number(id)?, |job| job.apply(command, now).map(|_| ()))
    }

    /// Changes a job and everything that is kept about it, or nothing: a job that refuses a change
    /// is as it was.
    fn change(&mut self, sequence: u64, change: impl FnOnce(&mut Job) -> Result<()>) -> Result<Job> {
        let entry = self.jobs.get_mut(&sequence).ok_or_else(|| job_not_found(sequence))?;
        let (before, ended_at) = (entry.place, end_of(&entry.job));
        change(&mut entry.job)?;
        let after = Place::of(&entry.job, before.lane, before.rank);
        entry.place = after;
        let job = entry.job.clone();
        if before != after {
            ended_at.map(|at| self.ended.remove(&(at, sequence)));
            self.moved(&job, Some(before), Some(after));
        }
        Ok(job)
    }

    /// A job came, went or changed its place.
    fn moved(&mut self, job: &Job, from: Option<Place>, to: Option<Place>) {
        self.ledger.moved(from.as_ref(), to.as_ref());
        let is = |place: Option<Place>, phase| place.is_some_and(|place: Place| place.phase == phase);
        self.claimable |= is(to, Phase::Ready) && !is(from, Phase::Ready);
        let sequence = job.sequence_number;
        if is(to, Phase::Ended) {
            self.ended.extend(end_of(job).map(|at| (at, sequence)));
        }
        match (is(from, Phase::Waiting), is(to, Phase::Waiting)) {
            (false, true) => {
                for dependency in &job.depends_on {
                    self.waiting.entry(*dependency).or_default().insert(sequence);
                }
            }
            (true, false) => self.waits_no_more(job),
            _ => {}
        }
    }

    fn waits_no_more(&mut self, job: &Job) {
        for dependency in &job.depends_on {
            if let Some(dependents) = self.waiting.get_mut(dependency) {
                dependents.remove(&job.sequence_number);
                if dependents.is_empty() {
                    self.waiting.remove(dependency);
                }
            }
        }
    }

    pub(super) fn due(&self, now: Timestamp, limit: usize) -> Vec<Due> {
        let due = |over| {
            let (Over::Lease(sequence) | Over::Backoff(sequence)) = over;
            let job = &self.jobs.get(&sequence)?.job;
            Some(match over {
                Over::Lease(_) => Due::LeaseExpired(job.id, job.fence),
                Over::Backoff(_) => Due::BackoffOver(job.id),
            })
        };
        self.ledger.over(now, limit).into_iter().filter_map(due).collect()
    }

    pub(super) fn dependents(&self, dependency: JobId) -> Vec<Job> {
        let sequences = self.waiting.get(&dependency).into_iter().flatten();
        sequences.filter_map(|sequence| self.jobs.get(sequence)).map(|entry| entry.job.clone()).collect()
    }

    pub(super) fn rerank(&mut self, id: JobId, rank: Rank) {
        let entry = self.numbers.get(&id).and_then(|sequence| self.jobs.get_mut(sequence));
        let Some(entry) = entry.filter(|entry| entry.place.phase == Phase::Ready) else { return };
        let before = entry.place;
        entry.place.rank = rank;
        self.ledger.moved(Some(&before), Some(&entry.place));
    }

    pub(super) fn lanes(&self) -> Vec<LaneStanding> {
        self.ledger.standings()
    }

    pub(super) fn append_logs(&mut self, id: JobId, attempt: u32, lines: Vec<LogLine>) -> Result<()> {
        let sequence = self.number(id)?;
        let entry = self.jobs.get_mut(&sequence).ok_or_else(|| job_not_found(id))?;
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
        self.ledger.counts()
    }

    pub(super) fn purge(&mut self, before: Timestamp, limit: usize) -> u64 {
        let over: Vec<JobId> = self
            .ended
            .range(..(before, 0))
            .filter_map(|(_, sequence)| self.jobs.get(sequence))
            .map(|entry| entry.job.id)
            .filter(|id| !self.waiting.contains_key(id))
            .take(limit)
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
        let parcel = |entry: &Entry| {
            let digest = |key: &(TenantId, String)| self.keys.get(key).map(|(digest, _)| digest.clone());
            let key = entry.key.as_ref().and_then(|key| Some((key.1.clone(), digest(key)?)));
            Some(Parcel {
                job: entry.job.clone(),
                rank: entry.place.rank,
                requirements: self.ledger.lane_of(entry.place.lane)?.requirements.clone(),
                idempotency: key.map(|(key, digest)| Idempotency { key, digest }),
                logs: entry.logs.iter().cloned().collect(),
            })
        };
        self.jobs.range(rest).take(limit).filter_map(|(_, entry)| parcel(entry)).collect()
    }

    pub(super) fn import(&mut self, parcel: Parcel) {
        self.forget(parcel.job.id);
        self.store(parcel);
    }

    pub(super) fn import_nodes(&mut self, nodes: Vec<Node>) {
        self.nodes.extend(nodes.into_iter().map(|node| (node.id, node)));
    }

    fn forget(&mut self, id: JobId) {
        let Some(entry) = self.numbers.remove(&id).and_then(|sequence| self.jobs.remove(&sequence)) else { return };
        end_of(&entry.job).map(|at| self.ended.remove(&(at, entry.place.sequence)));
        self.moved(&entry.job, Some(entry.place), None);
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
