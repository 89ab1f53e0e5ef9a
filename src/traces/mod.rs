//! Traces of jobs: which spans master and agent make, and whom they give them to.
//!
//! A span is made when what it tells is over, of times that the job or its report has anyway, so a
//! job that nobody traces costs nothing. Ids are those of [`ffrtmp_core::trace`]. What sends spans to
//! a collector is in `otlp`, with the feature of that name; other takers implement [`SpanTaker`].

mod attempt;
mod coordinator;
#[cfg(feature = "otlp")]
pub mod otlp;

use std::fmt;
use std::sync::Arc;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::error::Code;
use ffrtmp_core::id::{Fence, JobId};
use ffrtmp_core::job::Job;
use ffrtmp_core::trace::{SpanName, TraceContext};

pub(crate) use attempt::{Part, spans_of_attempt};
pub(crate) use coordinator::SpanWatcher;

/// Takes spans, to send or to keep them.
///
/// # Contract
/// - [`SpanTaker::take`] never blocks and never fails: what there is no room for is dropped.
/// - [`SpanTaker::close`] returns within a few seconds, whether anybody wants the spans or not.
pub trait SpanTaker: fmt::Debug + Send + Sync + 'static {
    /// A span is over.
    fn take(&self, span: JobSpan);

    /// Sends what is left. May block for seconds.
    fn close(&self);
}

/// Has what is left sent, without holding up the runtime.
pub(crate) async fn close(taker: Option<Arc<dyn SpanTaker>>) {
    if let Some(taker) = taker {
        // A taker that panics takes its spans with it, and nothing else.
        let _ = tokio::task::spawn_blocking(move || taker.close()).await;
    }
}

/// A span of a job that is over.
#[derive(Clone, Debug, PartialEq)]
pub struct JobSpan {
    /// The trace of the job, and whose child its submission is.
    pub trace: TraceContext,
    /// The job.
    pub job: JobId,
    /// The attempt; 0 before the first.
    pub fence: Fence,
    /// What it tells of.
    pub name: SpanName,
    /// When that began.
    pub start: Timestamp,
    /// When it was over; never before `start`.
    pub end: Timestamp,
    /// What else is known.
    pub attributes: Vec<(&'static str, Attribute)>,
    /// What went wrong, and how in words.
    pub failure: Option<(Code, String)>,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Attribute {
    /// A text.
    Text(String),
    /// A whole number.
    Whole(i64),
    /// A number.
    Number(f64),
}

impl JobSpan {
    /// A span of a job's attempt, if the job is traced.
    fn of(job: &Job, fence: Fence, name: SpanName, start: Timestamp, end: Timestamp) -> Option<Self> {
        let trace = job.trace.filter(|trace| trace.sampled)?;
        let mut attributes = vec![
            ("ffrtmp.job.id", job.id.to_string().into()),
            ("ffrtmp.tenant", job.tenant.as_str().to_owned().into()),
        ];
        if name != SpanName::Submit {
            attributes.push(("ffrtmp.job.attempt", Attribute::Whole(i64::from(job.attempt))));
        }
        // Clocks of two nodes differ.
        Some(Self { trace, job: job.id, fence, name, start, end: end.max(start), attributes, failure: None })
    }

    /// Its own id.
    #[must_use]
    pub fn id(&self) -> std::num::NonZeroU64 {
        self.name.id(self.job, self.fence)
    }

    /// The id of the span that it is a part of; `None` begins a trace.
    #[must_use]
    pub fn parent(&self) -> Option<std::num::NonZeroU64> {
        match self.name.parent() {
            Some(name) => Some(name.id(self.job, self.fence)),
            None => self.trace.caller(self.job),
        }
    }

    fn with(mut self, name: &'static str, value: impl Into<Attribute>) -> Self {
        self.attributes.push((name, value.into()));
        self
    }

    fn failed(self, failure: Option<(Code, String)>) -> Self {
        Self { failure, ..self }
    }
}

impl From<String> for Attribute {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Attribute {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Attribute {
    fn from(number: u64) -> Self {
        Self::Whole(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Attribute {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}
