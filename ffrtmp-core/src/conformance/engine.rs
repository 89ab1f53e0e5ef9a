//! What every [`Engine`] must do, and every decorator around one. The only module of this crate
//! that touches files and reads a clock: it judges what an engine leaves on the disk, and when.
//!
//! Failures panic with a message; call [`run`] from a test.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::engine::{Control, Engine, Observer, Progress, Source, Task, Unobserved};
use crate::error::{Code, Result};
use crate::job::JobReport;
use crate::units::Seconds;

/// An engine and the surroundings in which it is judged.
#[derive(Clone)]
pub struct Subject {
    /// The engine.
    pub engine: Arc<dyn Engine>,
    /// An empty directory for this suite alone.
    pub scratch: PathBuf,
    /// A named pipe to which nobody writes, where the platform has such a thing.
    pub fifo: Option<PathBuf>,
    /// A scenario of which one second is quickly made, such as `144p10-h264`.
    pub quick: &'static str,
    /// A scenario, and seconds of it, that take between five seconds and some minutes to make.
    pub long: (&'static str, f64),
    /// Time from a cancel to the return of `run`. The contract says 200 ms; a machine that is busy
    /// with other tests may be given more.
    pub cancel_within: Duration,
}

/// What was measured on the way.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Time from a cancel in mid-work to the return of `run`.
    pub cancel: Duration,
    /// Time from a cancel in a pause to the return of `run`.
    pub cancel_paused: Duration,
    /// Longest time without a report of progress in two seconds of work.
    pub longest_silence: Duration,
}

/// Judges an engine.
///
/// # Panics
/// If it breaks the contract.
pub fn run(subject: &Subject) -> Measured {
    capabilities_are_stable(subject);
    a_generated_run_gives_a_verified_output(subject);
    an_output_can_be_an_input(subject);
    a_plan_touches_nothing(subject);
    bad_inputs_are_typed_errors(subject);
    a_missing_output_directory_is_a_typed_error(subject);
    a_canceled_control_starts_nothing(subject);
    two_runs_at_once_do_not_disturb_each_other(subject);
    let longest_silence = progress_is_told(subject);
    let cancel = a_cancel_ends_a_run(subject);
    let cancel_paused = a_pause_holds_until_resumed_or_canceled(subject);
    Measured { cancel, cancel_paused, longest_silence }
}

fn capabilities_are_stable(subject: &Subject) {
    let first = subject.engine.capabilities().clone();
    assert!(!first.video_encoders.is_empty(), "the engine encodes nothing");
    for (codec, encoders) in &first.video_encoders {
        assert!(!encoders.is_empty(), "{codec} is listed without an encoder");
    }
    assert_eq!(&first, subject.engine.capabilities(), "capabilities change");
    assert_eq!(subject.engine.name(), subject.engine.name());
}

fn a_generated_run_gives_a_verified_output(subject: &Subject) {
    let task = subject.task("generated", 1.0);
    let report = must(subject.engine.run(&task, &Control::default(), &Unobserved), "a generated run");
    subject.judge_report(&task, &report, 1.0);
    assert_eq!(report.output_uri, None, "where the output ends up is not the engine's to say");
}

fn an_output_can_be_an_input(subject: &Subject) {
    let first = subject.make("first", 1.0);
    let before = contents(&first);
    let mut task = subject.task("second", 1.0);
    task.source = Source::File(first.clone());
    let info = must(subject.engine.probe(&task.source, &task.bounds), "probing an own output");
    assert!(info.best_video().is_some(), "no video in {info:?}");
    assert_eq!(info.size_bytes, before.len() as u64);
    let report = must(subject.engine.run(&task, &Control::default(), &Unobserved), "a run on an own output");
    subject.judge_report(&task, &report, 1.0);
    assert_eq!(report.input_bytes, before.len() as u64, "input_bytes");
    assert!(contents(&first) == before, "the source was changed");
}

fn a_plan_touches_nothing(subject: &Subject) {
    let task = subject.task("planned", 1.0);
    let plan = must(subject.engine.plan(&task), "a plan");
    assert!(plan.video.is_some(), "a generated input has a picture");
    assert!(!task.output.exists(), "a plan wrote its output");
}

