//! The watcher: what a scan does, and what becomes of those that it found.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::os::fd::BorrowedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::{Limit, ResourceGovernor};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use serde::Serialize;

use super::rules::{Facts, Rule, Rules};
use super::state::{Remembered, StateFile};
use crate::probe::Root;
use crate::probe::process::Clocks;
use crate::supervise::attach::{Taking, take};
use crate::supervise::family::{add_children, ancestors};
use crate::supervise::hold::Standing;
use crate::supervise::home::{self, Governing};
use crate::supervise::process::{self, Identity, Stat};
use crate::supervise::report::Report;
use crate::supervise::supervised::{Order, Supervised};

/// How a watcher works.
#[derive(Clone, Debug, Default)]
pub struct WatchOptions {
    /// What is watched for.
    pub rules: Rules,
    /// File that remembers over restarts; none is kept without it.
    pub state: Option<PathBuf>,
    /// How often a process is tried again that could not be put under limits.
    pub retries: Retries,
}

/// Tries after one that failed; each waits twice as long as the one before, from a second to a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retries {
    /// Tries after the first.
    pub most: u32,
}

/// Something that a watcher did or saw.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A process is governed from now on.
    Attached {
        /// Its id.
        pid: u32,
        /// The rule that it fits.
        rule: String,
        /// Whether an earlier watcher governed it before.
        again: bool,
        /// How each limit stands.
        limits: Vec<Standing>,
    },
    /// A governed process has ended.
    Ended {
        /// What it did.
        report: Box<Report>,
    },
    /// A governed process was let go.
    Released {
        /// What it did so far.
        report: Box<Report>,
    },
    /// A process could not be governed.
    Failed {
        /// Its id.
        pid: u32,
        /// The rule that it fits.
        rule: String,
        /// Why.
        reason: String,
        /// Seconds until the next try; none follows without it.
        retry_seconds: Option<f64>,
    },
    /// Limits cannot be enforced here: processes are only observed.
    ObserveOnly {
        /// Why.
        reason: String,
    },
    /// The state file could not be read or written.
    StateLost {
        /// Why.
        reason: String,
    },
    /// Other rules were given that cannot be; the old ones stay.
    Refused {
        /// Why.
        reason: String,
    },
    /// More processes fit than are governed at once; the rest are left alone for now.
    TooMany {
        /// How many are governed.
        governed: usize,
    },
}

/// Most processes that are governed at once.
const MOST: usize = 1024;

/// Finds processes by rules and governs them. Dropped, it lets all of them go.
///
/// It never touches itself, those that started it, what it started, ffrtmp's own programs and what
/// those started, and processes that another ffrtmp governs.
pub struct Watcher {
    root: Root,
    rules: Rules,
    retries: Retries,
    governor: Arc<dyn ResourceGovernor>,
    governed: BTreeMap<Identity, Charge>,
    failing: BTreeMap<Identity, Failing>,
    earlier: BTreeMap<Identity, Remembered>,
    state: Option<StateFile>,
    pending: Vec<Event>,
    crowded: bool,
}

/// A process in the watcher's charge.
struct Charge {
    supervised: Supervised,
    rule: Rule,
    home: String,
    since: Timestamp,
}

struct Failing {
    tries: u32,
    next: Option<Instant>,
}

impl Watcher {
    /// A watcher that remembers what its state file does.
    ///
    /// # Errors
    /// `invalid_config` without rules; `invalid_field` for a limit that no machine can have;
    /// `storage` for a state file that cannot be used.
    pub fn new(options: WatchOptions, governor: Arc<dyn ResourceGovernor>) -> Result<Self> {
        let root = Root::default();
        let mut watcher = Self {
            root,
            rules: checked(options.rules)?,
            retries: options.retries,
            governor,
            governed: BTreeMap::new(),
            failing: BTreeMap::new(),
            earlier: BTreeMap::new(),
            state: None,
            pending: Vec::new(),
            crowded: false,
        };
        if let Some(path) = &options.state {
            let (file, state, damage) = StateFile::open(&watcher.root, path)?;
            let known = |one: Remembered| (Identity { pid: one.pid, started: one.started }, one);
            watcher.earlier = state.processes.into_iter().map(known).collect();
            watcher.state = Some(file);
            let lost = |reason| Event::StateLost { reason: format!("it was damaged and is set aside: {reason}") };
            watcher.pending.extend(damage.map(lost));
            // Opening has emptied the file: what it said is still true.
            watcher.save();
        }
        watcher.tell_if_powerless();
        Ok(watcher)
    }

