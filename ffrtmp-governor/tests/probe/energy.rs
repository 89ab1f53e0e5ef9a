//! Counters of energy: nothing is counted twice, nothing falls, and a refusal says its cure.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use ffrtmp_governor::probe::energy::{self, Access};

use super::Machine;

/// Zones of powercap: folder, name, microjoules.
fn zones(machine: &Machine, zones: &[(&str, &str, u64)]) {
    for (folder, name, micros) in zones {
        let folder = format!("sys/class/powercap/{folder}");
        machine.write(&format!("{folder}/name"), &format!("{name}\n"));
        machine.write(&format!("{folder}/energy_uj"), &format!("{micros}\n"));
        machine.write(&format!("{folder}/max_energy_range_uj"), "262143328850\n");
    }
}

const JOULE: u64 = 1_000_000;

#[test]
fn no_part_is_counted_twice() {
    let laptop: &[(&str, &str, u64)] = &[
        ("intel-rapl:0", "package-0", 100),
        ("intel-rapl:0:0", "core", 50),
        ("intel-rapl:0:1", "uncore", 20),
        ("intel-rapl:0:2", "dram", 10),
        ("intel-rapl:1", "psys", 500),
        ("intel-rapl-mmio:0", "package-0", 100),
        ("intel-rapl-mmio:0:0", "dram", 10),
        ("dtpm:0", "package-0", 7),
    ];
    let two_sockets: &[_] = &[
        ("intel-rapl:0", "package-0-die-0", 1),
        ("intel-rapl:1", "package-0-die-1", 2),
        ("intel-rapl:2", "package-1-die-0", 4),
        ("intel-rapl:2:0", "dram", 8),
        ("intel-rapl:10", "package-1-die-1", 16),
        ("intel-rapl:10:0", "dram", 32),
    ];
    let amd: &[_] = &[("intel-rapl:0", "package-0", 30), ("intel-rapl:0:0", "core", 20)];
    let mapped: &[_] = &[("intel-rapl-mmio:0", "package-0", 40), ("intel-rapl-mmio:0:0", "dram", 2)];
    let board: &[_] = &[("intel-rapl:0", "psys", 60)];
    for (machine_name, machine_zones, joules) in [
        ("a laptop", laptop, 110.0),
        ("two sockets", two_sockets, 63.0),
        ("amd", amd, 30.0),
        ("memory-mapped", mapped, 42.0),
        ("only the board", board, 60.0),
    ] {
        let machine = Machine::of(&[("sys/class/powercap/intel-rapl/enabled", "1\n")]);
        let at_rest: Vec<_> = machine_zones.iter().map(|(folder, name, _)| (*folder, *name, 0)).collect();
        zones(&machine, &at_rest);
        let before = energy::read(&machine.root()).expect("counters");
        let used: Vec<_> =
            machine_zones.iter().map(|(folder, name, joules)| (*folder, *name, joules * JOULE)).collect();
        zones(&machine, &used);
        let now = energy::read(&machine.root()).expect("counters");
        assert_eq!(now.since(&before).map(|used| used.0), Some(joules), "{machine_name}");
        let shown: Vec<_> = now.zones().map(|zone| zone.as_str()).collect();
        assert!(now.zones().any(|zone| now.counts(zone)), "{machine_name}: {shown:?}");
        let elapsed = Duration::from_secs(2);
        assert_eq!(now.watts_since(&before, elapsed), Some(joules / 2.0), "{machine_name}");
        assert_eq!(now.watts_since(&before, Duration::from_millis(1)), None, "no machine uses so much");
    }
}

#[test]
fn amd_energy_stands_in_where_powercap_is_missing() {
    let machine = Machine::of(&[
        ("sys/class/hwmon/hwmon0/name", "k10temp\n"),
        ("sys/class/hwmon/hwmon0/energy1_label", "Esocket0\n"),
        ("sys/class/hwmon/hwmon0/energy1_input", "999\n"),
        ("sys/class/hwmon/hwmon3/name", "amd_energy\n"),
        ("sys/class/hwmon/hwmon3/energy1_label", "Ecore000\n"),
        ("sys/class/hwmon/hwmon3/energy1_input", "1\n"),
        ("sys/class/hwmon/hwmon3/energy65_label", "Esocket0\n"),
        ("sys/class/hwmon/hwmon3/energy65_input", "5000000\n"),
    ]);
    let before = energy::read(&machine.root()).expect("counters");
    assert_eq!(before.zones().map(|zone| zone.as_str()).collect::<Vec<_>>(), ["package-0"]);
    machine.write("sys/class/hwmon/hwmon3/energy65_input", "8500000\n");
    let now = energy::read(&machine.root()).expect("counters");
    assert_eq!(now.since(&before).map(|used| used.0), Some(3.5));
    zones(&machine, &[("intel-rapl:0", "package-0", 1)]);
    assert_eq!(energy::read(&machine.root()).expect("counters").zones().count(), 1, "never both");
}

#[test]
fn what_may_not_be_read_is_said_with_the_cure() {
    let machine = Machine::of(&[]);
    assert_eq!(energy::access(&machine.root()), Access::Absent);
    zones(&machine, &[("intel-rapl:0", "package-0", 1)]);
    let Access::Readable(readable) = energy::access(&machine.root()) else { panic!("it can be read") };
    assert_eq!(readable.len(), 1);
    let file = machine.path().join("sys/class/powercap/intel-rapl:0/energy_uj");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o000)).expect("permissions");
    if fs::read(&file).is_ok() {
        eprintln!("skipped: this user may read everything");
        return;
    }
    let access = energy::access(&machine.root());
    assert_eq!(access, Access::Denied("/sys/class/powercap/intel-rapl:0/energy_uj".into()));
    assert!(access.to_string().contains("may not read") && access.hint().contains("chmod g+r"));
}

#[test]
fn counters_that_are_no_numbers_are_left_out() {
    let machine = Machine::of(&[
        ("sys/class/powercap/intel-rapl:0/energy_uj", "-5\n"),
        ("sys/class/powercap/intel-rapl:x/energy_uj", "5\n"),
        ("sys/class/powercap/intel-rapl:1:/energy_uj", "5\n"),
        ("sys/class/powercap/intel-rapl:2/energy_uj", "18446744073709551616\n"),
    ]);
    assert_eq!(energy::read(&machine.root()), None);
}
