//! What a master does with each request, independent of wire and database: it checks, asks the
//! store, wakes waiting claims, and tells watchers. Transports call it; it calls the traits.
//!
//! Follow a job top-down: [`Coordinator::submit`] → [`Coordinator::claim`] → [`Coordinator::start`]
//! → [`Coordinator::heartbeat`] → [`Coordinator::finish`]. What happens without a request, by the
//! passing of time, is in `reaper`; which of several masters does it, in `lead`. It reads no clock
//! but the one it is given; tokio timers only bound how long a claim and the start wait.

mod agents;
mod attempts;
mod bounds;
mod dependents;
mod jobs;
mod lead;
mod logbook;
mod reaper;
mod turns;
mod waiting;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, Semaphore, broadcast};

use crate::clock::{Clock, ClusterClock, Timestamp};
use crate::cost::{Spent, Tariff};
use crate::id::{Fence, JobId, NodeId};
use crate::job::{Attempt, Job, JobState};
use crate::media::named_enum;
use crate::policy::retry;
use crate::scheduler::Scheduler;
use crate::store::{Caps, Store};
use crate::trace::SampleRatio;

pub use jobs::Backlog;
pub use reaper::Reaped;
pub use waiting::WaitingCause;

/// What an operator decides about a master.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Retries of jobs that do not say how many.
    pub max_retries: u32,
    /// How often agents send heartbeats.
    pub heartbeat_interval: Duration,
    /// After how long without one a node is lost; also how long a lease holds.
    pub heartbeat_timeout: Duration,
    /// Longest time without progress of an attempt.
    pub stall: Duration,
    /// The same for the live queue.
    pub live_stall: Duration,
    /// How much longer than its limit an attempt may run before the master ends it; its agent
    /// does so at once.
    pub timeout_grace: Duration,
    /// How long ended jobs are kept; `None` is for ever.
    pub retention: Option<Duration>,
    /// What happens to jobs that no known node can run.
    pub unrunnable: Unrunnable,
    /// How many jobs nodes may hold at once, per queue and tenant.
    pub caps: Caps,
    /// What jobs cost; without one nothing is said of it.
    pub tariff: Option<Tariff>,
    /// What share of the jobs that nobody else traces is traced; none are, not even those of others,
    /// without it.
    pub tracing: Option<SampleRatio>,
}

impl Default for Settings {
    /// The values of the contract: 3 retries, heartbeats every 30 s, dead after 90 s, 30 minutes
    /// without progress (live 5 minutes), seven days of history, unrunnable jobs wait.
    fn default() -> Self {
        Self {
            max_retries: retry::DEFAULT_MAX_RETRIES,
            heartbeat_interval: Duration::from_secs(30),
            heartbeat_timeout: Duration::from_secs(90),
            stall: Duration::from_secs(30 * 60),
            live_stall: Duration::from_secs(5 * 60),
            timeout_grace: Duration::from_secs(30),
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            unrunnable: Unrunnable::Wait,
            caps: Caps::default(),
            tariff: None,
            tracing: None,
        }
    }
}

named_enum!(
    /// What happens to a job that no known node can run.
    Unrunnable, "unrunnable" {
        /// It waits for a node that can.
        Wait "wait",
        /// It is rejected.
        Reject "reject",
    }
);

named_enum!(
    /// What an event tells.
    JobEventKind, "kind" {
        /// The state changed.
        State "state",
        /// The attempt came further.
        Progress "progress",
    }
);

/// Something that happened to a job, as it is streamed to followers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobEvent {
    /// Which job.
    pub job_id: JobId,
    /// When.
    pub at: Timestamp,
    /// What it tells.
    pub kind: JobEventKind,
    /// State after it.
    pub state: JobState,
    /// Percent done.
    pub progress: f64,
    /// Attempts so far; 0 in a replayed history, which does not tell.
    pub attempt: u32,
    /// Node of the attempt.
    pub node_name: Option<String>,
    /// Why, for a change of state.
    pub reason: Option<String>,
}

/// Is told what happens, for metrics. Calls are short and never block.
pub trait Watcher: Send + Sync + 'static {
    /// A claim was answered with these jobs, perhaps none.
    fn claimed(&self, jobs: &[Job]);
    /// An attempt started.
    fn started(&self, job: &Job);
    /// A job reached a final state.
    fn ended(&self, job: &Job);
    /// A job was taken in.
    fn submitted(&self, job: &Job) {
        let _ = job;
    }
    /// A job was given to a node.
    fn assigned(&self, job: &Job) {
        let _ = job;
    }
    /// An attempt ended, in whatever way; told before what became of its job.
    fn attempt_ended(&self, job: &Job, attempt: &Attempt) {
        let _ = (job, attempt);
    }
    /// An attempt without an output told what it had used; of a canceled one only this says so.
    fn spent(&self, job: &Job, spent: &Spent) {
        let _ = (job, spent);
    }
}

