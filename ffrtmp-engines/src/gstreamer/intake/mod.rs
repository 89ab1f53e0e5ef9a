//! From a source to raw media with running times of the attempt, through losses of the source.
//!
//! | file | subject |
//! |---|---|
//! | `graph.rs` | the pipeline of one connection, for every kind of source |
//! | `tags.rs` | what RTMP tells of its streams, and sound that waits for pictures |
//! | `stamps.rs` | times of RTMP without the jumps of the source |
//! | `search.rs` | what a source has, before it is planned |
//! | `link.rs` | losses and new connections |
//! | `news.rs` | what is told of a source that changes, or is not kept up with |
//! | `played.rs` | segments of a playlist that came before a loss |
//! | `basin.rs` | where its threads leave what they decoded |
//! | `timeline.rs` | times of the source become running times |
//! | `slate.rs` | what there is while the source is away, or a kind of it does not come |
//! | `facts.rs` | what a live source is, for the plan |
//! | `fault.rs` | errors without secrets |
//!
//! What is not here: what is made of the media.

mod basin;
mod facts;
mod fault;
mod graph;
mod link;
mod news;
mod played;
mod search;
mod slate;
mod stamps;
mod tags;
mod timeline;

use std::collections::VecDeque;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::encoding::Deinterlace;
use ffrtmp_core::engine::MediaBounds;
use ffrtmp_core::error::{Error, Result};
use ffrtmp_core::live::{Endpoint, LiveEvent, LiveEventKind, LiveRules};
use ffrtmp_core::location::Scheme;
use gstreamer as gst;

use super::complaints;
use super::media::{Clock, Events, Raw, TrackKind};
use super::secrets::Guarded;
use basin::{Item, Taken};
use facts::Seen;
use graph::Connection;
pub(super) use graph::Generated;
use played::Played;
use slate::Slate;
use timeline::{Mapped, Timeline};

/// The slate begins after this much silence.
const HUSH: Duration = Duration::from_millis(500);
/// Holes in the sound behind a slate up to here are filled, in nanoseconds: encoders take no notice of
/// them, and sound would be early by as much.
const HOLES: u64 = 100_000_000;
/// What stands in for a kind begins anew after a hole of this length, in nanoseconds.
const LONG_AWAY: u64 = 1_000_000_000;
/// Where raw media comes from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    File(PathBuf),
    Generated(Generated),
    Live(Endpoint),
}

/// What is wanted of a source.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wants {
    /// Which of the streams of pictures, counted from 0.
    pub(super) video: Option<usize>,
    /// Which of the streams of sound.
    pub(super) audio: Option<usize>,
    pub(super) deinterlace: Deinterlace,
    /// Whether pictures must be turned upright.
    pub(super) turned: bool,
    /// Whether media comes at the pace of the clock, not as fast as it can.
    pub(super) paced: bool,
}

impl Wants {
    /// The first stream of each kind.
    pub(super) const fn everything() -> Self {
        Self { video: Some(0), audio: Some(0), deinterlace: Deinterlace::Auto, turned: false, paced: false }
    }
}

/// What comes next.
#[derive(Debug)]
pub(super) enum Next {
    Raw(Raw),
    /// Nothing in this time.
    Idle,
    /// The source is over.
    Ended,
}

/// What became of a source.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Losses {
    pub(super) count: u64,
    pub(super) away: Duration,
    /// Pictures that nobody took in time.
    pub(super) dropped: u64,
    /// Pictures whose time was over when they came.
    pub(super) late: u64,
}

/// A source. It connects, and connects again, while [`Intake::next`] is called.
pub(super) struct Intake {
    origin: Origin,
    wants: Wants,
    rules: LiveRules,
    bounds: MediaBounds,
    events: Events,
    link: Link,
    played: Played,
    opened: Instant,
    clock: Option<Clock>,
    timeline: Timeline,
    seen: [Option<Seen>; 2],
    slate: Slate,
    /// Kinds that were announced and did not come yet, by kind.
    stands_in: [bool; 2],
    /// Whether something was put in their place, or the slate in that of the source, since they came last.
    was_filled: [bool; 2],
    /// Kinds for which a new connection was made, until they come.
    renewed: [bool; 2],
    /// Complaints of the libraries before.
    complaints: u64,
    /// Raw media that waits for its time.
    held: Option<(u64, Raw)>,
    /// Raw media that was looked at before anybody wanted it.
    ahead: VecDeque<Raw>,
    last: Instant,
    lost: Option<Instant>,
    losses: Losses,
    backoff: Duration,
    /// What was dropped, and what was late, since it was said last; by kind.
    unsaid: [[u64; 2]; 2],
    told: Option<Instant>,
    /// Whether an address has something of a known length, once there was media of it.
    is_finite: bool,
    _secrets: Option<Guarded>,
}

