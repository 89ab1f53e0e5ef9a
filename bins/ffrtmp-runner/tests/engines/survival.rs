//! Servers and agents that are killed: nothing of an attempt outlives either, and the other goes on.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, Observer, Progress, Unobserved};
use ffrtmp_core::error::{Code, Disposition};
use ffrtmp_engines::synthetic::Behaviour;
use rustix::process::{Pid, Signal, kill_process};

use crate::processes::{await_file, descendants, is_alive, mine_with, wait_until};
use crate::{generated, isolated, isolated_synthetic};

/// A behaviour that no other test has, so that its processes are known by their arguments.
pub(crate) fn steady(speed: f64) -> (Behaviour, String) {
    let behaviour = Behaviour { speed: Some(speed), failure: None };
    let text = serde_json::to_string(&behaviour).expect("a behaviour is JSON");
    (behaviour, text)
}

fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.try_into().expect("a pid")).expect("a pid");
    kill_process(pid, Signal::KILL).expect("it lives");
}

#[test]
fn a_killed_server_costs_one_attempt_and_is_started_again() {
    let (behaviour, argument) = steady(7.125);
    let engine = isolated_synthetic(&behaviour);
    let folder = tempfile::tempdir().expect("a scratch directory");
    let task = generated(folder.path(), "out.mp4", "144p10-h264", 600.0);
    let run = thread::spawn({
        let (engine, task) = (engine.clone(), task.clone());
        move || engine.run(&task, &Control::default(), &Unobserved)
    });
    wait_until("a child", Duration::from_secs(20), || mine_with(&argument).len() == 2);
    await_file(&task.output);
    let server = *mine_with(&argument).iter().min().expect("a server");
    let child = *descendants(server).first().expect("a child");
    kill(server);
    let killed = Instant::now();
    let error = run.join().expect("no panic").expect_err("the server was killed");
    println!("the attempt ended {:?} after its server", killed.elapsed());
    assert_eq!((error.code(), error.code().disposition()), (Code::Killed, Disposition::Transient), "{error}");
    assert!(killed.elapsed() < Duration::from_secs(5), "{:?}", killed.elapsed());
    assert!(!is_alive(child), "the child lives on");
    assert_eq!(fs::read_dir(folder.path()).expect("scratch").count(), 0, "something was left");
    let again = generated(folder.path(), "again.mp4", "144p10-h264", 1.0);
    engine.run(&again, &Control::default(), &Unobserved).expect("a new server");
}

/// This test runs itself as a second process, the agent that is killed.
#[test]
fn no_child_survives_a_killed_agent() {
    const NAME: &str = "survival::no_child_survives_a_killed_agent";
    const FOLDER: &str = "FFRTMP_TEST_AGENT_FOLDER";
    if let Some(folder) = std::env::var_os(FOLDER) {
        return be_an_agent(Path::new(&folder));
    }
    for stage in ["running", "paused", "deaf"] {
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
        let children = descendants(agent.id());
        assert_eq!(children.len(), 2, "{stage}: one server and one child: {children:?}");
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
        fn log(&self, _: &str, _: &str) {
            // Only the deaf one says anything.
            fs::write(self.0.join("ready"), "").expect("scratch is writable");
        }
    }
    let engine = match std::env::var("FFRTMP_TEST_AGENT_STAGE").as_deref() {
        Ok("deaf") => isolated(&["--fault", "hang"]),
        _ => isolated_synthetic(&Behaviour { speed: Some(100.0), failure: None }),
    };
    let control = Control::default();
    let task = generated(folder, "out.mp4", "144p10-h264", 36_000.0);
    let outcome = engine.run(&task, &control, &Ready(folder, control.clone()));
    panic!("the agent was not killed: {outcome:?}");
}