fn bad_inputs_are_typed_errors(subject: &Subject) {
    let file = |name: &str, content: &[u8]| {
        let path = subject.scratch.join(name);
        fs::write(&path, content).expect("scratch is writable");
        path
    };
    let mut cases = vec![
        (subject.scratch.join("missing.mp4"), vec![Code::InputNotFound]),
        (subject.scratch.clone(), vec![Code::InputUnreadable]),
        (file("empty.mp4", b""), vec![Code::InputInvalid]),
        (file("text.mp4", b"this is no video\n"), vec![Code::InputInvalid, Code::InputUnsupported]),
        (file("noise.mp4", &noise(100_000)), vec![Code::InputInvalid, Code::InputUnsupported]),
    ];
    cases.extend(subject.fifo.clone().map(|fifo| (fifo, vec![Code::InputUnreadable])));
    for (path, codes) in cases {
        let mut task = subject.task("bad", 1.0);
        task.source = Source::File(path.clone());
        let started = Instant::now();
        let probed = subject.engine.probe(&task.source, &task.bounds).map(drop);
        let ran = subject.engine.run(&task, &Control::default(), &Unobserved).map(drop);
        for outcome in [probed, ran] {
            let error = must_fail(outcome, &path);
            assert!(codes.contains(&error), "{}: {error} instead of {codes:?}", path.display());
        }
        assert!(started.elapsed() < Duration::from_secs(10), "{}: refused too slowly", path.display());
        assert!(!task.output.exists(), "{}: an output was left", path.display());
    }
}

fn a_missing_output_directory_is_a_typed_error(subject: &Subject) {
    let mut task = subject.task("x", 1.0);
    task.output = subject.scratch.join("no/such/directory/out.mp4");
    let error = must_fail(subject.engine.run(&task, &Control::default(), &Unobserved).map(drop), &task.output);
    let codes = [Code::OutputDirectoryMissing, Code::OutputNotWritable];
    assert!(codes.contains(&error), "{error} instead of {codes:?}");
    assert!(!subject.scratch.join("no").exists(), "a directory was invented");
}

fn a_canceled_control_starts_nothing(subject: &Subject) {
    let task = subject.long_task("never");
    let control = Control::default();
    control.cancel();
    let error = must_fail(subject.engine.run(&task, &control, &Unobserved).map(drop), &task.output);
    assert_eq!(error, Code::Canceled);
    assert!(!task.output.exists(), "an output was left");
}

fn two_runs_at_once_do_not_disturb_each_other(subject: &Subject) {
    let lengths = [("one", 1.0), ("two", 2.0)];
    thread::scope(|scope| {
        let runs = lengths.map(|(name, seconds)| {
            scope.spawn(move || {
                let task = subject.task(name, seconds);
                let report = must(subject.engine.run(&task, &Control::default(), &Unobserved), name);
                subject.judge_report(&task, &report, seconds);
            })
        });
        for run in runs {
            run.join().expect("both runs succeed");
        }
    });
}

fn progress_is_told(subject: &Subject) -> Duration {
    let going = Going::start(subject, "progress");
    let from = going.await_progress(1);
    thread::sleep(Duration::from_secs(2));
    going.control.cancel();
    let (outcome, seen) = going.end();
    assert_eq!(must_fail(outcome.map(drop), &subject.scratch), Code::Canceled);
    let times: Vec<_> = seen.iter().map(|(at, _)| *at).filter(|at| *at >= from).collect();
    let silence = times.windows(2).map(|pair| pair[1] - pair[0]).max().expect("progress within two seconds");
    assert!(silence < Duration::from_millis(500) + subject.slack(), "no progress for {silence:?}");
    for pair in seen.windows(2) {
        assert!(pair[0].1.frames <= pair[1].1.frames, "progress runs backwards: {pair:?}");
    }
    for (_, progress) in &seen {
        assert!(progress.percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)), "{progress:?}");
    }
    silence
}

fn a_cancel_ends_a_run(subject: &Subject) -> Duration {
    let going = Going::start(subject, "canceled");
    going.await_progress(2);
    subject.judge_cancel(going)
}

fn a_pause_holds_until_resumed_or_canceled(subject: &Subject) -> Duration {
    let going = Going::start(subject, "paused");
    going.await_progress(2);
    going.control.pause();
    let before = going.await_standstill();
    going.control.resume();
    going.await_frames_above(before);
    going.control.pause();
    thread::sleep(Duration::from_millis(300));
    subject.judge_cancel(going)
}

impl Subject {
    fn task(&self, name: &str, seconds: f64) -> Task {
        self.task_of(name, self.quick, seconds)
    }

    fn long_task(&self, name: &str) -> Task {
        self.task_of(name, self.long.0, self.long.1)
    }

    fn task_of(&self, name: &str, scenario: &str, seconds: f64) -> Task {
        let seconds = Seconds::try_from(seconds).expect("a span");
        let scenario = scenario.parse().expect("a scenario");
        Task::new(Source::Generated(seconds), self.scratch.join(format!("{name}.mp4")), scenario)
    }

    fn make(&self, name: &str, seconds: f64) -> PathBuf {
        let task = self.task(name, seconds);
        must(self.engine.run(&task, &Control::default(), &Unobserved), name);
        task.output
    }

