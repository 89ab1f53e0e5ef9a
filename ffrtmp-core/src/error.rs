//! One taxonomy of errors: what happened (`code`), who acts next (`disposition`), what to do
//! (`hint`). HTTP problem documents, CLI exit codes, job failures and Python exceptions derive
//! from it. Backends keep private error enums and map them here once.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::job::FailureReason;

/// A result with the error of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Who acts next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Disposition {
    /// The infrastructure failed: the system retries with backoff.
    Transient,
    /// The media or the request cannot work: never retried.
    Terminal,
    /// The caller fixes the request and sends it again.
    Caller,
}

/// Exit codes of the command line, one per class of error.
pub mod exit {
    /// Everything went well.
    pub const OK: u8 = 0;
    /// A defect of ffrtmp itself, or an error without a class.
    pub const INTERNAL: u8 = 1;
    /// Wrong flags, fields or configuration.
    pub const USAGE: u8 = 2;
    /// The named job, node or file does not exist.
    pub const NOT_FOUND: u8 = 3;
    /// Missing or wrong credentials, or a path or host that is not allowed.
    pub const DENIED: u8 = 4;
    /// The state of the job does not allow it, or somebody else holds it.
    pub const CONFLICT: u8 = 5;
    /// The input cannot be read as media.
    pub const INPUT: u8 = 6;
    /// An encoder, muxer or engine failed, or a capability is missing.
    pub const ENGINE: u8 = 7;
    /// Disk, memory or another resource ran out.
    pub const RESOURCE: u8 = 8;
    /// The master or the network cannot be reached; try again.
    pub const UNAVAILABLE: u8 = 9;
    /// A time limit passed.
    pub const TIMEOUT: u8 = 10;
    /// Canceled by a person or a signal.
    pub const CANCELED: u8 = 130;
}

macro_rules! codes {
    ($($variant:ident $name:literal $disposition:ident $http:literal $exit:ident $reason:ident $cause:literal $cure:literal;)*) => {
        /// What happened, as a stable name. [`Code::explain`] gives cause and cure.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = $cause] #[serde(rename = $name)] $variant,)*
        }

        impl Code {
            /// Every code, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The stable name, as it stands in JSON and on the command line.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// Who acts next.
            #[must_use]
            pub const fn disposition(self) -> Disposition {
                match self { $(Self::$variant => Disposition::$disposition,)* }
            }

            /// The HTTP status of a problem document with this code.
            #[must_use]
            pub const fn http_status(self) -> u16 {
                match self { $(Self::$variant => $http,)* }
            }

            /// The exit code of the command line.
            #[must_use]
            pub const fn exit_code(self) -> u8 {
                match self { $(Self::$variant => exit::$exit,)* }
            }

            /// How a job that ended with this code is counted.
            #[must_use]
            pub const fn failure_reason(self) -> FailureReason {
                match self { $(Self::$variant => FailureReason::$reason,)* }
            }

            /// Cause and cure in plain words, what `ffrtmp explain` prints.
            #[must_use]
            pub const fn explain(self) -> Explanation {
                match self { $(Self::$variant => Explanation { cause: $cause, cure: $cure },)* }
            }
        }
    };
}

