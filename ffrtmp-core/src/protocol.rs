//! What agents and the master say to each other, independent of the wire.

use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::error::{Code, Error, JobError};
use crate::id::{Fence, JobId, NodeId};
use crate::job::{Job, JobReport, JobState, SlaVerdict};
use crate::media::named_enum;
use crate::node::{Node, Telemetry};

/// Answer to a registration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registered {
    /// The node as the master keeps it.
    #[serde(flatten)]
    pub node: Node,
    /// Whether the master had not known it.
    #[serde(default)]
    pub created: bool,
    /// How often it expects a heartbeat, in milliseconds.
    #[serde(default)]
    pub heartbeat_interval_ms: u64,
    /// How long a lease holds without renewal, in milliseconds.
    #[serde(default)]
    pub lease_ms: u64,
}

/// A request for work: the body of `POST /jobs/claim`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ClaimRequest {
    /// Who asks.
    pub node_id: NodeId,
    /// Jobs that it has room for, 1 to 64; 0 asks only for what the same `request_id` was given.
    #[serde(default = "one")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0, maximum = 64))]
    pub slots: u32,
    /// How long the master may wait for work to arrive, in milliseconds, at most 60,000.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(maximum = 60000))]
    pub wait_ms: u64,
    /// Names this request: asking again with the same id within a lease gets the same jobs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(min_length = 1, max_length = 128))]
    pub request_id: Option<String>,
    /// What the node has left to give out; jobs that need more are not for it now. Absent in the words
    /// of an older agent: then what its machine has counts.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "object")]
    pub room: Option<RoomLeft>,
}

/// What a node has left for further attempts. What is absent is not known, and counts as enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RoomLeft {
    /// Memory in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Disk in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<u64>,
    /// Encode sessions of graphics processors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_sessions: Option<u32>,
}

/// An object or null. By itself a structure whose fields may all be left out takes a list as well.
pub(crate) fn object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let members = Option::<Map<String, Value>>::deserialize(deserializer)?;
    members.map(|members| serde_json::from_value(members.into()).map_err(de::Error::custom)).transpose()
}

/// The same for what may not be null.
pub(crate) fn only_object<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<T, D::Error> {
    let members = Map::<String, Value>::deserialize(deserializer)?;
    serde_json::from_value(members.into()).map_err(de::Error::custom)
}

fn one() -> u32 {
    1
}

/// Jobs given to a node. Each one's `fence` names the attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Claimed {
    /// The jobs, most urgent first; empty if none came in time.
    pub jobs: Vec<Job>,
    /// How long each lease holds without renewal, in milliseconds.
    pub lease_ms: u64,
}

/// How one attempt goes.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptStatus {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub fence: Fence,
    /// Percent done, 0 to 100, if known.
    #[serde(default)]
    pub progress: Option<f64>,
    /// Log lines since the last report that was answered.
    #[serde(default)]
    pub logs: Vec<LogLine>,
    /// How many lines of the attempt came before these: lines that the master has are not kept
    /// twice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs_from: Option<u64>,
}

/// A line of an attempt's log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogLine {
    /// When it was written, by the node's clock.
    pub at: Timestamp,
    /// `error`, `warning`, `info` or `debug`.
    #[serde(default = "info")]
    pub level: String,
    /// The text, one line.
    pub text: String,
}

fn info() -> String {
    "info".into()
}

/// A sign of life: the body of `POST /nodes/{id}/heartbeat`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Heartbeat {
    /// How the machine is.
    #[serde(deserialize_with = "object")]
    pub telemetry: Option<Telemetry>,
    /// Every attempt under way; each one's lease is renewed.
    pub attempts: Vec<AttemptStatus>,
    /// Whether it is the last one: the node stops, and is offline until it is heard of again.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub leaving: bool,
}

named_enum!(
    /// What the master tells a node to do with an attempt.
    DirectiveKind, "directive" {
        /// Stop it and drop its output: canceled, or no longer this node's.
        Cancel "cancel",
        /// Freeze it.
        Pause "pause",
        /// Let it go on.
        Resume "resume",
    }
);

/// An order for one attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Directive {
    /// The job.
    pub job_id: JobId,
    /// The attempt.
    pub fence: Fence,
    /// What to do; repeated in every answer as long as it holds.
    pub directive: DirectiveKind,
    /// Why, in words.
    pub reason: String,
}

/// Answer to a heartbeat.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct HeartbeatAnswer {
    /// Orders for attempts.
    pub directives: Vec<Directive>,
    /// Whether the node shall take no new jobs.
    pub drain: bool,
}

/// The node begins an attempt: the body of `POST /jobs/{id}/start`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StartRequest {
    /// Who runs it.
    pub node_id: NodeId,
    /// The attempt.
    pub fence: Fence,
}

/// Where an attempt's word has left its job: all that a node needs to hear back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AttemptState {
    /// The job.
    pub job_id: JobId,
    /// Fence of its current or last attempt.
    pub fence: Fence,
    /// Where it stands.
    pub state: JobState,
    /// Service-level verdict, once the job ended.
    #[serde(default)]
    pub sla: Option<SlaVerdict>,
}