    fn judge_report(&self, task: &Task, report: &JobReport, seconds: f64) {
        let size = fs::metadata(&task.output).expect("the output exists").len();
        assert!(size > 0, "the output is empty");
        assert_eq!((report.size_bytes, report.output_bytes), (size, size), "sizes of {report:?}");
        assert!((report.duration_seconds - seconds).abs() < 0.15, "duration of {report:?}");
        assert!(report.frames > 0 && report.wall_seconds > 0.0 && report.fps > 0.0, "{report:?}");
        let source = Source::File(task.output.clone());
        let info = must(self.engine.probe(&source, &task.bounds), "probing the output");
        let probed = info.duration_seconds.expect("the output has a length");
        assert!((probed - report.duration_seconds).abs() < 0.15, "{probed} s probed, {report:?}");
    }

    fn judge_cancel(&self, going: Going) -> Duration {
        let output = going.output.clone();
        going.control.cancel();
        let asked = Instant::now();
        let (outcome, _) = going.end();
        let took = asked.elapsed();
        assert_eq!(must_fail(outcome.map(drop), &output), Code::Canceled);
        assert!(took < self.cancel_within, "a cancel took {took:?}");
        assert!(!output.exists(), "an output was left after a cancel");
        took
    }

    /// What a busy machine is forgiven.
    fn slack(&self) -> Duration {
        self.cancel_within.saturating_sub(Duration::from_millis(200))
    }
}

/// A long run on a thread of its own.
struct Going {
    control: Control,
    output: PathBuf,
    seen: Arc<Seen>,
    thread: thread::JoinHandle<Result<JobReport>>,
}

#[derive(Default)]
struct Seen(Mutex<Vec<(Instant, Progress)>>);

impl Observer for Seen {
    fn progress(&self, progress: Progress) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((Instant::now(), progress));
    }

    fn log(&self, _: &str, _: &str) {}
}

impl Going {
    fn start(subject: &Subject, name: &str) -> Self {
        let task = subject.long_task(name);
        let (control, seen) = (Control::default(), Arc::new(Seen::default()));
        let (engine, output) = (Arc::clone(&subject.engine), task.output.clone());
        let thread = thread::spawn({
            let (control, seen) = (control.clone(), Arc::clone(&seen));
            move || engine.run(&task, &control, &*seen)
        });
        Self { control, output, seen, thread }
    }

    /// Waits until progress with at least one frame was told this often; the time of the last.
    fn await_progress(&self, times: usize) -> Instant {
        let until = Instant::now() + Duration::from_secs(30);
        while self.count() < times || self.last().frames == 0 {
            assert!(!self.thread.is_finished(), "the long run is too short, or failed");
            assert!(Instant::now() < until, "no progress within 30 s");
            thread::sleep(Duration::from_millis(5));
        }
        self.with(|seen| seen.last().map_or_else(Instant::now, |(at, _)| *at))
    }

    /// Waits until no frame is added for a whole second; the frames then. Work that was under way
    /// when the order came may still be told, late on a busy machine.
    fn await_standstill(&self) -> u64 {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let before = self.last().frames;
            thread::sleep(Duration::from_secs(1));
            if self.last().frames == before {
                return before;
            }
            assert!(Instant::now() < until, "it goes on in a pause");
        }
    }

    fn await_frames_above(&self, before: u64) {
        let until = Instant::now() + Duration::from_secs(30);
        while self.last().frames <= before {
            assert!(!self.thread.is_finished(), "the long run is too short, or failed");
            assert!(Instant::now() < until, "it does not go on after a pause");
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn count(&self) -> usize {
        self.with(|seen| seen.len())
    }

    fn last(&self) -> Progress {
        self.with(|seen| seen.last().map(|(_, progress)| *progress)).unwrap_or_default()
    }

    fn with<T>(&self, look: impl FnOnce(&Vec<(Instant, Progress)>) -> T) -> T {
        look(&self.seen.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn end(self) -> (Result<JobReport>, Vec<(Instant, Progress)>) {
        let outcome = self.thread.join().expect("run does not panic");
        let seen = std::mem::take(&mut *self.seen.0.lock().unwrap_or_else(PoisonError::into_inner));
        (outcome, seen)
    }
}

fn must<T>(outcome: Result<T>, what: impl Debug) -> T {
    match outcome {
        Ok(value) => value,
        Err(error) => panic!("{what:?} failed: {}: {error}", error.code()),
    }
}

fn must_fail(outcome: Result<()>, what: &Path) -> Code {
    match outcome {
        Ok(()) => panic!("{} was accepted", what.display()),
        Err(error) => {
            assert!(!error.message().is_empty() && !error.hint_text().is_empty(), "{error:?} helps nobody");
            error.code()
        }
    }
}

fn contents(path: &Path) -> Vec<u8> {
    fs::read(path).expect("the file exists")
}

/// Bytes without any structure, the same in every run.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let step = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(step).take(length).collect()
}
