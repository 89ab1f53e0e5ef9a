//! A job in three parts, as the SQL stores keep it: what was asked (written once), where it stands
//! (a narrow row, rewritten with every change, gone when the job ends), and how it ended.
//!
//! What changes often and what is searched are columns; the rest is compact JSON, without what is
//! absent. Its form is in `record::story` and `record::report`. No SQL and no rule of how a job changes is here.
//!
//! A new field of [`Job`] is a compile error here, and a failing test if it is left out.

mod code;
mod report;
mod story;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{Fence, JobId, NodeId, TenantId};
use ffrtmp_core::job::{
    Classification, EngineChoice, EngineName, Job, JobState, Parameters, Priority, Queue, ResourceLimits,
};
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::trace::TraceContext;
use ffrtmp_core::{Code, Error, Result};
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Serialize};

pub(crate) use code::Coded;
pub(crate) use report::report;
use story::Story;

/// A stored job with what it needs to be written again.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    /// The job, with its sequence number.
    pub(crate) job: Job,
    /// The engine as the fixed part has it: it is written again only if it became another.
    chosen: Chosen,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Chosen {
    engine: Option<EngineName>,
    reason: Option<String>,
}

/// Which rows and partial indexes a job belongs to. Unlike the state it stays the same when an
/// attempt starts, so that a start touches no index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// Waits for other jobs.
    Waiting,
    /// Can be claimed.
    Ready,
    /// A node holds it: assigned, running, or paused while running.
    Leased,
    /// Waits for its backoff.
    Backoff,
    /// Paused, and no node holds it.
    Held,
    /// Ended: it has no hot part.
    Ended,
}

impl From<&Job> for Phase {
    fn from(job: &Job) -> Self {
        match job.state {
            JobState::Waiting => Self::Waiting,
            JobState::Queued => Self::Ready,
            JobState::Assigned | JobState::Running => Self::Leased,
            JobState::Paused if job.is_frozen() => Self::Leased,
            JobState::Paused => Self::Held,
            JobState::Retrying => Self::Backoff,
            JobState::Completed | JobState::Failed | JobState::Canceled | JobState::Rejected => Self::Ended,
        }
    }
}

/// Where a job stands that has not ended: columns, and the rest as JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Hot {
    pub(crate) state: JobState,
    pub(crate) node: Option<NodeId>,
    pub(crate) fence: Fence,
    pub(crate) attempt: u32,
    pub(crate) retry_count: u32,
    pub(crate) progress: f64,
    pub(crate) queued_at: Option<Timestamp>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) last_activity_at: Option<Timestamp>,
    pub(crate) lease_expires_at: Option<Timestamp>,
    pub(crate) retry_at: Option<Timestamp>,
    pub(crate) story: String,
}

/// A claim that the story does not tell: the store has it in columns beside [`Hot`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Claim<'a> {
    /// When.
    pub(crate) at: Timestamp,
    /// What the node was called.
    pub(crate) name: &'a str,
    /// Who had the job before: the story leaves out this node where it is an attempt's.
    pub(crate) before: Option<NodeId>,
}

/// How a job ended: what is searched, and the rest as JSON.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct End {
    pub(crate) state: JobState,
    pub(crate) node: Option<NodeId>,
    pub(crate) completed_at: Option<Timestamp>,
    pub(crate) story: String,
}

impl Record {
    /// A job on its way into the store.
    pub(crate) fn new(job: Job) -> Self {
        let chosen = Chosen { engine: job.engine_used, reason: job.engine_reason.clone() };
        Self { job, chosen }
    }

    /// The part that never changes, as JSON. The id and the sequence number are not in it.
    ///
    /// # Errors
    /// `invalid_field` for a value that JSON cannot hold.
    pub(crate) fn fixed(&self) -> Result<String> {
        proven::<Asked<'_>>(encode(&Asked::of(self), "job")?, "job")
    }

    /// The hot part of a job that has not ended.
    ///
    /// # Errors
    /// `invalid_field` for a value that JSON cannot hold.
    pub(crate) fn hot(&self) -> Result<Hot> {
        let job = &self.job;
        Ok(Hot {
            state: job.state,
            node: job.node_id,
            fence: job.fence,
            attempt: job.attempt,
            retry_count: job.retry_count,
            progress: job.progress,
            queued_at: job.queued_at,
            started_at: job.started_at,
            last_activity_at: job.last_activity_at,
            lease_expires_at: job.lease_expires_at,
            retry_at: job.retry_at,
            story: encode(&Story::beside_columns(self), "job")?,
        })
    }

