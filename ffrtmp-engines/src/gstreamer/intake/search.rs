//! The beginning of a source: what it has is not known before it gave something of everything.

use std::time::{Duration, Instant};

use ffrtmp_core::engine::Control;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::live::LiveEventKind;
use ffrtmp_core::media::MediaInfo;
use gstreamer as gst;

use super::facts::Seen;
use super::news::words_for;
use super::{Intake, Link, Next, Origin, facts, is_wanted, slate};
use crate::gstreamer::media::{Raw, TrackKind};

/// Time for the second kind of stream to be announced after the first one.
const SETTLING: Duration = Duration::from_secs(1);
/// The same where the source does not tell what it has.
const UNTOLD: Duration = Duration::from_secs(5);
/// Time for a stream that was announced to give its first media: a picture waits for a key frame.
const LONGEST_GROUP: Duration = Duration::from_secs(20);
/// The same for sound, for which nothing has to come before.
const SOUND_AWAITED: Duration = Duration::from_secs(5);
/// A wait for a kind is told after this time.
const TOLD_AFTER: Duration = Duration::from_secs(3);
/// Kinds that begin so far apart begin together.
const TOGETHER: u64 = 100_000_000;
/// Media that is kept where something stands in for the other kind, in nanoseconds.
const MOST_KEPT: u64 = 1_000_000_000;
/// Pictures of a live source that are kept in search of its sound.
const PICTURES_AHEAD: usize = 25;
/// Bytes of raw media that are read of a file in search of the second kind.
const MOST_AHEAD: usize = 128 << 20;

impl Intake {
    /// Waits until it is known what the source has; a generated one and a file have what was wanted.
    ///
    /// # Errors
    /// As [`Self::next`]; `canceled`; `input_invalid` if the source ends before.
    pub(in crate::gstreamer) fn look(&mut self, control: &Control) -> Result<Option<MediaInfo>> {
        let mut first: Option<Instant> = None;
        let mut is_told = false;
        while !self.is_known(first) {
            control.checkpoint()?;
            if !is_told && first.is_some_and(|first| first.elapsed() > TOLD_AFTER) {
                is_told = true;
                self.tell_wait();
            }
            if control.is_finishing() {
                return Err(Error::new(Code::Canceled, "it was ended before the source sent anything"));
            }
            match self.fetch([false; 2], Duration::from_millis(20))? {
                Next::Raw(raw) => {
                    first.get_or_insert_with(Instant::now);
                    self.keep(raw);
                }
                Next::Idle => {}
                Next::Ended if first.is_some() => break,
                Next::Ended => return Err(Error::new(Code::InputInvalid, "the source has no media").field("input")),
            }
        }
        self.begin_together();
        self.stand_in();
        let Origin::Live(endpoint) = &self.origin else { return Ok(None) };
        self.tell_missing();
        Ok(Some(facts::describe(endpoint, self.seen[0].as_ref(), self.seen[1].as_ref())))
    }

    fn is_known(&self, first: Option<Instant>) -> bool {
        let Some(first) = first else { return false };
        let wanted = [self.wants.video, self.wants.audio];
        if self.seen.iter().zip(wanted).all(|(seen, wanted)| seen.is_some() || wanted.is_none()) {
            return true;
        }
        let settled = matches!(&self.link, Link::Up { connection: it, .. } if it.basin.is_settled());
        let is_away = matches!(self.link, Link::Away { .. });
        let is_awaited = is_away || self.is_missing(TrackKind::Video) || self.is_missing(TrackKind::Audio);
        if settled && !is_awaited {
            return true;
        }
        match self.origin {
            Origin::Live(_) if is_awaited => first.elapsed() > self.longest_wait(is_away),
            Origin::Live(_) => first.elapsed() > if self.is_introduced() { SETTLING } else { UNTOLD },
            Origin::File(_) | Origin::Generated(_) => self.ahead.iter().map(size).sum::<usize>() > MOST_AHEAD,
        }
    }

    fn longest_wait(&self, is_away: bool) -> Duration {
        let is_sound = !is_away && !self.is_missing(TrackKind::Video);
        if is_sound { SOUND_AWAITED } else { LONGEST_GROUP.max(self.rules.connect) }
    }

    fn is_introduced(&self) -> bool {
        matches!(&self.link, Link::Up { connection: it, .. } if it.basin.is_introduced())
    }

    /// Whether the source announced a kind of which nothing came yet.
    fn is_missing(&self, kind: TrackKind) -> bool {
        let Link::Up { connection, .. } = &self.link else { return false };
        is_wanted(&self.wants, kind) && self.seen[kind as usize].is_none() && connection.basin.is_open(kind)
    }

