//! Times of FLV tags, in milliseconds, without the jumps of their source.
//!
//! The demuxer meets a step of two seconds in each stream by itself: it goes on where that stream was.
//! So a jump of the source moves sound and pictures apart by up to a frame, and a picture that is
//! shown for five seconds moves them apart by five. Here both move by the same amount where the source
//! jumps, a wrap of the 32 bits is no jump, and the demuxer gets steps that it takes as they are; what
//! was taken off them is added again behind it. Pure: the clock is an argument.

use std::collections::VecDeque;

use crate::gstreamer::media::TrackKind;

/// A step by more than this is not for the demuxer.
const STEP: i64 = 1_900;
/// A step that differs by more than this from what the clock went is a jump.
const TOLERANCE: i64 = 1_500;
/// Where times begin: what comes second may lie before what came first.
const BEGIN: u32 = 1_000;
/// The longest step that is taken for the usual one.
const USUAL: i64 = 200;
/// Steps that are remembered of a stream; the demuxer holds a few tags only.
const REMEMBERED: usize = 64;

/// Times of one connection.
#[derive(Debug, Default)]
pub(super) struct Stamps {
    /// Added to a time of the source; `None` before the first.
    offset: Option<u32>,
    /// The same before the last jump: the other kind comes with the old times for a while.
    before: Option<u32>,
    lanes: [Lane; 2],
}

#[derive(Debug, Default)]
struct Lane {
    last: Option<Last>,
    step: i64,
    /// Taken off from this time of the demuxer on.
    taken_off: VecDeque<(u32, u32)>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    /// Without jumps.
    time: u32,
    /// When it came.
    came: u64,
}

impl Stamps {
    /// The time that the demuxer gets for media of this time, which came at `now`.
    pub(super) fn of_media(&mut self, kind: TrackKind, time: u32, now: u64) -> u32 {
        let offset = *self.offset.get_or_insert(BEGIN.wrapping_sub(time));
        let lane = &self.lanes[kind as usize];
        let even = match lane.last {
            None => match time.wrapping_add(offset) {
                // So long before the other kind is no time at all for the demuxer.
                even if even.cast_signed() < 0 => {
                    let other = self.lanes[1 - kind as usize].last.map_or(BEGIN, |other| other.time);
                    self.jump(other, time)
                }
                even => even,
            },
            Some(last) => {
                let strangeness = |offset: &u32| strangeness(step(last.time, time.wrapping_add(*offset)), now, last);
                let best = [Some(offset), self.before].into_iter().flatten().min_by_key(strangeness);
                match best.filter(|best| strangeness(best) <= TOLERANCE) {
                    Some(best) => time.wrapping_add(best),
                    None => self.jump(last.time.wrapping_add(lane.step as u32), time),
                }
            }
        };
        self.lanes[kind as usize].take(even, now)
    }

    /// The time for what has none of its own, such as the headers of codecs.
    pub(super) fn of_others(&self) -> u32 {
        let fed = self.lanes.iter().filter_map(|lane| Some(lane.fed(lane.last?.time)));
        fed.max().unwrap_or(BEGIN)
    }

    /// What was taken off a time that came out of the demuxer.
    pub(super) fn taken_off(&self, kind: TrackKind, fed: u32) -> u32 {
        let mut steps = self.lanes[kind as usize].taken_off.iter().rev();
        steps.find(|(from, _)| step(*from, fed) >= 0).map_or(0, |(_, taken)| *taken)
    }

    /// Takes the times anew, so that this one comes out as `even`.
    fn jump(&mut self, even: u32, time: u32) -> u32 {
        self.before = self.offset.replace(even.wrapping_sub(time));
        even
    }
}

