//! A workload under supervision, from its start or from when it was found, to its end.

use std::os::fd::{AsFd as _, BorrowedFd};
use std::time::{Duration, Instant, SystemTime};

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::{Limit, ProcessLimits};
use ffrtmp_core::policy::sla;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::Signal;

use super::family::Family;
use super::hold::{Hold, Standing};
use super::inbox::Letter;
use super::note::Note;
use super::process::{Grip, Identity};
use super::report::{Evidence, ExitReason, Report};
use super::sys;
use super::tally::Tally;
use crate::probe::Root;

/// What is asked of a supervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Name of the work, for the report.
    pub job_id: Option<String>,
    /// Whether the work counts for the service level.
    pub sla_eligible: bool,
    /// Limits on it and its children.
    pub limits: ProcessLimits,
    /// Wall time after which it is ended, counted from when supervision begins.
    pub timeout: Option<Duration>,
    /// Time between the request to end and the kill.
    pub grace: Duration,
    /// Whether it is ended when it uses more memory than a limit that nothing else enforces.
    pub end_over_memory: bool,
    /// Whether a limit that cannot be enforced is an error instead of being watched.
    pub strict: bool,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            job_id: None,
            sla_eligible: false,
            limits: ProcessLimits::default(),
            timeout: None,
            grace: Duration::from_secs(10),
            end_over_memory: false,
            strict: false,
        }
    }
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The workload has ended.
    Ended,
    /// The descriptor has something to read.
    Woken,
    /// The time is over.
    Elapsed,
}

/// How far its end has come.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Not,
    Asked { why: ExitReason, kill_at: Instant },
    Killed { why: ExitReason },
}

/// A workload under supervision. Dropped, it is let go: its limits are lifted and it lives on.
pub struct Supervised {
    order: Order,
    command: Vec<String>,
    grip: Grip,
    family: Family,
    hold: Hold,
    note: Option<Note>,
    is_child: bool,
    started_at: Timestamp,
    began: Instant,
    ending: Ending,
    tally: Tally,
    evidence: Option<Evidence>,
    ended: Option<(Timestamp, Duration)>,
    warnings: Vec<String>,
}

/// How often use is looked at.
const SAMPLE: Duration = Duration::from_secs(1);
/// The same when a limit is held by looking.
const WATCHFUL: Duration = Duration::from_millis(100);

impl Supervised {
    pub(super) fn new(
        order: Order,
        command: Vec<String>,
        grip: Grip,
        family: Family,
        hold: Hold,
        is_child: bool,
    ) -> Self {
        let tally = Tally::begin(&family, is_child);
        Self {
            order,
            command,
            grip,
            family,
            hold,
            note: None,
            is_child,
            started_at: now(),
            began: Instant::now(),
            ending: Ending::Not,
            tally,
            evidence: None,
            ended: None,
            warnings: Vec::new(),
        }
    }

