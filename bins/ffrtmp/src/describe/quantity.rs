//! Quantities as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ffrtmp::core::clock::Timestamp;

/// Bytes in binary units: `1.4 MiB`.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if count < 1024 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// A bit rate in decimal units: `2.3 Mb/s`.
pub(crate) fn bit_rate(bps: u64) -> String {
    match bps {
        0..1_000 => format!("{bps} b/s"),
        1_000..1_000_000 => format!("{:.0} kb/s", bps as f64 / 1e3),
        _ => format!("{:.2} Mb/s", bps as f64 / 1e6),
    }
}

/// A span of time: `0.42 s`, `12.3 s`, `2m05s`, `3h07m`, `2d04h`.
pub(crate) fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        _ if seconds < 9.995 => format!("{seconds:.2} s"),
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{}m{:02}s", whole / 60, whole % 60),
        3600..86_400 => format!("{}h{:02}m", whole / 3600, whole / 60 % 60),
        _ => format!("{}d{:02}h", whole / 86_400, whole / 3600 % 24),
    }
}

/// How long ago, in whole units: `12s`, `5m`, `3h`, `2d`.
pub(crate) fn age(since: Timestamp) -> String {
    let seconds = now().since(since).as_secs();
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7200 => format!("{}m", seconds / 60),
        7200..172_800 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// The wall clock.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    Timestamp::default() + since
}

/// The first eight characters of an id: enough for people, and a prefix that commands take.
pub(crate) fn short(id: impl ToString) -> String {
    id.to_string().chars().take(8).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        assert_eq!(
            [bytes(1023), bytes(1024), bytes(1_468_006), bytes(1 << 40)],
            ["1023 B", "1.0 KiB", "1.4 MiB", "1.0 TiB"]
        );
        assert_eq!([bit_rate(999), bit_rate(800_000), bit_rate(2_345_000)], ["999 b/s", "800 kb/s", "2.35 Mb/s"]);
        assert_eq!([span(0.421), span(12.34), span(125.0), span(11_220.0)], ["0.42 s", "12.3 s", "2m05s", "3h07m"]);
        assert_eq!(age(now()), "0s");
    }
}
