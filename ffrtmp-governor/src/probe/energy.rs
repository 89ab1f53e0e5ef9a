//! Energy counters of processor packages (RAPL), below `/sys/class/powercap`. Reading them needs
//! root on most systems.

use std::collections::BTreeMap;
use std::time::Duration;

use ffrtmp_core::units::Joules;

use super::Root;

/// Counters of the packages in microjoules, by name of the zone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Energy(BTreeMap<String, Counter>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counter {
    now: u64,
    /// Where it starts again from 0.
    range: u64,
}

impl Energy {
    /// Energy used since an earlier look, over one turn of the counters at most; `None` if no
    /// package is in both.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Joules> {
        let used: Vec<u64> = self.0.iter().filter_map(|(zone, now)| now.since(before.0.get(zone)?)).collect();
        (!used.is_empty()).then(|| Joules(used.iter().map(|micros| *micros as f64 / 1e6).sum()))
    }

    /// Average power since an earlier look in watts.
    #[must_use]
    pub fn watts_since(&self, before: &Self, elapsed: Duration) -> Option<f64> {
        (!elapsed.is_zero()).then(|| self.since(before).map(|used| used.0 / elapsed.as_secs_f64())).flatten()
    }
}

impl Counter {
    fn since(self, before: &Self) -> Option<u64> {
        self.now.checked_sub(before.now).or_else(|| (self.range.checked_sub(before.now)?).checked_add(self.now))
    }
}

/// Counters of every package; parts of packages are not counted twice.
#[must_use]
pub fn read(root: &Root) -> Option<Energy> {
    let zones = root.names("sys/class/powercap").into_iter().filter(|zone| is_package(zone));
    let counters: BTreeMap<_, _> = zones
        .filter_map(|zone| {
            let folder = format!("sys/class/powercap/{zone}");
            let now = root.number(&format!("{folder}/energy_uj"))?;
            let range = root.number(&format!("{folder}/max_energy_range_uj")).unwrap_or(u64::MAX);
            Some((zone, Counter { now, range }))
        })
        .collect();
    (!counters.is_empty()).then_some(Energy(counters))
}

/// `intel-rapl:0` is a package, `intel-rapl:0:0` a part of it; `intel-rapl-mmio:0` shows the same
/// package a second time.
fn is_package(zone: &str) -> bool {
    zone.strip_prefix("intel-rapl:").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
}
