//! Whether a job that ended kept its service level.

use std::time::Duration;

use crate::job::{Classification, FailureReason, Job, JobState, SlaVerdict};

/// Longest wait in the queue before it counts as a violation.
pub const MAX_QUEUE_WAIT: Duration = Duration::from_secs(30);

/// The verdict on a job that has ended: only `production` jobs count; violations are platform,
/// resource and timeout failures, a queue wait above 30 s, and processing beyond the job's limit.
#[must_use]
pub fn verdict(job: &Job) -> SlaVerdict {
    if job.classification != Classification::Production {
        return not_counted(format!("{} jobs do not count", job.classification));
    }
    match job.state {
        JobState::Completed => completed(job),
        JobState::Failed | JobState::Rejected => failed(job),
        state => not_counted(format!("{state} by a person")),
    }
}

fn completed(job: &Job) -> SlaVerdict {
    let wait = job.started_at.unwrap_or(job.created_at).since(job.queued_at.unwrap_or(job.created_at));
    if wait > MAX_QUEUE_WAIT {
        return counted(
            false,
            format!("waited {:.0} s in the queue, more than {} s", wait.as_secs_f64(), MAX_QUEUE_WAIT.as_secs()),
        );
    }
    let took = match (job.started_at, job.completed_at) {
        (Some(start), Some(end)) => end.since(start).as_secs(),
        _ => 0,
    };
    match job.resource_limits.timeout_sec {
        Some(limit) if took > limit => counted(false, format!("took {took} s, more than its limit of {limit} s")),
        _ => counted(true, "completed within its limits".into()),
    }
}

fn failed(job: &Job) -> SlaVerdict {
    use FailureReason::{PlatformError, ResourceError, Timeout};
    match job.failure_reason {
        Some(reason @ (PlatformError | ResourceError | Timeout)) => counted(false, format!("failed with {reason}")),
        Some(reason) => counted(true, format!("failed with {reason}, which is not the platform's doing")),
        None => counted(false, "failed without a reason".into()),
    }
}

fn counted(compliant: bool, reason: String) -> SlaVerdict {
    SlaVerdict { counted: true, compliant, reason }
}

fn not_counted(reason: String) -> SlaVerdict {
    SlaVerdict { counted: false, compliant: true, reason }
}
