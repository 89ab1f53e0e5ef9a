//! Asking for work: whenever there is room, by one request that keeps its name until it is
//! answered, so that what the master leased is never lost on the way.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use backon::BackoffBuilder;
use ffrtmp_core::error::{Code, Disposition, Result};
use ffrtmp_core::governor::{Admission, Demand, Room};
use ffrtmp_core::id::JobId;
use ffrtmp_core::job::{Job, ResourceLimits};
use ffrtmp_core::policy::limits::{DEFAULT_DISK_MB, DEFAULT_MEMORY_MB};
use ffrtmp_core::protocol::{ClaimRequest, Claimed, RoomLeft};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::attempt::{self, Attempt};
use super::{Shared, patience};

/// How long a stopping agent waits for an answer that it can do without.
pub(super) const LAST_WORD: Duration = Duration::from_secs(2);

/// How long the master may look for work.
const LONG_POLL: Duration = Duration::from_secs(30);
/// The same while attempts run: when they end there is room for more than was said.
const BUSY_POLL: Duration = Duration::from_secs(5);
/// Most jobs of one claim.
const MOST_SLOTS: u32 = 64;

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
        let Some(vacancy) = stop.run_until_cancelled(shared.wait_for_room()).await else { return Ok(None) };
        let wait = if shared.attempts().is_empty() { LONG_POLL } else { BUSY_POLL };
        let mut asked = shared.transport.claim(shared.claim_request(vacancy, wait));
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
    let attempt = Arc::new(Attempt::new(&job, shared.node(), Arc::clone(&shared.clock)));
    shared.attempts().insert((job.id, job.fence), Arc::clone(&attempt));
    let shared = Arc::clone(shared);
    let span = attempt.span.clone();
    let work = async move {
        let begun = std::time::Instant::now();
        let (id, fence) = (job.id, job.fence);
        tracing::info!(scenario = %job.scenario, %fence, "attempt begins");
        shared.changed.notify_waiters();
        let ended = attempt::run(Arc::clone(&shared), job, attempt).await;
        shared.attempts().remove(&(id, fence));
        shared.metrics.ended(&ended, begun.elapsed());
        tracing::info!(status = %ended.status, "attempt ended");
        shared.changed.notify_waiters();
    };
    attempts.spawn(work.instrument(span));
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
    let told = answer_in_time(shared.transport.claim(shared.claim_request(Vacancy::default(), Duration::ZERO)));
    let (mut jobs, told) = tokio::join!(asked, told);
    jobs.extend(told);
    jobs.sort_by_key(|job| (job.id, job.fence));
    jobs.dedup_by_key(|job| (job.id, job.fence));
    for job in jobs.into_iter().filter(|job| !shared.attempts().contains_key(&(job.id, job.fence))) {
        let released = shared.transport.finish(attempt::release_of(&job, shared.node()));
        let answered = tokio::time::timeout(LAST_WORD, released).await;
        let _span = attempt::span(&job, shared.node()).entered();
        match answered {
            Ok(Ok(_)) => tracing::info!("gave back a job that came too late"),
            Ok(Err(error)) => tracing::warn!(%error, "cannot give back a job that came too late"),
            Err(_) => tracing::warn!("the master does not take back a job that came too late"),
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
    fn claim_request(&self, vacancy: Vacancy, wait: Duration) -> ClaimRequest {
        let Vacancy { slots, room } = vacancy;
        let mut claiming = self.claiming.lock().unwrap_or_else(PoisonError::into_inner);
        let request_id = claiming.get_or_insert_with(|| JobId::random().to_string()).clone();
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        ClaimRequest { node_id: self.node(), slots, wait_ms, request_id: Some(request_id), room }
    }

    fn claim_answered(&self) {
        *self.claiming.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Waits until a slot is free, the node is in service, and the governor admits.
    async fn wait_for_room(&self) -> Vacancy {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let active = u32::try_from(self.attempts().len()).unwrap_or(u32::MAX);
            let free = self.slots.saturating_sub(active);
            if free == 0 || self.drained.load(Ordering::Acquire) {
                changed.await;
                continue;
            }
            match self.vacancy(free) {
                Ok(vacancy) => {
                    self.hold_back(None);
                    return vacancy;
                }
                Err(reason) => self.hold_back(Some(reason)),
            }
            let _ = tokio::time::timeout(self.options.poll_interval, changed).await;
        }
    }

    /// What can be taken now, or why nothing can.
    fn vacancy(&self, free: u32) -> Result<Vacancy, String> {
        if let Some((until, reason)) = &*self.crowded.lock().unwrap_or_else(PoisonError::into_inner)
            && Instant::now() < *until
        {
            return Err(reason.clone());
        }
        let limits = ResourceLimits::default();
        let work_dir = self.workshop.root();
        match self.governor.admit(&Demand { limits: &limits, gpu: false, work_dir }) {
            Ok(Admission::Admitted | Admission::Warned(_)) => {}
            Ok(Admission::Refused(reason)) => return Err(reason),
            Err(error) => return Err(format!("cannot tell whether there is room: {error}")),
        }
        let room = self.governor.room(work_dir);
        Ok(Vacancy::of(free, &room, self.has_gpus.load(Ordering::Acquire)))
    }

    /// Whether the machine takes no job at all now, whatever that asks for.
    pub(super) fn is_pressed(&self) -> bool {
        self.governor.room(self.workshop.root()).held_back.is_some()
    }

    /// Takes note of why no jobs are taken, for the log and the master; `None` if some are.
    fn hold_back(&self, reason: Option<String>) {
        let mut held_back = self.held_back.lock().unwrap_or_else(PoisonError::into_inner);
        if *held_back == reason {
            return;
        }
        match &reason {
            Some(reason) => tracing::warn!(reason, "taking no jobs"),
            None => tracing::info!("taking jobs again"),
        }
        *held_back = reason;
        drop(held_back);
        self.changed.notify_waiters();
    }
}

/// What an agent asks for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Vacancy {
    slots: u32,
    room: Option<RoomLeft>,
}

