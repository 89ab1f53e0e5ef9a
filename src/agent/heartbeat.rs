//! Signs of life, and obedience.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::node::Telemetry;
use ffrtmp_core::protocol::{Heartbeat, HeartbeatAnswer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::Shared;
use super::claiming::LAST_WORD;

/// Between reports while attempts run: progress is at most this old, and so is a cancel order.
const BUSY_INTERVAL: Duration = Duration::from_millis(500);

/// Longest wait between tries while the master does not answer.
const LOST_INTERVAL: Duration = Duration::from_secs(5);

/// Beats until `quiet`.
pub(super) async fn run(shared: Arc<Shared>, quiet: CancellationToken) {
    let mut wait = Duration::ZERO;
    while !quiet.is_cancelled() {
        wait = match shared.beat().await {
            Ok(()) => Duration::ZERO,
            Err(error) => lost(&shared, error, wait, &quiet).await,
        };
        tokio::select! {
            biased;
            () = quiet.cancelled() => {}
            () = pause(&shared, wait) => {}
        }
    }
}

/// Says so once, registers again if the master forgot the node, and returns how long to wait.
async fn lost(shared: &Arc<Shared>, error: Error, waited: Duration, quiet: &CancellationToken) -> Duration {
    if shared.connected.swap(false, Ordering::AcqRel) {
        tracing::warn!(%error, "the master does not take heartbeats");
    }
    if error.code() == Code::NodeNotFound {
        let again = tokio::select! { biased; () = quiet.cancelled() => Ok(()), done = shared.register() => done };
        if let Err(error) = again {
            tracing::error!(%error, "cannot register again");
        }
    }
    (waited * 2).clamp(BUSY_INTERVAL, LOST_INTERVAL)
}

/// Until the next beat: soon while attempts run, or as soon as one begins.
async fn pause(shared: &Shared, at_least: Duration) {
    tokio::time::sleep(at_least).await;
    let changed = shared.changed.notified();
    tokio::pin!(changed);
    changed.as_mut().enable();
    if shared.attempts().is_empty() {
        let _ = tokio::time::timeout(shared.idle_beat(), changed).await;
    } else {
        tokio::time::sleep(BUSY_INTERVAL.min(shared.idle_beat())).await;
    }
}

impl Shared {
    /// Sends one heartbeat for all attempts and obeys the answer. One at a time; whoever asks while
    /// one is under way shares the next with all others who do.
    pub(super) async fn beat(&self) -> Result<()> {
        let asked_after = self.beats_begun.load(Ordering::Acquire);
        let mut answered = self.beating.lock().await;
        if *answered > asked_after {
            return Ok(());
        }
        let number = self.beats_begun.fetch_add(1, Ordering::AcqRel) + 1;
        let running: Vec<_> = self.attempts().values().cloned().collect();
        let sent = Instant::now();
        let telemetry = self.telemetry();
        self.metrics.telemetry(&telemetry);
        let attempts: Vec<_> = running.iter().map(|attempt| attempt.status()).collect();
        let heartbeat = Heartbeat { telemetry: Some(telemetry), attempts: attempts.clone(), leaving: false };
        let answer = self.heard(self.transport.heartbeat(self.node(), heartbeat)).await;
        let answer = answer.inspect_err(|_| self.metrics.heartbeat_failed())?;
        self.connected.store(true, Ordering::Release);
        self.metrics.heartbeat();
        for (attempt, status) in running.iter().zip(&attempts) {
            attempt.renewed(sent, status);
        }
        self.obey(&answer);
        *answered = number;
        Ok(())
    }

    /// Tells the master that this node stops, so that nobody waits for it. Whom the word does not reach
    /// finds out by the silence.
    pub(super) async fn take_leave(&self) {
        if !self.connected.load(Ordering::Acquire) {
            return;
        }
        let last = Heartbeat { leaving: true, ..Heartbeat::default() };
        match tokio::time::timeout(LAST_WORD, self.transport.heartbeat(self.node(), last)).await {
            Ok(Ok(_)) => tracing::debug!("the master knows that this node stops"),
            Ok(Err(error)) => tracing::info!(%error, "the master was not told that this node stops"),
            Err(_) => tracing::info!("the master does not answer that it knows that this node stops"),
        }
    }

    /// How the machine is, and why the node takes no jobs.
    pub(super) fn telemetry(&self) -> Telemetry {
        let seen = self.governor.telemetry(self.workshop.root());
        let held_back = self.held_back.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Telemetry { held_back: held_back.or(seen.held_back), ..seen }
    }

    /// A heartbeat that is lost must leave time for another one within the lease.
    async fn heard<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        let late = |_| Err(Error::new(Code::Network, "the master did not answer a heartbeat in time"));
        tokio::time::timeout(self.lease() / 3, call).await.unwrap_or_else(late)
    }

    fn obey(&self, answer: &HeartbeatAnswer) {
        if self.drained.swap(answer.drain, Ordering::AcqRel) != answer.drain {
            tracing::info!(drain = answer.drain, "the master changed the service of this node");
            self.changed.notify_waiters();
            if answer.drain {
                self.hand_back_live();
            }
        }
        for directive in &answer.directives {
            let attempt = self.attempts().get(&(directive.job_id, directive.fence)).cloned();
            if let Some(attempt) = attempt {
                let (order, reason) = (directive.directive, directive.reason.as_str());
                attempt.span.in_scope(|| tracing::debug!(%order, reason, "order from the master"));
                attempt.obey(directive.directive);
            }
        }
    }
}