    /// Id of the workload's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.grip.identity.pid
    }

    /// The workload's process for good.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.grip.identity
    }

    /// When supervision began.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// Readable once the workload has ended.
    #[must_use]
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.grip.as_fd()
    }

    /// The priority that was given and the one before, if it was changed.
    pub(super) fn changed_priority(&self) -> Option<(i32, i32)> {
        self.hold.changed_priority()
    }

    /// The same, with a note for whoever comes after the death of this program.
    pub(super) fn noted(mut self, root: &Root) -> Self {
        self.note = self.changed_priority().and_then(|change| Note::leave(root, self.identity(), change));
        self
    }

    /// The limits that were asked for, and how each stands.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        let timeout = self.order.timeout.map(|limit| Standing {
            limit: Limit::Timeout.to_string(),
            asked: format!("{} s", limit.as_secs_f64()),
            in_force: true,
            detail: "the supervisor ends it".into(),
        });
        self.hold.standings().iter().cloned().chain(timeout).collect()
    }

    /// Waits until the workload has ended and gives the report.
    ///
    /// # Errors
    /// `internal` if the kernel does not let it wait.
    pub fn wait(mut self) -> Result<Report> {
        while self.wait_until(None, None)? != Progress::Ended {}
        self.report()
    }

    /// Waits until the workload has ended, `wake` has something to read, or `until` has come; ends
    /// a workload meanwhile whose time is over.
    ///
    /// # Errors
    /// `internal` if the kernel does not let it wait.
    pub fn wait_until(&mut self, until: Option<Instant>, wake: Option<BorrowedFd<'_>>) -> Result<Progress> {
        loop {
            if self.look()? {
                return Ok(Progress::Ended);
            }
            let now = Instant::now();
            if until.is_some_and(|until| now >= until) {
                return Ok(Progress::Elapsed);
            }
            let next = [until, self.next_step(), Some(now + self.pace())].into_iter().flatten().min();
            if self.pause(next.unwrap_or(now).saturating_duration_since(now), wake)? {
                return Ok(Progress::Woken);
            }
        }
    }

    /// Hands a signal on to the workload as a shell would: those that ask to end go to all of its
    /// processes, others to the first.
    ///
    /// # Errors
    /// `storage` if the kernel refuses.
    pub fn forward(&self, letter: Letter) -> Result<()> {
        let shared = self.family.group.is_none() && self.is_child;
        if shared && !letter.by_process {
            return Ok(());
        }
        match letter.signal {
            Signal::INT | Signal::TERM | Signal::HUP | Signal::QUIT => {
                self.family.signal(letter.signal);
            }
            other => {
                self.grip.signal(other)?;
            }
        }
        Ok(())
    }

    /// Lets the workload go: its limits are lifted, it lives on.
    #[must_use]
    pub fn detach(mut self) -> Report {
        self.tally.look(&self.family);
        self.hold.count(self.tally.cpu());
        self.evidence = Some(Evidence { ended_for: Some(ExitReason::Detached), ..Evidence::default() });
        self.close()
    }

    /// The report on a workload that has ended.
    ///
    /// # Errors
    /// `internal` if it has not.
    pub fn report(self) -> Result<Report> {
        if self.evidence.is_none() {
            return Err(Error::new(Code::Internal, "the workload has not ended yet"));
        }
        Ok(self.close())
    }

    /// Looks at the workload once; whether it has ended.
    ///
    /// # Errors
    /// `internal` if a child cannot be waited for.
    pub fn look(&mut self) -> Result<bool> {
        if self.evidence.is_some() {
            return Ok(true);
        }
        if self.grip.has_ended() {
            self.conclude()?;
            return Ok(true);
        }
        self.reap_orphans();
        self.tally.look(&self.family);
        self.hold.count(self.tally.cpu());
        self.judge();
        self.step();
        Ok(false)
    }

    /// Decides whether the workload is to be ended.
    fn judge(&mut self) {
        if !matches!(self.ending, Ending::Not) {
            return;
        }
        if self.order.timeout.is_some_and(|limit| self.began.elapsed() >= limit) {
            self.ask(ExitReason::Timeout);
        } else if self.watches_memory() && self.order.limits.memory_bytes.is_some_and(|most| self.tally.memory() > most)
        {
            self.ask(ExitReason::PolicyViolation);
        }
    }

    fn watches_memory(&self) -> bool {
        let held = |standing: &Standing| standing.limit == Limit::Memory.as_str() && standing.in_force;
        self.order.end_over_memory && !self.hold.standings().iter().any(held)
    }

    fn ask(&mut self, why: ExitReason) {
        self.family.signal(Signal::TERM);
        // What is stopped hears nothing.
        self.family.signal(Signal::CONT);
        self.ending = Ending::Asked { why, kill_at: Instant::now() + self.order.grace };
    }

    /// Kills what was asked to end and did not.
    fn step(&mut self) {
        match self.ending {
            Ending::Asked { why, kill_at } if Instant::now() >= kill_at => {
                self.ending = Ending::Killed { why };
                self.kill();
            }
            // Processes that were born while it was killed.
            Ending::Killed { .. } => self.kill(),
            _ => {}
        }
    }

    fn kill(&mut self) {
        if let Err(error) = self.hold.kill() {
            self.warn(format!("its group cannot be killed at once: {error}"));
        }
        self.family.signal(Signal::KILL);
    }

    fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    fn next_step(&self) -> Option<Instant> {
        match self.ending {
            Ending::Not => self.order.timeout.and_then(|limit| self.began.checked_add(limit)),
            Ending::Asked { kill_at, .. } => Some(kill_at),
            Ending::Killed { .. } => Some(Instant::now() + WATCHFUL),
        }
    }

    fn pace(&self) -> Duration {
        if self.watches_memory() { WATCHFUL } else { SAMPLE }
    }

    /// Sleeps until the workload ends or `wake` has something to read; whether it was that.
    fn pause(&self, most: Duration, wake: Option<BorrowedFd<'_>>) -> Result<bool> {
        let mut asked = vec![PollFd::from_borrowed_fd(self.grip.as_fd(), PollFlags::IN)];
        asked.extend(wake.map(|wake| PollFd::from_borrowed_fd(wake, PollFlags::IN)));
        let timeout = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(most.subsec_nanos()),
        };
        match poll(&mut asked, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(asked.get(1).is_some_and(|wake| !wake.revents().is_empty())),
            Err(error) => Err(Error::new(Code::Internal, "the end of a process cannot be waited for").source(error)),
        }
    }

    /// Takes what there is to know of a workload that has ended.
    fn conclude(&mut self) -> Result<()> {
        self.tally.look(&self.family);
        self.ended = Some((now(), self.began.elapsed()));
        let status = if self.is_child { self.reap()? } else { self.grip.exit() };
        let ended_for = match self.ending {
            Ending::Not => None,
            Ending::Asked { why, .. } | Ending::Killed { why } => Some(why),
        };
        if ended_for.is_some() {
            self.sweep();
        }
        self.reap_orphans();
        self.hold.count(self.tally.cpu());
        let oom_kills = self.hold.usage().oom_kills;
        self.evidence = Some(Evidence { status, ended_for, oom_kills });
        Ok(())
    }

    fn reap(&mut self) -> Result<Option<i32>> {
        match sys::reap(self.pid()) {
            Ok(reaped) => Ok(reaped.map(|reaped| {
                self.tally.told(reaped.cpu, reaped.peak_memory_bytes);
                reaped.status
            })),
            Err(error) => Err(Error::new(Code::Internal, "the workload cannot be waited for").source(error)),
        }
    }

    /// Ends those who outlived a workload whose time was over.
    fn sweep(&mut self) {
        let until = Instant::now() + Duration::from_secs(2);
        loop {
            self.kill();
            self.reap_orphans();
            if self.family.members().is_empty() || Instant::now() >= until {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for orphans that became children of this process.
    fn reap_orphans(&mut self) {
        if self.family.orphans_of.is_none() {
            return;
        }
        let (own, head) = (std::process::id(), self.pid());
        let every = super::process::all(&Root::default());
        let ended = every.values().filter(|stat| stat.parent == own && stat.has_ended());
        for orphan in ended.map(|stat| stat.identity.pid).filter(|pid| *pid != head) {
            if let Ok(Some(reaped)) = sys::reap(orphan) {
                self.tally.lost(reaped.cpu);
            }
        }
    }

    fn close(mut self) -> Report {
        let evidence = self.evidence.take().unwrap_or_default();
        let (ended_at, took) = self.ended.unwrap_or_else(|| (now(), self.began.elapsed()));
        let usage = self.hold.usage();
        let limits = self.standings();
        let left_running = self.family.members().len();
        let reason = evidence.reason();
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.extend(self.hold.let_go(&self.family));
        if reason != ExitReason::Detached && left_running > 0 {
            warnings.push(format!("{left_running} of its processes live on, without limits"));
        }
        let peak = self.peak(usage.peak_memory_bytes);
        warnings.extend(self.excess(peak, &limits));
        Report {
            job_id: self.order.job_id.clone(),
            host: Root::default().text("proc/sys/kernel/hostname").unwrap_or_default().trim().to_owned(),
            pid: self.grip.identity.pid,
            command: std::mem::take(&mut self.command),
            started_at: self.started_at,
            ended_at,
            exit_reason: reason,
            exit_code: evidence.code(),
            signal: evidence.signal(),
            wall_seconds: took.as_secs_f64(),
            cpu_seconds: usage.cpu.max(self.tally.cpu()).as_secs_f64(),
            peak_memory_bytes: peak,
            throttled_seconds: usage.throttled.as_secs_f64(),
            oom_kills: usage.oom_kills,
            io_read_bytes: usage.io.map(|(read, _)| read),
            io_written_bytes: usage.io.map(|(_, written)| written),
            energy_joules: usage.energy.map(|(energy, _)| energy),
            energy_source: usage.energy.map(|(_, source)| source),
            limits,
            left_running,
            sla: sla::verdict_without_queue(self.order.sla_eligible, reason.failure(), took, self.order.timeout),
            warnings,
        }
    }

    /// The most memory that it used. Looks count what processes share for each; a group that holds a
    /// limit counts as the limit does.
    fn peak(&self, counted: u64) -> u64 {
        let held = |standing: &Standing| standing.limit == Limit::Memory.as_str() && standing.in_force;
        let is_limited = counted > 0 && self.hold.standings().iter().any(held);
        if is_limited { counted } else { counted.max(self.tally.peak()) }
    }

    /// A limit that nothing enforced and that was passed.
    fn excess(&self, peak: u64, limits: &[Standing]) -> Option<String> {
        let watched = limits.iter().any(|standing| standing.limit == Limit::Memory.as_str() && !standing.in_force);
        let most = self.order.limits.memory_bytes.filter(|most| watched && peak > *most)?;
        Some(format!("it used {peak} bytes of memory, more than its limit of {most}, which nothing enforces here"))
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        // What a report would say of it, nobody asked for.
        let _ = self.hold.let_go(&self.family);
    }
}

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
