//! Which trees of control groups are mounted, from `/proc/self/mountinfo`.

use std::path::{Path, PathBuf};

/// Which of the kernel's two interfaces a tree has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// One tree per controller, or per few of them.
    V1,
    /// One tree for all.
    V2,
}

/// A mounted tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) version: Version,
    /// The group that is seen at the mount point: not `/` in a container that shows its own only.
    pub(crate) root: PathBuf,
    pub(crate) point: PathBuf,
    /// Controllers of a tree of version 1; version 2 tells them in a file.
    pub(crate) controllers: Vec<String>,
    pub(crate) read_only: bool,
}

/// Reads `/proc/self/mountinfo`: proc(5). Lines that are no trees of control groups are left out.
pub(crate) fn parse(text: &str) -> Vec<Mount> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Mount> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut filesystem = filesystem.split(' ');
    let version = match filesystem.next()? {
        "cgroup" => Version::V1,
        "cgroup2" => Version::V2,
        _ => return None,
    };
    let super_options = filesystem.nth(1).unwrap_or_default();
    let mut mount = mount.split(' ').skip(3);
    let (root, point, options) = (mount.next()?, mount.next()?, mount.next()?);
    Some(Mount {
        version,
        root: unescape(root),
        point: unescape(point),
        controllers: super_options.split(',').map(str::to_owned).collect(),
        read_only: [options, super_options].iter().any(|options| options.split(',').any(|option| option == "ro")),
    })
}

/// Spaces, tabs, newlines and backslashes are written as octal numbers.
fn unescape(path: &str) -> PathBuf {
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('\\') {
        plain.push_str(before);
        match after.get(..3).and_then(|octal| u8::from_str_radix(octal, 8).ok()).filter(u8::is_ascii) {
            Some(byte) => {
                plain.push(char::from(byte));
                rest = &after[3..];
            }
            None => {
                plain.push('\\');
                rest = after;
            }
        }
    }
    plain.push_str(rest);
    PathBuf::from(plain)
}

impl Mount {
    /// The folder, as this process sees it, of a group that `/proc/PID/cgroup` names; `None` if the
    /// mount does not show that part of the tree.
    pub(crate) fn folder(&self, group: &str) -> Option<PathBuf> {
        let group = Path::new(group);
        if group.components().any(|part| part == std::path::Component::ParentDir) {
            return None;
        }
        Some(self.point.join(group.strip_prefix(&self.root).ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_among_other_mounts() {
        let text = "22 1 254:0 / / rw,relatime - ext4 /dev/root rw\n\
            31 23 0:28 / /sys/fs/cgroup ro,relatime - tmpfs tmpfs rw,mode=755\n\
            32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,nosuid shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
            33 31 0:30 /docker/a\\040b /sys/fs/cgroup/memory ro,nosuid shared:9 master:2 - cgroup cgroup rw,memory\n\
            41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
            nonsense - cgroup\n";
        let mounts = parse(text);
        assert_eq!(mounts.len(), 3, "{mounts:?}");
        let told: Vec<_> = mounts.iter().map(|mount| (mount.version, mount.read_only)).collect();
        assert_eq!(told, [(Version::V1, false), (Version::V1, true), (Version::V2, false)]);
        assert_eq!(mounts[0].controllers, ["rw", "cpu", "cpuacct"]);
        assert_eq!(mounts[1].folder("/docker/a b/x"), Some("/sys/fs/cgroup/memory/x".into()));
        assert_eq!(mounts[1].folder("/docker"), None, "above what is shown");
        assert_eq!(mounts[2].folder("/../x"), None);
        assert_eq!(mounts[2].folder("/"), Some("/sys/fs/cgroup/unified/".into()));
        assert_eq!(unescape("a\\134b\\9"), Path::new("a\\b\\9"));
    }
}
