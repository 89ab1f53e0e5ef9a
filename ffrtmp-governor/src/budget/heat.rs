//! Heat: how near a sensor is to the point at which the machine switches itself off, and for how
//! long processors were slowed to stay below it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::probe::Root;

/// A sensor and its critical point, in degrees Celsius.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Sensor {
    pub(crate) celsius: f64,
    pub(crate) critical: f64,
}

impl Sensor {
    pub(crate) fn distance(&self) -> f64 {
        self.critical - self.celsius
    }

    /// Firmware that does not know a critical point gives one that no processor has.
    fn of(millidegrees: i64, critical: i64) -> Option<Self> {
        let sensor = Self { celsius: millidegrees as f64 / 1000.0, critical: critical as f64 / 1000.0 };
        ((-30.0..=150.0).contains(&sensor.celsius) && (60.0..=130.0).contains(&sensor.critical)).then_some(sensor)
    }
}

/// The sensor that is nearest to its critical point, of thermal zones and hardware monitors.
pub(crate) fn nearest(root: &Root) -> Option<Sensor> {
    zones(root).into_iter().chain(monitors(root)).min_by(|a, b| a.distance().total_cmp(&b.distance()))
}

fn zones(root: &Root) -> Vec<Sensor> {
    let zones = root.names("sys/class/thermal").into_iter().filter(|name| name.starts_with("thermal_zone"));
    let sensor = |zone: String| {
        let folder = format!("sys/class/thermal/{zone}");
        let critical = root.names(&folder).into_iter().find_map(|file| {
            let trip = file.strip_suffix("_type").filter(|trip| trip.starts_with("trip_point_"))?;
            let kind = root.text(&format!("{folder}/{file}"))?;
            (kind.trim() == "critical").then(|| root.number(&format!("{folder}/{trip}_temp")))?
        });
        Sensor::of(root.number(&format!("{folder}/temp"))?, critical?)
    };
    zones.filter_map(sensor).collect()
}

fn monitors(root: &Root) -> Vec<Sensor> {
    let inputs = |monitor: String| {
        let folder = format!("sys/class/hwmon/{monitor}");
        let sensor = |file: String| {
            let name = file.strip_suffix("_crit").filter(|name| name.starts_with("temp"))?;
            let critical = root.number(&format!("{folder}/{file}"))?;
            Sensor::of(root.number(&format!("{folder}/{name}_input"))?, critical)
        };
        root.names(&folder).into_iter().filter_map(sensor).collect::<Vec<_>>()
    };
    root.names("sys/class/hwmon").into_iter().flat_map(inputs).collect()
}

/// Milliseconds for which each processor package was slowed for heat since the machine started.
pub(crate) type Slowed = BTreeMap<String, u64>;

/// The counter of one processor of each package; the others show the same.
pub(crate) fn counters(root: &Root) -> Vec<String> {
    let is_cpu = |name: &String| name.strip_prefix("cpu").is_some_and(|id| id.parse::<u32>().is_ok());
    let mut packages = BTreeSet::new();
    let counter = |cpu: String| {
        let folder = format!("sys/devices/system/cpu/{cpu}");
        let package: i64 = root.number(&format!("{folder}/topology/physical_package_id"))?;
        let file = format!("{folder}/thermal_throttle/package_throttle_total_time_ms");
        (root.path(&file).exists() && packages.insert(package)).then_some(file)
    };
    root.names("sys/devices/system/cpu").into_iter().filter(is_cpu).filter_map(counter).collect()
}

pub(crate) fn slowed(root: &Root, counters: &[String]) -> Slowed {
    counters.iter().filter_map(|counter| Some((counter.clone(), root.number(counter)?))).collect()
}

/// Percent of the time for which the package that suffered most was slowed.
pub(crate) fn slowed_percent(now: &Slowed, before: &Slowed, elapsed: Duration) -> Option<f64> {
    let elapsed = Some(elapsed.as_secs_f64() * 1000.0).filter(|millis| *millis > 0.0)?;
    let shares = now.iter().filter_map(|(name, now)| Some(now.checked_sub(*before.get(name)?)? as f64));
    shares.map(|millis| (100.0 * millis / elapsed).min(100.0)).max_by(f64::total_cmp)
}
