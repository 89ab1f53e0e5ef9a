//! What the kernel counts in a group: parsers of its files.

use std::time::Duration;

/// A number of a file with one `name number` per line, such as `cpu.stat`, `memory.events` and
/// `memory.oom_control`.
pub(crate) fn keyed(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, number) = line.split_once(' ')?;
        (name == key).then(|| number.trim().parse().ok())?
    })
}

/// Time for which the limit on the processor held a group back, from `cpu.stat`: microseconds in
/// version 2, nanoseconds in version 1.
pub(crate) fn throttled(text: &str) -> Option<Duration> {
    let unified = keyed(text, "throttled_usec").map(Duration::from_micros);
    unified.or_else(|| keyed(text, "throttled_time").map(Duration::from_nanos))
}

/// Bytes read and written on all devices, from `io.stat` of version 2.
pub(crate) fn io_stat(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let numbers = text.split_whitespace().filter_map(|field| field.strip_prefix(key)?.parse::<u64>().ok());
        numbers.fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

/// The same from `blkio.throttle.io_service_bytes_recursive` of version 1.
pub(crate) fn io_service_bytes(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let numbers = text.lines().filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            (fields.next()? == key).then(|| fields.next()?.parse::<u64>().ok())?
        });
        numbers.fold(0, u64::saturating_add)
    };
    (sum("Read"), sum("Write"))
}

/// Ids in `cgroup.procs`. A process of another namespace shows as 0 and is left out.
pub(crate) fn pids(text: &str) -> Vec<u32> {
    text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid != 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_both_versions() {
        let v2 = "usage_usec 1500\nuser_usec 1000\nthrottled_usec 250\n";
        assert_eq!((keyed(v2, "usage_usec"), throttled(v2)), (Some(1500), Some(Duration::from_micros(250))));
        assert_eq!(throttled("nr_periods 1\nthrottled_time 5000\n"), Some(Duration::from_micros(5)));
        assert_eq!(keyed("oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "oom_kill"), Some(2));
        for strange in ["", "oom_kill", "oom_kill -1", "oom_kill x\n", "oom_kills 3"] {
            assert_eq!(keyed(strange, "oom_kill"), None, "{strange:?}");
        }
    }

    #[test]
    fn bytes_of_both_versions() {
        let v2 = "8:0 rbytes=100 wbytes=7 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=x\n";
        assert_eq!(io_stat(v2), (101, 7));
        let v1 = "254:0 Read 100\n254:0 Write 7\n254:0 Sync 9\n253:0 Read 1\n254:0 Total 107\nTotal 108\nRead\n";
        assert_eq!(io_service_bytes(v1), (101, 7));
        assert_eq!(io_stat(&format!("8:0 rbytes={0} rbytes={0}", u64::MAX)), (u64::MAX, 0));
    }

    #[test]
    fn ids() {
        assert_eq!(pids("12\n0\n7\nx\n-3\n"), [12, 7]);
    }
}
