//! Inputs of every kind, made by the `ffmpeg` program, transcoded and copied, and compared with what
//! `ffprobe` and `ffmpeg` see in them.
//!
//! The inputs are rows of the tables in `cases/`; what must be said about one beyond the rules stands
//! in its row, with the reason. `judge.rs` has the rules for transcodes, `copies.rs` those for
//! copies, and `coverage.rs` what the table must cover. `FFRTMP_CASE=TEXT` runs only the cases whose
//! name contains the text, or one of several with commas between them.

mod cases;
mod copies;
mod coverage;
mod judge;
mod seen;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use ffrtmp_core::engine::{Control, Engine, MediaBounds, Source, Task};
use ffrtmp_core::error::Result;
use ffrtmp_core::job::{JobReport, Parameters};
use ffrtmp_core::media::Container;
use ffrtmp_core::plan::OutputRequest;

use crate::workbench::{Bench, ENGINE, Listener};
use cases::{Case, Quirk};
use seen::Seen;

/// Cases at a time.
const THREADS: usize = 2;

#[test]
fn every_input_comes_out_as_it_went_in() {
    if Command::new("ffprobe").arg("-version").output().is_err() {
        eprintln!("skipped: ffprobe is not installed");
        return;
    }
    let wanted = std::env::var("FFRTMP_CASE").unwrap_or_default();
    let cases: Vec<Case> =
        cases::all().into_iter().filter(|case| wanted.split(',').any(|part| case.name.contains(part))).collect();
    let (next, faults, sources) = (AtomicUsize::new(0), Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let trial = Trial::of(case);
                    faults.lock().unwrap().extend(trial.faults);
                    sources.lock().unwrap().extend(trial.source);
                }
            });
        }
    });
    let (mut faults, sources) = (faults.into_inner().unwrap(), sources.into_inner().unwrap());
    if wanted.is_empty() {
        faults.extend(coverage::gaps(&sources));
    }
    assert!(faults.is_empty(), "{} faults in {} cases:\n{}", faults.len(), cases.len(), faults.join("\n"));
}

/// One case and what was found.
struct Trial<'a> {
    case: &'a Case,
    bench: Bench,
    source: Option<Seen>,
    faults: Vec<String>,
}

impl<'a> Trial<'a> {
    fn of(case: &'a Case) -> Self {
        let mut trial = Self { case, bench: Bench::new(), source: None, faults: Vec::new() };
        match case.make(&trial.bench) {
            Ok(input) => trial.judge(&input),
            Err(error) => trial.fault(error),
        }
        trial
    }

    fn judge(&mut self, input: &Path) {
        let source = self.case.is_seen().then(|| Seen::read(input));
        self.transcode(input, source.as_ref());
        if let Some(source) = &source {
            self.copies(input, source);
        }
        self.source = source;
    }

    fn fault(&mut self, what: impl std::fmt::Display) {
        self.faults.push(format!("{}: {what}", self.case.name));
    }

    fn transcode(&mut self, input: &Path, source: Option<&Seen>) {
        let container = self.case.into();
        let parameters = Parameters {
            preset: Some("ultrafast".to_owned()),
            crf: Some(16.0.try_into().unwrap()),
            ..Parameters::default()
        };
        let (output, made) = self.run(input, container, parameters);
        match (made, self.case.refusal(), source) {
            (Ok(report), None, Some(source)) => {
                let seen = Seen::read(&output);
                for fault in judge::faults(self.case, source, &seen, &report) {
                    self.fault(fault);
                }
                if let Err(fault) = judge::pictures(self.case, (input, source), (&output, &seen)) {
                    self.fault(fault);
                }
            }
            (Ok(_), _, _) => self.fault("is not refused any more"),
            (Err(error), Some((code, _)), _) if error.code() == code => {}
            (Err(error), ..) => self.fault(format!("{} {error}", error.code())),
        }
    }

    fn run(&self, input: &Path, container: Container, parameters: Parameters) -> (PathBuf, Result<JobReport>) {
        let output = self.bench.path(&format!("out.{}", container.extension()));
        let task = Task {
            source: Source::File(input.to_owned()),
            output: output.clone(),
            request: OutputRequest { parameters, container: Some(container), ..OutputRequest::default() },
            bounds: MediaBounds { threads: 1, ..MediaBounds::default() },
            live: None,
        };
        let made = ENGINE.run(&task, &Control::default(), &Listener::default());
        (output, made)
    }
}
