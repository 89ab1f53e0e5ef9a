//! What happens to jobs, in the log of the master: what went wrong at `info`, the rest at `debug`.

use ffrtmp_core::coordinator::Watcher;
use ffrtmp_core::job::{Attempt, Job, JobState};
use tracing::Span;
use tracing::field::Empty;

/// Writes a line for each event.
pub(super) struct Diary;

impl Watcher for Diary {
    fn claimed(&self, _: &[Job]) {}

    fn started(&self, job: &Job) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            span(job).in_scope(|| tracing::debug!("attempt started"));
        }
    }

    fn ended(&self, job: &Job) {
        let (state, sla) = (job.state, job.sla.as_ref().map(|sla| sla.reason.as_str()));
        match &job.error {
            Some(error) if matches!(state, JobState::Failed | JobState::Rejected) => {
                span(job)
                    .in_scope(|| tracing::info!(%state, code = %error.code, error = error.message, sla, "job ended"));
            }
            _ if tracing::enabled!(tracing::Level::DEBUG) => {
                span(job).in_scope(|| tracing::debug!(%state, sla, "job ended"));
            }
            _ => {}
        }
    }

    fn submitted(&self, job: &Job) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let (scenario, queue, priority) = (job.scenario.as_str(), job.queue, job.priority);
            span(job).in_scope(|| tracing::debug!(scenario, %queue, %priority, "job submitted"));
        }
    }

    fn assigned(&self, job: &Job) {
        if tracing::enabled!(tracing::Level::DEBUG) {
            let name = job.node_name.as_deref();
            span(job).in_scope(|| tracing::debug!(name, "job given to a node"));
        }
    }

    fn attempt_ended(&self, job: &Job, attempt: &Attempt) {
        if let Some(error) = &attempt.error {
            let state = job.state;
            span(job).in_scope(|| {
                tracing::info!(code = %error.code, error = error.message, %state, "attempt ended without an output");
            });
        }
    }
}

/// Whose the line is.
fn span(job: &Job) -> Span {
    let span = tracing::error_span!(
        "job", job = %job.id, attempt = job.attempt, node = Empty, tenant = %job.tenant, trace = Empty
    );
    if let Some(node) = job.node_id {
        span.record("node", tracing::field::display(node));
    }
    if let Some(trace) = job.trace {
        span.record("trace", trace.trace_id());
    }
    span
}
