//! One control group: the same name in every tree.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use cgroups_rs::freezer::{FreezerController, FreezerState};
use ffrtmp_core::error::{Code, Error, Result};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::layout::{Controller, Layout};
use super::mounts::Version;
use super::stats;

/// How long the kernel may take to empty, freeze or remove a group.
const PATIENCE: Duration = Duration::from_secs(2);
/// Groups within ours that a workload may have made, at most so many deep.
const DEPTH: usize = 8;

/// The folder of a group in one tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seat {
    pub(crate) version: Version,
    pub(crate) controllers: Vec<Controller>,
    pub(crate) folder: PathBuf,
}

impl Seat {
    pub(crate) fn text(&self, file: &str) -> Option<String> {
        fs::read_to_string(self.folder.join(file)).ok()
    }

    /// Writes a file that the kernel made. It never makes one.
    pub(crate) fn write(&self, file: &str, value: &str) -> io::Result<()> {
        io::Write::write_all(&mut fs::OpenOptions::new().write(true).open(self.folder.join(file))?, value.as_bytes())
    }
}

/// A group in all trees of a layout.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) seats: Vec<Seat>,
}

/// What the kernel counted in a group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) cpu: Option<Duration>,
    pub(crate) peak_memory_bytes: Option<u64>,
    pub(crate) throttled: Option<Duration>,
    pub(crate) oom_kills: Option<u64>,
    pub(crate) io: Option<(u64, u64)>,
}

impl Group {
    /// Makes the group in every tree, or in none.
    pub(crate) fn create(layout: &Layout, name: &str) -> Result<Self> {
        let mut group = Self::default();
        for tree in &layout.trees {
            let folder = tree.folder.join(name);
            if let Err(error) = fs::create_dir(&folder) {
                group.remove();
                return Err(refused(format!("cannot make the control group {}", folder.display()), error));
            }
            group.seats.push(Seat { version: tree.mount.version, controllers: tree.controllers.clone(), folder });
        }
        Ok(group)
    }

    /// What the kernel counted in it; what no controller counts is absent.
    pub(crate) fn counted(&self) -> Counted {
        let text = |controller, file| self.seat(controller)?.text(file);
        let number = |text: Option<String>| text?.trim().parse::<u64>().ok();
        let unified = || stats::keyed(&self.unified()?.text("cpu.stat")?, "usage_usec").map(Duration::from_micros);
        let cpu = number(text(Controller::CpuAcct, "cpuacct.usage")).map(Duration::from_nanos).or_else(unified);
        let memory = self.seat(Controller::Memory);
        let (peak, events) = match memory.map(|seat| seat.version) {
            Some(Version::V2) => ("memory.peak", "memory.events"),
            _ => ("memory.max_usage_in_bytes", "memory.oom_control"),
        };
        let io = self.seat(Controller::Io).and_then(|seat| match seat.version {
            Version::V2 => seat.text("io.stat").map(|text| stats::io_stat(&text)),
            Version::V1 => {
                seat.text("blkio.throttle.io_service_bytes_recursive").map(|text| stats::io_service_bytes(&text))
            }
        });
        Counted {
            cpu,
            peak_memory_bytes: number(text(Controller::Memory, peak)),
            throttled: text(Controller::Cpu, "cpu.stat").and_then(|text| stats::throttled(&text)),
            oom_kills: text(Controller::Memory, events).and_then(|text| stats::keyed(&text, "oom_kill")),
            io,
        }
    }