enum Link {
    Up { connection: Connection, since: Instant },
    Away { until: Instant, after: Option<Error> },
    Over,
}

impl Intake {
    /// Begins to connect to a source.
    ///
    /// # Errors
    /// `engine_unavailable` for an element that is missing.
    pub(super) fn open(
        origin: Origin,
        wants: Wants,
        rules: &LiveRules,
        bounds: &MediaBounds,
        events: Events,
    ) -> Result<Self> {
        let now = Instant::now();
        let secrets = match &origin {
            Origin::Live(endpoint) => Some(Guarded::new(endpoint)),
            Origin::File(_) | Origin::Generated(_) => None,
        };
        let is_fetched = matches!(&origin, Origin::Live(endpoint) if endpoint.scheme() == Scheme::Http);
        let mut intake = Self {
            timeline: if matches!(origin, Origin::Live(_)) { Timeline::default() } else { Timeline::of_file() },
            _secrets: secrets,
            origin,
            wants: Wants { paced: wants.paced || is_fetched, ..wants },
            rules: *rules,
            bounds: *bounds,
            events,
            link: Link::Over,
            played: Played::default(),
            opened: now,
            clock: None,
            seen: [None, None],
            slate: Slate::default(),
            stands_in: [false; 2],
            was_filled: [false; 2],
            renewed: [false; 2],
            complaints: complaints::of_rtmp(),
            held: None,
            ahead: VecDeque::new(),
            last: now,
            lost: None,
            losses: Losses::default(),
            backoff: rules.backoff,
            unsaid: [[0; 2]; 2],
            told: None,
            is_finite: false,
        };
        intake.link = intake.up()?;
        Ok(intake)
    }

    /// Only these kinds are wanted from now on.
    pub(super) fn restrict(&mut self, video: bool, audio: bool) {
        self.wants.video = self.wants.video.filter(|_| video);
        self.wants.audio = self.wants.audio.filter(|_| audio);
        let wants = self.wants;
        self.ahead.retain(|raw| is_wanted(&wants, raw.kind));
        self.stands_in = [self.stands_in[0] && video, self.stands_in[1] && audio];
    }

    /// The clock of the attempt: it begins with the first media.
    pub(super) fn clock(&mut self) -> Clock {
        self.clock.get_or_insert_with(Clock::start).clone()
    }

    /// Caps of the raw media of a kind, as they are now.
    pub(super) fn caps(&self, kind: TrackKind) -> Option<gst::Caps> {
        self.seen[kind as usize].as_ref().map(|seen| seen.caps.clone())
    }

    pub(super) fn losses(&self) -> Losses {
        let since = self.lost.map_or(Duration::ZERO, |lost| lost.elapsed());
        Losses { away: self.losses.away + since, ..self.losses }
    }

    /// The next raw media, within this time, but none of a kind for which there is no room. Losses and new connections happen in here.
    ///
    /// # Errors
    /// `timeout` after the stall; what the source says if it was never there: `network`,
    /// `input_not_found`, `input_unreadable`, `input_invalid`, `input_unsupported`,
    /// `input_too_large`.
    pub(super) fn next(&mut self, full: [bool; 2], timeout: Duration) -> Result<Next> {
        let ahead = self.ahead.iter().position(|raw| !full[raw.kind as usize]);
        match ahead.and_then(|place| self.ahead.remove(place)) {
            Some(raw) => Ok(Next::Raw(raw)),
            None => self.fetch(full, timeout),
        }
    }

    fn fetch(&mut self, full: [bool; 2], timeout: Duration) -> Result<Next> {
        let until = Instant::now() + timeout;
        loop {
            if let Some(raw) = self.due(full) {
                return Ok(Next::Raw(raw));
            }
            let wait = self.next_look(until);
            match &mut self.link {
                _ if self.held.is_some() => thread::sleep(wait.saturating_duration_since(Instant::now())),
                Link::Over => return Ok(Next::Ended),
                Link::Away { until, .. } if *until <= Instant::now() => self.reconnect()?,
                Link::Away { .. } => thread::sleep(wait.saturating_duration_since(Instant::now())),
                Link::Up { connection, .. } => match connection.basin.take(full, wait) {
                    Taken::Item(item) => {
                        if let Some(raw) = self.accept(item)? {
                            return Ok(Next::Raw(raw));
                        }
                    }
                    Taken::Late(kind) => self.renew(kind)?,
                    Taken::Nothing => self.watch(),
                    Taken::Ended => self.end()?,
                    Taken::Failed(error) => self.fail(error)?,
                },
            }
            self.check_sense()?;
            self.check_stall()?;
            if Instant::now() >= until {
                return Ok(Next::Idle);
            }
        }
    }

