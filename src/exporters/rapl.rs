//! Port 9500: energy of the processors of a machine. What may be added up and what is a part of it
//! are families of their own, so that nobody counts twice.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ffrtmp_governor::probe::Root;
use ffrtmp_governor::probe::energy::{self, Energy};
use prometheus::proto::MetricFamily;

use super::Exporter;
use super::rows::{Column, families, label, one};

/// Looks closer together than this tell nothing of power.
const SHORTEST: Duration = Duration::from_millis(200);
/// Counters turn over after minutes; somebody looks at least so often.
pub(crate) const LOOK_EVERY: Duration = Duration::from_secs(30);

/// What a zone used since the first look.
#[derive(Default)]
struct Used {
    counts: bool,
    joules: f64,
    watts: Option<f64>,
}

const COUNTED: &[Column<Used>] = &[
    Column::gauge("rapl_power_watts", "Power of a zone that may be added up, watts", |it| it.watts),
    Column::counter("rapl_energy_joules_total", "Energy of a zone that may be added up, joules", |it| Some(it.joules)),
];

const PARTS: &[Column<Used>] = &[
    Column::gauge("rapl_part_power_watts", "Power of a zone that is a part of another, watts", |it| it.watts),
    Column::counter("rapl_part_energy_joules_total", "Energy of a zone that is a part of another, joules", |it| {
        Some(it.joules)
    }),
];

/// Reads the counters of a machine.
pub(crate) struct Rapl {
    root: Root,
    meter: Mutex<Meter>,
}

#[derive(Default)]
struct Meter {
    last: Option<(Instant, Energy)>,
    zones: BTreeMap<String, Used>,
}

impl Rapl {
    pub(crate) fn new(root: Root) -> Self {
        let rapl = Self { root, meter: Mutex::default() };
        rapl.look(Instant::now(), Duration::ZERO);
        rapl
    }

    /// Why there is nothing to tell, and what to do about it; `None` if there is something.
    pub(crate) fn absence(&self) -> Option<(String, &'static str)> {
        match energy::access(&self.root) {
            energy::Access::Readable(_) => None,
            none => Some((none.to_string(), none.hint())),
        }
    }

    /// Looks, unless somebody did within `rest`.
    pub(crate) fn look(&self, now: Instant, rest: Duration) {
        let mut meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |(at, _): &(Instant, Energy)| now.saturating_duration_since(*at) < rest;
        if meter.last.as_ref().is_some_and(fresh) {
            return;
        }
        match energy::read(&self.root) {
            Some(energy) => meter.see(now, energy),
            None => *meter = Meter::default(),
        }
    }
}

impl Meter {
    fn see(&mut self, now: Instant, energy: Energy) {
        for zone in energy.zones() {
            let used = self.zones.entry(zone.as_str().to_owned()).or_default();
            used.counts = energy.counts(zone);
        }
        if let Some((at, before)) = &self.last {
            let elapsed = now.saturating_duration_since(*at);
            for (zone, joules) in energy.each_since(before, elapsed) {
                let used = self.zones.entry(zone.as_str().to_owned()).or_default();
                used.joules += joules.0;
                used.watts = Some(joules.0 / elapsed.as_secs_f64()).filter(|watts| watts.is_finite());
            }
        }
        self.last = Some((now, energy));
    }
}

impl Exporter for Rapl {
    fn families(&self) -> Vec<MetricFamily> {
        self.look(Instant::now(), SHORTEST);
        let meter = self.meter.lock().unwrap_or_else(PoisonError::into_inner);
        let up = if meter.last.is_some() { 1.0 } else { 0.0 };
        let zones = |counts| {
            let of = meter.zones.iter().filter(move |(_, used)| used.counts == counts);
            of.map(|(zone, used)| (vec![label("zone", zone)], used))
        };
        let mut told = vec![one("rapl_exporter_up", "1 if the counters of energy can be read, else 0", up)];
        told.extend(families(COUNTED, zones(true)));
        told.extend(families(PARTS, zones(false)));
        told
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::exporters::page::keeps_its_promise;
    use crate::exporters::text;

    fn zone(root: &Path, folder: &str, name: &str, micros: u64) {
        let folder = root.join("sys/class/powercap").join(folder);
        fs::create_dir_all(&folder).unwrap();
        for (file, text) in [
            ("name", name.to_owned()),
            ("energy_uj", micros.to_string()),
            ("max_energy_range_uj", "262143328850".into()),
        ] {
            fs::write(folder.join(file), text).unwrap();
        }
    }

    #[test]
    fn zones_are_counted_once_and_turns_are_taken_out() {
        let dir = tempfile::tempdir().unwrap();
        let set = |package: u64, core: u64, board: u64| {
            zone(dir.path(), "intel-rapl:0", "package-0", package);
            zone(dir.path(), "intel-rapl:0:0", "core", core);
            zone(dir.path(), "intel-rapl:1", "psys", board);
        };
        set(262_143_000_000, 10_000_000, 5_000_000);
        let rapl = Rapl::new(Root::at(dir.path()));
        let start = Instant::now();
        rapl.look(start + Duration::from_secs(1), Duration::ZERO);
        set(671_150, 30_000_000, 65_000_000);
        rapl.look(start + Duration::from_secs(11), Duration::ZERO);
        let told = |meter: &Meter, zone: &str| (meter.zones[zone].joules, meter.zones[zone].counts);
        let meter = rapl.meter.lock().unwrap();
        assert_eq!(told(&meter, "package-0"), (1.0, true), "the counter turned over");
        assert_eq!(told(&meter, "package-0/core"), (20.0, false));
        assert_eq!(told(&meter, "psys"), (60.0, false), "the board holds the package");
        assert!((meter.zones["psys"].watts.unwrap() - 6.0).abs() < 1e-9);
        drop(meter);
        let text = text(&rapl.families());
        assert!(text.contains("rapl_energy_joules_total{zone=\"package-0\"}"), "{text}");
        assert!(text.contains("rapl_part_energy_joules_total{zone=\"psys\"}"), "{text}");
        keeps_its_promise("### RAPL, agent", &text, &[]);
    }

    #[test]
    fn a_machine_without_counters_says_so_and_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let rapl = Rapl::new(Root::at(dir.path()));
        assert_eq!(
            text(&rapl.families()).lines().filter(|line| !line.starts_with('#')).collect::<Vec<_>>(),
            ["rapl_exporter_up 0"]
        );
        assert!(rapl.absence().is_some_and(|(_, hint)| !hint.is_empty()));
    }
}
