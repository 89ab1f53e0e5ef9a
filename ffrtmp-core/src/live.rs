//! Words of live work: endpoints that do not show their secrets, what a live attempt sends where,
//! the rules it lives by, and what it tells of itself.
//!
//! How media flows is the engine's business; `docs/live.md` explains it to people.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::encoding::Ladder;
use crate::error::{Code, Error, Result};
use crate::id::JobId;
use crate::job::Parameters;
use crate::location::Scheme;
use crate::media::named_enum;

/// What stands where a secret was.
pub const HIDDEN: &str = "***";

/// A place on the network where media flows, with everything that is needed to get in. Shown, also
/// for debugging, it hides what is secret; only [`Endpoint::reveal`] does not.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Endpoint(String);

impl Endpoint {
    /// Reads a URI; `field` is named if it is none.
    ///
    /// # Errors
    /// `invalid_field`, `unsupported_scheme`.
    pub fn parse(uri: &str, field: &'static str) -> Result<Self> {
        match Scheme::of_input(uri).map_err(|error| error.field(field))? {
            Scheme::File => Err(Error::new(Code::UnsupportedScheme, "a file is no live endpoint")
                .field(field)
                .hint("give rtmp://, rtmps://, rtsp://, srt://, udp:// or an http(s):// playlist")),
            _ => Ok(Self(uri.to_owned())),
        }
    }

    /// The whole URI, secrets included: for the connection itself and nothing else.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// How it is reached.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        Scheme::of_input(&self.0).unwrap_or(Scheme::Http)
    }

    /// The endpoint of one rendition: `_NAME` behind the path, before the query.
    #[must_use]
    pub fn of_rendition(&self, name: &str) -> Self {
        let (path, query) = self.0.find(['?', '#']).map_or((self.0.as_str(), ""), |at| self.0.split_at(at));
        Self(format!("{path}_{name}{query}"))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.0))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

/// A URI without its secrets: user and password, everything behind `?`, and of RTMP the stream key,
/// which is what follows the application. A path, or what cannot be read as a URI, stays as it is.
#[must_use]
pub fn redacted(uri: &str) -> String {
    let Some((scheme, rest)) = uri.split_once("://") else { return uri.to_owned() };
    if scheme.eq_ignore_ascii_case("file") {
        return uri.to_owned();
    }
    let (place, query) = rest.find(['?', '#']).map_or((rest, ""), |at| rest.split_at(at));
    let (authority, path) = place.find('/').map_or((place, ""), |at| place.split_at(at));
    let host = authority.rsplit('@').next().unwrap_or_default();
    let user = if host.len() < authority.len() { format!("{HIDDEN}@") } else { String::new() };
    let is_rtmp = scheme.to_ascii_lowercase().starts_with("rtmp");
    let path = match path.rsplit_once('/') {
        Some((application, key)) if is_rtmp && application.len() > 1 && !key.is_empty() => {
            format!("{application}/{HIDDEN}")
        }
        _ => path.to_owned(),
    };
    let query = if query.is_empty() { String::new() } else { format!("?{HIDDEN}") };
    format!("{scheme}://{user}{host}{path}{query}")
}

/// A word that only its owner and the far end may know, such as a stream key. Shown, it is hidden.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Keeps a word.
    #[must_use]
    pub fn new(word: impl Into<String>) -> Self {
        Self(word.into())
    }

    /// What stands in its place in answers.
    #[must_use]
    pub fn hidden() -> Self {
        Self(HIDDEN.to_owned())
    }

    /// The word itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

named_enum!(
    /// What becomes of the output of a job.
    OutputMode, "output_mode" {
        /// A file or a package of files.
        File "file",
        /// A stream to an RTMP server.
        Rtmp "rtmp",
    }
);

/// Port of RTMP servers.
pub const RTMP_PORT: u16 = 1935;

/// Where the output of a job goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Destination {
    /// The server that it is sent to.
    pub push: Option<Endpoint>,
    /// The file that it is written to, besides or instead.
    pub file: Option<String>,
}

