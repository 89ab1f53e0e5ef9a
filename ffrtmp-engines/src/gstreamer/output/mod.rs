//! Where encoded media goes: to a server, into a recording, into a playlist. Each output has a
//! thread and a queue of its own, so that one that hangs holds up nothing but itself.
//!
//! | file | subject |
//! |---|---|
//! | `groups.rs` | the queue: whole groups of pictures, and what is dropped of them |
//! | `carriage.rs` | which codecs which target carries |
//! | `line.rs` | the thread: connect, feed, lose, wait, come back |
//! | `pipeline.rs` | a pipeline that is fed from outside, and what its bus says |
//! | `rtmp.rs`, `flv.rs` | RTMP |
//! | `muxed.rs` | transport streams over SRT and UDP, RTSP, and recordings |
//! | `fragments.rs` | when the tracks of a growing MP4 begin |
//! | `hls.rs` | playlists and segments, which the libav engine packs |
//! | `fault.rs` | errors of elements as errors of ours, without secrets |
//!
//! What is not here: which track goes to which output, and what to do about one that failed
//! (`engine`).

mod carriage;
mod fault;
mod flv;
mod fragments;
mod groups;
mod hls;
mod line;
mod muxed;
mod pipeline;
mod rtmp;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::live::{Endpoint, LiveRules};
use ffrtmp_core::media::Container;
use gstreamer as gst;

use self::line::{Line, Shared};
use super::media::{Clock, Encoded, Events, Track};
use super::secrets::Guarded;
pub(super) use crate::libav::LiveSettings;

/// Where an output goes.
#[derive(Clone, Debug)]
pub(super) enum Target {
    /// To a server, or to whoever listens.
    Push(Endpoint),
    /// Into a file that does not exist yet.
    Record {
        path: PathBuf,
        container: Container,
        /// Whether it can be read while it is being written, and after a crash.
        grows: bool,
        /// Bytes that it may take.
        limit: Option<u64>,
    },
    /// Into playlists and segments: `path` is the playlist that names all others, next to a directory
    /// that does not exist yet.
    Hls { path: PathBuf, settings: LiveSettings },
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Push(endpoint) => endpoint.fmt(f),
            Self::Record { .. } => f.write_str("the recording"),
            Self::Hls { .. } => f.write_str("the playlist"),
        }
    }
}

/// How an output fares.
#[derive(Debug, Default)]
pub(super) struct OutputState {
    /// Running time at which the first media had left.
    pub(super) first_byte_at: Option<gst::ClockTime>,
    /// How often it was lost after it had been there.
    pub(super) losses: u64,
    pub(super) dropped_groups: u64,
    pub(super) dropped_frames: u64,
    /// Bytes that have left.
    pub(super) bytes: u64,
    /// Why it is away, or never took anything.
    pub(super) fault: Option<Error>,
    /// Why it has ended for good; nothing more goes there.
    pub(super) failed: Option<Error>,
}

/// One output of a live attempt.
///
/// # Contract
/// `push` never blocks. A push target that is lost or refuses is tried again until it has been away
/// for `rules.stall`; a recording or playlist fails at its first error. Dropped without `finish`, it
/// ends at once: a recording is left as it is, and the directory of a playlist is removed.
pub(super) struct Output {
    /// Place of each of its tracks in the list that `Encoded::track` counts in.
    places: Vec<usize>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
    secrets: Option<Guarded>,
}

impl Output {
    /// Begins to send these tracks, each with its place in the session's list; what is pushed of
    /// other tracks is left out.
    ///
    /// # Errors
    /// `container_mismatch` for a codec that the target cannot carry, `unsupported_scheme`,
    /// `engine_unavailable` for an element that is not installed, `invalid_field`.
    pub(super) fn start(
        target: Target,
        tracks: Vec<(usize, Track)>,
        rules: &LiveRules,
        clock: Clock,
        events: Events,
    ) -> Result<Self> {
        let (places, tracks): (Vec<_>, Vec<_>) = tracks.into_iter().unzip();
        carriage::check(&target, &tracks)?;
        let secrets = match &target {
            Target::Push(endpoint) => Some(Guarded::new(endpoint)),
            Target::Record { .. } | Target::Hls { .. } => None,
        };
        let shared = Arc::new(Shared::new(&tracks, rules, clock, events, target.to_string()));
        let line = Line::new(target, tracks, *rules, Arc::clone(&shared))?;
        let thread = std::thread::Builder::new().name("live-output".to_owned()).spawn(move || line.run());
        let thread = thread.map_err(|error| Error::new(Code::NoRoom, "no thread for an output").source(error))?;
        Ok(Self { places, shared, thread: Some(thread), secrets })
    }

    /// Takes a sample; of other outputs' tracks it takes no notice.
    pub(super) fn push(&self, encoded: &Encoded) {
        if let Some(track) = self.places.iter().position(|place| *place == encoded.track) {
            self.shared.push(track, encoded);
        }
    }

    /// How it fares now.
    pub(super) fn state(&self) -> OutputState {
        self.shared.state()
    }

    /// Lets it send what waits and end, without waiting for that; it takes nothing more.
    pub(super) fn begin_to_finish(&self) {
        self.shared.begin_to_finish();
    }

    /// Whether nothing more will happen to it.
    pub(super) fn is_done(&self) -> bool {
        self.shared.is_done()
    }

    /// Waits until it is done, or for so long.
    pub(super) fn wait(&self, time: Duration) {
        self.shared.await_end(time);
    }

    /// Sends what waits, ends the stream or completes the recording, and says how it fared. What is
    /// not done in time is given up. A push that failed, or to which nothing ever went, says so in its
    /// state.
    ///
    /// # Errors
    /// Why a recording had failed or could not be completed: `timeout` if it was too slow.
    pub(super) fn finish(mut self, timeout: Duration) -> Result<OutputState> {
        let is_done = self.shared.finish(timeout);
        self.stop();
        if self.secrets.is_some() {
            let mut state = self.shared.state();
            if state.first_byte_at.is_none() && state.fault.is_none() {
                state.fault = Some(self.untaken());
            }
            return Ok(state);
        }
        match self.shared.failure() {
            Some(error) => Err(error),
            None if !is_done => {
                let seconds = timeout.as_secs_f64();
                Err(Error::new(Code::Timeout, format!("the recording was not completed within {seconds:.0} s")))
            }
            None => Ok(self.shared.state()),
        }
    }

    fn untaken(&self) -> Error {
        Error::new(Code::Network, format!("{} took nothing", self.shared.name()))
            .field("output")
            .hint("check address and port, and that somebody is there to take it")
    }

    fn stop(&mut self) {
        self.shared.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread of an output panicked");
        }
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("tracks", &self.places).finish_non_exhaustive()
    }
}
