//! Budgets on this machine and on machines made of files.

mod judge;

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::error::Code;
use ffrtmp_core::governor::{Demand, ProcessLimits, Reservation, ResourceGovernor, Room};
use ffrtmp_core::job::ResourceLimits;
use ffrtmp_core::node::{EncodeBound, Gpu, GpuTelemetry};
use ffrtmp_governor::budget::{BudgetOptions, Budgeted, StrainLimits};
use ffrtmp_governor::cgroups::{CgroupGovernor, Ownership};
use ffrtmp_governor::energy::{EnergyOptions, Metered};
use ffrtmp_governor::gpu::{Absence, Card, Fleet, GpuOptions, GpuRule, GpuSource, Pool};
use ffrtmp_governor::probe::Root;
use ffrtmp_governor::{NiceGovernor, NoGovernor};

use judge::{Busy, judge};

const GIB: u64 = 1 << 30;

/// As much as this machine has, in whatever state it is.
fn calm() -> BudgetOptions {
    BudgetOptions { strain: StrainLimits::none(), ..BudgetOptions::default() }
}

#[test]
fn budgets_conform_around_every_governor() {
    let metered = Metered::new(Arc::new(NiceGovernor::new()), &EnergyOptions::default());
    let mut inside: Vec<Arc<dyn ResourceGovernor>> =
        vec![Arc::new(NiceGovernor::new()), Arc::new(NoGovernor::default()), Arc::new(metered)];
    match CgroupGovernor::detect(Ownership::Attempts) {
        Ok(groups) => inside.push(Arc::new(groups)),
        Err(why) => eprintln!("skipped around control groups: {why}"),
    }
    for governor in inside {
        judge(&*governor);
        judge(&Budgeted::new(governor, &calm()));
    }
}

/// A driver with three cards of two sessions each, one of them too hot.
struct ThreeCards;

impl GpuSource for ThreeCards {
    fn name(&self) -> &'static str {
        "three cards"
    }

    fn look(&mut self) -> Result<Vec<Card>, Absence> {
        let card = |index, celsius| Card {
            about: Gpu {
                index,
                memory_total_bytes: 8 * GIB,
                max_encode_sessions: 2,
                encode_bound: EncodeBound::Card,
                ..Gpu::default()
            },
            now: GpuTelemetry { index, temperature_celsius: Some(celsius), ..GpuTelemetry::default() },
            energy: None,
        };
        Ok(vec![card(0, 60.0), card(1, 95.0), card(2, 50.0)])
    }
}

#[test]
fn sessions_of_graphics_processors_are_a_part_of_it() {
    let fleet = Arc::new(Fleet::of(vec![Box::new(ThreeCards)], &GpuOptions::default()));
    let pool = Pool::new(fleet, GpuRule::default());
    let governor = Budgeted::new(Arc::new(NiceGovernor::new()), &calm()).with_gpus(pool);
    judge(&governor);
    let work = tempfile::tempdir().expect("a work directory");
    assert_eq!(governor.room(work.path()).gpu_sessions, Some(4), "none on the hot card");
    assert_eq!(governor.telemetry(work.path()).gpus.len(), 3);

    let demand = Demand { limits: &memory_mb(1), gpu: true, work_dir: work.path() };
    let mut held: Vec<_> = (0..4).map(|_| governor.reserve(&demand).expect("a session")).collect();
    let mut cards: Vec<_> = held.iter().filter_map(Reservation::gpu).collect();
    cards.sort_unstable();
    assert_eq!(cards, [0, 0, 2, 2]);
    let before = governor.room(work.path());
    let refused = governor.reserve(&demand).expect_err("all sessions are taken");
    assert!(refused.code() == Code::NoRoom && refused.to_string().contains("session"), "{refused}");
    let after = governor.room(work.path()).memory_bytes;
    assert!(after >= before.memory_bytes.map(|bytes| bytes - (64 << 20)), "a refused attempt keeps nothing");
    assert_eq!(
        held.pop().and_then(|held| held.gpu()),
        Some(governor.reserve(&demand).expect("it came back").gpu().expect("a card"))
    );
}

