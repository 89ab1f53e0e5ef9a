//! From the times of a source, which begin anew with each connection and may jump, to running times
//! of the attempt, which never do. Pure: the clock is an argument.

use crate::gstreamer::media::TrackKind;

const MILLI: u64 = 1_000_000;
/// A jump of the source's time by more than this begins a new stretch.
const JUMP: u64 = 1_000 * MILLI;

/// Maps times of the source, in nanoseconds.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    /// Added to a time of the source; `None` before the first of a stretch.
    offset: Option<i128>,
    /// Where the next of each kind may begin.
    free: [u64; 2],
    /// Where each kind ends so far.
    ends: [u64; 2],
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
        Self { offset: Some(0), ..Self::default() }
    }

    /// What comes next has no relation to what was before: it begins now, behind everything.
    pub(super) fn begin_stretch(&mut self) {
        self.offset = None;
    }

    /// Running times count from this one.
    pub(super) fn begin_at(&mut self, begin: u64) {
        self.offset = self.offset.map(|offset| offset - i128::from(begin));
        for bound in self.free.iter_mut().chain(&mut self.ends) {
            *bound = bound.saturating_sub(begin);
        }
    }

    /// Where everything so far ends.
    pub(super) fn end(&self) -> u64 {
        self.ends[0].max(self.ends[1])
    }

    /// Where a kind ends so far.
    pub(super) fn end_of(&self, kind: TrackKind) -> u64 {
        self.ends[kind as usize]
    }

    /// The running time of media with this time of the source, which came at `now`.
    pub(super) fn map(&mut self, kind: TrackKind, time: u64, duration: u64, now: u64) -> Mapped {
        let end = self.ends[kind as usize];
        let mut mapped = self.offset.map(|offset| i128::from(time) + offset);
        if mapped.is_some_and(|mapped| self.is_jump(mapped, end, now)) {
            mapped = None;
        }
        let mapped = mapped.unwrap_or_else(|| {
            let anchor = i128::from(now.max(self.end()));
            self.offset = Some(anchor - i128::from(time));
            anchor
        });
        let Ok(at) = u64::try_from(mapped) else { return Mapped::Late };
        if at < self.free[kind as usize] {
            return Mapped::Late;
        }
        self.free[kind as usize] = at + 1;
        self.ends[kind as usize] = end.max(at + duration);
        Mapped::At(at)
    }

    /// Something was presented that did not come from the source.
    pub(super) fn fill(&mut self, kind: TrackKind, until: u64) {
        for bound in [&mut self.ends[kind as usize], &mut self.free[kind as usize]] {
            *bound = until.max(*bound);
        }
    }

    fn is_jump(&self, mapped: i128, end: u64, now: u64) -> bool {
        let ahead = i128::from(now.max(end).max(self.end()) + JUMP);
        let behind = i128::from(end) - i128::from(JUMP);
        mapped > ahead || end > 0 && mapped < behind
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
        assert_eq!(map(&mut line, Video, 40, 41), Some(41), "back to the beginning");
        assert_eq!(map(&mut line, Audio, 60, 42), Some(61), "for both kinds");
        assert_eq!(map(&mut line, Video, 900_000, 90), Some(101), "forward by minutes");
        assert_eq!(map(&mut line, Video, 899_990, 91), None, "what comes too late is dropped");
        assert_eq!(map(&mut line, Video, 905_000, 5_100), Some(5_101), "a gap of the source is kept");
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
