//! One program as a process: started in a group of its own with a clean environment and a log
//! file, signalled, awaited, and killed when dropped.

use std::fs::{self, File};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::until;

/// A program of this workspace, found where this build put it.
pub(crate) fn binary(name: &str) -> PathBuf {
    let path = profile_dir().join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build --workspace` first, as `make test` does", path.display());
    path
}

/// An example of this workspace, found where this build put it.
pub(crate) fn example(name: &str) -> PathBuf {
    let path = profile_dir().join("examples").join(name);
    assert!(path.is_file(), "{} is missing: run `cargo build --examples` first", path.display());
    path
}

/// `target/PROFILE`: the directory above the one that holds the tests.
fn profile_dir() -> PathBuf {
    let own = std::env::current_exe().expect("the path of the tests");
    own.ancestors().nth(2).expect("target/PROFILE/deps/TEST").to_path_buf()
}

/// A command without this process's environment, but for what finds programs and libraries.
pub(crate) fn command(program: &Path, home: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("HOME", home).stdin(Stdio::null());
    for kept in ["PATH", "LD_LIBRARY_PATH", "TMPDIR", "RUST_BACKTRACE", "LLVM_PROFILE_FILE"] {
        if let Some(value) = std::env::var_os(kept) {
            command.env(kept, value);
        }
    }
    command
}

/// A running program.
#[derive(Debug)]
pub(crate) struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it; what it prints goes to the end of `log`.
    pub(crate) fn start(mut command: Command, log: &Path) -> Self {
        let file = || File::options().create(true).append(true).open(log).expect("a log file");
        command.stdout(file()).stderr(file()).process_group(0);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
        Self { child, log: log.to_path_buf() }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.raw_pid(), signal).expect("the program runs");
    }

    /// `kill -9`, of the program alone.
    pub(crate) fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().expect("a killed program ends");
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child can be awaited")
    }

    /// Its exit code, once it ends by itself within `limit`.
    pub(crate) fn exit_code(&mut self, limit: Duration) -> i32 {
        let what = format!("the program of {} ends", self.log.display());
        let status = until(&what, limit, || self.ended());
        status.code().unwrap_or_else(|| panic!("ended by signal {:?}: {}", status.signal(), self.log_text()))
    }

    /// Everything that it has printed.
    pub(crate) fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if self.ended().is_none() {
            // Refused only if nobody is left.
            let _ = kill_process_group(self.raw_pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}
