//! Control groups of the machine that the tests run on: as root all of it, as an ordinary user what
//! is told instead. `FFRTMP_CGROUPS=required` makes a machine without them a failure.
//!
//! What runs inside the groups is this very program; see [`workload`].

mod limits;
mod moving;
mod owners;
mod workload;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ffrtmp_core::conformance::governor::{Subject, run};
use ffrtmp_governor::cgroups::{CgroupGovernor, Ownership};
use workload::Workload;

/// The governor, or the reason for which a test cannot run here, printed.
fn governor(ownership: Ownership) -> Option<CgroupGovernor> {
    match CgroupGovernor::detect(ownership) {
        Ok(governor) => Some(governor),
        Err(why) if std::env::var("FFRTMP_CGROUPS").is_ok_and(|value| value == "required") => {
            panic!("no control groups: {why}")
        }
        Err(why) => {
            eprintln!("skipped, no control groups: {why}");
            None
        }
    }
}

#[test]
fn cgroups_conform() {
    for ownership in [Ownership::Attempts, Ownership::Foreign] {
        let Some(governor) = governor(ownership) else { return };
        let work = tempfile::tempdir().expect("a work directory");
        let (busy, mut dead) = (Workload::start("busy"), Workload::start("nothing"));
        dead.wait();
        run(&Subject { governor: &governor, work_dir: work.path().into(), busy_pid: busy.pid(), dead_pid: dead.pid() });
    }
}

/// Waits until something is so.
fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    let until = Instant::now() + Duration::from_secs(60);
    while !so() {
        assert!(Instant::now() < until, "{what}: not within a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The groups that a process is in.
fn groups_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

/// Folders of groups that a process made, in all trees.
fn made_by(owner: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), &format!("-{owner}-"), &mut found);
    found
}

fn walk(folder: &Path, mark: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("ffrtmp-") && name.contains(mark) {
            found.push(entry.path());
        }
        walk(&entry.path(), mark, found);
    }
}