    /// The end of a job that has ended.
    ///
    /// # Errors
    /// `invalid_field` for a value that JSON cannot hold.
    pub(crate) fn end(&self) -> Result<End> {
        let report = self.job.result.as_deref().map(report).transpose()?;
        self.end_with(report.as_deref())
    }

    /// The same with the job's report as [`report`] has encoded it.
    ///
    /// # Errors
    /// `invalid_field` for a value that JSON cannot hold.
    pub(crate) fn end_with(&self, report: Option<&str>) -> Result<End> {
        let job = &self.job;
        let mut story = encode(&Story::whole(self), "job")?;
        if let Some(report) = report {
            story::append(&mut story, "m", report);
        }
        Ok(End { state: job.state, node: job.node_id, completed_at: job.completed_at, story })
    }

    /// A job that has not ended, from its parts.
    ///
    /// # Errors
    /// What serde says of a part that cannot be read.
    pub(crate) fn from_hot(id: JobId, sequence: u64, fixed: &str, hot: Hot) -> serde_json::Result<Self> {
        let mut record = Asked::read(id, sequence, fixed)?;
        let job = &mut record.job;
        job.state = hot.state;
        job.node_id = hot.node;
        serde_json::from_str::<Story<'_>>(&hot.story)?.tell(job);
        job.fence = hot.fence;
        job.attempt = hot.attempt;
        job.retry_count = hot.retry_count;
        job.progress = hot.progress;
        job.queued_at = hot.queued_at;
        job.started_at = hot.started_at;
        job.last_activity_at = hot.last_activity_at;
        job.lease_expires_at = hot.lease_expires_at;
        job.retry_at = hot.retry_at;
        story::tell_start(job);
        Ok(record)
    }

    /// A job whose story is the one from before its last claim. Its other columns are as they are now.
    ///
    /// # Errors
    /// What serde says of a part that cannot be read.
    pub(crate) fn from_claimed(
        id: JobId,
        sequence: u64,
        fixed: &str,
        hot: Hot,
        claim: &Claim<'_>,
    ) -> serde_json::Result<Self> {
        let Hot { state, node, fence, attempt, progress, last_activity_at, lease_expires_at, .. } = hot;
        let before = Hot {
            state: JobState::Queued,
            node: claim.before,
            fence: Fence(fence.0.saturating_sub(1)),
            attempt: attempt.saturating_sub(1),
            lease_expires_at: None,
            ..hot
        };
        let node = node.ok_or_else(|| serde_json::Error::custom("a claimed job has no node"))?;
        let mut record = Self::from_hot(id, sequence, fixed, before)?;
        let job = &mut record.job;
        job.assign(node, claim.name, Duration::ZERO, claim.at).map_err(serde_json::Error::custom)?;
        job.state = state;
        job.progress = progress;
        job.last_activity_at = last_activity_at;
        job.lease_expires_at = lease_expires_at;
        story::tell_start(job);
        Ok(record)
    }

    /// Whether everything that a sign of life changed of an active job is in columns, so that the
    /// story that is stored stands. `was` is the state before.
    pub(crate) fn story_stands(&self, was: JobState) -> bool {
        self.job.state == was || story::is_just_started(&self.job)
    }

    /// A job that has ended, from its parts.
    ///
    /// # Errors
    /// What serde says of a part that cannot be read.
    pub(crate) fn from_end(id: JobId, sequence: u64, fixed: &str, end: &End) -> serde_json::Result<Self> {
        let mut record = Asked::read(id, sequence, fixed)?;
        record.job.state = end.state;
        record.job.node_id = end.node;
        serde_json::from_str::<Story<'_>>(&end.story)?.tell(&mut record.job);
        record.job.completed_at = end.completed_at;
        story::tell_start(&mut record.job);
        Ok(record)
    }
}

/// Whether a command says no more than that an attempt begins or goes on.
pub(crate) fn is_sign(command: &JobCommand) -> bool {
    matches!(command, JobCommand::Start { engine: None, .. } | JobCommand::Progress { .. } | JobCommand::Renew { .. })
}

fn encode(value: &impl Serialize, field: &'static str) -> Result<String> {
    serde_json::to_string(value).map_err(|error| unstorable(field, error))
}