impl Destination {
    /// Works it out of a request. Without an address it is `rtmp://HOST:1935/live/JOB_ID` for an
    /// output in mode `rtmp`; `host` is the media server of the node.
    ///
    /// # Errors
    /// `invalid_field` for wishes that contradict each other, `unsupported_scheme`.
    pub fn of(output: Option<&str>, wishes: &Parameters, id: JobId, host: &str) -> Result<Self> {
        let scheme = output.map(Scheme::of_output).transpose()?;
        let streamed = output.filter(|_| scheme.is_some_and(Scheme::is_streaming));
        let is_rtmp = match wishes.output_mode {
            Some(mode) => mode == OutputMode::Rtmp,
            None => wishes.rtmp_url.is_some() || (wishes.stream_key.is_some() && streamed.is_none()),
        };
        contradictions(streamed, scheme, wishes, is_rtmp)?;
        let key = wishes.stream_key.as_ref().map(Secret::reveal);
        let push = match (streamed, &wishes.rtmp_url) {
            (Some(uri), _) => Some(keyed(uri, key)),
            (None, Some(uri)) => Some(keyed(uri, key.or(needs_key(uri).then_some(id.to_string()).as_deref()))),
            (None, None) if is_rtmp => {
                let key = key.map_or_else(|| id.to_string(), str::to_owned);
                Some(format!("rtmp://{host}:{RTMP_PORT}/live/{key}"))
            }
            (None, None) => None,
        };
        let field = if streamed.is_some() { "output" } else { "rtmp_url" };
        let push = push.map(|uri| Endpoint::parse(&uri, field)).transpose()?;
        push.as_ref().map_or(Ok(()), |push| fits(push, field, wishes))?;
        let file = wishes.record.as_deref().or(output.filter(|_| streamed.is_none()));
        Ok(Self { push, file: file.map(str::to_owned) })
    }
}

fn contradictions(streamed: Option<&str>, scheme: Option<Scheme>, wishes: &Parameters, is_rtmp: bool) -> Result<()> {
    let invalid = |field: &str, message: &str, hint: &str| {
        Err(Error::new(Code::InvalidField, message).field(format!("parameters.{field}")).hint(hint))
    };
    if let Some(url) = &wishes.rtmp_url {
        let scheme = Scheme::of_output(url).map_err(|error| error.field("parameters.rtmp_url"))?;
        if scheme != Scheme::Rtmp {
            return invalid(
                "rtmp_url",
                "is no RTMP address",
                "give rtmp://HOST/APPLICATION or rtmps://HOST/APPLICATION",
            );
        }
        if streamed.is_some() {
            return invalid("rtmp_url", "and output both name a server", "leave one of them out");
        }
        if !is_rtmp {
            return invalid("rtmp_url", "goes with the output mode rtmp", "leave output_mode out, or make it rtmp");
        }
    }
    if wishes.output_mode == Some(OutputMode::File) && streamed.is_some() {
        return invalid("output_mode", "is file, and the output is a server", "leave output_mode out");
    }
    if is_rtmp && streamed.is_some() && scheme != Some(Scheme::Rtmp) {
        return invalid("output_mode", "is rtmp, and the output is another protocol", "leave output_mode out");
    }
    if let Some(key) = &wishes.stream_key {
        let key = key.reveal();
        if key.is_empty() || key.len() > MAX_KEY || key.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return invalid("stream_key", "cannot be one", "give 1 to 1024 bytes without blanks");
        }
        if !is_rtmp && scheme != Some(Scheme::Rtmp) {
            return invalid("stream_key", "goes with RTMP", "give rtmp_url or the output mode rtmp, or leave it out");
        }
    }
    if let Some(record) = &wishes.record {
        if Scheme::of_output(record).map_err(|error| error.field("parameters.record"))? != Scheme::File {
            return invalid("record", "is no file", "give a path");
        }
        if streamed.is_none() && !(is_rtmp && scheme.is_none()) {
            return invalid("record", "goes with an output that is sent to a server", "name the file as output");
        }
    }
    Ok(())
}

