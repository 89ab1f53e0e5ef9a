//! `ffrtmp transcode`: one file into another, here and now, without a server.

use std::path::{Path, PathBuf};

use ffrtmp::core::engine::{Control, Engine, MediaBounds, Source, Task};
use ffrtmp::core::job::JobReport;
use ffrtmp::core::media::Container;
use ffrtmp::core::plan::OutputRequest;
use ffrtmp::core::{Code, Error, Result};
use ffrtmp::engines::publish::Staging;
use serde_json::json;

use crate::cli::local::Transcode;
use crate::cli::names;
use crate::console::Console;
use crate::describe;
use crate::describe::quantity::{bytes, span};
use crate::progress::{Board, Shown};
use crate::stop::Done;

pub(super) fn run(command: &Transcode, console: &Console) -> Done {
    work(command, console).map_err(|stop| stop.about(|error| names::in_flags(error, names::TRANSCODE)))
}

fn work(command: &Transcode, console: &Console) -> Done {
    let source = crate::local::source(&command.input, "IN")?;
    check_target(&command.input, &command.target, command.wishes.container)?;
    let engine = crate::local::engine()?;
    let scenario = command.scenario.clone().unwrap_or_default();
    let name = command.target.to_string_lossy();
    let request = OutputRequest::for_output(scenario, command.wishes.parameters()?, Some(&name));
    let task = Task { source, output: command.target.clone(), request, bounds: MediaBounds::default(), live: None };
    if command.dry_run {
        return dry_run(command, &task, &engine, console);
    }
    let (report, warnings) = attempt(command, task, &engine, console)?;
    let unsaid = report.warnings.iter().filter(|warning| !warnings.contains(warning));
    for warning in warnings.iter().chain(unsaid) {
        console.note(format_args!("warning: {}", names::words(&crate::console::one_line(warning))));
    }
    summary(command, &report, console)
}

/// Looks at the place of the output before any work is done for it.
fn check_target(input: &Path, output: &Path, wish: Option<Container>) -> Result<()> {
    let shown = output.display();
    let refuse = |code, message: String, hint: &str| Err(Error::new(code, message).field("OUT").hint(hint));
    if crate::local::is_url(output) {
        let hint = "give a path; `ffrtmp jobs submit --out URL` lets an agent write to other places";
        return refuse(Code::UnsupportedScheme, format!("{shown} is a URL"), hint);
    }
    if output.is_dir() {
        return refuse(Code::OutputNotWritable, format!("{shown} is a directory"), "give a file path in it");
    }
    if output.exists() && !output.is_file() {
        return refuse(Code::OutputNotWritable, format!("{shown} is no regular file"), "give another file");
    }
    if !directory(output).is_dir() {
        let directory = directory(output);
        let hint = format!("create it first: mkdir -p {}", directory.display());
        return refuse(
            Code::OutputDirectoryMissing,
            format!("the directory {} does not exist", directory.display()),
            &hint,
        );
    }
    if same_file(input, output) {
        return refuse(
            Code::InvalidField,
            format!("{shown} is the input"),
            "give another file; a source is never overwritten",
        );
    }
    let hint = "use the extension mp4, mkv, webm, ts, m3u8, mpd, mp3, flac or opus, or give --container";
    match Container::from_path(&output.to_string_lossy()).or(wish) {
        None => refuse(Code::InvalidField, format!("{shown} names no container"), hint),
        Some(_) => Ok(()),
    }
}

fn directory(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Whether two names lead to one file, through links of any kind.
fn same_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(one), Ok(other)) = (one.metadata(), other.metadata()) else { return false };
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

fn dry_run(command: &Transcode, task: &Task, engine: &dyn Engine, console: &Console) -> Done {
    let plan = engine.plan(task).map_err(|error| crate::local::named(error, "IN", &command.input))?;
    if console.is_json() {
        return console.json(&json!({ "input": command.input, "output": command.target, "plan": plan }));
    }
    console.line(format_args!("{} → {}", command.input.display(), command.target.display()))?;
    console.table(&describe::plan::facts(&plan, console))
}

/// Encodes to a hidden name beside the output and publishes it at the end. On every error, and
/// when a signal cancels it, nothing stays behind.
fn attempt(
    command: &Transcode,
    mut task: Task,
    engine: &dyn Engine,
    console: &Console,
) -> Result<(JobReport, Vec<String>)> {
    let control = Control::default();
    // First of all: a signal that comes before it would leave the staged file behind.
    super::signals::cancel_on_signal(&control)?;
    let staged = Staging::new(&command.target, &task.request, Some(&command.input))?;
    task.output = staged.path();
    let shown = Shown::on(Board::new(console, command.progress).gauge(name(&task.source)));
    let ran = engine.run(&task, &control, &shown);
    let warnings = shown.clear();
    let report = ran.map_err(|error| here(crate::local::named(error, "IN", &command.input)))?;
    let mut report = staged.named(report);
    // Between the last frame and here a signal still takes the output back.
    control.checkpoint()?;
    staged.commit()?;
    report.output_uri = Some(command.target.display().to_string());
    Ok((report, warnings))
}

/// The cures of jobs do not fit where there is no job.
fn here(error: Error) -> Error {
    match error.code() {
        Code::Canceled => error.hint("nothing was left behind; run the command again to start over"),
        Code::DiskFull => error.hint("free space where the output goes, then run the command again"),
        Code::Killed => error.hint("run the command again; if it repeats, the machine is short of memory"),
        _ => error,
    }
}

fn name(source: &Source) -> String {
    let name = match source {
        Source::File(path) => path.file_name().map(|name| name.to_string_lossy().into_owned()),
        Source::Generated(_) | Source::Live(_) => None,
    };
    crate::console::one_line(&name.unwrap_or_default())
}

fn summary(command: &Transcode, report: &JobReport, console: &Console) -> Done {
    if console.is_json() {
        return console.json(report);
    }
    console.line(format_args!("{}: {}", command.target.display(), made(report).join(", ")))?;
    for (name, value) in describe::job::outputs(report, command.wishes.chunks) {
        console.line(format_args!("  {name}: {value}"))?;
    }
    Ok(())
}

/// What was made and what it took.
fn made(report: &JobReport) -> Vec<String> {
    let picture: Vec<_> = report.video_codec.iter().chain(&report.resolution).map(String::as_str).collect();
    let mut parts = Vec::new();
    if !picture.is_empty() {
        parts.push(picture.join(" "));
    }
    parts.extend([span(report.duration_seconds), describe::job::size(report)]);
    let took = span(report.wall_seconds);
    parts.push(match report.frames {
        0 => format!("in {took} ({:.2}x)", report.speed),
        frames => format!("{frames} frames in {took} ({:.1} fps, {:.2}x)", report.fps, report.speed),
    });
    parts.extend([
        format!("CPU {}", span(report.cpu_seconds)),
        format!("peak memory {}", bytes(report.peak_memory_bytes)),
    ]);
    parts
}
