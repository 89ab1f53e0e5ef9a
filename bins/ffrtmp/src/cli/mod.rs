//! What can be typed: flags and commands as types, and the refusal of everything else.

pub(crate) mod jobs;
pub(crate) mod live;
pub(crate) mod local;
pub(crate) mod names;
pub(crate) mod nodes;
mod refusal;
pub(crate) mod supervise;
mod values;
mod wishes;

#[cfg(test)]
mod seeds;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use ffrtmp::core::{Error, Result};

pub(crate) use values::Format;

/// Distributed video transcoding: jobs and nodes of a master, and local work
/// without one
#[derive(Debug, Parser)]
#[command(name = "ffrtmp", version, after_long_help = EXIT_CODES, subcommand_required = true, arg_required_else_help = true)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Flags of every command, before or after its name.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Globals {
    /// Address of the master; of several on one database all (repeatable, or with commas) [default: https://localhost:8080] [env: MASTER_URL]
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) master: Vec<String>,
    /// Key of the master [env: MASTER_API_KEY, FFMPEG_RTMP_API_KEY]
    #[arg(long, global = true, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) api_key: Option<String>,
    /// File that holds the key of the master
    #[arg(long, global = true, value_name = "FILE", conflicts_with = "api_key")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Certificate that vouches for the master
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Trust any certificate of the master: for a lab only
    #[arg(long, global = true)]
    pub(crate) insecure_skip_verify: bool,
    /// Configuration file [default: ~/.ffrtmp/config.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Shape of the output: table or json (`config recommend` also takes text, yaml and bash)
    #[arg(long, global = true, value_name = "FORMAT", value_enum, hide_possible_values = true, default_value_t)]
    pub(crate) output: Format,
    /// No colours [env: NO_COLOR]
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Submit, follow and steer the jobs of a master
    #[command(subcommand)]
    Jobs(Box<jobs::Jobs>),
    /// List and steer the nodes of a master
    #[command(subcommand)]
    Nodes(nodes::Nodes),
    /// Transcode a file here and now, without a server
    Transcode(Box<local::Transcode>),
    /// Run a program under limits; its exit code, signals and streams stay its own
    Run(Box<supervise::Run>),
    /// Put a running process and its children under limits
    Attach(Box<supervise::Attach>),
    /// Find processes by name and put them under limits, until it is stopped
    Watch(Box<ffrtmp::config::WatchArgs>),
    /// Show the streams, format and duration of a file
    Probe(local::Probe),
    /// Work out a configuration for this machine
    #[command(subcommand)]
    Config(local::Config),
    /// Show the scenario grammar and what scenarios resolve to
    Scenarios,
    /// Show what this machine can do and what is missing
    Doctor,
    /// Explain an error code: cause and cure
    Explain(local::Explain),
    /// Run a master and an agent here, transcode three jobs with them, and check the outputs
    Demo(local::Demo),
    /// Print completions for a shell
    Completions(local::Completions),
}

const EXIT_CODES: &str = "\
Exit codes:
    0  everything went well
    1  a defect of ffrtmp, or an error without a class
    2  wrong flags, fields or configuration
    3  the named job, node, file or directory does not exist
    4  missing or wrong credentials, an untrusted certificate, a path or host that is not allowed
    5  the state of the job does not allow it, or somebody else holds it
    6  the input cannot be read as media
    7  an encoder, muxer or engine failed, or a capability is missing
    8  disk, memory or another resource ran out
    9  the master or the network cannot be reached
   10  a time limit passed
  130  canceled by a person or a signal

Every error prints `error: …` and `hint: …` on stderr; with --output json, a JSON problem.
`ffrtmp explain CODE` gives the cause and the cure of each.";

/// What the arguments came to.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// A command to run.
    Command(Box<Cli>),
    /// Help or a version that is printed already.
    Shown(ExitCode),
}

/// Reads the arguments, the program's name first.
///
/// # Errors
/// `invalid_field`, `unknown_field` or `invalid_request` for everything that is no command line.
pub(crate) fn parse(arguments: &[OsString]) -> Result<Parsed, Error> {
    match Cli::try_parse_from(arguments) {
        Ok(cli) => Ok(Parsed::Command(Box::new(cli))),
        Err(error) => refusal::of(&error),
    }
}

/// Whether `ffrtmp run` was meant, as far as arguments tell that could not be read as a whole: its
/// exit codes are the program's.
pub(crate) fn means_run(arguments: &[OsString]) -> bool {
    use clap::CommandFactory as _;
    let command = Cli::command();
    let is_name = |word: &&OsString| command.get_subcommands().any(|known| **word == *known.get_name());
    arguments.iter().skip(1).take_while(|word| *word != "--").find(is_name).is_some_and(|word| word == "run")
}

/// Whether JSON was asked for, as far as arguments tell that could not be read as a whole.
pub(crate) fn wants_json(arguments: &[OsString]) -> bool {
    let follows = |pair: &[OsString]| pair[0] == "--output" && pair[1] == "json";
    let arguments: Vec<_> = arguments.iter().take_while(|argument| *argument != "--").cloned().collect();
    arguments.iter().any(|argument| argument == "--output=json" || argument == "--json")
        || arguments.windows(2).any(follows)
}
