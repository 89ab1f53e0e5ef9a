//! Logs of the programs: to the console, and to files where a directory is given; as text or JSON.
//!
//! What concerns a job carries its ids as fields: the work on it runs in a span that has them. How a
//! line looks in JSON is in `json`, files and their rotation in `file`, what is never shown in
//! [`secrets`].

mod file;
mod json;
pub mod secrets;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

use ffrtmp_core::error::{Code, Error, Result};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, layer::SubscriberExt, util::SubscriberInitExt};

use file::LogFile;

/// Where to fall back to.
const HERE: &str = "logs";

/// What a program logs, how and where.
#[derive(Clone, Debug)]
pub struct LogOptions {
    /// `error`, `warn`, `info`, `debug` or `trace`; `RUST_LOG` wins over it.
    pub level: String,
    /// `text` or `json`.
    pub format: String,
    /// `stderr`, `stdout` or `off`.
    pub console: String,
    /// Directory of log files; none are written without one.
    pub dir: Option<PathBuf>,
    /// Directory and name of the file below it, such as `agent` and `worker-01`.
    pub file: (&'static str, String),
    /// Bytes of a file before the next one begins.
    pub max_bytes: u64,
    /// Files that are kept beside the one that is written.
    pub kept: u32,
}

impl LogOptions {
    /// Text of this level to standard error, and no files.
    #[must_use]
    pub fn plain(level: &str) -> Self {
        Self {
            level: level.to_owned(),
            format: "text".into(),
            console: "stderr".into(),
            dir: None,
            file: ("ffrtmp", "ffrtmp".into()),
            max_bytes: 50 << 20,
            kept: 5,
        }
    }
}

/// Starts logging for the whole process. A directory that cannot be written costs a warning: then
/// files go to `./logs/`, or nowhere.
///
/// # Errors
/// `invalid_config` naming `log-level`, `log-format` or `log-console`.
pub fn start(options: &LogOptions) -> Result<()> {
    let wrong = |field: &'static str, text: &str, hint: &'static str| {
        Error::new(Code::InvalidConfig, format!("unknown value {text:?}")).field(field).hint(hint)
    };
    let level = options.level.as_str();
    if !["error", "warn", "warning", "info", "debug", "trace"].contains(&level) {
        return Err(wrong("log-level", level, "give error, warn, info, debug or trace"));
    }
    let console = match options.console.as_str() {
        "stderr" => Some(Console::Error),
        "stdout" => Some(Console::Output),
        "off" => None,
        other => return Err(wrong("log-console", other, "give stderr, stdout or off")),
    };
    let (file, refused) = options.dir.as_ref().map_or((None, Vec::new()), |dir| open(dir.clone(), options));
    // Somewhere it must be said.
    let console = console.or(file.is_none().then_some(Console::Error));
    let level = if level == "warning" { "warn" } else { level };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    let ansi = file.is_none() && console.is_some_and(Console::is_terminal);
    let places = Places { console, file };
    let layer: Box<dyn Layer<Registry> + Send + Sync> = match options.format.as_str() {
        "text" => fmt::layer().with_target(false).with_ansi(ansi).with_writer(places).boxed(),
        "json" => fmt::layer().fmt_fields(JsonFields::new()).event_format(json::Lines).with_writer(places).boxed(),
        other => return Err(wrong("log-format", other, "give text or json")),
    };
    let started = Registry::default().with(layer.with_filter(filter)).try_init();
    started.map_err(|error| Error::new(Code::Internal, "logging was started twice").source(error))?;
    for error in refused {
        tracing::warn!(%error, "{}", error.hint_text());
    }
    Ok(())
}

/// The log file, and what was in the way of it.
fn open(dir: PathBuf, options: &LogOptions) -> (Option<Arc<LogFile>>, Vec<Error>) {
    let (component, name) = &options.file;
    let mut refused = Vec::new();
    for (dir, hint) in [
        (dir, "logs go to ./logs/ instead; make the directory writable for this user, or name another with --log-dir"),
        (PathBuf::from(HERE), "logs go to the console only"),
    ] {
        let dir = dir.join(component);
        match LogFile::open(&dir, name, options.max_bytes, options.kept) {
            Ok(file) => return (Some(Arc::new(file)), refused),
            Err(error) => refused.push(
                Error::new(Code::Storage, format!("cannot write logs to {}", dir.display())).hint(hint).source(error),
            ),
        }
    }
    (None, refused)
}

#[derive(Clone, Copy)]
enum Console {
    Error,
    Output,
}

impl Console {
    fn is_terminal(self) -> bool {
        match self {
            Self::Error => io::stderr().is_terminal(),
            Self::Output => io::stdout().is_terminal(),
        }
    }
}

/// Everywhere that a line goes.
#[derive(Clone)]
struct Places {
    console: Option<Console>,
    file: Option<Arc<LogFile>>,
}

impl<'a> MakeWriter<'a> for Places {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

impl Write for &Places {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let shown = secrets::scrub(line);
        // A console that is gone is nobody's loss, and no reason not to write the file.
        match self.console {
            Some(Console::Error) => drop(io::stderr().write_all(&shown)),
            Some(Console::Output) => drop(io::stdout().write_all(&shown)),
            None => {}
        }
        if let Some(file) = &self.file {
            file.append(&shown);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
