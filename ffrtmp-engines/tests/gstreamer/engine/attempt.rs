//! An attempt on a thread of its own, and what is heard of it.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, Observer, Progress, Source, Task};
use ffrtmp_core::error::Result;
use ffrtmp_core::job::JobReport;
use ffrtmp_core::live::{Endpoint, LiveEvent, LiveEventKind, LiveRules, LiveTask};
use ffrtmp_core::units::Seconds;
use ffrtmp_engines::GstreamerEngine;

pub(super) fn endpoint(url: &str) -> Endpoint {
    Endpoint::parse(url, "input").unwrap()
}

/// A live task that records what it pulls.
pub(super) fn live(url: &str, output: PathBuf) -> Task {
    let mut task = quick(output);
    task.source = Source::Live(endpoint(url));
    task.live = Some(LiveTask { push: Vec::new(), record: true, rules: LiveRules::default() });
    task
}

/// A task that is not live.
pub(super) fn quick(output: PathBuf) -> Task {
    let source = Source::Generated(Seconds::try_from(1.0).unwrap());
    Task::new(source, output, "144p-h264".parse().unwrap())
}

pub(super) struct Attempt {
    pub(super) control: Control,
    heard: Arc<Heard>,
    output: PathBuf,
    began: Instant,
    thread: JoinHandle<Result<JobReport>>,
}

#[derive(Default)]
struct Heard {
    state: Mutex<(Progress, Vec<LiveEvent>)>,
    changed: Condvar,
}

impl Observer for Heard {
    fn progress(&self, progress: Progress) {
        self.state.lock().unwrap().0 = progress;
        self.changed.notify_all();
    }

    fn log(&self, level: &str, text: &str) {
        eprintln!("{level}: {text}");
    }

    fn event(&self, event: &LiveEvent) {
        eprintln!("{}: {}", event.kind.as_str(), event.text);
        self.state.lock().unwrap().1.push(event.clone());
        self.changed.notify_all();
    }
}

impl Attempt {
    pub(super) fn start(task: Task) -> Self {
        let (control, heard) = (Control::default(), Arc::new(Heard::default()));
        let output = task.output.clone();
        let thread = std::thread::spawn({
            let (control, heard) = (control.clone(), Arc::clone(&heard));
            move || GstreamerEngine::new()?.run(&task, &control, &*heard)
        });
        Self { control, heard, output, began: Instant::now(), thread }
    }

    pub(super) fn began(&self) -> Instant {
        self.began
    }

    pub(super) fn frames(&self) -> u64 {
        self.heard.state.lock().unwrap().0.frames
    }

    pub(super) fn await_frames(&self, frames: u64, limit: Duration) {
        self.wait(&format!("{frames} frames"), limit, |(progress, _)| progress.frames >= frames);
    }

    pub(super) fn await_event(&self, kind: LiveEventKind, limit: Duration) {
        self.wait(kind.as_str(), limit, |(_, events)| events.iter().any(|event| event.kind == kind));
    }

    pub(super) fn events(&self) -> Vec<LiveEvent> {
        self.heard.state.lock().unwrap().1.clone()
    }

    fn wait(&self, what: &str, limit: Duration, holds: impl Fn(&(Progress, Vec<LiveEvent>)) -> bool) {
        let until = Instant::now() + limit;
        let mut state = self.heard.state.lock().unwrap();
        while !holds(&state) {
            assert!(!self.thread.is_finished(), "{what}: the attempt ended before");
            assert!(Instant::now() < until, "{what}: not within {limit:?}: {:?}", *state);
            state = self.heard.changed.wait_timeout(state, Duration::from_millis(50)).unwrap().0;
        }
    }

    pub(super) fn end(self) -> (Result<JobReport>, PathBuf) {
        (self.thread.join().unwrap(), self.output)
    }
}
