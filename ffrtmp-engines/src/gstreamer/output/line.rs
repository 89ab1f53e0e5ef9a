//! The thread of an output: it connects, feeds, watches for faults, waits longer after each try that
//! fails, and comes back at a key frame.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::live::{LiveEvent, LiveEventKind, LiveRules};
use gstreamer as gst;

use super::groups::{Dropped, Groups, Unit};
use super::{OutputState, Target, hls, muxed, rtmp};
use crate::gstreamer::media::{Clock, Encoded, Events, Track, TrackKind};

/// Drops are told at once, and then not more often than this.
const TELL_DROPS: Duration = Duration::from_secs(10);

/// A way for media to leave, until it breaks.
pub(super) trait Link: Send {
    /// Whether it takes a unit now without waiting; asked again after [`Shared::wake`].
    fn has_room(&self) -> bool;

    /// Takes a unit of a track.
    fn send(&mut self, track: usize, is_key: bool, buffer: &gst::Buffer) -> Result<()>;

    /// Nothing more comes; [`Shared::ended`] is called once all has left.
    fn end(&mut self) -> Result<()>;

    /// Bytes that have left.
    fn bytes(&self) -> u64;

    /// Whether others come for the media, so that it is no fault if nobody does.
    fn is_listener(&self) -> bool {
        false
    }
}

/// What the thread, the pipelines and the owner of an output share.
pub(super) struct Shared {
    inner: Mutex<Inner>,
    changed: Condvar,
    clock: Clock,
    events: Events,
    /// Its name in events and errors.
    name: String,
}

struct Inner {
    queue: Groups<gst::Buffer>,
    told: Dropped,
    told_at: Option<Instant>,
    is_finishing: bool,
    is_stopping: bool,
    /// Whether the thread has ended.
    is_done: bool,
    /// Of the link that is open now.
    link: LinkState,
    first_byte_at: Option<gst::ClockTime>,
    losses: u64,
    /// Bytes of links that are gone.
    bytes: u64,
    /// Why it is away, or was never there.
    fault: Option<Failure>,
    failed: Option<Failure>,
}

#[derive(Default)]
struct LinkState {
    fault: Option<Error>,
    /// Whether media passes.
    is_open: bool,
    has_ended: bool,
    bytes: u64,
}

/// An error that may be told several times.
#[derive(Clone)]
struct Failure {
    code: Code,
    message: String,
    hint: String,
    field: Option<String>,
}

impl Failure {
    fn of(error: &Error) -> Self {
        let field = error.field_name().map(str::to_owned);
        Self { code: error.code(), message: error.to_string(), hint: error.hint_text().to_owned(), field }
    }

    fn error(&self) -> Error {
        let error = Error::new(self.code, &self.message).hint(&self.hint);
        match &self.field {
            Some(field) => error.field(field),
            None => error,
        }
    }
}

impl Shared {
    pub(super) fn new(tracks: &[Track], rules: &LiveRules, clock: Clock, events: Events, name: String) -> Self {
        let inner = Inner {
            queue: Groups::new(tracks.iter().map(|track| track.kind == TrackKind::Video), rules.queue),
            told: Dropped::default(),
            told_at: None,
            is_finishing: false,
            is_stopping: false,
            is_done: false,
            link: LinkState::default(),
            first_byte_at: None,
            losses: 0,
            bytes: 0,
            fault: None,
            failed: None,
        };
        Self { inner: Mutex::new(inner), changed: Condvar::new(), clock, events, name }
    }

    pub(super) fn push(&self, track: usize, encoded: &Encoded) {
        let buffer = encoded.buffer.clone();
        let time = buffer.pts().or(buffer.dts()).map_or(Duration::ZERO, Duration::from);
        let mut inner = self.lock();
        if inner.is_done || inner.is_finishing {
            return;
        }
        inner.queue.push(Unit { track, is_key: encoded.is_key(), time, value: buffer });
        let news = inner.drops_to_tell();
        drop(inner);
        self.changed.notify_all();
        if let Some(Dropped { groups, frames }) = news {
            let text = format!("{} does not keep up: {groups} groups with {frames} pictures dropped so far", self.name);
            self.tell(LiveEventKind::Dropped, text);
        }
    }

    pub(super) fn state(&self) -> OutputState {
        let inner = self.lock();
        let Dropped { groups, frames } = inner.queue.dropped();
        OutputState {
            first_byte_at: inner.first_byte_at,
            losses: inner.losses,
            dropped_groups: groups,
            dropped_frames: frames,
            bytes: inner.bytes + inner.link.bytes,
            fault: inner.fault.as_ref().map(Failure::error),
            failed: inner.failed.as_ref().map(Failure::error),
        }
    }

