//! Our side: the bench starts itself once more with an order, so that CPU time and memory are of
//! that work alone.
//!
//! Whole-process rows count the start of the process, as they do for the peers. Rows about the
//! library in a process that runs already take the wall time that the child measured itself.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ffrtmp::agent::AgentOptions;
use ffrtmp::core::engine::{Control, Engine, Source, Task, Unobserved};
use ffrtmp::engines::LibavEngine;
use ffrtmp::engines::isolated::{IsolatedEngine, runner_beside_current_exe};
use ffrtmp::governor::NoGovernor;
use ffrtmp::prelude::*;
use ffrtmp::store::SqliteStore;
use rustix::process::{WaitId, WaitIdOptions, waitid};
use serde_json::{Value, json};

use crate::sys::{self, Usage};

/// First argument of a child.
pub(crate) const FLAG: &str = "--ours";

/// From one file to another, the start of the process included.
pub(crate) fn transcode(input: &Path, output: &Path, parameters: &Value) -> crate::Result<Usage> {
    let order = json!({"do": "transcode", "input": input, "output": output, "parameters": parameters});
    Ok(sys::run(&mut child(&order)?)?.0)
}

/// The same again and again in one process.
pub(crate) fn repeat(input: &Path, outputs: &[PathBuf], parameters: &Value) -> crate::Result<Usage> {
    inside(&json!({"do": "repeat", "input": input, "outputs": outputs, "parameters": parameters}))
}

/// Jobs through a store on disk and an agent, two at a time, from the first submission to the last
/// result.
pub(crate) fn jobs(inputs: &[PathBuf], dir: &Path, parameters: &Value, isolation: Isolation) -> crate::Result<Usage> {
    let isolated = isolation == Isolation::Child;
    inside(&json!({"do": "jobs", "inputs": inputs, "dir": dir, "parameters": parameters, "isolated": isolated}))
}

/// Where attempts run.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    /// In the process of the agent.
    None,
    /// In a child process each.
    Child,
}

/// From the call to the first byte of an encoded picture on a pipe; `warm` calls before do not
/// count.
pub(crate) fn first_byte(input: &Path, pipe: &Path, parameters: &Value, warm: usize) -> crate::Result<Usage> {
    inside(&json!({"do": "first", "input": input, "pipe": pipe, "parameters": parameters, "warm": warm}))
}

fn child(order: &Value) -> crate::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([FLAG, &order.to_string()]);
    Ok(command)
}

fn inside(order: &Value) -> crate::Result<Usage> {
    let (usage, said) = sys::run(&mut child(order)?)?;
    Ok(Usage { wall: Duration::from_secs_f64(said.trim().parse()?), ..usage })
}

/// The child: does what it is told and says how many seconds it took.
pub(crate) fn main(order: &str) -> ExitCode {
    ffrtmp::engines::libav::init();
    match obey(order) {
        Ok(taken) => {
            println!("{}", taken.as_secs_f64());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("ours: {error}");
            ExitCode::FAILURE
        }
    }
}

fn obey(order: &str) -> crate::Result<Duration> {
    let order: Value = serde_json::from_str(order)?;
    let parameters: Parameters = serde_json::from_value(order["parameters"].clone())?;
    let path = |key: &str| order[key].as_str().map(PathBuf::from).ok_or_else(|| format!("no {key}"));
    match order["do"].as_str() {
        Some("transcode") => repeatedly(&path("input")?, &[path("output")?], &parameters),
        Some("repeat") => repeatedly(&path("input")?, &paths(&order["outputs"]), &parameters),
        Some("jobs") => {
            let isolation = if order["isolated"] == true { Isolation::Child } else { Isolation::None };
            let taken = cluster(&paths(&order["inputs"]), &path("dir")?, &parameters, isolation)?;
            // What children used counts as ours once the engine has reaped them.
            while waitid(WaitId::All, WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).is_ok() {
                std::thread::yield_now();
            }
            Ok(taken)
        }
        Some("first") => {
            let (input, pipe) = (path("input")?, path("pipe")?);
            for _ in 0..order["warm"].as_u64().unwrap_or(0) {
                to_first_byte(&input, &pipe, &parameters)?;
            }
            to_first_byte(&input, &pipe, &parameters)
        }
        other => Err(format!("unknown order {other:?}").into()),
    }
}

fn paths(list: &Value) -> Vec<PathBuf> {
    list.as_array().into_iter().flatten().filter_map(|path| path.as_str().map(PathBuf::from)).collect()
}

fn repeatedly(input: &Path, outputs: &[PathBuf], parameters: &Parameters) -> crate::Result<Duration> {
    let begun = Instant::now();
    let engine: Arc<dyn Engine> = Arc::new(LibavEngine::new()?);
    for output in outputs {
        Transcode::new(input, output).parameters(parameters.clone()).engine(Arc::clone(&engine)).run()?;
    }
    Ok(begun.elapsed())
}

