//! What each command does. One file per subject; this one opens the way to a master for those
//! that need one.

mod attach;
mod completions;
mod demo;
mod doctor;
mod explain;
mod jobs;
mod nodes;
mod probe;
mod recommend;
mod run;
mod scenarios;
mod signals;
mod transcode;
mod watch;

use std::process::ExitCode;

use ffrtmp::core::{Code, Error, Result};
use ffrtmp::transport::http::MasterClient;
use tokio::runtime::{Builder, Runtime};

use crate::cli::{Cli, Command, Format, Globals};
use crate::config::{Settings, Surroundings};
use crate::console::{self, Console};
use crate::stop::Done;

pub(crate) use run::NOT_GOVERNED;

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let json = cli.globals.output == Format::Json;
    match dispatch(cli) {
        Ok(code) => code,
        Err(stop) => console::exit(Err(stop), json),
    }
}

/// An error about a field of a limit, said about the flag.
fn in_flags(error: Error) -> Error {
    let Some(field) = error.field_name().filter(|field| !field.starts_with("--")) else { return error };
    let field = match field {
        "command" => "CMD".to_owned(),
        "cpu" | "cpu_percent" => "--cpu-quota".to_owned(),
        "memory" | "memory_bytes" => "--memory-limit".to_owned(),
        "io" => "--io-max".to_owned(),
        field => format!("--{}", field.replace('_', "-")),
    };
    error.field(field)
}

fn dispatch(cli: Cli) -> Done<ExitCode> {
    let console = Console::new(&cli.globals, matches!(cli.command, Command::Config(_)))?;
    let json = console.is_json();
    let done = match cli.command {
        // These have exit codes of their own.
        Command::Run(command) => return Ok(run::run(&command, json || command.govern.json)),
        Command::Attach(command) => return Ok(attach::run(&command, &console, json || command.govern.json)),
        Command::Watch(command) => watch::run(&command, &console),
        Command::Jobs(command) => jobs::run(*command, &cli.globals, &console),
        Command::Nodes(command) => nodes::run(command, &cli.globals, &console),
        Command::Transcode(command) => transcode::run(&command, &console),
        Command::Probe(command) => probe::run(&command, &console),
        Command::Config(command) => recommend::run(&command, &console),
        Command::Scenarios => scenarios::run(&console),
        Command::Doctor => doctor::run(&cli.globals, &console),
        Command::Explain(command) => explain::run(&command, &console),
        Command::Demo(command) => demo::run(&command, &console),
        Command::Completions(command) => completions::run(&command, &console),
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// A client of the master that flags, environment and file name.
fn client(globals: &Globals) -> Result<MasterClient> {
    let settings = Settings::load(globals, &Surroundings::of_process()?)?;
    MasterClient::new(&settings.client())
}

/// Runs one conversation with a master.
fn converse<T>(globals: &Globals, conversation: impl AsyncFnOnce(MasterClient) -> Done<T>) -> Done<T> {
    console::show_warnings();
    let runtime = runtime(&mut Builder::new_current_thread())?;
    runtime.block_on(async { conversation(client(globals)?).await })
}

fn runtime(builder: &mut Builder) -> Result<Runtime> {
    builder
        .enable_all()
        .build()
        .map_err(|error| Error::new(Code::Internal, "the runtime cannot be started").source(error))
}
