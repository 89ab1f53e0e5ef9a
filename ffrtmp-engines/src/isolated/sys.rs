//! The system calls that no safe interface offers: fork, what happens beside it, the end and the
//! resource use of one child, and signals to groups.
#![allow(unsafe_code, reason = "fork, pre_exec, waitid with usage and signalfd have no safe form")]

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::ptr;
use std::time::Duration;

use libc::{c_int, c_uint};
use rustix::process::{Pid, Signal};

use super::wire::Ended;

/// Where a forked child finds its channel; everything above is closed.
const CHANNEL: RawFd = 3;

/// Makes the command start in its own session and group, without core dumps, without inherited
/// descriptors, and told to end by SIGTERM when the thread that starts it ends.
pub(super) fn detach(command: &mut Command) {
    let parent = std::process::id();
    let prepare = move || {
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; these are plain
        // system calls on values, and `no_core` outlives the call that reads it.
        unsafe {
            check(libc::setsid())?;
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

/// Which of the two a process is after a fork.
pub(super) enum Forked {
    /// The one that forked, and the other's id.
    Server(Pid),
    /// The new one.
    Child,
}

/// Makes a copy of this process.
///
/// # Errors
/// Those of fork, and if this process has more than one thread: the copy would have locks that
/// nobody opens.
pub(super) fn fork() -> io::Result<Forked> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::other("the fork server has more than one thread"));
    }
    // SAFETY: with a single thread nothing is half done in the copy.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Pid::from_raw(pid).map(Forked::Server).ok_or_else(|| io::ErrorKind::InvalidData.into()),
    }
}

/// Makes a forked process a child of its own: its own session and group, killed with the server,
/// with the usual signals, `errors` as its standard error, and no other descriptor than the channel
/// that it returns. Owners of other descriptors must have been forgotten.
pub(super) fn stand_alone(server: Pid, channel: OwnedFd, errors: OwnedFd) -> io::Result<OwnedFd> {
    rustix::process::setsid()?;
    die_with_parent()?;
    // The server may have died before the order above took effect.
    if rustix::process::getppid() != Some(server) {
        return Err(io::Error::from_raw_os_error(libc::ESRCH));
    }
    rustix::stdio::dup2_stderr(&errors)?;
    std::mem::forget(errors);
    // SAFETY: numbers and a valid empty set; `channel` gives up its descriptor, the one at CHANNEL is
    // taken over by nobody else since all owners of higher ones were forgotten.
    unsafe {
        let raw = channel.as_raw_fd();
        std::mem::forget(channel);
        if raw != CHANNEL {
            check(libc::dup3(raw, CHANNEL, libc::O_CLOEXEC))?;
        }
        if libc::syscall(libc::SYS_close_range, CHANNEL + 1, c_uint::MAX, 0) != 0 {
            for descriptor in CHANNEL + 1..1024 {
                libc::close(descriptor);
            }
        }
        let mut none = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        libc::sigemptyset(&raw mut none);
        check(libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()))?;
        // The handler of Rust's runtime for overflows of the stack takes the first of each that
        // another process sends, and goes on.
        for signal in [libc::SIGSEGV, libc::SIGBUS] {
            if libc::signal(signal, libc::SIG_DFL) == libc::SIG_ERR {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(OwnedFd::from_raw_fd(CHANNEL))
    }
}

/// Has the kernel kill this process when its parent ends. A change of user takes it back.
pub(super) fn die_with_parent() -> io::Result<()> {
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// How a child ended and what it used, without reaping it: its id stays taken.
pub(super) fn peek(pid: Pid) -> io::Result<Option<Ended>> {
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    // SAFETY: both pointers are valid for writes of plain data for which zero is valid; the fields
    // read are those that waitid fills.
    unsafe {
        let raw = pid.as_raw_nonzero().get();
        let done = libc::syscall(libc::SYS_waitid, libc::P_PID, raw, info.as_mut_ptr(), options, usage.as_mut_ptr());
        if done == -1 {
            return Err(io::Error::last_os_error());
        }
        let (info, usage) = (info.assume_init(), usage.assume_init());
        if info.si_pid() == 0 {
            return Ok(None);
        }
        let status = match info.si_code {
            libc::CLD_EXITED => (info.si_status() & 0xff) << 8,
            libc::CLD_DUMPED => info.si_status() | 0x80,
            _ => info.si_status(),
        };
        Ok(Some(Ended {
            status,
            cpu: duration(usage.ru_utime) + duration(usage.ru_stime),
            max_resident_bytes: u64::try_from(usage.ru_maxrss).unwrap_or(0) * 1024,
        }))
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(u64::try_from(time.tv_sec).unwrap_or(0))
        + Duration::from_micros(u64::try_from(time.tv_usec).unwrap_or(0))
}

/// Blocks the signals that a fork server waits for, and gives a descriptor that is readable when one
/// came.
pub(super) fn catch_signals() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is used; the new descriptor is ours.
    unsafe {
        let mut set = MaybeUninit::<libc::sigset_t>::zeroed().assume_init();
        libc::sigemptyset(&raw mut set);
        for signal in [libc::SIGCHLD, libc::SIGTERM, libc::SIGINT, libc::SIGHUP] {
            libc::sigaddset(&raw mut set, signal);
        }
        check(libc::sigprocmask(libc::SIG_BLOCK, &raw const set, ptr::null_mut()))?;
        let descriptor = libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK);
        check(descriptor)?;
        Ok(OwnedFd::from_raw_fd(descriptor))
    }
}

/// Takes all signals that came; whether one of them orders the end.
pub(super) fn is_told_to_end(signals: BorrowedFd<'_>) -> bool {
    let mut told = false;
    loop {
        let mut info = MaybeUninit::<libc::signalfd_siginfo>::zeroed();
        let size = size_of::<libc::signalfd_siginfo>();
        // SAFETY: the buffer is writable for its size, and plain data.
        let (count, info) = unsafe {
            let count = libc::read(signals.as_raw_fd(), info.as_mut_ptr().cast(), size);
            (count, info.assume_init())
        };
        if usize::try_from(count) != Ok(size) {
            return told;
        }
        told |= info.ssi_signo != libc::SIGCHLD as u32;
    }
}

/// Signals the group of the process that this descriptor names; kernels before 6.9 cannot.
pub(super) fn signal_group(pidfd: impl AsFd, signal: Signal) -> io::Result<()> {
    const PROCESS_GROUP: c_uint = 1 << 2;
    let no_info = ptr::null::<libc::siginfo_t>();
    let pidfd = pidfd.as_fd().as_raw_fd();
    // SAFETY: numbers and a null pointer, which the call takes for the usual information.
    let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd, signal.as_raw(), no_info, PROCESS_GROUP) };
    if sent == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends this process without running anything else.
