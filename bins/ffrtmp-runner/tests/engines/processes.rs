//! What runs below a process, read from `/proc`.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// Processes that descend from this one, however far.
pub(crate) fn descendants(ancestor: u32) -> Vec<u32> {
    let mut found = vec![ancestor];
    let all: Vec<(u32, u32)> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut known = 0;
    while known < found.len() {
        let parent = found[known];
        found.extend(all.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        known += 1;
    }
    found.split_off(1)
}

/// The descendants of this process that run with this argument.
pub(crate) fn mine_with(argument: &str) -> Vec<u32> {
    let runs_with = |pid: &u32| {
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        line.split(|byte| *byte == 0).any(|word| word == argument.as_bytes())
    };
    descendants(std::process::id()).into_iter().filter(runs_with).collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    field(pid, "PPid:")?.parse().ok()
}

/// The letter of its state, such as `T` for one that was stopped; `None` once it is gone.
pub(crate) fn state_of(pid: u32) -> Option<char> {
    field(pid, "State:")?.chars().next()
}

fn field(pid: u32, name: &str) -> Option<String> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    Some(status.lines().find_map(|line| line.strip_prefix(name))?.trim().to_owned())
}

/// Resident memory in KiB.
pub(crate) fn resident_kib(pid: u32) -> u64 {
    let text = field(pid, "VmRSS:").expect("the process runs");
    text.trim_end_matches("kB").trim().parse().expect("a number")
}

/// Open descriptors.
pub(crate) fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").count()
}

/// A zombie that nobody reaps in a container is dead all the same.
pub(crate) fn is_alive(pid: u32) -> bool {
    state_of(pid).is_some_and(|state| state != 'Z')
}

/// Waits until something is so.
pub(crate) fn wait_until(what: &str, patience: Duration, so: impl Fn() -> bool) {
    let until = Instant::now() + patience;
    while !so() {
        assert!(Instant::now() < until, "{what} has not come for {patience:?}");
        thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn await_file(path: &Path) {
    wait_until(&path.display().to_string(), Duration::from_secs(30), || path.exists());
}
