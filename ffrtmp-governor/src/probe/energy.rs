//! Energy counters of processors (RAPL), below `/sys/class/powercap`; of Intel, and of AMD under
//! the same names. Where those are missing, the driver `amd_energy` below `/sys/class/hwmon`.
//!
//! # What is counted
//! Zones lie in one another, so not every one may be added up:
//!
//! | zone | holds | counted |
//! |---|---|---|
//! | `package-N`, `package-N-die-M` | everything in the package: cores, graphics, caches, memory controllers | yes |
//! | `dram` | the memory of a package, which is not in it | yes |
//! | `core`, `uncore` | parts of a package | no, they are in it |
//! | `psys` | the whole board; what it holds is the maker's choice | only without any package |
//! | `intel-rapl-mmio:N` | the same package a second time, by another register | only if it has no other |
//!
//! Reading needs root on most systems since 2020 (CVE-2020-8694); [`access`] says so.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use ffrtmp_core::units::Joules;

use super::Root;

/// Power that no node has: counters that seem to have turned over at this rate were started anew.
const MOST_WATTS: f64 = 20_000.0;

/// Counters of every zone in microjoules, at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Energy(BTreeMap<Zone, Counter>);

/// A zone by its name, such as `package-0`, `package-0/dram` or `psys`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Zone(String);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Counter {
    now: u64,
    /// Where it starts again from 0.
    range: Option<u64>,
}

impl Energy {
    /// Energy that the node used since an earlier look, over one turn of the counters at most;
    /// `None` if no zone that counts is in both.
    #[must_use]
    pub fn since(&self, before: &Self) -> Option<Joules> {
        let counted = self.0.iter().filter(|(zone, _)| self.counts(zone) && before.counts(zone));
        let used: Vec<u64> = counted.filter_map(|(zone, now)| now.since(before.0.get(zone)?)).collect();
        (!used.is_empty()).then(|| Joules(used.iter().map(|micros| *micros as f64 / 1e6).sum()))
    }

    /// Average power since an earlier look in watts; `None` also for what no machine has.
    #[must_use]
    pub fn watts_since(&self, before: &Self, elapsed: Duration) -> Option<f64> {
        let watts = (!elapsed.is_zero()).then(|| self.since(before).map(|used| used.0 / elapsed.as_secs_f64()));
        watts.flatten().filter(|watts| *watts <= MOST_WATTS)
    }

    /// Energy that each zone used since an earlier look, whether it counts or not, over one turn of its
    /// counter at most. What no machine uses is left out.
    pub fn each_since<'a>(&'a self, before: &'a Self, elapsed: Duration) -> impl Iterator<Item = (&'a Zone, Joules)> {
        let most = MOST_WATTS * elapsed.as_secs_f64();
        let used = self.0.iter().filter_map(|(zone, now)| Some((zone, now.since(before.0.get(zone)?)?)));
        used.map(|(zone, micros)| (zone, Joules(micros as f64 / 1e6))).filter(move |(_, joules)| joules.0 <= most)
    }

    /// The zones.
    pub fn zones(&self) -> impl Iterator<Item = &Zone> {
        self.0.keys()
    }

    /// Whether a zone is a part of the node's energy beside the other zones; see the table above.
    #[must_use]
    pub fn counts(&self, zone: &Zone) -> bool {
        zone.is_own() || zone.is_board() && !self.0.keys().any(Zone::is_own)
    }
}

impl Zone {
    /// The stable name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A package or its memory.
    fn is_own(&self) -> bool {
        match self.0.split_once('/') {
            Some((_, part)) => part == "dram",
            None => !self.is_board(),
        }
    }

    fn is_board(&self) -> bool {
        self.0 == "psys"
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl Counter {
    /// A counter that fell turned over, if its range is known.
    fn since(self, before: &Self) -> Option<u64> {
        self.now.checked_sub(before.now).or_else(|| (self.range?.checked_sub(before.now)?).checked_add(self.now))
    }
}

/// Whether the counters of a machine can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// They can, these zones.
    Readable(Vec<Zone>),
    /// They are there, but not for this user; the file that was refused.
    Denied(String),
    /// There are none.
    Absent,
}

impl Access {
    /// What to do about it; empty if nothing.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Readable(_) => "",
            Self::Denied(_) => {
                "let the agent's group read them: `chgrp ffrtmp` and `chmod g+r` on every energy_uj below \
                 /sys/class/powercap, at every start, such as by a line of tmpfiles.d; or give the agent the \
                 capability CAP_DAC_READ_SEARCH"
            }
            Self::Absent => "virtual machines have none; on a real one load `intel_rapl_msr`",
        }
    }
}

