//! Children that go wrong: the right error, in time, and nothing left behind.

use std::fs;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, Observer, Progress, Task, Unobserved};
use ffrtmp_core::error::{Code, Error};
use ffrtmp_core::governor::{Admission, Demand, Governed, ProcessLimits, Reservation, Room};
use ffrtmp_core::job::ResourceLimits;
use ffrtmp_engines::isolated::IsolatedEngine;
use ffrtmp_engines::synthetic::{Behaviour, Failure};

use rustix::process::{Pid, Signal, kill_process};

use crate::processes::{await_file, descendants, is_alive, mine_with, state_of, wait_until};
use crate::survival::steady;
use crate::{generated, isolated, isolated_synthetic};

fn fails_with(engine: &IsolatedEngine) -> Error {
    let folder = tempfile::tempdir().expect("a scratch directory");
    let task = generated(folder.path(), "out.mp4", "144p10-h264", 1.0);
    let error = engine.run(&task, &Control::default(), &Unobserved).expect_err("the child goes wrong");
    assert!(!task.output.exists(), "an output was left after {error}");
    assert!(children_are_gone(&folder.path().join("out.mp4")), "a child lives on after {error}");
    error
}

/// Whether no process holds the output open any more.
fn children_are_gone(output: &Path) -> bool {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| fs::read_dir(process.path().join("fd")).ok())
        .flat_map(|fds| fds.flatten().filter_map(|fd| fs::read_link(fd.path()).ok()))
        .all(|open| !open.starts_with(output))
}

#[test]
fn each_fault_has_its_error() {
    for (fault, code, words) in [
        ("crash", Code::AttemptCrashed, "SIGABRT"),
        ("segfault", Code::AttemptCrashed, "SIGSEGV"),
        ("panic", Code::AttemptCrashed, "told to panic"),
        ("exit", Code::AttemptCrashed, "status 3"),
        ("garbage", Code::AttemptCrashed, "no frame"),
        ("alien", Code::EngineUnavailable, "version 255"),
    ] {
        let error = fails_with(&isolated(&["--fault", fault]));
        assert_eq!(error.code(), code, "{fault}: {error}");
        assert!(error.to_string().contains(words), "{fault}: {error}");
    }
}

#[test]
fn a_fatal_signal_from_outside_ends_a_child_at_once() {
    for (signal, name) in [(Signal::SEGV, "SIGSEGV"), (Signal::BUS, "SIGBUS"), (Signal::ABORT, "SIGABRT")] {
        let folder = tempfile::tempdir().expect("a scratch directory");
        let (behaviour, argument) = steady(11.0 + f64::from(signal.as_raw()) / 64.0);
        let task = generated(folder.path(), "out.mp4", "144p10-h264", 600.0);
        let (engine, (begun, hear)) = (isolated_synthetic(&behaviour), mpsc::channel());
        let run = thread::spawn(move || engine.run(&task, &Control::default(), &Begun(begun)));
        hear.recv_timeout(Duration::from_secs(60)).expect("the child works");
        let server = *mine_with(&argument).iter().min().expect("a server");
        let child = *descendants(server).first().expect("a child");
        let child = Pid::from_raw(child.try_into().expect("a pid")).expect("a pid");
        kill_process(child, signal).expect("it lives");
        let error = run.join().expect("no panic").expect_err("the child was killed");
        assert_eq!(error.code(), Code::AttemptCrashed, "{name}: {error}");
        assert!(error.to_string().contains(name), "{name}: {error}");
    }
}

#[test]
fn a_failure_of_the_engine_comes_through() {
    let failure = Failure { code: Code::DiskFull, after_percent: 50.0 };
    let error = fails_with(&isolated_synthetic(&Behaviour { speed: None, failure: Some(failure) }));
    assert_eq!((error.code(), error.message()), (Code::DiskFull, "the synthetic engine was told to fail"));
}

#[test]
fn a_program_that_is_no_runner_is_unavailable() {
    for program in ["/bin/true", "/nonexistent/ffrtmp-runner", "/bin/cat"] {
        let started = Instant::now();
        let error = fails_with(&IsolatedEngine::new(program.into(), Vec::new()));
        assert_eq!(error.code(), Code::EngineUnavailable, "{program}: {error}");
        assert!(started.elapsed() < Duration::from_secs(15), "{program} took {:?}", started.elapsed());
    }
}