impl From<&Job> for AttemptState {
    fn from(job: &Job) -> Self {
        Self { job_id: job.id, fence: job.fence, state: job.state, sla: job.sla.clone() }
    }
}

named_enum!(
    /// How an attempt ended, as a node says it.
    ResultStatus, "status" {
        /// The output is published.
        Completed "completed" | "success",
        /// It failed.
        Failed "failed" | "failure" | "error",
        /// It stopped because the master canceled it.
        Canceled "canceled" | "cancelled",
        /// Given back unharmed.
        Released "released",
    }
);

/// The end of an attempt: the body of `POST /results`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FinishRequest {
    /// The job.
    pub job_id: JobId,
    /// Who ran it.
    pub node_id: NodeId,
    /// The attempt.
    pub fence: Fence,
    /// How it ended.
    pub status: ResultStatus,
    /// What was measured; a measure that is `null` is absent.
    #[serde(default, deserialize_with = "without_nulls")]
    pub metrics: Option<JobReport>,
    /// What went wrong: a text, or an object with `code` and `message`.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<ErrorShape>))]
    pub error: Option<ErrorText>,
    /// The last log lines: a text, or lines.
    #[serde(default)]
    pub logs: Option<LogText>,
    /// How many lines of the attempt came before these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs_from: Option<u64>,
    /// When it ended, by the node's clock.
    #[serde(default)]
    pub completed_at: Option<Timestamp>,
}

fn without_nulls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<JobReport>, D::Error> {
    let Some(mut measures) = Option::<Map<String, Value>>::deserialize(deserializer)? else {
        return Ok(None);
    };
    measures.retain(|_, measure| !measure.is_null());
    serde_json::from_value(measures.into()).map(Some).map_err(de::Error::custom)
}

/// An error in any of the shapes that agents send. A code that this version does not know, or none, is
/// read as `encode_failed`: a newer agent's result is worth more than its code.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum ErrorText {
    /// With code and disposition.
    Typed(JobError),
    /// In words only: taken as `encode_failed`, which is never retried.
    Text(String),
}

/// What [`ErrorText`] is read from.
#[cfg(feature = "openapi")]
#[derive(Serialize, utoipa::ToSchema)]
#[serde(untagged)]
pub enum ErrorShape {
    /// Of a code that this version may not know.
    Given {
        /// The code.
        code: Option<String>,
        /// What happened.
        message: Option<String>,
        /// What to do about it.
        hint: Option<String>,
    },
    /// In words only.
    Text(String),
}

impl<'de> Deserialize<'de> for ErrorText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Self::Text(text)),
            Value::Object(fields) => typed_error(&fields).map(Self::Typed).map_err(de::Error::custom),
            _ => Err(de::Error::custom("error is neither a text nor an object with code and message")),
        }
    }
}

fn typed_error(fields: &Map<String, Value>) -> Result<JobError, String> {
    let text = |name: &str| match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.as_str())),
        Some(_) => Err(format!("error.{name} is not a text")),
    };
    let (said, message, hint) = (text("code")?, text("message")?, text("hint")?);
    let error = match (said.and_then(Code::from_name), said) {
        (Some(code), _) => Error::new(code, message.unwrap_or(code.explain().cause)),
        (None, Some(said)) => Error::new(Code::EncodeFailed, format!("{said}: {}", message.unwrap_or("no message"))),
        (None, None) => Error::new(Code::EncodeFailed, message.unwrap_or("the node gave no reason")),
    };
    let stored = JobError::from(&error);
    Ok(JobError { hint: hint.map_or(stored.hint, ToOwned::to_owned), ..stored })
}

/// Log lines in any of the shapes that agents send.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LogText {
    /// Lines with time and level.
    Lines(Vec<LogLine>),
    /// Plain text.
    Text(String),
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_error_of_any_agent_is_read() {
        for (said, code, message) in [
            (json!({"code": "disk_full", "message": "x"}), Code::DiskFull, "x"),
            (json!({"code": "disk_full", "message": "x", "disposition": "later"}), Code::DiskFull, "x"),
            (json!({"code": "nonsense", "message": "x"}), Code::EncodeFailed, "nonsense: x"),
            (json!({"code": "nonsense"}), Code::EncodeFailed, "nonsense: no message"),
            (json!({"code": null, "message": "x", "since": 3}), Code::EncodeFailed, "x"),
            (json!({}), Code::EncodeFailed, "the node gave no reason"),
        ] {
            let read = serde_json::from_value(said.clone());
            let Ok(ErrorText::Typed(error)) = read else { panic!("{said}: {read:?}") };
            assert_eq!((error.code, error.message.as_str()), (code, message), "{said}");
            assert_eq!(error.disposition, code.disposition(), "{said}");
        }
        for (wrong, part) in [
            (json!([]), "error"),
            (json!(3), "error"),
            (json!({"code": 3}), "error.code"),
            (json!({"message": []}), "error.message"),
        ] {
            let refused = serde_json::from_value::<ErrorText>(wrong).unwrap_err();
            assert!(refused.to_string().starts_with(part), "{refused}");
        }
    }
}
