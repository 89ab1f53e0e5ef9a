//! Jobs, queues, tenants, and whether service levels were kept.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ffrtmp_core::coordinator::{Backlog, WaitingCause};
use ffrtmp_core::error::Code;
use ffrtmp_core::job::{EngineName, FailureReason, Job, JobState, Priority, Queue, SlaVerdict};
use ffrtmp_core::policy::sla::MAX_QUEUE_WAIT;
use ffrtmp_core::store::Counts;
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, IntCounterVec, Result};

use crate::exporters::exemplars::Traced;
use crate::exporters::rows::{Bounded, Column, families, label};
use crate::exporters::table::{LONG, Table};
use crate::exporters::{MOST_VALUES, OTHER};

/// What happened to jobs, and how they stand.
pub(super) struct JobMetrics {
    by_state: GaugeVec,
    active: Gauge,
    queue_length: Gauge,
    queue_by_priority: GaugeVec,
    queue_by_type: GaugeVec,
    queue_by_reason: GaugeVec,
    by_engine: GaugeVec,
    completed_by_engine: GaugeVec,
    by_queue: GaugeVec,
    submitted: IntCounterVec,
    ended: IntCounterVec,
    failures: IntCounterVec,
    failure_reasons: IntCounterVec,
    duration: Traced,
    wait: Traced,
    sla: IntCounterVec,
    sla_violations: IntCounterVec,
    tenants: Mutex<Bounded<Tenant>>,
}

/// What happened to the jobs of a tenant.
#[derive(Default)]
struct Tenant {
    completed: u64,
    failed: u64,
    canceled: u64,
    rejected: u64,
    compliant: u64,
    violated: u64,
}

const ENDED: &str = "ffrtmp_tenant_jobs_ended_total";
const ENDED_HELP: &str = "Jobs that reached a final state, by tenant";
const SLA: &str = "ffrtmp_tenant_sla_jobs_total";
const SLA_HELP: &str = "Production jobs that ended, by tenant and whether they kept their service level";

const TENANTS: &[Column<Tenant>] = &[
    Column::counter(ENDED, ENDED_HELP, |it: &Tenant| Some(it.completed as f64)).part("state", "completed"),
    Column::counter(ENDED, ENDED_HELP, |it: &Tenant| Some(it.failed as f64)).part("state", "failed"),
    Column::counter(ENDED, ENDED_HELP, |it: &Tenant| Some(it.canceled as f64)).part("state", "canceled"),
    Column::counter(ENDED, ENDED_HELP, |it: &Tenant| Some(it.rejected as f64)).part("state", "rejected"),
    Column::counter(SLA, SLA_HELP, |it: &Tenant| Some(it.compliant as f64)).part("verdict", "compliant"),
    Column::counter(SLA, SLA_HELP, |it: &Tenant| Some(it.violated as f64)).part("verdict", "violated"),
];

const BACKLOGS: &[Column<(u64, u64)>] = &[
    Column::gauge("ffrtmp_tenant_queued_jobs", "Jobs ready to be claimed, by tenant", |it| Some(it.0 as f64)),
    Column::gauge("ffrtmp_tenant_active_jobs", "Jobs held by a node, by tenant", |it| Some(it.1 as f64)),
];

/// Engines that a cluster has outside of tests.
const ENGINES: [EngineName; 2] = [EngineName::Ffmpeg, EngineName::Gstreamer];

