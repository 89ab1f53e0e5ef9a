//! Flags and environment of the programs, one typed struct each. `--help` and the documentation
//! derive from them; [`MasterArgs::compose`] and [`AgentArgs::compose`] turn them into a node.

mod agent;
mod master;

pub use agent::AgentArgs;
pub use master::MasterArgs;

use std::path::PathBuf;
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

/// The key from `--api-key` (or its variables), else from `--api-key-file`.
fn given_key(key: Option<&String>, file: Option<&PathBuf>) -> Result<Option<String>> {
    let key = match (key, file) {
        (Some(key), _) => key.trim().to_owned(),
        (None, Some(file)) => return crate::master::key::read(file).map(Some),
        (None, None) => return Ok(None),
    };
    crate::master::key::check(&key)?;
    Ok(Some(key))
}

/// `MASTER_API_KEY` is read by clap; this is its second name.
fn older_key_variable() -> Option<String> {
    std::env::var("FFMPEG_RTMP_API_KEY").ok().filter(|key| !key.is_empty())
}

fn contradiction(field: &'static str, message: &'static str, hint: &'static str) -> Error {
    Error::new(Code::InvalidConfig, message).field(field).hint(hint)
}
