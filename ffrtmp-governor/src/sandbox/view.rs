//! The layer `mounts`: a tree in which nothing exists but the attempt's places, and nothing but the
//! outputs can be written.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
    fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
};
use rustix::process::{fchdir, pivot_root};

use super::Outcome;
use super::places::{Places, Right, own_process};
use super::sys::{self, MountAttr};

/// Where the new tree stands until it becomes the root; any directory will do.
const STAND: &str = "/proc";

/// Makes a tree of these places and leaves the old one behind. The process has mounts of its own.
pub(super) fn enter(places: &Places) -> Outcome {
    let cut = MountAttr { propagation: libc::MS_PRIVATE, ..MountAttr::default() };
    let old = rustix::fs::open("/", OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(at("open", Path::new("/")))?;
    sys::change_mounts(&old, &cut).map_err(|error| format!("mounts cannot be made private: {error}"))?;
    // Taken before the new tree covers some of them.
    let taken = places.all.iter().filter(|(path, _)| path.parent().is_some());
    let taken = taken.filter_map(|(path, right)| take(path, *right).transpose()).collect::<Result<Vec<_>, _>>()?;
    let root = empty_tree()?;
    let built = taken.iter().try_for_each(|mount| put(root.as_fd(), mount)).and_then(|()| finish(root.as_fd()));
    if let Err(reason) = built {
        // Failing that, the new tree stays on top of `STAND` and hides it, which harms nobody.
        let _ = rustix::process::chdir("/").and_then(|()| unmount(STAND, UnmountFlags::DETACH));
        return Err(reason);
    }
    Ok(format!("a tree of {} places", taken.len()))
}

/// A copy of the mount at a place.
struct Taken {
    path: PathBuf,
    mount: OwnedFd,
    directory: bool,
}

/// `None` for what does not exist.
fn take(path: &Path, right: Right) -> Result<Option<Taken>, String> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_RECURSIVE;
    let mount = match open_tree(CWD, path, flags) {
        Ok(mount) => mount,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(None),
        Err(error) => return Err(at("take", path)(error)),
    };
    let set = match right {
        Right::Read if is_device(path) => MountAttrFlags::MOUNT_ATTR_NOSUID,
        // Libraries are mapped to be executed.
        Right::Read => {
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_RDONLY
        }
        Right::Device | Right::Drive => MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
        Right::Write => {
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC
        }
    };
    let attr = MountAttr { set: set.bits().into(), ..MountAttr::default() };
    sys::change_mounts(&mount, &attr).map_err(at("guard", path))?;
    let kind =
        rustix::fs::fstat(&mount).map(|stat| FileType::from_raw_mode(stat.st_mode)).map_err(at("look at", path))?;
    Ok(Some(Taken { path: path.to_owned(), mount, directory: kind.is_dir() }))
}

fn is_device(path: &Path) -> bool {
    path.starts_with("/dev")
}

/// A new file system in memory, mounted at [`STAND`].
fn empty_tree() -> Result<OwnedFd, String> {
    let made = || -> rustix::io::Result<OwnedFd> {
        let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(context.as_fd(), "size", "64k")?;
        fsconfig_set_string(context.as_fd(), "nr_inodes", "1k")?;
        fsconfig_set_string(context.as_fd(), "mode", "755")?;
        fsconfig_create(context.as_fd())?;
        let guards =
            MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOEXEC;
        let mount = fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, guards)?;
        move_mount(mount.as_fd(), "", CWD, STAND, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?;
        Ok(mount)
    };
    made().map_err(|error| format!("no empty tree: {}", io::Error::from(error)))
}

/// Puts a mount at its path in the new tree.
fn put(root: BorrowedFd<'_>, taken: &Taken) -> Result<(), String> {
    let place = make_place(root, taken).map_err(at("make a place for", &taken.path))?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(taken.mount.as_fd(), "", place.as_fd(), "", flags).map_err(at("put", &taken.path))
}

/// A file or directory to mount on. Links lead nowhere but into the new tree.
fn make_place(root: BorrowedFd<'_>, taken: &Taken) -> rustix::io::Result<OwnedFd> {
    // From the bottom up, since most places lack little.
    let mut missing = Vec::new();
    let mut above = None;
    for path in taken.path.ancestors() {
        match inside(root, path) {
            Err(Errno::NOENT) => missing.extend(path.file_name().map(|name| (path, name))),
            found => {
                above = Some(found?);
                break;
            }
        }
    }
    let mut above = above.ok_or(Errno::NOENT)?;
    while let Some((path, name)) = missing.pop() {
        if taken.directory || !missing.is_empty() {
            rustix::fs::mkdirat(&above, name, Mode::from_raw_mode(0o755))?;
        } else {
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::openat(&above, name, flags, Mode::from_raw_mode(0o644))?;
        }
        above = inside(root, path)?;
    }
    Ok(above)
}

fn inside(root: BorrowedFd<'_>, path: &Path) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat2(root, path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty(), ResolveFlags::IN_ROOT)
}

/// Makes the new tree the root, read-only, and lets go of the old one.
fn finish(root: BorrowedFd<'_>) -> Result<(), String> {
    let proc = Path::new("proc");
    if let Some(own) = own_process().file_name()
        && inside(root, proc).is_ok()
    {
        rustix::fs::symlinkat(own, root, proc.join("self")).map_err(at("link", proc))?;
    }
    let turned = || -> rustix::io::Result<()> {
        fchdir(root)?;
        // The old root is then on top of the new one, whence it is taken.
        pivot_root(".", ".")?;
        unmount(".", UnmountFlags::DETACH)?;
        rustix::process::chdir("/")
    };
    turned().map_err(|error| format!("the root cannot be changed: {}", io::Error::from(error)))?;
    lock(root).map_err(|error| format!("the new tree stays writable: {error}"))
}

/// Makes the tree itself, without what is mounted in it, read-only.
fn lock(root: BorrowedFd<'_>) -> io::Result<()> {
    let attr = MountAttr { set: MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into(), ..MountAttr::default() };
    sys::change_mount(root, &attr)
}

fn at<E: Into<io::Error>>(what: &'static str, path: &Path) -> impl FnOnce(E) -> String {
    let path = path.display().to_string();
    move |error| format!("cannot {what} {path}: {}", error.into())
}
