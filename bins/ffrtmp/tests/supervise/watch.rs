//! `ffrtmp watch`.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use rustix::process::Signal;
use serde_json::Value;

use crate::place::{Guarded, Lines, as_nobody, ffrtmp, groups_of, has_groups, is_root, nice_of, output, text, until};

/// A name that no other process has; names of processes are cut at 15 bytes.
fn unique(letter: char) -> String {
    format!("ffw{letter}{}", std::process::id())
}

struct Watching {
    program: Guarded,
    events: Lines,
}

fn watch(args: &[&str]) -> Watching {
    let mut command = ffrtmp(&[&["--output", "json", "watch", "--scan-interval", "100ms"], args].concat());
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut program = Guarded::start(command);
    let events = Lines::of(program.0.stdout.take().expect("a pipe"));
    Watching { program, events }
}

fn remembered(state: &Path) -> Vec<Value> {
    let state: Value = serde_json::from_slice(&fs::read(state).expect("a state")).expect("JSON");
    state["processes"].as_array().expect("processes").clone()
}

#[test]
fn found_remembered_over_a_kill_and_given_back() {
    let limited = has_groups();
    let folder = tempfile::tempdir().expect("a directory");
    let (name, state, config) = (unique('a'), folder.path().join("state.json"), folder.path().join("watch.yaml"));
    let mut process = Guarded::sleeper(folder.path(), &name);
    let (groups, nice) = (groups_of(process.pid()), nice_of(process.pid()));
    let rules = |nice: i32| format!("target_commands: [{name}]\ndefault_limits: {{cpu_quota: 50, nice: {nice}}}\n");
    fs::write(&config, rules(nice + 2)).expect("a file");
    let args = [
        "--watch-config",
        config.to_str().expect("text"),
        "--enable-state",
        "--state-path",
        state.to_str().expect("text"),
    ];

    let mut first = watch(&args);
    let attached = first.events.event("attached");
    assert_eq!((&attached["pid"], &attached["again"]), (&process.pid().into(), &false.into()));
    until("the state is written", || (remembered(&state).len() == 1).then_some(()));
    assert_eq!(nice_of(process.pid()), nice + 2);
    first.program.signal(Signal::KILL);
    first.program.code();
    assert!(process.is_alive());
    assert_eq!(nice_of(process.pid()), nice + 2);
    assert_eq!(groups_of(process.pid()).contains("ffrtmp-foreign-"), limited, "limits go on without their watcher");

    let mut second = watch(&args);
    assert_eq!(second.events.event("attached")["again"], true);
    fs::write(&config, rules(nice + 4)).expect("a file");
    second.program.signal(Signal::HUP);
    second.events.event("released");
    second.events.event("attached");
    until("the new limit is in force", || (nice_of(process.pid()) == nice + 4).then_some(()));
    fs::write(&config, "target_comands: [x]\n").expect("a file");
    second.program.signal(Signal::HUP);
    let refused = second.events.event("refused")["reason"].as_str().expect("words").to_owned();
    assert!(refused.contains("did you mean target_commands?"), "{refused}");

    second.program.signal(Signal::TERM);
    second.events.event("released");
    assert_eq!(second.program.code(), 0);
    assert!(process.is_alive(), "the process was harmed");
    assert_eq!(remembered(&state), Vec::<Value>::new());
    assert_eq!(groups_of(process.pid()), groups, "it is not where it was before the first watcher");
    if is_root() {
        assert_eq!(nice_of(process.pid()), nice);
    }
}

#[test]
fn the_end_of_a_process_is_reported_and_others_are_left_alone() {
    let folder = tempfile::tempdir().expect("a directory");
    let (wanted, other) = (unique('b'), unique('c'));
    let mut process = Guarded::sleeper(folder.path(), &wanted);
    let bystander = Guarded::sleeper(folder.path(), &other);
    let groups = groups_of(bystander.pid());
    let mut watching = watch(&["--target", &wanted, "--memory-limit", "512", "--enable-retry"]);
    assert_eq!(watching.events.event("attached")["rule"], wanted);
    process.signal(Signal::TERM);
    assert_eq!(process.code(), 143);
    let report = watching.events.event("ended")["report"].clone();
    assert_eq!(report["pid"], process.pid());
    assert!(["signal", "unknown"].contains(&report["exit_reason"].as_str().expect("a reason")), "{report}");
    assert_eq!(groups_of(bystander.pid()), groups);
    watching.program.signal(Signal::TERM);
    assert_eq!(watching.program.code(), 0);
}

#[test]
fn what_others_own_is_only_observed_without_privileges() {
    if !is_root() {
        println!("left out: only root can be somebody else for a test");
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let name = unique('d');
    let process = Guarded::sleeper(folder.path(), &name);
    let (groups, nice) = (groups_of(process.pid()), nice_of(process.pid()));
    let mut command =
        ffrtmp(&["--output", "json", "watch", "--scan-interval", "100ms", "--target", &name, "--cpu-quota", "50"]);
    as_nobody(command.current_dir("/").stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut program = match command.spawn() {
        Ok(child) => Guarded(child),
        Err(error) => return println!("left out: nobody may not execute the program here: {error}"),
    };
    let events = Lines::of(program.0.stdout.take().expect("a pipe"));
    assert!(events.event("observe_only")["reason"].as_str().is_some_and(|reason| !reason.is_empty()));
    assert_eq!(events.event("attached")["limits"][0]["in_force"], false);
    assert_eq!((groups_of(process.pid()), nice_of(process.pid())), (groups, nice));
    program.signal(Signal::TERM);
    assert_eq!(program.code(), 0);
}

#[test]
fn wrong_configuration_is_refused_with_the_key_and_the_cure() {
    let folder = tempfile::tempdir().expect("a directory");
    let config = folder.path().join("watch.yaml");
    for (text_of_file, key, hint) in [
        ("default_limits: {cpu_quotta: 5}\n", "default_limits.cpu_quotta", "did you mean cpu_quota?"),
        ("default_limits: {cpu_quota: 0}\n", "default_limits.cpu_quota", "100 is one core"),
        ("default_limits: {cpu_weight: 20000}\n", "cpu_weight", "1 to 10000"),
        ("scan_interval: [1]\n", "scan_interval", "10s"),
        (": not yaml\n- at all", "watch.yaml", "docs/supervision.md"),
    ] {
        fs::write(&config, text_of_file).expect("a file");
        let refused = output(ffrtmp(&["watch", "--watch-config", config.to_str().expect("text")]));
        let err = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{text_of_file}: {err}");
        assert!(err.contains(key) && err.contains(hint), "{text_of_file}: {err}");
    }
    let missing = output(ffrtmp(&["watch", "--watch-config", "/nonexistent/watch.yaml"]));
    assert_eq!(missing.status.code(), Some(2));
    let state = output(ffrtmp(&["watch", "--target", "x", "--enable-state", "--state-path", "/dev/null/state.json"]));
    assert!(text(&state.stderr).contains("state file"), "{}", text(&state.stderr));
}
