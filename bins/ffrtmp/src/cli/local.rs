//! Flags of the commands that need no master.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use clap_complete::Shell;
use ffrtmp::core::scenario::Scenario;
use ffrtmp::governor::Environment;

use super::values::{Named, parse};
use super::wishes::Wishes;

#[derive(Debug, Args)]
pub(crate) struct Transcode {
    /// File to read
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
    /// File to write; its extension names the container: mp4, mkv, webm, ts, m3u8, mpd, mp3, flac, opus
    #[arg(value_name = "OUT")]
    pub(crate) target: PathBuf,
    /// What to make, such as 720p30-h264; without one the source's size and rate are kept
    #[arg(long, value_parser = parse::<Scenario>, allow_hyphen_values = true)]
    pub(crate) scenario: Option<Scenario>,
    #[command(flatten)]
    pub(crate) wishes: Wishes,
    /// Show what would be done and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Show progress even where stderr is no terminal
    #[arg(long)]
    pub(crate) progress: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Probe {
    /// File to read
    #[arg(value_name = "IN")]
    pub(crate) input: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Recommend settings of an agent for this machine
    Recommend(Recommend),
}

#[derive(Debug, Args)]
pub(crate) struct Recommend {
    /// What the machine is for
    #[arg(long, value_parser = Named::of(Environment::ALL, Environment::as_str), default_value = "development")]
    pub(crate) environment: Environment,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Stable name of an error, such as `input_not_found`; without one all are listed
    #[arg(value_name = "CODE")]
    pub(crate) code: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Demo {
    /// Source of the three jobs; a test picture with a tone is generated without one
    #[arg(long, value_name = "PATH")]
    pub(crate) input: Option<PathBuf>,
    /// Directory for the outputs; a new one under the system's temporary directory without it
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// Shell to complete for
    #[arg(value_name = "SHELL")]
    pub(crate) shell: Shell,
}