#[test]
fn what_an_impostor_started_ends_with_it() {
    let folder = tempfile::tempdir().expect("a scratch directory");
    let (script, mark) = (folder.path().join("runner"), format!("1000.{}", std::process::id()));
    fs::write(&script, format!("#!/bin/sh\nsleep {mark} &\nexec </dev/null\nwait\n")).expect("a script");
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let left = || {
        let has_mark = |entry: fs::DirEntry| {
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).any(|word| word == mark.as_bytes())
        };
        fs::read_dir("/proc").expect("/proc").flatten().any(has_mark)
    };
    let error = fails_with(&IsolatedEngine::new(script, Vec::new()));
    assert_eq!(error.code(), Code::EngineUnavailable, "{error}");
    wait_until("the end of what it started", Duration::from_secs(5), || !left());
}

#[test]
fn memory_without_end_is_stopped_at_the_limit() {
    let limits = ResourceLimits { max_memory_mb: Some(256), ..ResourceLimits::default() };
    let error = fails_with(&isolated(&["--fault", "allocate"]).under(&limits));
    assert_eq!(error.code(), Code::MemoryExceeded, "{error}");
}

#[test]
fn a_disk_without_end_is_stopped_at_the_limit() {
    // The sandbox bounds each file, the agent all of them.
    for sandbox in ["on", "off"] {
        let engine = isolated(&["--fault", "fill", "--sandbox", sandbox]);
        let folder = tempfile::tempdir().expect("a scratch directory");
        let mut task = generated(folder.path(), "out.mp4", "144p10-h264", 1.0);
        task.bounds.max_output_bytes = Some(8 << 20);
        let error = engine.run(&task, &Control::default(), &Unobserved).expect_err("it fills the disk");
        assert_eq!(error.code(), Code::DiskQuotaExceeded, "sandbox {sandbox}: {error}");
        assert_eq!(fs::read_dir(folder.path()).expect("scratch").count(), 0, "something was left");
    }
}

#[test]
fn a_sandboxed_child_forks_nothing() {
    let (told, hear) = mpsc::channel();
    let (run, control, _folder) = begin(isolated(&["--fault", "swarm", "--without", "rlimits"]), Teller(told));
    let words = hear.iter().find(|words: &String| words.starts_with("forked ")).expect("it tells");
    control.cancel();
    assert_eq!(words, "forked 0");
    assert_eq!(run.join().expect("no panic").expect_err("canceled").code(), Code::Canceled);
}

/// They left the group and hear no SIGTERM, so neither a signal to the group nor its end ends them.
#[test]
fn what_a_child_leaves_behind_ends_with_it() {
    let engine = isolated(&["--fault", "orphan", "--sandbox", "off"]);
    let error = fails_with(&engine);
    assert_eq!(error.code(), Code::AttemptCrashed, "{error}");
    assert!(error.to_string().contains("status 0"), "{error}");
    assert_eq!(mine_with("orphan").len(), 1, "more than the server is left");
}

#[test]
fn a_swarm_ends_with_a_cancel() {
    let (told, hear) = mpsc::channel();
    let (run, control, _folder) = begin(isolated(&["--fault", "swarm", "--sandbox", "off"]), Teller(told));
    let words = hear.iter().find(|words: &String| words.starts_with("forked ")).expect("it tells");
    assert!(mine_with("swarm").len() > 2, "{words}, but nothing was forked");
    control.cancel();
    let asked = Instant::now();
    let error = run.join().expect("no panic").expect_err("canceled");
    println!("a child that {words} ended {:?} after the cancel", asked.elapsed());
    assert_eq!(error.code(), Code::Canceled);
    assert!(mine_with("swarm").len() <= 1, "more than the server is left");
}

