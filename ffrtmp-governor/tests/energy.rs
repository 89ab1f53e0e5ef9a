//! Energy of attempts: on machines made of files, whose meters the test turns, and on this one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Admission, Demand, Governed, ProcessLimits, Reservation, ResourceGovernor, Room, Usage};
use ffrtmp_core::job::EnergySource;
use ffrtmp_core::node::{Gpu, GpuTelemetry, Safeguard, Telemetry};
use ffrtmp_core::units::Joules;
use ffrtmp_governor::NiceGovernor;
use ffrtmp_governor::energy::{DEFAULT_WATTS_PER_CORE, EnergyOptions, Metered};
use ffrtmp_governor::gpu::{Absence, Card, Fleet, GpuOptions, GpuSource};
use ffrtmp_governor::probe::{self, Root};

/// A governor whose processes use what the test says, by id.
#[derive(Clone, Default)]
struct Told(Arc<[AtomicU64; 4]>);

impl Told {
    fn worked(&self, pid: usize, millis: u64) {
        self.0[pid].fetch_add(millis, Ordering::SeqCst);
    }
}

struct ToldGuard(Told, usize);

impl Governed for ToldGuard {
    fn usage(&self) -> Usage {
        Usage { cpu: Duration::from_millis(self.0.0[self.1].load(Ordering::SeqCst)), ..Usage::default() }
    }

    fn limit(&self, _: &ProcessLimits) -> Result<bool> {
        Ok(true)
    }
}

impl ResourceGovernor for Told {
    fn name(&self) -> &'static str {
        "told"
    }

    fn limits(&self) -> Vec<Safeguard> {
        Vec::new()
    }

    fn admit(&self, _: &Demand<'_>) -> Result<Admission> {
        Ok(Admission::Admitted)
    }

    fn reserve(&self, _: &Demand<'_>) -> Result<Reservation> {
        Ok(Reservation::new(None, None, ()))
    }

    fn room(&self, _: &Path) -> Room {
        Room::default()
    }

    fn govern(&self, pid: u32, _: &ProcessLimits) -> Result<Box<dyn Governed>> {
        Ok(Box::new(ToldGuard(self.clone(), pid as usize)))
    }

    fn telemetry(&self, _: &Path) -> Telemetry {
        Telemetry::default()
    }
}

/// A machine of four cores with a package, whose cores are a zone too.
struct Machine {
    folder: tempfile::TempDir,
    told: Told,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { folder: tempfile::tempdir().expect("a root"), told: Told::default() };
        for (zone, name) in [("intel-rapl:0", "package-0"), ("intel-rapl:0:0", "core")] {
            machine.write(&format!("sys/class/powercap/{zone}/name"), name);
            machine.write(&format!("sys/class/powercap/{zone}/max_energy_range_uj"), "1000000000");
        }
        machine.shows(990, 100, 100);
        machine
    }

    fn write(&self, file: &str, text: &str) {
        let path = self.folder.path().join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
        // A reader sees the old or the new one.
        let beside = PathBuf::from(format!("{}.new", path.display()));
        fs::write(&beside, text).and_then(|()| fs::rename(&beside, &path)).expect("a file");
    }

    /// Joules, and seconds that processors worked and did not.
    fn shows(&self, joules: u64, busy: u64, idle: u64) {
        let ticks = rustix::param::clock_ticks_per_second();
        self.write("proc/stat", &format!("cpu  {} 0 0 {} 0 0 0 0\n", busy * ticks, idle * ticks));
        let micros = joules % 1000 * 1_000_000;
        self.write("sys/class/powercap/intel-rapl:0:0/energy_uj", &micros.to_string());
        self.write("sys/class/powercap/intel-rapl:0/energy_uj", &micros.to_string());
    }

    /// Looked at only when asked.
    fn metered(&self, fleet: Option<Arc<Fleet>>) -> Metered {
        let options = EnergyOptions { look_every: Duration::from_secs(3600), ..EnergyOptions::default() };
        Metered::on(Root::at(self.folder.path()), Arc::new(self.told.clone()), &options, fleet)
    }
}