codes! {
    InvalidRequest "invalid_request" Caller 400 USAGE UserError
        "The request is not well formed."
        "Send the JSON that the OpenAPI document at /api/v1/openapi.json describes.";
    InvalidField "invalid_field" Caller 400 USAGE UserError
        "A field or flag has a value that it cannot have."
        "The message names the field; the hint gives the accepted values.";
    UnknownField "unknown_field" Caller 400 USAGE UserError
        "The request has a field that the API does not know."
        "Correct the name; the hint gives the nearest known one.";
    UnknownScenario "unknown_scenario" Caller 400 USAGE UserError
        "A word of the scenario looks like a size, rate or codec but is none."
        "See `ffrtmp scenarios` for the grammar and the known words.";
    InvalidConfig "invalid_config" Caller 400 USAGE UserError
        "The configuration cannot work."
        "The message names the flag, variable or file where the value came from.";
    Unauthorized "unauthorized" Caller 401 DENIED UserError
        "The API key is missing or wrong."
        "Give the master's key with --api-key, --api-key-file, MASTER_API_KEY, or the header `Authorization: Bearer KEY`.";
    Forbidden "forbidden" Caller 403 DENIED UserError
        "The key is right but does not allow this."
        "Ask the operator of the master for a key that may.";
    JobNotFound "job_not_found" Caller 404 NOT_FOUND UserError
        "No job has this id."
        "`ffrtmp jobs list` shows the jobs; finished ones are removed after the retention time.";
    NodeNotFound "node_not_found" Caller 404 NOT_FOUND UserError
        "No node has this id."
        "`ffrtmp nodes list` shows the nodes; an agent registers again by itself.";
    NotFound "not_found" Caller 404 NOT_FOUND UserError
        "The API has no such path."
        "Compare with /api/v1/openapi.json.";
    MethodNotAllowed "method_not_allowed" Caller 405 USAGE UserError
        "The path exists but not with this HTTP method."
        "The Allow header lists the methods.";
    WrongState "wrong_state" Caller 409 CONFLICT UserError
        "The job's state does not allow this."
        "Look at the job's state first; docs/state-machine.md draws what may follow what.";
    StaleFence "stale_fence" Caller 409 CONFLICT PlatformError
        "Another attempt of the job has begun since, or it has ended; what this one says is refused."
        "Stop the attempt and drop its output. Agents do this by themselves.";
    IdempotencyMismatch "idempotency_mismatch" Caller 409 CONFLICT UserError
        "The idempotency key was used before with a different request."
        "Use a new key for a new request.";
    OutputIsInput "output_is_input" Caller 409 CONFLICT UserError
        "The output has the name of the input, which it would replace while it is read."
        "Give the output another name.";
    PayloadTooLarge "payload_too_large" Caller 413 USAGE UserError
        "The request body is larger than the endpoint takes."
        "Split it; POST /jobs/batch takes up to 1,000 jobs.";
    UnsupportedMediaType "unsupported_media_type" Caller 415 USAGE UserError
        "The request body is not declared as JSON."
        "Send the header `Content-Type: application/json`.";
    RateLimited "rate_limited" Caller 429 UNAVAILABLE PlatformError
        "This address sent more requests, or more wrong API keys, than the master allows."
        "Wait for the seconds in the Retry-After header; --rate-limit and --rate-burst set the limit of requests.";
    PathNotAllowed "path_not_allowed" Terminal 403 DENIED UserError
        "A local path lies outside the directories that the agent may use."
        "Start the agent with --allow-path DIR for a directory that holds it, or move the file.";
    HostNotAllowed "host_not_allowed" Terminal 403 DENIED UserError
        "A remote address is private or not on the agent's list of hosts."
        "Start the agent with --allow-host HOST if the host is meant.";
    UnsupportedScheme "unsupported_scheme" Caller 400 USAGE UserError
        "The URI has a scheme that no engine reads or writes."
        "Use a path, file://, http:// or https://.";
    InputNotFound "input_not_found" Terminal 404 NOT_FOUND InputError
        "The input does not exist where the attempt ran."
        "Check the path or URL; a relative path counts from the agent's first allowed directory.";
    InputUnreadable "input_unreadable" Terminal 403 INPUT InputError
        "The input exists but cannot be opened: no permission, a directory, or a special file."
        "Make it a regular file that the agent's user may read.";
    InputInvalid "input_invalid" Terminal 422 INPUT InputError
        "The input is empty, damaged, cut off, or not media at all."
        "Play or probe it elsewhere (`ffrtmp probe FILE`); fetch it again if it was cut off.";
    InputUnsupported "input_unsupported" Terminal 422 INPUT InputError
        "The input is media, but of a kind that this build does not decode or does not accept."
        "`ffrtmp probe FILE` names its streams; `ffrtmp doctor` lists the decoders here.";
    InputTooLarge "input_too_large" Terminal 422 INPUT InputError
        "The input exceeds a safety limit on pixels, streams, duration or size."
        "Raise the limit if the file is meant, or split it.";
    OutputDirectoryMissing "output_directory_missing" Terminal 422 NOT_FOUND UserError
        "The directory of the output does not exist."
        "Create the directory first; ffrtmp does not invent directories.";
    OutputNotWritable "output_not_writable" Terminal 403 DENIED UserError
        "The output cannot be written: no permission, a directory, or a special file."
        "Give a file path in a directory that the agent's user may write.";
    ContainerMismatch "container_mismatch" Caller 422 USAGE UserError
        "The container cannot carry the codec."
        "Use another file extension or codec: webm takes VP8, VP9, AV1 with Opus or Vorbis; ts takes H.264, H.265.";
    CodecUnavailable "codec_unavailable" Terminal 422 ENGINE CapabilityMismatch
        "No encoder or decoder for the codec works on this machine."
        "`ffrtmp doctor` lists what works and which package brings the rest.";
    EngineUnavailable "engine_unavailable" Terminal 422 ENGINE CapabilityMismatch
        "The engine that was asked for is not installed."
        "Use --engine auto, or install the engine; `ffrtmp doctor` names the packages.";
    CapabilityMissing "capability_missing" Terminal 422 ENGINE CapabilityMismatch
        "No node of the fleet can ever run the job."
        "`ffrtmp nodes list` shows what the nodes can do; add one that can, or change the job.";
    EncodeFailed "encode_failed" Terminal 500 ENGINE RuntimeError
        "The encoder, a filter or the muxer refused the work."
        "The job's log has the library's own words; try another preset, size or codec.";
    VerifyFailed "verify_failed" Terminal 500 ENGINE RuntimeError
        "The output was written but is not what was asked for, and was thrown away."
        "The message says what differs. A damaged input is the usual reason.";
    AttemptCrashed "attempt_crashed" Terminal 500 ENGINE RuntimeError
        "The process that ran the attempt crashed on this input."
        "The input or a codec library is at fault; the agent is unharmed. The log names the signal.";
    Canceled "canceled" Terminal 409 CANCELED UserError
        "It was canceled."
        "`ffrtmp jobs retry ID` runs the job again.";
    DependencyFailed "dependency_failed" Terminal 422 ENGINE UserError
        "A job that this one depends on failed or was canceled."
        "Mend and retry that job, then this one.";
    Timeout "timeout" Terminal 504 TIMEOUT Timeout
        "The job ran longer than its time limit, or made no progress for too long."
        "Raise --timeout, or use a faster preset or a smaller size.";
    MemoryExceeded "memory_exceeded" Terminal 500 RESOURCE ResourceError
        "The attempt needed more memory than its limit."
        "Raise --memory-limit, or use a smaller size or fewer renditions.";
    DiskQuotaExceeded "disk_quota_exceeded" Terminal 500 RESOURCE ResourceError
        "The attempt wrote more than its disk limit."
        "Raise max_disk_mb, or lower the bit rate or duration.";
    NoRoom "no_room" Transient 503 RESOURCE ResourceError
        "The node has not the memory, the disk, the encode session or the calm that the attempt needs now."
        "Nothing, if it passes: the job is tried again, also elsewhere. `ffrtmp nodes describe` says what the node lacks.";
    DiskFull "disk_full" Transient 507 RESOURCE ResourceError
        "The disk is full, or too full to start."
        "Free space on the node; the job is retried.";
    Killed "killed" Transient 503 RESOURCE PlatformError
        "The machine killed the attempt: out of memory, or the agent stopped."
        "Nothing to do: the job is retried. If it repeats, the node is short of memory.";
    NodeLost "node_lost" Transient 503 UNAVAILABLE PlatformError
        "The node that ran the job stopped sending heartbeats."
        "Nothing to do: the job is retried on another node. Look at the node's own log.";
    LeaseExpired "lease_expired" Transient 503 UNAVAILABLE PlatformError
        "The attempt did not renew its lease in time."
        "Nothing to do: the job is retried. Look for an overloaded node or network.";
    NeverStarted "never_started" Transient 503 UNAVAILABLE PlatformError
        "The job was given to a node that never started it."
        "Nothing to do: the job is retried. Look at the node's own log.";
    Network "network" Transient 503 UNAVAILABLE NetworkError
        "A connection failed or broke."
        "Nothing to do where it is retried; else check the address and the network.";
    Storage "storage" Transient 503 RESOURCE PlatformError
        "The database or a file system refused an operation."
        "Check disk space and permissions of the database; the operation is retried.";
    Unavailable "unavailable" Transient 503 UNAVAILABLE PlatformError
        "The service is starting, stopping or overloaded."
        "Try again in a moment.";
    PortInUse "port_in_use" Caller 503 USAGE UserError
        "Another process listens on the port."
        "Stop it or choose another port: --port for the API, --metrics-port for metrics.";
    Tls "tls" Caller 503 DENIED NetworkError
        "The TLS certificate or key is missing, wrong or not trusted."
        "Give the master's certificate with --ca; for a self-signed one in a lab --insecure-skip-verify.";
    Internal "internal" Terminal 500 INTERNAL PlatformError
        "A defect in ffrtmp itself."
        "Please report it with the message and the log.";
}