    /// Has the thread send what is left.
    pub(super) fn begin_to_finish(&self) {
        self.lock().is_finishing = true;
        self.changed.notify_all();
    }

    /// Has the thread send what is left; returns when it has, or when time is up, and whether it has.
    pub(super) fn finish(&self, timeout: Duration) -> bool {
        self.begin_to_finish();
        self.await_end(timeout)
    }

    pub(super) fn is_done(&self) -> bool {
        self.lock().is_done
    }

    /// Whether the thread has ended within this time.
    pub(super) fn await_end(&self, timeout: Duration) -> bool {
        let inner = self.lock();
        let ended = self.changed.wait_timeout_while(inner, timeout, |inner| !inner.is_done);
        let (inner, _) = ended.unwrap_or_else(PoisonError::into_inner);
        inner.is_done
    }

    /// Has the thread end at once.
    pub(super) fn stop(&self) {
        self.lock().is_stopping = true;
        self.changed.notify_all();
    }

    /// Why it has ended for good.
    pub(super) fn failure(&self) -> Option<Error> {
        let inner = self.lock();
        inner.failed.as_ref().map(Failure::error)
    }

    /// Looks again at what may have changed: called by links from any thread.
    pub(super) fn wake(&self) {
        // A change between a look and the wait that follows must not be missed.
        drop(self.lock());
        self.changed.notify_all();
    }

    /// The link broke.
    pub(super) fn broke(&self, error: Error) {
        self.lock().link.fault.get_or_insert(error);
        self.changed.notify_all();
    }

    /// Everything has left.
    pub(super) fn ended(&self) {
        self.lock().link.has_ended = true;
        self.changed.notify_all();
    }