/// A directory tree that stands for a machine of four cores, 16 GiB, 12 GiB of them available.
struct Machine {
    folder: tempfile::TempDir,
    work: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().expect("a root"), work: tempfile::tempdir().expect("work") };
        machine.has("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 12582912 kB\n");
        machine.has("proc/cpuinfo", "processor: 0\nprocessor: 1\nprocessor: 2\nprocessor: 3\n");
        machine
    }

    fn has(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        fs::write(path, text).expect("a file");
    }

    fn budget(&self, options: &BudgetOptions) -> Budgeted {
        let root = Root::at(self.folder.path());
        Budgeted::on(root.clone(), Arc::new(NiceGovernor::on(root, 10)), options)
    }

    /// Looks at the machine each time.
    fn attentive(&self) -> Budgeted {
        let strain = StrainLimits { look_every: Duration::ZERO, ..StrainLimits::default() };
        self.budget(&BudgetOptions { strain, ..BudgetOptions::default() })
    }

    fn room(&self, governor: &Budgeted) -> Room {
        governor.room(self.work.path())
    }

    fn try_reserve(&self, governor: &Budgeted, limits: &ResourceLimits) -> Result<Reservation, String> {
        let demand = Demand { limits, gpu: false, work_dir: self.work.path() };
        governor.reserve(&demand).map_err(|error| {
            assert_eq!(error.code(), Code::NoRoom, "{error}");
            error.to_string()
        })
    }

    /// As many as fit, and why no more.
    fn fill(&self, governor: &Budgeted, limits: &ResourceLimits) -> (Vec<Reservation>, String) {
        let mut held = Vec::new();
        loop {
            match self.try_reserve(governor, limits) {
                Ok(reservation) => held.push(reservation),
                Err(reason) => return (held, reason),
            }
        }
    }
}

/// Hardly any disk and processor.
fn memory_mb(mb: u64) -> ResourceLimits {
    ResourceLimits {
        max_cpu_percent: Some(1),
        max_memory_mb: Some(mb),
        max_disk_mb: Some(1),
        ..ResourceLimits::default()
    }
}

fn unstated() -> ResourceLimits {
    ResourceLimits { max_disk_mb: Some(1), ..ResourceLimits::default() }
}

#[test]
fn defaults_come_from_the_machine() {
    let machine = Machine::new();
    let governor = machine.budget(&calm());
    let budget = governor.budget();
    assert_eq!((budget.cpu_percent, budget.cpu_given_percent, budget.memory_bytes), (400, 800, Some(12 * GIB)));
    let (held, reason) = machine.fill(&governor, &unstated());
    assert!(held.len() == 6 && reason.contains("2048 MB of memory and 0 MB are left"), "{}: {reason}", held.len());
    assert_eq!(machine.room(&governor).memory_bytes, Some(0));
    drop(held);
    assert_eq!(
        machine.room(&governor),
        Room { disk_bytes: machine.room(&governor).disk_bytes, memory_bytes: Some(12 * GIB), ..Room::default() }
    );

    let whole = ResourceLimits { max_cpu_percent: Some(10_000), ..memory_mb(1) };
    let (held, reason) = machine.fill(&governor, &whole);
    assert!(held.len() == 2 && reason.contains("counts as 400 % of a core"), "{}: {reason}", held.len());

    let told = BudgetOptions { attempts: Some(16), memory_bytes: Some(64 * GIB), cpu_percent: Some(200), ..calm() };
    let governor = machine.budget(&told);
    let budget = governor.budget();
    assert_eq!((budget.cpu_percent, budget.cpu_default_percent, budget.memory_bytes), (200, 25, Some(16 * GIB)));
}

#[test]
fn a_limit_that_bounds_nothing_is_warned_of() {
    let machine = Machine::new();
    let governor = machine.budget(&BudgetOptions { cpu_percent: Some(200), ..calm() });
    for (percent, warns) in [(None, false), (Some(200), false), (Some(400), false), (Some(401), true)] {
        let limits = ResourceLimits { max_cpu_percent: percent, ..memory_mb(1) };
        let held = machine.try_reserve(&governor, &limits).expect("room");
        // What a full disk of this machine warns of stands beside it.
        let says = held.warning().is_some_and(|warning| warning.contains("401 is more than this node has (4 cores)"));
        assert_eq!(says, warns, "{percent:?}: {:?}", held.warning());
    }
    let beyond = machine.try_reserve(&governor, &memory_mb(64 << 10)).expect_err("it has 16 GiB");
    assert!(beyond.contains("65536 MB of memory"), "{beyond}");
}

