//! The spans of an agent: the attempt and its parts.

use std::time::Duration;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::error::{Code, Error};
use ffrtmp_core::id::NodeId;
use ffrtmp_core::job::{Job, JobReport, Stage};
use ffrtmp_core::protocol::ResultStatus;
use ffrtmp_core::trace::SpanName;

use super::JobSpan;

/// A part of an attempt that the agent itself has timed, from the beginning of the attempt.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Part {
    pub(crate) name: SpanName,
    pub(crate) offset: Duration,
    pub(crate) length: Duration,
    pub(crate) failure: Option<(Code, String)>,
}

impl Part {
    pub(crate) fn new(name: SpanName, offset: Duration, length: Duration, failure: Option<&Error>) -> Self {
        Self { name, offset, length, failure: failure.map(|error| (error.code(), error.message().to_owned())) }
    }
}

/// What an attempt did, told when the master has its result.
pub(crate) fn spans_of_attempt(
    job: &Job,
    node: NodeId,
    (begun, ended): (Timestamp, Timestamp),
    parts: &[Part],
    (status, report): (ResultStatus, Option<&JobReport>),
) -> Vec<JobSpan> {
    let Some(attempt) = JobSpan::of(job, job.fence, SpanName::Attempt, begun, ended) else { return Vec::new() };
    let failure = parts.iter().find_map(|part| part.failure.clone());
    let failure = failure.filter(|_| status == ResultStatus::Failed);
    let attempt = described(attempt, job, report).with("ffrtmp.node.id", node.to_string());
    let mut spans = vec![attempt.with("ffrtmp.attempt.status", status.as_str()).failed(failure)];
    let timed = |name, offset: Duration, length: Duration| {
        JobSpan::of(job, job.fence, name, begun + offset, begun + offset + length)
    };
    spans.extend(
        parts.iter().filter_map(|part| {
            timed(part.name, part.offset, part.length).map(|span| span.failed(part.failure.clone()))
        }),
    );
    let stages = report.map_or(&[][..], |report| &report.stages);
    spans.extend(
        stages
            .iter()
            .filter_map(|stage| timed(engine_span(stage.name)?, seconds(stage.offset_seconds), seconds(stage.seconds))),
    );
    spans
}

/// The agent times the other parts itself, also where they fail.
fn engine_span(stage: Stage) -> Option<SpanName> {
    match stage {
        Stage::Probe => Some(SpanName::Probe),
        Stage::Encode => Some(SpanName::Encode),
        Stage::Verify => Some(SpanName::Verify),
        Stage::StageIn | Stage::Publish => None,
    }
}

fn described(span: JobSpan, job: &Job, report: Option<&JobReport>) -> JobSpan {
    let span = span
        .with("ffrtmp.job.scenario", job.scenario.as_str())
        .with("ffrtmp.engine", job.engine_used.map_or("", |engine| engine.as_str()));
    let Some(report) = report else { return span };
    let span = span
        .with("ffrtmp.output.size", report.output_bytes)
        .with("ffrtmp.output.frames", report.frames)
        .with("ffrtmp.speed", report.speed)
        .with("ffrtmp.cpu.time", report.cpu_seconds);
    match report.energy_joules {
        Some(joules) => span.with("ffrtmp.energy", joules.0),
        None => span,
    }
}

/// A report says numbers; one that is no time is none.
fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}
