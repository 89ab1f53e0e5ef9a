//! `ffrtmp demo`: a master and an agent in this process, three jobs over HTTPS, and a check of what
//! they made by an independent reader.

mod check;
mod cluster;
mod reader;

use std::path::{Path, PathBuf};

use ffrtmp::core::engine::{Control, Engine, MediaBounds, Source, Task};
use ffrtmp::core::job::{JobReport, JobRequest, JobState, JobView};
use ffrtmp::core::media::Container;
use ffrtmp::core::plan::{OutputRequest, Plan};
use ffrtmp::core::units::Seconds;
use ffrtmp::core::{Code, Error, Result};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Builder;

use super::jobs::follow;
use crate::cli::local::Demo;
use crate::console::{self, Console, one_line};
use crate::describe::quantity::{bit_rate, bytes, span};
use crate::progress::{Board, Shown};
use crate::stop::Done;
use cluster::Cluster;
use reader::Reader;
pub(super) use reader::ffprobe;

/// Scenario and container of each job.
const JOBS: [(&str, Container); 3] =
    [("720p30-h264", Container::Mp4), ("480p-vp9", Container::Webm), ("360p-av1", Container::Mp4)];
/// Length of the generated input in seconds.
const LENGTH: f64 = 6.0;

/// One of the three jobs, and what it shall come to.
struct Piece {
    request: JobRequest,
    output: PathBuf,
    plan: Plan,
}

pub(super) fn run(command: &Demo, console: &Console) -> Done {
    console::show_warnings();
    let scratch = tempfile::Builder::new().prefix("ffrtmp-demo-work-").tempdir().map_err(no_directory)?;
    let engine = crate::local::warm_engine()?;
    let input = match &command.input {
        Some(path) => given(path)?,
        None => generated(&scratch, &engine, console)?,
    };
    let outputs = outputs(command.keep.as_deref())?;
    let ran = transcode(&input, &outputs, &scratch, engine, console);
    if ran.is_err() {
        outputs.abandon();
    }
    let (views, off) = ran?;
    show(&input, &views, &off, &outputs, console)?;
    judge(&views, &off)
}

fn transcode(
    input: &Path,
    outputs: &Outputs,
    scratch: &TempDir,
    engine: ffrtmp::engines::IsolatedEngine,
    console: &Console,
) -> Done<(Vec<JobView>, Vec<Vec<String>>)> {
    let source = crate::local::probe(&engine, input, "--input")?;
    let pieces = JOBS
        .iter()
        .map(|(scenario, container)| piece(scenario, *container, input, outputs.path(), &source))
        .collect::<Result<Vec<_>>>()?;
    let runtime = super::runtime(&mut Builder::new_multi_thread())?;
    let allowed = [parent(input), outputs.path().to_owned()];
    let views = runtime.block_on(async {
        let mut signals = super::signals::Signals::new()?;
        let cluster = Cluster::start(scratch.path(), &allowed, engine.clone()).await?;
        console.note(format_args!(
            "master at {} and an agent, both in this process; input {}",
            cluster.url(),
            input.display()
        ));
        let work = async {
            let client = cluster.client();
            let mut views = Vec::with_capacity(pieces.len());
            for piece in &pieces {
                views.push(client.submit(&piece.request, None).await?);
            }
            follow::to_ends(client, &views, &Board::new(console, true), console).await
        };
        let ended = tokio::select! {
            ended = work => ended,
            () = signals.next() => Err(interrupted().into()),
        };
        let stopped = cluster.stop().await;
        let views = ended?;
        stopped?;
        Ok::<_, crate::stop::Stop>(views)
    })?;
    let off = check_all(&views, &pieces, input, &Reader::here(engine))?;
    Ok((views, off))
}

fn check_all(views: &[JobView], pieces: &[Piece], input: &Path, reader: &Reader) -> Result<Vec<Vec<String>>> {
    let source = reader.read(input)?;
    let each = views.iter().zip(pieces).map(|(view, piece)| {
        if view.job.state != JobState::Completed {
            let why = view.job.error.as_ref().map(|error| one_line(&error.message)).unwrap_or_default();
            return vec![format!("{}: {why}", view.job.state)];
        }
        match reader.read(&piece.output) {
            Ok(seen) => check::differences(&seen, &source, &piece.plan),
            Err(error) => vec![error.to_string()],
        }
    });
    Ok(each.collect())
}

fn piece(
    scenario: &str,
    container: Container,
    input: &Path,
    outputs: &Path,
    source: &ffrtmp::core::media::MediaInfo,
) -> Result<Piece> {
    let output = outputs.join(format!("{scenario}.{}", container.extension()));
    let request = OutputRequest { scenario: scenario.parse()?, container: Some(container), ..OutputRequest::default() };
    let plan = Plan::resolve(&request, Some(source))?;
    let text = |path: &Path| {
        path.to_str().map(str::to_owned).ok_or_else(|| {
            Error::new(Code::InvalidField, format!("{} is not UTF-8 text", path.display()))
                .field("--input")
                .hint("rename it, or give a link to it")
        })
    };
    let request = JobRequest {
        scenario: scenario.to_owned(),
        input: Some(text(input)?),
        output: Some(text(&output)?),
        ..JobRequest::default()
    };
    Ok(Piece { request, output, plan })
}