#[test]
fn a_small_machine_runs_attempts_that_state_nothing_one_by_one() {
    let machine = Machine::new();
    machine.has("proc/meminfo", "MemTotal: 2097152 kB\nMemAvailable: 2000000 kB\n");
    let governor = machine.budget(&calm());
    let (held, _) = machine.fill(&governor, &unstated());
    assert_eq!(held.len(), 1);
    drop(held);
    let refused = machine.try_reserve(&governor, &memory_mb(2048)).expect_err("it has less");
    assert!(refused.contains("2048 MB of memory and 1536 MB are left"), "{refused}");
}

#[test]
fn what_an_attempt_uses_is_a_part_of_what_it_reserved() {
    let machine = Machine::new();
    machine.has("proc/meminfo", "MemTotal: 16777216 kB\nMemAvailable: 4194304 kB\n");
    let busy = Busy::start();
    let pid = busy.pid();
    machine.has(&format!("proc/{pid}/stat"), &format!("{pid} (sh) R 1 1 1 0 -1 0 0 0 0 0 5 5 0 0 30 10 1 0 9 1 1"));
    machine.has(&format!("proc/{pid}/status"), "VmHWM: 1048576 kB\n");
    let governor = machine.budget(&calm());
    let _held = machine.try_reserve(&governor, &memory_mb(3072)).expect("room");
    assert_eq!(machine.room(&governor).memory_bytes, Some(GIB), "nothing of it is used yet");
    let guard = governor.govern(pid, &ProcessLimits::default()).expect("governed");
    assert_eq!(machine.room(&governor).memory_bytes, Some(2 * GIB), "1 GiB is used already");
    drop(guard);
    assert_eq!(machine.room(&governor).memory_bytes, Some(GIB));
}

#[test]
fn pressure_holds_back_and_says_so() {
    let machine = Machine::new();
    let pressure = |full: &str| {
        machine.has(
            "proc/pressure/memory",
            &format!("some avg10=90.00 avg60=0 avg300=0 total=1\nfull avg10={full} avg60=0\n"),
        );
    };
    pressure("9.00");
    let governor = machine.attentive();
    let running = machine.try_reserve(&governor, &memory_mb(1)).expect("room");
    pressure("23.00");
    let words = "memory pressure 23 % over 10 s (limit 10 %)";
    let refused = machine.try_reserve(&governor, &memory_mb(1)).expect_err("pressure");
    assert!(refused.contains(words), "{refused}");
    assert_eq!(machine.room(&governor).held_back.as_deref(), Some(words));
    assert_eq!(governor.telemetry(machine.work.path()).held_back.as_deref(), Some(words));
    drop(running);
    pressure("6.00");
    assert!(machine.try_reserve(&governor, &memory_mb(1)).is_err(), "not far enough below the limit");
    pressure("4.00");
    machine.try_reserve(&governor, &memory_mb(1)).expect("room again");
    assert_eq!(machine.room(&governor).held_back, None);
}

#[test]
fn waiting_for_a_disk_lets_one_attempt_in() {
    let machine = Machine::new();
    machine.has("proc/pressure/io", "some avg10=90.00 avg60=0\nfull avg10=80.00 avg60=0\n");
    let governor = machine.attentive();
    assert_eq!(machine.room(&governor).held_back, None);
    let (held, reason) = machine.fill(&governor, &memory_mb(1));
    assert_eq!((held.len(), machine.room(&governor).held_back.is_some()), (1, true), "{reason}");
    assert!(reason.contains("disk pressure 80 % over 10 s (limit 40 %)"), "{reason}");
}

#[test]
fn a_busy_processor_holds_back_what_would_overcommit_it() {
    let machine = Machine::new();
    machine.has("proc/pressure/cpu", "some avg10=95.00 avg60=0\n");
    let attempt = ResourceLimits { max_cpu_percent: Some(100), ..memory_mb(1) };
    let (held, reason) = machine.fill(&machine.attentive(), &attempt);
    assert!(held.len() == 4 && reason.contains("processor pressure 95 %"), "{}: {reason}", held.len());
    machine.has("proc/pressure/cpu", "some avg10=85.00 avg60=0\n");
    assert_eq!(machine.fill(&machine.attentive(), &attempt).0.len(), 8);
}

