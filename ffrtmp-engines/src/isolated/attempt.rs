//! Watches over one child from the request to its end: passes orders down and news up, enforces
//! memory and time, and says in one error how it went wrong.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Observer};
use ffrtmp_core::error::{Code, Error, Result};
use rustix::process::Signal;

use super::child::{Child, News};
use super::sys::Ended;
use super::wire::{Answer, Broken, Inbox, ToChild, ToParent, VERSION, frame};

/// How often orders and memory are looked at.
const TICK: Duration = Duration::from_millis(20);
/// Time for a child to load its libraries and greet.
const GREETING: Duration = Duration::from_secs(10);
/// Time for a child to take a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// A canceled child is asked; after this it is terminated; after [`KILL_AFTER`] killed. Encoders
/// take their time to close, and what they would still write is thrown away.
const TERMINATE_AFTER: Duration = Duration::from_millis(80);
const KILL_AFTER: Duration = Duration::from_millis(300);
/// Time between SIGKILL and the end, unless the kernel holds the process.
const DEATH: Duration = Duration::from_secs(1);
/// Time for a child that has said all to end by itself.
const FAREWELL: Duration = Duration::from_millis(500);
/// Lines that reach the job's log; a child could send them without end.
const MAX_LINES: u32 = 2000;
const MAX_LINE: usize = 4096;

/// What one request may use.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bounds {
    /// Resident memory in bytes.
    pub(super) memory: Option<u64>,
    /// Wall time and the code of the error when it is over; for requests without a control.
    pub(super) time: Option<(Duration, Code)>,
}

/// An answer and what it cost.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) answer: Answer,
    pub(super) cpu: Duration,
    pub(super) peak_memory_bytes: u64,
    /// Set if the child failed after its answer.
    pub(super) warning: Option<String>,
}

/// Sends the request and stays with the child until it has ended.
pub(super) fn ask(
    child: Child,
    request: &ToChild,
    bounds: Bounds,
    control: &Control,
    observer: &dyn Observer,
) -> Result<Answered> {
    let mut attempt = Attempt {
        child,
        control,
        observer,
        bounds,
        inbox: Inbox::default(),
        printed: Printed::default(),
        greeted: false,
        paused: false,
        canceled: None,
        doom: None,
        peak: 0,
        lines: 0,
        started: Instant::now(),
    };
    if let Some(memory) = bounds.memory {
        let backstop = memory.saturating_add((memory / 2).max(1 << 30));
        attempt.child.bound_data(backstop).map_err(|error| {
            Error::new(Code::Storage, "cannot bound the memory of the runner").operation("isolated.limit").source(error)
        })?;
    }
    let request = frame(request).map_err(|error| Error::new(Code::Internal, "the task fits no frame").source(error))?;
    // A child that is already gone shows itself as the end of the channel, with its own words.
    let _ = attempt.child.send(&request, PATIENCE);
    let ending = attempt.follow();
    attempt.close(ending)
}

struct Attempt<'a> {
    child: Child,
    control: &'a Control,
    observer: &'a dyn Observer,
    bounds: Bounds,
    inbox: Inbox,
    printed: Printed,
    greeted: bool,
    paused: bool,
    canceled: Option<Canceled>,
    doom: Option<Doom>,
    peak: u64,
    lines: u32,
    started: Instant,
}

#[derive(Clone, Copy)]
struct Canceled {
    at: Instant,
    sent: Sent,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Sent {
    Order,
    Terminate,
    Kill,
}

/// Why the parent killed the child.
#[derive(Clone, Copy)]
enum Doom {
    Memory,
    Time(Code),
    /// It never said that it is ready.
    Silence,
}

/// How the conversation ended.
enum Ending {
    Answered(Box<Answer>),
    Failed(Error),
    Gone,
    Broken(Broken),
    /// Killed, and still not gone.
    Stuck,
}

impl Attempt<'_> {
    fn follow(&mut self) -> Ending {
        let mut doomed_at = None;
        loop {
            self.pass_orders();
            self.watch_bounds();
            if self.is_killed() && *doomed_at.get_or_insert_with(Instant::now) + DEATH < Instant::now() {
                return Ending::Stuck;
            }
            let news = self.child.await_news(TICK);
            self.read_printed();
            match self.read_news() {
                Some(ending) => return ending,
                // Somebody it left behind may hold the channel open.
                None if news == News::Ended => return Ending::Gone,
                None => {}
            }
        }
    }

    fn is_killed(&self) -> bool {
        self.doom.is_some() || self.canceled.is_some_and(|canceled| canceled.sent == Sent::Kill)
    }

    fn pass_orders(&mut self) {
        if self.control.is_canceled() {
            return self.press_cancel();
        }
        let paused = self.control.is_paused();
        if paused != self.paused {
            self.order(if paused { &ToChild::Pause } else { &ToChild::Resume });
            self.paused = paused;
        }
    }