    pub(crate) fn seat(&self, controller: Controller) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.controllers.contains(&controller))
    }

    pub(crate) fn unified(&self) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.version == Version::V2)
    }

    /// Moves a process in. `false`: it has ended.
    pub(crate) fn add(&self, pid: u32) -> Result<bool> {
        for seat in &self.seats {
            match seat.write("cgroup.procs", &pid.to_string()) {
                Ok(()) => {}
                Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => return Ok(false),
                Err(error) => {
                    let folder = seat.folder.display();
                    return Err(refused(format!("cannot move process {pid} into the control group {folder}"), error));
                }
            }
        }
        Ok(true)
    }

    /// The processes in it, also those in groups that they made within it.
    pub(crate) fn pids(&self) -> BTreeSet<u32> {
        self.folders().iter().flat_map(|folder| procs(folder)).collect()
    }

    /// In how many trees a process is in it, by the text of its `/proc/PID/cgroup`.
    pub(crate) fn seats_in(&self, told: &str) -> usize {
        let name = self.seats.first().and_then(|seat| seat.folder.file_name()?.to_str());
        told.lines().filter(|line| name.is_some_and(|name| line.split('/').any(|part| part == name))).count()
    }

    /// Stops all processes or lets them go on; `false` without means.
    pub(crate) fn freeze(&self, frozen: bool) -> Result<bool> {
        let Some((freezer, v2)) = self.freezer() else { return Ok(false) };
        let told = if frozen { freezer.freeze() } else { freezer.thaw() };
        told.map_err(|error| refused("cannot freeze or thaw a control group".to_owned(), error))?;
        // A process inside the kernel stops when it comes out; it is bound to, but not in our time.
        let done = || match (v2, freezer.state()) {
            (true, _) => self
                .unified()
                .and_then(|seat| seat.text("cgroup.events"))
                .is_none_or(|events| stats::keyed(&events, "frozen").is_none_or(|now| (now == 1) == frozen)),
            (false, Ok(state)) => matches!(state, FreezerState::Frozen) == frozen,
            (false, Err(_)) => true,
        };
        wait_until(done);
        Ok(true)
    }

    /// Kills all processes and waits until none is left.
    pub(crate) fn kill(&self) -> Result<()> {
        if let Some(seat) = self.unified() {
            // Kernels before 5.14 do not have it.
            let _ = seat.write("cgroup.kill", "1");
        }
        let until = Instant::now() + PATIENCE;
        let mut pause = Pause::default();
        while !self.pids().is_empty() {
            // A frozen process dies when it is thawed, and a running one cannot fork meanwhile.
            let stopped = self.freeze(true);
            for pid in self.pids() {
                self.signal(pid);
            }
            stopped.and_then(|_| self.freeze(false))?;
            if Instant::now() > until {
                let left = self.pids();
                return Err(
                    Error::new(Code::Storage, format!("processes {left:?} survive SIGKILL")).operation(OPERATION)
                );
            }
            pause.sleep();
        }
        Ok(())
    }

    /// Removes the emptied group; `false` if something still lives in it.
    pub(crate) fn remove(&self) -> bool {
        let mut pause = Pause::default();
        let until = Instant::now() + PATIENCE;
        loop {
            let left = self.folders().into_iter().rev().filter(|folder| match fs::remove_dir(folder) {
                Ok(()) => false,
                Err(error) => error.kind() != io::ErrorKind::NotFound,
            });
            if left.count() == 0 {
                return true;
            }
            if Instant::now() > until {
                return false;
            }
            pause.sleep();
        }
    }

    /// All its folders, outer ones before those within.
    fn folders(&self) -> Vec<PathBuf> {
        let mut folders = Vec::new();
        for seat in &self.seats {
            walk(&seat.folder, DEPTH, &mut folders);
        }
        folders
    }

    fn freezer(&self) -> Option<(FreezerController, bool)> {
        let unified = self.unified().filter(|seat| seat.folder.join("cgroup.freeze").exists());
        let seat = unified.or_else(|| self.seat(Controller::Freezer))?;
        let v2 = seat.version == Version::V2;
        Some((FreezerController::new(seat.folder.clone(), v2), v2))
    }

    /// Kills one process if it is still the one that is in the group: ids are reused.
    fn signal(&self, pid: u32) {
        let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return };
        // The only refusal is that it has ended, which is what is wanted.
        let Ok(handle) = pidfd_open(process, PidfdFlags::empty()) else { return };
        let told = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
        if self.seats_in(&told) > 0 {
            let _ = pidfd_send_signal(handle, Signal::KILL);
        }
    }
}

const OPERATION: &str = "governor.cgroup";

/// The kernel refused something.
pub(crate) fn refused(message: String, source: impl std::error::Error + Send + Sync + 'static) -> Error {
    let hint = "a group above may be tighter, or another program changed it; `ffrtmp doctor` shows what holds";
    Error::new(Code::Storage, message).operation(OPERATION).hint(hint).source(source)
}

pub(crate) fn procs(folder: &Path) -> Vec<u32> {
    stats::pids(&fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default())
}

fn walk(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    found.push(folder.to_owned());
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(&entry.path(), depth - 1, found);
        }
    }
}

fn wait_until(done: impl Fn() -> bool) {
    let until = Instant::now() + PATIENCE;
    let mut pause = Pause::default();
    while !done() && Instant::now() < until {
        pause.sleep();
    }
}

/// Waits for the kernel, which tells nobody when it is ready: shortly at first, then longer.
pub(crate) struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Self(Duration::from_micros(100))
    }
}

impl Pause {
    pub(crate) fn sleep(&mut self) {
        thread::sleep(self.0);
        self.0 = (self.0 * 2).min(Duration::from_millis(10));
    }
}
