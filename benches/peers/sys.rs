//! What one child used: the only thing here that no safe interface tells.
#![allow(unsafe_code, reason = "wait4 has no safe form")]

use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use crate::Result;

/// What a child and those that it waited for used.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    pub(crate) wall: Duration,
    /// User and system time.
    pub(crate) cpu: Duration,
    /// Largest resident memory of any one process, in bytes.
    pub(crate) peak: u64,
}

/// Runs a command to its end and returns what it wrote to standard output.
pub(crate) fn run(command: &mut Command) -> Result<(Usage, String)> {
    let begun = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| failed(command, &error))?;
    let mut said = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut said)?;
    }
    let (status, usage) = reap(&child)?;
    if !status.success() {
        return Err(failed(command, &status));
    }
    Ok((Usage { wall: begun.elapsed(), ..usage }, said))
}

/// Runs a command until it writes to standard output, and stops it.
pub(crate) fn run_to_first_byte(command: &mut Command) -> Result<Usage> {
    let begun = Instant::now();
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(|error| failed(command, &error))?;
    let read = child.stdout.take().map_or(Ok(0), |mut out| out.read(&mut [0]))?;
    let wall = begun.elapsed();
    child.kill()?;
    let (status, usage) = reap(&child)?;
    if read == 0 {
        return Err(failed(command, &format!("it wrote nothing ({status})")));
    }
    Ok(Usage { wall, ..usage })
}

fn failed(command: &Command, why: &dyn std::fmt::Display) -> Box<dyn std::error::Error + Send + Sync> {
    format!("{why}: {command:?}").into()
}

fn reap(child: &Child) -> io::Result<(ExitStatus, Usage)> {
    let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::uninit();
    // SAFETY: both pointers are to memory of the right type; the process is a child of ours that
    // nobody else waits for: std reaps only in its own wait calls.
    let reaped = unsafe { libc::wait4(pid, &raw mut status, 0, usage.as_mut_ptr()) };
    if reaped != pid {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: wait4 succeeded and filled it.
    let usage = unsafe { usage.assume_init() };
    let time =
        |time: libc::timeval| Duration::new(time.tv_sec.unsigned_abs(), time.tv_usec.unsigned_abs() as u32 * 1000);
    let peak = usage.ru_maxrss.unsigned_abs() * 1024;
    Ok((
        ExitStatus::from_raw(status),
        Usage { wall: Duration::ZERO, cpu: time(usage.ru_utime) + time(usage.ru_stime), peak },
    ))
}