    /// What waited for its time, or fills a silence.
    fn due(&mut self, full: [bool; 2]) -> Option<Raw> {
        let now = self.now();
        if self.held.as_ref().is_some_and(|(at, raw)| *at <= now && !full[raw.kind as usize]) {
            return self.held.take().map(|(_, raw)| raw);
        }
        if self.held.is_some() {
            return None;
        }
        let is_hushed = self.rules.slate && self.is_live() && self.last.elapsed() > HUSH;
        [TrackKind::Video, TrackKind::Audio].into_iter().find_map(|kind| {
            let stands_in = self.stands_in[kind as usize] && self.clock.is_some() && self.lost.is_none();
            let end = self.timeline.end_of(kind);
            let at = if stands_in && end > 0 && end + LONG_AWAY < now { self.timeline.end().max(end) } else { end };
            let due = (is_hushed || stands_in) && at <= now && is_wanted(&self.wants, kind) && !full[kind as usize];
            let (raw, length) = due.then(|| self.slate.piece(kind, at)).flatten()?;
            self.timeline.fill(kind, at + length);
            self.was_filled[kind as usize] = true;
            Some(raw)
        })
    }

    /// When something can change next.
    fn next_look(&self, until: Instant) -> Instant {
        let soon = Instant::now() + Duration::from_millis(10);
        let held = self.held.as_ref().map(|(at, _)| {
            Instant::now() + Duration::from_nanos(at.saturating_sub(self.now())).max(Duration::from_micros(200))
        });
        let away = match &self.link {
            Link::Away { until, .. } => Some(*until),
            Link::Up { .. } | Link::Over => None,
        };
        let slate = (self.rules.slate && self.is_live() || self.stands_in != [false; 2]).then_some(soon);
        [held, away, slate].into_iter().flatten().fold(until, Instant::min)
    }

    fn accept(&mut self, item: Item) -> Result<Option<Raw>> {
        if !is_wanted(&self.wants, item.kind) {
            self.note_uninvited(&item);
            return Ok(None);
        }
        if self.clock.is_none() && !self.is_streaming() {
            self.is_finite = matches!(&self.link, Link::Up { connection, .. } if connection.has_length());
        }
        self.recover();
        self.note_dropped();
        self.see(&item)?;
        self.note_arrival(item.kind);
        let Some((caps, mut buffer)) = item.sample.caps_owned().zip(item.sample.buffer_owned()) else {
            return Ok(None);
        };
        let length = match (item.duration, item.kind) {
            (0, TrackKind::Video) => slate::frame_length(&caps),
            (length, _) => length,
        };
        self.clock();
        let end = self.timeline.end_of(item.kind);
        let Mapped::At(at) = self.timeline.map(item.kind, item.time, length, self.now()) else { return Ok(None) };
        slate::stamp(&mut buffer, at, length);
        let raw = Raw { kind: item.kind, sample: slate::sample(&caps, &buffer) };
        if self.rules.slate {
            self.slate.remember(&raw);
        }
        if let Some(silence) = self.bridge(&raw, end, at) {
            self.ahead.push_back(raw);
            return Ok(Some(silence));
        }
        if self.wants.paced && at > self.now() {
            self.held = Some((at, raw));
            return Ok(None);
        }
        Ok(Some(raw))
    }

    /// Silence between what filled the place of sound and the sound itself.
    fn bridge(&mut self, raw: &Raw, end: u64, at: u64) -> Option<Raw> {
        let was_filled = std::mem::take(&mut self.was_filled[raw.kind as usize]);
        let is_hole = was_filled && raw.kind == TrackKind::Audio && (1..HOLES).contains(&at.saturating_sub(end));
        if is_hole { self.slate.silence_like(raw, end, at - end) } else { None }
    }

    /// Media is there; it may have been away.
    fn recover(&mut self) {
        self.last = Instant::now();
        self.backoff = self.rules.backoff;
        let Some(lost) = self.lost.take() else { return };
        self.losses.away += lost.elapsed();
        self.timeline.begin_stretch();
        self.tell(LiveEventKind::SourceBack, format!("the source is back after {:.1} s", lost.elapsed().as_secs_f64()));
    }

    /// Whether it is taken up again when it is lost: everything on the network that has no end of its own.
    fn is_live(&self) -> bool {
        matches!(self.origin, Origin::Live(_)) && !self.is_finite
    }

    /// Whether it flows by itself: a playlist over HTTP is fetched, as a file is read.
    fn is_streaming(&self) -> bool {
        matches!(&self.origin, Origin::Live(endpoint) if endpoint.scheme() != Scheme::Http)
    }

    fn now(&self) -> u64 {
        self.clock.as_ref().map_or(0, |clock| clock.running_time().nseconds())
    }

    fn tell(&self, kind: LiveEventKind, text: String) {
        (self.events)(LiveEvent::new(kind, text));
    }
}

fn is_wanted(wants: &Wants, kind: TrackKind) -> bool {
    match kind {
        TrackKind::Video => wants.video.is_some(),
        TrackKind::Audio => wants.audio.is_some(),
    }
}
