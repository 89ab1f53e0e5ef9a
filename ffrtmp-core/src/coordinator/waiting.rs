//! Why a job is not running yet, in words.

use crate::job::{Job, JobState};
use crate::node::{Node, NodeStatus, Requirements};

pub(super) fn needs_reason(job: &Job) -> bool {
    matches!(job.state, JobState::Queued | JobState::Waiting | JobState::Retrying | JobState::Paused)
}

pub(super) fn reason(job: &Job, nodes: &[Node]) -> Option<String> {
    match job.state {
        JobState::Queued => Some(queued(job, nodes)),
        JobState::Waiting => Some(format!("waits for {}", list(&job.depends_on))),
        JobState::Paused => Some("paused by a person; resume it to go on".into()),
        JobState::Retrying => job.retry_at.map(|at| format!("tries again at {at} after: {}", last_error(job))),
        _ => None,
    }
}

fn queued(job: &Job, nodes: &[Node]) -> String {
    let needs = match Requirements::of(job) {
        Ok(needs) => needs,
        Err(error) => return error.to_string(),
    };
    let able: Vec<_> = nodes.iter().filter(|node| needs.met_by(&node.offer())).collect();
    let serving = able.iter().filter(|node| node.takes_jobs()).count();
    let free = able.iter().filter(|node| node.status == NodeStatus::Available).count();
    match (nodes.len(), able.len(), serving, free) {
        (0, ..) => "no node has registered yet".into(),
        (all, 0, ..) => format!("needs {}: 0 of {all} nodes have it", needs.class()),
        (_, able, 0, _) => that_can(able, "offline or draining"),
        (_, _, serving, 0) => that_can(serving, "busy"),
        _ => "next in line".into(),
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

fn list(ids: &[crate::id::JobId]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
