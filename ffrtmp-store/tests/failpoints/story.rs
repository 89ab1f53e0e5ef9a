//! A master and one agent that work six jobs off: one that goes well, one that fails once, one whose
//! first attempt is never heard of again, one that waits for another, one that a person holds for a
//! while, and one that a person cancels.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ffrtmp_core::clock::{ManualClock, Timestamp};
use ffrtmp_core::coordinator::{Coordinator, Settings};
use ffrtmp_core::error::{Code, Disposition, Error};
use ffrtmp_core::id::{JobId, NodeId};
use ffrtmp_core::job::{Attempt, AttemptOutcome, Job, JobReport, JobRequest, JobState};
use ffrtmp_core::node::Registration;
use ffrtmp_core::policy::fifo::PriorityFifo;
use ffrtmp_core::protocol::{
    AttemptStatus, ClaimRequest, ErrorText, FinishRequest, Heartbeat, LogLine, ResultStatus, StartRequest,
};
use ffrtmp_core::store::{JobFilter, Page, Store, Submitted};

use crate::record::Record;

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Between looks of the agent; two of them are longer than a lease.
const STEP: Duration = Duration::from_secs(20);
const LEASE: Duration = Duration::from_secs(30);
/// Looks until everything must have ended, the reaper's rare ones included.
const LOOKS: usize = 100;
const LABEL: &str = "role";

/// Roles in the order of submission.
const ROLES: [&str; 6] = ["plain", "flaky", "lost", "waits", "held", "canceled"];

/// How many calls may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tolerance {
    None,
    /// Each call once: the next time it works.
    Once,
}

/// The time of one master on a store.
pub(crate) struct Life {
    master: Arc<Coordinator>,
    store: Arc<dyn Store>,
    clock: Arc<ManualClock>,
    node: NodeId,
    run: u64,
    tolerance: Tolerance,
    record: Record,
}

/// Does a call until it is answered, as a client does.
macro_rules! answered {
    ($life:expr, $what:literal, $call:expr) => {{
        let mut refusals = 0;
        loop {
            match $call.await {
                Ok(answer) => break answer,
                Err(error) => {
                    refusals += 1;
                    $life.tolerate($what, refusals, &error);
                }
            }
        }
    }};
}

impl Life {
    /// A master on a store that perhaps another one left.
    pub(crate) async fn begin(
        store: Arc<dyn Store>,
        run: u64,
        is_heir: bool,
        tolerance: Tolerance,
        record: Record,
    ) -> Self {
        let begin = Timestamp::from_micros(1_767_700_000_000_000);
        let days = 3 * u32::try_from(run).expect("not that many runs") + u32::from(is_heir);
        let clock = Arc::new(ManualClock::new(begin + DAY * days));
        let settings = Settings {
            heartbeat_interval: LEASE / 3,
            heartbeat_timeout: LEASE,
            retention: None,
            ..Settings::default()
        };
        let master = Coordinator::new(Arc::clone(&store), Arc::new(PriorityFifo::default()), clock.clone(), settings);
        let node = NodeId::from_u128(u128::from(run) * 10 + u128::from(is_heir) + 1);
        let life = Self { master, store, clock, node, run, tolerance, record };
        answered!(life, "join", life.master.join());
        let about = Registration {
            id: Some(node),
            name: format!("node {node}"),
            max_concurrent_jobs: Some(8),
            ..Registration::default()
        };
        answered!(life, "register", life.master.register(about.clone()));
        life
    }

    fn tolerate(&self, what: &str, refusals: u32, error: &Error) {
        let is_allowed = self.tolerance == Tolerance::Once && refusals == 1;
        assert!(is_allowed && error.disposition() == Disposition::Transient, "{what}: {error:?}");
    }

    /// What was answered before is there, and nothing but the step under way beyond it.
    pub(crate) async fn find_what_was_told(&self) {
        let stored = self.jobs().await;
        for told in self.record.told.values() {
            let job = stored.iter().find(|job| job.id == told.id).unwrap_or_else(|| panic!("{} is lost", told.id));
            let known = told.state_transitions.len();
            let begins_as_told = job.state_transitions.get(..known) == Some(&told.state_transitions);
            assert!(begins_as_told && job.fence >= told.fence, "told {told:#?}\nstored {job:#?}");
            // The master itself evicts and requeues, and a claim may have been under way.
            assert!(job.state_transitions.len() <= known + 3, "more than was done: told {told:#?}\nstored {job:#?}");
            if told.state.is_final() {
                let shown = Job { waiting_reason: None, ..told.clone() };
                assert_eq!(job, &shown, "what has ended has changed");
            }
        }
        let untold = stored.iter().filter(|job| !self.record.told.contains_key(&job.id)).count();
        assert!(untold <= 1, "{untold} jobs that nobody was told of");
        self.counts_are_right().await;
    }

