//! The calls of the kernel that no safe interface offers: a child that waits before it becomes its
//! program, signals read from a descriptor, and how a process ended.
//!
//! Nothing is decided here; see `launch`, `inbox` and `supervised`.
#![allow(unsafe_code, reason = "fork hooks, signal masks, wait4 and an ioctl have no safe interface")]

use std::ffi::CString;
use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::mem::{MaybeUninit, zeroed};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::ptr;
use std::thread::JoinHandle;
use std::time::Duration;

/// Signals that a supervisor reads instead of obeying them.
const READ: [i32; 7] =
    [libc::SIGINT, libc::SIGTERM, libc::SIGHUP, libc::SIGQUIT, libc::SIGUSR1, libc::SIGUSR2, libc::SIGCHLD];

/// The signals that a thread blocks.
#[derive(Clone, Copy)]
pub(super) struct Mask(libc::sigset_t);

impl Mask {
    /// Blocks the signals that are read, in this thread and those that it starts; gives the mask of
    /// before.
    pub(super) fn block() -> io::Result<Self> {
        let mut before = MaybeUninit::uninit();
        // SAFETY: both sets are valid for the call, and `before` is written when it succeeds.
        match unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, &read_set(), before.as_mut_ptr()) } {
            // SAFETY: written by the call above.
            0 => Ok(Self(unsafe { before.assume_init() })),
            error => Err(io::Error::from_raw_os_error(error)),
        }
    }
}

fn read_set() -> libc::sigset_t {
    // SAFETY: a set of zeros is a valid argument of sigemptyset, which makes it a set; the signals
    // are valid ones.
    unsafe {
        let mut set = zeroed();
        libc::sigemptyset(&mut set);
        for signal in READ {
            libc::sigaddset(&mut set, signal);
        }
        set
    }
}

/// A descriptor from which the blocked signals are read.
pub(super) fn signal_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: -1 asks for a new descriptor; the set is valid for the call.
    let fd = unsafe { libc::signalfd(-1, &read_set(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made and that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A signal that came, and whether a process sent it, as opposed to the kernel for a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Came {
    pub(super) signal: i32,
    pub(super) by_process: bool,
}

/// The next signal, if one is there.
pub(super) fn next_signal(descriptor: BorrowedFd<'_>) -> io::Result<Option<Came>> {
    let mut info = MaybeUninit::<libc::signalfd_siginfo>::uninit();
    let size = size_of::<libc::signalfd_siginfo>();
    // SAFETY: the buffer is as large as said; the kernel writes whole records only.
    let read = unsafe { libc::read(descriptor.as_raw_fd(), info.as_mut_ptr().cast(), size) };
    if read == size.cast_signed() {
        // SAFETY: a whole record was written.
        let info = unsafe { info.assume_init() };
        return Ok(Some(Came { signal: info.ssi_signo.cast_signed(), by_process: info.ssi_code <= 0 }));
    }
    match io::Error::last_os_error() {
        error if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        error => Err(error),
    }
}

/// What a child becomes: files to try in turn, its arguments and its environment, laid out before
/// the fork because nothing can be allocated after it.
pub(super) struct Image {
    candidates: Vec<CString>,
    arguments: Vec<*const libc::c_char>,
    environment: Vec<*const libc::c_char>,
    _owned: Vec<CString>,
}

// SAFETY: the pointers lead to the strings that the image itself owns and never changes.
unsafe impl Send for Image {}
// SAFETY: as above; shared use only reads.
unsafe impl Sync for Image {}

impl Image {
    pub(super) fn new(candidates: Vec<CString>, arguments: Vec<CString>, environment: Vec<CString>) -> Self {
        let pointers = |texts: &[CString]| texts.iter().map(|text| text.as_ptr()).chain([ptr::null()]).collect();
        let (argument_list, environment_list) = (pointers(&arguments), pointers(&environment));
        let owned = arguments.into_iter().chain(environment).collect();
        Self { candidates, arguments: argument_list, environment: environment_list, _owned: owned }
    }
}

/// A child that has its id and waits; dropped, it ends without having become anything.
pub(super) struct Held {
    pub(super) pid: u32,
    go: Option<PipeWriter>,
    starting: Option<JoinHandle<io::Result<Child>>>,
}

impl Held {
    /// Forks a child with everything set that `command` says, except that it waits.
    ///
    /// The fork happens in a thread because it returns only once the child has become its program.
    pub(super) fn start(mut command: Command, image: Image, mask: Option<Mask>) -> io::Result<Self> {
        let (go_read, go_write) = io::pipe()?;
        let (mut id_read, id_write) = io::pipe()?;
        let parents_end = go_write.as_raw_fd();
        let become_it = move || {
            // SAFETY: called in the child, once; the descriptor is the child's copy of the parent's
            // end, whose owner lives on in the parent only. Held open, the wait would never end.
            unsafe { libc::close(parents_end) };
            wait_for_word(&id_write, &go_read)?;
            if let Some(Mask(before)) = mask {
                // SAFETY: the set was written by the kernel; no old one is asked for.
                unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &before, ptr::null_mut()) };
            }
            Err(execute(&image))
        };
        // SAFETY: the hook makes only calls that are safe after a fork (close, getpid, write, read,
        // pthread_sigmask, execve) and allocates nothing on the way to the program.
        unsafe { command.pre_exec(become_it) };
        let starting = std::thread::Builder::new().name("launch".into()).spawn(move || command.spawn())?;
        let mut held = Self { pid: 0, go: Some(go_write), starting: Some(starting) };
        let mut id = [0; 4];
        match id_read.read_exact(&mut id) {
            Ok(()) => held.pid = u32::from_ne_bytes(id),
            // It ended before it could say its id: the reason is the thread's.
            Err(_) => return Err(held.release().err().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into())),
        }
        Ok(held)
    }

    /// Lets the child become its program; an error is why it could not.
    pub(super) fn release(&mut self) -> io::Result<Child> {
        let (Some(mut go), Some(starting)) = (self.go.take(), self.starting.take()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // A child that ended meanwhile has closed its end; the thread tells why.
        let _ = go.write_all(&[GO]);
        drop(go);
        starting.join().unwrap_or_else(|_| Err(io::Error::other("the launching thread panicked")))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(mut go) = self.go.take() {
            // A child that has ended needs no word.
            let _ = go.write_all(&[STOP]);
        }
        if let Some(starting) = self.starting.take() {
            // The child reads the word and ends; the thread has reaped it then.
            let _ = starting.join();
        }
    }
}

/// Lets a child become its program, or tells it not to.
const GO: u8 = 1;
const STOP: u8 = 0;

/// In the child: says its id and waits. The end of the pipe instead of a word is the parent's end,
/// whom nobody outlives that was not let go.
fn wait_for_word(id: &PipeWriter, go: &PipeReader) -> io::Result<()> {
    // SAFETY: getpid has no preconditions; the buffers live through the calls and are as long as said.
    unsafe {
        let pid = libc::getpid().to_ne_bytes();
        if libc::write(id.as_raw_fd(), pid.as_ptr().cast(), pid.len()) != pid.len().cast_signed() {
            libc::_exit(libc::ECANCELED);
        }
        let mut word = 0_u8;
        loop {
            match libc::read(go.as_raw_fd(), ptr::from_mut(&mut word).cast(), 1) {
                1 if word == GO => return Ok(()),
                1 => return Err(io::Error::from_raw_os_error(libc::ECANCELED)),
                // Nobody is left whom an error could be told.
                0 => libc::_exit(libc::ECANCELED),
                _ if *libc::__errno_location() == libc::EINTR => {}
                _ => return Err(io::Error::last_os_error()),
            }
        }
    }
}

/// In the child: becomes the first candidate that can be, with no shell in between; tells why none
/// could be. A file that may not be executed says more than one that is not there.
fn execute(image: &Image) -> io::Error {
    let mut failed = libc::ENOENT;
    for candidate in &image.candidates {
        // SAFETY: all three are arrays of C strings that end with a null pointer and live on.
        unsafe { libc::execve(candidate.as_ptr(), image.arguments.as_ptr(), image.environment.as_ptr()) };
        // SAFETY: the error number of this thread is always readable.
        match unsafe { *libc::__errno_location() } {
            libc::ENOENT | libc::ENOTDIR => {}
            libc::EACCES => failed = libc::EACCES,
            other => return io::Error::from_raw_os_error(other),
        }
    }
    io::Error::from_raw_os_error(failed)
}

/// How a child ended, as `wait` tells it, and what it and the children that it waited for used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reaped {
    pub(super) status: i32,
    pub(super) cpu: Duration,
    pub(super) peak_memory_bytes: u64,
}

