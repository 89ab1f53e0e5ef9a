//! Progress: bars on a terminal, plain lines elsewhere.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ffrtmp::core::engine::{Observer, Progress};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::console::{Console, one_line};

/// Parts of a percent on a bar.
const STEPS: f64 = 10.0;
/// Time between two plain lines of the same task.
const LINE_EVERY: Duration = Duration::from_secs(2);

/// The progress of several tasks, one bar or one line each.
pub(crate) struct Board {
    bars: Option<MultiProgress>,
    silent: bool,
}

/// The progress of one task.
pub(crate) struct Gauge {
    name: String,
    bar: Option<ProgressBar>,
    silent: bool,
    line: Mutex<Option<Line>>,
}

/// The last plain line.
struct Line {
    at: Instant,
    text: String,
    done: f64,
}

impl Board {
    /// Bars if somebody looks; plain lines if `lines` or JSON is not asked for.
    pub(crate) fn new(console: &Console, lines: bool) -> Self {
        let bars = console.is_interactive() && !console.is_json();
        let bars = bars.then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(10)));
        Self { silent: bars.is_none() && !lines, bars }
    }

    /// Adds a task.
    pub(crate) fn gauge(&self, name: impl Into<String>) -> Gauge {
        let name = name.into();
        let bar = self.bars.as_ref().map(|bars| bars.add(bar(&name)));
        Gauge { name, bar, silent: self.silent, line: Mutex::new(None) }
    }
}

fn bar(name: &str) -> ProgressBar {
    let bar = ProgressBar::new((100.0 * STEPS) as u64).with_prefix(name.to_owned());
    let style = ProgressStyle::with_template("{prefix:<16} {bar:30.cyan/blue} {percent:>3}%  {wide_msg}");
    if let Ok(style) = style {
        bar.set_style(style.progress_chars("█▉▊▋▌▍▎▏ "));
    }
    bar
}

impl Gauge {
    /// Shows how far it is; a plain line at most every two seconds, and at every new text.
    pub(crate) fn show(&self, percent: f64, text: &str) {
        let text = one_line(text);
        match &self.bar {
            Some(bar) => {
                bar.set_position((percent.clamp(0.0, 100.0) * STEPS) as u64);
                bar.set_message(text);
            }
            None if !self.silent => self.print(percent, text),
            None => {}
        }
    }

    /// Takes the bar away.
    pub(crate) fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Leaves the bar as it is, with a last word.
    pub(crate) fn finish(&self, percent: f64, text: &str) {
        match &self.bar {
            Some(bar) => {
                self.show(percent, text);
                bar.abandon();
            }
            None if !self.silent => self.print(percent, one_line(text)),
            None => {}
        }
    }

    fn print(&self, percent: f64, text: String) {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        // Numbers in a text change all the time; its first word is the state.
        let state = |text: &str| text.split_whitespace().next().map(str::to_owned);
        let due = line.as_ref().is_none_or(|line| {
            let moved = line.done < percent && line.at.elapsed() >= LINE_EVERY;
            moved || state(&line.text) != state(&text)
        });
        if due {
            eprintln_quietly(&format!("{:<16} {percent:>3.0}%  {text}", self.name));
            *line = Some(Line { at: Instant::now(), text, done: percent });
        }
    }
}

/// A progress line that nobody reads is no reason to stop.
fn eprintln_quietly(text: &str) {
    use std::io::Write as _;
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Shows an engine's own progress, and keeps its warnings for the end.
pub(crate) struct Shown {
    gauge: Gauge,
    warnings: Mutex<Vec<String>>,
}

impl Shown {
    /// Shows on this gauge.
    pub(crate) fn on(gauge: Gauge) -> Self {
        Self { gauge, warnings: Mutex::default() }
    }

    /// Takes the bar away and gives the warnings that came.
    pub(crate) fn clear(self) -> Vec<String> {
        self.gauge.clear();
        self.warnings.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Shown {
    fn progress(&self, progress: Progress) {
        let text =
            format!("encoding, {} frames, {:.1} s, {:.2}x", progress.frames, progress.out_seconds, progress.speed);
        self.gauge.show(progress.percent.unwrap_or(0.0), &text);
    }

    fn log(&self, level: &str, text: &str) {
        if matches!(level, "warn" | "warning" | "error") {
            let mut warnings = self.warnings.lock().unwrap_or_else(PoisonError::into_inner);
            // A damaged file can give one warning per frame.
            if warnings.len() < 20 && !warnings.iter().any(|known| known == text) {
                warnings.push(text.to_owned());
            }
        }
    }
}
