//! Watches over one child from the request to its end: passes orders down and news up, and ends it
//! when it takes too much memory, time or disk, or is told to.

use std::io;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Observer};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::{Governed, Usage};
use ffrtmp_core::live::LiveEvent;
use ffrtmp_core::node::Safeguard;
use rustix::process::Signal;

use super::child::{Child, End};
use super::disk::DiskWatch;
use super::memory::MemoryWatch;
use super::printed::{Printed, cut};
use super::verdict::{self, Circumstances, Doom};
use super::wire::{Answer, Broken, Inbox, Request, ToChild, ToParent, frame};

/// How often orders and bounds are looked at, and how often when the end is near.
const TICK: Duration = Duration::from_millis(40);
const LAST_TICKS: Duration = Duration::from_millis(10);
/// Time for a child to take a request.
const PATIENCE: Duration = Duration::from_secs(5);
/// A canceled child is asked; after this it is terminated; after [`KILL_AFTER`] killed. Encoders
/// take their time to close, and what they would still write is thrown away.
const TERMINATE_AFTER: Duration = Duration::from_millis(80);
const KILL_AFTER: Duration = Duration::from_millis(300);
/// Time between SIGKILL and the end, unless the kernel holds the process.
const DEATH: Duration = Duration::from_secs(2);
/// Time for a child that has said all to end by itself.
const FAREWELL: Duration = Duration::from_millis(500);
/// Lines that reach the job's log; a child could send them without end.
const MAX_LINES: u32 = 2000;

/// Under what conditions a request is worked on.
#[derive(Default)]
pub(super) struct Conditions {
    /// Wall time and the code of the error when it is over; for requests without a control.
    pub(super) time: Option<(Duration, Code)>,
    /// What it may take of the disk.
    pub(super) disk: Option<DiskWatch>,
    /// The limits that it is under.
    pub(super) governed: Option<Box<dyn Governed>>,
}

/// An answer and what it cost.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) answer: Answer,
    /// User and system CPU time of the child.
    pub(super) cpu: Duration,
    /// Largest resident memory in bytes.
    pub(super) peak_memory_bytes: u64,
    /// What its governor counted, if it had one.
    pub(super) usage: Option<Usage>,
    /// Layers of its sandbox.
    pub(super) sandbox: Vec<Safeguard>,
    /// Set if the child failed after its answer.
    pub(super) warning: Option<String>,
}

/// Sends the request and stays with the child until it has ended.
pub(super) fn ask(
    child: Child,
    request: Request,
    conditions: Conditions,
    control: &Control,
    observer: &dyn Observer,
) -> Result<Answered> {
    let memory = request.memory;
    if let Some(memory) = memory {
        let backstop = memory.saturating_add((memory / 2).max(1 << 30));
        child.bound_data(backstop).map_err(|error| {
            Error::new(Code::Storage, "cannot bound the memory of the runner").operation("isolated.limit").source(error)
        })?;
    }
    let request = frame(&ToChild::Begin(Box::new(request)));
    let request = request.map_err(|error| Error::new(Code::Internal, "the task fits no frame").source(error))?;
    // A child that is already gone shows itself as the end of the channel, with its own words.
    let _ = child.send(&request, PATIENCE);
    let mut attempt = Attempt {
        child,
        control,
        observer,
        memory: memory.map(MemoryWatch::over),
        conditions,
        inbox: Inbox::default(),
        printed: Printed::default(),
        sandbox: Vec::new(),
        halted: None,
        is_finishing: false,
        canceled: None,
        doom: None,
        lines: 0,
        started: Instant::now(),
    };
    let ending = attempt.follow();
    attempt.close(ending)
}

struct Attempt<'a> {
    child: Child,
    control: &'a Control,
    observer: &'a dyn Observer,
    memory: Option<MemoryWatch>,
    conditions: Conditions,
    inbox: Inbox,
    printed: Printed,
    sandbox: Vec<Safeguard>,
    /// Who holds it still.
    halted: Option<Halted>,
    /// It was told to end well.
    is_finishing: bool,
    canceled: Option<Canceled>,
    doom: Option<Doom>,
    lines: u32,
    started: Instant,
}

#[derive(Clone, Copy)]
enum Halted {
    ByGovernor,
    BySignal,
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
            let is_ending = self.canceled.is_some() || self.doom.is_some();
            let news = self.child.await_news(if is_ending { LAST_TICKS } else { TICK });
            if news.printed {
                self.read_printed();
            }
            match news.said.then(|| self.read_news()).flatten() {
                Some(ending) => return ending,
                // Somebody it left behind may hold the channel open.
                None if news.ended => return Ending::Gone,
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
        if self.control.is_finishing() && !self.is_finishing {
            self.finish();
        }
        match (self.control.is_paused(), self.halted) {
            (true, None) => self.halt(),
            (false, Some(_)) => self.go_on(),
            _ => {}
        }
    }

    /// Stops the whole group, whatever it does; the order before makes an engine stop its clocks.
    fn halt(&mut self) {
        self.order(&ToChild::Pause);
        self.halted = Some(match self.govern(|governed| governed.freeze(true)) {
            true => Halted::ByGovernor,
            false => {
                self.child.signal(Signal::STOP);
                Halted::BySignal
            }
        });
    }

    fn go_on(&mut self) {
        self.thaw();
        self.order(&ToChild::Resume);
    }

    fn finish(&mut self) {
        self.order(&ToChild::Finish);
        self.is_finishing = true;
    }

