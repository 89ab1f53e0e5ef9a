//! The source's clock: where zero is, and what to do when it jumps.

use super::sys::{Input, Packet, StreamView, TimeBase};

/// Times that are further ahead of the expected than this, in microseconds, are a new epoch of a
/// clock that may jump; less is a pause.
const FORWARD: i64 = 10_000_000;
/// The same for times behind the expected; less is disorder.
const BACKWARD: i64 = -100_000;
/// Packets of a stream may come this much later than those of another; a stream that is further
/// ahead is longer.
const LEAD: i64 = 500_000;

/// Moves packet times so that the earliest selected stream begins at zero.
#[derive(Debug)]
pub(super) struct Timeline {
    may_jump: bool,
    /// Streams, by number, whose pauses say nothing about the clock.
    sparse: Vec<bool>,
    epochs: Epochs,
}

impl Timeline {
    pub(super) fn new(input: &Input, selected: &[usize]) -> Self {
        let start = selected.iter().filter_map(|index| stream_start(input, *index)).min();
        let shift = -start.or(input.start()).unwrap_or(0);
        let sparse = input.streams().map(|stream| stream.is_subtitle()).collect();
        Self { may_jump: input.may_jump(), sparse, epochs: Epochs::new(shift, input.len()) }
    }

    /// What is added to the times before any jump, in microseconds.
    pub(super) fn shift(&self) -> i64 {
        self.epochs.shifts[0]
    }

    /// Number of jumps that were mended.
    pub(super) fn jumps(&self) -> usize {
        self.epochs.shifts.len() - 1
    }

    /// Puts a packet onto the output's clock, in its stream's unit.
    pub(super) fn place(&mut self, packet: &mut Packet, base: TimeBase) {
        let mut shift = self.shift();
        if self.may_jump {
            let micros = |ticks| base.rescale(ticks, TimeBase::MICROS);
            let times = packet.dts().map(|dts| (micros(dts), micros(packet.pts().unwrap_or(dts))));
            let is_sparse = self.sparse.get(packet.stream()) == Some(&true);
            shift = match times {
                Some((_, pts)) if is_sparse => self.epochs.shift_near(pts),
                _ => self.epochs.shift_for(packet.stream(), times, micros(packet.duration())),
            };
        }
        let shift = TimeBase::MICROS.rescale(shift, base);
        let moved = |ticks: Option<i64>| ticks.map(|ticks| ticks.saturating_add(shift));
        packet.set_times(moved(packet.pts()), moved(packet.dts()), packet.duration());
    }
}

/// The stretches between the jumps of a clock. All streams share it, but they do not pass from one
/// epoch to the next at the same place of the file.
#[derive(Debug)]
struct Epochs {
    /// Added to the times of each epoch, in microseconds.
    shifts: Vec<i64>,
    streams: Vec<Place>,
}

/// Where a stream is.
#[derive(Clone, Copy, Debug, Default)]
struct Place {
    epoch: Option<usize>,
    /// Decoding time of its next packet on the output's clock.
    expected: i64,
    /// Time until which its packets so far are presented.
    end: i64,
}

impl Epochs {
    fn new(shift: i64, streams: usize) -> Self {
        Self { shifts: vec![shift], streams: vec![Place::default(); streams] }
    }

    /// What to add to the times of the next packet of a stream, of which decoding and presentation
    /// are given.
    fn shift_for(&mut self, stream: usize, times: Option<(i64, i64)>, duration: i64) -> i64 {
        if stream >= self.streams.len() {
            self.streams.resize(stream + 1, Place::default());
        }
        let newest = self.shifts.len() - 1;
        let place = self.streams[stream];
        let Some((dts, pts)) = times else { return self.shifts[place.epoch.unwrap_or(newest)] };
        let epoch = match place.epoch {
            Some(was) => self.epoch_of(was, place, dts, pts),
            None => newest,
        };
        let mut shift = self.shifts[epoch];
        if place.epoch.is_some_and(|was| was < epoch) {
            // The epoch moves away from the end of every stream that comes into it.
            shift = shift.max(place.room_for(dts, pts));
            self.shifts[epoch] = shift;
        }
        let after = |time: i64| time.saturating_add(shift).saturating_add(duration);
        let end = if place.epoch.is_some() { place.end.max(after(pts)) } else { after(pts) };
        self.streams[stream] = Place { epoch: Some(epoch), expected: after(dts), end };
        shift
    }

    /// What to add to the time of a sparse stream: it belongs to the epoch in which it is nearest to
    /// where the other streams are.
    fn shift_near(&self, pts: i64) -> i64 {
        let reached = self.streams.iter().filter(|place| place.epoch.is_some()).map(|place| place.expected).max();
        let off = |shift: &i64| pts.saturating_add(*shift).saturating_sub(reached.unwrap_or(0)).unsigned_abs();
        self.shifts.iter().rev().copied().min_by_key(off).unwrap_or(0)
    }

