//! From the times of a source, which begin anew with each connection and may jump, to running times
//! of the attempt, which never do. Pure: the clock is an argument.

use crate::gstreamer::media::TrackKind;

const MILLI: u64 = 1_000_000;
/// A jump of the source's time by more than this begins a new stretch.
const JUMP: u64 = 1_000 * MILLI;
/// A step ahead by more than this begins one too, if the clock did not go that far.
const STEP: u64 = 250 * MILLI;
/// After a jump of one kind the other comes with the old times for so long.
const HANDOVER: u64 = 2_000 * MILLI;
/// Pieces of a kind in a row that are too late before its times are taken anew.
const MOST_LATE: u32 = 3;

/// Maps times of the source, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// Times stay what they are.
    is_file: bool,
    /// Added to a time of the source; `None` before the first of a stretch.
    offset: Option<i128>,
    /// The offset before the last jump, and until when it is tried.
    before: Option<(i128, u64)>,
    /// How far media of this stretch ran ahead of the clock at most.
    lead: i128,
    lanes: [Lane; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct Lane {
    /// Where the next may begin.
    free: u64,
    /// Where it ends so far.
    end: u64,
    /// Where it was filled with what did not come from the source.
    filled: u64,
    /// Pieces in a row that were too late.
    late: u32,
    /// All that were, since it was asked last.
    lost: u64,
}

/// What becomes of a piece of media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapped {
    /// It is presented then.
    At(u64),
    /// It lies before what was presented already.
    Late,
}

impl Timeline {
    /// A timeline that takes over the source's own times, for files.
    pub(super) fn of_file() -> Self {
        Self { is_file: true, offset: Some(0), ..Self::default() }
    }

    /// What comes next has no relation to what was before: it begins now, behind everything.
    pub(super) fn begin_stretch(&mut self) {
        self.offset = None;
        self.before = None;
    }

    /// Running times count from this one.
    pub(super) fn begin_at(&mut self, begin: u64) {
        self.offset = self.offset.map(|offset| offset - i128::from(begin));
        self.before = None;
        for lane in &mut self.lanes {
            for bound in [&mut lane.free, &mut lane.end, &mut lane.filled] {
                *bound = bound.saturating_sub(begin);
            }
        }
    }

    /// Where everything so far ends.
    pub(super) fn end(&self) -> u64 {
        self.lanes[0].end.max(self.lanes[1].end)
    }

    /// Where a kind ends so far.
    pub(super) fn end_of(&self, kind: TrackKind) -> u64 {
        self.lanes[kind as usize].end
    }

    /// The running time of media with this time of the source, which came at `now`.
    pub(super) fn map(&mut self, kind: TrackKind, time: u64, duration: u64, now: u64) -> Mapped {
        let mapped = self.place(kind, time, now).unwrap_or_else(|| self.anchor(kind, time, now));
        let lane = &mut self.lanes[kind as usize];
        if let Some(at) = u64::try_from(mapped).ok().filter(|at| *at >= lane.free) {
            return self.take(kind, at, duration, now);
        }
        let catches_up = mapped < i128::from(lane.filled);
        lane.late += 1;
        if self.is_file || catches_up || lane.late < MOST_LATE {
            lane.lost += 1;
            return Mapped::Late;
        }
        match u64::try_from(self.anchor(kind, time, now)) {
            Ok(at) => self.take(kind, at, duration, now),
            Err(_) => Mapped::Late,
        }
    }

    /// Something was presented that did not come from the source.
    pub(super) fn fill(&mut self, kind: TrackKind, until: u64) {
        let lane = &mut self.lanes[kind as usize];
        for bound in [&mut lane.end, &mut lane.free, &mut lane.filled] {
            *bound = until.max(*bound);
        }
    }

    /// Pieces of each kind that were too late since the last call.
    pub(super) fn take_lost(&mut self) -> [u64; 2] {
        [0, 1].map(|kind| std::mem::take(&mut self.lanes[kind].lost))
    }

    fn take(&mut self, kind: TrackKind, at: u64, duration: u64, now: u64) -> Mapped {
        let lane = &mut self.lanes[kind as usize];
        lane.late = 0;
        lane.free = at + 1;
        lane.end = lane.end.max(at + duration);
        self.lead = self.lead.max(i128::from(at) - i128::from(now));
        Mapped::At(at)
    }

    /// Where it goes on, by the times as they are now or as they were before the last jump.
    fn place(&self, kind: TrackKind, time: u64, now: u64) -> Option<i128> {
        let lane = &self.lanes[kind as usize];
        let by = |offset: i128| Some(i128::from(time) + offset).filter(|mapped| !self.is_jump(*mapped, lane, now));
        let current = by(self.offset?);
        let before = self.before.filter(|(_, until)| now < *until).and_then(|(offset, _)| by(offset));
        let gap = |mapped: i128| mapped.abs_diff(i128::from(lane.end));
        match (current, before) {
            (Some(current), Some(before)) if lane.end > 0 && gap(before) < gap(current) => Some(before),
            (current, before) => current.or(before),
        }
    }

    /// Takes the times anew: what was interrupted only by a jump goes on where it was.
    fn anchor(&mut self, kind: TrackKind, time: u64, now: u64) -> i128 {
        let lane = &self.lanes[kind as usize];
        let own = lane.end.max(lane.free);
        let goes_on = self.offset.is_some() && own > 0 && now < own + JUMP;
        let at = i128::from(if goes_on { own } else { now.max(self.end()) });
        match self.offset {
            Some(offset) => self.before = Some((offset, now + HANDOVER)),
            None => self.lead = at - i128::from(now),
        }
        self.offset = Some(at - i128::from(time));
        at
    }