impl Code {
    /// The code with this stable name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why an error happens and what mends it.
#[derive(Clone, Copy, Debug)]
pub struct Explanation {
    /// What happened, one sentence.
    pub cause: &'static str,
    /// What to do, one or two sentences.
    pub cure: &'static str,
}

/// The error of every public operation.
///
/// `Debug` shows what a person needs, since that is what `fn main() -> Result<()>` prints.
pub struct Error(Box<Inner>);

struct Inner {
    code: Code,
    message: String,
    field: Option<String>,
    hint: Option<String>,
    operation: Option<&'static str>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a code and a message: a lowercase fragment without a full stop.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { code, message: message.into(), field: None, hint: None, operation: None, source: None }))
    }

    /// Names the request field, flag or variable at fault.
    #[must_use]
    pub fn field(mut self, field: impl Into<String>) -> Self {
        self.0.field = Some(field.into());
        self
    }

    /// Says what to do, instead of the general cure of the code.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Names the operation that failed, such as `sqlite.claim`.
    #[must_use]
    pub fn operation(mut self, operation: &'static str) -> Self {
        self.0.operation = Some(operation);
        self
    }

    /// Keeps the underlying error.
    #[must_use]
    pub fn source(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// What happened.
    #[must_use]
    pub fn code(&self) -> Code {
        self.0.code
    }

    /// Who acts next.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        self.0.code.disposition()
    }

