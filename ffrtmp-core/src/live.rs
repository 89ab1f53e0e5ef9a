//! Words of live work: endpoints that do not show their secrets, what a live attempt sends where,
//! the rules it lives by, and what it tells of itself.
//!
//! How media flows is the engine's business; `docs/live.md` explains it to people.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::location::Scheme;

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
    fn a_file_is_no_endpoint() {
        let error = Endpoint::parse("/a/b.mp4", "rtmp_url").unwrap_err();
        assert_eq!((error.code(), error.field_name()), (Code::UnsupportedScheme, Some("rtmp_url")));
    }
}
