//! A cluster whose agents harm themselves, and what must be left of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ffrtmp::core::error::{Code, JobError};
use ffrtmp::core::job::{Job, JobState};
use serde_json::{Value, json};

use crate::cluster::{AgentSetup, Cluster, Setup, at_work, resident_bytes, until, with_home};

/// Memory that an agent may have, whatever its children did.
const AGENT_MEMORY: u64 = 256 << 20;

/// One master, and one agent whose attempts go wrong in this way.
pub(crate) fn faulty(fault: &str) -> Cluster {
    with(agent(fault))
}

/// An agent whose attempts go wrong in a way that the runner knows by this name.
pub(crate) fn agent(fault: &str) -> AgentSetup {
    AgentSetup { runner: vec!["--fault".into(), fault.into()], ..AgentSetup::new("harmed") }
}

/// One master and this agent.
pub(crate) fn with(agent: AgentSetup) -> Cluster {
    Cluster::start(Setup { agents: vec![agent], ..Setup::default() })
}

/// A job that is not tried again, with these limits.
pub(crate) fn limited(limits: &Value) -> Value {
    json!({"scenario": "144p-h264", "max_retries": 0, "parameters": {"duration": 1}, "resource_limits": limits})
}

/// Runs a job that must fail with this code, and how long that took.
pub(crate) fn failure(cluster: &Cluster, request: Value, code: Code) -> (Job, Duration) {
    let begun = Instant::now();
    let id = cluster.submit(request);
    let job = cluster.ended(&id);
    let took = begun.elapsed();
    assert_eq!(job.state, JobState::Failed, "{:?}", job.error);
    assert_eq!(error(&job).code, code, "{:?}", job.error);
    (job, took)
}

pub(crate) fn error(job: &Job) -> &JobError {
    job.error.as_ref().expect("a failed job has an error")
}

/// The agent lives, holds little, and serves; nothing of the attempt is left.
pub(crate) fn assert_unharmed(cluster: &mut Cluster) {
    assert!(cluster.worker(0).program.ended().is_none(), "the agent ended");
    let agent = cluster.worker(0).program.pid();
    let memory = resident_bytes(agent);
    assert!(memory < AGENT_MEMORY, "the agent holds {memory} bytes");
    assert!(cluster.node_named("harmed").is_some(), "the agent is out of service");
    cluster.assert_no_residue();
    assert_attempts_gone(cluster);
    cluster.assert_no_panic();
}

/// Nothing that an attempt started is left but the server that forks attempts, and the child that it
/// holds in reserve, in a group of its own.
pub(crate) fn assert_attempts_gone(cluster: &mut Cluster) {
    until("every process of the attempt is gone", Duration::from_secs(10), || {
        (runners(cluster).len() <= 2 && at_work(&cluster.home()).is_none()).then_some(())
    });
    let agent = cluster.worker(0).program.pid();
    until("control groups of attempts are gone", Duration::from_secs(5), || {
        let names: BTreeSet<_> =
            groups_of(agent).iter().map(|group| group.file_name().map(ToOwned::to_owned)).collect();
        (names.len() <= 1).then_some(())
    });
}

/// Every living process of the runner for files. The one for live work has no part in these rows.
pub(crate) fn runners(cluster: &Cluster) -> Vec<u32> {
    let all = with_home(&cluster.home()).into_iter();
    all.filter(|process| process.name == "ffrtmp-runner").map(|process| process.pid).collect()
}

/// Control groups that a process made for attempts.
pub(crate) fn groups_of(pid: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = next.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            match name.strip_prefix("ffrtmp-attempt-") {
                Some(owner) if owner.split('-').nth(1) == Some(&pid.to_string()) => found.push(entry.path()),
                Some(_) => {}
                None => next.push(entry.path()),
            }
        }
    }
    found
}

/// Whether the agent says that the kernel holds a limit.
pub(crate) fn enforces(cluster: &Cluster, limit: &str) -> Result<(), String> {
    let node = cluster.node_named("harmed").expect("the agent is in service");
    let limits = &node.about.capabilities.limits;
    let guard = limits.iter().find(|guard| guard.name == limit).expect("every limit is told");
    if guard.on { Ok(()) } else { Err(format!("{limit} is not enforced here: {}", guard.detail)) }
}