    /// How many processes are governed now.
    #[must_use]
    pub fn governed(&self) -> usize {
        self.governed.len()
    }

    /// Looks at every process once: governs those that fit, reports those that ended.
    pub fn scan(&mut self) -> Vec<Event> {
        let every = process::all(&self.root);
        let mut changed = self.look();
        self.failing.retain(|identity, _| every.get(&identity.pid).is_some_and(|stat| stat.identity == *identity));
        let untouchable = Untouchable::among(&every);
        let mut candidates: Vec<&Stat> = every.values().filter(|stat| untouchable.allows(stat)).collect();
        candidates.sort_by_key(|stat| (stat.identity.started, stat.identity.pid));
        let up = uptime(&self.root);
        for stat in candidates {
            changed |= self.consider(stat, &every, up);
        }
        // Those that fit no rule any more, or ended while nobody looked.
        changed |= !self.earlier.is_empty();
        self.forget_earlier();
        if changed {
            self.save();
        }
        std::mem::take(&mut self.pending)
    }

    /// Writes the state file, which happens by itself whenever something changed.
    pub fn flush(&mut self) -> Vec<Event> {
        self.save();
        std::mem::take(&mut self.pending)
    }

    /// Waits until `until`, until a governed process ends, or until `wake` has something to read;
    /// whether it was that.
    ///
    /// # Errors
    /// `internal` if the kernel does not let it wait.
    pub fn pause(&self, until: Instant, wake: BorrowedFd<'_>) -> Result<bool> {
        let mut asked = vec![PollFd::from_borrowed_fd(wake, PollFlags::IN)];
        let grips = self.governed.values().map(|charge| charge.supervised.descriptor());
        asked.extend(grips.map(|grip| PollFd::from_borrowed_fd(grip, PollFlags::IN)));
        let most = until.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: i64::try_from(most.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(most.subsec_nanos()),
        };
        match poll(&mut asked, Some(&timeout)) {
            Ok(_) | Err(Errno::INTR) => Ok(asked.first().is_some_and(|wake| !wake.revents().is_empty())),
            Err(error) => Err(Error::new(Code::Internal, "processes cannot be waited for").source(error)),
        }
    }

    /// Reports those that have ended, without looking for others.
    pub fn ended(&mut self) -> Vec<Event> {
        if self.look() {
            self.save();
        }
        std::mem::take(&mut self.pending)
    }

    /// Follows other rules from now on. Processes whose limits change are let go; the next scan
    /// governs them anew.
    ///
    /// # Errors
    /// Those of [`Self::new`] about rules; the old ones stay then.
    pub fn reload(&mut self, rules: Rules) -> Result<Vec<Event>> {
        let rules = checked(rules)?;
        let stays = |charge: &Charge| {
            rules.0.iter().any(|rule| rule.name == charge.rule.name && rule.limits == charge.rule.limits)
        };
        let gone: Vec<_> =
            self.governed.iter().filter(|(_, charge)| !stays(charge)).map(|(identity, _)| *identity).collect();
        self.rules = rules;
        self.failing.clear();
        for identity in gone {
            self.let_go(identity);
        }
        self.save();
        Ok(std::mem::take(&mut self.pending))
    }

    /// Lets every process go: limits are lifted, priorities restored, the state is empty.
    pub fn release(&mut self) -> Vec<Event> {
        let every: Vec<_> = self.governed.keys().copied().collect();
        every.into_iter().for_each(|identity| self.let_go(identity));
        self.save();
        std::mem::take(&mut self.pending)
    }

    fn let_go(&mut self, identity: Identity) {
        if let Some(charge) = self.governed.remove(&identity) {
            let report = Box::new(charge.supervised.detach());
            self.pending.push(Event::Released { report });
        }
    }

    /// Looks at those that are governed; whether one has ended.
    fn look(&mut self) -> bool {
        let mut ended = Vec::new();
        for (identity, charge) in &mut self.governed {
            // A process that cannot be asked now is asked at the next look.
            if charge.supervised.look().unwrap_or(false) {
                ended.push(*identity);
            }
        }
        for identity in &ended {
            let report = self.governed.remove(identity).map(|charge| charge.supervised.report());
            if let Some(Ok(report)) = report {
                self.pending.push(Event::Ended { report: Box::new(report) });
            }
        }
        !ended.is_empty()
    }