pub(super) fn exit_now(code: c_int) -> ! {
    // SAFETY: ends the process.
    unsafe { libc::_exit(code) }
}

/// Makes the process deaf to SIGTERM, for the tests of a child that does not obey.
pub(super) fn ignore_terminate() -> io::Result<()> {
    // SAFETY: an all-zero sigaction with SIG_IGN is valid.
    unsafe {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed().assume_init();
        action.sa_sigaction = libc::SIG_IGN;
        check(libc::sigaction(libc::SIGTERM, &raw const action, ptr::null_mut()))
    }
}

/// Writes where a pointer into nothing points, for the test of a child that crashes.
pub(super) fn segfault() {
    // SAFETY: none: the kernel ends the process, which is what is asked for.
    unsafe { ptr::write_volatile(std::hint::black_box(ptr::null_mut::<u8>()), 1) }
}

/// Forks processes that each leave for a session of their own, do not hear SIGTERM and stay; how
/// many there were before the kernel refused. For the tests of children that leave others behind.
pub(super) fn leave_behind(most: u32) -> u32 {
    // SAFETY: the copies only make system calls that are allowed after a fork of many threads.
    unsafe {
        for made in 0..most {
            match libc::fork() {
                -1 => return made,
                0 => {
                    libc::setsid();
                    libc::signal(libc::SIGTERM, libc::SIG_IGN);
                    loop {
                        libc::pause();
                    }
                }
                _ => {}
            }
        }
    }
    most
}

/// Writes bytes to the channel of this child out of turn, for the test of a child that babbles.
pub(super) fn babble(bytes: &[u8]) {
    // SAFETY: the buffer is readable for its length; a number that is no descriptor is refused.
    unsafe { libc::write(CHANNEL, bytes.as_ptr().cast(), bytes.len()) };
}
