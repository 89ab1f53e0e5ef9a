//! What an agent, its fork server and the children say to each other: frames of JSON behind an
//! eight-byte header that carries the version of the protocol. No side trusts another's bytes.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

use ffrtmp_core::engine::{EngineCapabilities, MediaBounds, Progress, Source, Task};
use ffrtmp_core::error::{Code, Error};
use ffrtmp_core::job::{EngineName, JobReport};
use ffrtmp_core::live::{Endpoint, LiveEvent, LiveTask};
use ffrtmp_core::media::MediaInfo;
use ffrtmp_core::node::Safeguard;
use ffrtmp_core::plan::{OutputRequest, Plan};
use ffrtmp_core::units::Seconds;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Version of the protocol; it stands in every header.
pub(super) const VERSION: u8 = 4;
/// Most bytes of JSON in a frame.
pub(super) const MAX_FRAME: usize = 4 << 20;

const MAGIC: [u8; 3] = *b"FFR";
const HEADER: usize = 8;

/// From the agent to its fork server.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToServer {
    /// Fork a child. Three descriptors come along: the child's channel, its standard error, and the
    /// tether, on which the server tells of it. When the tether is closed, the child ends with all that
    /// it started.
    Fork {
        /// Its scheduling priority.
        nice: i32,
        /// What the server removes if the agent goes away before the child ends: a file, and the
        /// directory of measurements beside it.
        remains: Option<WirePath>,
    },
    /// On the tether: the child has work, and this is what may remain of it.
    Mind {
        /// As in a fork.
        remains: WirePath,
    },
    /// On the tether: the agent needs the child no more and has removed what it left. An agent that is
    /// gone says nothing.
    LetGo,
}

/// From the fork server to the agent: a greeting, and news of each child on its tether.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum FromServer {
    /// The server is ready.
    Hello {
        /// Version of its crate, for people.
        version: String,
        /// Its engine.
        engine: EngineName,
    },
    /// The server cannot start.
    Unable(WireError),
    /// The child waits for its request; a descriptor of the process comes along where the kernel has
    /// such a thing.
    Forked {
        /// Process id; the same as that of its session and group.
        pid: i32,
    },
    /// The kernel refused the fork.
    NotForked(String),
    /// The child and all that it started have ended. Its id stays taken until the tether is closed.
    Ended(Ended),
}

/// How a child ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ended {
    /// Exit code or signal, as wait tells it.
    pub(super) status: i32,
    /// User and system CPU time of the child and of those it waited for.
    pub(super) cpu: Duration,
    /// Largest resident memory in bytes.
    pub(super) max_resident_bytes: u64,
}

impl Ended {
    /// Exit code or signal.
    pub(super) fn status(&self) -> ExitStatus {
        ExitStatus::from_raw(self.status)
    }
}

/// From the agent to the child. One request is sent; orders may follow it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToChild {
    /// Do this.
    Begin(Box<Request>),
    /// Stop.
    Cancel,
    /// Stand still.
    Pause,
    /// Go on.
    Resume,
    /// End well.
    Finish,
}

/// What a child is there for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub(super) work: Work,
    /// Most bytes of memory.
    pub(super) memory: Option<u64>,
    /// What the trial child of this agent found out.
    pub(super) findings: Option<String>,
}

/// One piece of work.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    /// Say what works here.
    Capabilities,
    /// Describe a source.
    Probe(WireSource, MediaBounds),
    /// Say what a task would do.
    Plan(WireTask),
    /// Do a task.
    Run(WireTask),
}

/// From the child to the agent: how it is confined, anything about the task, one end.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ToParent {
    /// The layers of the sandbox around it; comes before anything foreign is read.
    Confined(Vec<Safeguard>),
    /// How far the task is.
    Progress(Progress),
    /// A line for the log.
    Log {
        /// Its level.
        level: String,
        /// Its text.
        text: String,
    },
    /// Something that happened to a live task.
    Event(LiveEvent),
    /// The request was answered.
    Done(Box<Answer>),
    /// The request failed.
    Failed(WireError),
}

