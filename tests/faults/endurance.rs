//! Many attempts in a row leave nothing: no process, descriptor, group, directory, file or memory.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::cluster::{AgentSetup, Cluster, PATIENCE, files_under, resident_bytes, until};
use crate::stage::{groups_of, runners, with};
use crate::table::{Row, Seen};

pub(crate) const ROWS: &[Row] = &[Row { name: "many attempts in a row", harm: endure }];

/// What memory may grow by: allocators keep a little.
const SLACK: u64 = 8 << 20;
/// Attempts before the first look, after which nothing is new any more.
const WARM_UP: usize = 40;

/// What the agent and its runner hold between attempts: the agent first, then the runner's processes,
/// the one that holds most before the others, since ids of processes begin again some day.
#[derive(Debug, PartialEq, Eq)]
struct Holdings {
    processes: usize,
    descriptors: Vec<usize>,
    groups: usize,
    files: usize,
    memory: Vec<u64>,
}

impl Holdings {
    fn is_no_more_than(&self, before: &Self) -> bool {
        let pairs = self.descriptors.iter().zip(&before.descriptors);
        self.processes <= before.processes
            && self.groups <= before.groups
            && pairs.into_iter().all(|(now, then)| now <= then)
    }
}

fn endure() -> Seen {
    let attempts = std::env::var("FFRTMP_FAULTS_ATTEMPTS").map_or(200, |text| text.parse().expect("a number"));
    let mut cluster = with(AgentSetup { slots: 2, ..AgentSetup::paced("harmed", 1e6) });
    work(&cluster, WARM_UP);
    let before = settled(&mut cluster);
    let begun = Instant::now();
    work(&cluster, attempts);
    let each = begun.elapsed() / u32::try_from(attempts).expect("not that many");
    // A connection of the agent may idle for a while longer; what leaks does not go.
    let mut after = settled(&mut cluster);
    let late = Instant::now() + PATIENCE;
    while !after.is_no_more_than(&before) {
        assert!(Instant::now() < late, "{before:?} became {after:?}");
        after = settled(&mut cluster);
    }
    assert_eq!(after.files - before.files, attempts, "of files only the outputs may stay: {before:?}, {after:?}");
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
fn settled(cluster: &mut Cluster) -> Holdings {
    let agent = cluster.worker(0).program.pid();
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
    pids.sort_unstable_by_key(|pid| std::cmp::Reverse(resident_bytes(*pid)));
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
