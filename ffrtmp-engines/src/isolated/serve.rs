//! The runner's side: becomes a fork server, and in each copy takes one request, confines itself,
//! does it, tells the end, and is gone.

use std::any::Any;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, Observer, Progress, Source, Task};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::JobReport;
use ffrtmp_core::live::LiveEvent;
use ffrtmp_core::node::Safeguard;
use ffrtmp_core::sandbox::{Reach, Sandbox};

use super::fork::{Role, Server};
use super::link::Link;
use super::wire::{Answer, FromServer, Inbox, Request, ToChild, ToParent, WireError, Work, frame};
use super::{reach, sys};

/// More progress than this is not sent.
const PROGRESS_EVERY: Duration = Duration::from_millis(100);
/// How a child exits whose agent is gone.
const ABANDONED: i32 = 128 + libc::SIGTERM;

/// Serves an agent with an engine; what a runner's `main` calls.
///
/// Standard input must be the socket that [`super::IsolatedEngine`] gave; it is replaced by
/// `/dev/null` before the engine is made. The engine is made once, in a process with one thread,
/// and must start none; each request gets a copy of that process, which closes every descriptor
/// but its channel, those of the engine included, and confines itself before it reads anything
/// foreign. When the agent goes away all copies end, and what they had not finished is removed.
///
/// # Errors
/// `invalid_request` if standard input is no such socket. Errors of the engine go to the agent.
pub fn serve<E: Engine>(make: impl FnOnce() -> Result<E>, sandbox: &dyn Sandbox) -> Result<ExitCode> {
    let link = take_link().map_err(|error| {
        Error::new(Code::InvalidRequest, "ffrtmp-runner is started by agents and is not for people")
            .source(error)
            .hint("use `ffrtmp transcode` or `ffrtmp-agent`")
    })?;
    let server = Server::new(link).map_err(storage)?;
    let engine = match make() {
        Ok(engine) => engine,
        Err(error) => {
            server.say(&FromServer::Unable(WireError::from(&error)))?;
            return Ok(ExitCode::FAILURE);
        }
    };
    server.say(&FromServer::Hello { version: env!("CARGO_PKG_VERSION").into(), engine: engine.name() })?;
    match server.run() {
        Role::Done => Ok(ExitCode::SUCCESS),
        Role::Child(channel) => attend(channel, &engine, sandbox),
    }
}

/// The socket behind standard input, which then reads as empty.
fn take_link() -> io::Result<Link> {
    let link = Link::over(io::stdin().as_fd().try_clone_to_owned()?)?;
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    Ok(link)
}

fn storage(error: io::Error) -> Error {
    Error::new(Code::Storage, "the runner cannot set itself up").operation("runner.start").source(error)
}

/// The life of a child.
fn attend(channel: UnixStream, engine: &dyn Engine, sandbox: &dyn Sandbox) -> Result<ExitCode> {
    let parent = Parent(Arc::new(Mutex::new(channel.try_clone().map_err(storage)?)));
    let mut orders = Orders { channel, inbox: Inbox::default() };
    let request = match orders.next() {
        Some(ToChild::Begin(request)) => *request,
        Some(_) => return Err(Error::new(Code::InvalidRequest, "an order came before a request")),
        None => return Ok(ExitCode::SUCCESS),
    };
    let answer = confine(sandbox, &request).and_then(|layers| {
        parent.say(&ToParent::Confined(layers.clone()));
        let control = Control::default();
        obey(orders, control.clone())?;
        request.findings.iter().for_each(|findings| engine.learn(findings));
        catch_unwind(AssertUnwindSafe(|| answer(engine, request.work, layers, &control, &parent)))
            .unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
    });
    parent.say(&match answer {
        Ok(answer) => ToParent::Done(Box::new(answer)),
        Err(error) => ToParent::Failed(WireError::from(&error)),
    });
    leave()
}

/// Ends a child that has said all. What a hundred libraries do at the end of a process is for
/// processes that go on in another form; only a profiler writes down what it has seen.
fn leave() -> Result<ExitCode> {
    if std::env::var_os("LLVM_PROFILE_FILE").is_none() {
        sys::exit_now(0);
    }
    Ok(ExitCode::SUCCESS)
}

/// Takes away what the request does not need, while there is one thread and nothing foreign was read.
fn confine(sandbox: &dyn Sandbox, request: &Request) -> Result<Vec<Safeguard>> {
    let layers = sandbox.confine(&reach_of(request))?;
    // A change of user takes this back. A server that has died meanwhile has closed nothing that
    // this child holds: its parent is another process now.
    let kept = sys::die_with_parent();
    if let Err(error) = kept {
        tracing::debug!(%error, "the sandbox does not let the runner die with its server");
    }
    Ok(layers)
}

fn reach_of(request: &Request) -> Reach {
    match &request.work {
        Work::Capabilities => reach::of_trial(),
        Work::Probe(source, _) => reach::of_source(&Source::from(source), request.memory),
        Work::Plan(task) => reach::of_source(&Task::from(task).source, request.memory),
        Work::Run(task) => reach::of_task(&Task::from(task), request.memory),
    }
}

fn answer(
    engine: &dyn Engine,
    work: Work,
    layers: Vec<Safeguard>,
    control: &Control,
    parent: &Parent,
) -> Result<Answer> {
    match work {
        Work::Capabilities => {
            let mut found = engine.capabilities().clone();
            found.sandbox = layers;
            Ok(Answer::Capabilities(found, engine.findings()))
        }
        Work::Probe(source, bounds) => engine.probe(&Source::from(&source), &bounds).map(Answer::Media),
        Work::Plan(task) => engine.plan(&Task::from(&task)).map(Answer::Plan),
        Work::Run(task) => run(engine, &Task::from(&task), control, parent).map(Answer::Report),
    }
}

fn run(engine: &dyn Engine, task: &Task, control: &Control, parent: &Parent) -> Result<JobReport> {
    let reporter = Reporter { parent: parent.clone(), last: Mutex::new(None) };
    let mut report = engine.run(task, control, &reporter)?;
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
/// process: it is what ends the process when the agent is gone, however busy the engine is.
fn obey(mut orders: Orders, control: Control) -> Result<()> {
    let obedient = move || {
        while let Some(order) = orders.next() {
            match order {
                ToChild::Cancel => control.cancel(),
                ToChild::Pause => control.pause(),
                ToChild::Resume => control.resume(),
                ToChild::Finish => control.finish(),
                _ => break,
            }
        }
        sys::exit_now(ABANDONED)
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

    fn event(&self, event: &LiveEvent) {
        self.parent.say(&ToParent::Event(event.clone()));
    }
}
