//! Processors: model, threads, use and load, from `/proc/cpuinfo`, `/proc/stat`, `/proc/loadavg`.

use std::collections::BTreeMap;

use super::{Root, cgroup};

/// Time that all processors together spent, in kernel ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuTimes {
    /// Working.
    pub busy: u64,
    /// Working, idle or waiting.
    pub total: u64,
}

impl CpuTimes {
    /// Percent of all processors that were busy since then; `None` if no time has passed.
    #[must_use]
    pub fn percent_since(&self, before: &Self) -> Option<f64> {
        let total = self.total.checked_sub(before.total).filter(|total| *total > 0)?;
        // Waiting for input and output may be counted back by the kernel.
        let busy = self.busy.saturating_sub(before.busy).min(total);
        Some(100.0 * busy as f64 / total as f64)
    }
}

/// Time that each processor spent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuUse {
    /// All together.
    pub all: CpuTimes,
    /// Those that are on, by number.
    pub cores: BTreeMap<u32, CpuTimes>,
}

impl CpuUse {
    /// Percent that each processor was busy since then, in the order of their numbers. One that was
    /// off at either look, or that no time has passed for, is left out.
    #[must_use]
    pub fn core_percents_since(&self, before: &Self) -> Vec<f64> {
        self.cores.iter().filter_map(|(core, now)| now.percent_since(before.cores.get(core)?)).collect()
    }
}

/// Reads `/proc/stat`, all processors and each.
#[must_use]
pub fn parse_usage(stat: &str) -> Option<CpuUse> {
    let core = |line: &str| {
        let (core, fields) = line.strip_prefix("cpu")?.split_once(' ')?;
        Some((core.parse().ok()?, parse_fields(fields)?))
    };
    Some(CpuUse { all: parse_times(stat)?, cores: stat.lines().skip(1).map_while(core).collect() })
}

/// Reads the first line of `/proc/stat`: all processors together.
#[must_use]
pub fn parse_times(stat: &str) -> Option<CpuTimes> {
    parse_fields(stat.lines().next()?.strip_prefix("cpu ")?)
}

/// Time of guests is part of `user` and not counted twice.
fn parse_fields(fields: &str) -> Option<CpuTimes> {
    let ticks: Vec<u64> = fields.split_whitespace().take(8).map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let total = ticks.iter().try_fold(0_u64, |sum, ticks| sum.checked_add(*ticks))?;
    let idle = ticks.get(3)?.checked_add(ticks.get(4).copied().unwrap_or(0))?;
    Some(CpuTimes { busy: total.checked_sub(idle)?, total })
}

/// Reads the load over one minute from `/proc/loadavg`.
#[must_use]
pub fn parse_load(loadavg: &str) -> Option<f64> {
    loadavg.split_whitespace().next()?.parse().ok().filter(|load: &f64| load.is_finite() && *load >= 0.0)
}

/// Reads the model from `/proc/cpuinfo`, whatever the architecture calls it.
#[must_use]
pub fn parse_model(cpuinfo: &str) -> Option<String> {
    ["model name", "Model", "Hardware", "cpu model", "cpu"].iter().find_map(|name| {
        let mut fields = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        fields.find(|(field, _)| field.trim() == *name).map(|(_, value)| value.trim().to_owned())
    })
}

/// Counts the hardware threads in `/proc/cpuinfo`.
#[must_use]
pub fn parse_threads(cpuinfo: &str) -> u32 {
    let threads = cpuinfo.lines().filter(|line| line.split(':').next().is_some_and(|name| name.trim() == "processor"));
    u32::try_from(threads.count()).unwrap_or(u32::MAX)
}

/// Ticks since the machine started.
#[must_use]
pub fn usage(root: &Root) -> Option<CpuUse> {
    parse_usage(&root.text("proc/stat")?)
}

/// Load over one minute.
#[must_use]
pub fn load(root: &Root) -> Option<f64> {
    parse_load(&root.text("proc/loadavg")?)
}

/// Model of the first processor.
#[must_use]
pub fn model(root: &Root) -> Option<String> {
    parse_model(&root.text("proc/cpuinfo")?)
}

/// Threads that this process may really use: those it may run on, cut to the quota of its control
/// group, at least one.
#[must_use]
pub fn usable_threads(root: &Root) -> u32 {
    let present = root.text("proc/cpuinfo").map(|text| parse_threads(&text)).filter(|count| *count > 0);
    let allowed = root.text("proc/self/status").and_then(|text| parse_allowed(&text));
    let quota = cgroup::cpu_quota(root).map(|cores| cores.ceil().max(1.0) as u32);
    [present, allowed, quota].into_iter().flatten().min().unwrap_or(1).max(1)
}

/// Reads how many processors `/proc/self/status` allows.
#[must_use]
pub fn parse_allowed(status: &str) -> Option<u32> {
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?.trim();
    list.split(',').try_fold(0_u32, |sum, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        sum.checked_add(last.checked_sub(first)?.checked_add(1)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_is_counted_between_two_looks() {
        let before = parse_times("cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1 2 3 4\n").unwrap();
        assert_eq!(before, CpuTimes { busy: 200, total: 1000 });
        let after = parse_times("cpu  250 0 150 1400 200 0 0 0 50 0\n").unwrap();
        assert_eq!(after.percent_since(&before), Some(20.0));
        assert_eq!(before.percent_since(&before), None);
        assert_eq!(before.percent_since(&after), None);
        for hostile in ["", "cpu", "cpu  1 2 x", "cpu  18446744073709551615 1 1 1 1", "intr 5"] {
            assert_eq!(parse_times(hostile), None, "{hostile:?}");
        }
    }

    #[test]
    fn every_core_by_its_number() {
        let before = parse_usage("cpu  2 0 0 2\ncpu0 1 0 0 1\ncpu2 1 0 0 1\nintr 5\ncpu9 1 1 1 1\n").unwrap();
        assert_eq!(before.cores.keys().collect::<Vec<_>>(), [&0, &2], "what follows other lines is no core");
        let after = parse_usage("cpu  9 0 0 9\ncpu0 2 0 0 4\ncpu1 7 0 0 0\ncpu2 9 0 0 1\n").unwrap();
        assert_eq!(after.core_percents_since(&before), [25.0, 100.0], "core 1 was off");
    }

    #[test]
    fn model_threads_and_load() {
        let intel =
            "processor\t: 0\nmodel name\t: Intel(R) Xeon(R) CPU @ 2.20GHz\n\nprocessor\t: 1\nmodel name\t: Intel\n";
        assert_eq!(parse_model(intel).as_deref(), Some("Intel(R) Xeon(R) CPU @ 2.20GHz"));
        assert_eq!(parse_threads(intel), 2);
        let arm = "processor\t: 0\nBogoMIPS\t: 108\n\nHardware\t: BCM2711\nModel\t: Raspberry Pi 4\n";
        assert_eq!(parse_model(arm).as_deref(), Some("Raspberry Pi 4"));
        assert_eq!(parse_load("0.52 0.58 0.59 1/977 12345\n"), Some(0.52));
        assert_eq!(parse_load("NaN 1 1"), None);
        assert_eq!(parse_allowed("Name:\tx\nCpus_allowed_list:\t0-3,8,10-11\n"), Some(7));
        assert_eq!(parse_allowed("Cpus_allowed_list:\t5-1\n"), None);
    }
}
