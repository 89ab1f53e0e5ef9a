//! What one process used, from `/proc/PID/stat` and `/proc/PID/status`.

use std::time::Duration;

use super::Root;

/// What a process used so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process {
    /// User and system time of it and of the children that it waited for, in kernel ticks.
    pub ticks: u64,
    /// Largest resident memory in bytes; 0 once it has ended.
    pub peak_memory_bytes: u64,
    /// When it started, in ticks since the machine did; tells it from a later one with its id.
    pub started: u64,
}

/// Length of a kernel tick.
#[derive(Clone, Copy, Debug)]
pub struct Clocks(u64);

impl Clocks {
    /// That of the running kernel.
    #[must_use]
    pub fn of_this_kernel() -> Self {
        Self(rustix::param::clock_ticks_per_second().max(1))
    }

    /// Ticks as time.
    #[must_use]
    pub fn time(self, ticks: u64) -> Duration {
        Duration::from_secs(ticks / self.0) + Duration::from_nanos(ticks % self.0 * 1_000_000_000 / self.0)
    }
}

/// Reads CPU ticks and start from `/proc/PID/stat`. The name of a process stands in parentheses
/// and may hold anything, parentheses too.
#[must_use]
pub fn parse_stat(stat: &str) -> Option<(u64, u64)> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    let ticks = [11, 12, 13, 14].into_iter().try_fold(0_u64, |sum, index| sum.checked_add(number(index)?))?;
    Some((ticks, number(19)?))
}

/// Reads the largest resident memory in bytes from `/proc/PID/status`.
#[must_use]
pub fn parse_peak(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// What a process used; `None` if there is none with this id.
#[must_use]
pub fn read(root: &Root, pid: u32) -> Option<Process> {
    let (ticks, started) = parse_stat(&root.text(&format!("proc/{pid}/stat"))?)?;
    let status = root.text(&format!("proc/{pid}/status")).unwrap_or_default();
    Some(Process { ticks, peak_memory_bytes: parse_peak(&status).unwrap_or(0), started })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_confuse() {
        let stat = "42 (a) (b 9 9 9) R 1 42 42 0 -1 4194560 100 0 0 0 70 30 5 1 30 10 4 0 98765 1000 200";
        assert_eq!(parse_stat(stat), Some((106, 98765)));
        assert_eq!(parse_stat("42 (x) R 1"), None);
        assert_eq!(parse_stat(""), None);
        assert_eq!(parse_peak("Name:\tx\nVmHWM:\t   12 kB\n"), Some(12 * 1024));
        assert_eq!(Clocks(100).time(106), Duration::from_millis(1060));
    }
}
