//! What each command does. One file per subject; this one opens the way to a master for those
//! that need one.

mod completions;
mod demo;
mod doctor;
mod explain;
mod jobs;
mod nodes;
mod probe;
mod recommend;
mod scenarios;
mod signals;
mod transcode;

use std::process::ExitCode;

use ffrtmp::core::{Code, Error, Result};
use ffrtmp::transport::http::MasterClient;
use tokio::runtime::{Builder, Runtime};

use crate::cli::{Cli, Command, Format, Globals};
use crate::config::{Settings, Surroundings};
use crate::console::{self, Console};
use crate::stop::Done;

/// Runs a command to its end.
pub(crate) fn run(cli: Cli) -> ExitCode {
    let json = cli.globals.output == Format::Json;
    console::exit(dispatch(cli), json)
}

fn dispatch(cli: Cli) -> Done {
    let console = Console::new(&cli.globals, matches!(cli.command, Command::Config(_)))?;
    match cli.command {
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
    }
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
