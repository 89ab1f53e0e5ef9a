//! Nothing runs while nothing is governed. Alone in its program: it counts threads by name.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::governor::{ProcessLimits, ResourceGovernor};
use ffrtmp_governor::NoGovernor;
use ffrtmp_governor::energy::{EnergyOptions, Metered};
use ffrtmp_governor::probe::Root;

fn threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("threads").flatten();
    tasks
        .filter(|task| fs::read_to_string(task.path().join("comm")).is_ok_and(|name| name.trim() == "ffrtmp-energy"))
        .count()
}

fn eventually(what: &str, so: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(30);
    while !so() {
        assert!(Instant::now() < until, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn meters_are_watched_only_while_something_is_governed() {
    let folder = tempfile::tempdir().expect("a root");
    let options = EnergyOptions { look_every: Duration::from_millis(20), ..EnergyOptions::default() };
    let metered = || Metered::on(Root::at(folder.path()), Arc::new(NoGovernor::default()), &options, None);
    let mut child = Command::new("sleep").arg("1000").spawn().expect("a process");
    let pid = child.id();
    let govern = |governor: &Metered| governor.govern(pid, &ProcessLimits::default()).expect("governed");

    let without = metered();
    let guard = govern(&without);
    assert_eq!(threads(), 0, "there is no meter to watch");
    drop((guard, without));

    let zone = folder.path().join("sys/class/powercap/intel-rapl:0");
    fs::create_dir_all(&zone).expect("a zone");
    for (file, text) in [("name", "package-0"), ("energy_uj", "5"), ("max_energy_range_uj", "1000")] {
        fs::write(zone.join(file), text).expect("a file");
    }
    let governor = metered();
    assert_eq!(threads(), 0);
    let guards = [govern(&governor), govern(&governor)];
    eventually("a meter is watched", || threads() == 1);
    drop(guards);
    eventually("nothing is governed any more", || threads() == 0);

    let guard = govern(&governor);
    eventually("watched again", || threads() == 1);
    drop(governor);
    assert_eq!(threads(), 0, "who started it waited for its end");
    assert!(guard.usage().energy.is_some(), "a guard that outlives its governor");
    drop(guard);
    child.kill().and_then(|()| child.wait()).expect("it ends");
}
