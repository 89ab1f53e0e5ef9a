//! The child's side: greets, takes one request, does it, tells the end, and is gone.

use std::any::Any;
use std::fs;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, Observer, Progress, Task};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::JobReport;

use super::child::parse_resident;
use super::sys;
use super::wire::{Answer, Inbox, ToChild, ToParent, WireError, frame};

/// More progress than this is not sent.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Answers one request of the parent with an engine; what a runner's `main` calls.
///
/// Standard input must be the socket that [`super::IsolatedEngine`] gave; it is replaced by
/// `/dev/null` before the engine is made. If the parent goes away, or on SIGTERM, the process
/// removes the output of its task and exits at once.
///
/// # Errors
/// `invalid_request` if standard input is no such socket. Errors of the engine go to the parent.
pub fn serve<E: Engine>(make: impl FnOnce() -> Result<E>) -> Result<ExitCode> {
    let channel = take_channel().map_err(|error| {
        Error::new(Code::InvalidRequest, "ffrtmp-runner is started by agents and is not for people")
            .source(error)
            .hint("use `ffrtmp transcode` or `ffrtmp-agent`")
    })?;
    let parent = Parent(Arc::new(Mutex::new(channel.try_clone().map_err(storage)?)));
    sys::vanish_on_terminate().map_err(storage)?;
    let engine = match make() {
        Ok(engine) => engine,
        Err(error) => {
            parent.say(&ToParent::Failed(WireError::from(&error)));
            return Ok(ExitCode::FAILURE);
        }
    };
    parent.say(&ToParent::Hello { version: env!("CARGO_PKG_VERSION").into(), engine: engine.name() });
    let mut orders = Orders { channel, inbox: Inbox::default() };
    let Some(request) = orders.next() else { return Ok(ExitCode::SUCCESS) };
    let control = Control::default();
    obey(orders, control.clone())?;
    let answer = catch_unwind(AssertUnwindSafe(|| answer(&engine, request, &control, &parent)))
        .unwrap_or_else(|panic| Err(panicked(panic.as_ref())));
    sys::remove_when_terminated(None);
    parent.say(&match answer {
        Ok(answer) => ToParent::Done(Box::new(answer)),
        Err(error) => ToParent::Failed(WireError::from(&error)),
    });
    Ok(ExitCode::SUCCESS)
}

/// The socket behind standard input, which then reads as empty.
fn take_channel() -> io::Result<UnixStream> {
    let channel = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    channel.peer_addr()?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(channel)
}

fn storage(error: io::Error) -> Error {
    Error::new(Code::Storage, "the runner cannot set itself up").operation("runner.start").source(error)
}

fn answer(engine: &dyn Engine, request: ToChild, control: &Control, parent: &Parent) -> Result<Answer> {
    match request {
        ToChild::Capabilities => Ok(Answer::Capabilities(engine.capabilities().clone())),
        ToChild::Probe(source, bounds) => engine.probe(&source.into(), &bounds).map(Answer::Media),
        ToChild::Plan(task) => engine.plan(&task.into()).map(Answer::Plan),
        ToChild::Run(task) => run(engine, &task.into(), control, parent).map(Answer::Report),
        ToChild::Cancel | ToChild::Pause | ToChild::Resume => {
            Err(Error::new(Code::InvalidRequest, "an order came before a request"))
        }
    }
}

fn run(engine: &dyn Engine, task: &Task, control: &Control, parent: &Parent) -> Result<JobReport> {
    sys::remove_when_terminated(Some(&task.output));
    let reporter = Reporter { parent: parent.clone(), last: Mutex::new(None) };
    let mut report = engine.run(task, control, &reporter)?;
    let resident = fs::read_to_string("/proc/self/status").ok().and_then(|status| parse_resident(&status));
    report.peak_memory_bytes = resident.map_or(report.peak_memory_bytes, |resident| resident.peak);
    for number in [&mut report.duration_seconds, &mut report.fps, &mut report.speed, &mut report.wall_seconds] {
        *number = finite(*number);
    }
    Ok(report)
}

/// JSON has no word for infinity.
fn finite(number: f64) -> f64 {
    if number.is_finite() { number } else { 0.0 }
}

fn panicked(panic: &(dyn Any + Send)) -> Error {
    let words = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::new(Code::AttemptCrashed, format!("the engine panicked: {}", words.unwrap_or("without words")))
}

/// What the parent sends.
struct Orders {
    channel: UnixStream,
    inbox: Inbox,
}

impl Orders {
    /// The next message; `None` once the parent is gone or speaks another language.
    fn next(&mut self) -> Option<ToChild> {
        loop {
            match self.inbox.next() {
                Ok(Some(message)) => return Some(message),
                Ok(None) => {}
                Err(broken) => {
                    tracing::error!(%broken, "the parent does not speak this protocol");
                    return None;
                }
            }
            match self.inbox.fill(&mut self.channel) {
                Ok(0) => return None,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return None,
            }
        }
    }
}

/// Turns orders into the control of the task, beside the engine. The thread lives as long as the
/// process: it is what ends the process when the parent is gone, however busy the engine is.
fn obey(mut orders: Orders, control: Control) -> Result<()> {
    let obedient = move || {
        while let Some(order) = orders.next() {
            match order {
                ToChild::Cancel => control.cancel(),
                ToChild::Pause => control.pause(),
                ToChild::Resume => control.resume(),
                _ => break,
            }
        }
        sys::vanish()
    };
    thread::Builder::new().name("orders".into()).spawn(obedient).map(drop).map_err(storage)
}

/// The parent's ear.
#[derive(Clone)]
struct Parent(Arc<Mutex<UnixStream>>);

impl Parent {
    /// Says something, waiting until there is room. A parent that is gone ends the process through
    /// the thread that reads its orders.
    fn say(&self, message: &ToParent) {
        match frame(message) {
            Ok(frame) => drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).write_all(&frame)),
            Err(broken) => {
                let error = Error::new(Code::Internal, format!("the runner's answer is {broken}"));
                if !matches!(message, ToParent::Failed(_)) {
                    self.say(&ToParent::Failed(WireError::from(&error)));
                }
            }
        }
    }
}

/// Tells the parent how it goes, not more often than anybody can see.
struct Reporter {
    parent: Parent,
    last: Mutex<Option<Instant>>,
}

impl Observer for Reporter {
    fn progress(&self, progress: Progress) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() < PROGRESS_EVERY) {
            return;
        }
        *last = Some(Instant::now());
        self.parent.say(&ToParent::Progress(Progress {
            percent: progress.percent.map(finite),
            out_seconds: finite(progress.out_seconds),
            speed: finite(progress.speed),
            ..progress
        }));
    }

    fn log(&self, level: &str, text: &str) {
        self.parent.say(&ToParent::Log { level: level.into(), text: text.into() });
    }
}