    fn thaw(&mut self) {
        match self.halted.take() {
            Some(Halted::ByGovernor) => drop(self.govern(|governed| governed.freeze(false))),
            Some(Halted::BySignal) => self.child.signal(Signal::CONT),
            None => {}
        }
    }

    /// Whether the governor did it; what it cannot do is done with signals.
    fn govern(&self, act: impl Fn(&dyn Governed) -> Result<bool>) -> bool {
        let Some(governed) = &self.conditions.governed else { return false };
        act(&**governed).unwrap_or_else(|error| {
            tracing::warn!(pid = self.child.pid(), %error, "the governor cannot act on the runner; signals must do");
            false
        })
    }

    fn kill(&mut self) {
        self.govern(|governed| governed.kill());
        self.child.signal(Signal::KILL);
        // Some kernels deliver nothing, not even this, to what is frozen.
        self.thaw();
    }

    fn press_cancel(&mut self) {
        let Some(Canceled { at, sent }) = self.canceled else {
            self.thaw();
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
            match due {
                Sent::Kill => self.kill(),
                _ => self.child.signal(Signal::TERM),
            }
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
        let is_too_large = self.memory.as_mut().is_some_and(|memory| memory.look(&mut self.child));
        self.doom = match self.conditions.time {
            _ if is_too_large => Some(Doom::Memory),
            Some((limit, code)) if self.started.elapsed() > limit => Some(Doom::Time(code)),
            _ => self.conditions.disk.as_mut().and_then(DiskWatch::look).map(Doom::Disk),
        };
        if self.doom.is_some() {
            self.kill();
        }
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
            ToParent::Confined(layers) => self.sandbox = layers,
            ToParent::Progress(progress) => self.observer.progress(progress),
            ToParent::Log { level, text } => self.log(&level, &text),
            ToParent::Event(event) => self.event(event),
            ToParent::Done(answer) => return Some(Ending::Answered(answer)),
            ToParent::Failed(error) => return Some(Ending::Failed(error.into())),
        }
        None
    }

    fn event(&mut self, event: LiveEvent) {
        self.lines += 1;
        if self.lines < MAX_LINES {
            self.observer.event(&LiveEvent::new(event.kind, cut(&event.text)));
        }
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
        let patience = match &ending {
            // Nobody waits for what a canceled one tidies up.
            Ending::Failed(_) if self.canceled.is_some() => Duration::ZERO,
            Ending::Answered(_) | Ending::Failed(_) => FAREWELL,
            Ending::Gone => DEATH,
            Ending::Broken(_) | Ending::Stuck => Duration::ZERO,
        };
        let mut end = self.child.await_end(patience);
        if end.is_none() {
            self.kill();
            end = self.child.await_end(DEATH);
        }
        if end.is_none() {
            tracing::error!(pid = self.child.pid(), "a killed runner does not end; the kernel holds it");
        }
        self.read_printed();
        let usage = self.conditions.governed.take().map(|governed| governed.usage());
        if !matches!(ending, Ending::Answered(_)) {
            self.observer.used(&self.used(end, usage));
        }
        match ending {
            Ending::Answered(answer) => Ok(self.answered(*answer, end, usage)),
            Ending::Failed(error) if self.canceled.is_none() => Err(error),
            Ending::Broken(broken) => Err(verdict::broken(&broken)),
            Ending::Failed(_) | Ending::Gone | Ending::Stuck => Err(self.lost(end, usage)),
        }
    }

    fn answered(self, answer: Answer, end: Option<End>, usage: Option<Usage>) -> Answered {
        let told = match end {
            Some(End::Told(ended)) => Some(ended),
            _ => None,
        };
        let clean = told.is_some_and(|ended| ended.status().success());
        Answered {
            answer,
            cpu: told.map_or(Duration::ZERO, |ended| ended.cpu),
            peak_memory_bytes: told.map_or(0, |ended| ended.max_resident_bytes).max(self.seen()),
            usage,
            sandbox: self.sandbox,
            warning: (!clean).then(|| format!("the runner {} after its work", verdict::describe(end))),
        }
    }

    /// What the child used, by all who counted.
    fn used(&self, end: Option<End>, usage: Option<Usage>) -> Usage {
        let usage = usage.unwrap_or_default();
        let (cpu, memory) = match end {
            Some(End::Told(ended)) => (ended.cpu, ended.max_resident_bytes),
            _ => (Duration::ZERO, 0),
        };
        let peak_memory_bytes = usage.peak_memory_bytes.max(memory).max(self.seen());
        Usage { cpu: usage.cpu.max(cpu), peak_memory_bytes, ..usage }
    }

    /// Most bytes of memory that were seen.
    fn seen(&self) -> u64 {
        self.memory.as_ref().map_or(0, MemoryWatch::peak)
    }

    /// The error for a child that ended without a word.
    fn lost(self, end: Option<End>, usage: Option<Usage>) -> Error {
        let known = match end {
            Some(End::Told(ended)) => ended.max_resident_bytes,
            _ => 0,
        };
        let limit = self.memory.as_ref().map(MemoryWatch::limit);
        let peak = known.max(self.seen()).max(usage.map_or(0, |usage| usage.peak_memory_bytes));
        Circumstances {
            canceled: self.canceled.is_some(),
            doom: self.doom,
            end,
            memory: (limit, peak),
            max_file_bytes: self.conditions.disk.as_ref().and_then(DiskWatch::most),
            out_of_memory: usage.is_some_and(|usage| usage.oom_kills > 0),
            last_words: self.printed.last_words(),
        }
        .into_error()
    }
}