#[test]
fn heat_holds_back() {
    let machine = Machine::new();
    let zone = "sys/class/thermal/thermal_zone0";
    let monitor = "sys/class/hwmon/hwmon1";
    for (file, text) in [
        ("trip_point_0_type", "passive\n"),
        ("trip_point_0_temp", "80000\n"),
        ("trip_point_1_type", "critical\n"),
        ("trip_point_1_temp", "105000\n"),
        ("temp", "99000\n"),
    ] {
        machine.has(&format!("{zone}/{file}"), text);
    }
    // A sensor without a critical point that means anything says nothing.
    for (file, text) in
        [("temp1_input", "90000\n"), ("temp1_crit", "100000\n"), ("temp2_input", "40000\n"), ("temp2_crit", "0\n")]
    {
        machine.has(&format!("{monitor}/{file}"), text);
    }
    let governor = machine.attentive();
    machine.try_reserve(&governor, &memory_mb(1)).expect("warm");
    machine.has(&format!("{monitor}/temp1_input"), "96000\n");
    let refused = machine.try_reserve(&governor, &memory_mb(1)).expect_err("hot");
    assert!(refused.contains("96 degrees, 100 are critical"), "{refused}");
    machine.has(&format!("{monitor}/temp1_input"), "89000\n");
    assert!(machine.try_reserve(&governor, &memory_mb(1)).is_err(), "the zone has not cooled far enough");
    machine.has(&format!("{zone}/temp"), "94000\n");
    machine.try_reserve(&governor, &memory_mb(1)).expect("cool");
}

#[test]
fn slowed_processors_hold_back_all_but_one() {
    let machine = Machine::new();
    let counter = |cpu: u32| format!("sys/devices/system/cpu/cpu{cpu}/thermal_throttle/package_throttle_total_time_ms");
    for cpu in 0..4 {
        machine.has(&format!("sys/devices/system/cpu/cpu{cpu}/topology/physical_package_id"), "0\n");
        machine.has(&counter(cpu), "1000\n");
    }
    let governor = machine.attentive();
    let held = machine.try_reserve(&governor, &memory_mb(1)).expect("cool");
    machine.has(&counter(0), "9000000\n");
    let refused = machine.try_reserve(&governor, &memory_mb(1)).expect_err("slowed");
    assert!(refused.contains("heat slowed the processor 100 % of the time (limit 10 %)"), "{refused}");
    machine.try_reserve(&governor, &memory_mb(1)).expect("not slowed any more");
    drop(held);
    machine.has(&counter(0), "99000000\n");
    machine.try_reserve(&governor, &memory_mb(1)).expect("the only one");
}

#[test]
fn reservations_come_back_from_every_thread_and_every_panic() {
    let machine = Machine::new();
    let governor = machine.budget(&calm());
    let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let (granted, until) = (AtomicUsize::new(0), Instant::now() + Duration::from_secs(60));
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while granted.load(Ordering::Relaxed) < 2000 {
                    assert!(Instant::now() < until, "threads wait for each other");
                    let Ok(held) = machine.try_reserve(&governor, &memory_mb(3000)) else { continue };
                    most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                    thread::yield_now();
                    now.fetch_sub(1, Ordering::SeqCst);
                    if granted.fetch_add(1, Ordering::Relaxed) % 3 == 0 {
                        let unwound = catch_unwind(AssertUnwindSafe(|| {
                            let _held = held;
                            resume_unwind(Box::new("an attempt that breaks"))
                        }));
                        assert!(unwound.is_err());
                    }
                }
            });
        }
    });
    assert!(most.load(Ordering::SeqCst) <= 4, "{most:?} of 3000 MB in 12 GiB");
    assert_eq!(machine.room(&governor).memory_bytes, Some(12 * GIB));
    let outlived = machine.try_reserve(&governor, &memory_mb(1)).expect("room");
    drop(governor);
    drop(outlived);
}

#[test]
fn a_disk_that_cannot_be_asked_is_an_error_and_no_room() {
    let governor = Machine::new().budget(&calm());
    let nowhere = Path::new("/nonexistent");
    let demand = Demand { limits: &unstated(), gpu: false, work_dir: nowhere };
    assert_eq!(governor.reserve(&demand).expect_err("no disk").code(), Code::Storage);
    assert_eq!(governor.admit(&demand).expect_err("no disk").code(), Code::Storage);
    assert_eq!(governor.room(nowhere).held_back.as_deref(), Some("cannot ask the disk of /nonexistent"));
}
