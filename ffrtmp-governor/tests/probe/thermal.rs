//! The hottest sensor that matters.

use ffrtmp_governor::probe::thermal::hottest;

use super::Machine;

#[test]
fn the_processor_counts_where_it_is_known() {
    let zones: &[_] = &[
        ("sys/class/thermal/thermal_zone0/type", "acpitz\n"),
        ("sys/class/thermal/thermal_zone0/temp", "27800\n"),
        ("sys/class/thermal/thermal_zone1/type", "iwlwifi_1\n"),
        ("sys/class/thermal/thermal_zone1/temp", "70000\n"),
        ("sys/class/thermal/cooling_device0/type", "Processor\n"),
    ];
    let package: &[_] = &[
        ("sys/class/thermal/thermal_zone2/type", "x86_pkg_temp\n"),
        ("sys/class/thermal/thermal_zone2/temp", "55000\n"),
    ];
    let disk: &[_] = &[("sys/class/hwmon/hwmon0/name", "nvme\n"), ("sys/class/hwmon/hwmon0/temp1_input", "80000\n")];
    let cores: &[_] = &[
        ("sys/class/hwmon/hwmon1/name", "coretemp\n"),
        ("sys/class/hwmon/hwmon1/temp1_input", "61000\n"),
        ("sys/class/hwmon/hwmon1/temp2_input", "64000\n"),
        ("sys/class/hwmon/hwmon1/temp3_input", "-274000\n"),
        ("sys/class/hwmon/hwmon1/temp1_crit", "100000\n"),
    ];
    let shifted: &[_] = &[
        ("sys/class/hwmon/hwmon2/name", "k10temp\n"),
        ("sys/class/hwmon/hwmon2/temp1_label", "Tctl\n"),
        ("sys/class/hwmon/hwmon2/temp1_input", "95000\n"),
        ("sys/class/hwmon/hwmon2/temp2_label", "Tdie\n"),
        ("sys/class/hwmon/hwmon2/temp2_input", "68000\n"),
    ];
    let plain: &[_] = &[
        ("sys/class/hwmon/hwmon2/name", "k10temp\n"),
        ("sys/class/hwmon/hwmon2/temp1_label", "Tctl\n"),
        ("sys/class/hwmon/hwmon2/temp1_input", "71125\n"),
    ];
    for (name, files, celsius) in [
        ("nothing", vec![], None),
        ("zones of who knows what", vec![zones], Some(70.0)),
        ("a zone of the processor", vec![zones, package], Some(55.0)),
        ("a disk is no processor", vec![disk], None),
        ("cores", vec![zones, package, disk, cores], Some(64.0)),
        ("a sensor for fans", vec![shifted], Some(68.0)),
        ("the only sensor", vec![plain], Some(71.125)),
    ] {
        let machine = Machine::of(&files.concat());
        assert_eq!(hottest(&machine.root()), celsius, "{name}");
    }
}
