//! What is refused, and in which words.

use ffrtmp::core::{Code, Error};

use super::{Cli, Command, Format, Parsed, parse};
use crate::cli::jobs::Jobs;

fn words(line: &str) -> Vec<std::ffi::OsString> {
    std::iter::once("ffrtmp").chain(line.split_whitespace()).map(Into::into).collect()
}

fn accepted(line: &str) -> Cli {
    match parse(&words(line)) {
        Ok(Parsed::Command(cli)) => *cli,
        other => panic!("{line}: {other:?}"),
    }
}

fn refused(line: &str) -> Error {
    parse(&words(line)).expect_err(line)
}

#[test]
fn the_commands_are_well_formed() {
    use clap::CommandFactory as _;
    Cli::command().debug_assert();
}

/// A command's own argument with the name of a global one would take its place without a word.
#[test]
fn no_command_redefines_a_global_flag() {
    use clap::CommandFactory as _;
    let mut root = Cli::command();
    root.build();
    let globals: Vec<_> = root.get_arguments().filter(|arg| arg.is_global_set()).cloned().collect();
    let mut commands: Vec<_> = root.get_subcommands().collect();
    while let Some(command) = commands.pop() {
        commands.extend(command.get_subcommands());
        for own in command.get_arguments() {
            let same = globals.iter().find(|global| global.get_id() == own.get_id());
            assert!(
                same.is_none_or(|global| global.get_help() == own.get_help()),
                "{}: {}",
                command.get_name(),
                own.get_id()
            );
        }
    }
}

#[test]
fn global_flags_stand_before_or_after_the_command() {
    for line in ["--output json --master http://m:1 jobs list", "jobs list --output=json --master http://m:1"] {
        let globals = accepted(line).globals;
        assert_eq!(
            (globals.output, globals.master.as_slice()),
            (Format::Json, &["http://m:1".to_owned()][..]),
            "{line}"
        );
    }
}

#[test]
fn values_arrive_as_types() {
    let Command::Jobs(jobs) =
        accepted("jobs submit --scenario 720p --timeout 15m --priority normal --label a=b=c").command
    else {
        panic!("not jobs");
    };
    let Jobs::Submit(submit) = *jobs else { panic!("not submit") };
    assert_eq!(submit.timeout, Some(900));
    assert_eq!(submit.priority, Some(ffrtmp::core::job::Priority::Medium));
    assert_eq!(submit.labels, [("a".to_owned(), "b=c".to_owned())]);
}

#[test]
fn a_deadline_is_a_time_or_so_long_from_now() {
    let deadline = |text: &str| {
        let Command::Jobs(jobs) = accepted(&format!("jobs submit --scenario 720p --deadline {text}")).command else {
            panic!("not jobs");
        };
        let Jobs::Submit(submit) = *jobs else { panic!("not submit") };
        submit.deadline.expect("it is given")
    };
    assert_eq!(deadline("2026-01-31T12:00:00+01:00").to_string(), "2026-01-31T11:00:00Z");
    for (text, seconds) in [("+0s", 0), ("+90s", 90), ("+15m", 900), ("+2h", 7200), ("+3d", 259_200)] {
        let ahead = deadline(text).since(crate::describe::quantity::now()).as_secs_f64();
        let seconds = f64::from(seconds);
        assert!(ahead <= seconds && ahead > seconds - 60.0, "{text}: {ahead} s");
    }
}

#[test]
fn times_are_read_as_a_clock_shows_them() {
    for (text, seconds) in [("2", 2.0), ("00:00:02", 2.0), ("90:05", 5405.0), ("1:02:03.25", 3723.25), ("2.5s", 2.5)] {
        let line = format!("transcode a b --duration {text} --sprite-interval {text} --poster {text}");
        let Command::Transcode(transcode) = accepted(&line).command else { panic!("{line}") };
        let wishes = transcode.wishes;
        assert_eq!(wishes.duration.map(|span| span.value()), Some(seconds), "{text}");
        assert_eq!(wishes.sprite_interval.map(|span| span.value()), Some(seconds), "{text}");
        assert_eq!(wishes.poster.map(|at| at.value()), Some(seconds), "{text}");
    }
}

