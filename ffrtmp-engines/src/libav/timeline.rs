//! The source's clock: where zero is, and what to do when it jumps.

use super::sys::{Input, Packet, TimeBase};

/// A jump of a transport stream's clock beyond this is a new epoch, not a pause.
const JUMP: i64 = 10_000_000;
/// Codec delay of audio shows as a start below zero by less than this.
const PRIMING: i64 = -500_000;

/// Moves packet times so that the earliest selected stream begins at zero.
#[derive(Debug)]
pub(super) struct Timeline {
    /// Added to every time, in microseconds.
    shift: i64,
    may_jump: bool,
    expected: Vec<Option<i64>>,
    /// Number of jumps that were mended.
    pub(super) jumps: u64,
}

impl Timeline {
    pub(super) fn new(input: &Input, selected: &[usize]) -> Self {
        let start = selected.iter().filter_map(|index| stream_start(input, *index)).min();
        Self {
            shift: -start.or(input.start()).unwrap_or(0),
            may_jump: input.may_jump(),
            expected: vec![None; input.len()],
            jumps: 0,
        }
    }

    /// What is added to every time, in microseconds.
    pub(super) fn shift(&self) -> i64 {
        self.shift
    }

    /// Puts a packet onto the output's clock, in its stream's unit.
    pub(super) fn place(&mut self, packet: &mut Packet, base: TimeBase) {
        self.mend_jump(packet, base);
        let shift = TimeBase::MICROS.rescale(self.shift, base);
        let moved = |ticks: Option<i64>| ticks.map(|ticks| ticks.saturating_add(shift));
        packet.set_times(moved(packet.pts()), moved(packet.dts()), packet.duration());
    }

    fn mend_jump(&mut self, packet: &Packet, base: TimeBase) {
        let index = packet.stream();
        if index >= self.expected.len() {
            self.expected.resize(index + 1, None);
        }
        let Some(dts) = packet.dts().filter(|_| self.may_jump) else { return };
        let dts = base.rescale(dts, TimeBase::MICROS);
        if let Some(expected) = self.expected[index] {
            let jump = dts.saturating_add(self.shift).saturating_sub(expected);
            if jump.saturating_abs() > JUMP {
                self.shift = self.shift.saturating_sub(jump);
                self.jumps += 1;
            }
        }
        let duration = base.rescale(packet.duration(), TimeBase::MICROS);
        self.expected[index] = Some(dts.saturating_add(self.shift).saturating_add(duration));
    }
}

fn stream_start(input: &Input, index: usize) -> Option<i64> {
    let stream = input.stream(index)?;
    let start = stream.time_base().rescale(stream.start()?, TimeBase::MICROS);
    let priming = stream.is_audio() && (PRIMING..0).contains(&start);
    Some(if priming { 0 } else { start })
}
