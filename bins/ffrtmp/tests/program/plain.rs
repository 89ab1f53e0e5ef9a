//! Commands that touch neither media nor a master.

use std::process::Stdio;

use crate::desk::{Desk, said};

#[test]
fn help_names_commands_and_exit_codes_and_starts_without_codec_libraries() {
    let desk = Desk::new();
    let help = desk.run(&["--help"]);
    assert_eq!(help.code, 0);
    for word in
        ["jobs", "nodes", "transcode", "probe", "doctor", "explain", "demo", "scenarios", "Exit codes:", "  130  "]
    {
        assert!(help.out.contains(word), "{word}");
    }
    assert_eq!(desk.run(&["--version"]).out.trim(), concat!("ffrtmp ", env!("CARGO_PKG_VERSION")));
    let program = std::fs::read(env!("CARGO_BIN_EXE_ffrtmp")).unwrap();
    let links = |name: &[u8]| program.windows(name.len()).any(|window| window == name);
    // Loading them costs 40 ms; `ffrtmp-runner` does it when there is media to work on.
    assert!(!links(b"libavcodec.so") && !links(b"libavfilter.so"), "the program links codec libraries");
}

#[test]
fn explain_knows_every_code_and_the_nearest_one() {
    let desk = Desk::new();
    let one = desk.run(&["explain", "input-not-found"]);
    assert!(one.code == 0 && one.out.contains("The input does not exist"), "{one:?}");
    let all = desk.json(&["explain"]);
    assert_eq!(all.as_array().unwrap().len(), ffrtmp::core::Code::ALL.len());
    let typo = desk.run(&["explain", "disk_ful"]);
    assert_eq!(typo.code, 2);
    assert_eq!(typo.err.lines().count(), 2, "{}", typo.err);
    assert!(typo.err.contains("hint: did you mean disk_full?"), "{}", typo.err);
}

#[test]
fn scenarios_resolve() {
    let shown = Desk::new().json(&["scenarios"]);
    let examples = shown["examples"].as_array().unwrap();
    let uhd = examples.iter().find(|example| example["scenario"] == "4K60-h265").unwrap();
    let video = &uhd["plan"]["video"]["encode"]["renditions"][0];
    assert_eq!((&video["codec"], &video["size"], &video["fps"]), (&"h265".into(), &"3840x2160".into(), &60.into()));
}

#[test]
fn recommendations_come_in_every_shape() {
    let desk = Desk::new();
    let json = desk.json(&["config", "recommend", "--environment", "production"]);
    let jobs = json["max_concurrent_jobs"].as_u64().unwrap();
    for (format, line) in [
        ("yaml", format!("max_concurrent_jobs: {jobs}")),
        ("bash", format!("export FFRTMP_MAX_CONCURRENT_JOBS={jobs}")),
        ("text", format!("--max-concurrent-jobs {jobs}")),
    ] {
        let said = desk.run(&["config", "recommend", "--environment", "production", "--output", format]);
        assert!(said.code == 0 && said.out.contains(&line), "{format}: {said:?}");
    }
    assert!(json["min_free_disk_percent"].is_u64() && json["reasons"]["min_free_disk_percent"].is_string(), "{json}");
    let refused = desk.run(&["config", "recommend", "--output", "csv"]);
    assert!(refused.code == 2 && refused.err.contains("yaml or bash"), "{refused:?}");
    let refused = desk.run(&["scenarios", "--output", "yaml"]);
    assert!(refused.code == 2 && refused.err.starts_with("error: --output: "), "{refused:?}");
}

#[test]
fn errors_are_problems_where_json_is_asked_for() {
    let refused = Desk::new().run(&["jobs", "submit", "--scenario", "720p", "--bitrate", "5X", "--output", "json"]);
    let problem: serde_json::Value = serde_json::from_str(&refused.err).unwrap();
    assert_eq!((&problem["code"], &problem["field"]), (&"invalid_field".into(), &"--bitrate".into()));
    assert_eq!((refused.code, refused.out.as_str()), (2, ""));
}

#[test]
fn a_reader_that_goes_away_ends_the_command_quietly() {
    for args in [&["explain"][..], &["--help"], &["completions", "bash"], &["--output", "json", "scenarios"]] {
        let mut child = Desk::new().command(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        drop(child.stdout.take());
        let ended = said(child.wait_with_output().unwrap());
        assert_eq!((ended.code, ended.err.as_str()), (0, ""), "{args:?}");
    }
}

#[test]
fn completions_know_the_values_of_flags() {
    for (shell, word) in [("bash", "gstreamer"), ("zsh", "gstreamer"), ("fish", "gstreamer")] {
        let said = Desk::new().run(&["completions", shell]);
        assert!(said.code == 0 && said.out.contains(word), "{shell}");
    }
}

#[test]
fn a_dry_run_shows_what_a_job_comes_to() {
    let desk = Desk::new();
    let shown = desk.json(&["jobs", "submit", "--scenario", "live-4k", "--bitrate", "9M", "--dry-run"]);
    let rendition = &shown["plan"]["video"]["encode"]["renditions"][0];
    assert_eq!((&shown["queue"], &rendition["size"]), (&"live".into(), &"3840x2160".into()));
    assert_eq!(rendition["rate"]["average"]["bitrate"], "9M");
    desk.write("jobs.json", br#"{"jobs":[{"scenario":"720p30-h264"},{"scenario":"720p30-h264","bitrat":"5M"}]}"#);
    let refused = desk.run(&["jobs", "submit", "--file", "jobs.json", "--dry-run"]);
    assert!(refused.code == 2 && refused.err.starts_with("error: jobs[1].bitrat"), "{refused:?}");
}

#[test]
fn a_master_that_is_away_is_a_clear_error() {
    // Port 9 of the loopback has no listener.
    let desk = Desk::new();
    for (master, args) in [("http://127.0.0.1:9", ["jobs", "list"]), ("https://127.0.0.1:9", ["nodes", "list"])] {
        let said = desk.run(&[&["--master", master], &args[..]].concat());
        assert_eq!((said.code, said.err.lines().count()), (9, 2), "{args:?}: {}", said.err);
        assert!(said.err.contains("refuses connections") && said.err.contains("hint: "), "{}", said.err);
    }
}
