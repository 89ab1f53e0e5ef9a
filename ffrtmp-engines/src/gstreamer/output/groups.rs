//! What waits for an output: groups of pictures with the sound that belongs to them. Pure: no
//! thread, no clock, no media inside.
//!
//! An output that cannot take its media in time loses whole groups, the oldest first, so that what
//! is left always begins at a key frame and no sound is left without its pictures. A group of which
//! a part has left already is kept, unless it alone is longer than the queue may be.

use std::collections::VecDeque;
use std::time::Duration;

/// Key frames of renditions are the same moment if they are no further apart.
const SAME: Duration = Duration::from_millis(20);
/// Length of a group where there are no pictures.
const SOUND_ALONE: Duration = Duration::from_secs(1);

/// One encoded picture or piece of sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit<T> {
    /// Index of its track.
    pub(super) track: usize,
    /// Whether decoding of its track can begin here.
    pub(super) is_key: bool,
    /// When it is presented.
    pub(super) time: Duration,
    /// What it is.
    pub(super) value: T,
}

/// What an output did not get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Dropped {
    /// Groups, whole or what was left of them.
    pub(super) groups: u64,
    /// Pictures.
    pub(super) frames: u64,
}

/// The queue of one output.
#[derive(Debug)]
pub(super) struct Groups<T> {
    tracks: Vec<Track>,
    most: Duration,
    /// Oldest first; the last is being filled.
    waiting: VecDeque<Group<T>>,
    /// Whether a part of the first has left.
    has_begun: bool,
    /// Whether the group before the first was sent, so that what comes late for it may still go.
    was_sent: bool,
    dropped: Dropped,
}

#[derive(Debug)]
struct Track {
    is_video: bool,
    /// Start of the group that its latest picture belongs to.
    group: Option<Duration>,
    /// Whether a key frame has left since the last start.
    is_open: bool,
}

#[derive(Debug)]
struct Group<T> {
    start: Duration,
    /// Time of the oldest unit that is left, and of the latest.
    span: (Duration, Duration),
    units: VecDeque<Unit<T>>,
    /// Dropped: what else comes for it is dropped too.
    is_dropped: bool,
    /// Whether it counts as dropped: something of it was.
    is_counted: bool,
}

impl<T> Groups<T> {
    /// A queue for tracks, told apart by whether they are video, of at most this much media.
    pub(super) fn new(is_video: impl IntoIterator<Item = bool>, most: Duration) -> Self {
        let track = |is_video| Track { is_video, group: None, is_open: false };
        Self {
            tracks: is_video.into_iter().map(track).collect(),
            most,
            waiting: VecDeque::new(),
            has_begun: false,
            was_sent: false,
            dropped: Dropped::default(),
        }
    }

    /// Takes a unit, and drops groups if there is too much now.
    pub(super) fn push(&mut self, unit: Unit<T>) {
        let is_video = self.tracks[unit.track].is_video;
        if self.opens(&unit) {
            let (start, span) = (unit.time, (unit.time, unit.time));
            self.waiting.push_back(Group { start, span, units: VecDeque::new(), is_dropped: false, is_counted: false });
        }
        if is_video && unit.is_key {
            self.tracks[unit.track].group = self.reached(unit.time + SAME).map(|at| self.waiting[at].start);
        }
        let Some(group) = self.place(&unit).map(|at| &mut self.waiting[at]) else {
            self.dropped.frames += u64::from(is_video);
            return;
        };
        if group.is_dropped {
            self.dropped.frames += u64::from(is_video);
            self.dropped.groups += u64::from(!std::mem::replace(&mut group.is_counted, true));
            return;
        }
        // What has left does not wait: nothing of it counts beside what comes after a gap.
        group.span = match group.units.is_empty() {
            true => (unit.time, unit.time),
            false => (group.span.0.min(unit.time), group.span.1.max(unit.time)),
        };
        group.units.push_back(unit);
        while self.held() > self.most && self.drop_oldest() {}
    }

    /// The next unit in the order in which they came, group by group. Of a video track nothing
    /// comes before a key frame.
    pub(super) fn pop(&mut self) -> Option<Unit<T>> {
        loop {
            let is_only = self.waiting.len() == 1;
            let first = self.waiting.front_mut()?;
            let Some(unit) = first.units.pop_front() else {
                if is_only {
                    return None;
                }
                self.was_sent = !first.is_dropped;
                self.has_begun = false;
                self.waiting.pop_front();
                continue;
            };
            self.has_begun = true;
            first.span.0 = unit.time.clamp(first.span.0, first.span.1);
            let track = &mut self.tracks[unit.track];
            track.is_open |= unit.is_key || !track.is_video;
            if track.is_open {
                return Some(unit);
            }
            self.dropped.frames += 1;
        }
    }

