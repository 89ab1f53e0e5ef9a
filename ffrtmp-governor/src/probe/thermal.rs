//! Temperature of the processor, from hardware monitors below `/sys/class/hwmon` and thermal zones
//! below `/sys/class/thermal`. Disks and network cards have sensors too, and run hotter; they are
//! left out where a sensor of the processor is known.

use super::Root;

/// Drivers of sensors inside processors.
const PROCESSOR_MONITORS: &[&str] =
    &["coretemp", "k10temp", "k8temp", "zenpower", "via_cputemp", "cpu_thermal", "soc_thermal", "scpi_sensors"];

/// Temperature of the hottest sensor in degrees Celsius: of those of the processor, or where none
/// says so of all thermal zones. Sensors that report nonsense are left out.
#[must_use]
pub fn hottest(root: &Root) -> Option<f64> {
    let zones = zones(root);
    let of_processor = zones.iter().filter(|zone| is_processor(&zone.kind)).map(|zone| zone.celsius);
    let processor = of_processor.chain(monitors(root)).max_by(f64::total_cmp);
    processor.or_else(|| zones.iter().map(|zone| zone.celsius).max_by(f64::total_cmp))
}

struct Zone {
    kind: String,
    celsius: f64,
}

fn zones(root: &Root) -> Vec<Zone> {
    let zones = root.names("sys/class/thermal").into_iter().filter(|name| name.starts_with("thermal_zone"));
    let read = |zone: String| {
        let folder = format!("sys/class/thermal/{zone}");
        let celsius = celsius(root, &format!("{folder}/temp"))?;
        Some(Zone { kind: root.text(&format!("{folder}/type")).unwrap_or_default(), celsius })
    };
    zones.filter_map(read).collect()
}

/// Types of thermal zones are free words of drivers and firmware.
fn is_processor(kind: &str) -> bool {
    let kind = kind.trim().to_ascii_lowercase();
    ["x86_pkg_temp", "cpu", "soc", "tcpu", "b0d4"].iter().any(|word| kind.starts_with(word))
}

fn monitors(root: &Root) -> Vec<f64> {
    let mut found = Vec::new();
    for monitor in root.names("sys/class/hwmon") {
        let folder = format!("sys/class/hwmon/{monitor}");
        let name = root.text(&format!("{folder}/name")).unwrap_or_default();
        if PROCESSOR_MONITORS.contains(&name.trim()) {
            found.extend(inputs(root, &folder));
        }
    }
    found
}

/// Some processors of AMD add up to 27 degrees to `Tctl`, by which fans turn; `Tdie` is true.
fn inputs(root: &Root, folder: &str) -> Vec<f64> {
    let names = root.names(folder);
    let sensors = names.iter().filter_map(|file| file.strip_prefix("temp")?.strip_suffix("_input"));
    let sensors: Vec<_> = sensors
        .filter_map(|number| {
            let label = root.text(&format!("{folder}/temp{number}_label")).unwrap_or_default();
            Some((label.trim().to_owned(), celsius(root, &format!("{folder}/temp{number}_input"))?))
        })
        .collect();
    let has_true = sensors.iter().any(|(label, _)| label == "Tdie");
    sensors.into_iter().filter(|(label, _)| !has_true || label != "Tctl").map(|(_, celsius)| celsius).collect()
}

fn celsius(root: &Root, file: &str) -> Option<f64> {
    let millidegrees: i64 = root.number(file)?;
    Some(millidegrees as f64 / 1000.0).filter(|celsius| (-30.0..=150.0).contains(celsius))
}
