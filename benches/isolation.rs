//! What a child process costs an attempt: the same work in this process, in a child without a
//! sandbox, and in a child with it, in turns.
//!
//! `cargo build --release && cargo bench --bench isolation [-- --quick]`. Each line gives medians of
//! wall time, and of the processor time of everything that took part: this process, the fork server, the
//! child; in brackets the median of what it was more than in process in the same round. The bounds are
//! 5 ms and 0.5 % of the processor time of an attempt. Children run at priority 10: beside other work,
//! `nice -n 10` puts this process on a level with them.

#![allow(clippy::print_stdout, reason = "the measurements are the output")]

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, Source, Task, Unobserved};
use ffrtmp_core::job::EngineName;
use ffrtmp_core::units::Seconds;
use ffrtmp_engines::isolated::{IsolatedEngine, runner_beside_current_exe};
use ffrtmp_engines::synthetic::SyntheticEngine;
use ffrtmp_engines::{LibavEngine, libav};
use rustix::time::{ClockId, clock_gettime};

/// An engine to measure, and the process whose processor time is not in its reports.
struct Arm {
    name: &'static str,
    engine: Box<dyn Engine>,
    server: Option<u32>,
    walls: Vec<f64>,
    cpus: Vec<f64>,
}

impl Arm {
    fn inside(engine: impl Engine) -> Self {
        Self { name: "in process", engine: Box::new(engine), server: None, walls: Vec::new(), cpus: Vec::new() }
    }

    fn outside(name: &'static str, args: &[&str], kind: EngineName) -> Self {
        let runner = runner_beside_current_exe().expect("`cargo build --release` has made the runner");
        let known = children();
        let engine = IsolatedEngine::named(runner, args.iter().map(OsString::from).collect(), kind);
        engine.try_capabilities().expect("the runner starts");
        let server = children().into_iter().find(|pid| !known.contains(pid));
        Self { name, engine: Box::new(engine), server, walls: Vec::new(), cpus: Vec::new() }
    }

    fn run(&mut self, task: &Task) {
        let (own, serving) = (on_processor(), self.serving());
        let begun = Instant::now();
        let report = self.engine.run(task, &Control::default(), &Unobserved).expect("a run");
        self.walls.push(begun.elapsed().as_secs_f64() * 1e3);
        let child = self.server.map_or(0.0, |_| report.cpu_seconds);
        let beside = on_processor() - own + self.serving() - serving;
        self.cpus.push((beside.as_secs_f64() + child) * 1e3);
    }

    /// What the fork server has used. It has one thread, so the scheduler's own count is all of it.
    fn serving(&self) -> Duration {
        let Some(server) = self.server else { return Duration::ZERO };
        let counted = fs::read_to_string(format!("/proc/{server}/schedstat")).expect("the server lives");
        Duration::from_nanos(counted.split(' ').next().and_then(|text| text.parse().ok()).expect("a number"))
    }
}

/// Time that all threads of this process have been on a processor, those that have ended included.
fn on_processor() -> Duration {
    let used = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(used.tv_sec.unsigned_abs(), u32::try_from(used.tv_nsec).expect("less than a second"))
}

fn children() -> Vec<u32> {
    let own = std::process::id();
    let tasks = fs::read_dir("/proc/self/task").expect("/proc").flatten();
    let listed = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    let found: Vec<u32> =
        listed.flat_map(|line| line.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>()).collect();
    assert!(!found.contains(&own));
    found
}

fn median(numbers: impl IntoIterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.into_iter().collect();
    numbers.sort_unstable_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Each round runs every arm once; what an arm costs is the median over the rounds of the difference to
/// the first arm in the same round.
fn race(what: &str, scenario: &str, seconds: f64, rounds: usize, mut arms: Vec<Arm>) {
    let folder = tempfile::tempdir().expect("a scratch directory");
    let count = arms.len();
    for round in 0..=rounds {
        for turn in 0..count {
            arms[(round + turn) % count].run(&task(folder.path(), scenario, seconds));
        }
        // The first touches every library for the first time.
        if round == 0 {
            arms.iter_mut().for_each(|arm| (arm.walls, arm.cpus) = (Vec::new(), Vec::new()));
        }
    }
    println!("{what}, {rounds} rounds");
    let more = |own: &[f64], first: &[f64]| median(own.iter().zip(first).map(|(own, first)| own - first));
    let (walls, cpus) = (arms[0].walls.clone(), arms[0].cpus.clone());
    let whole = median(cpus.iter().copied());
    for arm in &arms {
        let used = more(&arm.cpus, &cpus);
        println!(
            "  {:<24} wall {:>9.3} ms ({:+.3})  cpu {:>9.3} ms ({used:+.3}, {:+.2} %)",
            arm.name,
            median(arm.walls.iter().copied()),
            more(&arm.walls, &walls),
            median(arm.cpus.iter().copied()),
            used / whole * 100.0,
        );
    }
}

fn task(folder: &Path, scenario: &str, seconds: f64) -> Task {
    let length = Seconds::try_from(seconds).expect("a span");
    Task::new(Source::Generated(length), folder.join("out.mp4"), scenario.parse().expect("a scenario"))
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick");
    let rounds = |many: usize| if quick { 1 } else { many };
    libav::init();
    let synthetic =
        |name, args: &[&str]| Arm::outside(name, &[&["--synthetic", "{}"], args].concat(), EngineName::Synthetic);
    let nothing = vec![
        Arm::inside(SyntheticEngine::default()),
        synthetic("child, no sandbox", &["--sandbox", "off"]),
        synthetic("child, sandbox", &[]),
    ];
    race("nothing to do (synthetic engine)", "144p10-h264", 0.2, rounds(200), nothing);
    let arms = || {
        vec![
            Arm::inside(LibavEngine::new().expect("the libraries load")),
            Arm::outside("child, no sandbox", &["--sandbox", "off"], EngineName::Ffmpeg),
            Arm::outside("child, sandbox", &[], EngineName::Ffmpeg),
        ]
    };
    race("1 s of 360p", "360p30-h264", 1.0, rounds(40), arms());
    race("10 s of 720p", "720p30-h264", 10.0, rounds(5), arms());
}
