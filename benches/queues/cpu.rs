//! Processor seconds of processes, from `/proc`.

use std::fs;
use std::time::Duration;

/// User and system time of a process and of all children that it waited for.
pub(crate) fn of(pid: u32) -> Duration {
    fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|stat| ticks(&stat)).map_or(Duration::ZERO, duration)
}

/// The same of a process and of all that live below it: a PostgreSQL server and its sessions.
pub(crate) fn of_family(pid: u32) -> Duration {
    children(pid).into_iter().map(of_family).sum::<Duration>() + of(pid)
}

/// The same of this process.
pub(crate) fn of_self() -> Duration {
    of(std::process::id())
}

/// Those that any of its threads started.
fn children(pid: u32) -> Vec<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let texts = threads.map(|thread| fs::read_to_string(thread.path().join("children")).unwrap_or_default());
    let pids = |text: String| text.split_whitespace().filter_map(|child| child.parse().ok()).collect::<Vec<_>>();
    texts.flat_map(pids).collect()
}

/// Fields 14 to 17, counted behind the name, which may hold blanks and brackets.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().skip(11).take(4).map(|field| field.parse::<u64>().ok()).sum()
}

fn duration(ticks: u64) -> Duration {
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}
