//! Which files an attempt reaches: its own, and what the libraries read of the system.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Component, Path, PathBuf};

use ffrtmp_core::sandbox::Reach;

/// What may be done at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Right {
    /// Read files and list directories.
    Read,
    /// Read and write, nothing else: `/dev/null`.
    Device,
    /// Everything that an output needs.
    Write,
    /// Drive a device.
    Drive,
}

/// Where an attempt may do what, by path; a place above another comes first.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) all: BTreeMap<PathBuf, Right>,
    /// Those of the task alone.
    pub(super) of_task: Vec<(PathBuf, Right)>,
}

/// Libraries that are loaded while an attempt runs, such as those that convert character sets, and
/// what allocators and codecs ask about the machine.
const SYSTEM: &[&str] = &[
    "/dev/urandom",
    "/etc/ld.so.cache",
    "/lib",
    "/lib64",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/vm/overcommit_memory",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
];

/// Names and certificates of other hosts.
const NETWORK: &[&str] = &[
    "/etc/ca-certificates",
    "/etc/gai.conf",
    "/etc/host.conf",
    "/etc/hosts",
    "/etc/nsswitch.conf",
    "/etc/pki",
    "/etc/resolv.conf",
    "/etc/services",
    "/etc/ssl",
    "/usr/share/ca-certificates",
];

/// Drivers of graphics processors.
const GPU: &[&str] = &[
    "/etc/OpenCL",
    "/etc/vulkan",
    "/proc/devices",
    "/proc/driver/nvidia",
    "/proc/modules",
    "/sys/bus/pci",
    "/sys/class/drm",
    "/sys/dev/char",
    "/sys/devices",
    "/sys/module",
    "/usr/share/glvnd",
    "/usr/share/libdrm",
    "/usr/share/nvidia",
    "/usr/share/vulkan",
];

impl Places {
    /// Places of a task and of the system around it.
    pub(super) fn of(reach: &Reach, also_read: &[PathBuf]) -> Self {
        let mut all = BTreeMap::new();
        let mut add = |path: &Path, right: Right| {
            let path = plain(path);
            let known: &mut Right = all.entry(path).or_insert(right);
            *known = right.max(*known);
        };
        SYSTEM.iter().for_each(|path| add(Path::new(path), Right::Read));
        add(Path::new("/dev/null"), Right::Device);
        add(&own_process(), Right::Read);
        also_read.iter().for_each(|path| add(path, Right::Read));
        if reach.network {
            NETWORK.iter().for_each(|path| add(Path::new(path), Right::Read));
        }
        if reach.gpu {
            GPU.iter().for_each(|path| add(Path::new(path), Right::Read));
            gpu_devices().iter().for_each(|path| add(path, Right::Drive));
        }
        reach.read.iter().for_each(|path| add(path, Right::Read));
        reach.write.iter().for_each(|path| add(path, Right::Write));
        let of_task = |paths: &[PathBuf], right| paths.iter().map(|path| (plain(path), right)).collect::<Vec<_>>();
        Self { all, of_task: [of_task(&reach.read, Right::Read), of_task(&reach.write, Right::Write)].concat() }
    }
}

/// What `/proc/self` means in this process.
pub(super) fn own_process() -> PathBuf {
    PathBuf::from(format!("/proc/{}", rustix::process::getpid().as_raw_nonzero()))
}

fn gpu_devices() -> Vec<PathBuf> {
    let is_gpu = |name: &str| name.starts_with("nvidia") || matches!(name, "dri" | "kfd");
    let devices = fs::read_dir("/dev").into_iter().flatten().flatten();
    devices.filter(|entry| entry.file_name().to_str().is_some_and(is_gpu)).map(|entry| entry.path()).collect()
}

/// An absolute path without dots; a path that leads up through links is taken by its real name.
fn plain(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    if path.components().all(|part| part != Component::ParentDir) {
        return path;
    }
    fs::canonicalize(&path).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_reaches_its_places_and_little_else() {
        let reach = Reach { read: vec!["/in/a.mp4".into()], write: vec!["/out/x".into()], ..Reach::default() };
        let places = Places::of(&reach, &["/opt/driver".into()]);
        let right = |path: &str| places.all.get(Path::new(path)).copied();
        assert_eq!(right("/in/a.mp4"), Some(Right::Read));
        assert_eq!(right("/out/x"), Some(Right::Write));
        assert_eq!(right("/opt/driver"), Some(Right::Read));
        for closed in ["/", "/etc", "/etc/hosts", "/home", "/tmp", "/proc", "/dev", "/in", "/out", "/sys/class/drm"] {
            assert_eq!(right(closed), None, "{closed}");
        }
        assert_eq!(places.of_task.len(), 2);
    }

    #[test]
    fn the_larger_right_wins() {
        let same = vec![PathBuf::from("/media/dir/.")];
        let reach = Reach { read: same.clone(), write: same, network: true, ..Reach::default() };
        let places = Places::of(&reach, &[]);
        assert_eq!(places.all.get(Path::new("/media/dir")), Some(&Right::Write));
        assert!(places.all.contains_key(Path::new("/etc/hosts")), "live work asks for names");
    }
}
