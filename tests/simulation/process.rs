//! A process that can be stopped, continued and killed.
//!
//! Its tasks ask here before each step that others can see. Between two such steps nothing it does
//! matters to anybody, so standing still at one is the same as standing still anywhere.

use std::future::pending;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// One life of a master or an agent.
pub(crate) struct Process {
    now: Mutex<Now>,
    changed: Notify,
}

#[derive(Default)]
struct Now {
    dead: bool,
    frozen_since: Option<Instant>,
    freezes: u64,
}

/// What a task of a killed process unwinds with.
struct Killed;

impl Process {
    pub(crate) fn start() -> Self {
        Self { now: Mutex::default(), changed: Notify::new() }
    }

    /// Goes on at once, when the process is continued, or never: the task of a dead process ends
    /// here, without running anything but destructors.
    pub(crate) async fn step(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let (dead, frozen) = {
                let now = self.now();
                (now.dead, now.frozen_since.is_some())
            };
            if dead {
                std::panic::resume_unwind(Box::new(Killed));
            }
            if !frozen {
                return;
            }
            changed.await;
        }
    }

    pub(crate) fn kill(&self) {
        self.now().dead = true;
        self.changed.notify_waiters();
    }

    /// SIGSTOP.
    pub(crate) fn freeze(&self) {
        let mut now = self.now();
        now.frozen_since.get_or_insert_with(Instant::now);
        now.freezes += 1;
    }

    /// SIGCONT. Says how long it stood still.
    pub(crate) fn thaw(&self) -> Duration {
        let since = self.now().frozen_since.take();
        self.changed.notify_waiters();
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.now().dead
    }

    /// How often it was stopped so far.
    pub(crate) fn freezes(&self) -> u64 {
        self.now().freezes
    }

    /// Waits for its death.
    pub(crate) async fn died(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.is_dead() {
                return;
            }
            changed.await;
        }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For what never comes.
pub(crate) async fn never<T>() -> T {
    pending().await
}
