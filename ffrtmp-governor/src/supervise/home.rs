//! The control groups in which a process was before: whose group it is in now, and the way out of
//! one whose owner has died.

use std::fs;
use std::path::PathBuf;

use crate::cgroups::Owner;
use crate::probe::Root;

/// Who governs a process by a control group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Governing {
    /// Nobody of ours.
    Nobody,
    /// A program of ours that lives, with this id.
    Living(u32),
    /// One that has died.
    Dead,
}

/// One line of `/proc/PID/cgroup`: the tree and the path in it.
fn lines(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        Some((parts.next()?, parts.next()?))
    })
}

/// The groups of a process, as the kernel tells them.
pub(super) fn of(root: &Root, pid: u32) -> String {
    root.text(&format!("proc/{pid}/cgroup")).unwrap_or_default()
}

/// Who governs a process with these groups.
pub(super) fn governing(root: &Root, groups: &str) -> Governing {
    let owners = lines(groups).flat_map(|(_, path)| path.split('/')).filter_map(Owner::of);
    let mut answer = Governing::Nobody;
    for owner in owners {
        if !owner.is_gone(root) {
            return Governing::Living(owner.pid);
        }
        answer = Governing::Dead;
    }
    answer
}

/// Moves a process out of groups whose owner has died: to where it was before as far as that is
/// known, else to the group above; and removes what is empty then.
pub(super) fn bring_back(root: &Root, pid: u32, before: &str) {
    for (tree, path) in lines(&of(root, pid)) {
        let Some(left) = above_dead(root, path) else { continue };
        let was = lines(before).find(|(known, _)| *known == tree).map(|(_, path)| path);
        let Some(top) = folder(root, tree) else { continue };
        let places = was.filter(|was| above_dead(root, was).is_none()).into_iter().chain([left]);
        for place in places.filter(|place| !place.split('/').any(|part| part == "..")) {
            let file = top.join(place.trim_start_matches('/')).join("cgroup.procs");
            if fs::write(file, pid.to_string()).is_ok() {
                break;
            }
        }
        // One with processes in it stays, and the next start looks again.
        let _ = fs::remove_dir(top.join(path.trim_start_matches('/')));
    }
}

/// The path above the group of a dead owner, if there is one in it.
fn above_dead<'a>(root: &Root, path: &'a str) -> Option<&'a str> {
    let mut end = 0;
    for part in path.split('/') {
        if Owner::of(part).is_some_and(|owner| owner.is_gone(root)) {
            return Some(&path[..end.max(1).min(path.len())]);
        }
        end += part.len() + 1;
    }
    None
}

/// Where a tree is mounted by custom.
fn folder(root: &Root, tree: &str) -> Option<PathBuf> {
    let names = match tree {
        "" => vec!["sys/fs/cgroup/unified".to_owned(), "sys/fs/cgroup".to_owned()],
        named => {
            let first = named.split(',').next().unwrap_or(named).trim_start_matches("name=");
            vec![format!("sys/fs/cgroup/{named}"), format!("sys/fs/cgroup/{first}")]
        }
    };
    names.into_iter().map(|name| root.path(&name)).find(|path| path.join("cgroup.procs").exists())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_tell_who_governs_and_where_home_is() {
        let folder = tempfile::tempdir().expect("a directory");
        let proc = folder.path().join("proc");
        fs::create_dir_all(proc.join("self/ns")).expect("a directory");
        std::os::unix::fs::symlink("pid:[5]", proc.join("self/ns/pid")).expect("a link");
        fs::create_dir_all(proc.join("42")).expect("a directory");
        let stat = "42 (ffrtmp) S 1 42 42 0 -1 0 0 0 0 0 70 30 5 1 30 10 4 0 900 1000 200";
        fs::write(proc.join("42/stat"), stat).expect("a file");
        let root = Root::at(folder.path());

        assert_eq!(governing(&root, "0::/user.slice\n4:memory:/\n"), Governing::Nobody);
        assert_eq!(governing(&root, "0::/a/ffrtmp-foreign-5-42-900-1\n"), Governing::Living(42));
        assert_eq!(governing(&root, "0::/a/ffrtmp-foreign-5-42-899-1\n"), Governing::Dead, "another start");
        assert_eq!(governing(&root, "0::/\n4:memory:/ffrtmp-foreign-5-43-900-0\n"), Governing::Dead);
        assert_eq!(above_dead(&root, "/a/b/ffrtmp-foreign-5-43-900-0"), Some("/a/b/"));
        assert_eq!(above_dead(&root, "/ffrtmp-foreign-5-43-900-0"), Some("/"));
        assert_eq!(above_dead(&root, "/a/ffrtmp-foreign-5-42-900-0"), None);
    }
}
