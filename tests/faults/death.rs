//! Crashes, and the death of the runner and of the agent.

use std::path::PathBuf;
use std::time::Duration;

use ffrtmp::core::error::Code;
use ffrtmp::core::job::JobState;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::cluster::{AgentSetup, Cluster, PATIENCE, SHORT_LEASE, Setup, at_work, until};
use crate::stage::{assert_unharmed, error, failure, faulty, groups_of, limited, runners};
use crate::table::{Row, Seen};

pub(crate) const ROWS: &[Row] = &[
    Row { name: "crash of a decoder (SIGSEGV)", harm: crash },
    Row { name: "runner killed", harm: runner },
    Row { name: "agent killed with children", harm: agent },
];

fn crash() -> Seen {
    let mut cluster = faulty("segfault");
    let (job, _) = failure(&cluster, limited(&json!({})), Code::AttemptCrashed);
    assert_unharmed(&mut cluster);
    Seen::Held(error(&job).message.clone())
}

/// A cluster whose attempts take as long as their media, and whose leases are short.
fn unhurried(slots: u32) -> Cluster {
    let agent = AgentSetup { slots, ..AgentSetup::paced("harmed", 1.0) };
    Cluster::start(Setup { master: SHORT_LEASE.to_vec(), agents: vec![agent] })
}

fn runner() -> Seen {
    let mut cluster = unhurried(1);
    let id = cluster.submit(json!({"scenario": "144p-h264", "max_retries": 3, "parameters": {"duration": 4}}));
    cluster.job_under_way(&id);
    let killed = runners(&cluster);
    assert!(!killed.is_empty(), "an attempt runs in a runner");
    killed.iter().for_each(|pid| kill(*pid));
    let (job, _) = cluster.completed(&id);
    assert!(job.attempt >= 2, "the attempt whose runner was killed cannot have completed");
    assert_unharmed(&mut cluster);
    Seen::Held(format!("{} processes killed; attempt {} completed", killed.len(), job.attempt))
}

fn agent() -> Seen {
    let mut cluster = unhurried(2);
    let job = || json!({"scenario": "144p-h264", "max_retries": 3, "parameters": {"duration": 5}});
    let ids = [cluster.submit(job()), cluster.submit(job())];
    ids.iter().for_each(|id| drop(cluster.job_when(id, "running", |job| job.state == JobState::Running)));
    until("a child at work", PATIENCE, || at_work(&cluster.home()));
    let orphans = runners(&cluster);
    let dead = cluster.worker(0).program.pid();
    cluster.worker(0).program.kill();
    until("the children of the killed agent are gone", Duration::from_secs(5), || {
        runners(&cluster).is_empty().then_some(())
    });
    let agent = AgentSetup { slots: 2, ..AgentSetup::paced("harmed", 1.0) };
    let again = cluster.add_agent(&agent);
    for id in &ids {
        cluster.completed(id);
    }
    cluster.assert_no_residue();
    assert_eq!(groups_of(dead), Vec::<PathBuf>::new(), "control groups of the killed agent are left");
    assert!(cluster.worker(again).program.ended().is_none());
    Seen::Held(format!("{} children ended with it; both jobs ran again and nothing was left", orphans.len()))
}

fn kill(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    // One may have ended with another.
    let _ = kill_process(pid, Signal::KILL);
}