    fn is_jump(&self, mapped: i128, lane: &Lane, now: u64) -> bool {
        let (end, clock) = (i128::from(lane.end), i128::from(now));
        let ahead = clock.max(i128::from(self.end())) + i128::from(JUMP);
        let may = (clock + self.lead).max(i128::from(self.end())) + i128::from(STEP);
        // Behind a slate the source catches up by itself.
        let is_exact = !self.is_file && mapped >= i128::from(lane.filled);
        let back = i128::from(if is_exact { STEP } else { JUMP });
        mapped > ahead || end > 0 && (mapped < end - back || !self.is_file && mapped > may)
    }
}

#[cfg(test)]
mod tests {
    use TrackKind::{Audio, Video};

    use super::*;

    const FRAME: u64 = 40 * MILLI;

    fn map(timeline: &mut Timeline, kind: TrackKind, time: u64, now: u64) -> Option<u64> {
        match timeline.map(kind, time * MILLI, FRAME, now * MILLI) {
            Mapped::At(at) => Some(at / MILLI),
            Mapped::Late => None,
        }
    }

    #[test]
    fn the_first_comes_now_and_the_others_keep_their_distance() {
        let mut line = Timeline::default();
        for (kind, time, now, at) in [
            (Video, 90_000, 5, 5),
            (Audio, 90_010, 6, 15),
            (Video, 90_040, 7, 45),
            (Video, 90_080, 700, 85),
            (Audio, 90_050, 701, 55),
        ] {
            assert_eq!(map(&mut line, kind, time, now), Some(at), "{kind:?} {time}");
        }
    }

    #[test]
    fn a_new_connection_goes_on_behind_the_old_one_and_with_the_clock() {
        let mut line = Timeline::default();
        map(&mut line, Video, 1_000, 0);
        map(&mut line, Audio, 1_020, 0);
        line.begin_stretch();
        assert_eq!(map(&mut line, Video, 0, 3_000), Some(3_000), "with the clock");
        assert_eq!(map(&mut line, Audio, 0, 3_001), Some(3_000), "together with the picture");
        line.begin_stretch();
        assert_eq!(map(&mut line, Video, 0, 3_010), Some(3_040), "a frame behind the last");
    }

    #[test]
    fn jumps_of_the_source_do_not_show() {
        let mut line = Timeline::default();
        map(&mut line, Video, 10_000, 0);
        assert_eq!(map(&mut line, Video, 40, 41), Some(40), "back to the beginning");
        assert_eq!(map(&mut line, Audio, 60, 42), Some(60), "for both kinds");
        assert_eq!(map(&mut line, Video, 900_000, 90), Some(80), "forward by minutes");
        assert_eq!(map(&mut line, Video, 899_990, 91), None, "what comes too late is dropped");
        assert_eq!(map(&mut line, Video, 905_000, 5_100), Some(5_080), "a gap of the source is kept");
        assert_eq!(line.take_lost(), [1, 0]);
    }

    /// Every five seconds the source's time jumps; both kinds go on evenly and together, though the
    /// sound comes 200 ms before its picture and so jumps first.
    #[test]
    fn repeated_jumps_add_nothing_up() {
        for jump in [60_000, 460, -460, -60_000] {
            let mut line = Timeline::default();
            let time =
                |media: u64| u64::try_from(9_000_000 + i64::try_from(media / 5_000).unwrap() * jump).unwrap() + media;
            for frame in 0..3_000_u64 {
                let (video, now) = (frame * 40, frame * 40);
                for sound in [video, video + 20] {
                    let got = line.map(Audio, time(sound + 200) * MILLI, 20 * MILLI, now * MILLI);
                    assert_eq!(got, Mapped::At(sound * MILLI), "{jump}: sound");
                }
                if frame >= 5 {
                    assert_eq!(map(&mut line, Video, time(video), now), Some(video - 200), "{jump}: picture");
                }
            }
            assert_eq!(line.take_lost(), [0, 0], "{jump}");
        }
    }

    #[test]
    fn a_step_back_costs_little_and_is_counted() {
        let mut line = Timeline::default();
        for frame in 0..50 {
            map(&mut line, Video, 5_000 + frame * 40, frame * 40);
        }
        let back = (0..10).map(|frame| map(&mut line, Video, 6_800 + frame * 40, 2_000 + frame * 40));
        let back: Vec<_> = back.collect();
        assert_eq!(back[..4], [None, None, Some(2_000), Some(2_040)]);
        assert_eq!(line.take_lost(), [2, 0]);
    }

    #[test]
    fn what_a_slate_filled_is_not_caught_up_by_delay() {
        let mut line = Timeline::default();
        map(&mut line, Video, 0, 0);
        line.fill(Video, 800 * MILLI);
        let late = (1..20).map(|frame| map(&mut line, Video, frame * 40, 850)).collect::<Vec<_>>();
        assert!(late.iter().all(Option::is_none), "{late:?}");
        assert_eq!(map(&mut line, Video, 800, 850), Some(800));
    }

    #[test]
    fn an_hour_of_drift_leaves_picture_and_sound_together() {
        // The source's clock is 100 ppm fast; both kinds follow it.
        let mut line = Timeline::default();
        for frame in 0..90_000_u64 {
            let (time, now) = (frame * 40, frame * 40 * 10_000 / 10_001);
            let video = map(&mut line, Video, time, now).unwrap();
            let audio = map(&mut line, Audio, time, now).unwrap();
            assert!(video.abs_diff(audio) <= 40, "{frame}: {video} {audio}");
        }
    }

    #[test]
    fn times_of_files_stay_as_they_are() {
        let mut line = Timeline::of_file();
        assert_eq!(map(&mut line, Video, 20, 0), Some(20));
        assert_eq!(map(&mut line, Audio, 0, 0), Some(0));
    }
}