impl Vacancy {
    /// No more jobs than fit if none of them states its limits; at least one, which was admitted.
    fn of(free: u32, room: &Room, has_gpus: bool) -> Self {
        let fit = |left: Option<u64>, each_mb: u64| {
            left.map_or(free, |left| u32::try_from(left / (each_mb << 20)).unwrap_or(u32::MAX).max(1))
        };
        let slots = free.min(fit(room.memory_bytes, DEFAULT_MEMORY_MB)).min(fit(room.disk_bytes, DEFAULT_DISK_MB));
        let left = RoomLeft {
            memory_bytes: room.memory_bytes,
            disk_bytes: room.disk_bytes,
            gpu_sessions: room.gpu_sessions.filter(|_| has_gpus),
        };
        Self { slots: slots.min(MOST_SLOTS), room: (left != RoomLeft::default()).then_some(left) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_asked_for_than_fits() {
        const GIB: u64 = 1 << 30;
        for (free, memory, disk, slots) in [
            (4, None, None, 4),
            (100, None, None, 64),
            (4, Some(7 * GIB), Some(1000 * GIB), 3),
            (4, Some(64 * GIB), Some(11 * GIB), 2),
            (4, Some(GIB), Some(GIB), 1),
        ] {
            let room = Room { memory_bytes: memory, disk_bytes: disk, ..Room::default() };
            let asked = Vacancy::of(free, &room, false);
            assert_eq!(asked.slots, slots, "{free} free, {memory:?}, {disk:?}");
            assert_eq!(asked.room.is_some(), memory.is_some(), "what is not known is not said");
        }
        for (counted, has_gpus, said) in [(Some(0), true, Some(0)), (None, true, None), (Some(0), false, None)] {
            let room = Room { gpu_sessions: counted, ..Room::default() };
            assert_eq!(Vacancy::of(1, &room, has_gpus).room.and_then(|room| room.gpu_sessions), said);
        }
    }
}
