//! Flags and environment of the programs, one typed struct each. `--help` and the documentation
//! derive from them; [`MasterArgs::compose`] and [`AgentArgs::compose`] turn them into a node.

mod agent;
mod auto_attach;
mod cost;
mod database;
mod exporters;
pub(crate) mod file;
mod governing;
mod logs;
mod master;
mod scheduling;
mod section;
mod tracing;
mod transfer;
mod unique;
mod watch;

pub use agent::AgentArgs;
pub use auto_attach::AutoAttachArgs;
pub use cost::CostArgs;
pub use database::{DatabaseArgs, DatabaseKind, Dsn, Durability};
pub use exporters::{AgentExporterArgs, MasterExporterArgs};
pub use governing::{CgroupChoice, GoverningArgs, SandboxChoice};
pub use logs::LogArgs;
pub use master::MasterArgs;
pub use scheduling::{Policy, SchedulingArgs, TenantLimit};
pub use tracing::TracingArgs;
pub use transfer::{BackupArgs, MigrateArgs};
pub use watch::WatchArgs;

use std::path::Path;
use std::time::Duration;

use ffrtmp_core::error::{Code, Error, Result};

/// A span such as `5s`, `500ms`, `2m`; a bare number is seconds.
fn duration(text: &str) -> std::result::Result<Duration, String> {
    let spelled = if text.bytes().all(|byte| byte.is_ascii_digit()) { format!("{text}s") } else { text.to_owned() };
    match humantime::parse_duration(&spelled) {
        Ok(span) if span >= Duration::from_millis(1) => Ok(span),
        _ => Err(format!("{text:?} is not a duration; give one such as 5s, 500ms or 2m")),
    }
}

/// The key from `--api-key`, else `--api-key-file`, else the environment.
fn given_key(key: Option<&str>, file: Option<&Path>) -> Result<Option<String>> {
    let named = |name| std::env::var(name).ok();
    let key = match (key.map(str::to_owned), file) {
        (Some(key), _) => Some(key),
        (None, Some(file)) => return crate::master::key::read(file).map(Some).inspect(hide),
        (None, None) => named("MASTER_API_KEY").filter(|key| !key.is_empty()).or_else(|| named("FFMPEG_RTMP_API_KEY")),
    };
    let Some(key) = key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()) else { return Ok(None) };
    crate::master::key::check(&key)?;
    Ok(Some(key)).inspect(hide)
}

fn hide(key: &Option<String>) {
    key.iter().for_each(|key| crate::logging::secrets::keep(key));
}

fn contradiction(field: &'static str, message: &'static str, hint: &'static str) -> Error {
    Error::new(Code::InvalidConfig, message).field(field).hint(hint)
}
