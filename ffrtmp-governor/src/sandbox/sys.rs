//! System calls of the sandbox that no crate wraps. The only unsafe code of this subject.

#![allow(unsafe_code, reason = "namespaces, Landlock, filters and capabilities have no safe form")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::ptr;

use libc::{c_long, sock_filter};

/// What a Landlock ruleset handles; longer kernels' fields come last.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RulesetAttr {
    pub(super) files: u64,
    pub(super) network: u64,
    pub(super) scoped: u64,
}

#[repr(C, packed)]
struct PathBeneathAttr {
    allowed: u64,
    parent: i32,
}

/// `struct mount_attr`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct MountAttr {
    pub(super) set: u64,
    pub(super) clear: u64,
    pub(super) propagation: u64,
    pub(super) user_namespace: u64,
}

const LANDLOCK_CREATE_RULESET_VERSION: u32 = 1;
const LANDLOCK_RULE_PATH_BENEATH: u32 = 1;

/// Version of Landlock's interface that the kernel offers.
pub(super) fn landlock_abi() -> io::Result<u32> {
    // SAFETY: asks for a number; no memory is named.
    let abi = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<RulesetAttr>(),
            0_usize,
            LANDLOCK_CREATE_RULESET_VERSION,
        )
    };
    check(abi).map(|abi| u32::try_from(abi).unwrap_or(0))
}

/// A new ruleset of so many fields as this kernel knows.
pub(super) fn landlock_create(attr: &RulesetAttr, fields: usize) -> io::Result<OwnedFd> {
    let size = (fields * size_of::<u64>()).min(size_of::<RulesetAttr>());
    // SAFETY: `attr` is valid for reads of `size` bytes.
    let fd = check(unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, ptr::from_ref(attr), size, 0_u32) })?;
    // SAFETY: the kernel made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Allows these accesses at and below what a descriptor names.
pub(super) fn landlock_allow(ruleset: &OwnedFd, place: &OwnedFd, allowed: u64) -> io::Result<()> {
    let rule = PathBeneathAttr { allowed, parent: place.as_raw_fd() };
    // SAFETY: `rule` has the layout of the type of rule that is named and outlives the call.
    let done = unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            LANDLOCK_RULE_PATH_BENEATH,
            ptr::from_ref(&rule),
            0_u32,
        )
    };
    check(done).map(drop)
}

/// Puts the calling thread, and what it starts, under a ruleset for ever.
pub(super) fn landlock_restrict(ruleset: &OwnedFd) -> io::Result<()> {
    // SAFETY: numbers only.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0_u32) }).map(drop)
}

/// Puts the calling thread, and what it starts, under a filter of system calls for ever. Kernels before
/// 5.16 slow every thread under a filter down against attacks by code that was compiled on the way; an
/// attempt compiles none, and holds nothing that it does not see anyway.
pub(super) fn install_filter(program: &[sock_filter]) -> io::Result<()> {
    const SPECULATE: u32 = libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW as u32;
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the program is valid for reads during the call, which copies it.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, SPECULATE, ptr::from_ref(&program)) };
    check(done).map(drop)
}

/// Moves the calling process, which has a single thread, into new namespaces.
pub(super) fn unshare(flags: i32) -> io::Result<()> {
    // SAFETY: numbers only. Descriptors are not unshared, so no owner of one is fooled.
    check(c_long::from(unsafe { libc::unshare(flags) })).map(drop)
}

/// Sets the ids by which files are judged, and says whether the kernel took them.
pub(super) fn set_file_ids(uid: u32, gid: u32) -> bool {
    // SAFETY: numbers only. The calls cannot fail; they tell the former id.
    unsafe {
        libc::setfsgid(gid);
        libc::setfsuid(uid);
        libc::setfsgid(u32::MAX) as u32 == gid && libc::setfsuid(u32::MAX) as u32 == uid
    }
}

/// Changes flags of a mount and of those below it.
pub(super) fn change_mounts(mount: impl AsFd, attr: &MountAttr) -> io::Result<()> {
    set_mount_attr(mount, attr, libc::AT_EMPTY_PATH | libc::AT_RECURSIVE)
}

/// Changes flags of a mount alone.
pub(super) fn change_mount(mount: impl AsFd, attr: &MountAttr) -> io::Result<()> {
    set_mount_attr(mount, attr, libc::AT_EMPTY_PATH)
}

fn set_mount_attr(mount: impl AsFd, attr: &MountAttr, flags: i32) -> io::Result<()> {
    // SAFETY: the path is an empty C string and `attr` is valid for reads of its size.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_fd().as_raw_fd(),
            c"".as_ptr(),
            flags,
            ptr::from_ref(attr),
            size_of::<MountAttr>(),
        )
    };
    check(done).map(drop)
}

/// Makes a write over the limit of a file fail instead of ending the process.
pub(super) fn ignore_file_size_signal() {
    // SAFETY: ignoring a signal runs no code of ours.
    unsafe { libc::signal(libc::SIGXFSZ, libc::SIG_IGN) };
}

fn check(result: c_long) -> io::Result<c_long> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
