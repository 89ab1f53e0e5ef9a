//! Limits hold, and what they did is told.

use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use ffrtmp_core::error::Code;
use ffrtmp_core::governor::{Governed, IoLimit, Limit, ProcessLimits, ResourceGovernor};
use ffrtmp_governor::cgroups::{CgroupGovernor, Ownership};
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::workload::Workload;
use crate::{eventually, governor};

/// Measurements of the processor disturb each other.
static PROCESSOR: Mutex<()> = Mutex::new(());

/// Whether a limit is in force here; says so if not.
fn holds(governor: &CgroupGovernor, limit: Limit) -> bool {
    let told = governor.limits().into_iter().find(|guard| guard.name == limit.as_str()).expect("every limit is told");
    if !told.on {
        eprintln!("skipped, {limit} is not limited here: {}", told.detail);
    }
    told.on
}

/// Percent of one processor that each used over the same time.
fn percent(governed: &[&dyn Governed], time: Duration) -> Vec<f64> {
    let begin = Instant::now();
    let before: Vec<_> = governed.iter().map(|governed| governed.usage().cpu).collect();
    std::thread::sleep(time);
    let used = governed.iter().zip(before).map(|(governed, before)| governed.usage().cpu - before);
    let used: Vec<_> = used.collect();
    used.iter().map(|used| used.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0).collect()
}

#[test]
fn quotas_hold_within_five_percent() {
    let Some(governor) = governor(Ownership::Attempts).filter(|governor| holds(governor, Limit::Cpu)) else { return };
    let _alone = PROCESSOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let (one, half) = (Workload::start("busy"), Workload::start("busy"));
    // A heavy weight, so that others on this machine do not take what the quota leaves.
    let limits =
        |percent| ProcessLimits { cpu_percent: Some(percent), cpu_weight: Some(10_000), ..ProcessLimits::default() };
    let governed = [(&one, 100), (&half, 50)]
        .map(|(process, percent)| governor.govern(process.pid(), &limits(percent)).expect("governed"));
    let governed = [governed[0].as_ref(), governed[1].as_ref()];
    let limits = [100.0, 50.0];
    let begin = Instant::now();
    let mut tries = Vec::new();
    for _ in 0..30 {
        let measured = percent(&governed, Duration::from_secs(2));
        // What a machine that stood still gave too much in one window is taken back in the next.
        let all = governed.map(|governed| governed.usage().cpu.as_secs_f64() / begin.elapsed().as_secs_f64() * 100.0);
        let within = |index: usize| (measured[index] - limits[index]).abs() <= limits[index] * 0.05;
        let held = |index: usize| all[index] <= limits[index] * 1.05;
        if (0..2).all(|index| within(index) && held(index)) {
            eprintln!("limits 100 % and 50 %, measured {measured:.1?}");
            assert!(governed[1].usage().throttled > Duration::ZERO, "{:?}", governed[1].usage());
            return;
        }
        tries.push((measured, all));
    }
    panic!("not within 5 % of 100 and 50, then the mean of all so far: {tries:?}");
}

#[test]
fn weights_divide_a_processor() {
    let Some(governor) = governor(Ownership::Attempts).filter(|governor| holds(governor, Limit::Cpu)) else { return };
    let _alone = PROCESSOR.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut core = CpuSet::new();
    core.set(0);
    let processes = [7500, 2500].map(|weight| (Workload::start("busy"), weight));
    let governed = processes.each_ref().map(|(process, weight)| {
        let pid = Pid::from_raw(process.pid() as i32);
        for thread in fs::read_dir(format!("/proc/{}/task", process.pid())).expect("threads").flatten() {
            let thread = thread.file_name().to_string_lossy().parse().ok().and_then(Pid::from_raw);
            sched_setaffinity(thread.or(pid), &core).expect("pinned");
        }
        let limits = ProcessLimits { cpu_weight: Some(*weight), ..ProcessLimits::default() };
        governor.govern(process.pid(), &limits).expect("governed")
    });
    let mut ratio = 0.0;
    for _ in 0..30 {
        let measured = percent(&[governed[0].as_ref(), governed[1].as_ref()], Duration::from_secs(2));
        ratio = measured[0] / measured[1];
        if (2.7..=3.3).contains(&ratio) {
            eprintln!("weights 3:1, measured {ratio:.2}:1");
            return;
        }
    }
    panic!("weights 3:1 gave {ratio:.2}:1");
}