    /// The message without hint and source.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// The field at fault, if one is.
    #[must_use]
    pub fn field_name(&self) -> Option<&str> {
        self.0.field.as_deref()
    }

    /// What to do: the hint of this error, else the cure of its code.
    #[must_use]
    pub fn hint_text(&self) -> &str {
        self.0.hint.as_deref().unwrap_or(self.0.code.explain().cure)
    }

    /// The operation that failed, if it was named.
    #[must_use]
    pub fn operation_name(&self) -> Option<&'static str> {
        self.0.operation
    }
}

impl fmt::Display for Error {
    /// `field: message: source`, in one line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(field) = &self.0.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    /// `message (code); hint: …`, and the operation where it was named.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({}); hint: {}", self.code(), self.hint_text())?;
        self.0.operation.map_or(Ok(()), |operation| write!(f, "; in {operation}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_deref().map(|source| source as _)
    }
}

/// An error as it stands in a job, in JSON and in the store.
///
/// Read with code and message alone, the rest follows from the code.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "SaidError")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct JobError {
    /// What happened.
    pub code: Code,
    /// Who acts next.
    #[cfg_attr(feature = "openapi", schema(required = false, value_type = Option<Disposition>))]
    pub disposition: Disposition,
    /// What happened, in words.
    pub message: String,
    /// What to do.
    #[cfg_attr(feature = "openapi", schema(required = false, value_type = Option<String>))]
    pub hint: String,
}

/// An error as a foreign agent may say it.
#[derive(Deserialize)]
struct SaidError {
    code: Code,
    message: String,
    disposition: Option<Disposition>,
    hint: Option<String>,
}

impl From<SaidError> for JobError {
    fn from(said: SaidError) -> Self {
        Self {
            code: said.code,
            disposition: said.disposition.unwrap_or(said.code.disposition()),
            message: said.message,
            hint: said.hint.unwrap_or_else(|| said.code.explain().cure.to_owned()),
        }
    }
}

impl From<&Error> for JobError {
    fn from(error: &Error) -> Self {
        Self {
            code: error.code(),
            disposition: error.disposition(),
            message: error.to_string(),
            hint: error.hint_text().to_owned(),
        }
    }
}

impl From<JobError> for Error {
    fn from(error: JobError) -> Self {
        Self::new(error.code, error.message).hint(error.hint)
    }
}

/// The nearest of `known` to `word`, if one is near enough to be meant.
#[must_use]
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len() / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_unique_name_and_a_cure() {
        for code in Code::ALL {
            assert_eq!(Code::from_name(code.as_str()), Some(*code));
            assert_eq!(serde_json::to_value(code).unwrap(), code.as_str());
            assert!(code.explain().cure.len() > 10 && code.explain().cause.ends_with('.'), "{code}");
            assert!((400..600).contains(&code.http_status()), "{code}");
        }
        let mut names: Vec<_> = Code::ALL.iter().map(|code| code.as_str()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Code::ALL.len());
    }

    #[test]
    fn display_is_one_line_with_field_and_source() {
        let error = Error::new(Code::InvalidField, "\"x\" is not a bitrate").field("bitrate").source("boom");
        assert_eq!(error.to_string(), "bitrate: \"x\" is not a bitrate: boom");
    }

    #[test]
    fn nearest_known_word() {
        assert_eq!(nearest("bitrat", ["bitrate", "preset"]), Some("bitrate"));
        assert_eq!(nearest("zzz", ["bitrate", "preset"]), None);
    }
}