fn given(path: &Path) -> Result<PathBuf> {
    crate::local::source(path, "--input")?;
    path.canonicalize().map_err(|error| {
        Error::new(Code::InputUnreadable, format!("{} cannot be resolved", path.display()))
            .field("--input")
            .source(error)
    })
}

fn generated(scratch: &TempDir, engine: &dyn Engine, console: &Console) -> Result<PathBuf> {
    let output = scratch.path().canonicalize().map_err(no_directory)?.join("input.mp4");
    let request =
        OutputRequest { scenario: "720p30-h264".parse()?, container: Some(Container::Mp4), ..OutputRequest::default() };
    let source = Source::Generated(Seconds::try_from(LENGTH)?);
    let task = Task { source, output: output.clone(), request, bounds: MediaBounds::default(), live: None };
    let shown = Shown::on(Board::new(console, false).gauge("making an input"));
    let made = engine.run(&task, &Control::default(), &shown);
    shown.clear();
    made.map(|_| output)
}

/// Where the outputs go.
struct Outputs {
    directory: PathBuf,
    /// Whether the demo made it.
    own: bool,
}

impl Outputs {
    fn path(&self) -> &Path {
        &self.directory
    }

    /// Removes what was made; a directory that was there before stays with what is in it.
    fn abandon(&self) {
        if self.own
            && let Err(error) = std::fs::remove_dir_all(&self.directory)
        {
            tracing::warn!("{} cannot be removed: {error}", self.directory.display());
        }
    }
}

fn outputs(keep: Option<&Path>) -> Result<Outputs> {
    let own = keep.is_none_or(|directory| !directory.exists());
    let made = match keep {
        Some(directory) => std::fs::create_dir_all(directory).map(|()| directory.to_owned()),
        None => tempfile::Builder::new().prefix("ffrtmp-demo-").tempdir().map(TempDir::keep),
    };
    let directory = made.and_then(|directory| directory.canonicalize()).map_err(|error| match keep {
        Some(directory) => Error::new(Code::OutputNotWritable, format!("{} cannot be made", directory.display()))
            .field("--keep")
            .hint("give a directory that you may write")
            .source(error),
        None => no_directory(error),
    })?;
    Ok(Outputs { directory, own })
}

fn parent(file: &Path) -> PathBuf {
    file.parent().unwrap_or(Path::new("/")).to_owned()
}

fn interrupted() -> Error {
    Error::new(Code::Canceled, "the demo was interrupted").hint("everything that it made is removed; run it again")
}

fn no_directory(error: std::io::Error) -> Error {
    Error::new(Code::Storage, "no temporary directory")
        .hint("set TMPDIR to a directory that you may write")
        .source(error)
}

fn show(input: &Path, views: &[JobView], off: &[Vec<String>], outputs: &Outputs, console: &Console) -> Done {
    if console.is_json() {
        let jobs: Vec<Value> =
            views.iter().zip(off).map(|(view, off)| json!({ "job": view, "off": off, "ok": off.is_empty() })).collect();
        return console.json(&json!({ "input": input, "outputs": outputs.path(), "jobs": jobs }));
    }
    let mut table =
        console.columns(&["job", "size", "bit rate", "fps", "speed", "cpu", "peak memory", "check", "output"]);
    for (view, off) in views.iter().zip(off) {
        let check = if off.is_empty() { "ok".to_owned() } else { off.join("; ") };
        let color = if off.is_empty() { comfy_table::Color::Green } else { comfy_table::Color::Red };
        let mut row = vec![view.job.scenario.as_str().into()];
        row.extend(measures(view.job.result.as_deref()).into_iter().map(comfy_table::Cell::new));
        row.push(console.tinted(check, color));
        row.push(view.job.output.as_deref().unwrap_or("-").into());
        table.add_row(row);
    }
    console.table(&table)?;
    console.line(format_args!("outputs: {}", outputs.path().display()))
}

fn measures(report: Option<&JobReport>) -> [String; 6] {
    let Some(report) = report else { return std::array::from_fn(|_| "-".to_owned()) };
    [
        bytes(report.size_bytes),
        bit_rate(report.bit_rate),
        format!("{:.1}", report.fps),
        format!("{:.2}x", report.speed),
        span(report.cpu_seconds),
        bytes(report.peak_memory_bytes),
    ]
}

fn judge(views: &[JobView], off: &[Vec<String>]) -> Done {
    for (view, off) in views.iter().zip(off) {
        let field = view.job.scenario.clone();
        match (&view.job.error, off.first()) {
            (Some(error), Some(_)) => return Err(Error::from(error.clone()).field(field).into()),
            (None, Some(first)) => return Err(Error::new(Code::VerifyFailed, first.clone()).field(field).into()),
            (_, None) => {}
        }
    }
    Ok(())
}
