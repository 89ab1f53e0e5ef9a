//! Temperature, from the thermal zones below `/sys/class/thermal`.

use super::Root;

/// Temperature of the hottest zone in degrees Celsius. Zones that report nonsense are left out.
#[must_use]
pub fn hottest(root: &Root) -> Option<f64> {
    let zones = root.names("sys/class/thermal").into_iter().filter(|name| name.starts_with("thermal_zone"));
    zones
        .filter_map(|zone| root.number::<i64>(&format!("sys/class/thermal/{zone}/temp")))
        .map(|millidegrees| millidegrees as f64 / 1000.0)
        .filter(|celsius| (-30.0..=150.0).contains(celsius))
        .max_by(f64::total_cmp)
}
