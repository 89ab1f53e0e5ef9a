//! Limits of the control group that this process is in, so that a container reports what it has
//! and not what its host has. Both versions are read; nothing is changed here.

use super::Root;

/// Memory of a control group in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMemory {
    /// Most that the group may use.
    pub limit: u64,
    /// What it uses, without the file cache that can be dropped.
    pub used: u64,
}

/// Where this process is in the trees of control groups, from `/proc/self/cgroup`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// Path in the tree of version 2.
    pub unified: Option<String>,
    /// Controllers of version 1 with their paths.
    pub named: Vec<(String, String)>,
}

/// Reads `/proc/self/cgroup`.
#[must_use]
pub fn parse_membership(text: &str) -> Membership {
    let mut membership = Membership::default();
    for line in text.lines() {
        let mut fields = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else { continue };
        // A path that climbs out of the tree is not one to read from.
        if path.split('/').any(|part| part == "..") {
            continue;
        }
        match controllers {
            "" => membership.unified = Some(path.to_owned()),
            names => membership.named.extend(names.split(',').map(|name| (name.to_owned(), path.to_owned()))),
        }
    }
    membership
}

/// Reads `cpu.max` of version 2: processors that may be used, a fraction possible; `None` is no
/// limit.
#[must_use]
pub fn parse_cpu_max(text: &str) -> Option<f64> {
    let (quota, period) = text.trim().split_once(' ')?;
    cores(quota.parse().ok()?, period.parse().ok()?)
}

fn cores(quota: i64, period: i64) -> Option<f64> {
    (quota > 0 && period > 0).then(|| quota as f64 / period as f64)
}

/// Processors that the quota of this group, or of one above it, leaves; `None` is no limit.
#[must_use]
pub fn cpu_quota(root: &Root) -> Option<f64> {
    let membership = membership(root);
    let unified = unified_folders(root, &membership)
        .into_iter()
        .filter_map(|folder| parse_cpu_max(&root.text(&format!("{folder}/cpu.max"))?));
    let named = named_folders(&membership, "cpu").into_iter().filter_map(|folder| {
        cores(root.number(&format!("{folder}/cpu.cfs_quota_us"))?, root.number(&format!("{folder}/cpu.cfs_period_us"))?)
    });
    unified.chain(named).min_by(f64::total_cmp)
}

/// The tightest memory limit of this group and those above it; `None` is no limit.
#[must_use]
pub fn memory(root: &Root) -> Option<GroupMemory> {
    let membership = membership(root);
    let unified = unified_folders(root, &membership).into_iter().filter_map(|folder| {
        let limit = root.number(&format!("{folder}/memory.max"))?;
        let used: u64 = root.number(&format!("{folder}/memory.current"))?;
        Some(GroupMemory { limit, used: used.saturating_sub(cache(root, &folder, "inactive_file ")) })
    });
    let named = named_folders(&membership, "memory").into_iter().filter_map(|folder| {
        let limit = root.number(&format!("{folder}/memory.limit_in_bytes"))?;
        let used: u64 = root.number(&format!("{folder}/memory.usage_in_bytes"))?;
        Some(GroupMemory { limit, used: used.saturating_sub(cache(root, &folder, "total_inactive_file ")) })
    });
    // Version 1 says "no limit" with a number near 2^63.
    unified.chain(named).filter(|group| group.limit > 0 && group.limit < 1 << 60).min_by_key(|group| group.limit)
}

fn cache(root: &Root, folder: &str, field: &str) -> u64 {
    let stat = root.text(&format!("{folder}/memory.stat")).unwrap_or_default();
    stat.lines().find_map(|line| line.strip_prefix(field)?.trim().parse().ok()).unwrap_or(0)
}

fn membership(root: &Root) -> Membership {
    root.text("proc/self/cgroup").map(|text| parse_membership(&text)).unwrap_or_default()
}

/// Folders of version 2 from this group up to the top of what is mounted.
fn unified_folders(root: &Root, membership: &Membership) -> Vec<String> {
    let mount =
        if root.path("sys/fs/cgroup/cgroup.controllers").exists() { "sys/fs/cgroup" } else { "sys/fs/cgroup/unified" };
    membership.unified.iter().flat_map(|path| upwards(mount, path)).collect()
}

fn named_folders(membership: &Membership, controller: &str) -> Vec<String> {
    let own = membership.named.iter().find(|(name, _)| name == controller);
    own.map(|(_, path)| upwards(&format!("sys/fs/cgroup/{controller}"), path)).unwrap_or_default()
}

/// The folder of a group and of all above it. In a container the path of the host may not exist
/// below the mount; the mount itself is the container's group then.
fn upwards(mount: &str, path: &str) -> Vec<String> {
    let mut folders = vec![mount.to_owned()];
    for part in path.split('/').filter(|part| !part.is_empty()) {
        folders.push(format!("{}/{part}", folders[folders.len() - 1]));
    }
    folders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn membership_of_both_versions() {
        let text = "4:memory:/docker/abc\n3:cpu,cpuacct:/docker/abc\n1:name=systemd:/\n0::/user.slice\nnonsense\n2:pids:/../x\n";
        let membership = parse_membership(text);
        assert_eq!(membership.unified.as_deref(), Some("/user.slice"));
        assert_eq!(named_folders(&membership, "cpu").last().unwrap(), "sys/fs/cgroup/cpu/docker/abc");
        assert!(named_folders(&membership, "pids").is_empty());
    }

    #[test]
    fn quotas() {
        assert_eq!(parse_cpu_max("150000 100000\n"), Some(1.5));
        assert_eq!(parse_cpu_max("max 100000\n"), None);
        assert_eq!(parse_cpu_max("100000 0\n"), None);
    }
}
