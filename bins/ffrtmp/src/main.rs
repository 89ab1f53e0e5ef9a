//! The `ffrtmp` command: jobs and nodes of a master, and local work that needs no server.
//!
//! `cli` is what can be typed, `config` what was set elsewhere, `commands` what is done, `console`
//! and `progress` what is shown. The program itself links no codec library: local media work runs
//! in a child, see [`local`].

mod cli;
mod commands;
mod config;
mod console;
mod describe;
mod local;
mod progress;
mod stop;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    match cli::parse(&arguments) {
        Ok(cli::Parsed::Command(cli)) => commands::run(*cli),
        Ok(cli::Parsed::Shown(code)) => code,
        Err(error) => {
            let of_run = cli::means_run(&arguments);
            let code = if of_run { commands::NOT_GOVERNED } else { error.code().exit_code() };
            console::report_as(&error, cli::wants_json(&arguments), code)
        }
    }
}
