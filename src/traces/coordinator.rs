//! The spans of a master: submit, schedule, claim, result.

use std::sync::Arc;

use ffrtmp_core::clock::{Clock, Timestamp};
use ffrtmp_core::coordinator::Watcher;
use ffrtmp_core::id::Fence;
use ffrtmp_core::job::{Attempt, AttemptOutcome, Job};
use ffrtmp_core::trace::SpanName;

use super::{JobSpan, SpanTaker};

/// Makes spans of what happens to jobs.
pub(crate) struct SpanWatcher {
    taker: Arc<dyn SpanTaker>,
    clock: Arc<dyn Clock>,
}

impl SpanWatcher {
    pub(crate) fn new(taker: Arc<dyn SpanTaker>, clock: Arc<dyn Clock>) -> Self {
        Self { taker, clock }
    }

    fn span(&self, job: &Job, fence: Fence, name: SpanName, start: Timestamp) -> Option<JobSpan> {
        JobSpan::of(job, fence, name, start, self.clock.now())
    }

    fn give(&self, span: Option<JobSpan>) {
        if let Some(span) = span {
            self.taker.take(span);
        }
    }
}

impl Watcher for SpanWatcher {
    fn claimed(&self, _: &[Job]) {}

    fn started(&self, _: &Job) {}

    fn ended(&self, _: &Job) {}

    fn submitted(&self, job: &Job) {
        let span = self.span(job, Fence::default(), SpanName::Submit, job.created_at).map(|span| {
            span.with("ffrtmp.job.scenario", job.scenario.as_str())
                .with("ffrtmp.job.queue", job.queue.as_str())
                .with("ffrtmp.job.priority", job.priority.as_str())
        });
        self.give(span);
    }

    fn assigned(&self, job: &Job) {
        let Some(attempt) = job.attempts.last() else { return };
        let assigned = attempt.assigned_at;
        let queued = job.queued_at.unwrap_or(assigned).min(assigned);
        self.give(JobSpan::of(job, attempt.fence, SpanName::Schedule, queued, assigned));
        let claim = self.span(job, attempt.fence, SpanName::Claim, assigned);
        self.give(claim.map(|span| {
            span.with("ffrtmp.node.id", attempt.node_id.to_string())
                .with("ffrtmp.node.name", attempt.node_name.as_str())
        }));
    }

    fn attempt_ended(&self, job: &Job, attempt: &Attempt) {
        let Some(ended) = attempt.ended_at else { return };
        let failure = attempt.error.as_ref().map(|error| (error.code, error.message.clone()));
        let outcome = attempt.outcome.map_or("", AttemptOutcome::as_str);
        let span = self.span(job, attempt.fence, SpanName::Result, ended);
        self.give(span.map(|span| {
            let span = span.with("ffrtmp.attempt.outcome", outcome).with("ffrtmp.job.state", job.state.as_str());
            span.failed(failure)
        }));
    }
}
