//! What every long-running program does around its work: logs, a runtime, signals, an exit code.

use std::future::Future;
use std::process::ExitCode;

use ffrtmp_core::error::{Code, Error, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Runs a program's work and turns its error into one line, a hint, and an exit code.
pub fn run(name: &str, log_level: &str, log_format: &str, work: impl Future<Output = Result<()>>) -> ExitCode {
    let outcome = crate::logging::start(log_level, log_format).and_then(|()| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::new(Code::Internal, "cannot start the runtime").source(error))?;
        runtime.block_on(work)
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: error: {error}\nhint: {}", error.hint_text());
            ExitCode::from(error.code().exit_code())
        }
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