    /// Media has passed: `bytes` through this link so far.
    pub(super) fn passed(&self, bytes: u64) {
        let mut inner = self.lock();
        inner.link.bytes = bytes;
        if !inner.link.is_open {
            inner.link.is_open = true;
            drop(inner);
            self.changed.notify_all();
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    fn tell(&self, kind: LiveEventKind, text: String) {
        (self.events)(LiveEvent::new(kind, text));
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn drops_to_tell(&mut self) -> Option<Dropped> {
        let dropped = self.queue.dropped();
        if dropped.groups == self.told.groups || self.told_at.is_some_and(|at| at.elapsed() < TELL_DROPS) {
            return None;
        }
        self.told = dropped;
        self.told_at = Some(Instant::now());
        Some(dropped)
    }
}

/// The thread's own part.
pub(super) struct Line {
    target: Target,
    tracks: Vec<Track>,
    rules: LiveRules,
    shared: Arc<Shared>,
}

/// How the life of a link ended.
enum End {
    /// All is sent, or it shall stop.
    Over,
    Broken(Error),
}

impl Line {
    /// # Errors
    /// `engine_unavailable` for elements that are not installed.
    pub(super) fn new(target: Target, tracks: Vec<Track>, rules: LiveRules, shared: Arc<Shared>) -> Result<Self> {
        let line = Self { target, tracks, rules, shared };
        match &line.target {
            Target::Push(endpoint) if rtmp::is_meant(endpoint) => rtmp::check(endpoint, &line.rules)?,
            Target::Push(endpoint) => muxed::check_push(endpoint)?,
            Target::Record { container, .. } => muxed::check_record(*container)?,
            Target::Hls { .. } => {}
        }
        Ok(line)
    }

    pub(super) fn run(self) {
        let mut away_since = Instant::now();
        let mut wait = self.rules.backoff;
        loop {
            let (end, was_open) = self.live_and_end();
            let End::Broken(error) = end else { break };
            if was_open {
                (away_since, wait) = (Instant::now(), self.rules.backoff);
            }
            let is_final = !self.may_return() || away_since.elapsed() + wait > self.rules.stall;
            self.lost(&error, was_open, is_final);
            if is_final || self.rest(wait) {
                break;
            }
            wait = (wait * 2).min(self.rules.most_backoff);
        }
        self.shared.lock().is_done = true;
        self.shared.changed.notify_all();
    }

    fn may_return(&self) -> bool {
        matches!(self.target, Target::Push(_))
    }

    /// One link from its making to its end, and whether media passed.
    fn live_and_end(&self) -> (End, bool) {
        {
            let mut inner = self.shared.lock();
            inner.bytes += std::mem::take(&mut inner.link).bytes;
        }
        let end = match self.open() {
            Ok(mut link) => {
                let end = self.serve(link.as_mut()).unwrap_or_else(End::Broken);
                self.shared.passed_finally(link.bytes());
                drop(link);
                end
            }
            Err(error) => End::Broken(error),
        };
        let was_open = self.shared.lock().link.is_open;
        (end, was_open)
    }

    fn open(&self) -> Result<Box<dyn Link>> {
        match &self.target {
            Target::Push(endpoint) if rtmp::is_meant(endpoint) => {
                rtmp::open(endpoint, &self.tracks, &self.rules, &self.shared)
            }
            Target::Push(endpoint) => muxed::push(endpoint, &self.tracks, &self.rules, &self.shared),
            Target::Hls { path, settings } => hls::open(path, *settings, &self.tracks, &self.shared),
            Target::Record { path, container, grows, .. } => {
                muxed::record(path, *container, *grows, &self.tracks, &self.shared)
            }
        }
    }

    fn serve(&self, link: &mut dyn Link) -> Result<End> {
        let (mut is_open, mut is_ending) = (false, false);
        // Bytes that had passed when last something had, or when nothing waited to.
        let (mut seen, mut since) = (0, Instant::now());
        loop {
            let mut inner = self.shared.lock();
            if inner.link.is_open && !is_open {
                is_open = true;
                drop(inner);
                self.opened();
                continue;
            }
            if inner.is_stopping {
                return Ok(End::Over);
            }
            // What breaks ends its stream as well.
            if let Some(error) = inner.link.fault.take() {
                return Ok(End::Broken(error));
            }
            if is_ending && inner.link.has_ended {
                return Ok(End::Over);
            }
            let bytes = inner.link.bytes;
            self.check_limit(bytes)?;
            let unit = if !is_ending && link.has_room() { inner.queue.pop() } else { None };
            if let Some(Unit { track, is_key, value, .. }) = unit {
                drop(inner);
                link.send(track, is_key, &value)?;
                continue;
            }
            if inner.is_finishing && !is_ending && inner.queue.is_empty() {
                is_ending = true;
                drop(inner);
                link.end()?;
                continue;
            }
            let is_waiting = !inner.queue.is_empty() || (!is_open && !link.is_listener());
            if bytes != seen || !is_waiting {
                (seen, since) = (bytes, Instant::now());
            }
            if !is_waiting || is_ending {
                drop(self.shared.changed.wait(inner));
                continue;
            }
            let Some(left) = self.rules.connect.checked_sub(since.elapsed()) else {
                return Ok(End::Broken(self.silent()));
            };
            drop(self.shared.changed.wait_timeout(inner, left));
        }
    }

    fn check_limit(&self, bytes: u64) -> Result<()> {
        match &self.target {
            Target::Record { limit: Some(limit), .. } if bytes > *limit => Err(over_limit()),
            _ => Ok(()),
        }
    }

    fn silent(&self) -> Error {
        let seconds = self.rules.connect.as_secs_f64();
        Error::new(Code::Network, format!("{} took nothing for {seconds:.0} s", self.shared.name))
            .field("output")
            .hint("check that the server runs and that the network carries the bit rate")
    }

    fn opened(&self) {
        let mut inner = self.shared.lock();
        inner.fault = None;
        let is_first = inner.first_byte_at.is_none();
        if is_first {
            inner.first_byte_at = Some(self.shared.clock.running_time());
        }
        drop(inner);
        let name = &self.shared.name;
        if is_first {
            self.shared.tell(LiveEventKind::OutputStarted, name.clone());
        } else {
            self.shared.tell(LiveEventKind::OutputBack, name.clone());
        }
    }

    fn lost(&self, error: &Error, was_open: bool, is_final: bool) {
        let mut inner = self.shared.lock();
        inner.losses += u64::from(was_open);
        inner.queue.restart();
        inner.fault = Some(Failure::of(error));
        if is_final {
            inner.failed = Some(Failure::of(error));
        }
        drop(inner);
        self.shared.tell(LiveEventKind::OutputLost, error.to_string());
    }

    /// Waits for the next try; whether it shall end instead.
    fn rest(&self, wait: Duration) -> bool {
        let inner = self.shared.lock();
        let is_over = |inner: &mut Inner| !inner.is_stopping && !inner.is_finishing;
        let waited = self.shared.changed.wait_timeout_while(inner, wait, is_over);
        let (inner, _) = waited.unwrap_or_else(PoisonError::into_inner);
        inner.is_stopping || inner.is_finishing
    }
}

impl Shared {
    fn passed_finally(&self, bytes: u64) {
        self.lock().link.bytes = bytes;
    }
}

fn over_limit() -> Error {
    Error::new(Code::DiskQuotaExceeded, "the output grew beyond its size limit").field("max_disk_mb")
}
