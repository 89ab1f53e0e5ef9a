//! `ffrtmp run`.

use std::io::Write as _;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Signal, test_kill_process};
use serde_json::json;

use crate::place::{
    Guarded, Lines, Stray, apart, as_nobody, ffrtmp, groups_by, groups_of, has_groups, is_root, output, pid, report,
    text, until,
};

#[test]
fn streams_and_exit_codes_are_the_programs() {
    let mut child = ffrtmp(&["run", "--quiet", "--", "sh", "-c", "cat; echo err >&2; exit 7"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    child.stdin.take().expect("a pipe").write_all(b"in\0\xff").expect("it reads");
    let ended = child.wait_with_output().expect("it ends");
    assert_eq!((ended.status.code(), &*ended.stdout, &*ended.stderr), (Some(7), &b"in\0\xff"[..], &b"err\n"[..]));

    let folder = tempfile::tempdir().expect("a directory");
    let script = folder.path().join("script");
    std::fs::write(&script, "echo a shell ran it\n").expect("a file");
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let script = script.to_str().expect("text");
    for (args, code) in [
        (&["--", "sh", "-c", "kill -9 $$"][..], 137),
        (&["--", "sh", "-c", "kill -SEGV $$"], 139),
        (&["--", "no-such-program-anywhere"], 127),
        (&["--", "/etc/passwd"], 126),
        (&["--", script], 126),
        (&["--workdir", "/nonexistent", "--", "true"], 125),
        (&["--cpu-quota", "0", "--", "true"], 125),
        (&["--memory-max", "4096", "--", "true"], 125),
        (&["--cpu-weight", "10001", "--", "true"], 125),
        (&["--nice", "20", "--", "true"], 125),
        (&["--io-max", "8:0 rbpss=1", "--", "true"], 125),
        (&["--cpu-max", "fast", "--", "true"], 125),
        (&["--memory-limit", "99999999999999999", "--", "true"], 125),
        (&["--report", "/nonexistent/report.json", "--", "true"], 125),
        (&["--no-such-flag", "--", "true"], 125),
        (&[], 125),
    ] {
        let ran = output(ffrtmp(&[&["run"], args].concat()));
        assert_eq!(ran.status.code(), Some(code), "{args:?}: {}", text(&ran.stderr));
        assert_eq!(text(&ran.stdout), "", "{args:?}");
        if code == 125 {
            assert!(text(&ran.stderr).contains("hint: "), "{args:?}: {}", text(&ran.stderr));
        }
    }
}

#[test]
fn refusals_name_the_flag_that_was_given_and_the_code_that_follows() {
    for (flag, value) in [
        ("--memory-max", "1"),
        ("--memory-limit", "-1"),
        ("--cpu-quota", "-5"),
        ("--cpu-weight", "-5"),
        ("--workdir", "/nonexistent"),
    ] {
        let refused = output(ffrtmp(&["--output", "json", "run", flag, value, "--", "true"]));
        let problem = report(&refused);
        let code = refused.status.code();
        assert_eq!((code, problem["exit_code"].as_i64()), (Some(125), Some(125)), "{flag}: {problem}");
        assert_eq!(problem["field"], flag, "{problem}");
    }
    let missing = output(ffrtmp(&["--output", "json", "run", "--", "no-such-program-anywhere"]));
    assert_eq!((missing.status.code(), &report(&missing)["exit_code"]), (Some(127), &json!(127)));
}

#[test]
fn a_limit_that_bounds_nothing_is_not_in_force() {
    let args = ["run", "--json", "--memory-limit", "999999999", "--cpu-quota", "99999999", "--", "true"];
    let ran = output(ffrtmp(&args));
    assert_eq!(ran.status.code(), Some(0), "{}", text(&ran.stderr));
    let limits = report(&ran)["limits"].clone();
    for limit in limits.as_array().expect("two limits") {
        assert_eq!(limit["in_force"], false, "{limit}");
        assert!(!has_groups() || limit["detail"].as_str().is_some_and(|why| why.contains("bounds nothing")), "{limit}");
    }
    let required = output(ffrtmp(&["run", "--require-limits", "--cpu-quota", "99999999", "--", "true"]));
    assert_eq!(required.status.code(), Some(125), "{}", text(&required.stderr));
}

#[test]
fn nothing_goes_through_a_shell() {
    let words = ["; exit 9", "$(id)", "-n", "--", "a\nb", "😀", "--json"];
    let ran = output(ffrtmp(&[&["run", "--quiet", "--", "printf", "<%s>"], &words[..]].concat()));
    assert_eq!(text(&ran.stdout), words.map(|word| format!("<{word}>")).concat());
}

#[test]
fn the_report_says_why_it_ended() {
    let folder = tempfile::tempdir().expect("a directory");
    let file = folder.path().join("report.json");
    let args = ["run", "--job-id", "t-1", "--sla-eligible", "--json", "--report", file.to_str().expect("text")];
    let ran = output(ffrtmp(&[&args[..], &["--workdir", "/usr", "--", "sh", "-c", "pwd; exit 3"]].concat()));
    assert_eq!(text(&ran.stdout), "/usr\n");
    let report = report(&ran);
    assert_eq!(
        (&report["exit_reason"], &report["exit_code"], &report["job_id"]),
        (&json!("error"), &json!(3), &json!("t-1"))
    );
    assert_eq!(report["sla"]["counted"], true);
    assert_eq!(report["command"], json!(["sh", "-c", "pwd; exit 3"]));
    assert!(report["wall_seconds"].as_f64() > Some(0.0) && report["peak_memory_bytes"].as_u64() > Some(0), "{report}");
    let written = std::fs::read(&file).expect("the report");
    assert_eq!(serde_json::from_slice::<serde_json::Value>(&written).expect("JSON"), report);
    let people = output(ffrtmp(&["run", "--", "true"]));
    assert!(text(&people.stderr).contains("ended well") && text(&people.stderr).contains("SLA not counted"));
}

#[test]
fn signals_to_the_wrapper_reach_the_program() {
    for (signal, code) in
        [(Signal::TERM, 3), (Signal::INT, 4), (Signal::HUP, 5), (Signal::QUIT, 6), (Signal::USR1, 7), (Signal::USR2, 8)]
    {
        let script = "trap 'exit 3' TERM; trap 'exit 4' INT; trap 'exit 5' HUP; trap 'exit 6' QUIT; trap 'exit 7' USR1; trap 'exit 8' USR2; echo $$; while :; do sleep 0.05; done";
        let mut command = apart(&["run", "--quiet", "--", "bash", "-c", script]);
        command.stdout(Stdio::piped());
        let mut run = Guarded::start(command);
        let lines = Lines::of(run.0.stdout.take().expect("a pipe"));
        let shell: u32 = lines.next("the program begins").parse().expect("its id");
        let _stray = Stray(shell);
        run.signal(signal);
        assert_eq!(run.code(), code, "{signal:?}");
    }
}

#[test]
fn the_program_outlives_a_killed_wrapper_under_its_limits() {
    let limited = has_groups();
    let mut command = ffrtmp(&["run", "--quiet", "--memory-limit", "64", "--", "sh", "-c", "echo $$; exec sleep 600"]);
    let mut wrapper = Guarded::start({
        command.stdout(Stdio::piped());
        command
    });
    let lines = Lines::of(wrapper.0.stdout.take().expect("a pipe"));
    let program = Stray(lines.next("the program begins").parse().expect("its id"));
    wrapper.signal(Signal::KILL);
    assert_eq!(wrapper.code(), 137);
    assert!(test_kill_process(pid(program.0)).is_ok(), "the program died with its wrapper");
    let left = groups_by(wrapper.pid());
    if limited {
        assert!(groups_of(program.0).contains("ffrtmp-foreign-") && !left.is_empty(), "its limits are gone");
    }
    let id = program.0;
    drop(program);
    until("the program ends", || test_kill_process(pid(id)).is_err().then_some(()));
    // Whoever governs next removes what the dead wrapper left.
    until("its groups are removed", || {
        output(ffrtmp(&["run", "--quiet", "--", "true"]));
        groups_by(wrapper.pid()).is_empty().then_some(())
    });
}

#[test]
fn a_time_limit_ends_also_who_ignores_it_and_everything_it_started() {
    let script = "trap '' TERM; (trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 0.05; done') & while :; do sleep 0.05; done";
    let args = ["run", "--json", "--sla-eligible", "--timeout", "500ms", "--grace", "300ms", "--", "sh", "-c", script];
    let began = Instant::now();
    let ran = output(ffrtmp(&args));
    assert_eq!(ran.status.code(), Some(124), "{}", text(&ran.stderr));
    assert!(began.elapsed() < Duration::from_secs(30));
    let far: u32 = text(&ran.stdout).trim().parse().expect("the id of the one that left its group");
    assert!(test_kill_process(pid(far)).is_err(), "a process in a session of its own was left behind");
    let report = report(&ran);
    assert_eq!((&report["exit_reason"], &report["left_running"]), (&json!("timeout"), &json!(0)));
    assert_eq!((&report["sla"]["counted"], &report["sla"]["compliant"]), (&json!(true), &json!(false)));
}

#[test]
fn memory_over_the_limit_is_told_as_such() {
    if !has_groups() {
        return;
    }
    let hog = "x=a; while :; do x=$x$x; done";
    let ran = output(ffrtmp(&["run", "--json", "--memory-limit", "32", "--", "bash", "-c", hog]));
    assert_eq!(ran.status.code(), Some(137), "{}", text(&ran.stderr));
    assert_eq!(report(&ran)["exit_reason"], "oom");
    let child = format!("( {hog} ); exit 5");
    let ran = output(ffrtmp(&["run", "--json", "--memory-limit", "32", "--", "bash", "-c", &child]));
    assert_eq!(
        (ran.status.code(), &report(&ran)["exit_reason"]),
        (Some(5), &json!("cgroup_limit")),
        "{}",
        text(&ran.stderr)
    );
}

#[test]
fn half_a_core_is_half_a_core() {
    if !has_groups() {
        return;
    }
    let args =
        ["run", "--json", "--cpu-max", "50000 100000", "--timeout", "4s", "--", "sh", "-c", "while :; do :; done"];
    let report = report(&output(ffrtmp(&args)));
    let number = |name: &str| report[name].as_f64().expect(name);
    let share = number("cpu_seconds") / number("wall_seconds");
    assert!(share <= 0.525, "{share} of a core: {report}");
    if number("throttled_seconds") < 1.0 {
        println!("left out: the machine is too busy to give half a core ({share})");
    } else {
        assert!(share >= 0.475, "{share} of a core: {report}");
    }
}

#[test]
fn without_privileges_limits_are_watched_and_it_says_so() {
    let mut command = ffrtmp(&["run", "--memory-limit", "64", "--", "sh", "-c", "exit 2"]);
    let mut required = ffrtmp(&["run", "--require-limits", "--memory-limit", "64", "--", "echo", "it ran"]);
    let mut hog = ffrtmp(&[
        "run",
        "--json",
        "--kill-over-memory",
        "--memory-limit",
        "64",
        "--grace",
        "1s",
        "--",
        "bash",
        "-c",
        "x=$(head -c 200000000 /dev/zero | tr '\\0' a); sleep 60",
    ]);
    if is_root() {
        [&mut command, &mut required, &mut hog].into_iter().for_each(as_nobody);
    } else if has_groups() {
        println!("left out: this user may make control groups");
        return;
    }
    for command in [&mut command, &mut required, &mut hog] {
        command.current_dir("/");
    }
    let Ok(ran) = command.output() else {
        println!("left out: nobody may not execute the program here");
        return;
    };
    assert_eq!(ran.status.code(), Some(2), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains("warning: limit memory"), "{}", text(&ran.stderr));
    let refused = output(required);
    assert_eq!((refused.status.code(), text(&refused.stdout).as_str()), (Some(125), ""), "{}", text(&refused.stderr));
    let ended = output(hog);
    assert_eq!(report(&ended)["exit_reason"], "policy_violation", "{}", text(&ended.stderr));
}
