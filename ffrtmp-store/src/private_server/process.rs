//! The server process: from its start to the word that it is ready, and to its end.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use ffrtmp_core::{Code, Error, Result};
use rustix::process::{Pid, Signal};

use super::{Shutdown, broken};

/// Long enough for the recovery of a large database on a busy disk.
const PATIENCE: Duration = Duration::from_secs(120);
const READY: &str = "database system is ready to accept connections";
const LOG_LINES: usize = 200;

/// The server process and the last words of its log.
#[derive(Debug)]
pub(super) struct Running {
    pub(super) child: Child,
    log: Log,
}

impl Running {
    /// Waits until the server says that it is ready.
    pub(super) fn of(mut child: Child) -> Result<Self> {
        let stderr = child.stderr.take().ok_or_else(|| Error::new(Code::Internal, "postgres has no log"))?;
        let (log, ready) = Log::follow(stderr);
        let mut running = Self { child, log };
        match ready.recv_timeout(PATIENCE) {
            Ok(()) => Ok(running),
            Err(why) => {
                let _ = running.child.kill();
                let _ = running.child.wait();
                Err(running.failed(why))
            }
        }
    }

    fn failed(&self, why: mpsc::RecvTimeoutError) -> Error {
        let log = self.log.text();
        let taken = log.contains("Address already in use");
        let what = match why {
            mpsc::RecvTimeoutError::Timeout => format!("postgres was not ready after {PATIENCE:?}"),
            mpsc::RecvTimeoutError::Disconnected => "postgres did not start".to_owned(),
        };
        Error::new(if taken { Code::PortInUse } else { Code::Unavailable }, format!("{what}: {log}"))
    }

    pub(super) fn end(mut self, shutdown: Shutdown) -> Result<()> {
        let signal = match shutdown {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        };
        let gone = self.child.try_wait().map_err(|error| broken("cannot wait for postgres", error))?.is_some();
        if !gone && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            rustix::process::kill_process(pid, signal).map_err(|error| broken("cannot stop postgres", error))?;
            self.child.wait().map_err(|error| broken("cannot wait for postgres", error))?;
        }
        Ok(())
    }
}

/// The newest lines of the server's log.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    /// Reads to the end of the stream on a thread of its own, since a server whose log nobody
    /// reads stands still. The receiver hears once, when the server is ready; a hang-up says that
    /// it ended before.
    fn follow(stream: ChildStderr) -> (Self, mpsc::Receiver<()>) {
        let log = Self::default();
        let (tell, ready) = mpsc::channel();
        let kept = log.clone();
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { break };
                if line.contains(READY)
                    && let Some(tell) = tell.take()
                {
                    // Whoever waited may have lost patience.
                    let _ = tell.send(());
                }
                kept.push(line);
            }
        });
        (log, ready)
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}
