//! What a reader of the report and of the job's log should know.

use ffrtmp_core::engine::Observer;

use super::sys::log::Collector;

/// Lines of one kind that reach the job's log; a damaged file could make millions.
const MAX_LINES: u32 = 200;

/// Warnings for the report, and lines for the log.
pub(super) struct Notes<'a> {
    observer: &'a dyn Observer,
    warnings: Vec<String>,
    /// What the log has and shall not have again.
    said: Vec<String>,
    lines: u32,
}

impl<'a> Notes<'a> {
    pub(super) fn new(observer: &'a dyn Observer) -> Self {
        Self { observer, warnings: Vec::new(), said: Vec::new(), lines: 0 }
    }

    pub(super) fn info(&self, text: &str) {
        self.observer.log("info", text);
    }

    /// Tells what is found again with each rendition and each beginning.
    pub(super) fn info_once(&mut self, text: String) {
        if !self.said.contains(&text) {
            self.info(&text);
            self.said.push(text);
        }
    }

    pub(super) fn warn(&mut self, text: String) {
        if !self.said.contains(&text) {
            self.observer.log("warn", &text);
        }
        self.warnings.push(text);
    }

    /// Warns of what may be found more than once.
    pub(super) fn warn_once(&mut self, text: String) {
        if !self.warnings.contains(&text) {
            self.warn(text);
        }
    }

    /// Forgets the warnings of a run that begins anew; the log has them.
    pub(super) fn begin_anew(&mut self) {
        self.said.append(&mut self.warnings);
    }

    /// Hands the libraries' own lines to the log.
    pub(super) fn relay(&mut self) {
        for line in Collector::take() {
            self.lines += 1;
            if self.lines <= MAX_LINES {
                self.observer.log(line.level.as_str(), &line.text);
            }
        }
    }

    /// The warnings for the report.
    pub(super) fn take_warnings(&mut self) -> Vec<String> {
        self.relay();
        std::mem::take(&mut self.warnings)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ffrtmp_core::engine::Progress;

    use super::*;

    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl Observer for Log {
        fn progress(&self, _: Progress) {}

        fn log(&self, level: &str, text: &str) {
            self.0.lock().unwrap().push(format!("{level} {text}"));
        }
    }

    #[test]
    fn a_second_run_says_only_what_is_new() {
        let log = Log::default();
        let mut notes = Notes::new(&log);
        for _ in 0..2 {
            notes.begin_anew();
            for _ in 0..3 {
                notes.info_once("passed over".to_owned());
            }
            notes.warn("left out".to_owned());
        }
        notes.warn("new".to_owned());
        assert_eq!(*log.0.lock().unwrap(), ["info passed over", "warn left out", "warn new"]);
        assert_eq!(notes.take_warnings(), ["left out", "new"], "those of the run that counts");
    }
}
