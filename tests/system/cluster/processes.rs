//! What `/proc` tells of the processes of one cluster. They are known by their `HOME`, which the
//! agent hands on to the children that it starts.

use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// A living process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) name: String,
}

/// Every living process with this home directory.
pub(crate) fn with_home(home: &Path) -> Vec<Process> {
    let marker = [b"HOME=", home.as_os_str().as_bytes()].concat();
    let entries = fs::read_dir("/proc").expect("/proc is there");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| {
        // Gone, or not ours to look at.
        let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environ.split(|byte| *byte == 0).any(|variable| variable == marker)
    })
    .filter_map(|pid| Some(Process { pid, name: fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().into() }))
    .collect()
}

/// The child that runs an attempt now: the one that has an unpublished output open.
pub(crate) fn at_work(home: &Path) -> Option<Process> {
    with_home(home).into_iter().find(|process| {
        let files = open_files(process.pid);
        process.name.starts_with("ffrtmp-runner") && files.iter().any(|file| is_unpublished(file))
    })
}

/// Whether a path is the temporary name of an output.
pub(crate) fn is_unpublished(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "part")
}

fn open_files(pid: u32) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    entries.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok()).collect()
}

/// Whether the process is gone, or only waits to be reaped.
pub(crate) fn is_gone(pid: u32) -> bool {
    stat(pid).is_none_or(|fields| fields[0] == "Z")
}

/// User and system CPU time of a process in clock ticks, 100 a second.
pub(crate) fn cpu_ticks(pid: u32) -> Option<u64> {
    let fields = stat(pid)?;
    Some(fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?)
}

/// Resident memory of a process in bytes.
pub(crate) fn resident_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the process lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches("kB").trim().parse::<u64>().expect("kilobytes") * 1024
}

/// The fields of `/proc/PID/stat` from the state on.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    Some(text.rsplit_once(')')?.1.split_whitespace().map(str::to_owned).collect())
}
