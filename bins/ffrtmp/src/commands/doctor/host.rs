//! The machine: processors, disk, graphics, energy counters, limits, tools.

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access, statvfs};

use super::{Finding, Standing};
use crate::describe::quantity::bytes;

/// Agents warn below this share of free disk …
const DISK_WARN: f64 = 0.10;
/// … and take no jobs below this one.
const DISK_REFUSE: f64 = 0.05;

pub(super) fn findings() -> Vec<Finding> {
    let root = Path::new("/");
    let mut findings =
        vec![processors(), disk("disk here", Path::new(".")), disk("disk for scratch", &std::env::temp_dir())];
    findings.extend([nvidia(root), rapl(root), cgroup(root), ffprobe()]);
    findings
}

fn processors() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Finding::works("processors", format!("{count} usable"))
}

fn disk(what: &'static str, at: &Path) -> Finding {
    let shown = at.canonicalize().unwrap_or_else(|_| at.to_owned()).display().to_string();
    let facts = match statvfs(at) {
        Ok(facts) => facts,
        Err(error) => {
            return Finding::not(what, Standing::Short, format!("{shown}: {error}"), "go to a directory that exists");
        }
    };
    let (free, whole) = (facts.f_bavail.saturating_mul(facts.f_frsize), facts.f_blocks.saturating_mul(facts.f_frsize));
    let share = if whole == 0 { 1.0 } else { free as f64 / whole as f64 };
    let detail = format!("{} of {} free at {shown}", bytes(free), bytes(whole));
    let short = |cure: &str| Finding::not(what, Standing::Short, detail.clone(), cure);
    match share {
        _ if access(at, Access::WRITE_OK).is_err() => short("outputs cannot be written there"),
        share if share < DISK_REFUSE => short("free some space: agents take no jobs below 5 %"),
        share if share < DISK_WARN => short("free some space: less than 10 % is left"),
        _ => Finding::works(what, detail),
    }
}

fn nvidia(root: &Path) -> Finding {
    const WHAT: &str = "nvidia devices";
    let mut devices: Vec<_> = std::fs::read_dir(root.join("dev"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.strip_prefix("nvidia").is_some_and(is_number))
        .collect();
    devices.sort();
    if devices.is_empty() {
        return Finding::not(WHAT, Standing::Absent, "no /dev/nvidia*", "with such a card: apt install nvidia-driver");
    }
    Finding::works(WHAT, devices.join(", "))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn rapl(root: &Path) -> Finding {
    const WHAT: &str = "energy counters";
    const NOT_YET: &str = "not needed: energy per job is not measured yet";
    let counter = root.join("sys/class/powercap/intel-rapl:0/energy_uj");
    match std::fs::read_to_string(&counter) {
        Ok(text) if is_number(text.trim()) => {
            Finding::works(WHAT, "RAPL is readable; energy per job is not measured yet")
        }
        Ok(_) => Finding::not(WHAT, Standing::Absent, "RAPL gives no number", NOT_YET),
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            Finding::not(WHAT, Standing::Absent, "RAPL is there but not readable", NOT_YET)
        }
        Err(_) => Finding::not(WHAT, Standing::Absent, "no RAPL on this machine", NOT_YET),
    }
}

fn cgroup(root: &Path) -> Finding {
    const WHAT: &str = "cgroups";
    let Ok(controllers) = std::fs::read_to_string(root.join("sys/fs/cgroup/cgroup.controllers")) else {
        return Finding::not(
            WHAT,
            Standing::Absent,
            "no cgroup v2",
            "not needed: attempts are not put into groups yet",
        );
    };
    let own = own_group(root);
    let has = |name: &str| controllers.split_whitespace().any(|controller| controller == name);
    let writable = own.as_ref().is_some_and(|group| access(group, Access::WRITE_OK).is_ok());
    match writable && has("cpu") && has("memory") {
        true => Finding::works(WHAT, "cgroup v2 is writable; attempts are not put into groups yet"),
        false => Finding::not(
            WHAT,
            Standing::Absent,
            "cgroup v2 without write access",
            "not needed: attempts are not put into groups yet",
        ),
    }
}

/// The cgroup v2 directory of this process.
fn own_group(root: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    group_path(&text).map(|group| root.join("sys/fs/cgroup").join(group))
}

/// The relative path in a line `0::/user.slice/…` of `/proc/PID/cgroup`.
fn group_path(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/")).map(str::trim)
}

fn ffprobe() -> Finding {
    match crate::commands::demo::ffprobe() {
        Some(program) => Finding::works("ffprobe", format!("{} (checks the outputs of the demo)", program.display())),
        None => Finding::not(
            "ffprobe",
            Standing::Absent,
            "not installed; only the demo's checks use it",
            "apt install ffmpeg",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_below_a_root() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["dev", "proc/self", "sys/class/powercap/intel-rapl:0", "sys/fs/cgroup/user.slice"] {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        assert_eq!(rapl(root.path()).standing, Standing::Absent);
        assert_eq!(cgroup(root.path()).standing, Standing::Absent);
        for (file, text) in [
            ("dev/nvidia0", ""),
            ("dev/nvidiactl", ""),
            ("proc/self/cgroup", "1:name=x:/old\n0::/user.slice\n"),
            ("sys/class/powercap/intel-rapl:0/energy_uj", "123456\n"),
            ("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n"),
        ] {
            std::fs::write(root.path().join(file), text).unwrap();
        }
        assert_eq!(nvidia(root.path()).detail, "nvidia0");
        assert_eq!(rapl(root.path()).standing, Standing::Works);
        assert_eq!(cgroup(root.path()).standing, Standing::Works);
    }
}
