//! Asking for work: whenever there is room, by one request that keeps its name until it is
//! answered, so that what the master leased is never lost on the way.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use backon::BackoffBuilder;
use ffrtmp_core::error::{Code, Disposition, Result};
use ffrtmp_core::governor::{Admission, Demand};
use ffrtmp_core::id::JobId;
use ffrtmp_core::job::{Job, ResourceLimits};
use ffrtmp_core::protocol::{ClaimRequest, Claimed};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::attempt::{self, Attempt};
use super::{Shared, patience};

/// How long a stopping agent waits for an answer that it can do without.
const LAST_WORD: Duration = Duration::from_secs(2);

/// A claim that is not answered yet.
pub(super) type Asked<'a> = Pin<Box<dyn Future<Output = Result<Claimed>> + Send + 'a>>;

/// Asks for work whenever there is room, until `stop`; then returns the claim that is under way.
///
/// # Errors
/// What time does not mend.
pub(super) async fn run<'a>(
    shared: &'a Arc<Shared>,
    attempts: &TaskTracker,
    stop: &CancellationToken,
) -> Result<Option<Asked<'a>>> {
    let mut backoff = patience().build();
    loop {
        let Some(free) = stop.run_until_cancelled(shared.wait_for_room()).await else { return Ok(None) };
        let mut asked = shared.transport.claim(shared.claim_request(free.min(64), Duration::from_secs(30)));
        let answered = tokio::select! {
            biased;
            () = stop.cancelled() => return Ok(Some(asked)),
            answered = &mut asked => answered,
        };
        drop(asked);
        match answered {
            Ok(claimed) => {
                backoff = patience().build();
                shared.claim_answered();
                shared.lease_ms.store(claimed.lease_ms.max(1), Ordering::Release);
                shared.connected.store(true, Ordering::Release);
                for job in claimed.jobs {
                    spawn_attempt(shared, attempts, job);
                }
            }
            Err(error) if error.code() == Code::NodeNotFound => {
                stop.run_until_cancelled(shared.register()).await.transpose()?;
            }
            Err(error) if error.disposition() == Disposition::Transient || error.code() == Code::RateLimited => {
                shared.connected.store(false, Ordering::Release);
                let wait = backoff.next().unwrap_or(shared.options.poll_interval);
                tracing::warn!(%error, wait_s = wait.as_secs_f64(), "cannot claim, trying again");
                stop.run_until_cancelled(tokio::time::sleep(wait)).await;
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

/// Takes back a claim that is under way, and gives back what it was given nevertheless. The master
/// is asked for it as well: the answer may have been lost.
pub(super) async fn withdraw(shared: &Shared, asked: Option<Asked<'_>>) {
    if shared.claiming.lock().unwrap_or_else(PoisonError::into_inner).is_none() {
        return;
    }
    let asked = async {
        match asked {
            Some(asked) => answer_in_time(asked).await,
            None => Vec::new(),
        }
    };
    let told = answer_in_time(shared.transport.claim(shared.claim_request(0, Duration::ZERO)));
    let (mut jobs, told) = tokio::join!(asked, told);
    jobs.extend(told);
    jobs.sort_by_key(|job| (job.id, job.fence));
    jobs.dedup_by_key(|job| (job.id, job.fence));
    for job in jobs.into_iter().filter(|job| !shared.attempts().contains_key(&(job.id, job.fence))) {
        let released = shared.transport.finish(attempt::release_of(&job, shared.node()));
        match tokio::time::timeout(LAST_WORD, released).await {
            Ok(Ok(_)) => tracing::info!(job = %job.id, "gave back a job that came too late"),
            Ok(Err(error)) => tracing::warn!(job = %job.id, %error, "cannot give back a job that came too late"),
            Err(_) => tracing::warn!(job = %job.id, "the master does not take back a job that came too late"),
        }
    }
}

async fn answer_in_time(asked: Asked<'_>) -> Vec<Job> {
    match tokio::time::timeout(LAST_WORD, asked).await {
        Ok(Ok(claimed)) => claimed.jobs,
        Ok(Err(error)) => {
            tracing::debug!(%error, "a claim was not taken back");
            Vec::new()
        }
        Err(_) => {
            tracing::debug!("a claim that was taken back has no answer");
            Vec::new()
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
                let limits = ResourceLimits::default();
                match self.governor.admit(&Demand { limits: &limits, gpu: false, work_dir: self.workshop.root() }) {
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
