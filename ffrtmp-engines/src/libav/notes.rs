//! What a reader of the report and of the job's log should know.

use ffrtmp_core::engine::Observer;

use super::sys::log::Collector;

/// Lines of one kind that reach the job's log; a damaged file could make millions.
const MAX_LINES: u32 = 200;

/// Warnings for the report, and lines for the log.
pub(super) struct Notes<'a> {
    observer: &'a dyn Observer,
    warnings: Vec<String>,
    lines: u32,
}

impl<'a> Notes<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, warnings: Vec::new(), lines: 0 }
    }

    pub(super) fn info(&self, text: &str) {
        self.observer.log("info", text);
    }

    pub(super) fn warn(&mut self, text: String) {
        self.observer.log("warn", &text);
        self.warnings.push(text);
    }

    /// Warns of what may be found more than once.
    pub(super) fn warn_once(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warn(text);
        }
    }

    /// Hands the libraries' own lines to the log.
    pub(super) fn relay(&mut self) {
        for line in Collector::take() {
            self.lines += 1;
            if self.lines <= MAX_LINES {
                self.observer.log(if line.is_error { "error" } else { "warn" }, &line.text);
            }
        }
    }

    pub(super) fn into_warnings(mut self) -> Vec<String> {
        self.relay();
        self.warnings
    }
}