    /// Begins anew: what comes next of every video track is a key frame. What is left of a group
    /// that has begun to leave is dropped.
    pub(super) fn restart(&mut self) {
        for track in &mut self.tracks {
            track.is_open = false;
        }
        if self.has_begun {
            self.drop_at(0);
        }
        self.was_sent = false;
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.iter().all(|group| group.units.is_empty())
    }

    /// Length of the media that waits.
    pub(super) fn held(&self) -> Duration {
        let held = self.waiting.iter().filter(|group| !group.units.is_empty());
        held.map(|group| group.span.1 - group.span.0).sum()
    }

    /// What was dropped so far.
    pub(super) fn dropped(&self) -> Dropped {
        self.dropped
    }

    fn opens(&self, unit: &Unit<T>) -> bool {
        let last = self.waiting.back().map(|last| last.start);
        if self.tracks[unit.track].is_video {
            unit.is_key && last.is_none_or(|last| unit.time > last + SAME)
        } else {
            let has_video = self.tracks.iter().any(|track| track.is_video);
            !has_video && last.is_none_or(|last| unit.time >= last + SOUND_ALONE)
        }
    }

    /// The group that a unit belongs to: of pictures the one whose key frame they follow, of sound
    /// the one in whose time it lies. What comes late for a group that was sent goes with the next.
    fn place(&self, unit: &Unit<T>) -> Option<usize> {
        let track = &self.tracks[unit.track];
        let start = if track.is_video { track.group? } else { unit.time };
        self.reached(start).or((self.was_sent && !self.waiting.is_empty()).then_some(0))
    }

    /// The latest group that begins no later than this.
    fn reached(&self, time: Duration) -> Option<usize> {
        self.waiting.iter().rposition(|group| group.start <= time)
    }

    /// Drops the oldest group that has not begun to leave, or else what is left of the one that has.
    fn drop_oldest(&mut self) -> bool {
        let held = |at: &usize| !self.waiting[*at].units.is_empty();
        let unbegun = usize::from(self.has_begun)..self.waiting.len();
        let Some(place) = unbegun.into_iter().find(held).or(Some(0).filter(held)) else { return false };
        self.drop_at(place);
        true
    }

