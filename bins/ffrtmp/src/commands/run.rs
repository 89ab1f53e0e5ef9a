//! `ffrtmp run`: a program under limits, as if the shell had started it.

use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::path::Path;
use std::process::ExitCode;

use ffrtmp::core::{Code, Error, Result};
use ffrtmp::governor::supervise::{self, EXEC, ExitReason, Inbox, Progress, Report, Supervised, Workload};
use tempfile::NamedTempFile;

use crate::cli::supervise::Run;
use crate::console;

/// The time was over.
pub(super) const TIMED_OUT: u8 = 124;
/// The program could not be governed.
pub(crate) const NOT_GOVERNED: u8 = 125;
const NOT_EXECUTABLE: u8 = 126;
const NOT_FOUND: u8 = 127;

/// Runs it to its end; the exit code is its own.
pub(super) fn run(command: &Run, json: bool) -> ExitCode {
    match work(command, json) {
        Ok(code) => ExitCode::from(code),
        // The code of the error class would look like one of the program's.
        Err(error) => console::report_as(&super::in_flags(error), json, NOT_GOVERNED),
    }
}

fn work(command: &Run, json: bool) -> Result<u8> {
    // First of all: a signal that comes before it would end this program only.
    let inbox = Inbox::open()?;
    let order = command.govern.order()?;
    let place = command.report.as_deref().map(Place::prepare).transpose()?;
    let governor = supervise::governor();
    let started = workload(command).start(&order, governor.as_ref(), Some(&inbox));
    let supervised = match started {
        Ok(supervised) => supervised,
        Err(error) => {
            let code = refusal(&error);
            let _ = console::report_as(&super::in_flags(error), json, code);
            return Ok(code);
        }
    };
    if !command.quiet && !json {
        warn_of_watched(&supervised);
    }
    let report = follow(supervised, &inbox)?;
    tell(command, &report, place, json);
    Ok(exit_code(&report))
}

fn workload(command: &Run) -> Workload {
    let (program, arguments) =
        command.command.split_first().map_or((Default::default(), &[][..]), |(program, rest)| (program.clone(), rest));
    let workload = Workload::new(program).arguments(arguments).adopt_orphans();
    match &command.workdir {
        Some(directory) => workload.directory(directory),
        None => workload,
    }
}

/// Hands signals on until it has ended.
fn follow(mut supervised: Supervised, inbox: &Inbox) -> Result<Report> {
    loop {
        let progress = supervised.wait_until(None, Some(inbox.as_fd()))?;
        while let Some(letter) = inbox.next()? {
            if let Err(error) = supervised.forward(letter) {
                note(&format!("warning: signal {:?} was not passed on: {error}", letter.signal));
            }
        }
        if progress == Progress::Ended {
            return supervised.report();
        }
    }
}

/// The code with which a shell tells that a program could not be begun.
fn refusal(error: &Error) -> u8 {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match source {
        Some(source) if error.operation_name() == Some(EXEC) => match source.kind() {
            io::ErrorKind::NotFound => NOT_FOUND,
            _ => NOT_EXECUTABLE,
        },
        _ => NOT_GOVERNED,
    }
}

fn exit_code(report: &Report) -> u8 {
    let code = match (report.exit_reason, report.exit_code, report.signal) {
        (ExitReason::Timeout, ..) => return TIMED_OUT,
        (_, Some(code), _) => code,
        (_, None, Some(signal)) => 128 + signal,
        (_, None, None) => return NOT_GOVERNED,
    };
    u8::try_from(code).unwrap_or(NOT_GOVERNED)
}

/// Limits that do not hold are said at once, not when it is too late.
pub(super) fn warn_of_watched(supervised: &Supervised) {
    for standing in supervised.standings().iter().filter(|standing| !standing.in_force) {
        let text = format!("warning: limit {} {} is not in force: {}", standing.limit, standing.asked, standing.detail);
        note(&console::one_line(&text));
    }
}

fn tell(command: &Run, report: &Report, place: Option<Place>, json: bool) {
    if let Some(Err(error)) = place.map(|place| place.write(report)) {
        let _ = console::report(&error, json);
    }
    if command.quiet {
        return;
    }
    match serde_json::to_string(report) {
        Ok(line) if json => note(&line),
        _ => note(&report.to_string()),
    }
}

/// Nobody is left to tell that stderr is closed.
fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Where the report goes; tried out before anything is started.
struct Place(NamedTempFile, std::path::PathBuf);

impl Place {
    fn prepare(path: &Path) -> Result<Self> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let refused = |error: io::Error| unwritable(path).source(error);
        if path.is_dir() {
            return Err(unwritable(path).hint("it is a directory; give a file path in it"));
        }
        Ok(Self(NamedTempFile::new_in(folder).map_err(refused)?, path.to_owned()))
    }

    fn write(self, report: &Report) -> Result<()> {
        let Self(mut file, path) = self;
        let text = serde_json::to_string_pretty(report)
            .map_err(|error| Error::new(Code::Internal, "the report cannot be written as JSON").source(error))?;
        writeln!(file, "{text}")
            .and_then(|()| file.as_file().sync_all())
            .map_err(|error| unwritable(&path).source(error))?;
        file.persist(&path).map(drop).map_err(|error| unwritable(&path).source(error.error))
    }
}

fn unwritable(path: &Path) -> Error {
    Error::new(Code::OutputNotWritable, format!("the report cannot be written to {}", path.display()))
        .field("--report")
        .hint("give a file path in a directory that you may write")
}
