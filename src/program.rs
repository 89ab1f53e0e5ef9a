//! What every long-running program does around its work: logs, a runtime, signals, an exit code.

use std::future::Future;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue};
use ffrtmp_core::error::{Code, Error, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::logging::LogOptions;

/// Reads a program's flags. What cannot be read, and help that was asked for, is shown here; the
/// program then ends with this code.
///
/// # Errors
/// The exit code: 0 after help and version, 2 for flags that are wrong.
pub fn flags<C: clap::Parser>(name: &str) -> std::result::Result<C, ExitCode> {
    let mut command = C::command();
    if let Some(file) = crate::config::file::named(&command, std::env::args_os().skip(1)) {
        command = crate::config::file::applied(command, &file).map_err(|error| {
            eprintln!("{name}: error: {}\nhint: {}", error.message(), error.hint_text());
            ExitCode::from(error.code().exit_code())
        })?;
    }
    let parsed =
        command.try_get_matches_from_mut(std::env::args_os()).and_then(|matches| C::from_arg_matches(&matches));
    parsed.map_err(|refusal| {
        if refusal.exit_code() == 0 {
            // Nobody is left to tell that the terminal is gone.
            let _ = refusal.print();
            return ExitCode::SUCCESS;
        }
        let (message, tip) = one_line(&refusal.to_string());
        let mut command = C::command();
        command.build();
        let origin = variable_at_fault(&command, &refusal);
        let origin = origin.map_or(String::new(), |variable| format!(" (from the environment: {variable})"));
        let hint = tip.or_else(|| known_values(&refusal));
        eprintln!(
            "{name}: error: {message}{origin}\nhint: {}",
            hint.unwrap_or_else(|| format!("`{name} --help` lists the flags"))
        );
        ExitCode::from(Code::InvalidConfig.exit_code())
    })
}

/// The message of a refused command line in one line, and its tip.
pub(crate) fn one_line(refusal: &str) -> (String, Option<String>) {
    let said = refusal.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = said.trim_start_matches("error: ").split_whitespace().collect();
    let tip = refusal.lines().find_map(|line| line.trim().strip_prefix("tip: "));
    (words.join(" "), tip.map(str::to_owned))
}

/// The environment variable that holds the refused value, if no flag gave it.
fn variable_at_fault(command: &clap::Command, refusal: &clap::Error) -> Option<String> {
    let Some(ContextValue::String(refused)) = refusal.get(ContextKind::InvalidArg) else { return None };
    let flag = command.get_arguments().find(|known| known.to_string() == *refused)?;
    let long = format!("--{}", flag.get_long()?);
    let given = std::env::args().any(|word| word == long || word.starts_with(&format!("{long}=")));
    let variable = flag.get_env().filter(|variable| !given && std::env::var_os(variable).is_some())?;
    Some(variable.to_string_lossy().into_owned())
}

pub(crate) fn known_values(refusal: &clap::Error) -> Option<String> {
    match refusal.get(ContextKind::ValidValue) {
        Some(ContextValue::Strings(known)) if !known.is_empty() => Some(format!("give {}", known.join(" or "))),
        _ => None,
    }
}

/// Runs a program's work and turns its error into one line, a hint, and an exit code.
pub fn run(name: &str, log: &LogOptions, work: impl Future<Output = Result<()>>) -> ExitCode {
    let outcome = crate::logging::start(log).and_then(|()| {
        allow_many_files();
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::new(Code::Internal, "cannot start the runtime").source(error))?;
        runtime.block_on(work)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let said = format!("{name}: error: {error}\nhint: {}", error.hint_text());
            eprintln!("{}", crate::logging::secrets::shown(&said));
            ExitCode::from(error.code().exit_code())
        }
    }
}

/// Raises the soft limit of open files to the hard one: every connection is a file.
fn allow_many_files() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

/// Orders from outside: SIGINT and SIGTERM.
#[derive(Clone, Debug)]
pub struct Signals {
    /// The first signal: stop in good order.
    pub graceful: CancellationToken,
    /// The second: stop at once.
    pub forced: CancellationToken,
}

/// Listens for signals from now on.
///
/// # Errors
/// `internal` if the system does not let it.
pub fn signals() -> Result<Signals> {
    let refused = |error| Error::new(Code::Internal, "cannot listen for signals").source(error);
    let mut interrupt = signal(SignalKind::interrupt()).map_err(refused)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(refused)?;
    let signals = Signals { graceful: CancellationToken::new(), forced: CancellationToken::new() };
    let orders = signals.clone();
    tokio::spawn(async move {
        for order in [&orders.graceful, &orders.forced] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            tracing::info!(again = order.is_cancelled() || orders.graceful.is_cancelled(), "signal: stopping");
            order.cancel();
        }
    });
    Ok(signals)
}

#[cfg(test)]
mod tests {
    use super::one_line;

    #[test]
    fn refusals_fit_a_line() {
        let missing =
            "error: the following required arguments were not provided:\n  --key <KEY>\n\nUsage: x --cert <CERT>\n";
        assert_eq!(one_line(missing), ("the following required arguments were not provided: --key <KEY>".into(), None));
        let unknown =
            "error: unexpected argument '--prot' found\n\n  tip: a similar argument exists: '--port'\n\nUsage: x\n";
        let (message, tip) = one_line(unknown);
        assert_eq!(message, "unexpected argument '--prot' found");
        assert_eq!(tip.as_deref(), Some("a similar argument exists: '--port'"));
    }
}