    /// Governs a process if a rule means it; whether something changed.
    fn consider(&mut self, stat: &Stat, every: &BTreeMap<u32, Stat>, up: Duration) -> bool {
        if self.governed.contains_key(&stat.identity) || self.is_waiting(stat.identity) {
            return false;
        }
        let pid = stat.identity.pid;
        let program = process::program(&self.root, pid);
        let program = program.as_deref().and_then(|path| path.file_name()?.to_str());
        let Some(rule) = self.rules.by_name(&stat.name, program).cloned() else { return false };
        // Whoever descends from a governed process is governed with it.
        let line = ancestors(every, pid);
        if line.iter().any(|pid| self.governed.keys().any(|governed| governed.pid == *pid)) {
            return false;
        }
        if !rule.filters.allow(&self.facts(stat, program, every, up)) {
            return false;
        }
        let home = home::of(&self.root, pid);
        if matches!(home::governing(&self.root, &home), Governing::Living(_)) {
            return false;
        }
        if self.governed.len() >= MOST {
            self.tell_crowded();
            return false;
        }
        self.govern(stat.identity, rule, home)
    }

    fn govern(&mut self, identity: Identity, rule: Rule, home: String) -> bool {
        let earlier = self.earlier.get(&identity).cloned();
        let home = earlier.as_ref().map_or(home, |earlier| earlier.home.clone());
        let order = Order { limits: rule.limits.clone(), ..Order::default() };
        let taking = Taking { home: &home, nice: earlier.as_ref().and_then(|earlier| earlier.nice) };
        match take(&self.root, identity.pid, &order, self.governor.as_ref(), &taking) {
            Ok(supervised) if supervised.identity() == identity => {
                let (pid, limits) = (identity.pid, supervised.standings());
                let since = earlier.as_ref().map_or_else(|| supervised.started_at(), |earlier| earlier.since);
                self.pending.push(Event::Attached { pid, rule: rule.name.clone(), again: earlier.is_some(), limits });
                self.failing.remove(&identity);
                self.earlier.remove(&identity);
                self.governed.insert(identity, Charge { supervised, rule, home, since });
                true
            }
            // Its id was given to another process meanwhile: the next scan looks at that one.
            Ok(_) => false,
            Err(error) => {
                self.failed(identity, rule.name, &error);
                false
            }
        }
    }

    fn failed(&mut self, identity: Identity, rule: String, error: &Error) {
        let failing = self.failing.entry(identity).or_insert(Failing { tries: 0, next: None });
        let wait =
            (failing.tries < self.retries.most).then(|| Duration::from_secs(1 << failing.tries.min(6)).min(LONGEST));
        failing.tries += 1;
        failing.next = wait.map(|wait| Instant::now() + wait);
        let retry_seconds = wait.map(|wait| wait.as_secs_f64());
        let reason = format!("{error}; {}", error.hint_text());
        self.pending.push(Event::Failed { pid: identity.pid, rule, reason, retry_seconds });
    }

    /// Whether a process failed and its next try is not due, or none is left.
    fn is_waiting(&self, identity: Identity) -> bool {
        self.failing.get(&identity).is_some_and(|failing| failing.next.is_none_or(|next| Instant::now() < next))
    }

    fn facts(&self, stat: &Stat, program: Option<&str>, every: &BTreeMap<u32, Stat>, up: Duration) -> Facts {
        let pid = stat.identity.pid;
        Facts {
            name: stat.name.clone(),
            program: program.map(str::to_owned),
            user: process::owner(&self.root, pid),
            parent: stat.parent,
            parent_name: every.get(&stat.parent).map(|parent| parent.name.clone()).unwrap_or_default(),
            age: up.saturating_sub(Clocks::of_this_kernel().time(stat.identity.started)),
            directory: process::directory(&self.root, pid),
        }
    }

    /// Those of an earlier life that no rule means any more get back what they had.
    fn forget_earlier(&mut self) {
        for (identity, earlier) in std::mem::take(&mut self.earlier) {
            let order = Order::default();
            let taking = Taking { home: &earlier.home, nice: earlier.nice };
            let lives = process::stat(&self.root, identity.pid).is_some_and(|stat| stat.identity == identity);
            let taken = lives.then(|| take(&self.root, identity.pid, &order, self.governor.as_ref(), &taking));
            match taken {
                Some(Ok(supervised)) => self.pending.push(Event::Released { report: Box::new(supervised.detach()) }),
                Some(Err(error)) => self.failed(identity, earlier.rule, &error),
                None => {}
            }
        }
    }

    fn save(&mut self) {
        let Some(file) = &self.state else { return };
        let remembered = self.governed.iter().map(|(identity, charge)| Remembered {
            pid: identity.pid,
            started: identity.started,
            rule: charge.rule.name.clone(),
            since: charge.since,
            nice: charge.supervised.changed_priority(),
            home: charge.home.clone(),
        });
        let all = remembered.chain(self.earlier.values().cloned()).collect();
        if let Err(error) = file.write(all) {
            self.pending.push(Event::StateLost { reason: error.to_string() });
        }
    }

