//! What is shown: results on stdout, errors and notes on stderr, as text or JSON.

use std::fmt::{self, Display};
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use ffrtmp::core::job::JobState;
use ffrtmp::core::node::NodeStatus;
use ffrtmp::core::{Code, Error};
use serde::Serialize;
use serde_json::json;
use tracing::Event;
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::registry::LookupSpan;

use crate::cli::{Format, Globals};
use crate::stop::{Done, Stop};

/// Where a command writes to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Console {
    format: Format,
    color: bool,
    interactive: bool,
}

impl Console {
    /// As the flags, `NO_COLOR` and the terminal say.
    ///
    /// # Errors
    /// `invalid_field` for a format that only `config recommend` has.
    pub(crate) fn new(globals: &Globals, any_format: bool) -> Result<Self, Error> {
        if matches!(globals.output, Format::Yaml | Format::Bash) && !any_format {
            return Err(Error::new(Code::InvalidField, "yaml and bash are formats of `config recommend` only")
                .field("--output")
                .hint("give table or json"));
        }
        let plain = globals.no_color || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let color = io::stdout().is_terminal() && !plain;
        Ok(Self { format: globals.output, color, interactive: io::stderr().is_terminal() })
    }

    /// The shape that was asked for.
    pub(crate) const fn format(&self) -> Format {
        self.format
    }

    /// Whether programs read the output.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether somebody sees progress bars.
    pub(crate) const fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// Prints a line.
    pub(crate) fn line(&self, text: impl Display) -> Done {
        Ok(writeln!(io::stdout().lock(), "{text}")?)
    }

    /// Prints a value as indented JSON.
    pub(crate) fn json(&self, value: &impl Serialize) -> Done {
        self.line(serde_json::to_string_pretty(value).map_err(unserializable)?)
    }

    /// Prints a value as one line of JSON.
    pub(crate) fn json_line(&self, value: &impl Serialize) -> Done {
        self.line(serde_json::to_string(value).map_err(unserializable)?)
    }

    /// Prints a table without the blanks around it.
    pub(crate) fn table(&self, table: &Table) -> Done {
        let text = table.to_string();
        // The colours of the cells are escapes that stay.
        let text: String = text.chars().map(|character| if reorders(character) { ' ' } else { character }).collect();
        text.lines().try_for_each(|line| self.line(line.strip_prefix(' ').unwrap_or(line).trim_end()))
    }