/// First byte of every packet of a transport stream, and one that it cannot begin with.
const TS_SYNC: u8 = 0x47;
const FAILED: u8 = 0;

/// A pipe that is read from the start, as a player would; what comes after the first byte is
/// stopped, and reading a pipe back fails by nature, so how the run ends does not matter.
fn to_first_byte(input: &Path, pipe: &Path, parameters: &Parameters) -> crate::Result<Duration> {
    let _ = std::fs::remove_file(pipe);
    rustix::fs::mkfifoat(rustix::fs::CWD, pipe, rustix::fs::Mode::RWXU)?;
    // Opened for both, so that neither side waits for the other to open.
    let mut reader = File::options().read(true).write(true).open(pipe)?;
    let mut writer = File::options().write(true).custom_flags(libc::O_NONBLOCK).open(pipe)?;
    let engine = LibavEngine::new()?;
    let task = Task::new(Source::File(input.to_owned()), pipe.to_owned(), Scenario::default());
    let task =
        Task { request: ffrtmp::core::plan::OutputRequest { parameters: parameters.clone(), ..task.request }, ..task };
    let control = Control::default();
    let begun = Instant::now();
    let mut first = [FAILED];
    let (taken, ended) = std::thread::scope(|scope| {
        let run = scope.spawn(|| {
            let ended = engine.run(&task, &control, &Unobserved);
            // Wakes the reader of a run that ended before it wrote; a full pipe needs no waking.
            let woken = writer.write(&[FAILED]);
            (ended, woken)
        });
        let read = reader.read(&mut first);
        let taken = read.map(|_| begun.elapsed());
        control.cancel();
        (taken, run.join())
    });
    match ended {
        Ok((Err(error), _)) if first == [FAILED] => Err(error.into()),
        Ok(_) if first == [TS_SYNC] => Ok(taken?),
        _ => Err("no transport stream came".into()),
    }
}

fn engine(isolation: Isolation) -> crate::Result<Arc<dyn Engine>> {
    Ok(match isolation {
        Isolation::None => Arc::new(LibavEngine::new()?),
        Isolation::Child => {
            let runner =
                runner_beside_current_exe().ok_or("no ffrtmp-runner here; `cargo build --release` makes it")?;
            Arc::new(IsolatedEngine::new(runner, Vec::new()))
        }
    })
}

fn cluster(inputs: &[PathBuf], dir: &Path, parameters: &Parameters, isolation: Isolation) -> crate::Result<Duration> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(work(inputs, dir, parameters, engine(isolation)?))
}

async fn work(
    inputs: &[PathBuf],
    dir: &Path,
    parameters: &Parameters,
    engine: Arc<dyn Engine>,
) -> crate::Result<Duration> {
    let stop = CancellationToken::new();
    let store = Arc::new(SqliteStore::open(&dir.join("jobs.db"))?);
    let master = Master::new(store, MasterOptions { api_address: None, ..MasterOptions::default() }).await?;
    let coordinator = master.coordinator();
    let allowed = inputs.iter().filter_map(|input| input.parent()).chain([dir]).map(Path::to_owned).collect();
    let options = AgentOptions {
        work_dir: Some(dir.join("agent")),
        allow_paths: allowed,
        max_concurrent_jobs: Some(2),
        ..AgentOptions::default()
    };
    let governor = Arc::new(NoGovernor::default());
    let agent = Agent::new(Arc::new(master.transport()), vec![engine], governor, options).await?;
    let master = tokio::spawn(master.run(stop.clone()));
    let agent = tokio::spawn(agent.run(stop.clone()));
    while coordinator.nodes().await?.is_empty() {
        tokio::task::yield_now().await;
    }

    let mut events = coordinator.events();
    let begun = Instant::now();
    let mut left = Vec::new();
    for (index, input) in inputs.iter().enumerate() {
        let request = JobRequest {
            scenario: "transcode".to_owned(),
            input: Some(input.display().to_string()),
            output: Some(dir.join(format!("{index}.mp4")).display().to_string()),
            parameters: parameters.clone(),
            ..JobRequest::default()
        };
        left.push(coordinator.submit(request, None).await?.job.id);
    }
    while let Some(id) = left.last() {
        let job = coordinator.job(&(*id).into()).await?;
        match job.state {
            JobState::Completed => drop(left.pop()),
            state if state.is_final() => return Err(format!("a job ended {state}: {:?}", job.error).into()),
            // A slow reader may miss events; the job itself is always right.
            _ => drop(events.recv().await),
        }
    }
    let taken = begun.elapsed();
    stop.cancel();
    agent.await??;
    master.await??;
    Ok(taken)
}
