//! Both governors under the suite of the trait, on this machine and on machines made of files.

mod judge;

use std::fs;
use std::path::Path;

use ffrtmp_core::governor::{Admission, Demand, ProcessLimits, ResourceGovernor};
use ffrtmp_core::job::ResourceLimits;
use ffrtmp_governor::probe::{self, Root};
use ffrtmp_governor::{HostFacts, NiceGovernor, NoGovernor};
use judge::{Busy, judge};

#[test]
fn nice_conforms() {
    judge(&NiceGovernor::default());
}

#[test]
fn none_conforms() {
    judge(&NoGovernor::default());
}

#[test]
fn nice_makes_nicer_and_tells_of_this_machine() {
    let governor = NiceGovernor::default();
    let busy = Busy::start();
    let _governed = governor.govern(busy.pid(), &ProcessLimits::default()).expect("governed");
    let pid = rustix::process::Pid::from_raw(busy.pid().cast_signed());
    assert!(rustix::process::getpriority_process(pid).expect("a priority") >= 10);

    let first = governor.telemetry(Path::new("/"));
    assert!(first.memory_total_bytes > 0 && first.disk_total_bytes > 0, "{first:?}");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while governor.telemetry(Path::new("/")).cpu_percent == 0.0 {
        assert!(std::time::Instant::now() < until, "a busy machine looks idle");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let missing = governor.admit(&demand(Path::new("/nonexistent")));
    assert!(missing.is_err(), "a missing work directory has room: {missing:?}");
}

/// A directory tree that stands for a machine.
fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let folder = tempfile::tempdir().expect("a directory");
    for (path, text) in files {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }
    let root = Root::at(folder.path());
    (folder, root)
}

const CPUINFO: &str = "processor\t: 0\nmodel name\t: Test CPU\n\nprocessor\t: 1\n\nprocessor\t: 2\n\nprocessor\t: 3\n";
const MEMINFO: &str = "MemTotal: 16777216 kB\nMemAvailable: 8388608 kB\n";

#[test]
fn a_machine_without_containers() {
    let (_folder, root) = machine(&[
        ("proc/cpuinfo", CPUINFO),
        ("proc/meminfo", MEMINFO),
        ("proc/sys/kernel/hostname", "worker-01\n"),
        ("proc/self/status", "Cpus_allowed_list:\t0-3\n"),
        ("proc/self/cgroup", "0::/\n"),
        ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
        ("sys/class/dmi/id/chassis_type", "10\n"),
        ("dev/nvidiactl", ""),
        ("dev/dri/renderD128", ""),
    ]);
    let facts = HostFacts::read(&root);
    assert_eq!((facts.hostname.as_str(), facts.cpu_model.as_str()), ("worker-01", "Test CPU"));
    assert_eq!((facts.cpu_threads, facts.ram_total_bytes), (4, 16 << 30));
    assert_eq!((facts.node_type.as_str(), facts.gpus.len()), ("laptop", 0));
    assert!(facts.has_nvidia_device && facts.has_render_device);
}

#[test]
fn a_container_reports_what_it_has() {
    let unified: &[_] = &[
        ("proc/self/cgroup", "0::/pod/box\n"),
        ("sys/fs/cgroup/cgroup.controllers", "cpu memory\n"),
        ("sys/fs/cgroup/pod/cpu.max", "150000 100000\n"),
        ("sys/fs/cgroup/pod/box/cpu.max", "max 100000\n"),
        ("sys/fs/cgroup/pod/memory.max", "2147483648\n"),
        ("sys/fs/cgroup/pod/memory.current", "1610612736\n"),
        ("sys/fs/cgroup/pod/memory.stat", "anon 5\ninactive_file 536870912\n"),
        ("sys/fs/cgroup/pod/box/memory.max", "max\n"),
        ("sys/fs/cgroup/pod/box/memory.current", "1\n"),
    ];
    // In a container of version 1 the mount shows the group itself; the path is the host's.
    let named: &[_] = &[
        ("proc/self/cgroup", "3:cpu,cpuacct:/docker/0a1b\n2:memory:/docker/0a1b\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "150000\n"),
        ("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n"),
        ("sys/fs/cgroup/memory/memory.limit_in_bytes", "2147483648\n"),
        ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1610612736\n"),
        ("sys/fs/cgroup/memory/memory.stat", "cache 5\ntotal_inactive_file 536870912\n"),
    ];
    for files in [unified, named] {
        let mut files = files.to_vec();
        files.extend([("proc/cpuinfo", CPUINFO), ("proc/meminfo", MEMINFO)]);
        let (_folder, root) = machine(&files);
        let facts = HostFacts::read(&root);
        assert_eq!((facts.cpu_threads, facts.ram_total_bytes), (2, 2 << 30), "{files:?}");
        assert_eq!(probe::memory::read(&root).expect("memory").available, 1 << 30, "{files:?}");
    }
}

#[test]
fn sensors_of_a_machine_made_of_files() {
    let (folder, root) = machine(&[
        ("proc/meminfo", MEMINFO),
        ("proc/loadavg", "1.50 1 1 1/1 1\n"),
        ("proc/pressure/cpu", "some avg10=12.50 avg60=0 avg300=0 total=1\n"),
        ("sys/class/thermal/thermal_zone0/temp", "45000\n"),
        ("sys/class/thermal/thermal_zone1/temp", "61500\n"),
        ("sys/class/thermal/thermal_zone2/temp", "-274000\n"),
        ("sys/class/powercap/intel-rapl:0/energy_uj", "900\n"),
        ("sys/class/powercap/intel-rapl:0/max_energy_range_uj", "1000\n"),
        ("sys/class/powercap/intel-rapl:0:0/energy_uj", "500000000\n"),
        ("sys/class/powercap/intel-rapl:1/energy_uj", "5000000\n"),
    ]);
    let before = probe::energy::read(&root).expect("energy");
    let rapl = folder.path().join("sys/class/powercap");
    fs::write(rapl.join("intel-rapl:0/energy_uj"), "400\n").expect("a file");
    fs::write(rapl.join("intel-rapl:0:0/energy_uj"), "900000000\n").expect("a file");
    fs::write(rapl.join("intel-rapl:1/energy_uj"), "7000000\n").expect("a file");
    let used = probe::energy::read(&root).expect("energy").since(&before).expect("used");
    assert!((used.0 - 2.0005).abs() < 1e-9, "a counter that turned over, and one that did not: {used:?}");

    let telemetry = NiceGovernor::on(root, 10).telemetry(folder.path());
    assert_eq!((telemetry.load_avg_1m, telemetry.cpu_pressure_avg10), (1.5, Some(12.5)));
    assert_eq!((telemetry.io_pressure_avg10, telemetry.temperature_celsius), (None, Some(61.5)));
    assert_eq!((telemetry.memory_total_bytes, telemetry.memory_used_bytes), (16 << 30, 8 << 30));
    assert!(matches!(NoGovernor::default().admit(&demand(Path::new("/nonexistent"))), Ok(Admission::Admitted)));
}

fn demand(work_dir: &Path) -> Demand<'_> {
    static NO_WISHES: ResourceLimits =
        ResourceLimits { max_cpu_percent: None, max_memory_mb: None, max_disk_mb: None, timeout_sec: None };
    Demand { limits: &NO_WISHES, gpu: false, work_dir }
}
