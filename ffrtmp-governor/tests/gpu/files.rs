//! Cards of Intel and AMD, from trees of files that stand for kernels.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ffrtmp_core::node::{EncodeBound, GpuClass};
use ffrtmp_governor::gpu::drm::{Drm, parse_pci_ids};
use ffrtmp_governor::gpu::{Fleet, GpuOptions, GpuSource};
use ffrtmp_governor::probe::Root;

const PCI_IDS: &str = "\
# a list
1002  Advanced Micro Devices, Inc. [AMD/ATI]
\t15e7  Barcelo
\t744c  Navi 31 [Radeon RX 7900 XT/7900 XTX/7900M]
\t\t1002 0e3b  a board
8086  Intel Corporation
\t4680  AlderLake-S GT1
\t56a0  DG2 [Arc A770]
C 03  Display controller
\t00  VGA compatible controller
";

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (path, text) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
}

/// A desktop: graphics in the processor (i915), a card of AMD, one of Intel (xe), and what is none.
fn desktop() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a directory");
    write(
        folder.path(),
        &[
            ("usr/share/misc/pci.ids", PCI_IDS),
            ("proc/sys/kernel/osrelease", "6.18.0-amd64\n"),
            ("sys/class/drm/version", "drm 1.1.0\n"),
            ("sys/class/drm/card0-HDMI-A-1/status", "connected\n"),
            ("sys/class/drm/renderD128/device/vendor", "0x8086\n"),
            ("sys/class/drm/card0/device/vendor", "0x1002\n"),
            ("sys/class/drm/card0/device/device", "0x744c\n"),
            ("sys/class/drm/card0/device/uevent", "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:03:00.0\n"),
            ("sys/class/drm/card0/device/gpu_busy_percent", "37\n"),
            ("sys/class/drm/card0/device/mem_info_vram_total", "25753026560\n"),
            ("sys/class/drm/card0/device/mem_info_vram_used", "1073741824\n"),
            ("sys/class/drm/card0/device/hwmon/hwmon5/power1_average", "85000000\n"),
            ("sys/class/drm/card0/device/hwmon/hwmon5/temp1_input", "61000\n"),
            ("sys/class/drm/card0/device/hwmon/hwmon5/freq1_input", "2371000000\n"),
            ("sys/class/drm/card0/device/hwmon/hwmon5/freq2_input", "1249000000\n"),
            ("sys/class/drm/card1/device/vendor", "0x8086\n"),
            ("sys/class/drm/card1/device/device", "0x4680\n"),
            ("sys/class/drm/card1/device/uevent", "DRIVER=i915\nPCI_SLOT_NAME=0000:00:02.0\n"),
            ("sys/class/drm/card1/gt_act_freq_mhz", "700\n"),
            ("sys/class/drm/card1/gt/gt0/rc6_residency_ms", "1000\n"),
            ("sys/class/drm/card2/device/vendor", "0x8086\n"),
            ("sys/class/drm/card2/device/device", "0x56a0\n"),
            ("sys/class/drm/card2/device/uevent", "DRIVER=xe\nPCI_SLOT_NAME=0000:04:00.0\n"),
            ("sys/class/drm/card2/device/tile0/gt0/freq0/act_freq", "2400\n"),
            ("sys/class/drm/card2/device/tile0/gt0/gtidle/idle_residency_ms", "5\n"),
            ("sys/class/drm/card2/device/hwmon/hwmon6/energy1_input", "9000000\n"),
            ("sys/class/drm/card3/device/vendor", "0x1af4\n"),
            ("sys/class/drm/card3/device/device", "0x1050\n"),
            ("sys/class/drm/card4/device/vendor", "nonsense\n"),
            ("sys/class/drm/card5/device/vendor", "0x10de\n"),
            ("sys/class/drm/card5/device/device", "0x2206\n"),
            ("sys/class/drm/card5/device/uevent", "DRIVER=nvidia\nPCI_SLOT_NAME=0000:05:00.0\n"),
            ("sys/class/drm/card6/device/vendor", "0x10de\n"),
            ("sys/class/drm/card6/device/device", "0x1180\n"),
            ("sys/class/drm/card6/device/uevent", "DRIVER=nouveau\nPCI_SLOT_NAME=0000:06:00.0\n"),
        ],
    );
    folder
}

