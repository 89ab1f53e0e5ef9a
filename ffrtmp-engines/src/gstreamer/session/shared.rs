//! What the threads of a session's pipeline and its owner share: room, tracks, times, faults.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ffrtmp_core::error::{Code, Error, Result};
use gstreamer as gst;

use super::super::media::{Encoded, Track, TrackKind};
use super::meter::{Arrivals, Histogram, LatencySummary};
use super::room::Room;

/// What takes the encoded media, with caps where they are new.
pub(super) type Taker = Box<dyn Fn(Encoded, Option<&gst::CapsRef>) + Send + Sync>;
/// Who is told that nothing comes any more, and why, if it is not the end.
pub(super) type Ended = Box<dyn Fn(Option<Error>) + Send + Sync>;

pub(super) struct Shared {
    pub(super) pictures: Room,
    pub(super) sound: Room,
    pub(super) taker: Taker,
    ended: Ended,
    pub(super) arrivals: Mutex<Arrivals>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    tracks: Vec<TrackState>,
    fault: Option<Error>,
}

struct TrackState {
    kind: TrackKind,
    name: String,
    caps: Option<gst::Caps>,
    has_ended: bool,
    latency: Histogram,
}

impl Shared {
    pub(super) fn new(rooms: (usize, usize), tracks: Vec<(TrackKind, String)>, taker: Taker, ended: Ended) -> Self {
        let tracks = tracks.into_iter().map(|(kind, name)| TrackState {
            kind,
            name,
            caps: None,
            has_ended: false,
            latency: Histogram::default(),
        });
        Self {
            pictures: Room::new(rooms.0),
            sound: Room::new(rooms.1),
            taker,
            ended,
            arrivals: Mutex::default(),
            state: Mutex::new(State { tracks: tracks.collect(), fault: None }),
            changed: Condvar::new(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn room(&self, kind: TrackKind) -> &Room {
        match kind {
            TrackKind::Video => &self.pictures,
            TrackKind::Audio => &self.sound,
        }
    }

    /// A sample comes out: its caps where they are new, and how long it was inside.
    /// Whether they are.
    pub(super) fn note(&self, track: usize, caps: &gst::CapsRef, inside: Option<Duration>) -> bool {
        let mut state = self.state();
        let Some(track) = state.tracks.get_mut(track) else { return false };
        if let Some(inside) = inside {
            track.latency.add(inside);
        }
        let is_new = track.caps.as_ref().is_none_or(|known| known.as_ref() != caps);
        if is_new {
            track.caps = Some(caps.to_owned());
            drop(state);
            self.changed.notify_all();
        }
        is_new
    }

    /// When the picture of this running time was pushed.
    pub(super) fn arrival(&self, time: gst::ClockTime) -> Option<Instant> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner).of(time.nseconds())
    }

    /// Every track with its caps; empty until all are known.
    pub(super) fn tracks(&self) -> Vec<Track> {
        let state = self.state();
        let known =
            |track: &TrackState| Some(Track { kind: track.kind, name: track.name.clone(), caps: track.caps.clone()? });
        state.tracks.iter().map(known).collect::<Option<_>>().unwrap_or_default()
    }

    pub(super) fn latency(&self) -> LatencySummary {
        let state = self.state();
        let pictures = state.tracks.iter().filter(|track| track.kind == TrackKind::Video);
        let mut all = Histogram::default();
        let renditions = pictures.map(|track| {
            all.merge(&track.latency);
            (track.name.clone(), track.latency.summary())
        });
        let renditions = renditions.collect();
        LatencySummary { all: all.summary(), renditions }
    }

    /// Something broke: the first report counts, the others follow from it.
    pub(super) fn fail(&self, fault: Error) {
        self.state().fault.get_or_insert(fault);
        self.changed.notify_all();
        self.pictures.close();
        self.sound.close();
        (self.ended)(self.fault());
    }

    /// What broke, for the one who asks first in full, for others in short.
    pub(super) fn fault(&self) -> Option<Error> {
        let state = self.state();
        state.fault.as_ref().map(|fault| {
            let again = Error::new(fault.code(), fault.message()).hint(fault.hint_text());
            match fault.field_name() {
                Some(field) => again.field(field),
                None => again,
            }
        })
    }

    pub(super) fn end_track(&self, track: usize) {
        let mut state = self.state();
        if let Some(track) = state.tracks.get_mut(track) {
            track.has_ended = true;
        }
        let have_all = state.tracks.iter().all(|track| track.has_ended);
        drop(state);
        self.changed.notify_all();
        if have_all {
            (self.ended)(None);
        }
    }

    /// Waits until every track has ended.
    ///
    /// # Errors
    /// What broke meanwhile; `timeout`.
    pub(super) fn wait_for_end(&self, timeout: Duration) -> Result<()> {
        let over = |state: &State| state.fault.is_some() || state.tracks.iter().all(|track| track.has_ended);
        if !self.wait(timeout, over) {
            return Err(Error::new(Code::Timeout, "the encoders did not finish in time")
                .hint("give it more time, or a faster preset"));
        }
        self.fault().map_or(Ok(()), Err)
    }

    /// Waits until the caps of every track are known; whether they are.
    pub(super) fn wait_for_tracks(&self, timeout: Duration) -> bool {
        self.wait(timeout, |state| state.fault.is_some() || state.tracks.iter().all(|track| track.caps.is_some()))
    }

    fn wait(&self, timeout: Duration, enough: impl Fn(&State) -> bool) -> bool {
        let until = Instant::now() + timeout;
        let mut state = self.state();
        while !enough(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}
