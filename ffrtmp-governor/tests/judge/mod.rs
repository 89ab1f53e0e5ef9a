//! A governor under the suite of the trait, with the processes that it asks for.

use std::process::{Child, Command};

use ffrtmp_core::conformance::governor::{Subject, run};
use ffrtmp_core::governor::ResourceGovernor;

/// A process that computes until it is dropped.
pub(crate) struct Busy(Child);

impl Busy {
    pub(crate) fn start() -> Self {
        Self(Command::new("sh").args(["-c", "while :; do :; done"]).spawn().expect("a shell"))
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the suite.
pub(crate) fn judge(governor: &dyn ResourceGovernor) {
    let work = tempfile::tempdir().expect("a work directory");
    let busy = Busy::start();
    let mut dead = Command::new("true").spawn().expect("a process");
    dead.wait().expect("it ends");
    run(&Subject { governor, work_dir: work.path().into(), busy_pid: busy.pid(), dead_pid: dead.id() });
}