/// Whether an address can be sent to at all, and whether each rung of a ladder can have one like it.
fn fits(push: &Endpoint, field: &str, wishes: &Parameters) -> Result<()> {
    if push.scheme() == Scheme::Rtmp {
        let path = push.0.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
        let path = path.split(['?', '#']).next().unwrap_or_default();
        let names_both =
            path.rsplit_once('/').is_some_and(|(application, key)| !application.is_empty() && !key.is_empty());
        return if names_both {
            Ok(())
        } else {
            Err(Error::new(Code::InvalidField, format!("{push} names no application, or no stream"))
                .field(field)
                .hint("write it as rtmp://HOST[:PORT]/APPLICATION/KEY, or give the key as stream_key"))
        };
    }
    let has_rungs = match &wishes.ladder {
        None => false,
        Some(Ladder::Renditions(rungs)) => rungs.len() > 1,
        Some(_) => true,
    };
    if has_rungs {
        let what =
            format!("a ladder is not sent by {}: each rendition needs an address of its own", push.scheme().as_str());
        return Err(Error::new(Code::InvalidField, what)
            .field("parameters.ladder")
            .hint("send a ladder to an RTMP server, make it a playlist (.m3u8), or submit a job for each rendition"));
    }
    Ok(())
}

/// Longest stream key, in bytes.
const MAX_KEY: usize = 1024;

/// Whether an RTMP address ends with its application.
fn needs_key(uri: &str) -> bool {
    let path = uri.split_once("://").and_then(|(_, rest)| rest.split_once('/')).map_or("", |(_, path)| path);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    path.ends_with('/') || path.split('/').filter(|part| !part.is_empty()).count() < 2
}

fn keyed(uri: &str, key: Option<&str>) -> String {
    match key {
        Some(key) => format!("{}/{key}", uri.trim_end_matches('/')),
        None => uri.to_owned(),
    }
}

/// Whether a job goes on until it is told to stop: its source flows, or its output does.
#[must_use]
pub fn is_live(input: Option<&str>, output: Option<&str>, wishes: &Parameters) -> bool {
    let streams = |text: Option<&str>| text.is_some_and(|text| Scheme::of_input(text).is_ok_and(Scheme::is_streaming));
    streams(input)
        || streams(output)
        || wishes.output_mode == Some(OutputMode::Rtmp)
        || (wishes.output_mode.is_none() && (wishes.rtmp_url.is_some() || wishes.stream_key.is_some()))
}

/// What makes a task live: it keeps to the wall clock, and it has outputs that are no files.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveTask {
    /// Where the media is sent. Of a ladder each rendition goes to [`Endpoint::of_rendition`].
    pub push: Vec<Endpoint>,
    /// Whether `Task::output` is written too: a recording, or a package of HLS.
    pub record: bool,
    /// What it does when something goes wrong.
    pub rules: LiveRules,
}

/// The rules of a live attempt.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LiveRules {
    /// Without a frame from the source for this long it ends as `timeout`.
    pub stall: Duration,
    /// Time that a connection may take to be made.
    pub connect: Duration,
    /// Wait before the first new connection; doubled up to `most_backoff` after each that fails.
    pub backoff: Duration,
    /// Longest wait between connections.
    pub most_backoff: Duration,
    /// Whether the outputs get a still picture and silence while the source is away.
    pub slate: bool,
    /// Whether a faster preset is taken when encoding cannot keep up, and a slower one again later.
    pub adapt: bool,
    /// Speed below 1 for this long is told, and acted on if `adapt`.
    pub slow: Duration,
    /// Media that may wait for an output before whole groups of pictures are dropped.
    pub queue: Duration,
}

impl Default for LiveRules {
    /// 5 min of stall, 10 s to connect, backoff of 0.5 to 10 s, no slate, no adaptation, slow after
    /// 10 s, queues of 4 s.
    fn default() -> Self {
        Self {
            stall: Duration::from_secs(300),
            connect: Duration::from_secs(10),
            backoff: Duration::from_millis(500),
            most_backoff: Duration::from_secs(10),
            slate: false,
            adapt: false,
            slow: Duration::from_secs(10),
            queue: Duration::from_secs(4),
        }
    }
}

/// Something that happens to a live attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveEvent {
    /// What.
    pub kind: LiveEventKind,
    /// More, in words, without secrets.
    pub text: String,
}

impl LiveEvent {
    /// An event.
    #[must_use]
    pub fn new(kind: LiveEventKind, text: impl Into<String>) -> Self {
        Self { kind, text: text.into() }
    }
}