    fn press_cancel(&mut self) {
        let Some(Canceled { at, sent }) = self.canceled else {
            self.order(&ToChild::Cancel);
            self.canceled = Some(Canceled { at: Instant::now(), sent: Sent::Order });
            return;
        };
        let due = match at.elapsed() {
            waited if waited >= KILL_AFTER => Sent::Kill,
            waited if waited >= TERMINATE_AFTER => Sent::Terminate,
            _ => Sent::Order,
        };
        if due > sent {
            self.child.signal(if due == Sent::Kill { Signal::KILL } else { Signal::TERM });
            self.canceled = Some(Canceled { at, sent: due });
        }
    }

    /// Orders are short; a child that does not even take them is met by the signals that follow.
    fn order(&self, order: &ToChild) {
        if let Ok(frame) = frame(order) {
            let _ = self.child.send(&frame, Duration::ZERO);
        }
    }

    fn watch_bounds(&mut self) {
        if self.doom.is_some() {
            return;
        }
        let Some(resident) = self.child.resident() else { return };
        // Before exec has replaced it, the memory is that of the parent; the greeting comes after.
        if self.greeted {
            self.peak = self.peak.max(resident.peak);
        }
        let elapsed = self.started.elapsed();
        let too_large = self.greeted && self.bounds.memory.is_some_and(|limit| resident.now > limit);
        self.doom = match self.bounds.time {
            _ if too_large => Some(Doom::Memory),
            Some((limit, code)) if elapsed > limit => Some(Doom::Time(code)),
            _ if !self.greeted && elapsed > GREETING => Some(Doom::Silence),
            _ => return,
        };
        self.child.signal(Signal::KILL);
    }

    fn read_printed(&mut self) {
        let Some(errors) = &mut self.child.errors else { return };
        let (lines, more) = self.printed.read(errors);
        if !more {
            self.child.errors = None;
        }
        for line in lines {
            self.log("warn", &line);
        }
    }

    fn read_news(&mut self) -> Option<Ending> {
        loop {
            match self.inbox.fill(&mut &self.child.channel) {
                Ok(0) => return Some(Ending::Gone),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                // A child that dies with unread orders resets the channel.
                Err(_) => return Some(Ending::Gone),
            }
            loop {
                match self.inbox.next() {
                    Ok(Some(message)) => match self.hear(message) {
                        None => {}
                        ending => return ending,
                    },
                    Ok(None) => break,
                    Err(broken) => return Some(Ending::Broken(broken)),
                }
            }
        }
    }

    fn hear(&mut self, message: ToParent) -> Option<Ending> {
        match message {
            ToParent::Hello { version, engine } => {
                tracing::debug!(pid = self.child.pid(), %version, %engine, "runner is ready");
                self.greeted = true;
            }
            ToParent::Progress(progress) => self.observer.progress(progress),
            ToParent::Log { level, text } => self.log(&level, &text),
            ToParent::Done(answer) => return Some(Ending::Answered(answer)),
            ToParent::Failed(error) => return Some(Ending::Failed(error.into())),
        }
        None
    }

    fn log(&mut self, level: &str, text: &str) {
        self.lines += 1;
        match self.lines {
            ..MAX_LINES => self.observer.log(level, cut(text)),
            MAX_LINES => self.observer.log("warn", "the attempt logs too much; what follows is dropped"),
            _ => {}
        }
    }

    /// Sees the child off and says what became of the request.
    fn close(mut self, ending: Ending) -> Result<Answered> {
        if let Some(resident) = self.child.resident() {
            self.peak = self.peak.max(resident.peak);
        }
        if matches!(ending, Ending::Stuck) {
            return Err(self.abandon());
        }
        let told = matches!(ending, Ending::Answered(_) | Ending::Failed(_));
        if matches!(ending, Ending::Broken(_)) {
            self.child.signal(Signal::KILL);
        }
        let ended = self.child.reap(if told { FAREWELL } else { DEATH }).or_else(|| {
            self.child.signal(Signal::KILL);
            self.child.reap(DEATH)
        });
        self.read_printed();
        match ending {
            Ending::Answered(answer) => Ok(self.answered(*answer, ended)),
            Ending::Failed(_) if self.canceled.is_some() => Err(self.lost(ended)),
            Ending::Failed(error) => Err(error),
            Ending::Broken(broken) => Err(self.broken(&broken)),
            Ending::Gone | Ending::Stuck => Err(self.lost(ended)),
        }
    }

    /// Leaves a child that not even SIGKILL ends, because the kernel waits for a device, to a thread
    /// that reaps it when it can be reaped.
    fn abandon(self) -> Error {
        let error = self.lost(None);
        let child = self.child;
        tracing::error!(pid = child.pid(), "a killed runner does not end; the kernel holds it");
        std::thread::spawn(move || drop(child));
        error
    }