impl Lane {
    fn take(&mut self, even: u32, now: u64) -> u32 {
        let gone = self.last.map_or(0, |last| step(last.time, even));
        if (1..=USUAL).contains(&gone) {
            self.step = gone;
        }
        if gone.abs() >= STEP {
            let before = self.taken_off.back().map_or(0, |(_, taken)| *taken);
            let taken = before.wrapping_add((gone - self.step.max(1)) as u32);
            self.taken_off.push_back((even.wrapping_sub(taken), taken));
            if self.taken_off.len() > REMEMBERED {
                self.taken_off.pop_front();
            }
        }
        self.last = Some(Last { time: even, came: now });
        self.fed(even)
    }

    fn fed(&self, even: u32) -> u32 {
        even.wrapping_sub(self.taken_off.back().map_or(0, |(_, taken)| *taken))
    }
}

fn step(from: u32, to: u32) -> i64 {
    i64::from(to.wrapping_sub(from).cast_signed())
}

/// How far a step is from none, and from what the clock went.
fn strangeness(step: i64, now: u64, last: Last) -> i64 {
    let clock = i64::try_from(now.saturating_sub(last.came)).unwrap_or(i64::MAX);
    step.abs().min((step - clock).abs())
}

#[cfg(test)]
mod tests {
    use TrackKind::{Audio, Video};

    use super::*;

    /// What comes out behind the demuxer.
    fn through(stamps: &mut Stamps, kind: TrackKind, time: u32, now: u64) -> u32 {
        let fed = stamps.of_media(kind, time, now);
        fed.wrapping_add(stamps.taken_off(kind, fed))
    }

    #[test]
    fn both_kinds_stay_together_where_the_source_jumps_or_wraps() {
        for jump in [0, 60_000, 2_500, 0_u32.wrapping_sub(60_000)] {
            let mut stamps = Stamps::default();
            let begin = 0_u32.wrapping_sub(2_000);
            let mut fed = [None::<u32>; 2];
            for frame in 0..500_u32 {
                let (media, now) = (frame * 40, u64::from(frame) * 40);
                for (kind, ahead) in [(Audio, 200), (Audio, 220), (Video, 0)] {
                    let own = media + ahead;
                    let time = begin.wrapping_add(own).wrapping_add((own / 5_000).wrapping_mul(jump));
                    let even = stamps.of_media(kind, time, now);
                    let last = fed[kind as usize].replace(even);
                    assert!(last.is_none_or(|last| (1..200).contains(&step(last, even))), "{jump}: {last:?} {even}");
                    assert_eq!(even + stamps.taken_off(kind, even), BEGIN + own - 200, "{jump}: {kind:?} {frame}");
                }
            }
        }
    }

    #[test]
    fn a_long_picture_stays_where_its_sound_is() {
        let mut stamps = Stamps::default();
        let mut fed = None;
        for second in 0..60_u32 {
            let now = u64::from(second) * 1_000;
            assert_eq!(through(&mut stamps, Audio, 7_000 + second * 1_000, now), BEGIN + second * 1_000);
            if second % 5 == 0 {
                let even = stamps.of_media(Video, 7_000 + second * 1_000, now);
                assert!(fed.replace(even).is_none_or(|last| step(last, even) < 2_000), "{second}");
                assert_eq!(even + stamps.taken_off(Video, even), BEGIN + second * 1_000, "{second}");
            }
        }
    }

    #[test]
    fn kinds_with_clocks_of_their_own_begin_together() {
        let mut stamps = Stamps::default();
        for frame in 0..50_u32 {
            let now = u64::from(frame) * 40;
            let video = through(&mut stamps, Video, 50_000 + frame * 40, now);
            let audio = through(&mut stamps, Audio, 7 + frame * 40, now);
            assert_eq!((video, audio), (BEGIN + frame * 40, BEGIN + frame * 40), "{frame}");
        }
    }

    #[test]
    fn headers_come_with_the_media_around_them() {
        let mut stamps = Stamps::default();
        assert_eq!(stamps.of_others(), BEGIN);
        stamps.of_media(Video, 90_000, 0);
        stamps.of_media(Video, 90_040, 40);
        assert_eq!(stamps.of_others(), BEGIN + 40);
    }
}