/// What can happen to a live attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LiveEventKind {
    /// The first media left for an output.
    OutputStarted,
    /// The source ended or went silent; it is tried again.
    SourceLost,
    /// The source is back.
    SourceBack,
    /// The source changed its size, rate or codec.
    SourceChanged,
    /// An output refused or broke its connection; it is tried again.
    OutputLost,
    /// An output is back, from a key frame on.
    OutputBack,
    /// Groups of pictures were dropped because an output could not take them in time.
    Dropped,
    /// Encoding does not keep up with the source.
    Slow,
    /// A faster preset was taken.
    PresetDown,
    /// A slower preset was taken again.
    PresetUp,
}

impl LiveEventKind {
    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutputStarted => "output_started",
            Self::SourceLost => "source_lost",
            Self::SourceBack => "source_back",
            Self::SourceChanged => "source_changed",
            Self::OutputLost => "output_lost",
            Self::OutputBack => "output_back",
            Self::Dropped => "dropped",
            Self::Slow => "slow",
            Self::PresetDown => "preset_down",
            Self::PresetUp => "preset_up",
        }
    }

    /// The level of its line in the log.
    #[must_use]
    pub const fn level(self) -> &'static str {
        match self {
            Self::OutputStarted | Self::SourceBack | Self::OutputBack | Self::PresetUp => "info",
            _ => "warn",
        }
    }
}

/// What was measured of a live attempt.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default)]
pub struct LiveReport {
    /// Milliseconds from the arrival of a picture to its encoded form, the median.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub added_latency_ms_p50: Option<f64>,
    /// The same for all but one in twenty.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub added_latency_ms_p95: Option<f64>,
    /// Milliseconds from the start of the attempt to the first byte of output.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub first_output_ms: Option<f64>,
    /// How often the source went away.
    pub source_losses: u64,
    /// Seconds without a source.
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub source_away_seconds: f64,
    /// How often an output went away.
    pub output_losses: u64,
    /// Outputs that never took anything.
    pub outputs_unreached: u64,
    /// Groups of pictures that an output did not get.
    pub dropped_groups: u64,
    /// Pictures that an output did not get.
    pub dropped_frames: u64,
    /// Lowest speed over ten seconds: 1 keeps up.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(minimum = 0))]
    pub slowest_speed: Option<f64>,
    /// How often the preset changed.
    pub preset_changes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden() {
        for (uri, shown) in [
            ("rtmp://host/live/key", "rtmp://host/live/***"),
            ("RTMPS://u:p@host:443/a/b/key?token=1", "RTMPS://***@host:443/a/b/***?***"),
            ("rtmp://host/live", "rtmp://host/live"),
            ("rtmp://host/live/", "rtmp://host/live/"),
            ("srt://host:9000?passphrase=x&streamid=y", "srt://host:9000?***"),
            ("rtsp://admin:pw@cam/1", "rtsp://***@cam/1"),
            ("https://h/a.m3u8?sig=s", "https://h/a.m3u8?***"),
            ("file:///a/b?c", "file:///a/b?c"),
            ("/a/b.mp4", "/a/b.mp4"),
        ] {
            assert_eq!(redacted(uri), shown, "{uri}");
        }
        let endpoint = Endpoint::parse("rtmp://host/live/key", "output").unwrap();
        assert_eq!(format!("{endpoint} {endpoint:?}"), "rtmp://host/live/*** Endpoint(rtmp://host/live/***)");
        assert_eq!(endpoint.reveal(), "rtmp://host/live/key");
    }

    #[test]
    fn renditions_have_their_own_endpoints() {
        for (uri, own) in
            [("rtmp://h/live/k", "rtmp://h/live/k_720p"), ("rtmp://h/live/k?t=1", "rtmp://h/live/k_720p?t=1")]
        {
            assert_eq!(Endpoint::parse(uri, "output").unwrap().of_rendition("720p").reveal(), own);
        }
    }

