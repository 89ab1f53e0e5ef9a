//! Watches the resident memory of one child, the oftener the nearer it comes to its limit.

use std::time::{Duration, Instant};

use super::child::Child;

/// No process fills memory faster than so many bytes in a second; what grows faster meets the bound on
/// its data.
const FASTEST: u64 = 8 << 30;
const SOONEST: Duration = Duration::from_millis(20);
const LATEST: Duration = Duration::from_millis(250);

/// A limit and what was seen under it, in bytes.
#[derive(Debug)]
pub(super) struct MemoryWatch {
    limit: u64,
    peak: u64,
    due: Instant,
}

impl MemoryWatch {
    /// A watch over a child that has just begun.
    pub(super) fn over(limit: u64) -> Self {
        Self { limit, peak: 0, due: Instant::now() + SOONEST }
    }

    /// Most bytes that it may use.
    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Most bytes that were seen.
    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    /// Whether the child has too much. Looks only when it can have reached the limit since the last
    /// look.
    pub(super) fn look(&mut self, child: &mut Child) -> bool {
        if Instant::now() < self.due {
            return false;
        }
        let resident = child.resident().unwrap_or(0);
        self.peak = self.peak.max(resident);
        self.due = Instant::now() + pause(self.limit.saturating_sub(resident));
        resident > self.limit
    }
}

fn pause(room: u64) -> Duration {
    Duration::from_millis(room / (FASTEST / 1000)).clamp(SOONEST, LATEST)
}

/// Resident pages by the text of `/proc/PID/statm`.
pub(super) fn resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_looks_before_the_room_can_be_used_up() {
        assert_eq!(pause(0), SOONEST);
        assert_eq!(pause(u64::MAX), LATEST);
        for room in [512 << 20, 1 << 30, (3 << 29) + 1] {
            let reached = Duration::from_secs_f64(room as f64 / FASTEST as f64);
            assert!(pause(room) <= reached.max(SOONEST), "{room}");
        }
    }

    #[test]
    fn resident_pages_are_the_second_number() {
        assert_eq!(resident_pages("5120 311 200 4 0 99 0\n"), Some(311));
        assert_eq!(resident_pages(""), None);
    }
}
