//! Watching for processes as a task of a program: scans, the waking in between, and the stop.
//!
//! What a scan does is in [`ffrtmp_governor::supervise::watch`].

use std::io::{self, PipeReader, PipeWriter, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::ResourceGovernor;
use ffrtmp_governor::supervise::watch::{Event, Rules, WatchOptions, Watcher};
use tokio_util::sync::CancellationToken;

/// What is watched for, and how often.
#[derive(Clone, Debug)]
pub struct WatchPlan {
    /// Rules, state and retries.
    pub options: WatchOptions,
    /// Time between two scans.
    pub scan_interval: Duration,
    /// Longest time between two writings of the state; a change is written at once.
    pub flush_interval: Duration,
}

/// A task that watches for processes and governs them.
pub struct Watch {
    plan: WatchPlan,
    watcher: Watcher,
    reader: PipeReader,
    remote: Remote,
    rules: Receiver<Rules>,
}

/// Gives a running [`Watch`] other rules.
pub struct Remote {
    wake: PipeWriter,
    rules: Sender<Rules>,
}

impl Remote {
    /// Follows these rules from the next scan on, which comes at once. Rules that cannot be are
    /// told as an event, and the old ones stay. A watch that has ended does not mind.
    pub fn reload(&mut self, rules: Rules) {
        // Nobody listens after the end.
        if self.rules.send(rules).is_ok() {
            let _ = self.wake.write_all(&[1]);
        }
    }
}

impl Watch {
    /// A watch that has not looked yet.
    ///
    /// # Errors
    /// Those of [`Watcher::new`].
    pub fn new(plan: WatchPlan, governor: Arc<dyn ResourceGovernor>) -> Result<Self> {
        let watcher = Watcher::new(plan.options.clone(), governor)?;
        let (reader, wake) = io::pipe().map_err(no_pipe)?;
        let (sender, rules) = channel();
        Ok(Self { plan, watcher, reader, remote: Remote { wake, rules: sender }, rules })
    }

    /// What changes its rules while it runs.
    ///
    /// # Errors
    /// `internal` if the kernel has no descriptor left.
    pub fn remote(&self) -> Result<Remote> {
        Ok(Remote { wake: self.remote.wake.try_clone().map_err(no_pipe)?, rules: self.remote.rules.clone() })
    }

    /// Watches until `stop`, then lets every process go. What happens is told at once.
    ///
    /// # Errors
    /// `internal` if the kernel does not let it wait.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the watch running in its thread until the next thing happens; use
    /// `stop`.
    pub async fn run(self, stop: CancellationToken, tell: impl FnMut(Event) + Send + 'static) -> Result<()> {
        let Self { plan, watcher, reader, mut remote, rules } = self;
        let ended = stop.clone();
        let thread =
            tokio::task::spawn_blocking(move || Round { plan, watcher, reader, rules, stop: ended, tell }.run());
        let abort = async {
            stop.cancelled().await;
            // A watch that has ended by itself does not read it.
            let _ = remote.wake.write_all(&[0]);
            std::future::pending::<()>().await;
        };
        tokio::select! {
            ended = thread => ended.unwrap_or_else(|error| Err(Error::new(Code::Internal, "the watch broke off").source(error))),
            () = abort => Ok(()),
        }
    }
}

fn no_pipe(error: io::Error) -> Error {
    Error::new(Code::Internal, "the watch cannot be woken").source(error)
}

/// The thread of a watch.
struct Round<T> {
    plan: WatchPlan,
    watcher: Watcher,
    reader: PipeReader,
    rules: Receiver<Rules>,
    stop: CancellationToken,
    tell: T,
}

impl<T: FnMut(Event)> Round<T> {
    fn run(mut self) -> Result<()> {
        let mut flush = Instant::now() + self.plan.flush_interval;
        while !self.stop.is_cancelled() {
            let scan = Instant::now() + self.plan.scan_interval;
            let events = self.watcher.scan();
            self.say(events);
            self.wait(scan, &mut flush)?;
        }
        let events = self.watcher.release();
        self.say(events);
        Ok(())
    }

    /// Waits for the next scan, which other rules and the stop bring forward.
    fn wait(&mut self, scan: Instant, flush: &mut Instant) -> Result<()> {
        while !self.stop.is_cancelled() && Instant::now() < scan {
            if self.watcher.pause(scan.min(*flush), self.reader.as_fd())? {
                return self.woken();
            }
            let events = self.watcher.ended();
            self.say(events);
            if Instant::now() >= *flush {
                *flush = Instant::now() + self.plan.flush_interval;
                let events = self.watcher.flush();
                self.say(events);
            }
        }
        Ok(())
    }

    fn woken(&mut self) -> Result<()> {
        self.reader.read(&mut [0; 64]).map_err(no_pipe)?;
        while let Ok(rules) = self.rules.try_recv() {
            match self.watcher.reload(rules) {
                Ok(events) => self.say(events),
                Err(error) => self.say(vec![Event::Refused { reason: error.to_string() }]),
            }
        }
        Ok(())
    }

    fn say(&mut self, events: Vec<Event>) {
        events.into_iter().for_each(&mut self.tell);
    }
}