#[test]
fn a_memory_hog_is_killed_and_its_neighbour_lives() {
    let Some(governor) = governor(Ownership::Attempts).filter(|governor| holds(governor, Limit::Memory)) else {
        return;
    };
    const LIMIT: u64 = 64 << 20;
    let (mut hog, mut neighbour) = (Workload::start("hog"), Workload::start("idle"));
    let limits = ProcessLimits { memory_bytes: Some(LIMIT), ..ProcessLimits::default() };
    let governed = governor.govern(hog.pid(), &limits).expect("governed");
    let besides = governor.govern(neighbour.pid(), &limits).expect("governed");
    hog.go();
    assert_eq!(hog.wait(), Some(9), "killed");
    let usage = governed.usage();
    assert!(usage.oom_kills >= 1, "{usage:?}");
    assert!(usage.peak_memory_bytes > LIMIT / 2 && usage.peak_memory_bytes <= LIMIT, "{usage:?}");
    assert!(neighbour.is_alive());
    assert_eq!(besides.usage().oom_kills, 0);
    let remembered = governed.usage();
    assert_eq!((remembered.oom_kills, remembered.peak_memory_bytes), (usage.oom_kills, usage.peak_memory_bytes));
}

#[test]
fn forks_stop_at_the_limit() {
    let Some(governor) = governor(Ownership::Attempts).filter(|governor| holds(governor, Limit::Pids)) else { return };
    let mut bomb = Workload::start("forks");
    let limits = ProcessLimits { max_processes: Some(20), ..ProcessLimits::default() };
    let governed = governor.govern(bomb.pid(), &limits).expect("governed");
    bomb.go();
    let children: u32 = bomb.line().parse().expect("it tells");
    assert!((1..20).contains(&children), "{children} children under a limit of 20 processes and threads");
    assert!(governed.kill().expect("killed"));
    assert_eq!(bomb.wait(), Some(9));
}

#[test]
fn reads_keep_to_their_rate() {
    let Some(governor) = governor(Ownership::Attempts).filter(|governor| holds(governor, Limit::Io)) else { return };
    // A disk of its own may be given, where the temporary directory is on none.
    let disk = std::env::var_os("FFRTMP_TEST_DISK");
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&vec![7; 8 << 20]).and_then(|()| file.as_file().sync_all()).expect("written");
    let meta = file.as_file().metadata().expect("a file");
    let (path, device) = match &disk {
        Some(disk) => (disk.as_ref(), fs::metadata(disk).expect("a disk").rdev()),
        None => (file.path(), meta.dev()),
    };
    let device = (rustix::fs::major(device), rustix::fs::minor(device));
    let of_disk = format!("/sys/dev/block/{}:{}", device.0, device.1);
    if !fs::exists(&of_disk).unwrap_or(false) || fs::exists(format!("{of_disk}/partition")).unwrap_or(true) {
        return eprintln!("skipped, {} is on no whole disk: {device:?}", path.display());
    }
    let mut reader = Workload::on("read", path);
    let rate = IoLimit { device, read_bytes: Some(4 << 20), ..IoLimit::default() };
    let limits = ProcessLimits { io: vec![rate], ..ProcessLimits::default() };
    let governed = governor.govern(reader.pid(), &limits).expect("governed");
    reader.go();
    let seconds: f64 = reader.line().parse().expect("it tells");
    eprintln!("8 MiB at 4 MiB/s in {seconds:.2} s, counted {:?}", governed.usage().io);
    assert!((1.0..10.0).contains(&seconds), "8 MiB at 4 MiB/s took {seconds} s");
    eventually("bytes are counted", || governed.usage().io.is_some_and(|(read, _)| read >= 8 << 20));
    reader.go();
}

#[test]
fn limits_that_cannot_be_are_refused() {
    let Some(governor) = governor(Ownership::Attempts) else { return };
    let process = Workload::start("idle");
    let impossible = ProcessLimits { memory_bytes: Some(0), ..ProcessLimits::default() };
    let no_disk = IoLimit { device: (4000, 1), read_bytes: Some(1), ..IoLimit::default() };
    let mut cases = vec![("memory_bytes", impossible)];
    if holds(&governor, Limit::Io) {
        cases.push(("io", ProcessLimits { io: vec![no_disk], ..ProcessLimits::default() }));
    }
    let before = crate::groups_of(process.pid());
    for (field, limits) in cases {
        let error = governor.govern(process.pid(), &limits).err().expect(field);
        assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some(field)), "{error}");
        assert_eq!(crate::groups_of(process.pid()), before, "it stays where it was");
    }
    let much = ProcessLimits {
        cpu_percent: Some(u32::MAX),
        memory_bytes: Some(u64::MAX),
        max_processes: Some(u32::MAX),
        ..ProcessLimits::default()
    };
    drop(governor.govern(process.pid(), &much).expect("limits above those of the machine"));
}
