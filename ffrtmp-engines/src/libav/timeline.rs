//! The source's clock: where zero is, and what to do when it jumps.

use super::sys::{Input, Packet, StreamView, TimeBase};

/// Times that are further ahead of the expected than this, in microseconds, are a new epoch of a
/// clock that may jump; less is a pause.
const FORWARD: i64 = 10_000_000;
/// The same for times behind the expected; less is disorder.
const BACKWARD: i64 = -100_000;
/// Pictures are decoded before they are shown, so their stream may be this far behind the others
/// where all end together.
const LEAD: i64 = 500_000;

/// Moves packet times so that the earliest selected stream begins at zero.
#[derive(Debug)]
pub(super) struct Timeline {
    may_jump: bool,
    epochs: Epochs,
}

impl Timeline {
    pub(super) fn new(input: &Input, selected: &[usize]) -> Self {
        let start = selected.iter().filter_map(|index| stream_start(input, *index)).min();
        let shift = -start.or(input.start()).unwrap_or(0);
        Self { may_jump: input.may_jump(), epochs: Epochs::new(shift, input.len()) }
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
            shift = self.epochs.shift_for(packet.stream(), packet.dts().map(micros), micros(packet.duration()));
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
}

impl Epochs {
    fn new(shift: i64, streams: usize) -> Self {
        Self { shifts: vec![shift], streams: vec![Place::default(); streams] }
    }

    /// What to add to the times of the next packet of a stream.
    fn shift_for(&mut self, stream: usize, dts: Option<i64>, duration: i64) -> i64 {
        if stream >= self.streams.len() {
            self.streams.resize(stream + 1, Place::default());
        }
        let newest = self.shifts.len() - 1;
        let was = self.streams[stream].epoch;
        let Some(dts) = dts else { return self.shifts[was.unwrap_or(newest)] };
        let epoch = match was {
            Some(was) => self.epoch_of(was, dts, self.streams[stream].expected),
            None => newest,
        };
        if was.is_some_and(|was| was < epoch) {
            self.part(epoch, dts, self.streams[stream].expected);
        }
        let shift = self.shifts[epoch];
        let expected = dts.saturating_add(shift).saturating_add(duration);
        self.streams[stream] = Place { epoch: Some(epoch), expected };
        shift
    }

    /// The epoch that a time belongs to: the one in which it is nearest to what was expected, or a
    /// new one.
    fn epoch_of(&mut self, was: usize, dts: i64, expected: i64) -> usize {
        let newest = self.shifts.len() - 1;
        let off = |epoch: usize| dts.saturating_add(self.shifts[epoch]).saturating_sub(expected);
        let epoch = if off(newest).unsigned_abs() < off(was).unsigned_abs() { newest } else { was };
        let plausible = if epoch > was { -FORWARD..=FORWARD } else { BACKWARD..=FORWARD };
        if plausible.contains(&off(epoch)) {
            return epoch;
        }
        let others = self.streams.iter().filter(|place| place.epoch.is_some()).map(|place| place.expected);
        let start = others.max().filter(|end| *end > expected.saturating_add(LEAD)).unwrap_or(expected);
        self.shifts.push(start.saturating_sub(dts));
        newest + 1
    }

    /// Moves an epoch away from the end of a stream that comes into it.
    fn part(&mut self, epoch: usize, dts: i64, expected: i64) {
        let shift = self.shifts[epoch];
        self.shifts[epoch] = shift.max(expected.saturating_sub(dts));
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
        packets.iter().map(|(stream, dts)| dts + epochs.shift_for(*stream, Some(*dts), 40_000)).collect()
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
