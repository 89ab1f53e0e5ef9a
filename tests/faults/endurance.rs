//! Many attempts in a row leave nothing: no process, descriptor, group, directory, file or memory.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{AgentSetup, Cluster, files_under, resident_bytes, until};
use crate::stage::{groups_of, runners, with};
use crate::table::{Row, Seen};

pub(crate) const ROWS: &[Row] = &[Row { name: "many attempts in a row", harm: endure }];

/// What memory may grow by: allocators keep a little.
const SLACK: u64 = 8 << 20;
/// Attempts before the first look, after which nothing is new any more.
const WARM_UP: usize = 40;

/// What the agent and its runner hold between attempts.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    processes: usize,
    descriptors: Vec<usize>,
    groups: usize,
    files: usize,
    memory: Vec<u64>,
}

fn endure() -> Seen {
    let attempts = std::env::var("FFRTMP_FAULTS_ATTEMPTS").map_or(200, |text| text.parse().expect("a number"));
    let mut cluster = with(AgentSetup { slots: 2, ..AgentSetup::paced("harmed", 1e6) });
    work(&cluster, WARM_UP);
    let before = at_rest(&mut cluster);
    let begun = Instant::now();
    work(&cluster, attempts);
    let each = begun.elapsed() / u32::try_from(attempts).expect("not that many");
    let after = at_rest(&mut cluster);
    assert_eq!(
        (after.processes, &after.descriptors, after.groups, after.files - before.files),
        (before.processes, &before.descriptors, before.groups, attempts),
        "{before:?} became {after:?}; of files only the outputs may stay"
    );
    for (before, after) in before.memory.iter().zip(&after.memory) {
        assert!(*after <= before + SLACK, "memory grew from {before} to {after} bytes");
    }
    Seen::Held(format!("{attempts} attempts, {:.0} ms each: {after:?}", each.as_secs_f64() * 1e3))
}

/// Runs so many jobs to their end.
fn work(cluster: &Cluster, jobs: usize) {
    let job = || json!({"scenario": "144p-h264", "max_retries": 0, "parameters": {"duration": 0.1}});
    let ids: Vec<_> = (0..jobs).map(|_| cluster.submit(job())).collect();
    for id in ids {
        cluster.completed(&id);
    }
}

/// What is held once nothing runs.
fn at_rest(cluster: &mut Cluster) -> Holdings {
    let agent = cluster.worker(0).program.pid();
    // Connections and threads of an idle agent settle.
    let mut last = None;
    until("an agent at rest", Duration::from_secs(30), || {
        let now = holdings(cluster, agent);
        let settled = last
            .as_ref()
            .is_some_and(|last: &Holdings| last.descriptors == now.descriptors && last.groups == now.groups);
        std::thread::sleep(Duration::from_millis(500));
        if settled {
            Some(now)
        } else {
            last = Some(now);
            None
        }
    })
}

fn holdings(cluster: &Cluster, agent: u32) -> Holdings {
    let mut pids = runners(cluster);
    pids.sort_unstable();
    pids.insert(0, agent);
    let descriptors = |pid: &u32| fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count);
    Holdings {
        processes: pids.len(),
        descriptors: pids.iter().map(descriptors).collect(),
        groups: groups_of(agent).len(),
        files: files_under(&cluster.path("harmed")).len(),
        memory: pids.iter().map(|pid| resident_bytes(*pid)).collect(),
    }
}
