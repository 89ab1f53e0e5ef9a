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

/// The verdict on work that came through no queue, by the same rules: it counts if it was declared
/// eligible; `failure` is why it failed, `None` if it did not.
#[must_use]
pub fn verdict_without_queue(
    eligible: bool,
    failure: Option<FailureReason>,
    took: Duration,
    limit: Option<Duration>,
) -> SlaVerdict {
    if !eligible {
        return not_counted("not declared eligible".into());
    }
    match failure {
        Some(reason) => failed_with(reason),
        None => within(took.as_secs(), limit.map(|limit| limit.as_secs())),
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
    within(took, job.resource_limits.timeout_sec)
}

fn within(took: u64, limit: Option<u64>) -> SlaVerdict {
    match limit {
        Some(limit) if took > limit => counted(false, format!("took {took} s, more than its limit of {limit} s")),
        _ => counted(true, "completed within its limits".into()),
    }
}

fn failed(job: &Job) -> SlaVerdict {
    job.failure_reason.map_or_else(|| counted(false, "failed without a reason".into()), failed_with)
}

fn failed_with(reason: FailureReason) -> SlaVerdict {
    use FailureReason::{PlatformError, ResourceError, Timeout};
    match reason {
        PlatformError | ResourceError | Timeout => counted(false, format!("failed with {reason}")),
        _ => counted(true, format!("failed with {reason}, which is not the platform's doing")),
    }
}

fn counted(compliant: bool, reason: String) -> SlaVerdict {
    SlaVerdict { counted: true, compliant, reason }
}

fn not_counted(reason: String) -> SlaVerdict {
    SlaVerdict { counted: false, compliant: true, reason }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::error::{Code, Error};
    use crate::id::{JobId, NodeId};
    use crate::job::JobRequest;
    use crate::lifecycle::{JobCommand, Lease, Outcome};
    use crate::request;

    fn at(second: u64) -> Timestamp {
        Timestamp::from_micros(1_700_000_000_000_000) + Duration::from_secs(second)
    }

    /// The verdict on a job that waited, ran and ended so.
    fn after(scenario: &str, waited: u64, took: u64, end: impl Fn(Lease) -> JobCommand) -> SlaVerdict {
        let mut request = JobRequest { scenario: scenario.into(), max_retries: Some(0), ..JobRequest::default() };
        request.resource_limits.timeout_sec = Some(100);
        let mut job = request::prepare(request, JobId::from_u128(1), 3, at(0)).unwrap().job;
        let lease = job.assign(NodeId::from_u128(1), "n", Duration::from_secs(90), at(waited)).unwrap();
        job.apply(JobCommand::Start { lease, engine: None }, at(waited)).unwrap();
        job.apply(end(lease), at(waited + took)).unwrap();
        job.sla.expect("a job that ended has a verdict")
    }

    #[test]
    fn verdicts_and_their_reasons() {
        let completes = |lease| JobCommand::Finish { lease, outcome: Outcome::Completed(Box::default()) };
        let fails = |code| {
            move |lease| {
                let outcome = Outcome::Failed((&Error::new(code, "for a test")).into());
                JobCommand::Finish { lease, outcome }
            }
        };
        for (found, counted, compliant, why) in [
            (after("720p", 30, 100, completes), true, true, "within its limits"),
            (after("720p", 31, 1, completes), true, false, "waited 31 s"),
            (after("720p", 1, 101, completes), true, false, "took 101 s"),
            (after("720p", 1, 1, fails(Code::NodeLost)), true, false, "platform_error"),
            (after("720p", 1, 1, fails(Code::DiskFull)), true, false, "resource_error"),
            (after("720p", 1, 1, fails(Code::Timeout)), true, false, "timeout"),
            (after("720p", 1, 1, fails(Code::InputInvalid)), true, true, "input_error"),
            (after("720p", 1, 1, |_| JobCommand::Cancel), false, true, "canceled"),
            (after("720p-test", 99, 999, completes), false, true, "test jobs"),
            (after("benchmark", 1, 1, fails(Code::Timeout)), false, true, "benchmark jobs"),
        ] {
            assert_eq!((found.counted, found.compliant), (counted, compliant), "{}", found.reason);
            assert!(found.reason.contains(why), "{:?} does not say {why:?}", found.reason);
        }
    }
}