#[test]
fn a_pause_stops_what_does_not_listen_and_a_cancel_ends_it() {
    let (told, hear) = mpsc::channel();
    let (run, control, _folder) = begin(isolated(&["--fault", "spin"]), Teller(told));
    hear.recv().expect("it begins");
    let server = mine_with("spin").into_iter().min().expect("a server");
    let child = mine_with("spin").into_iter().find(|pid| *pid != server).expect("a child");
    control.pause();
    wait_until("a stop", Duration::from_secs(5), || state_of(child) == Some('T'));
    control.resume();
    wait_until("a resume", Duration::from_secs(5), || state_of(child) != Some('T'));
    control.pause();
    wait_until("a second stop", Duration::from_secs(5), || state_of(child) == Some('T'));
    control.cancel();
    let error = run.join().expect("no panic").expect_err("canceled");
    assert_eq!(error.code(), Code::Canceled);
    assert!(!is_alive(child));
}

type Run = thread::JoinHandle<Result<ffrtmp_core::job::JobReport, Error>>;

fn begin(engine: IsolatedEngine, observer: impl Observer + 'static) -> (Run, Control, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a scratch directory");
    let task: Task = generated(folder.path(), "out.mp4", "144p10-h264", 1.0);
    let control = Control::default();
    let run = thread::spawn({
        let control = control.clone();
        move || engine.run(&task, &control, &observer)
    });
    (run, control, folder)
}

/// Tells of progress.
struct Begun(mpsc::Sender<()>);

impl Observer for Begun {
    fn progress(&self, _: Progress) {
        // The test hears the first.
        let _ = self.0.send(());
    }

    fn log(&self, _: &str, _: &str) {}
}

/// Passes on what an attempt logs.
struct Teller(mpsc::Sender<String>);

impl Observer for Teller {
    fn progress(&self, _: Progress) {}

    fn log(&self, _: &str, text: &str) {
        // A test that has heard enough has gone.
        let _ = self.0.send(text.to_owned());
    }
}

#[test]
fn a_child_that_ignores_everything_is_killed_in_time() {
    let engine = isolated(&["--fault", "hang"]);
    let folder = tempfile::tempdir().expect("a scratch directory");
    let task = generated(folder.path(), "out.mp4", "144p10-h264", 1.0);
    let control = Control::default();
    let run = thread::spawn({
        let (task, control) = (task.clone(), control.clone());
        move || engine.run(&task, &control, &Unobserved)
    });
    await_file(&task.output);
    control.cancel();
    let asked = Instant::now();
    let error = run.join().expect("no panic").expect_err("canceled");
    println!("a deaf child ended {:?} after the cancel", asked.elapsed());
    assert_eq!(error.code(), Code::Canceled);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    assert!(!task.output.exists());
}

#[test]
fn a_child_killed_by_the_machine_is_a_transient_error() {
    let killer = Arc::new(Killer);
    let engine = isolated_synthetic(&Behaviour { speed: Some(1.0), failure: None }).governed(killer);
    let error = fails_with(&engine);
    assert_eq!(error.code(), Code::Killed, "{error}");
}

/// A governor that kills what it governs a little later, as the kernel does when memory is short.
struct Killer;

impl ffrtmp_core::governor::ResourceGovernor for Killer {
    fn name(&self) -> &'static str {
        "killer"
    }

    fn limits(&self) -> Vec<ffrtmp_core::node::Safeguard> {
        Vec::new()
    }

    fn admit(&self, _: &Demand<'_>) -> ffrtmp_core::Result<Admission> {
        Ok(Admission::Admitted)
    }

    fn reserve(&self, _: &Demand<'_>) -> ffrtmp_core::Result<Reservation> {
        Ok(Reservation::new(None, None, ()))
    }

    fn room(&self, _: &Path) -> Room {
        Room::default()
    }

    fn govern(&self, pid: u32, _: &ProcessLimits) -> ffrtmp_core::Result<Box<dyn Governed>> {
        thread::spawn(move || {
            thread::sleep(Duration::from_millis(200));
            let pid = Pid::from_raw(pid as i32).expect("a pid");
            kill_process(pid, Signal::KILL)
        });
        Ok(Box::new(Nothing))
    }

    fn telemetry(&self, _: &Path) -> ffrtmp_core::node::Telemetry {
        ffrtmp_core::node::Telemetry::default()
    }
}

struct Nothing;

impl Governed for Nothing {
    fn usage(&self) -> ffrtmp_core::governor::Usage {
        ffrtmp_core::governor::Usage::default()
    }
}
