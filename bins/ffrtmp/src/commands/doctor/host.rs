//! The machine: processors, disk, devices, sensors, tools. Limits and the sandbox are in `guards`.

use std::path::Path;

use ffrtmp::governor::probe::{Root, energy, pressure, thermal};
use rustix::fs::{Access, access, statvfs};

use super::{Finding, Standing};
use crate::describe::quantity::bytes;

/// Agents warn below this share of free disk …
const DISK_WARN: f64 = 0.10;
/// … and take no jobs below this one, unless their operator says else.
const DISK_REFUSE: f64 = 0.05;

pub(super) fn findings() -> Vec<Finding> {
    let root = Path::new("/");
    let mut findings =
        vec![processors(), disk("disk here", Path::new(".")), disk("disk for scratch", &std::env::temp_dir())];
    let machine = Root::default();
    findings.extend([nvidia(root), counters(&machine), pressures(&machine), heat(&machine), ffprobe()]);
    findings
}

fn processors() -> Finding {
    let count = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Finding::works("processors", format!("{count} usable"))
}

fn disk(what: &'static str, at: &Path) -> Finding {
    let shown = at.canonicalize().unwrap_or_else(|_| at.to_owned()).display().to_string();
    let facts = match statvfs(at) {
        Ok(facts) => facts,
        Err(error) => {
            return Finding::not(what, Standing::Short, format!("{shown}: {error}"), "go to a directory that exists");
        }
    };
    let (free, whole) = (facts.f_bavail.saturating_mul(facts.f_frsize), facts.f_blocks.saturating_mul(facts.f_frsize));
    let share = if whole == 0 { 1.0 } else { free as f64 / whole as f64 };
    let detail = format!("{} of {} free at {shown}", bytes(free), bytes(whole));
    let short = |cure: &str| Finding::not(what, Standing::Short, detail.clone(), cure);
    match share {
        _ if access(at, Access::WRITE_OK).is_err() => short("outputs cannot be written there"),
        share if share < DISK_REFUSE => short("free some space: agents take no jobs below 5 %"),
        share if share < DISK_WARN => short("free some space: less than 10 % is left"),
        _ => Finding::works(what, detail),
    }
}

fn nvidia(root: &Path) -> Finding {
    const WHAT: &str = "nvidia devices";
    let mut devices: Vec<_> = std::fs::read_dir(root.join("dev"))
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.strip_prefix("nvidia").is_some_and(is_number))
        .collect();
    devices.sort();
    if devices.is_empty() {
        return Finding::not(WHAT, Standing::Absent, "no /dev/nvidia*", "with such a card: apt install nvidia-driver");
    }
    Finding::works(WHAT, devices.join(", "))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

fn counters(machine: &Root) -> Finding {
    const WHAT: &str = "energy counters";
    let access = energy::access(machine);
    match &access {
        energy::Access::Readable(_) => Finding::works(WHAT, access.to_string()),
        energy::Access::Denied(_) | energy::Access::Absent => {
            let detail = format!("{access}; the energy of jobs is modelled from their CPU time");
            Finding::not(WHAT, Standing::Absent, detail, access.hint())
        }
    }
}

fn pressures(machine: &Root) -> Finding {
    const WHAT: &str = "pressure";
    let told: Vec<_> = ["cpu", "memory", "io"]
        .into_iter()
        .filter_map(|what| Some(format!("{what} {:.1} %", pressure::read(machine, what)?.some?)))
        .collect();
    if told.is_empty() {
        return Finding::not(
            WHAT,
            Standing::Absent,
            "the kernel does not tell; attempts are admitted without it",
            "start the kernel with psi=1, where it is built with CONFIG_PSI",
        );
    }
    Finding::works(WHAT, format!("work waited over 10 s for: {}", told.join(", ")))
}

fn heat(machine: &Root) -> Finding {
    const WHAT: &str = "temperature";
    match thermal::hottest(machine) {
        Some(degrees) => Finding::works(WHAT, format!("{degrees:.0} °C at the hottest sensor")),
        None => Finding::not(
            WHAT,
            Standing::Absent,
            "no sensor; attempts are admitted without it",
            "virtual machines have none; on a real one load `coretemp` or `k10temp`",
        ),
    }
}

fn ffprobe() -> Finding {
    match crate::commands::demo::ffprobe() {
        Some(program) => Finding::works("ffprobe", format!("{} (checks the outputs of the demo)", program.display())),
        None => Finding::not(
            "ffprobe",
            Standing::Absent,
            "not installed; only the demo's checks use it",
            "apt install ffmpeg",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_below_a_root() {
        let root = tempfile::tempdir().unwrap();
        for directory in ["dev", "proc/pressure", "sys/class/powercap/intel-rapl:0", "sys/class/thermal/thermal_zone0"]
        {
            std::fs::create_dir_all(root.path().join(directory)).unwrap();
        }
        let machine = Root::at(root.path());
        for look in [counters, pressures, heat] {
            let finding = look(&machine);
            assert!(finding.standing == Standing::Absent && finding.cure.is_some(), "{finding:?}");
        }
        for (file, text) in [
            ("dev/nvidia0", ""),
            ("dev/nvidiactl", ""),
            ("sys/class/powercap/intel-rapl:0/name", "package-0\n"),
            ("sys/class/powercap/intel-rapl:0/energy_uj", "123456\n"),
            ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "262143328850\n"),
            ("proc/pressure/cpu", "some avg10=1.50 avg60=0.00 avg300=0.00 total=0\n"),
        ] {
            std::fs::write(root.path().join(file), text).unwrap();
        }
        assert_eq!(nvidia(root.path()).detail, "nvidia0");
        assert_eq!(counters(&machine).standing, Standing::Works);
        assert!(pressures(&machine).detail.contains("cpu 1.5 %"));
    }
}
