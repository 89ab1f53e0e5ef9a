//! Surroundings of a test: a directory, the program, and processes that end with the test.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Nobody's user and group.
const NOBODY: u32 = 65534;
/// Longest wait for anything; the machine may be busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn ffrtmp(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ffrtmp"));
    command.args(args).stdin(Stdio::null());
    command
}

/// The same without a terminal and with every signal at its default, whatever the test was started
/// from: a shell without job control has its background ignore interrupts.
pub(crate) fn apart(args: &[&str]) -> Command {
    let mut command = ffrtmp(args);
    super::terminal::begin_session(&mut command, false);
    command
}

pub(crate) fn output(mut command: Command) -> Output {
    command.output().expect("the program starts")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The last line of stderr as JSON: the report of a run.
pub(crate) fn report(output: &Output) -> Value {
    let err = text(&output.stderr);
    let line = err.lines().last().unwrap_or_default();
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {err}"))
}

/// A process that is killed when the test ends.
pub(crate) struct Guarded(pub(crate) Child);

impl Guarded {
    pub(crate) fn start(mut command: Command) -> Self {
        Self(command.spawn().expect("it starts"))
    }

    /// A process that sleeps, under a name of its own.
    pub(crate) fn sleeper(folder: &Path, name: &str) -> Self {
        let program = folder.join(name);
        fs::copy("/bin/sleep", &program).expect("a copy of sleep");
        let mut command = Command::new(program);
        command.arg("600").stdin(Stdio::null());
        // Another test that forks now may hold the copy open for writing for a moment.
        let started = until("the copy can be executed", || command.spawn().ok());
        Self(started)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.0), signal).expect("it lives");
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.0.try_wait().expect("it is a child").is_none()
    }

    /// Its exit code; that of a signal as a shell shows it.
    pub(crate) fn code(&mut self) -> i32 {
        let status = until("it ends", || self.0.try_wait().expect("it is a child"));
        status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A process that is nobody's child here, killed when the test ends.
pub(crate) struct Stray(pub(crate) u32);

impl Drop for Stray {
    fn drop(&mut self) {
        let _ = kill_process(pid(self.0), Signal::KILL);
    }
}

pub(crate) fn pid(raw: u32) -> Pid {
    Pid::from_raw(raw.cast_signed()).expect("a process id")
}

/// Waits for a condition.
pub(crate) fn until<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < end, "this did not come: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lines of a program as they come.
pub(crate) struct Lines(Receiver<String>);

impl Lines {
    pub(crate) fn of(stream: impl std::io::Read + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Self(receiver)
    }

    pub(crate) fn next(&self, what: &str) -> String {
        self.0.recv_timeout(PATIENCE).unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The next event of this name.
    pub(crate) fn event(&self, name: &str) -> Value {
        loop {
            let line = self.next(name);
            let event: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
            if event["event"] == name {
                return event;
            }
        }
    }
}

/// Runs it as nobody, who must be able to execute the program.
pub(crate) fn as_nobody(command: &mut Command) {
    command.uid(NOBODY).gid(NOBODY);
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether limits can be put by control groups here; says so if not.
pub(crate) fn has_groups() -> bool {
    let ran = output(ffrtmp(&["run", "--json", "--memory-limit", "64", "--cpu-quota", "50", "--", "true"]));
    let limits = report(&ran)["limits"].clone();
    let all = limits.as_array().is_some_and(|limits| limits.iter().all(|limit| limit["in_force"] == true));
    if !all {
        println!("left out, for no control groups can be made here: {limits}");
    }
    all
}

pub(crate) fn groups_of(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default()
}

pub(crate) fn nice_of(process: u32) -> i32 {
    rustix::process::getpriority_process(Some(pid(process))).expect("it lives")
}

/// Folders of groups that a program of this id made.
pub(crate) fn groups_by(owner: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut next = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = next.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("ffrtmp-foreign-") && name.split('-').nth(3) == Some(&owner.to_string()) {
                found.push(entry.path());
            }
            next.push(entry.path());
        }
    }
    found
}