#[test]
fn refusals_name_the_field_and_the_cure() {
    for (line, code, message, hint) in [
        ("jobs submit --scenario 1080pp", Code::UnknownScenario, "--scenario: ", "1080p"),
        ("jobs submit", Code::InvalidField, "--scenario <SCENARIO> is required", "usage: ffrtmp jobs submit"),
        (
            "jobs submit --scenario 720p --duration -5",
            Code::InvalidField,
            "--duration: \"-5\"",
            "positive number of seconds",
        ),
        ("jobs submit --scenario 720p --bitrate 5X", Code::InvalidField, "--bitrate: \"5X\"", "5M"),
        ("jobs submit --scenario 720p --codec h2644", Code::InvalidField, "--codec: ", "did you mean h264?"),
        ("jobs submit --scenario 720p --queue liv", Code::InvalidField, "--queue: ", "did you mean live?"),
        (
            "jobs submit --scenario 720p --cpu-limit 0",
            Code::InvalidField,
            "--cpu-limit: \"0\"",
            "positive whole number",
        ),
        ("jobs submit --scenario 720p --timeout 5d", Code::InvalidField, "--timeout: \"5d\"", "15m"),
        ("jobs submit --scenario 720p --deadline soon", Code::InvalidField, "--deadline: \"soon\"", "+2h"),
        ("jobs submit --scenario 720p --deadline -2h", Code::InvalidField, "--deadline: \"-2h\"", "RFC 3339"),
        ("jobs submit --scenario 720p --deadline +2", Code::InvalidField, "--deadline: \"+2\"", "RFC 3339"),
        ("jobs submit --scenario 720p --deadline +99999999d", Code::InvalidField, "--deadline: ", "RFC 3339"),
        ("jobs logs 1 --attempt 0", Code::InvalidField, "--attempt: ", "positive whole number"),
        ("jobs submit --scenario 720p --label x", Code::InvalidField, "--label: \"x\"", "KEY=VALUE"),
        ("jobs submit --scenario 720p --fps 0", Code::InvalidField, "--fps: ", "1 to 240"),
        ("jobs submit --scenario 720p --output a.mp4", Code::InvalidField, "--output: ", "--out"),
        ("jobs submit --scenaro 720p", Code::UnknownField, "unknown flag \"--scenaro\"", "did you mean --scenario?"),
        (
            "transcode a.mp4 b.mp4 --start 99",
            Code::UnknownField,
            "unknown flag \"--start\"",
            "see `ffrtmp transcode --help`",
        ),
        ("transcode a b --resol 720p", Code::UnknownField, "unknown flag \"--resol\"", "did you mean --resolution?"),
        ("probe a.mkv b.mkv", Code::InvalidField, "\"b.mkv\" is one word too many", "one file at a time; usage: "),
        ("transcode a b --crf abc", Code::InvalidField, "--crf: \"abc\" is not a quality from 0 to 63", "0 (best)"),
        ("transcode a b --poster 1:60", Code::InvalidField, "--poster: \"1:60\" is not a time", "[HH:]MM:SS"),
        ("transcode a b --duration 0:00", Code::InvalidField, "--duration: ", "positive number of seconds"),
        ("transcode a b --duration soon", Code::InvalidField, "--duration: \"soon\"", "[HH:]MM:SS"),
        ("jobs lst", Code::UnknownField, "unknown command \"lst\"", "did you mean list?"),
        ("jbs list", Code::UnknownField, "unknown command \"jbs\"", "did you mean jobs?"),
        ("jobs cancel", Code::InvalidField, "<ID> is required", "usage: ffrtmp jobs cancel"),
        ("jobs cancel ../etc", Code::JobNotFound, "ID: no job is named", "sequence number"),
        ("jobs status --follow", Code::InvalidField, "is required", "usage:"),
        ("jobs list --limit -1", Code::InvalidField, "--limit: ", "positive whole number"),
        ("config recommend --environment prod", Code::InvalidField, "--environment: ", "production"),
        ("completions tcsh", Code::InvalidField, "SHELL: ", "bash"),
        ("--api-key a --api-key-file b scenarios", Code::InvalidField, "cannot be used with", "usage:"),
        ("transcode a.mp4", Code::InvalidField, "<OUT> is required", "usage: ffrtmp transcode"),
    ] {
        let error = refused(line);
        assert_eq!(error.code(), code, "{line}: {error}");
        assert!(error.to_string().contains(message), "{line}: {error}");
        assert!(error.hint_text().contains(hint), "{line}: {error}: {}", error.hint_text());
        assert_eq!(error.to_string().lines().count(), 1, "{line}: {error}");
    }
}

#[test]
fn hostile_text_is_only_text() {
    for text in ["-i", "--", ";rm -rf /", "%d", "a\nb", "😀", "\u{202e}x"] {
        let line: Vec<_> =
            ["ffrtmp", "jobs", "submit", "--scenario", "720p", &format!("--input={text}")].map(Into::into).into();
        let Ok(Parsed::Command(cli)) = parse(&line) else { panic!("{text:?}") };
        let Command::Jobs(jobs) = cli.command else { panic!("{text:?}") };
        let Jobs::Submit(submit) = *jobs else { panic!("{text:?}") };
        assert_eq!(submit.input.as_deref(), Some(text));
    }
}