    /// Says something on stderr that is no result.
    pub(crate) fn note(&self, text: impl Display) {
        // A note that nobody reads is no reason to stop.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A table with a heading.
    pub(crate) fn columns(&self, heading: &[&str]) -> Table {
        let mut table = self.blank();
        table.set_header(heading.iter().map(|name| self.heading(&name.to_uppercase())));
        table
    }

    /// A table of two columns: names and values.
    pub(crate) fn facts(&self) -> Table {
        self.blank()
    }

    /// The left cell of a fact.
    pub(crate) fn heading(&self, name: &str) -> Cell {
        let cell = Cell::new(name);
        if self.color { cell.add_attribute(Attribute::Bold) } else { cell }
    }

    /// A cell in a colour.
    pub(crate) fn tinted(&self, text: impl Display, color: Color) -> Cell {
        let cell = Cell::new(text);
        if self.color { cell.fg(color) } else { cell }
    }

    /// The state of a job.
    pub(crate) fn state(&self, state: JobState) -> Cell {
        let color = match state {
            JobState::Completed => Color::Green,
            JobState::Failed | JobState::Rejected => Color::Red,
            JobState::Assigned | JobState::Running => Color::Cyan,
            JobState::Retrying | JobState::Paused | JobState::Canceled => Color::Yellow,
            JobState::Waiting | JobState::Queued => Color::Reset,
        };
        self.tinted(state, color)
    }

    /// The status of a node.
    pub(crate) fn status(&self, status: NodeStatus) -> Cell {
        let color = match status {
            NodeStatus::Available => Color::Green,
            NodeStatus::Busy => Color::Cyan,
            NodeStatus::Draining => Color::Yellow,
            NodeStatus::Offline => Color::Red,
        };
        self.tinted(status, color)
    }

    fn blank(&self) -> Table {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        if !self.color {
            table.force_no_tty();
        }
        table
    }
}

fn unserializable(error: serde_json::Error) -> Stop {
    Error::new(Code::Internal, "the result cannot be written as JSON").source(error).into()
}

/// Turns the end of a command into an exit code; says on stderr what failed.
pub(crate) fn exit(done: Done, json: bool) -> ExitCode {
    match done {
        Ok(()) | Err(Stop::ReaderGone) => ExitCode::SUCCESS,
        Err(Stop::Failed(error)) => report(&error, json),
    }
}

/// Says on stderr what failed and what mends it, and gives the exit code.
pub(crate) fn report(error: &Error, json: bool) -> ExitCode {
    report_as(error, json, error.code().exit_code())
}

/// The same for a command whose exit codes are its own.
pub(crate) fn report_as(error: &Error, json: bool, code: u8) -> ExitCode {
    let text = if json {
        problem(error, code).to_string()
    } else {
        format!("error: {}\nhint: {}", one_line(&error.to_string()), one_line(error.hint_text()))
    };
    // There is nowhere left to tell that stderr is closed.
    let _ = writeln!(io::stderr().lock(), "{text}");
    ExitCode::from(code)
}

/// What printing help or a version came to.
pub(crate) fn shown(printed: io::Result<()>, code: ExitCode) -> ExitCode {
    match printed {
        Ok(()) => code,
        Err(error) => exit(Err(error.into()), false),
    }
}

/// The error as a problem document (RFC 9457).
fn problem(error: &Error, exit_code: u8) -> serde_json::Value {
    let mut problem = json!({
        "type": format!("urn:ffrtmp:error:{}", error.code()),
        "title": error.code().explain().cause,
        "status": error.code().http_status(),
        "detail": error.to_string(),
        "code": error.code(),
        "disposition": error.disposition(),
        "hint": error.hint_text(),
        "exit_code": exit_code,
    });
    if let Some(field) = error.field_name() {
        problem["field"] = field.into();
    }
    problem
}

/// Shows what the libraries warn of on stderr, one line each.
pub(crate) fn show_warnings() {
    // A second call finds the first one's subscriber in place: nothing to do.
    let _ = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::WARN)
        .with_writer(io::stderr)
        .with_ansi(false)
        .event_format(Plain)
        .try_init();
}

/// `warning: text`.
struct Plain;

impl<S, N> FormatEvent<S, N> for Plain
where
    S: tracing::Subscriber + for<'span> LookupSpan<'span>,
    N: for<'writer> FormatFields<'writer> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let level = if *event.metadata().level() == tracing::Level::ERROR { "error" } else { "warning" };
        write!(writer, "{level}: ")?;
        context.format_fields(writer.by_ref(), event)?;
        writeln!(writer)
    }
}

/// Foreign text without anything that moves the cursor or turns the order of what stands around it.
pub(crate) fn one_line(text: &str) -> String {
    let moves = |character: char| character.is_control() || reorders(character);
    text.trim().chars().map(|character| if moves(character) { ' ' } else { character }).collect()
}

/// Marks and overrides of the writing direction (Unicode annex 9), and separators of lines.
const fn reorders(character: char) -> bool {
    matches!(character,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_keeps_its_place_and_direction() {
        let text = "a\u{202e}b\u{2066}c\u{200f}d\u{2029}e\u{61c}é日\u{1b}f";
        assert_eq!(one_line(text), "a b c d e é日 f");
    }

    #[test]
    fn errors_stay_on_one_line_and_problems_carry_the_code() {
        let error = Error::new(Code::InputInvalid, "it ends\nearly\u{1b}[2J").field("input").hint("fetch it again");
        assert_eq!(one_line(&error.to_string()), "input: it ends early [2J");
        let problem = problem(&error, error.code().exit_code());
        assert_eq!(problem["code"], "input_invalid");
        assert_eq!(problem["field"], "input");
        assert_eq!(problem["exit_code"], 6);
    }
}
