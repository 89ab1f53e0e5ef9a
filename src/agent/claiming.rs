//! Asking for work: whenever there is room, by one request that keeps its name until it is
//! answered, so that what the master leased is never lost on the way.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use backon::BackoffBuilder;
use ffrtmp_core::error::{Code, Disposition, Result};
use ffrtmp_core::governor::Admission;
use ffrtmp_core::id::JobId;
use ffrtmp_core::job::{Job, ResourceLimits};
use ffrtmp_core::protocol::ClaimRequest;
use tokio_util::task::TaskTracker;

use super::attempt::{self, Attempt};
use super::{Shared, patience};

/// How long a stopping agent waits for an answer that it can do without.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Asks for work whenever there is room. Ends only with an error that time does not mend.
pub(super) async fn run(shared: &Arc<Shared>, attempts: &TaskTracker) -> Result<()> {
    let mut backoff = patience().build();
    loop {
        let free = shared.wait_for_room().await;
        let request = shared.claim_request(free.min(64), Duration::from_secs(30));
        match shared.transport.claim(request).await {
            Ok(claimed) => {
                backoff = patience().build();
                shared.claim_answered();
                shared.lease_ms.store(claimed.lease_ms.max(1), Ordering::Release);
                shared.connected.store(true, Ordering::Release);
                for job in claimed.jobs {
                    spawn_attempt(shared, attempts, job);
                }
            }
            Err(error) if error.code() == Code::NodeNotFound => shared.register().await?,
            Err(error) if error.disposition() == Disposition::Transient || error.code() == Code::RateLimited => {
                shared.connected.store(false, Ordering::Release);
                let wait = backoff.next().unwrap_or(shared.options.poll_interval);
                tracing::warn!(%error, wait_s = wait.as_secs_f64(), "cannot claim, trying again");
                tokio::time::sleep(wait).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn spawn_attempt(shared: &Arc<Shared>, attempts: &TaskTracker, job: Job) {
    let attempt = Arc::new(Attempt::new(&job, Arc::clone(&shared.clock)));
    shared.attempts().insert((job.id, job.fence), Arc::clone(&attempt));
    let shared = Arc::clone(shared);
    attempts.spawn(async move {
        let begun = std::time::Instant::now();
        let (id, fence) = (job.id, job.fence);
        tracing::info!(job = %id, scenario = %job.scenario, %fence, "attempt begins");
        shared.changed.notify_waiters();
        let ended = attempt::run(Arc::clone(&shared), job, attempt).await;
        shared.attempts().remove(&(id, fence));
        shared.metrics.ended(&ended, begun.elapsed());
        tracing::info!(job = %id, status = %ended.status, "attempt ended");
        shared.changed.notify_waiters();
    });
}

/// Gives back what a claim that was broken off has leased: its answer may have been on the way.
pub(super) async fn give_back_unseen(shared: &Shared) {
    let asked = shared.transport.claim(shared.claim_request(0, Duration::ZERO));
    let jobs = match tokio::time::timeout(LAST_WORD, asked).await {
        Ok(Ok(claimed)) => claimed.jobs,
        Ok(Err(error)) => return tracing::debug!(%error, "cannot ask for jobs that were not seen"),
        Err(_) => return tracing::debug!("the master does not say which jobs were not seen"),
    };
    for job in jobs.into_iter().filter(|job| !shared.attempts().contains_key(&(job.id, job.fence))) {
        let released = shared.transport.finish(attempt::release_of(&job, shared.node()));
        match tokio::time::timeout(LAST_WORD, released).await {
            Ok(Ok(_)) => tracing::info!(job = %job.id, "gave back a job that came too late"),
            Ok(Err(error)) => tracing::warn!(job = %job.id, %error, "cannot give back a job that came too late"),
            Err(_) => tracing::warn!(job = %job.id, "the master does not take back a job that came too late"),
        }
    }
}

impl Shared {
    /// Every request has the same name until one is answered.
    fn claim_request(&self, slots: u32, wait: Duration) -> ClaimRequest {
        let mut claiming = self.claiming.lock().unwrap_or_else(PoisonError::into_inner);
        let request_id = claiming.get_or_insert_with(|| JobId::random().to_string()).clone();
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        ClaimRequest { node_id: self.node(), slots, wait_ms, request_id: Some(request_id) }
    }

    fn claim_answered(&self) {
        *self.claiming.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits until a slot is free, the node is in service, and the governor admits.
    async fn wait_for_room(&self) -> u32 {
        let mut told = String::new();
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let active = u32::try_from(self.attempts().len()).unwrap_or(u32::MAX);
            let free = self.slots.saturating_sub(active);
            if free > 0 && !self.drained.load(Ordering::Acquire) {
                match self.governor.admit(&ResourceLimits::default(), self.workshop.root()) {
                    Ok(Admission::Admitted) => return free,
                    Ok(Admission::Warned(reason)) => {
                        tracing::warn!(reason, "resources are getting short");
                        return free;
                    }
                    Ok(Admission::Refused(reason)) if reason == told => {}
                    Ok(Admission::Refused(reason)) => {
                        tracing::warn!(reason, "taking no jobs");
                        told = reason;
                    }
                    Err(error) => tracing::warn!(%error, "cannot tell whether there is room"),
                }
                let _ = tokio::time::timeout(self.options.poll_interval, changed).await;
            } else {
                changed.await;
            }
        }
    }
}