    fn keep(&mut self, raw: Raw) {
        // What fills a hole comes after what ends it.
        let is_later = |kept: &Raw| kept.kind == raw.kind && time(kept) > time(&raw);
        let place = self.ahead.iter().position(is_later).unwrap_or(self.ahead.len());
        self.ahead.insert(place, raw);
        let pictures = || self.ahead.iter().filter(|raw| raw.kind == TrackKind::Video);
        if matches!(self.origin, Origin::Live(_)) && pictures().count() > PICTURES_AHEAD {
            let oldest = self.ahead.iter().position(|raw| raw.kind == TrackKind::Video);
            oldest.and_then(|oldest| self.ahead.remove(oldest));
        }
    }

    /// A live source that was joined in the middle of a group begins where both of its kinds are there.
    fn begin_together(&mut self) {
        let begin_of = |kind| self.ahead.iter().filter(|raw| raw.kind == kind).find_map(time);
        let (video, audio) = (begin_of(TrackKind::Video), begin_of(TrackKind::Audio));
        let (Some(video), Some(audio), Origin::Live(_)) = (video, audio, &self.origin) else { return };
        if video.abs_diff(audio) >= TOGETHER {
            self.begin_at(video.max(audio));
        }
    }

    fn begin_at(&mut self, begin: u64) {
        let ahead = std::mem::take(&mut self.ahead);
        self.ahead = ahead.into_iter().filter_map(|raw| earlier(raw, begin)).collect();
        self.held = self.held.take().and_then(|(at, raw)| Some((at.checked_sub(begin)?, earlier(raw, begin)?)));
        self.timeline.begin_at(begin);
        if let Some(clock) = &mut self.clock {
            clock.base += gst::ClockTime::from_nseconds(begin);
        }
    }

    /// What was announced and does not come is silence, or a black picture, until it does.
    fn stand_in(&mut self) {
        for kind in [TrackKind::Video, TrackKind::Audio] {
            let Link::Up { connection, .. } = &self.link else { return };
            if !matches!(self.origin, Origin::Live(_)) || !self.is_missing(kind) {
                continue;
            }
            let (shape, codec) = (connection.basin.shape(), connection.basin.codec(kind));
            let caps = match kind {
                TrackKind::Video => shape.and_then(|shape| self.slate.stand_in_for_pictures(shape)),
                TrackKind::Audio => Some(self.slate.stand_in_for_sound()),
            };
            let Some(caps) = caps.filter(|caps| facts::check(caps, &self.bounds).is_ok()) else { continue };
            self.seen[kind as usize] = Some(Seen { caps, codec });
            self.stands_in[kind as usize] = true;
            self.begin_with_what_is_kept();
            let [what, instead] = match kind {
                TrackKind::Video => ["pictures", "they are black"],
                TrackKind::Audio => ["sound", "it is silent"],
            };
            let text = format!("the source announced {what} and sends none yet: {instead} until it does");
            self.tell(LiveEventKind::SourceChanged, text);
        }
    }

    /// What was dropped in search of the other kind is not a part of the output.
    fn begin_with_what_is_kept(&mut self) {
        if let Some(begin) = self.ahead.iter().filter_map(time).min() {
            self.begin_at(begin.max(self.now().saturating_sub(MOST_KEPT)));
        }
    }

    fn tell_wait(&self) {
        for kind in [TrackKind::Video, TrackKind::Audio] {
            if self.is_missing(kind) {
                let (what, longest) = (words_for(kind), self.longest_wait(false).as_secs());
                let text =
                    format!("the source announced {what} and none can be decoded yet: waiting up to {longest} s");
                self.tell(LiveEventKind::SourceChanged, text);
            }
        }
    }

    fn tell_missing(&self) {
        for kind in [TrackKind::Video, TrackKind::Audio] {
            if self.is_missing(kind) {
                let what = words_for(kind);
                let text = format!("the source announced {what} and sent none that can be decoded: left out");
                self.tell(LiveEventKind::SourceChanged, text);
            }
        }
    }
}

fn time(raw: &Raw) -> Option<u64> {
    raw.sample.buffer()?.pts().map(gst::ClockTime::nseconds)
}

/// The same with a time that counts from `begin`; nothing if it lies before.
fn earlier(raw: Raw, begin: u64) -> Option<Raw> {
    let at = time(&raw)?.checked_sub(begin)?;
    let (caps, mut buffer) = (raw.sample.caps_owned()?, raw.sample.buffer_owned()?);
    let length = buffer.duration().map_or(0, gst::ClockTime::nseconds);
    slate::stamp(&mut buffer, at, length);
    Some(Raw { kind: raw.kind, sample: slate::sample(&caps, &buffer) })
}

fn size(raw: &Raw) -> usize {
    raw.sample.buffer().map_or(0, gst::BufferRef::size)
}