/// The answer to a request.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// To `Capabilities`, with what other children need not try again.
    Capabilities(EngineCapabilities, Option<String>),
    /// To `Probe`.
    Media(MediaInfo),
    /// To `Plan`.
    Plan(Plan),
    /// To `Run`.
    Report(JobReport),
}

/// A path as text where it is text and as bytes where not, because file names need not be UTF-8.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum WirePath {
    Text(String),
    Bytes(Vec<u8>),
}

impl From<&Path> for WirePath {
    fn from(path: &Path) -> Self {
        path.to_str().map_or_else(|| Self::Bytes(path.as_os_str().as_bytes().to_vec()), |text| Self::Text(text.into()))
    }
}

impl From<&WirePath> for PathBuf {
    fn from(path: &WirePath) -> Self {
        match path {
            WirePath::Text(text) => text.into(),
            WirePath::Bytes(bytes) => OsString::from_vec(bytes.clone()).into(),
        }
    }
}

/// A source with a path that survives JSON.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum WireSource {
    File(WirePath),
    Generated(Seconds),
    Live(Endpoint),
}

impl From<&Source> for WireSource {
    fn from(source: &Source) -> Self {
        match source {
            Source::File(path) => Self::File(absolute(path).as_path().into()),
            Source::Generated(length) => Self::Generated(*length),
            Source::Live(endpoint) => Self::Live(endpoint.clone()),
        }
    }
}

impl From<&WireSource> for Source {
    fn from(source: &WireSource) -> Self {
        match source {
            WireSource::File(path) => Self::File(path.into()),
            WireSource::Generated(length) => Self::Generated(*length),
            WireSource::Live(endpoint) => Self::Live(endpoint.clone()),
        }
    }
}

/// A task with paths that survive JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireTask {
    source: WireSource,
    output: WirePath,
    request: OutputRequest,
    bounds: MediaBounds,
    live: Option<LiveTask>,
}

impl From<&Task> for WireTask {
    fn from(task: &Task) -> Self {
        Self {
            source: (&task.source).into(),
            output: absolute(&task.output).as_path().into(),
            request: task.request.clone(),
            bounds: task.bounds,
            live: task.live.clone(),
        }
    }
}

impl From<&WireTask> for Task {
    fn from(task: &WireTask) -> Self {
        Self {
            source: (&task.source).into(),
            output: (&task.output).into(),
            request: task.request.clone(),
            bounds: task.bounds,
            live: task.live.clone(),
        }
    }
}

/// The child works in `/`, so a relative path would mean another file there.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// An error with all that the parent can give to its caller.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WireError {
    code: Code,
    message: String,
    field: Option<String>,
    hint: String,
    source: Option<String>,
}

impl From<&Error> for WireError {
    fn from(error: &Error) -> Self {
        Self {
            code: error.code(),
            message: error.message().to_owned(),
            field: error.field_name().map(str::to_owned),
            hint: error.hint_text().to_owned(),
            source: std::error::Error::source(error).map(ToString::to_string),
        }
    }
}

impl From<WireError> for Error {
    fn from(wire: WireError) -> Self {
        let mut error = Self::new(wire.code, wire.message).hint(wire.hint);
        if let Some(field) = wire.field {
            error = error.field(field);
        }
        match wire.source {
            Some(source) => error.source(source),
            None => error,
        }
    }
}

/// Why bytes are no frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("bytes that are no frame")]
    Garbage,
    #[error("protocol version {0} instead of {VERSION}")]
    Version(u8),
    #[error("a frame of {0} bytes")]
    TooLong(usize),
    #[error("a frame that cannot be read: {0}")]
    Json(#[from] serde_json::Error),
}

/// One message as a frame.
pub(super) fn frame(message: &impl Serialize) -> Result<Vec<u8>, Broken> {
    let mut bytes = vec![0; HEADER];
    serde_json::to_writer(&mut bytes, message)?;
    let length = bytes.len() - HEADER;
    let short = u32::try_from(length).ok().filter(|_| length <= MAX_FRAME).ok_or(Broken::TooLong(length))?;
    bytes[..3].copy_from_slice(&MAGIC);
    bytes[3] = VERSION;
    bytes[4..HEADER].copy_from_slice(&short.to_be_bytes());
    Ok(bytes)
}