#[test]
fn a_desktop_with_cards_of_all_makers() {
    let folder = desktop();
    let fleet = Fleet::of(vec![Box::new(Drm::new(Root::at(folder.path())))], &GpuOptions::default());
    let about: Vec<_> = fleet
        .cards()
        .iter()
        .map(|card| (card.index, card.vendor.as_str(), card.pci.as_str(), card.class, card.encode_bound))
        .collect();
    assert_eq!(
        about,
        [
            (0, "intel", "0000:00:02.0", GpuClass::Integrated, EncodeBound::Unbounded),
            (1, "amd", "0000:03:00.0", GpuClass::Consumer, EncodeBound::Unbounded),
            (2, "intel", "0000:04:00.0", GpuClass::Consumer, EncodeBound::Unbounded),
            (3, "nvidia", "0000:06:00.0", GpuClass::Unknown, EncodeBound::None),
        ]
    );
    assert_eq!(fleet.cards()[0].name, "AlderLake-S GT1");
    assert_eq!(
        (fleet.cards()[1].driver.as_str(), fleet.cards()[1].memory_total_bytes),
        ("amdgpu 6.18.0-amd64", 25_753_026_560)
    );
    assert_eq!(fleet.cards()[3].name, "nvidia 1180", "a card that no list knows");

    let now = fleet.telemetry();
    let amd = &now[1];
    assert_eq!((amd.utilization_percent, amd.memory_used_bytes), (Some(37.0), Some(1 << 30)));
    assert_eq!((amd.temperature_celsius, amd.power_watts), (Some(61.0), Some(85.0)));
    assert_eq!((amd.clock_mhz, amd.memory_clock_mhz, amd.encode_sessions), (Some(2371), Some(1249), None));
    assert_eq!((now[0].clock_mhz, now[2].clock_mhz), (Some(700), Some(2400)));
    assert_eq!(fleet.energy().keys().collect::<Vec<_>>(), [&2], "only one of them counts it");

    fs::remove_dir_all(folder.path().join("sys/class/drm/card0")).expect("it is unplugged");
    let end = Instant::now() + Duration::from_secs(20);
    let lost = loop {
        match fleet.telemetry().swap_remove(1).lost {
            Some(lost) => break lost,
            None => assert!(Instant::now() < end, "nobody misses it"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(lost.contains("taken out"), "{lost}");
}

#[test]
fn a_card_of_intel_is_as_busy_as_it_does_not_sleep() {
    let folder = desktop();
    let mut source = Drm::new(Root::at(folder.path()));
    let first = source.look().expect("cards");
    assert_eq!(first[0].now.utilization_percent, None, "one look tells no rate");
    let counter = "sys/class/drm/card1/gt/gt0/rc6_residency_ms";
    let second = source.look().expect("cards");
    assert_eq!(second[0].now.utilization_percent, Some(100.0), "it has not slept");
    write(folder.path(), &[(counter, "99999999\n")]);
    let third = source.look().expect("cards");
    assert_eq!(third[0].now.utilization_percent, Some(0.0), "it has slept all the time");
    write(folder.path(), &[(counter, "5\n")]);
    assert_eq!(source.look().expect("cards")[0].now.utilization_percent, None, "a counter that began anew");
}

#[test]
fn machines_without_cards_say_so() {
    let folder = tempfile::tempdir().expect("a directory");
    let absence = Drm::new(Root::at(folder.path())).look().expect_err("nothing is there");
    assert_eq!((absence.source, absence.hint.as_str()), ("drm", ""));
}

#[test]
fn names_of_cards() {
    for (maker, model, name) in [
        (0x1002, 0x744c, Some("Navi 31 [Radeon RX 7900 XT/7900 XTX/7900M]")),
        (0x8086, 0x4680, Some("AlderLake-S GT1")),
        (0x1002, 0x4680, None),
        (0x1002, 0x0e3b, None),
        (0x0003, 0x0000, None),
    ] {
        assert_eq!(parse_pci_ids(PCI_IDS, maker, model).as_deref(), name);
    }
}