    fn tell_if_powerless(&mut self) {
        let guards = self.governor.limits();
        let needed = [Limit::Cpu, Limit::Memory].map(Limit::as_str);
        let off: Vec<_> = guards.iter().filter(|guard| !guard.on && needed.contains(&guard.name.as_str())).collect();
        if off.len() == needed.len() {
            let reason = off.first().map(|guard| guard.detail.clone()).unwrap_or_default();
            self.pending.push(Event::ObserveOnly { reason });
        }
    }

    fn tell_crowded(&mut self) {
        if !std::mem::replace(&mut self.crowded, true) {
            self.pending.push(Event::TooMany { governed: self.governed.len() });
        }
    }
}

/// Longest wait between two tries.
const LONGEST: Duration = Duration::from_secs(60);

impl Drop for Watcher {
    fn drop(&mut self) {
        // What it would tell, nobody asks for.
        let _ = self.release();
    }
}

fn checked(rules: Rules) -> Result<Rules> {
    if rules.0.is_empty() {
        return Err(Error::new(Code::InvalidConfig, "nothing is watched for")
            .field("target_commands")
            .hint("name programs, such as --target ffmpeg,gst-launch-1.0"));
    }
    for rule in &rules.0 {
        crate::supervise::hold::check(&rule.limits).map_err(|error| {
            let field = format!("{}: {}", rule.name, error.field_name().unwrap_or("limits"));
            let hint = error.hint_text().to_owned();
            Error::new(error.code(), error.message()).field(field).hint(hint)
        })?;
    }
    Ok(rules)
}

fn uptime(root: &Root) -> Duration {
    let text = root.text("proc/uptime").unwrap_or_default();
    let seconds = text.split(' ').next().and_then(|seconds| seconds.parse::<f64>().ok()).unwrap_or(0.0);
    Duration::try_from_secs_f64(seconds).unwrap_or_default()
}

/// Processes that no rule means, whatever it says.
struct Untouchable(std::collections::BTreeSet<u32>);

impl Untouchable {
    fn among(every: &BTreeMap<u32, Stat>) -> Self {
        let own = std::process::id();
        let is_ours = |stat: &&Stat| stat.identity.pid == own || OWN.contains(&stat.name.as_str());
        let mut pids = every.values().filter(is_ours).map(|stat| stat.identity.pid).collect();
        add_children(every, &mut pids);
        pids.extend(ancestors(every, own));
        pids.insert(1);
        Self(pids)
    }

    fn allows(&self, stat: &Stat) -> bool {
        !stat.kernel_thread && !stat.has_ended() && !self.0.contains(&stat.identity.pid)
    }
}

/// ffrtmp's own programs: what they run is governed already.
///
/// The last is `ffrtmp-runner-gstreamer` as the kernel cuts it.
const OWN: [&str; 5] = ["ffrtmp", "ffrtmp-agent", "ffrtmp-runner", "ffrtmp-master", "ffrtmp-runner-g"];

impl Display for Event {
    /// For people, as one line or, with a report, a few.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attached { pid, rule, again, limits } => {
                let again = if *again { " again" } else { "" };
                let powerless = !limits.is_empty() && limits.iter().all(|limit| !limit.in_force);
                let state = if powerless { "only watched" } else { "governed" };
                write!(f, "process {pid} ({rule}) is {state}{again}")?;
                limits.iter().try_for_each(|limit| {
                    write!(f, "; {} {}", limit.limit, limit.asked)?;
                    if limit.in_force { Ok(()) } else { write!(f, " is not in force: {}", limit.detail) }
                })
            }
            Self::Ended { report } | Self::Released { report } => report.fmt(f),
            Self::Failed { pid, rule, reason, retry_seconds } => {
                write!(f, "process {pid} ({rule}) cannot be governed: {reason}")?;
                match retry_seconds {
                    Some(seconds) => write!(f, "; next try in {seconds} s"),
                    None => write!(f, "; it is left alone"),
                }
            }
            Self::ObserveOnly { reason } => {
                write!(f, "limits cannot be enforced here, processes are only observed: {reason}")
            }
            Self::Refused { reason } => write!(f, "the rules stay as they were: {reason}"),
            Self::StateLost { reason } => write!(f, "the state is not kept: {reason}"),
            Self::TooMany { governed } => {
                write!(f, "{governed} processes are governed, which is the most; others are left alone")
            }
        }
    }
}
