//! Children that go wrong: the right error, in time, and nothing left behind.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, Observer, Progress, Unobserved};
use ffrtmp_core::error::{Code, Error};
use ffrtmp_core::governor::{Admission, Demand, Governed, ProcessLimits, Reservation, Room};
use ffrtmp_core::job::ResourceLimits;
use ffrtmp_engines::isolated::IsolatedEngine;
use ffrtmp_engines::synthetic::{Behaviour, Failure};

use crate::{generated, isolated, isolated_synthetic, runner};

fn fails_with(engine: &IsolatedEngine) -> Error {
    let folder = tempfile::tempdir().expect("a scratch directory");
    let task = generated(folder.path(), "out.mp4", "144p10-h264", 1.0);
    let error = engine.run(&task, &Control::default(), &Unobserved).expect_err("the child goes wrong");
    assert!(!task.output.exists(), "an output was left after {error}");
    assert!(children_are_gone(&folder.path().join("out.mp4")), "a child lives on after {error}");
    error
}

/// Whether no process holds the output open any more; a spare holds nothing.
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
fn memory_without_end_is_stopped_at_the_limit() {
    let limits = ResourceLimits { max_memory_mb: Some(256), ..ResourceLimits::default() };
    let error = fails_with(&isolated(&["--fault", "allocate"]).under(&limits));
    assert_eq!(error.code(), Code::MemoryExceeded, "{error}");
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
            let pid = rustix::process::Pid::from_raw(pid as i32).expect("a pid");
            rustix::process::kill_process(pid, rustix::process::Signal::KILL)
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

/// This test runs itself as a second process, the agent that is killed.
#[test]
fn no_child_survives_a_killed_agent() {
    const NAME: &str = "faults::no_child_survives_a_killed_agent";
    const FOLDER: &str = "FFRTMP_TEST_AGENT_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        return be_an_agent(Path::new(&folder));
    }
    for stage in ["running", "paused"] {
        let folder = tempfile::tempdir().expect("a scratch directory");
        let mut agent = Command::new(std::env::current_exe().expect("this program"))
            .args([NAME, "--exact", "--nocapture"])
            .env(FOLDER, folder.path())
            .env("FFRTMP_TEST_AGENT_STAGE", stage)
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .expect("a second process");
        await_file(&folder.path().join("ready"));
        let children = children_of(agent.id());
        assert_eq!(children.len(), 2, "{stage}: one child at work and one in reserve: {children:?}");
        agent.kill().expect("the agent is killed");
        agent.wait().expect("the agent is reaped");
        let killed = Instant::now();
        let gone = |pid: &u32| !is_alive(*pid);
        while !children.iter().all(gone) || folder.path().join("out.mp4").exists() {
            assert!(killed.elapsed() < Duration::from_secs(5), "{stage}: {children:?} or the output are left");
            thread::sleep(Duration::from_millis(5));
        }
        println!("{stage}: no child was left {:?} after the kill", killed.elapsed());
    }
}

fn be_an_agent(folder: &Path) {
    struct Ready<'a>(&'a Path, Control);
    impl Observer for Ready<'_> {
        fn progress(&self, progress: Progress) {
            // The child writes its first bytes to the file once its buffer is full.
            if progress.frames > 200 && !self.0.join("ready").exists() {
                if std::env::var("FFRTMP_TEST_AGENT_STAGE").as_deref() == Ok("paused") {
                    self.1.pause();
                    thread::sleep(Duration::from_millis(100));
                }
                fs::write(self.0.join("ready"), "").expect("scratch is writable");
            }
        }
        fn log(&self, _: &str, _: &str) {}
    }
    let engine = isolated_synthetic(&Behaviour { speed: Some(100.0), failure: None });
    let control = Control::default();
    let task = generated(folder, "out.mp4", "144p10-h264", 36_000.0);
    let outcome = engine.run(&task, &control, &Ready(folder, control.clone()));
    panic!("the agent was not killed: {outcome:?}");
}

fn children_of(parent: u32) -> Vec<u32> {
    let runner = runner().canonicalize().expect("the runner");
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes
        .filter_map(|process| process.file_name().to_str()?.parse().ok())
        .filter(|pid| parent_of(*pid) == Some(parent))
        .filter(|pid| fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe == runner))
        .collect()
}

fn parent_of(pid: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

/// A zombie that nobody reaps in a container is dead all the same.
fn is_alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/status")).is_ok_and(|status| !status.contains("State:\tZ"))
}

fn await_file(path: &Path) {
    let until = Instant::now() + Duration::from_secs(30);
    while !path.exists() {
        assert!(Instant::now() < until, "{} never came", path.display());
        thread::sleep(Duration::from_millis(5));
    }
}
