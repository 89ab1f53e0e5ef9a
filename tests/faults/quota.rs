//! Limits on the processor, measured: two attempts side by side, one with a whole core, one with half.

use std::time::{Duration, Instant};

use ffrtmp::core::job::JobState;
use serde_json::json;

use crate::cluster::{AgentSetup, Cluster, PATIENCE, cpu_ticks, until};
use crate::stage::{agent, enforces, limited, runners, with};
use crate::table::{Row, Seen};

pub(crate) const ROWS: &[Row] = &[Row { name: "limits of 100 % and 50 % of a core", harm: measured }];

const TICKS_PER_SECOND: f64 = 100.0;
const WINDOW: Duration = Duration::from_secs(4);
/// How long a process is looked at, and the ticks of the processor that one that spins has then used,
/// half of a core or not.
const LOOK: Duration = Duration::from_millis(500);
const SPUN: u64 = 8;
/// What a limit may be missed by, of itself.
const TOLERANCE: f64 = 0.05;
/// Windows that are looked at: other work on the machine may take the processor away from both.
const TRIES: usize = 5;

fn measured() -> Seen {
    let cluster = with(AgentSetup { slots: 2, ..agent("spin") });
    if let Err(why) = enforces(&cluster, "cpu") {
        return Seen::Skipped(why);
    }
    if std::thread::available_parallelism().map_or(1, usize::from) < 2 {
        return Seen::Skipped("one core cannot give one and a half".into());
    }
    let mut known = Vec::new();
    let ids = [100, 50].map(|percent| {
        let id = cluster.submit(limited(&json!({"max_cpu_percent": percent, "timeout_sec": 60})));
        cluster.job_when(&id, "running", |job| job.state == JobState::Running);
        let spinning = until("an attempt that spins", PATIENCE, || spinning(&cluster, &known));
        known.push(spinning);
        (id, spinning)
    });
    let mut seen = Vec::new();
    for _ in 0..TRIES {
        let used = window([ids[0].1, ids[1].1]);
        for (percent, used) in [100.0, 50.0].into_iter().zip(used) {
            assert!(used <= percent * (1.0 + TOLERANCE), "an attempt with {percent} % of a core used {used:.1} %");
        }
        seen.push(used);
        if used[0] >= 100.0 * (1.0 - TOLERANCE) && used[1] >= 50.0 * (1.0 - TOLERANCE) {
            ids.iter().for_each(|(id, _)| drop(cluster.call(cluster.client.cancel(id))));
            return Seen::Held(format!("used {:.1} % and {:.1} %", used[0], used[1]));
        }
    }
    let load = std::fs::read_to_string("/proc/loadavg").expect("the load");
    let load: f64 = load.split(' ').next().and_then(|load| load.parse().ok()).expect("a number");
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    // The spinning attempts are counted in it.
    assert!(load > cores + 4.0, "less than the limits in every window: {seen:.1?}");
    Seen::Skipped(format!("never above the limits, but other work leaves less (load {load}): {seen:.1?}"))
}

/// A process beside the known ones that spins: more than the server needs to load what it forks, and
/// going on.
fn spinning(cluster: &Cluster, known: &[u32]) -> Option<u32> {
    let unknown = || runners(cluster).into_iter().filter(|pid| !known.contains(pid));
    let before: Vec<_> = unknown().filter_map(|pid| Some((pid, cpu_ticks(pid)?))).collect();
    std::thread::sleep(LOOK);
    let has_spun = |(pid, ticks): &(u32, u64)| cpu_ticks(*pid).is_some_and(|now| now >= ticks + SPUN);
    before.into_iter().find(has_spun).map(|(pid, _)| pid)
}

/// Percent of a core that each of them used over a while.
fn window(pids: [u32; 2]) -> [f64; 2] {
    let ticks = || pids.map(|pid| cpu_ticks(pid).expect("the attempt goes on") as f64);
    let (begun, before) = (Instant::now(), ticks());
    std::thread::sleep(WINDOW);
    let (after, seconds) = (ticks(), begun.elapsed().as_secs_f64());
    [0, 1].map(|which| 100.0 * (after[which] - before[which]) / TICKS_PER_SECOND / seconds)
}
