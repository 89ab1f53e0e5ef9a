//! The clock of a real node: steady, and close to the wall clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ffrtmp_core::clock::{Clock, Timestamp};

/// Wall time at creation plus steady time since: a jump of the wall clock changes nothing until
/// the process starts again.
#[derive(Clone, Copy, Debug)]
pub struct SteadyClock {
    wall: Timestamp,
    started: Instant,
}

impl SteadyClock {
    /// A clock that starts at the present wall time.
    #[must_use]
    pub fn start() -> Self {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        Self { wall: Timestamp::default() + since_epoch, started: Instant::now() }
    }
}

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.wall + self.started.elapsed()
    }
}