    /// The epoch that a time belongs to: the one in which it is nearest to what was expected, or a
    /// new one.
    fn epoch_of(&mut self, was: usize, place: Place, dts: i64, pts: i64) -> usize {
        let newest = self.shifts.len() - 1;
        let off = |epoch: usize| dts.saturating_add(self.shifts[epoch]).saturating_sub(place.expected);
        let epoch = if off(newest).unsigned_abs() < off(was).unsigned_abs() { newest } else { was };
        let plausible = if epoch > was { -FORWARD..=FORWARD } else { BACKWARD..=FORWARD };
        if plausible.contains(&off(epoch)) {
            return epoch;
        }
        let others = self.streams.iter().filter(|other| other.epoch.is_some()).map(|other| other.end);
        let longer = others.max().filter(|end| *end > place.end.saturating_add(LEAD));
        let shift = longer.map_or(i64::MIN, |end| end.saturating_sub(pts)).max(place.room_for(dts, pts));
        self.shifts.push(shift);
        newest + 1
    }
}

impl Place {
    /// The least to add to times for them to come after what was.
    fn room_for(&self, dts: i64, pts: i64) -> i64 {
        self.expected.saturating_sub(dts).max(self.end.saturating_sub(pts))
    }
}

fn stream_start(input: &Input, index: usize) -> Option<i64> {
    let stream = input.stream(index)?;
    let start = stream.time_base().rescale(stream.start()?, TimeBase::MICROS);
    Some(if (-priming(stream)..0).contains(&start) { 0 } else { start })
}

/// How far codec delay may put the start of a stream below zero, in microseconds.
fn priming(stream: StreamView<'_>) -> i64 {
    if !stream.is_audio() {
        return 0;
    }
    let high_efficiency = stream.profile().is_some_and(|profile| profile.starts_with("HE"));
    let samples = match stream.codec().as_str() {
        "opus" => return 80_000,
        "aac" if high_efficiency => 5186,
        "mp3" | "mp2" => 2400,
        "flac" | "alac" => 0,
        codec if codec.starts_with("pcm_") => 0,
        _ => 2112,
    };
    // One more tick of a coarse clock than the delay itself.
    samples * 1_000_000 / i64::from(stream.sample_rate().max(1)) + 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;

    /// Times of packets of 40 ms on the output's clock.
    fn placed(epochs: &mut Epochs, packets: &[(usize, i64)]) -> Vec<i64> {
        packets.iter().map(|(stream, dts)| dts + epochs.shift_for(*stream, Some((*dts, *dts)), 40_000)).collect()
    }

    #[test]
    fn a_jump_moves_all_streams_alike() {
        for to in [0, 500_000, 70 * SECOND] {
            let mut epochs = Epochs::new(-SECOND, 2);
            let old = [(0, SECOND), (1, SECOND), (0, SECOND + 40_000)];
            assert_eq!(placed(&mut epochs, &old), [0, 0, 40_000]);
            // The last packet of the old clock comes after the first of the new one.
            let new = [(0, to), (1, SECOND + 40_000), (1, to), (0, to + 40_000), (1, to + 40_000)];
            assert_eq!(placed(&mut epochs, &new), [80_000, 40_000, 80_000, 120_000, 120_000], "to {to}");
            assert_eq!(epochs.shifts.len(), 2);
        }
    }

    #[test]
    fn pauses_and_disorder_are_no_jumps() {
        let mut epochs = Epochs::new(0, 1);
        let times = [(0, 0), (0, 9 * SECOND), (0, 9 * SECOND - 20_000), (0, 9 * SECOND + 40_000)];
        assert_eq!(placed(&mut epochs, &times), times.map(|(_, dts)| dts));
        assert_eq!(epochs.shifts.len(), 1);
    }

    #[test]
    fn text_pauses_and_follows_the_others_over_a_jump() {
        let mut epochs = Epochs::new(-SECOND, 2);
        placed(&mut epochs, &[(0, SECOND), (0, 61 * SECOND)]);
        assert_eq!(epochs.shift_near(55 * SECOND), epochs.shifts[epochs.shifts.len() - 1]);
        let before = epochs.shifts.len();
        placed(&mut epochs, &[(0, 0), (0, 40_000)]);
        assert_eq!(epochs.shifts.len(), before + 1);
        assert_eq!(epochs.shift_near(500_000), epochs.shifts[before]);
    }

    #[test]
    fn a_new_epoch_is_shown_after_the_old_one() {
        let mut epochs = Epochs::new(0, 1);
        epochs.shift_for(0, Some((SECOND, SECOND + 80_000)), 40_000);
        // Without reordering, what is decoded next would be shown too early.
        assert_eq!(epochs.shift_for(0, Some((0, 0)), 40_000), SECOND + 120_000);
    }

    #[test]
    fn a_longer_stream_pushes_the_new_epoch_back() {
        let mut epochs = Epochs::new(0, 2);
        placed(&mut epochs, &[(0, SECOND), (1, SECOND), (0, 0), (1, SECOND + 40_000), (1, SECOND + 80_000)]);
        let times = placed(&mut epochs, &[(1, 0), (0, 40_000)]);
        assert_eq!(times, [SECOND + 120_000, SECOND + 160_000]);
        let mut epochs = Epochs::new(0, 2);
        let times = placed(&mut epochs, &[(0, SECOND), (1, SECOND + 960_000), (0, 0), (1, 0), (0, 40_000)]);
        assert_eq!(times[2..], [2 * SECOND, 2 * SECOND, 2 * SECOND + 40_000]);
    }
}
