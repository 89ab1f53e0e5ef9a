//! Flags for the logs of a program.

use std::path::PathBuf;

use clap::Args;

use crate::logging::LogOptions;

/// What is logged, how and where.
#[derive(Args, Clone, Debug)]
pub struct LogArgs {
    /// error, warn, info, debug or trace
    #[arg(long, default_value = "info", env = "FFRTMP_LOG_LEVEL")]
    pub log_level: String,
    /// text or json
    #[arg(long, default_value = "text", env = "FFRTMP_LOG_FORMAT")]
    pub log_format: String,
    /// Where lines go besides files: stderr, stdout or off
    #[arg(long, default_value = "stderr", env = "FFRTMP_LOG_CONSOLE")]
    pub log_console: String,
    /// Write log files below this directory as well, such as /var/log/ffrtmp; ./logs where it cannot be
    /// written
    #[arg(long, value_name = "DIR", env = "FFRTMP_LOG_DIR")]
    pub log_dir: Option<PathBuf>,
    /// Megabytes of a log file before the next one begins
    #[arg(long, default_value_t = 50, env = "FFRTMP_LOG_MAX_MB", value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub log_max_mb: u64,
    /// Older log files that are kept
    #[arg(long, default_value_t = 5, env = "FFRTMP_LOG_KEEP", value_parser = clap::value_parser!(u32).range(0..=1000))]
    pub log_keep: u32,
}

impl LogArgs {
    /// The same for a program whose files are `COMPONENT/NAME.log`.
    #[must_use]
    pub fn of(&self, component: &'static str, name: &str) -> LogOptions {
        LogOptions {
            level: self.log_level.clone(),
            format: self.log_format.clone(),
            console: self.log_console.clone(),
            dir: self.log_dir.clone(),
            file: (component, name.to_owned()),
            max_bytes: self.log_max_mb << 20,
            kept: self.log_keep,
        }
    }
}
