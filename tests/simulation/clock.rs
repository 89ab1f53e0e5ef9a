//! The clock of one process: some wall time at its start, then steady, but not at everybody's pace.

use std::time::Duration;

use ffrtmp::core::clock::{Clock, Timestamp};
use tokio::time::Instant;

use crate::chance::Chance;

const TODAY: Timestamp = Timestamp::from_micros(1_800_000_000_000_000);

/// Runs up to 200 millionths too fast or too slow.
pub(crate) struct DriftingClock {
    wall: Timestamp,
    began: Instant,
    drift_ppm: i64,
}

impl DriftingClock {
    /// A clock that begins at the wall time, which is wrong by up to `skew` for some processes.
    pub(crate) fn start(world: Instant, chance: &Chance, skew: Duration) -> Self {
        let right = TODAY + world.elapsed();
        let wrong = chance.ms(0, skew.as_millis() as u64);
        let wall = match chance.index(4) {
            0 => right + wrong,
            1 => right - wrong,
            _ => right,
        };
        Self { wall, began: Instant::now(), drift_ppm: chance.between(0, 400) as i64 - 200 }
    }
}

impl Clock for DriftingClock {
    fn now(&self) -> Timestamp {
        let elapsed = self.began.elapsed().as_micros() as i64;
        let drifted = elapsed + elapsed * self.drift_ppm / 1_000_000;
        Timestamp::from_micros(self.wall.as_micros() + drifted)
    }
}
