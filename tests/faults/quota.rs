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
/// Percent of a core that is left over, of two, where nobody takes it away from them.
const IDLE: f64 = 30.0;

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
    let (mut seen, mut busy) = (Vec::new(), 0);
    for _ in 0..TRIES {
        let (used, idle) = window([ids[0].1, ids[1].1]);
        busy += usize::from(idle < IDLE);
        for (percent, used) in [100.0, 50.0].into_iter().zip(used) {
            assert!(used <= percent * (1.0 + TOLERANCE), "an attempt with {percent} % of a core used {used:.1} %");
        }
        seen.push(used);
        if used[0] >= 100.0 * (1.0 - TOLERANCE) && used[1] >= 50.0 * (1.0 - TOLERANCE) {
            ids.iter().for_each(|(id, _)| drop(cluster.call(cluster.client.cancel(id))));
            return Seen::Held(format!("used {:.1} % and {:.1} %", used[0], used[1]));
        }
    }
    assert!(busy > 0, "less than the limits in every window, though the processor was idle: {seen:.1?}");
    Seen::Skipped(format!("never above the limits, but other work left less ({busy} of {TRIES}): {seen:.1?}"))
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

/// Percent of a core that each of them used over a while, and that nobody used.
fn window(pids: [u32; 2]) -> ([f64; 2], f64) {
    let ticks = || pids.map(|pid| cpu_ticks(pid).expect("the attempt goes on") as f64);
    let (begun, before, idle_before) = (Instant::now(), ticks(), idle_ticks());
    std::thread::sleep(WINDOW);
    let (after, idle_after, seconds) = (ticks(), idle_ticks(), begun.elapsed().as_secs_f64());
    let percent = |before: f64, after: f64| 100.0 * (after - before) / TICKS_PER_SECOND / seconds;
    ([0, 1].map(|which| percent(before[which], after[which])), percent(idle_before, idle_after))
}

/// Ticks in which a core of the machine had nothing to do.
fn idle_ticks() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").expect("the times of the processor");
    let all = stat.lines().next().expect("the line of all cores");
    all.split_whitespace().nth(4).and_then(|idle| idle.parse().ok()).expect("a number")
}