impl JobMetrics {
    pub(super) fn new(table: &Table) -> Result<Self> {
        let codes = names(Code::ALL, |code| code.as_str());
        let reasons = names(FailureReason::ALL, |reason| reason.as_str());
        let ended = table.counts("ffrtmp_jobs_ended_total", "Jobs that reached a final state", &["state", "queue"])?;
        for state in JobState::ALL.iter().filter(|state| state.is_final()) {
            Queue::ALL.iter().for_each(|queue| drop(ended.with_label_values(&[state.as_str(), queue.as_str()])));
        }
        Ok(Self {
            by_state: table.gauges("ffrtmp_jobs_total", "Jobs in the store, by state", &["state"])?,
            active: table.gauge("ffrtmp_active_jobs", "Jobs assigned or running")?,
            queue_length: table.gauge("ffrtmp_queue_length", "Jobs ready to be claimed")?,
            queue_by_priority: table.gauges(
                "ffrtmp_queue_by_priority",
                "Jobs ready to be claimed, by priority",
                &["priority"],
            )?,
            queue_by_type: table.gauges("ffrtmp_queue_by_type", "Jobs ready to be claimed, by queue", &["type"])?,
            queue_by_reason: table.gauges("ffrtmp_queue_by_reason", "Jobs that do not run yet, by why", &["reason"])?,
            by_engine: table.gauges("ffrtmp_jobs_by_engine", "Jobs in the store, by engine", &["engine"])?,
            completed_by_engine: table.gauges(
                "ffrtmp_jobs_completed_by_engine",
                "Completed jobs in the store, by engine",
                &["engine"],
            )?,
            by_queue: table.gauges("scheduler_jobs_by_queue", "Jobs in the store, by queue", &["queue"])?,
            submitted: table.counts_of(
                "ffrtmp_jobs_submitted_total",
                "Jobs taken in",
                "queue",
                &names(Queue::ALL, |queue| queue.as_str()),
            )?,
            ended,
            failures: table.counts_of(
                "ffrtmp_job_failures_total",
                "Jobs that failed or were rejected, by error code",
                "code",
                &codes,
            )?,
            failure_reasons: table.counts_of(
                "ffrtmp_job_failure_reasons_total",
                "Jobs that failed or were rejected, by failure reason",
                "reason",
                &reasons,
            )?,
            duration: table.traced(
                "ffrtmp_job_duration_seconds",
                "Time from start to end of the last attempt, seconds",
                LONG,
                None,
            )?,
            wait: table.traced("ffrtmp_job_wait_time_seconds", "Time from queued to started, seconds", LONG, None)?,
            sla: table.counts_of(
                "ffrtmp_sla_jobs_total",
                "Production jobs that ended, by whether they kept their service level",
                "verdict",
                &["compliant", "violated"],
            )?,
            sla_violations: table.counts_of(
                "ffrtmp_sla_violations_total",
                "Jobs that did not keep their service level, by cause",
                "cause",
                &["queue_wait", "processing_time", "timeout", "platform_error", "resource_error", "other"],
            )?,
            tenants: Mutex::new(Bounded::new(MOST_VALUES)),
        })
    }

    pub(super) fn submitted(&self, job: &Job) {
        self.submitted.with_label_values(&[job.queue.as_str()]).inc();
    }

    pub(super) fn started(&self, job: &Job) {
        if let (Some(started), Some(queued)) = (job.started_at, job.queued_at) {
            self.wait.observe(None, started.since(queued).as_secs_f64(), job);
        }
    }

    pub(super) fn ended(&self, job: &Job) {
        self.ended.with_label_values(&[job.state.as_str(), job.queue.as_str()]).inc();
        if let (Some(ended), Some(started)) = (job.completed_at, job.started_at) {
            self.duration.observe(None, ended.since(started).as_secs_f64(), job);
        }
        if matches!(job.state, JobState::Failed | JobState::Rejected) {
            let code = job.error.as_ref().map_or(Code::Internal, |error| error.code);
            self.failures.with_label_values(&[code.as_str()]).inc();
            let reason = job.failure_reason.unwrap_or_else(|| code.failure_reason());
            self.failure_reasons.with_label_values(&[reason.as_str()]).inc();
        }
        let verdict = job.sla.as_ref().filter(|verdict| verdict.counted);
        if let Some(verdict) = verdict {
            self.judged(job, verdict);
        }
        self.tenants().row(job.tenant.as_str(), Instant::now()).ended(job.state, verdict);
    }

    fn judged(&self, job: &Job, verdict: &SlaVerdict) {
        let word = if verdict.compliant { "compliant" } else { "violated" };
        self.sla.with_label_values(&[word]).inc();
        if !verdict.compliant {
            self.sla_violations.with_label_values(&[cause(job)]).inc();
        }
    }