fn proven<T: DeserializeOwned>(text: String, field: &'static str) -> Result<String> {
    match serde_json::from_str::<T>(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(unstorable(field, error)),
    }
}

fn unstorable(field: &'static str, error: serde_json::Error) -> Error {
    Error::new(Code::InvalidField, "a value cannot be stored as JSON")
        .field(field)
        .hint("send finite numbers and values nested less than 100 deep")
        .source(error)
}

/// What was asked: everything that stays as it was at the submission.
#[derive(Serialize, Deserialize)]
struct Asked<'a> {
    #[serde(default, skip_serializing_if = "is_default")]
    tenant: Cow<'a, TenantId>,
    scenario: Cow<'a, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    input: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    output: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    confidence: Option<Cow<'a, str>>,
    engine: EngineChoice,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engine_used: Option<EngineName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    engine_reason: Option<Cow<'a, str>>,
    classification: Classification,
    queue: Queue,
    priority: Priority,
    #[serde(default, skip_serializing_if = "is_default")]
    parameters: Cow<'a, Box<Parameters>>,
    #[serde(default, skip_serializing_if = "is_default")]
    resource_limits: Cow<'a, ResourceLimits>,
    max_retries: u32,
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    depends_on: Cow<'a, [JobId]>,
    #[serde(default, skip_serializing_if = "is_default")]
    labels: Cow<'a, BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none", with = "story::micros")]
    deadline: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    trace: Option<TraceContext>,
    #[serde(with = "story::micros")]
    created_at: Option<Timestamp>,
}

impl<'a> Asked<'a> {
    fn of(record: &'a Record) -> Self {
        let Record { job, chosen } = record;
        Self {
            tenant: Cow::Borrowed(&job.tenant),
            scenario: Cow::Borrowed(&job.scenario),
            input: job.input.as_deref().map(Cow::Borrowed),
            output: job.output.as_deref().map(Cow::Borrowed),
            confidence: job.confidence.as_deref().map(Cow::Borrowed),
            engine: job.engine,
            engine_used: chosen.engine,
            engine_reason: chosen.reason.as_deref().map(Cow::Borrowed),
            classification: job.classification,
            queue: job.queue,
            priority: job.priority,
            parameters: Cow::Borrowed(&job.parameters),
            resource_limits: Cow::Borrowed(&job.resource_limits),
            max_retries: job.max_retries,
            depends_on: Cow::Borrowed(&job.depends_on),
            labels: Cow::Borrowed(&job.labels),
            deadline: job.deadline,
            trace: job.trace,
            created_at: Some(job.created_at),
        }
    }

    /// The job as it was asked for, with nothing of where it stands.
    fn read(id: JobId, sequence: u64, fixed: &str) -> serde_json::Result<Record> {
        let asked: Asked<'_> = serde_json::from_str(fixed)?;
        Ok(Record::new(Job {
            id,
            sequence_number: sequence,
            tenant: asked.tenant.into_owned(),
            state: JobState::Queued,
            scenario: asked.scenario.into_owned(),
            input: asked.input.map(Cow::into_owned),
            output: asked.output.map(Cow::into_owned),
            confidence: asked.confidence.map(Cow::into_owned),
            engine: asked.engine,
            engine_used: asked.engine_used,
            engine_reason: asked.engine_reason.map(Cow::into_owned),
            classification: asked.classification,
            queue: asked.queue,
            priority: asked.priority,
            parameters: asked.parameters.into_owned(),
            resource_limits: asked.resource_limits.into_owned(),
            max_retries: asked.max_retries,
            depends_on: asked.depends_on.into_owned(),
            labels: asked.labels.into_owned(),
            deadline: asked.deadline,
            trace: asked.trace,
            created_at: asked.created_at.unwrap_or_default(),
            node_id: None,
            node_name: None,
            attempt: 0,
            fence: Fence::default(),
            retry_count: 0,
            progress: 0.0,
            queued_at: None,
            started_at: None,
            last_activity_at: None,
            completed_at: None,
            lease_expires_at: None,
            retry_at: None,
            error: None,
            failure_reason: None,
            waiting_reason: None,
            result: None,
            spent: None,
            sla: None,
            attempts: Vec::new(),
            state_transitions: Vec::new(),
        }))
    }
}

#[allow(clippy::ptr_arg, reason = "serde gives a reference to the field")]
fn is_default<T: Clone + Default + PartialEq>(value: &Cow<'_, T>) -> bool {
    **value == T::default()
}

#[cfg(test)]
mod tests;
