//! Programs that cannot do what they are told: one line that names the flag, one with the cure, and
//! the exit code of the error's class.

use std::path::Path;
use std::process::{Command, Output};

use crate::cluster::{AgentSetup, Cluster, Setup, free_port, master_command};

#[test]
fn a_refused_start_names_the_flag_and_the_cure() {
    let cluster = Cluster::start(Setup::default());
    let elsewhere = cluster.path("outside");
    let free = || (free_port(), free_port());
    for (flags, (port, metrics_port), code, field, cure) in [
        (&[][..], (cluster.port, free_port()), 2, "--port", "--port"),
        (&[], (free_port(), cluster.metrics_port), 2, "--metrics-port", "--metrics-port"),
        (&["--mtls"], free(), 2, "mtls", "--ca"),
        (&["--heartbeat-timeout", "1s"], free(), 2, "heartbeat-timeout", "interval"),
        (&["--api-key", "short"], free(), 2, "api-key", "openssl rand"),
        (&["--db-type", "mysql"], free(), 2, "db-type", "sqlite"),
        (&["--log-level", "loud"], free(), 2, "log-level", "debug"),
        (&["--max-retires", "3"], free(), 2, "--max-retires", "--max-retries"),
        (&["--heartbeat-interval", "soon"], free(), 2, "--heartbeat-interval", "--help"),
    ] {
        assert_refused(master_command(&elsewhere, flags, port, metrics_port), code, field, cure);
    }

    let missing = cluster.path("nowhere").display().to_string();
    for (flags, code, field, cure) in [
        (["--api-key", "a-key-but-not-the-right-one"], 4, "Authorization", "key"),
        (["--allow-path", &missing], 2, "allow-path", "exist"),
        (["--cert", &missing], 2, "--key", "--help"),
    ] {
        let flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut command = cluster.agent_command(&AgentSetup { flags, ..AgentSetup::paced("refused", 1.0) });
        command.args(["--metrics-port", "0"]);
        assert_refused(command, code, field, cure);
    }

    for (args, code, field, cure) in [
        (vec!["jobs", "list", "--api-key", "a-key-but-not-the-right-one"], 4, "Authorization", "key"),
        (vec!["jobs", "status", "99999"], 3, "", "jobs list"),
        (vec!["jobs", "submit", "--scenario", "1080pp"], 2, "--scenario", "1080p"),
        (vec!["jobs", "submit", "--scenario", "720p", "--duration", "-5"], 2, "--duration", "positive"),
        (vec!["jobs", "list", "--master", "http://127.0.0.1:1"], 9, "", "master"),
        (vec!["probe", "/nowhere/a.mp4"], 3, "", ""),
        (vec!["probe", "/etc/passwd"], 6, "", ""),
        (vec!["transcode", "/etc/passwd", "/nowhere/out.mp4"], 3, "OUT: the directory", "mkdir"),
    ] {
        let output = cluster.ffrtmp(&args);
        assert_one_line(&args, &output, code, field, cure);
    }
}

pub(crate) fn assert_refused(mut command: Command, code: i32, field: &str, cure: &str) {
    let output = command.output().expect("it runs");
    assert_one_line(&command, &output, code, field, cure);
}

/// Exactly one error line and one hint line among the log lines, and no panic.
fn assert_one_line(what: &dyn std::fmt::Debug, output: &Output, code: i32, field: &str, cure: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    let context = format!("{what:?}\n{text}");
    assert_eq!(output.status.code(), Some(code), "{context}");
    let errors: Vec<_> = text.lines().filter(|line| line.contains("error: ") && !line.starts_with('{')).collect();
    let hints: Vec<_> = text.lines().filter(|line| line.trim_start().starts_with("hint: ")).collect();
    let ([error], [hint]) = (errors.as_slice(), hints.as_slice()) else { panic!("{context}") };
    assert!(error.contains(field), "{field} is not named: {context}");
    assert!(hint.contains(cure), "{cure} is not the cure: {context}");
    assert!(!text.contains("panicked"), "{context}");
}

#[test]
fn a_key_file_is_private_and_is_kept() {
    use std::os::unix::fs::PermissionsExt;
    let mut cluster = Cluster::start(Setup::default());
    for file in ["api-key", "certs/master.key"] {
        let mode = std::fs::metadata(cluster.path(file)).expect(file).permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    assert!(Path::new(&cluster.path("master.db")).is_file());
    cluster.master.kill();
    cluster.restart_master();
    assert!(cluster.call(cluster.client.nodes()).is_ok(), "the key of before is still right");
}
