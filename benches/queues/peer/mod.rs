//! The other queues, as far as they are here. One that is not is named, never replaced.
//!
//! Each is a program in its own language that takes orders as lines of JSON, so that its start is
//! not on the clock.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::contest::Sample;
use crate::{Result, cpu, load};

/// A running peer.
pub(crate) struct Peer {
    child: Child,
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// Installs what is missing, as far as the machine lets it.
pub(crate) fn install(into: &Path) -> Result<()> {
    let status = Command::new(source("setup.sh")).arg(into).status()?;
    if status.success() { Ok(()) } else { Err(format!("setup.sh failed: {status}").into()) }
}

/// npm's graphile-worker on this database; `None` where it is not installed.
pub(crate) fn graphile(installed: &Path, dsn: &str) -> Result<Option<Peer>> {
    let npm = installed.join("npm");
    if !npm.join("node_modules/graphile-worker").is_dir() {
        return Ok(absent("graphile-worker"));
    }
    let mut node = Command::new("node");
    node.arg(source("peer/graphile_worker.mjs")).arg(dsn).env("QUEUES_NPM", npm.join("package.json"));
    Peer::start(node).map(Some)
}

/// What a peer promises of a commit that it has confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Commits {
    /// What it promises by itself.
    AsShipped,
    /// That it is on the disk, as ours is.
    Synced,
}

/// PyPI's honker on a new file; `None` where it is not installed.
pub(crate) fn honker(installed: &Path, file: &Path, commits: Commits) -> Result<Option<Peer>> {
    let python = installed.join("venv/bin/python");
    if !Command::new(&python).args(["-c", "import honker"]).output().is_ok_and(|output| output.status.success()) {
        return Ok(absent("honker"));
    }
    let mut command = Command::new(python);
    command.arg(source("peer/honker_calls.py")).arg(file);
    command.args((commits == Commits::Synced).then_some("--synced"));
    Peer::start(command).map(Some)
}

fn absent(name: &str) -> Option<Peer> {
    println!("  {name} is not here: benches/queues/setup.sh installs it");
    None
}

fn source(name: impl AsRef<OsStr>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/queues").join(Path::new(&name))
}

impl Peer {
    fn start(mut command: Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().ok_or("the peer has no output")?);
        Ok(Self { child, orders, answers })
    }

    pub(crate) fn fill(&mut self, jobs: usize) -> Result<()> {
        self.ask(&json!({"do": "fill", "jobs": jobs, "payload": load::payload()})).map(drop)
    }

    /// Works until nothing is left; `others` is the processor time of who works for it.
    pub(crate) fn drain(&mut self, mut order: Value, others: impl Fn() -> Duration) -> Result<Sample> {
        order["do"] = "drain".into();
        let pid = self.child.id();
        let used = || cpu::of(pid) + others();
        let before = used();
        let answer = self.ask(&order)?;
        let cpu = used().saturating_sub(before);
        let jobs = answer["jobs"].as_u64().ok_or("the peer counted nothing")?;
        let seconds = answer["seconds"].as_f64().ok_or("the peer timed nothing")?;
        Ok(Sample { jobs: usize::try_from(jobs)?, wall: Duration::from_secs_f64(seconds), cpu })
    }

    fn ask(&mut self, order: &Value) -> Result<Value> {
        writeln!(self.orders.as_mut().ok_or("the peer is gone")?, "{order}")?;
        let mut answer = String::new();
        if self.answers.read_line(&mut answer)? == 0 {
            return Err(format!("the peer ended at {order}").into());
        }
        Ok(serde_json::from_str(&answer)?)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        drop(self.orders.take());
        // It ends when its orders do.
        let _ = self.child.wait();
    }
}