    fn answered(&self, answer: Answer, ended: Option<Ended>) -> Answered {
        let clean = ended.is_some_and(|ended| ended.status.success());
        // What rusage calls the peak includes the parent's own memory at the fork; it is only right
        // where nothing better is known.
        let peak = if self.peak > 0 { self.peak } else { ended.map_or(0, |ended| ended.max_resident_bytes) };
        Answered {
            answer,
            cpu: ended.map_or(Duration::ZERO, |ended| ended.cpu),
            peak_memory_bytes: peak,
            warning: (!clean).then(|| format!("the runner did not end well after its work: {}", describe(ended))),
        }
    }

    fn broken(&self, broken: &Broken) -> Error {
        match broken {
            Broken::Version(version) => Error::new(
                Code::EngineUnavailable,
                format!("the runner speaks protocol version {version}, this program {VERSION}"),
            )
            .hint("install ffrtmp-runner of the same release as the program that starts it"),
            _ if !self.greeted => no_runner("the program that was started is no ffrtmp-runner"),
            broken => Error::new(Code::AttemptCrashed, format!("the runner sent {broken}")),
        }
    }

    /// The error for a child that ended without a word.
    fn lost(&self, ended: Option<Ended>) -> Error {
        if self.canceled.is_some() {
            return Error::new(Code::Canceled, "the attempt was canceled");
        }
        match self.doom {
            Some(Doom::Memory) => return self.too_much_memory(),
            Some(Doom::Time(code)) => return Error::new(code, "the runner did not answer within its time limit"),
            Some(Doom::Silence) => {
                return no_runner("the program that was started does not answer as an ffrtmp-runner");
            }
            None => {}
        }
        let how = describe(ended);
        let words = self.printed.last_words();
        match ended.and_then(|ended| std::os::unix::process::ExitStatusExt::signal(&ended.status)) {
            Some(libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP | libc::SIGQUIT) => {
                Error::new(Code::Killed, format!("the runner {how}, which the agent did not send"))
            }
            Some(_) if self.near_limit() => self.too_much_memory(),
            None if !self.greeted => Error::new(
                Code::EngineUnavailable,
                format!("the runner {how} before it was ready{words}"),
            )
            .hint("`ffrtmp doctor` names missing libraries; FFRTMP_RUNNER must name the ffrtmp-runner of this release"),
            _ => Error::new(Code::AttemptCrashed, format!("the runner {how}{words}")),
        }
    }

    /// An allocation that the kernel refuses ends in an abort just below the limit.
    fn near_limit(&self) -> bool {
        self.bounds.memory.is_some_and(|limit| self.peak >= limit / 10 * 9)
    }

    fn too_much_memory(&self) -> Error {
        let mib = |bytes: u64| bytes >> 20;
        let limit = self.bounds.memory.unwrap_or(0);
        Error::new(
            Code::MemoryExceeded,
            format!("the attempt used {} MB of memory; its limit is {} MB", mib(self.peak), mib(limit)),
        )
    }
}

fn no_runner(words: &str) -> Error {
    Error::new(Code::EngineUnavailable, words).hint("FFRTMP_RUNNER must name the ffrtmp-runner of this release")
}

fn describe(ended: Option<Ended>) -> String {
    use std::os::unix::process::ExitStatusExt;
    let Some(ended) = ended else { return "held by the kernel and could not be ended".into() };
    match (ended.status.code(), ended.status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (_, Some(signal)) => format!("ended by signal {signal} ({})", signal_name(signal)),
        _ => ended.status.to_string(),
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGABRT => "SIGABRT",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGILL => "SIGILL",
        libc::SIGSYS => "SIGSYS",
        libc::SIGKILL => "SIGKILL",
        libc::SIGTERM => "SIGTERM",
        libc::SIGINT => "SIGINT",
        libc::SIGHUP => "SIGHUP",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        _ => "a signal",
    }
}

/// What the child's libraries print on standard error, line by line.
#[derive(Default)]
struct Printed {
    rest: Vec<u8>,
    last: String,
}

impl Printed {
    /// Whole lines that arrived, and whether more may come.
    fn read(&mut self, from: &mut impl Read) -> (Vec<String>, bool) {
        let mut lines = Vec::new();
        let mut chunk = [0; 4096];
        // A child that prints without end must not keep the parent here.
        for _ in 0..16 {
            match from.read(&mut chunk) {
                Ok(0) => return (self.take(lines, usize::MAX), false),
                Ok(count) => self.rest.extend_from_slice(&chunk[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
            lines = self.take(lines, MAX_LINE);
        }
        (lines, true)
    }

    /// Moves whole lines, and an unfinished one that is longer than `patience`, out of the rest.
    fn take(&mut self, mut lines: Vec<String>, patience: usize) -> Vec<String> {
        let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let end = if self.rest.len() - whole > patience || patience == usize::MAX { self.rest.len() } else { whole };
        let text = String::from_utf8_lossy(&self.rest[..end]).into_owned();
        self.rest.drain(..end);
        lines.extend(text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned));
        if let Some(line) = lines.last() {
            self.last.clone_from(line);
        }
        lines
    }

    fn last_words(&self) -> String {
        if self.last.is_empty() { String::new() } else { format!(": {}", cut(&self.last)) }
    }
}

fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_LINE)]
}
