//! `ffrtmp completions`: completions for a shell.

use clap::CommandFactory as _;

use crate::cli::{Cli, local};
use crate::console::Console;
use crate::stop::Done;

pub(super) fn run(command: &local::Completions, console: &Console) -> Done {
    let mut script = Vec::new();
    clap_complete::generate(command.shell, &mut Cli::command(), "ffrtmp", &mut script);
    console.line(String::from_utf8_lossy(&script).trim_end())
}
