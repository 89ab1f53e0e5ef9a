//! Default and recommended limits of an attempt.

use crate::job::ResourceLimits;
use crate::units::{FrameRate, Resolution};

/// Default memory of an attempt in megabytes.
pub const DEFAULT_MEMORY_MB: u64 = 2048;
/// Default disk of an attempt in megabytes.
pub const DEFAULT_DISK_MB: u64 = 5000;
/// Percent of a disk that a node keeps free, unless its operator says else.
pub const DEFAULT_MIN_FREE_DISK_PERCENT: u8 = 5;
/// Default wall time of an attempt in seconds.
pub const DEFAULT_TIMEOUT_SEC: u64 = 3600;
/// Default scheduling priority of an attempt.
pub const DEFAULT_NICE: i32 = 10;
/// Length of a cgroup CPU period in microseconds.
pub const CPU_PERIOD_MICROS: u64 = 100_000;

/// CPU quota in microseconds per period: `percent / 100 × 100,000`.
#[must_use]
pub const fn cpu_quota_micros(percent: u32) -> u64 {
    percent as u64 * CPU_PERIOD_MICROS / 100
}

/// Fills in the defaults: 2048 MB of memory, 5000 MB of disk, 3600 s. CPU stays open: it defaults
/// to all cores of the node that runs the attempt.
#[must_use]
pub fn with_defaults(limits: ResourceLimits) -> ResourceLimits {
    ResourceLimits {
        max_cpu_percent: limits.max_cpu_percent,
        max_memory_mb: limits.max_memory_mb.or(Some(DEFAULT_MEMORY_MB)),
        max_disk_mb: limits.max_disk_mb.or(Some(DEFAULT_DISK_MB)),
        timeout_sec: limits.timeout_sec.or(Some(DEFAULT_TIMEOUT_SEC)),
    }
}

/// The same for an output of a known size: where the recommended memory is more than the default,
/// the default would only kill the job.
#[must_use]
pub fn with_defaults_for(limits: ResourceLimits, size: Resolution, fps: FrameRate) -> ResourceLimits {
    let recommended = recommended(size, fps).max_memory_mb.filter(|memory| *memory > DEFAULT_MEMORY_MB);
    with_defaults(ResourceLimits { max_memory_mb: limits.max_memory_mb.or(recommended), ..limits })
}

/// Recommended limits by picture size and rate: 720p30 150 %, 1024 MB, 300 s; 1080p30 300 %,
/// 2048 MB, 900 s; above, as 4K60: 600 %, 4096 MB, 3600 s.
#[must_use]
pub fn recommended(size: Resolution, fps: FrameRate) -> ResourceLimits {
    let pixels_per_second = size.pixels() as f64 * fps.as_f64();
    let at = |width: u32, height: u32, fps: f64| f64::from(width) * f64::from(height) * fps;
    let (cpu, memory, timeout) = match pixels_per_second {
        rate if rate <= at(1280, 720, 30.0) => (150, 1024, 300),
        rate if rate <= at(1920, 1080, 30.0) => (300, 2048, 900),
        _ => (600, 4096, 3600),
    };
    ResourceLimits {
        max_cpu_percent: Some(cpu),
        max_memory_mb: Some(memory),
        max_disk_mb: Some(DEFAULT_DISK_MB),
        timeout_sec: Some(timeout),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recommendations_by_size_and_rate() {
        for (size, fps, cpu, memory, timeout) in [
            ("144p", 60, 150, 1024, 300),
            ("720p", 30, 150, 1024, 300),
            ("720p", 31, 300, 2048, 900),
            ("1080p", 30, 300, 2048, 900),
            ("1080p", 60, 600, 4096, 3600),
            ("4K", 60, 600, 4096, 3600),
        ] {
            let limits = recommended(size.parse().unwrap(), FrameRate::whole(fps));
            assert_eq!(limits.max_cpu_percent, Some(cpu), "{size}{fps}");
            assert_eq!((limits.max_memory_mb, limits.timeout_sec), (Some(memory), Some(timeout)), "{size}{fps}");
        }
    }

    #[test]
    fn defaults_fill_only_what_is_absent() {
        let given = ResourceLimits { max_memory_mb: Some(64), ..ResourceLimits::default() };
        let filled = with_defaults(given);
        assert_eq!((filled.max_cpu_percent, filled.max_memory_mb), (None, Some(64)));
        assert_eq!((filled.max_disk_mb, filled.timeout_sec), (Some(5000), Some(3600)));
        assert_eq!(with_defaults(filled), filled);
        let uhd = with_defaults_for(ResourceLimits::default(), "4K".parse().unwrap(), FrameRate::whole(60));
        assert_eq!((uhd.max_memory_mb, uhd.timeout_sec), (Some(4096), Some(DEFAULT_TIMEOUT_SEC)));
        let small = with_defaults_for(ResourceLimits::default(), "720p".parse().unwrap(), FrameRate::whole(30));
        assert_eq!(small, with_defaults(ResourceLimits::default()));
        assert_eq!((cpu_quota_micros(200), cpu_quota_micros(50)), (200_000, 50_000));
    }
}