/// Energy of a guard once it is what is expected.
fn settled(guard: &dyn Governed, joules: f64, source: EnergySource) {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let found = guard.usage().energy.expect("energy");
        if (found.0.0 - joules).abs() < 1e-3 && found.1 == source {
            return;
        }
        assert!(Instant::now() < until, "{found:?} instead of {joules} J, {source}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Has the meters looked at, so that guards which began one after another are there for the whole
/// of the next interval. They are not looked at twice within 50 ms.
fn interval_begins(guard: &dyn Governed) {
    thread::sleep(Duration::from_millis(60));
    guard.usage();
}

fn govern(governor: &Metered, pid: u32) -> Box<dyn Governed> {
    governor.govern(pid, &ProcessLimits::default()).expect("governed")
}

#[test]
fn a_node_is_shared_by_time_and_its_parts_are_not_counted_twice() {
    let machine = Machine::new();
    machine.told.worked(0, 50_000);
    let governor = machine.metered(None);
    let (first, second) = (govern(&governor, 0), govern(&governor, 1));
    interval_begins(&*first);
    // A quarter of the machine works, the counter turns over, and a third of the work is foreign.
    machine.told.worked(0, 3000);
    machine.told.worked(1, 1000);
    machine.shows(1014, 106, 118);
    // Work: 24 J x 6/24 = 6 J by time. Idle: 18 J x 4/6 = 12 J by halves.
    settled(&*first, 3.0 + 6.0, EnergySource::Rapl);
    settled(&*second, 1.0 + 6.0, EnergySource::Rapl);
    let both = [&first, &second].map(|guard| guard.usage().energy.map_or(0.0, |(joules, _)| joules.0));
    assert!((both.iter().sum::<f64>() - 16.0).abs() < 1e-9, "{both:?}");

    // What works alone carries it alone, and what has ended gets nothing more.
    drop(first);
    machine.told.worked(0, 2000);
    machine.told.worked(1, 2000);
    machine.shows(1024, 108, 120);
    settled(&*second, 7.0 + 10.0, EnergySource::Rapl);
    let last = govern(&governor, 2);
    assert_eq!(last.usage().energy, Some((Joules(0.0), EnergySource::Modelled)), "nothing is known of it yet");
}

#[test]
fn without_a_meter_work_is_modelled_and_says_so() {
    let empty = tempfile::tempdir().expect("a root");
    let told = Told::default();
    told.worked(0, 100_000);
    let options = EnergyOptions { watts_per_core: 7.5, ..EnergyOptions::default() };
    let governor = Metered::on(Root::at(empty.path()), Arc::new(told.clone()), &options, None);
    let guard = govern(&governor, 0);
    assert_eq!(guard.usage().energy, Some((Joules(0.0), EnergySource::Modelled)));
    told.worked(0, 4000);
    assert_eq!(guard.usage().energy, Some((Joules(30.0), EnergySource::Modelled)));
}

/// A card that uses what the test says.
#[derive(Clone)]
struct OneCard(Arc<Mutex<Card>>);

impl GpuSource for OneCard {
    fn name(&self) -> &'static str {
        "one card"
    }

    fn look(&mut self) -> std::result::Result<Vec<Card>, Absence> {
        Ok(vec![self.0.lock().expect("nobody panics with it").clone()])
    }
}

#[test]
fn a_card_counts_for_whom_it_encodes() {
    let machine = Machine::new();
    let now = |watts, sessions| GpuTelemetry {
        power_watts: Some(watts),
        encode_sessions: Some(sessions),
        ..GpuTelemetry::default()
    };
    let about = Gpu { name: "card".into(), ..Gpu::default() };
    let card = Arc::new(Mutex::new(Card { about, now: now(0.0, 0), energy: Some(Joules(5000.0)) }));
    let fleet = Arc::new(Fleet::of(vec![Box::new(OneCard(Arc::clone(&card)))], &GpuOptions::default()));
    let governor = machine.metered(Some(Arc::clone(&fleet)));
    // In reserve until its work is known.
    let guard = govern(&governor, 0);
    let beside = govern(&governor, 1);
    interval_begins(&*beside);
    let (begun, until) = (Instant::now(), Instant::now() + Duration::from_secs(20));
    while fleet.look().at < begun {
        assert!(Instant::now() < until, "the card is not looked at again");
        thread::sleep(Duration::from_millis(10));
    }
    assert!(guard.limit(&ProcessLimits { gpu: Some(0), ..ProcessLimits::default() }).expect("limited"));
    {
        let mut card = card.lock().expect("nobody panics with it");
        (card.now, card.energy) = (now(300.0, 2), Some(Joules(5400.0)));
    }
    machine.told.worked(0, 1000);
    machine.told.worked(1, 1000);
    machine.shows(1000, 102, 102);
    // 5 J of the package each; half of the card's 400 J, for another program encodes there too.
    settled(&*guard, 5.0 + 200.0, EnergySource::RaplNvml);
    settled(&*beside, 5.0, EnergySource::Rapl);
}

/// A process that computes until it is dropped.
struct Busy(Child);

impl Busy {
    fn start(nice: i32) -> Self {
        let script = format!("renice -n {nice} $$ >/dev/null 2>&1; while :; do :; done");
        Self(Command::new("sh").args(["-c", &script]).spawn().expect("a shell"))
    }

    /// By the kernel's own count.
    fn cpu_seconds(&self) -> f64 {
        let process = probe::process::read(&Root::default(), self.0.id()).expect("a living process");
        process.ticks as f64 / rustix::param::clock_ticks_per_second() as f64
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn energy_of_two_busy_processes_follows_their_time() {
    // Machines without a meter only, for there all of it is known.
    let modelled = tempfile::tempdir().expect("a root");
    let options = EnergyOptions::default();
    let governor = Metered::on(Root::at(modelled.path()), Arc::new(NiceGovernor::new()), &options, None);
    let busy = [Busy::start(10), Busy::start(15)];
    let guards: Vec<_> = busy.iter().map(|busy| govern(&governor, busy.0.id())).collect();
    let before: Vec<_> = busy.iter().map(Busy::cpu_seconds).collect();
    let until = Instant::now() + Duration::from_secs(60);
    while busy.iter().zip(&before).any(|(busy, before)| busy.cpu_seconds() - before < 0.5) {
        assert!(Instant::now() < until, "busy processes get no processor");
        thread::sleep(Duration::from_millis(50));
    }
    for ((busy, guard), before) in busy.iter().zip(&guards).zip(&before) {
        let (joules, source) = guard.usage().energy.expect("modelled");
        let expected = (busy.cpu_seconds() - before) * DEFAULT_WATTS_PER_CORE;
        assert_eq!(source, EnergySource::Modelled);
        assert!((joules.0 / expected - 1.0).abs() < 0.1, "{} J instead of {expected} J", joules.0);
        eprintln!("{:.3} J, {:.3} J by the kernel's count", joules.0, expected);
    }
}