    /// Submits what is not there yet, and works until everything has ended.
    pub(crate) async fn live(&mut self) {
        let mut jobs = Vec::new();
        for role in ROLES {
            let job = self.submit(role, jobs.first().copied()).await;
            jobs.push(job);
        }
        self.hold(jobs[4]).await;
        self.cancel(jobs[5]).await;
        for look in 0..LOOKS {
            answered!(self, "tick", self.master.tick());
            let claim = self.claim(look).await;
            for job in claim {
                self.work(job).await;
            }
            if look == 1 {
                self.resume(jobs[4]).await;
            }
            self.clock.advance(STEP);
            if self.jobs().await.iter().all(|job| job.state.is_final()) {
                return;
            }
        }
        panic!("the queue stands still: {:#?}", self.jobs().await);
    }

    async fn submit(&mut self, role: &str, first: Option<JobId>) -> JobId {
        let request = JobRequest {
            scenario: "144p-h264".into(),
            max_retries: Some(20),
            depends_on: first.filter(|_| role == "waits").into_iter().collect(),
            labels: [(LABEL.into(), role.into())].into(),
            ..JobRequest::default()
        };
        let key = format!("{role} of run {}", self.run);
        let known = self.record.told.values().find(|job| job.labels.get(LABEL).is_some_and(|label| label == role));
        let known = known.map(|job| job.id);
        let Submitted { job, created } =
            answered!(self, "submit", self.master.submit(request.clone(), Some(key.clone())));
        if let Some(known) = known {
            assert_eq!((job.id, created), (known, false), "the key of {role} is known");
        }
        let other = JobRequest { scenario: "240p-h264".into(), ..request };
        let refused = self.master.submit(other, Some(key)).await.expect_err("another request under the same key");
        if self.tolerance == Tolerance::None {
            assert_eq!(refused.code(), Code::IdempotencyMismatch, "{refused:?}");
        }
        self.record.tell(&job);
        job.id
    }

    /// A person's orders may find that they were carried out before.
    async fn hold(&mut self, id: JobId) {
        if self.job(id).await.state == JobState::Queued {
            let job = answered!(self, "pause", self.master.pause(&id.into()));
            self.record.tell(&job);
        }
    }

    async fn resume(&mut self, id: JobId) {
        if self.job(id).await.state == JobState::Paused {
            let job = answered!(self, "resume", self.master.resume(&id.into()));
            self.record.tell(&job);
        }
    }

    async fn cancel(&mut self, id: JobId) {
        let job = answered!(self, "cancel", self.master.cancel(&id.into()));
        assert_eq!(job.state, JobState::Canceled);
        self.record.tell(&job);
    }

    async fn claim(&mut self, look: usize) -> Vec<Job> {
        let request_id = Some(format!("run {} of {} look {look}", self.run, self.node));
        let request = ClaimRequest { node_id: self.node, slots: 8, wait_ms: 0, request_id, room: None };
        let jobs = answered!(self, "claim", self.master.claim(request.clone())).jobs;
        jobs.iter().for_each(|job| self.record.give(job));
        jobs
    }

    async fn work(&mut self, job: Job) {
        let role = job.labels.get(LABEL).map_or("", String::as_str);
        if role == "lost" && job.attempt == 1 {
            return;
        }
        let start = StartRequest { node_id: self.node, fence: job.fence };
        let started = answered!(self, "start", self.master.start(job.id, start.clone()));
        self.record.tell(&started);
        let line = LogLine { at: started.created_at, level: "info".into(), text: line_of(job.attempt) };
        let status = AttemptStatus {
            job_id: job.id,
            fence: job.fence,
            progress: Some(50.0),
            logs: vec![line],
            logs_from: Some(0),
        };
        let heartbeat = Heartbeat { attempts: vec![status], ..Heartbeat::default() };
        answered!(self, "heartbeat", self.master.heartbeat(self.node, heartbeat.clone()));
        let finish = self.finish(&job, (role == "flaky" && job.attempt == 1).then_some(Code::Killed));
        let ended = answered!(self, "finish", self.master.finish(finish.clone()));
        self.record.tell(&ended);
    }

    fn finish(&self, job: &Job, failed_with: Option<Code>) -> FinishRequest {
        let error = failed_with.map(|code| ErrorText::Typed((&Error::new(code, "simulated")).into()));
        let status = if error.is_some() { ResultStatus::Failed } else { ResultStatus::Completed };
        FinishRequest {
            job_id: job.id,
            node_id: job.node_id.unwrap_or(self.node),
            fence: job.fence,
            status,
            metrics: Some(JobReport::default()),
            error,
            logs: None,
            logs_from: None,
            completed_at: None,
        }
    }

