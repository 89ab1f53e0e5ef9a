//! Why a job is not running yet, in words.

use std::collections::{BTreeMap, HashMap};

use crate::id::{JobId, TenantId};
use crate::job::{Job, JobState, Queue};
use crate::node::{Node, NodeStatus, Requirements};
use crate::store::{Caps, Lane, LaneStanding};

/// What a reason follows from.
#[derive(Default)]
pub(super) struct Surroundings {
    pub(super) nodes: Vec<Node>,
    /// Left empty where nothing is bounded.
    pub(super) lanes: Vec<LaneStanding>,
    pub(super) caps: Caps,
    /// States of the jobs that others wait for, as far as they were read.
    pub(super) dependencies: HashMap<JobId, JobState>,
}

pub(super) fn needs_reason(job: &Job) -> bool {
    matches!(job.state, JobState::Queued | JobState::Waiting | JobState::Retrying | JobState::Paused)
}

/// Whether the reason may be that others hold what is bounded.
pub(super) fn needs_lanes(job: &Job, caps: &Caps) -> bool {
    job.state == JobState::Queued && (!caps.is_empty() || Requirements::of(job).is_ok_and(|needs| needs.gpu))
}

/// The lane that a ready job stands in, if this version can read its scenario.
pub(super) fn lane(job: &Job) -> Option<Lane> {
    let requirements = if job.state == JobState::Queued { Requirements::of(job).ok()? } else { return None };
    Some(Lane { requirements, tenant: job.tenant.clone(), queue: job.queue })
}

pub(super) fn reason(job: &Job, around: &Surroundings) -> Option<String> {
    match job.state {
        JobState::Queued => Some(around.queued(job)),
        JobState::Waiting => Some(around.waiting(job)),
        JobState::Paused => Some("paused by a person; resume it to go on".into()),
        JobState::Retrying => job.retry_at.map(|at| format!("tries again at {at} after: {}", last_error(job))),
        _ => None,
    }
}

/// What keeps all of these nodes, of which there is at least one, from running such jobs.
pub(super) fn missing(needs: &Requirements, nodes: &[Node]) -> String {
    let mut lacks: BTreeMap<String, usize> = BTreeMap::new();
    for thing in nodes.iter().filter_map(|node| needs.unmet(&node.offer())) {
        *lacks.entry(thing).or_default() += 1;
    }
    let mut lacks: Vec<_> = lacks.into_iter().collect();
    lacks.sort_by_key(|(_, nodes)| std::cmp::Reverse(*nodes));
    match lacks.as_slice() {
        [(thing, count)] => format!("needs {thing}: {} of {} nodes have it", nodes.len() - count, nodes.len()),
        several => {
            let parts: Vec<_> = several.iter().map(|(thing, count)| format!("{count} without {thing}")).collect();
            format!("none of {} nodes can run it: {}", nodes.len(), parts.join(", "))
        }
    }
}

impl Surroundings {
    fn queued(&self, job: &Job) -> String {
        let needs = match Requirements::of(job) {
            Ok(needs) => needs,
            Err(error) => return error.to_string(),
        };
        if self.nodes.is_empty() {
            return "no node has registered yet".into();
        }
        let able: Vec<_> = self.nodes.iter().filter(|node| needs.met_by(&node.offer())).collect();
        let serving: Vec<_> = able.iter().filter(|node| node.takes_jobs()).copied().collect();
        let free = serving.iter().any(|node| node.status == NodeStatus::Available);
        match () {
            () if able.is_empty() => missing(&needs, &self.nodes),
            () if serving.is_empty() => that_can(able.len(), out_of_service(&able)),
            () => self
                .capped(job)
                .or_else(|| self.out_of_sessions(&needs, &serving))
                .or_else(|| held_back(&serving))
                .unwrap_or_else(|| if free { "next in line".into() } else { that_can(serving.len(), "busy") }),
        }
    }

    fn capped(&self, job: &Job) -> Option<String> {
        let full = |what: String, active: u64, bound: Option<u32>| {
            let bound = bound.filter(|bound| active >= u64::from(*bound))?;
            Some(format!("{what} has {active} of {bound} jobs running"))
        };
        let queue = self.caps.queues.get(&job.queue).copied();
        full(format!("queue {}", job.queue), self.active_in(job.queue), queue).or_else(|| {
            full(format!("tenant {}", job.tenant), self.active_of(&job.tenant), self.caps.of_tenant(&job.tenant))
        })
    }

    fn active_in(&self, queue: Queue) -> u64 {
        self.lanes.iter().filter(|standing| standing.lane.queue == queue).map(|standing| standing.active).sum()
    }

    fn active_of(&self, tenant: &TenantId) -> u64 {
        self.lanes.iter().filter(|standing| standing.lane.tenant == *tenant).map(|standing| standing.active).sum()
    }

    fn out_of_sessions(&self, needs: &Requirements, serving: &[&Node]) -> Option<String> {
        let sessions: Option<u64> =
            serving.iter().map(|node| node.offer().gpu_sessions.filter(|_| needs.gpu).map(u64::from)).sum();
        let gpu = self.lanes.iter().filter(|standing| standing.lane.requirements.gpu);
        let taken: u64 = gpu.map(|standing| standing.active).sum();
        let sessions = sessions.filter(|sessions| taken >= *sessions)?;
        Some(format!("all {sessions} encode sessions of the graphics processors are taken"))
    }

    fn waiting(&self, job: &Job) -> String {
        let open = job.depends_on.iter().filter(|id| self.dependencies.get(id) != Some(&JobState::Completed));
        let names: Vec<_> = open
            .map(|id| match self.dependencies.get(id) {
                Some(state) => format!("{id} ({state})"),
                None => id.to_string(),
            })
            .collect();
        format!("waits for {}", names.join(", "))
    }
}

/// Why none of these nodes takes a job now, if they all say so.
fn held_back(serving: &[&Node]) -> Option<String> {
    let reasons: Option<Vec<_>> = serving.iter().map(|node| node.telemetry.held_back.as_deref()).collect();
    match reasons?[..] {
        [] => None,
        [only] => Some(format!("the only node that can run it takes no jobs now: {only}")),
        [first, ..] => Some(format!("all {} nodes that can run it take no jobs now: {first}", serving.len())),
    }
}

fn out_of_service(nodes: &[&Node]) -> &'static str {
    let draining = nodes.iter().filter(|node| node.draining && node.is_alive()).count();
    match draining {
        0 => "offline",
        all if all == nodes.len() => "draining",
        _ => "offline or draining",
    }
}

fn that_can(nodes: usize, are: &str) -> String {
    match nodes {
        1 => format!("the only node that can run it is {are}"),
        several => format!("all {several} nodes that can run it are {are}"),
    }
}

fn last_error(job: &Job) -> &str {
    job.error.as_ref().map_or("an unknown error", |error| &error.message)
}