    /// Families of tenants by what happened to their jobs.
    pub(super) fn families(&self) -> Vec<MetricFamily> {
        families(TENANTS, self.tenants().labelled("tenant"))
    }

    pub(super) fn read(&self, counts: &Counts, backlog: &Backlog) {
        let number = |count: Option<&u64>| count.copied().unwrap_or(0) as f64;
        for state in JobState::ALL {
            self.by_state.with_label_values(&[state.as_str()]).set(number(counts.by_state.get(state)));
        }
        for priority in Priority::ALL {
            let ready = number(counts.queued_by_priority.get(priority));
            self.queue_by_priority.with_label_values(&[priority.as_str()]).set(ready);
        }
        for queue in Queue::ALL {
            self.queue_by_type.with_label_values(&[queue.as_str()]).set(number(counts.queued_by_queue.get(queue)));
            self.by_queue.with_label_values(&[queue.as_str()]).set(number(counts.by_queue.get(queue)));
        }
        for engine in ENGINES {
            self.by_engine.with_label_values(&[engine.as_str()]).set(number(counts.by_engine.get(&engine)));
            let completed = number(counts.completed_by_engine.get(&engine));
            self.completed_by_engine.with_label_values(&[engine.as_str()]).set(completed);
        }
        for cause in WaitingCause::ALL {
            self.queue_by_reason.with_label_values(&[cause.as_str()]).set(number(backlog.causes.get(cause)));
        }
        let active = [JobState::Assigned, JobState::Running].map(|state| number(counts.by_state.get(&state)));
        self.active.set(active.iter().sum());
        self.queue_length.set(number(counts.by_state.get(&JobState::Queued)));
    }

    fn tenants(&self) -> MutexGuard<'_, Bounded<Tenant>> {
        self.tenants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tenant {
    fn ended(&mut self, state: JobState, verdict: Option<&SlaVerdict>) {
        match state {
            JobState::Completed => self.completed += 1,
            JobState::Canceled => self.canceled += 1,
            JobState::Rejected => self.rejected += 1,
            _ => self.failed += 1,
        }
        match verdict.map(|verdict| verdict.compliant) {
            Some(true) => self.compliant += 1,
            Some(false) => self.violated += 1,
            None => {}
        }
    }
}

/// Jobs of the tenants that have the most, and of all others together.
pub(super) fn tenants(backlog: &Backlog) -> Vec<MetricFamily> {
    let mut tenants: Vec<_> = backlog.tenants.iter().map(|(tenant, jobs)| (tenant.as_str(), *jobs)).collect();
    if tenants.len() > MOST_VALUES {
        tenants.sort_by_key(|(_, (queued, active))| std::cmp::Reverse(queued + active));
        let others = tenants.split_off(MOST_VALUES);
        let sum = |of: fn(&(u64, u64)) -> u64| others.iter().map(|(_, jobs)| of(jobs)).sum::<u64>();
        tenants.push((OTHER, (sum(|jobs| jobs.0), sum(|jobs| jobs.1))));
    }
    families(BACKLOGS, tenants.iter().map(|(tenant, jobs)| (vec![label("tenant", tenant)], jobs)))
}

/// Why a job did not keep its service level.
fn cause(job: &Job) -> &'static str {
    let waited = |job: &Job| Some(job.started_at?.since(job.queued_at?));
    match job.failure_reason {
        Some(FailureReason::Timeout) => "timeout",
        Some(FailureReason::PlatformError) => "platform_error",
        Some(FailureReason::ResourceError) => "resource_error",
        None if job.state == JobState::Completed => {
            if waited(job).is_some_and(|wait| wait > MAX_QUEUE_WAIT) {
                "queue_wait"
            } else {
                "processing_time"
            }
        }
        _ => "other",
    }
}

/// The names of a closed set.
pub(super) fn names<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str) -> Vec<&'static str> {
    all.iter().map(|one| name(*one)).collect()
}