/// Takes the status of a child that has ended; `None` while it lives.
pub(super) fn reap(pid: u32) -> io::Result<Option<Reaped>> {
    let (mut status, mut usage) = (0, MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both places are valid for the call.
    let reaped = unsafe { libc::wait4(pid.cast_signed(), &mut status, libc::WNOHANG, usage.as_mut_ptr()) };
    match reaped {
        0 => Ok(None),
        -1 => Err(io::Error::last_os_error()),
        _ => {
            // SAFETY: written by the call, and zeros are a valid value before it.
            let usage = unsafe { usage.assume_init() };
            let kilobytes = u64::try_from(usage.ru_maxrss).unwrap_or(0);
            let cpu = time(usage.ru_utime) + time(usage.ru_stime);
            Ok(Some(Reaped { status, cpu, peak_memory_bytes: kilobytes * 1024 }))
        }
    }
}

fn time(time: libc::timeval) -> Duration {
    let positive = |number: i64| u64::try_from(number).unwrap_or(0);
    Duration::from_secs(positive(time.tv_sec)) + Duration::from_micros(positive(time.tv_usec))
}

/// `struct pidfd_info` of `linux/pidfd.h`, first version.
#[repr(C)]
#[derive(Default)]
struct PidfdInfo {
    mask: u64,
    cgroup: u64,
    ids: [u32; 11],
    exit_code: i32,
}

/// `_IOWR(0xFF, 11, struct pidfd_info)`.
const PIDFD_GET_INFO: u32 = (3 << 30) | ((size_of::<PidfdInfo>() as u32) << 16) | (0xFF << 8) | 11;
const PIDFD_INFO_EXIT: u64 = 1 << 3;

/// How a process ended that need not be a child, as `wait` tells it. Kernels before 6.15 do not
/// tell, and no kernel does before it was reaped.
pub(super) fn exit_of(pidfd: BorrowedFd<'_>) -> Option<i32> {
    let mut info = PidfdInfo { mask: PIDFD_INFO_EXIT, ..PidfdInfo::default() };
    // SAFETY: the structure has the size that the request names; the kernel fills it.
    let asked = unsafe { libc::ioctl(pidfd.as_raw_fd(), PIDFD_GET_INFO as libc::Ioctl, ptr::from_mut(&mut info)) };
    (asked == 0 && info.mask & PIDFD_INFO_EXIT != 0).then_some(info.exit_code)
}
