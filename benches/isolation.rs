//! What a child process costs an attempt: the same work in this process, in a child without a
//! sandbox, and in a child with it, in turns.
//!
//! `cargo build --release && cargo bench --bench isolation [-- --quick]`. Each line gives medians of
//! wall time, and processor time of everything that took part: this process, the fork server, the
//! child. The bounds are 5 ms and 0.5 % of the processor time of an attempt of ten seconds of 720p.

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

/// An engine to measure, and the process whose processor time is not in its reports.
struct Arm {
    name: &'static str,
    engine: Box<dyn Engine>,
    server: Option<u32>,
    walls: Vec<Duration>,
    cpus: Vec<Duration>,
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
        let (own, serving) = (on_processor("self"), self.serving());
        let begun = Instant::now();
        let report = self.engine.run(task, &Control::default(), &Unobserved).expect("a run");
        self.walls.push(begun.elapsed());
        let child = self.server.map_or(0.0, |_| report.cpu_seconds);
        let beside = on_processor("self") - own + self.serving() - serving;
        self.cpus.push(beside + Duration::from_secs_f64(child));
    }

    fn serving(&self) -> Duration {
        self.server.map_or(Duration::ZERO, |server| on_processor(&server.to_string()))
    }
}

/// Time that all threads of a process have been on a processor, those that have ended included.
fn on_processor(process: &str) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process lives");
    // Ticks are coarse; the scheduler's own count of a process with one thread is exact.
    if process != "self" {
        let counted = fs::read_to_string(format!("/proc/{process}/schedstat")).expect("schedstat");
        return Duration::from_nanos(counted.split(' ').next().and_then(|text| text.parse().ok()).expect("a number"));
    }
    let fields: Vec<_> = stat.rsplit(") ").next().expect("a name").split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().expect("a number") + fields[12].parse::<u64>().expect("a number");
    Duration::from_millis(ticks * 10)
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

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn mean(times: &[Duration]) -> Duration {
    times.iter().sum::<Duration>() / u32::try_from(times.len()).expect("few")
}

fn race(what: &str, scenario: &str, seconds: f64, rounds: usize, mut arms: Vec<Arm>) {
    let folder = tempfile::tempdir().expect("a scratch directory");
    for round in 0..rounds + 1 {
        for arm in &mut arms {
            arm.run(&task(folder.path(), scenario, seconds));
        }
        // The first touches every library for the first time.
        if round == 0 {
            arms.iter_mut().for_each(|arm| (arm.walls, arm.cpus) = (Vec::new(), Vec::new()));
        }
    }
    println!("{what}, {rounds} rounds");
    let (wall, cpu) = (median(&mut arms[0].walls), mean(&arms[0].cpus));
    for arm in &mut arms {
        let (its, used) = (median(&mut arm.walls), mean(&arm.cpus));
        let more = used.as_secs_f64() - cpu.as_secs_f64();
        println!(
            "  {:<22} wall {:>10.3?} ({:+.3} ms)  cpu {:>10.3?} ({:+.3} ms, {:+.2} %)",
            arm.name,
            its,
            (its.as_secs_f64() - wall.as_secs_f64()) * 1e3,
            used,
            more * 1e3,
            more / cpu.as_secs_f64() * 100.0,
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
    race("1 s of 360p", "360p30-h264", 1.0, rounds(30), arms());
    race("10 s of 720p", "720p30-h264", 10.0, rounds(5), arms());
}
