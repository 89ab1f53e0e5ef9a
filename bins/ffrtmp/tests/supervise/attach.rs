//! `ffrtmp attach`.

use std::process::{Command, Stdio};

use rustix::process::Signal;
use serde_json::{Value, json};

use crate::place::{Guarded, as_nobody, ffrtmp, groups_of, has_groups, is_root, nice_of, output, text, until};

fn attach(process: u32, args: &[&str]) -> Guarded {
    let process = process.to_string();
    let mut command = ffrtmp(&[&["attach", "--pid", &process, "--json"], args].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Guarded::start(command)
}

/// What it printed after it has ended.
fn report(attached: &mut Guarded) -> Value {
    let out = written(attached.0.stdout.take());
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
}

/// What a program that has ended wrote.
fn written(stream: Option<impl std::io::Read>) -> String {
    let mut text = String::new();
    stream.expect("a pipe").read_to_string(&mut text).expect("text");
    text
}

#[test]
fn a_process_and_its_children_are_governed_and_given_back() {
    let limited = has_groups();
    let mut command = Command::new("bash");
    command.args(["-c", "sleep 600 & echo $!; wait"]).stdout(Stdio::piped());
    let mut process = Guarded::start(command);
    let lines = crate::place::Lines::of(process.0.stdout.take().expect("a pipe"));
    let child = crate::place::Stray(lines.next("a child").parse().expect("its id"));
    let (groups, nice) = (groups_of(process.pid()), nice_of(process.pid()));

    let wanted = nice + 3;
    let mut attached = attach(process.pid(), &["--nice", &wanted.to_string(), "--cpu-quota", "50"]);
    until("both are nicer", || (nice_of(process.pid()) == wanted && nice_of(child.0) == wanted).then_some(()));
    if limited {
        until("both are in the group", || {
            let inside = |process| groups_of(process).contains("ffrtmp-foreign-");
            (inside(process.pid()) && inside(child.0)).then_some(())
        });
        let mut second = attach(process.pid(), &[]);
        assert_eq!(second.code(), 2, "two govern one process");
        let refused = written(second.0.stderr.take());
        assert!(refused.contains("governed by ffrtmp already"), "{refused}");
    }
    attached.signal(Signal::TERM);
    assert_eq!(attached.code(), 0);
    let report = report(&mut attached);
    assert_eq!(report["exit_reason"], "detached");
    assert!(process.is_alive(), "the process was harmed");
    assert_eq!((groups_of(process.pid()), groups_of(child.0)), (groups.clone(), groups));
    if is_root() {
        assert_eq!((nice_of(process.pid()), nice_of(child.0)), (nice, nice));
    }
}

#[test]
fn what_a_killed_attach_changed_the_next_one_gives_back() {
    if !is_root() {
        return println!("left out: only root can give a priority back");
    }
    let mut process = Guarded::start({
        let mut command = Command::new("sleep");
        command.arg("600");
        command
    });
    let (groups, nice) = (groups_of(process.pid()), nice_of(process.pid()));
    let given = nice + 4;
    let mut killed = attach(process.pid(), &["--nice", &given.to_string(), "--cpu-quota", "50"]);
    let note = format!("/run/ffrtmp/priority-{}-", process.pid());
    let notes = || {
        let names = std::fs::read_dir("/run/ffrtmp").into_iter().flatten().flatten().map(|entry| entry.path());
        names.filter(|path| path.to_string_lossy().starts_with(&note)).count()
    };
    until("it is nicer, and that is noted", || (nice_of(process.pid()) == given && notes() == 1).then_some(()));
    killed.signal(Signal::KILL);
    assert_eq!(killed.code(), 137);
    assert_eq!((nice_of(process.pid()), process.is_alive()), (given, true), "it goes on as it was left");

    let mut next = attach(process.pid(), &[]);
    until("the priority is back", || (nice_of(process.pid()) == nice).then_some(()));
    next.signal(Signal::TERM);
    assert_eq!(next.code(), 0);
    assert_eq!((groups_of(process.pid()), notes()), (groups, 0));
}

#[test]
fn the_end_of_a_foreign_process_is_told_as_far_as_it_is_known() {
    let mut command = Command::new("bash");
    command.args(["-c", "trap 'exit 3' TERM; while :; do sleep 0.05; done"]);
    let mut process = Guarded::start(command);
    let nice = (nice_of(process.pid()) + 1).to_string();
    let mut attached = attach(process.pid(), &["--sla-eligible", "--nice", &nice]);
    until("it is attached", || (nice_of(process.pid()).to_string() == nice).then_some(()));
    process.signal(Signal::TERM);
    assert_eq!(process.code(), 3);
    assert_eq!(attached.code(), 0);
    let report = report(&mut attached);
    if report["exit_reason"] == "unknown" {
        println!("this kernel does not tell how a foreign process ended (it does from 6.15 on)");
        assert_eq!(report["exit_code"], Value::Null);
    } else {
        assert_eq!((&report["exit_reason"], &report["exit_code"]), (&json!("error"), &json!(3)));
    }
}

#[test]
fn a_time_limit_ends_a_foreign_process() {
    let mut process = Guarded::start({
        let mut command = Command::new("bash");
        command.args(["-c", "trap '' TERM; while :; do sleep 0.05; done"]);
        command
    });
    let mut attached = attach(process.pid(), &["--timeout", "300ms", "--grace", "300ms"]);
    assert_eq!(process.code(), 137);
    assert_eq!(attached.code(), 124);
    assert_eq!(report(&mut attached)["exit_reason"], "timeout");
}

#[test]
fn wrong_processes_are_refused_in_clear_words() {
    let own = std::process::id().to_string();
    let mut ended = Command::new("true").spawn().expect("a process");
    ended.wait().expect("it ends");
    let ended = ended.id().to_string();
    for (process, code, says) in [
        ("0", 2, "positive whole number"),
        ("-5", 2, "--pid"),
        ("one", 2, "positive whole number"),
        ("1", 2, "the machine's own"),
        (own.as_str(), 2, "is this program or started it"),
        (ended.as_str(), 2, "there is no process"),
        ("4294967295", 2, "there is no process"),
    ] {
        let refused = output(ffrtmp(&["attach", "--pid", process]));
        let err = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(code), "{process}: {err}");
        assert!(err.contains("--pid") && err.contains(says) && err.contains("hint: "), "{process}: {err}");
    }
    if std::fs::read_to_string("/proc/2/comm").is_ok_and(|name| name.trim() == "kthreadd") {
        let refused = output(ffrtmp(&["attach", "--pid", "2"]));
        assert!(text(&refused.stderr).contains("part of the kernel"), "{}", text(&refused.stderr));
    }
    if is_root() {
        let process = Guarded::start({
            let mut command = Command::new("sleep");
            command.arg("600");
            command
        });
        let mut command = ffrtmp(&["attach", "--pid", &process.pid().to_string()]);
        as_nobody(command.current_dir("/"));
        match command.output() {
            Ok(refused) => {
                assert_eq!(refused.status.code(), Some(4), "{}", text(&refused.stderr));
                assert!(text(&refused.stderr).contains("another user"), "{}", text(&refused.stderr));
            }
            Err(error) => println!("left out: nobody may not execute the program here: {error}"),
        }
    }
}
