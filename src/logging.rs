//! Logs of the programs: to standard error, as text or JSON.

use std::io::IsTerminal;

use ffrtmp_core::error::{Code, Error, Result};
use tracing_subscriber::EnvFilter;

/// Starts logging for the whole process. `RUST_LOG` wins over `level`.
///
/// # Errors
/// `invalid_config` naming `log-level` or `log-format`.
pub fn start(level: &str, format: &str) -> Result<()> {
    let wrong = |field: &'static str, text: &str, hint: &'static str| {
        Error::new(Code::InvalidConfig, format!("unknown value {text:?}")).field(field).hint(hint)
    };
    if !["error", "warn", "warning", "info", "debug", "trace"].contains(&level) {
        return Err(wrong("log-level", level, "give error, warn, info, debug or trace"));
    }
    let level = if level == "warning" { "warn" } else { level };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_target(false);
    let started = match format {
        "text" => log.with_ansi(std::io::stderr().is_terminal()).try_init(),
        "json" => log.json().flatten_event(true).try_init(),
        other => return Err(wrong("log-format", other, "give text or json")),
    };
    started.map_err(|error| Error::new(Code::Internal, "logging was started twice").source(error))
}