/// Bytes that arrived and are not understood yet; never more than one frame and one read.
#[derive(Debug, Default)]
pub(super) struct Inbox(Vec<u8>);

impl Inbox {
    /// Takes what one read gives; 0 bytes mean that the other side is gone.
    pub(super) fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        let mut chunk = [0; 16 << 10];
        let count = from.read(&mut chunk)?;
        self.0.extend_from_slice(&chunk[..count]);
        Ok(count)
    }

    /// The next whole message, if there is one.
    pub(super) fn next<M: DeserializeOwned>(&mut self) -> Result<Option<M>, Broken> {
        let Some(length) = self.announced()? else { return Ok(None) };
        let end = HEADER + length;
        if self.0.len() < end {
            return Ok(None);
        }
        let message = serde_json::from_slice(&self.0[HEADER..end]);
        self.0.drain(..end);
        Ok(Some(message?))
    }

    /// The length of the frame at the front; wrong bytes are refused as soon as they arrive.
    fn announced(&self) -> Result<Option<usize>, Broken> {
        let seen = self.0.len().min(MAGIC.len());
        if self.0[..seen] != MAGIC[..seen] {
            return Err(Broken::Garbage);
        }
        let Some((header, _)) = self.0.split_first_chunk::<HEADER>() else { return Ok(None) };
        if header[3] != VERSION {
            return Err(Broken::Version(header[3]));
        }
        let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
        if length > MAX_FRAME { Err(Broken::TooLong(length)) } else { Ok(Some(length)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inbox(bytes: &[u8]) -> Inbox {
        Inbox(bytes.to_vec())
    }

    #[test]
    fn messages_survive_the_wire_in_any_pieces() {
        let path = Path::new(std::ffi::OsStr::from_bytes(b"/tmp/\xff name.mp4"));
        let task = Task::new(Source::File(path.into()), "/tmp/out.mp4".into(), "720p30-h264".parse().unwrap());
        let request = Request { work: Work::Run((&task).into()), memory: None, findings: None };
        let mut bytes = frame(&ToChild::Begin(Box::new(request))).unwrap();
        bytes.extend(frame(&ToChild::Cancel).unwrap());
        let mut inbox = Inbox::default();
        let mut seen = Vec::new();
        for byte in &bytes {
            inbox.fill(&mut std::slice::from_ref(byte)).unwrap();
            seen.extend(inbox.next::<ToChild>().unwrap());
        }
        let [ToChild::Begin(request), ToChild::Cancel] = <[ToChild; 2]>::try_from(seen).unwrap() else { panic!() };
        let Work::Run(run) = request.work else { panic!() };
        let back = Task::from(&run);
        assert_eq!(back.source, task.source);
        assert_eq!((back.output, back.bounds), (task.output, task.bounds));
    }

    #[test]
    fn errors_survive_the_wire() {
        let error = Error::new(Code::InputInvalid, "no streams").field("input").hint("probe it").source("eof");
        let back = Error::from(WireError::from(&error));
        assert_eq!((back.code(), back.to_string()), (Code::InputInvalid, "input: no streams: eof".into()));
        assert_eq!(back.hint_text(), "probe it");
    }

    #[test]
    fn foreign_bytes_are_refused_at_once() {
        assert!(matches!(inbox(b"x").next::<ToParent>(), Err(Broken::Garbage)));
        assert!(matches!(inbox(b"FFR\x01\0\0\0\0").next::<ToParent>(), Err(Broken::Version(1))));
        let behind_version = |rest: &[u8]| inbox(&[&MAGIC[..], &[VERSION], rest].concat());
        assert!(matches!(behind_version(&[255; 4]).next::<ToParent>(), Err(Broken::TooLong(_))));
        assert!(matches!(behind_version(b"\0\0\0\x02[]").next::<ToParent>(), Err(Broken::Json(_))));
        assert!(matches!(behind_version(b"\0\0\0\x02[").next::<ToParent>(), Ok(None)));
    }
}