    #[test]
    fn destinations() {
        let id: JobId = "7f5a0b5a-5711-40e4-8f23-e4ae89a6c7e1".parse().unwrap();
        let of = |output: Option<&str>, wishes: serde_json::Value| {
            let wishes: Parameters = serde_json::from_value(wishes).unwrap();
            let found = Destination::of(output, &wishes, id, "media");
            assert_eq!(
                found.as_ref().is_ok_and(|found| found.push.is_some()),
                found.is_ok() && is_live(None, output, &wishes)
            );
            found.map(|found| (found.push.map(|push| push.reveal().to_owned()), found.file))
        };
        use serde_json::json;
        let own = format!("rtmp://media:1935/live/{id}");
        let with_id = format!("rtmp://h/app/{id}");
        for (output, wishes, push, file) in [
            (None, json!({}), None, None),
            (Some("a.mp4"), json!({"output_mode": "file"}), None, Some("a.mp4")),
            (None, json!({"output_mode": "rtmp"}), Some(own.as_str()), None),
            (Some("a.mp4"), json!({"output_mode": "rtmp"}), Some(own.as_str()), Some("a.mp4")),
            (None, json!({"stream_key": "k"}), Some("rtmp://media:1935/live/k"), None),
            (None, json!({"rtmp_url": "rtmp://h/app"}), Some(with_id.as_str()), None),
            (None, json!({"rtmp_url": "rtmp://h/app/", "stream_key": "k?t=1"}), Some("rtmp://h/app/k?t=1"), None),
            (None, json!({"rtmp_url": "rtmp://h/app/k"}), Some("rtmp://h/app/k"), None),
            (Some("rtmp://h/app/k"), json!({"record": "r.mkv"}), Some("rtmp://h/app/k"), Some("r.mkv")),
            (Some("rtmp://h/app"), json!({"stream_key": "k"}), Some("rtmp://h/app/k"), None),
            (Some("srt://h:9000"), json!({}), Some("srt://h:9000"), None),
            (Some("srt://h:9"), json!({"ladder": [{"resolution": "640x360"}]}), Some("srt://h:9"), None),
            (Some("rtmp://h/a/k"), json!({"ladder": "auto"}), Some("rtmp://h/a/k"), None),
        ] {
            let expected = (push.map(str::to_owned), file.map(str::to_owned));
            assert_eq!(of(output, wishes.clone()).unwrap(), expected, "{output:?} {wishes}");
        }
        for (output, wishes, field) in [
            (Some("rtmp://h/a/k"), json!({"rtmp_url": "rtmp://h/a"}), "parameters.rtmp_url"),
            (None, json!({"rtmp_url": "srt://h:1"}), "parameters.rtmp_url"),
            (None, json!({"rtmp_url": "rtmp://h/a", "output_mode": "file"}), "parameters.rtmp_url"),
            (Some("rtmp://h/a/k"), json!({"output_mode": "file"}), "parameters.output_mode"),
            (Some("srt://h:1"), json!({"output_mode": "rtmp"}), "parameters.output_mode"),
            (Some("srt://h:1"), json!({"stream_key": "k"}), "parameters.stream_key"),
            (None, json!({"stream_key": "a b", "output_mode": "rtmp"}), "parameters.stream_key"),
            (Some("a.mp4"), json!({"record": "b.mp4"}), "parameters.record"),
            (Some("srt://h:1"), json!({"record": "srt://h:2"}), "parameters.record"),
            (Some("rtmp://h"), json!({}), "output"),
            (Some("rtmp://h/app"), json!({}), "output"),
            (Some("rtmp://h/"), json!({"stream_key": "k"}), "output"),
            (None, json!({"rtmp_url": "rtmp://h"}), "rtmp_url"),
            (Some("srt://h:1"), json!({"ladder": "auto"}), "parameters.ladder"),
            (
                Some("udp://h:1"),
                json!({"ladder": [{"resolution": "640x360"}, {"resolution": "320x180"}]}),
                "parameters.ladder",
            ),
            (Some("rtsp://h/x"), json!({"ladder": "auto"}), "parameters.ladder"),
        ] {
            let error = of(output, wishes.clone()).unwrap_err();
            assert_eq!(error.field_name(), Some(field), "{output:?} {wishes}: {error}");
        }
        assert_eq!(format!("{:?}", Secret::new("word")), HIDDEN);
    }

    #[test]
    fn a_file_is_no_endpoint() {
        let error = Endpoint::parse("/a/b.mp4", "rtmp_url").unwrap_err();
        assert_eq!((error.code(), error.field_name()), (Code::UnsupportedScheme, Some("rtmp_url")));
    }
}