    /// How it must have ended.
    pub(crate) async fn judge(&self) {
        let jobs = self.jobs().await;
        assert_eq!(jobs.len(), ROLES.len(), "one job for each key: {jobs:#?}");
        for job in &jobs {
            let is_canceled = job.labels.get(LABEL).is_some_and(|role| role == "canceled");
            let wanted = if is_canceled { JobState::Canceled } else { JobState::Completed };
            assert_eq!(job.state, wanted, "{job:#?}");
            let ends = job.state_transitions.iter().filter(|change| change.to.is_final()).count();
            assert_eq!(ends, 1, "{job:#?}");
            self.attempts_are_in_order(job);
            self.each_line_is_kept_once(job).await;
            self.late_words_change_nothing(job).await;
        }
        let distinct: BTreeSet<_> = self.record.given.iter().map(|(job, fence, _)| (job, fence)).collect();
        assert_eq!(distinct.len(), self.record.given.len(), "given twice under one fence: {:#?}", self.record.given);
        self.counts_are_right().await;
        let left: Vec<_> = self.store.lanes().await.expect("answered");
        assert!(left.is_empty(), "{left:#?}");
        assert_eq!(self.store.due(Timestamp::from_micros(i64::MAX / 2), 10).await.expect("answered"), []);
    }

    fn attempts_are_in_order(&self, job: &Job) {
        let numbers: Vec<u32> = job.attempts.iter().map(|attempt| attempt.number).collect();
        assert_eq!(numbers, (1..=job.attempt).collect::<Vec<_>>(), "{job:#?}");
        assert!(job.attempts.windows(2).all(|pair| pair[0].fence < pair[1].fence), "{job:#?}");
        let completed =
            job.attempts.iter().filter(|attempt| attempt.outcome == Some(AttemptOutcome::Completed)).count();
        assert_eq!(completed, usize::from(job.state == JobState::Completed), "{job:#?}");
    }

    async fn each_line_is_kept_once(&self, job: &Job) {
        let logs = self.store.logs(job.id).await.expect("answered");
        let lines: BTreeSet<_> = logs.iter().map(|(attempt, line)| (*attempt, line.text.clone())).collect();
        assert_eq!(lines.len(), logs.len(), "a line is kept twice: {logs:#?}");
        let completed = job.attempts.iter().find(|attempt| attempt.outcome == Some(AttemptOutcome::Completed));
        if let Some(Attempt { number, .. }) = completed {
            assert!(lines.contains(&(*number, line_of(*number))), "the line of attempt {number} is lost: {logs:#?}");
        }
    }

    /// Attempts that are over are refused, or answered as before.
    async fn late_words_change_nothing(&self, job: &Job) {
        for (id, fence, node) in self.record.given.iter().filter(|(id, ..)| *id == job.id) {
            let late = Job { fence: *fence, node_id: Some(*node), ..job.clone() };
            let answer = self.master.finish(self.finish(&late, None)).await;
            match answer {
                Ok(same) => assert_eq!((same.fence, same.state), (*fence, JobState::Completed), "{id}"),
                Err(refused) => assert_eq!(refused.code(), Code::StaleFence, "{refused:?}"),
            }
        }
        assert_eq!(&self.job(job.id).await, job);
    }

    async fn counts_are_right(&self) {
        let mut stored = Vec::new();
        loop {
            let before = stored.last().map(|job: &Job| job.sequence_number);
            let page =
                self.store.list_jobs(&JobFilter::default(), Page { limit: 500, before }).await.expect("answered");
            if page.is_empty() {
                break;
            }
            stored.extend(page);
        }
        let counts = self.store.counts().await.expect("answered");
        for state in JobState::ALL {
            let recount = stored.iter().filter(|job| job.state == *state).count() as u64;
            assert_eq!(counts.by_state.get(state).copied().unwrap_or(0), recount, "{state}");
        }
    }

    async fn job(&self, id: JobId) -> Job {
        self.store.job(&id.into()).await.expect("found")
    }

    /// The jobs of this run, the newest first.
    async fn jobs(&self) -> Vec<Job> {
        let begun = Timestamp::from_micros(1_767_700_000_000_000) + DAY * 3 * u32::try_from(self.run).expect("a run");
        let filter = JobFilter { created_after: Some(begun), ..JobFilter::default() };
        self.store.list_jobs(&filter, Page { limit: 500, before: None }).await.expect("answered")
    }

    /// Closes the store.
    pub(crate) async fn end(self) {
        self.store.close().await.expect("closed");
    }
}

/// What an attempt says.
fn line_of(attempt: u32) -> String {
    format!("attempt {attempt}")
}
