//! The system calls that no safe interface offers: what happens between fork and exec, the
//! resource use of one child, and a handler that works inside a signal.
#![allow(unsafe_code, reason = "pre_exec, wait4 and sigaction have no safe form")]

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::time::Duration;

use libc::{c_char, c_int, c_uint};

/// How a child ended.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    /// Exit code or signal.
    pub(super) status: ExitStatus,
    /// User and system CPU time of the child and of those it waited for.
    pub(super) cpu: Duration,
    /// Largest resident memory in bytes. The kernel counts the moment before exec, so it is never
    /// below that of the parent at the fork.
    pub(super) max_resident_bytes: u64,
}

/// Makes the command start in its own session and group, nicer, without core dumps, without
/// inherited descriptors, and never outliving the thread that starts it.
pub(super) fn detach(command: &mut Command, nice: i32) {
    let parent = std::process::id();
    let prepare = move || {
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are plain
        // system calls on values, and `no_core` outlives the call that reads it.
        unsafe {
            check(libc::setsid())?;
            if libc::getpriority(libc::PRIO_PROCESS, 0) < nice {
                check(libc::setpriority(libc::PRIO_PROCESS, 0, nice))?;
            }
            let no_core = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            check(libc::setrlimit(libc::RLIMIT_CORE, &raw const no_core))?;
            check(libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM))?;
            // The parent may have died before the order above took effect.
            if u32::try_from(libc::getppid()) != Ok(parent) {
                return Err(io::Error::from_raw_os_error(libc::ESRCH));
            }
            close_on_exec_from(3);
        }
        Ok(())
    };
    // SAFETY: the closure makes system calls only: it neither allocates nor takes locks.
    unsafe { command.pre_exec(prepare) };
}

/// Marks every descriptor from `first` on to be closed by exec.
///
/// # Safety
/// Safe between fork and exec: system calls on numbers only.
unsafe fn close_on_exec_from(first: c_int) {
    const CLOSE_RANGE_CLOEXEC: c_uint = 4;
    // SAFETY: close_range and fcntl take numbers; those that are no descriptors are refused.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first, c_uint::MAX, CLOSE_RANGE_CLOEXEC) == 0 {
            return;
        }
        for descriptor in first..1024 {
            libc::fcntl(descriptor, libc::F_SETFD, libc::FD_CLOEXEC);
        }
    }
}

fn check(result: c_int) -> io::Result<()> {
    if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reaps a child if it has ended.
pub(super) fn try_reap(pid: i32) -> io::Result<Option<Ended>> {
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: both pointers are valid for writes; `usage` is plain data for which zero is valid.
    let (reaped, usage) = unsafe {
        let reaped = libc::wait4(pid, &raw mut status, libc::WNOHANG, usage.as_mut_ptr());
        (reaped, usage.assume_init())
    };
    check(reaped)?;
    Ok((reaped == pid).then(|| Ended {
        status: ExitStatus::from_raw(status),
        cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
        max_resident_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
    }))
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
        + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

/// The file that must not stay behind when this process is terminated.
static UNFINISHED: AtomicPtr<c_char> = AtomicPtr::new(ptr::null_mut());

/// From now on a terminated process first removes this file; `None` takes it back.
pub(super) fn remove_when_terminated(path: Option<&Path>) {
    let raw =
        path.and_then(|path| CString::new(path.as_os_str().as_bytes()).ok()).map_or(ptr::null_mut(), CString::into_raw);
    // The old text is leaked on purpose: a handler may be reading it. It happens once per process.
    UNFINISHED.store(raw, Ordering::Release);
}

/// Removes the unfinished file and ends the process without running anything else.
pub(super) fn vanish() -> ! {
    let path = UNFINISHED.load(Ordering::Acquire);
    // SAFETY: `path` is null or a C string that is never freed; unlink and _exit are allowed in
    // signal handlers.
    unsafe {
        if !path.is_null() {
            libc::unlink(path);
        }
        libc::_exit(128 + libc::SIGTERM)
    }
}

extern "C" fn on_terminate(_: c_int) {
    vanish()
}

/// Makes SIGTERM, also the one that the parent's death sends, end in [`vanish`].
pub(super) fn vanish_on_terminate() -> io::Result<()> {
    handle_terminate(on_terminate as extern "C" fn(c_int) as libc::sighandler_t)
}

/// Makes the process deaf to SIGTERM, for the test of a child that does not obey.
pub(super) fn ignore_terminate() -> io::Result<()> {
    handle_terminate(libc::SIG_IGN)
}

fn handle_terminate(handler: libc::sighandler_t) -> io::Result<()> {
    // SAFETY: an all-zero sigaction is valid; the handler is async-signal-safe or SIG_IGN.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = handler;
        action.sa_flags = libc::SA_RESTART;
        check(libc::sigaction(libc::SIGTERM, &raw const action, ptr::null_mut()))
    }
}