/// A master without wires.
pub struct Coordinator {
    store: Arc<dyn Store>,
    scheduler: Arc<dyn Scheduler>,
    clock: ClusterClock,
    settings: Settings,
    watcher: Option<Arc<dyn Watcher>>,
    events: broadcast::Sender<JobEvent>,
    /// Without permits; closed when the master closes.
    closing: Semaphore,
    answered: Mutex<HashMap<NodeId, Answered>>,
    withdrawn: Notify,
    /// Canceled attempts that told what they used, the latest first.
    stopped: Mutex<VecDeque<(JobId, Fence)>>,
    logbook: logbook::Logbook,
    turns: turns::Turns,
    rounds: AtomicU64,
    place: Mutex<lead::Place>,
}

/// The last claim of a node that it may ask for again.
struct Answered {
    request_id: String,
    jobs: Vec<(JobId, Fence)>,
}

/// Events kept for a follower that is slow; one that falls behind further reads the job again.
const EVENT_BACKLOG: usize = 1024;

impl Coordinator {
    /// Composes a master from its parts.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        scheduler: Arc<dyn Scheduler>,
        clock: Arc<dyn Clock>,
        settings: Settings,
    ) -> Arc<Self> {
        Self::watched(store, scheduler, clock, settings, None)
    }

    /// The same with somebody to tell.
    #[must_use]
    pub fn watched(
        store: Arc<dyn Store>,
        scheduler: Arc<dyn Scheduler>,
        clock: Arc<dyn Clock>,
        settings: Settings,
        watcher: Option<Arc<dyn Watcher>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            scheduler,
            clock: ClusterClock::new(clock),
            settings,
            watcher,
            events: broadcast::Sender::new(EVENT_BACKLOG),
            closing: Semaphore::new(0),
            answered: Mutex::default(),
            withdrawn: Notify::new(),
            stopped: Mutex::default(),
            logbook: logbook::Logbook::default(),
            turns: turns::Turns::default(),
            rounds: AtomicU64::new(0),
            place: Mutex::default(),
        })
    }

    /// What the operator decided.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The store behind it.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The present, by the clock that the masters on one store agree on.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Follows everything that happens to jobs from now on. A slow reader misses events
    /// (`RecvError::Lagged`) and should read the job again.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<JobEvent> {
        self.events.subscribe()
    }

    /// Answers waiting claims with nothing, so that connections can end. Twice is one effect.
    pub fn close(&self) {
        self.closing.close();
    }

    /// Whether [`Coordinator::close`] was called.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.closing.is_closed()
    }

    /// Tells followers and watchers what a change of state means.
    fn announce(&self, job: &Job) {
        if job.lease().is_none() {
            self.logbook.close(job.id);
        }
        self.publish(job, JobEventKind::State);
        if let Some(watcher) = &self.watcher {
            let last = job.attempts.last();
            if let Some(attempt) = last.filter(|last| last.ended_at.is_some() && last.ended_at == job.changed_at()) {
                watcher.attempt_ended(job, attempt);
            }
            match job.state {
                JobState::Assigned => watcher.assigned(job),
                JobState::Running => watcher.started(job),
                state if state.is_final() => watcher.ended(job),
                _ => {}
            }
        }
    }

    /// The same of a job that was just stored.
    fn announce_new(&self, job: &Job) {
        if let Some(watcher) = &self.watcher {
            watcher.submitted(job);
        }
        self.announce(job);
    }

    fn publish(&self, job: &Job, kind: JobEventKind) {
        if self.events.receiver_count() == 0 {
            return;
        }
        let reason = match kind {
            JobEventKind::State => job.state_transitions.last().map(|change| change.reason.clone()),
            JobEventKind::Progress => None,
        };
        // The last listener may leave in between.
        let _ = self.events.send(JobEvent {
            job_id: job.id,
            at: self.now(),
            kind,
            state: job.state,
            progress: job.progress,
            attempt: job.attempt,
            node_name: job.node_name.clone(),
            reason,
        });
    }
}