impl fmt::Display for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Readable(zones) => {
                let names: Vec<_> = zones.iter().map(Zone::as_str).collect();
                write!(f, "the machine counts the energy of {}", names.join(", "))
            }
            Self::Denied(file) => write!(f, "the machine counts energy, but this user may not read {file}"),
            Self::Absent => write!(f, "the machine does not count energy"),
        }
    }
}

/// Looks whether the counters can be read.
#[must_use]
pub fn access(root: &Root) -> Access {
    if let Some(energy) = read(root) {
        return Access::Readable(energy.0.into_keys().collect());
    }
    let refused = |file: &String| {
        let text = std::fs::read_to_string(root.path(file));
        text.is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
    };
    let zones = folders(root).into_iter().map(|folder| format!("{folder}/energy_uj"));
    zones
        .chain(amd_counters(root).into_values())
        .find(refused)
        .map_or(Access::Absent, |file| Access::Denied(format!("/{file}")))
}

/// Counters of every zone; `None` if none can be read.
#[must_use]
pub fn read(root: &Root) -> Option<Energy> {
    let mut zones = BTreeMap::new();
    // By the registers first: what memory-mapped ones show again does not replace it.
    for folder in folders(root) {
        let Some(zone) = zone_of(root, &folder) else { continue };
        let Some(now) = root.number(&format!("{folder}/energy_uj")) else { continue };
        let range = root.number(&format!("{folder}/max_energy_range_uj"));
        zones.entry(zone).or_insert(Counter { now, range });
    }
    if zones.is_empty() {
        let counters = amd_counters(root).into_iter();
        let counter = |(zone, file): (Zone, String)| Some((zone, Counter { now: root.number(&file)?, range: None }));
        zones = counters.filter_map(counter).collect();
    }
    (!zones.is_empty()).then_some(Energy(zones))
}

/// Folders of zones: those by registers, then the memory-mapped ones.
fn folders(root: &Root) -> Vec<String> {
    let mut names = root.names("sys/class/powercap");
    names.retain(|name| indices(name).is_some());
    names.sort_by_key(|name| (name.starts_with(MAPPED), indices(name)));
    names.into_iter().map(|name| format!("sys/class/powercap/{name}")).collect()
}

const MAPPED: &str = "intel-rapl-mmio:";

/// The numbers of a zone and of those around it: `intel-rapl:0:2` is the third part of the first.
fn indices(name: &str) -> Option<Vec<u32>> {
    let numbers = name.strip_prefix(MAPPED).or_else(|| name.strip_prefix("intel-rapl:"))?;
    numbers.split(':').map(|number| number.parse().ok()).collect()
}

/// The name of a zone below the name of the one around it. A zone without a name is called as its
/// folder: it is better counted than forgotten.
fn zone_of(root: &Root, folder: &str) -> Option<Zone> {
    let name = |folder: &str| {
        let name = root.text(&format!("{folder}/name")).map(|name| name.trim().to_owned());
        name.filter(|name| !name.is_empty()).or_else(|| folder.rsplit('/').next().map(str::to_owned))
    };
    match folder.rsplit_once(':') {
        Some((around, _)) if around.contains(':') => Some(Zone(format!("{}/{}", name(around)?, name(folder)?))),
        _ => name(folder).map(Zone),
    }
}

/// Files of the driver `amd_energy`: one for each socket and each core, in 64 bits that never turn.
fn amd_counters(root: &Root) -> BTreeMap<Zone, String> {
    let mut counters = BTreeMap::new();
    for chip in root.names("sys/class/hwmon") {
        let chip = format!("sys/class/hwmon/{chip}");
        if root.text(&format!("{chip}/name")).is_none_or(|name| name.trim() != "amd_energy") {
            continue;
        }
        for file in root.names(&chip) {
            let Some(number) = file.strip_prefix("energy").and_then(|rest| rest.strip_suffix("_label")) else {
                continue;
            };
            let label = root.text(&format!("{chip}/{file}")).unwrap_or_default();
            if let Some(socket) = label.trim().strip_prefix("Esocket").and_then(|socket| socket.parse::<u32>().ok()) {
                counters.insert(Zone(format!("package-{socket}")), format!("{chip}/energy{number}_input"));
            }
        }
    }
    counters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_range_a_fall_is_no_turn() {
        let counter = |now, range| Counter { now, range };
        assert_eq!(counter(5, None).since(&counter(9, None)), None);
        assert_eq!(counter(5, Some(10)).since(&counter(9, Some(10))), Some(6));
        assert_eq!(counter(5, Some(3)).since(&counter(9, Some(3))), None, "a range that was passed is none");
        assert_eq!(counter(u64::MAX, Some(u64::MAX)).since(&counter(0, None)), Some(u64::MAX));
    }
}
