//! Flags of the commands that govern programs which are not ffrtmp's own.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use ffrtmp::core::governor::ProcessLimits;
use ffrtmp::core::{Code, Error, Result};
use ffrtmp::governor::supervise::{CpuMax, IoMax, Order};

use super::values::{parse, positive};

/// Limits and what is asked besides, the same for `run` and `attach`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Govern {
    /// Name of the work, for the report
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    pub(crate) job_id: Option<String>,
    /// Count the work for the service level
    #[arg(long)]
    pub(crate) sla_eligible: bool,
    /// Processor as cpu.max has it: "QUOTA PERIOD" in microseconds, or max
    #[arg(long, value_name = "QUOTA", value_parser = parse::<CpuMax>, conflicts_with = "cpu_quota")]
    pub(crate) cpu_max: Option<CpuMax>,
    /// Processor in percent of a core: 200 is two cores
    #[arg(long, value_name = "PERCENT", value_parser = positive::<u32>, allow_negative_numbers = true)]
    pub(crate) cpu_quota: Option<u32>,
    /// Share of the processor among those that compete for it, 1 to 10000; 100 is everybody's
    #[arg(long, value_name = "WEIGHT", value_parser = positive::<u32>, allow_negative_numbers = true)]
    pub(crate) cpu_weight: Option<u32>,
    /// Memory in bytes, without a way out into swap
    #[arg(long, value_name = "BYTES", value_parser = memory, allow_negative_numbers = true, conflicts_with = "memory_limit")]
    pub(crate) memory_max: Option<u64>,
    /// Memory in MB (powers of 1024)
    #[arg(long, value_name = "MB", value_parser = positive::<u64>, allow_negative_numbers = true)]
    pub(crate) memory_limit: Option<u64>,
    /// Rates of a block device as io.max has them: "8:0 rbps=10M wiops=120", or with its path (repeatable)
    #[arg(long, value_name = "RATES", value_parser = parse::<IoMax>)]
    pub(crate) io_max: Vec<IoMax>,
    /// Scheduling priority, -20 (first) to 19 (last)
    #[arg(long, value_name = "N", value_parser = nice, allow_hyphen_values = true)]
    pub(crate) nice: Option<i32>,
    /// Wall time after which it is ended, such as 90s, 15m, 2h; a bare number is seconds
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub(crate) timeout: Option<Duration>,
    /// Time between the request to end and the kill
    #[arg(long, value_name = "TIME", value_parser = span, default_value = "10s")]
    pub(crate) grace: Duration,
    /// Refuse to begin where a limit cannot be enforced, instead of watching it
    #[arg(long)]
    pub(crate) require_limits: bool,
    /// End it when it uses more memory than its limit and no control group enforces that
    #[arg(long)]
    pub(crate) kill_over_memory: bool,
    /// Report as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

impl Govern {
    /// What is asked of the supervisor.
    pub(crate) fn order(&self) -> Result<Order> {
        let megabytes = |mb: u64| {
            mb.checked_mul(1 << 20).ok_or_else(|| {
                Error::new(Code::InvalidField, format!("{mb} MB are more than a machine can have"))
                    .field("--memory-limit")
                    .hint("give megabytes, such as 4096; --memory-max counts bytes")
            })
        };
        Ok(Order {
            job_id: self.job_id.clone(),
            sla_eligible: self.sla_eligible,
            limits: ProcessLimits {
                cpu_percent: self.cpu_quota.or(self.cpu_max.and_then(|max| max.percent)),
                cpu_weight: self.cpu_weight,
                memory_bytes: self.memory_limit.map(megabytes).transpose()?.or(self.memory_max),
                io: self.io_max.iter().map(|IoMax(limit)| *limit).collect(),
                nice: self.nice,
                ..ProcessLimits::default()
            },
            timeout: self.timeout,
            grace: self.grace,
            end_over_memory: self.kill_over_memory,
            strict: self.require_limits,
        })
    }
}

#[derive(Debug, Args)]
#[command(after_long_help = RUN_EXIT_CODES)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) govern: Govern,
    /// Directory that it starts in
    #[arg(long, value_name = "DIR")]
    pub(crate) workdir: Option<PathBuf>,
    /// Write the report to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) report: Option<PathBuf>,
    /// Say nothing besides what it says itself
    #[arg(long)]
    pub(crate) quiet: bool,
    /// The program and its arguments; nothing goes through a shell
    #[arg(value_name = "CMD", required = true, last = true)]
    pub(crate) command: Vec<OsString>,
}

const RUN_EXIT_CODES: &str = "\
Exit codes:
    n    the command's own; 128+n if signal n ended it
  124    its time was over
  125    ffrtmp could not govern it: wrong flags, impossible limits
  126    the command may not be executed
  127    the command is not found

The command keeps standard input, output and error, the terminal and Ctrl-C. The report goes to
stderr when it has ended, as one line of JSON with --json. Killing ffrtmp leaves it running.";

#[derive(Debug, Args)]
#[command(after_long_help = ATTACH_EXIT_CODES)]
pub(crate) struct Attach {
    /// The process; its children are governed with it
    #[arg(long, value_name = "PID", value_parser = positive::<u32>, allow_negative_numbers = true)]
    pub(crate) pid: u32,
    #[command(flatten)]
    pub(crate) govern: Govern,
}

const ATTACH_EXIT_CODES: &str = "\
Exit codes:
    0  the process has ended, or Ctrl-C let it go
  124  its time was over
  others as of every command

Ctrl-C, SIGTERM and SIGHUP let the process go: its limits are lifted and it lives on. The report
goes to stdout.";

/// Bytes of memory in which a program may at least begin.
fn memory(text: &str) -> Result<u64> {
    positive(text).ok().filter(|bytes| *bytes >= 1 << 20).ok_or_else(|| {
        Error::new(Code::InvalidField, format!("{text:?} bytes are no memory for a program"))
            .hint("give at least 1048576, 1 MiB; --memory-limit counts megabytes")
    })
}

fn nice(text: &str) -> Result<i32> {
    text.parse().ok().filter(|nice| (-20..=19).contains(nice)).ok_or_else(|| {
        Error::new(Code::InvalidField, format!("{text:?} is not a priority")).hint("give -20 (first) to 19 (last)")
    })
}

/// A span of time: `90`, `1.5s`, `500ms`, `15m`, `2h`.
pub(crate) fn span(text: &str) -> Result<Duration> {
    let wrong = || {
        Error::new(Code::InvalidField, format!("{text:?} is not a span of time"))
            .hint("give seconds, or a number with a unit: 90, 500ms, 90s, 15m, 2h")
    };
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let unit = match &text[end..] {
        "" | "s" => 1.0,
        "ms" => 0.001,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err(wrong()),
    };
    let number: f64 = text[..end].parse().map_err(|_| wrong())?;
    let span = Duration::try_from_secs_f64(number * unit).map_err(|_| wrong())?;
    if span.is_zero() { Err(wrong()) } else { Ok(span) }
}