    fn drop_at(&mut self, place: usize) {
        let Some(group) = self.waiting.get_mut(place) else { return };
        let frames = group.units.iter().filter(|unit| self.tracks[unit.track].is_video).count();
        group.is_counted = !group.units.is_empty();
        self.dropped.groups += u64::from(group.is_counted);
        self.dropped.frames += frames as u64;
        group.units = VecDeque::new();
        group.is_dropped = true;
        // What would come for this one now comes for the one before, which is dropped as well.
        if place > 0 && self.waiting[place - 1].is_dropped {
            self.waiting.remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: u64 = 40;

    fn at(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    fn unit(track: usize, milliseconds: u64, is_key: bool) -> Unit<u64> {
        Unit { track, is_key, time: at(milliseconds), value: milliseconds }
    }

    /// Video with a key frame each `keys` milliseconds on track 0 and, 100 ms late, sound on track 1.
    fn feed(queue: &mut Groups<u64>, from: u64, to: u64, keys: u64) {
        for time in (from..to).step_by(FRAME as usize) {
            queue.push(unit(0, time, time % keys == 0));
            if let Some(sound) = time.checked_sub(100) {
                queue.push(unit(1, sound, true));
            }
        }
    }

    fn drain(queue: &mut Groups<u64>) -> Vec<(usize, u64)> {
        std::iter::from_fn(|| queue.pop()).map(|unit| (unit.track, unit.value)).collect()
    }

    fn times(units: &[(usize, u64)], track: usize) -> Vec<u64> {
        units.iter().filter(|(of, _)| *of == track).map(|(_, time)| *time).collect()
    }

    #[test]
    fn what_is_taken_in_time_comes_out_whole_and_in_order() {
        let mut queue = Groups::new([true, false], at(4000));
        let mut got = Vec::new();
        for from in (0..10_000).step_by(200) {
            feed(&mut queue, from, from + 200, 1000);
            got.extend(drain(&mut queue));
        }
        assert_eq!(times(&got, 0), (0..10_000).step_by(40).collect::<Vec<_>>());
        assert_eq!(times(&got, 1), (20..9_900).step_by(40).collect::<Vec<_>>());
        assert_eq!(queue.dropped(), Dropped::default());
    }

    #[test]
    fn nothing_leaves_before_a_key_frame() {
        let mut queue = Groups::new([true, false], at(4000));
        feed(&mut queue, 520, 2000, 1000);
        let got = drain(&mut queue);
        assert_eq!(got.first(), Some(&(0, 1000)));
        assert!(times(&got, 1).iter().all(|sound| *sound >= 1000), "{got:?}");
    }

    #[test]
    fn too_much_drops_whole_groups_the_oldest_first() {
        for (keys, begun, groups, frames, first) in [
            // Nothing has left: 0..6 of 10 s go, and 4 s stay.
            (1000, false, 6, 150, 6000),
            (2000, false, 3, 150, 6000),
            // The group that has begun stays whole, and the next ones go.
            (1000, true, 6, 150, 0),
            // A group longer than the queue goes with all that still comes for it.
            (20_000, false, 1, 250, 0),
        ] {
            let mut queue = Groups::new([true, false], at(4000));
            feed(&mut queue, 0, 40, keys);
            let begun: Vec<_> = if begun { queue.pop().into_iter().collect() } else { Vec::new() };
            feed(&mut queue, 40, 10_000, keys);
            assert!(queue.held() <= at(4000), "{keys}: {:?}", queue.held());
            assert_eq!(queue.dropped(), Dropped { groups, frames }, "{keys}");
            let got: Vec<_> = begun.iter().map(|unit| (unit.track, unit.value)).chain(drain(&mut queue)).collect();
            let pictures = times(&got, 0);
            assert_eq!(pictures.len() as u64, 250 - frames, "{keys}");
            assert_eq!(pictures.first().copied().unwrap_or(0), first, "{keys}");
            let starts = pictures.iter().filter(|time| **time % keys == 0).count();
            assert_eq!(starts as u64 * keys, pictures.len() as u64 * FRAME, "{keys}: groups are whole");
            for sound in times(&got, 1) {
                let own = sound / keys * keys;
                assert!(pictures.contains(&own), "{keys}: sound at {sound} without its group");
            }
        }
    }

    #[test]
    fn a_long_stall_keeps_no_more_than_it_may() {
        let mut queue = Groups::new([true, false], at(4000));
        feed(&mut queue, 0, 40, 1000);
        queue.pop();
        feed(&mut queue, 40, 600_000, 1000);
        assert!(queue.held() <= at(4000) && queue.waiting.len() <= 7, "{:?} {}", queue.held(), queue.waiting.len());
        let got = drain(&mut queue);
        assert!((150..=200).contains(&got.len()), "three to four seconds: {}", got.len());
        assert_eq!(times(&got, 0).len() as u64 + queue.dropped().frames, 600 * 25 - 1);
    }

    #[test]
    fn a_restart_goes_on_at_a_key_frame() {
        let mut queue = Groups::new([true, false], at(4000));
        feed(&mut queue, 0, 500, 1000);
        assert_eq!(drain(&mut queue).len(), 13 + 10);
        feed(&mut queue, 520, 800, 1000);
        queue.restart();
        feed(&mut queue, 800, 1400, 1000);
        let got = drain(&mut queue);
        assert_eq!(got.first(), Some(&(0, 1000)));
        assert!(times(&got, 1).iter().all(|sound| *sound >= 1000), "{got:?}");
        assert_eq!(queue.dropped(), Dropped { groups: 1, frames: 12 });
    }

    #[test]
    fn a_gap_in_the_source_is_no_backlog() {
        let mut queue = Groups::new([true, false], at(4000));
        for time in [0, 40, 80, 10_000, 10_040, 30_000] {
            queue.push(unit(0, time, time == 0));
            queue.push(unit(1, time, true));
            assert_eq!(times(&drain(&mut queue), 0), [time], "taken at once");
        }
        assert_eq!(queue.dropped(), Dropped::default());
    }

    #[test]
    fn renditions_begin_together() {
        let mut queue = Groups::new([true, true], at(2000));
        for time in (480..6000).step_by(40) {
            queue.push(unit(0, time, time % 1000 == 0));
            // The second lags by three pictures.
            if time >= 120 {
                queue.push(unit(1, time - 120, (time - 120) % 1000 == 0));
            }
        }
        let got = drain(&mut queue);
        let (one, two) = (times(&got, 0), times(&got, 1));
        assert_eq!((one[0], two[0]), (4000, 4000));
        assert_eq!((one.len(), two.len()), (50, 47));
    }

    #[test]
    fn sound_alone_is_dropped_by_the_second() {
        let mut queue = Groups::new([false], at(4000));
        for time in (0..10_000).step_by(20) {
            queue.push(unit(0, time, true));
        }
        let got = drain(&mut queue);
        assert_eq!((got[0].1, got.len()), (6000, 200));
        assert_eq!(queue.dropped(), Dropped { groups: 6, frames: 0 });
    }
}
