//! Why a job is not running yet, in words.

use std::collections::{BTreeMap, HashMap};

use crate::id::{JobId, TenantId};
use crate::job::{Job, JobState, Queue};
use crate::media::named_enum;
use crate::node::{Node, NodeStatus, Offer, Requirements};
use crate::store::{Caps, Lane, LaneStanding};

named_enum!(
    /// Why a job does not run yet, for counting.
    WaitingCause, "cause" {
        /// A node will take it.
        NextInLine "next_in_line",
        /// Every node that can run it has its hands full.
        NodesBusy "nodes_busy",
        /// Every node that can run it takes no jobs now: a full disk, pressure, heat.
        NodesHeldBack "nodes_held_back",
        /// Every node that can run it is offline or draining.
        NodesOffline "nodes_offline",
        /// No node has registered.
        NoNode "no_node",
        /// No node can run it.
        NoCapableNode "no_capable_node",
        /// Its queue has as many running as it may.
        QueueLimit "queue_limit",
        /// Its tenant has as many running as it may.
        TenantLimit "tenant_limit",
        /// All encode sessions of graphics processors are taken.
        GpuSessions "gpu_sessions",
        /// Jobs that it waits for have not completed.
        Dependencies "dependencies",
        /// Its last attempt failed; the next one is not due yet.
        Backoff "backoff",
        /// A person holds it.
        Paused "paused",
    }
);

/// What a reason follows from.
#[derive(Default)]
pub(super) struct Surroundings {
    pub(super) nodes: Vec<Node>,
    /// Left empty where nothing is bounded.
    pub(super) lanes: Vec<LaneStanding>,
    pub(super) caps: Caps,
    /// States of the jobs that others wait for, as far as they were read.
    pub(super) dependencies: BTreeMap<JobId, JobState>,
}

/// What the nodes say to a kind of job: whether they are unfit for it, and how they are if not.
struct Standing {
    unfit: Option<(WaitingCause, String)>,
    state: (WaitingCause, String),
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
        let fleet = self.fleet(&needs, &self.offers());
        let (_, words) = fleet.unfit.or_else(|| self.capped(job.queue, &job.tenant)).unwrap_or(fleet.state);
        words
    }

    /// How many jobs of every lane wait, by why. Nodes are looked at once for all lanes that need the
    /// same of them.
    pub(super) fn causes(&self) -> BTreeMap<WaitingCause, u64> {
        let offers = self.offers();
        let mut fleets = HashMap::new();
        let mut causes = BTreeMap::new();
        for LaneStanding { lane, queued, .. } in self.lanes.iter().filter(|standing| standing.queued > 0) {
            let needs = &lane.requirements;
            let (unfit, state) = *fleets.entry(needs).or_insert_with(|| {
                let fleet = self.fleet(needs, &offers);
                (fleet.unfit.map(|(cause, _)| cause), fleet.state.0)
            });
            let capped = || self.capped(lane.queue, &lane.tenant).map(|(cause, _)| cause);
            *causes.entry(unfit.or_else(capped).unwrap_or(state)).or_default() += queued;
        }
        causes
    }

    fn offers(&self) -> Vec<Offer> {
        self.nodes.iter().map(Node::offer).collect()
    }

    /// What the nodes say to jobs that need this of them.
    fn fleet(&self, needs: &Requirements, offers: &[Offer]) -> Standing {
        let able = self.nodes.iter().zip(offers).filter(|(_, offer)| needs.met_by(offer));
        let able: Vec<_> = able.map(|(node, _)| node).collect();
        let serving: Vec<_> = able.iter().filter(|node| node.takes_jobs()).copied().collect();
        let free = serving.iter().any(|node| node.status == NodeStatus::Available);
        let unfit = match () {
            () if self.nodes.is_empty() => Some((WaitingCause::NoNode, "no node has registered yet".into())),
            () if able.is_empty() => Some((WaitingCause::NoCapableNode, missing(needs, &self.nodes))),
            () if serving.is_empty() => Some((WaitingCause::NodesOffline, that_can(able.len(), out_of_service(&able)))),
            () => None,
        };
        let idle = || match free {
            true => (WaitingCause::NextInLine, "next in line".into()),
            false => (WaitingCause::NodesBusy, that_can(serving.len(), "busy")),
        };
        let sessions = self.out_of_sessions(needs, &serving).map(|words| (WaitingCause::GpuSessions, words));
        let held_back = || held_back(&serving).map(|words| (WaitingCause::NodesHeldBack, words));
        Standing { unfit, state: sessions.or_else(held_back).unwrap_or_else(idle) }
    }

    fn capped(&self, queue: Queue, tenant: &TenantId) -> Option<(WaitingCause, String)> {
        let full = |what: &dyn Fn() -> String, active: &dyn Fn() -> u64, bound: Option<u32>| {
            let (bound, active) = (bound?, active());
            (active >= u64::from(bound)).then(|| format!("{} has {active} of {bound} jobs running", what()))
        };
        let of_queue = self.caps.queues.get(&queue).copied();
        let queue_full = full(&|| format!("queue {queue}"), &|| self.active_in(queue), of_queue);
        queue_full.map(|words| (WaitingCause::QueueLimit, words)).or_else(|| {
            full(&|| format!("tenant {tenant}"), &|| self.active_of(tenant), self.caps.of_tenant(tenant))
                .map(|words| (WaitingCause::TenantLimit, words))
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
