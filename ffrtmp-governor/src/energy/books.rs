//! Intervals between looks at the meters, and what each attempt got of them. Reads nothing by
//! itself: looks come from outside, so that any sequence of them can be tried.

use std::collections::BTreeMap;
use std::time::Duration;

use ffrtmp_core::job::EnergySource;
use ffrtmp_core::units::Joules;

use crate::probe::energy::Energy;

#[cfg(test)]
mod tests;

use super::split::{GpuInterval, Interval, Part, split, split_gpu};

/// No node uses more, in watts; a counter that says so was set back, as by a sleep of the machine.
const MOST_WATTS: f64 = 20_000.0;
/// A meter that was silent for so long is lost; what is worked meanwhile is modelled.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// One look at the meters of a node.
#[derive(Clone, Debug, Default)]
pub(crate) struct Look {
    /// By a clock that does not run back; if it does, no time has passed.
    pub(crate) at: Duration,
    /// Counters of the processor packages, if they could be read.
    pub(crate) energy: Option<Energy>,
    /// Time that processors worked, and could have worked, since the machine started.
    pub(crate) cpu: Option<(Duration, Duration)>,
    /// By index of the graphics processor.
    pub(crate) gpus: BTreeMap<u32, GpuLook>,
}

/// A graphics processor at a look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GpuLook {
    /// When its driver was asked, which may be before the look.
    pub(crate) at: Duration,
    /// Joules that it has used, if it counts them.
    pub(crate) joules: Option<f64>,
    /// Its power.
    pub(crate) watts: Option<f64>,
    /// Encode sessions on it, of every program; 0 if it does not tell.
    pub(crate) sessions: u32,
}

/// What one attempt got so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Account {
    gpu: Option<u32>,
    since: Duration,
    until: Option<Duration>,
    /// Processor time that it had used before.
    opened: Duration,
    /// Processor time of it that is settled.
    settled: Duration,
    /// Processor time as of now.
    cpu: Duration,
    joules: f64,
    gpu_joules: f64,
    metered: bool,
    gpu_metered: bool,
}

/// Every attempt of a node.
#[derive(Debug, Default)]
pub(crate) struct Books {
    last: Option<Look>,
    last_gpus: BTreeMap<u32, GpuLook>,
    /// Least power seen of each graphics processor.
    least: BTreeMap<u32, f64>,
    accounts: BTreeMap<u64, Account>,
    next: u64,
}

impl Books {
    /// Opens the account of an attempt that has used this much before.
    pub(crate) fn open(&mut self, at: Duration, cpu: Duration, gpu: Option<u32>) -> u64 {
        let account = Account { gpu, since: at, opened: cpu, settled: cpu, cpu, ..Account::default() };
        self.next += 1;
        self.accounts.insert(self.next, account);
        self.next
    }

    /// Tells how long processors worked for an attempt, and whether they did since the last time.
    /// Time that runs back is no time.
    pub(crate) fn worked(&mut self, key: u64, cpu: Duration) -> bool {
        let account = self.accounts.get_mut(&key).filter(|account| account.until.is_none() && account.cpu < cpu);
        account.map(|account| account.cpu = cpu).is_some()
    }

    /// Which graphics processor an attempt drives from now on.
    pub(crate) fn drives(&mut self, key: u64, gpu: u32) {
        if let Some(account) = self.accounts.get_mut(&key) {
            account.gpu = Some(gpu);
        }
    }

    /// An attempt has ended. Until the next look it still has its share, so that others do not get
    /// it.
    pub(crate) fn close(&mut self, key: u64, cpu: Duration, at: Duration) {
        self.worked(key, cpu);
        if let Some(account) = self.accounts.get_mut(&key) {
            account.until = Some(at);
        }
    }

    /// Drops an account on which nobody else's share depends.
    pub(crate) fn forget(&mut self, key: u64) {
        self.accounts.remove(&key);
    }

    /// When the last look was that told of the packages.
    pub(crate) fn looked(&self) -> Option<Duration> {
        self.last.as_ref().map(|look| look.at)
    }

    /// Settles the time since the look before. A look that tells nothing is passed over: the
    /// interval goes on.
    pub(crate) fn settle(&mut self, look: Look) {
        self.forget_ended(look.at);
        self.settle_gpus(&look);
        if look.energy.is_none() {
            return;
        }
        if let Some(before) = self.last.take() {
            self.settle_packages(&before, &look);
        }
        for account in self.accounts.values_mut() {
            account.settled = account.cpu;
        }
        self.last = Some(look);
    }

    /// Energy of an attempt at this time, and how it was found.
    pub(crate) fn of(&self, key: u64, at: Duration, watts_per_core: f64) -> Option<(Joules, EnergySource)> {
        let account = self.accounts.get(&key)?;
        let modelled = |since| account.cpu.saturating_sub(since).as_secs_f64() * watts_per_core;
        let silent = self.looked().is_none_or(|looked| at.saturating_sub(looked) > LOST_AFTER);
        let all = account.joules + account.gpu_joules;
        Some(match (account.metered, account.gpu_metered) {
            (false, _) => (Joules(all + modelled(account.opened)), EnergySource::Modelled),
            (true, _) if silent => (Joules(all + modelled(account.settled)), EnergySource::Modelled),
            (true, true) => (Joules(all), EnergySource::RaplNvml),
            (true, false) => (Joules(all), EnergySource::Rapl),
        })
    }

    /// Attempts that had ended at the last look have their share, and those of a meter that is lost
    /// get none.
    fn forget_ended(&mut self, at: Duration) {
        let last = self.looked().unwrap_or_default().max(at.saturating_sub(LOST_AFTER));
        self.accounts.retain(|_, account| account.until.is_none_or(|until| until > last));
    }

    fn settle_packages(&mut self, before: &Look, now: &Look) {
        let used = now.energy.as_ref().zip(before.energy.as_ref()).and_then(|(now, before)| now.since(before));
        let elapsed = now.at.saturating_sub(before.at);
        let Some(joules) = used.map(|used| used.0).filter(|joules| plausible(*joules, elapsed)) else { return };
        let interval = interval(joules, before, now, elapsed);
        let part = |account: &Account| Part {
            cpu: account.cpu.saturating_sub(account.settled).as_secs_f64(),
            presence: account.presence(before.at, now.at),
        };
        let parts: Vec<_> = self.accounts.values().map(part).collect();
        for (account, share) in self.accounts.values_mut().zip(split(&interval, &parts)) {
            account.joules += share;
            account.metered = true;
        }
    }

    fn settle_gpus(&mut self, look: &Look) {
        for (gpu, now) in &look.gpus {
            if let Some(watts) = now.watts.filter(|watts| *watts >= 0.0) {
                self.seen_using(*gpu, watts);
            }
            if let Some(before) = self.last_gpus.insert(*gpu, *now) {
                self.settle_gpu(*gpu, &before, now);
            }
        }
    }

    fn seen_using(&mut self, gpu: u32, watts: f64) -> f64 {
        let least = self.least.entry(gpu).or_insert(watts);
        *least = least.min(watts);
        *least
    }

    fn settle_gpu(&mut self, gpu: u32, before: &GpuLook, now: &GpuLook) {
        let elapsed = now.at.saturating_sub(before.at);
        let Some(joules) = now.since(before, elapsed).filter(|joules| plausible(*joules, elapsed)) else { return };
        let seconds = elapsed.as_secs_f64();
        let idle = self.seen_using(gpu, joules / seconds) * seconds;
        let interval = GpuInterval { joules, idle, sessions: now.sessions };
        let mut accounts: Vec<_> = self.accounts.values_mut().filter(|account| account.gpu == Some(gpu)).collect();
        let presences: Vec<_> = accounts.iter().map(|account| account.presence(before.at, now.at)).collect();
        for (account, share) in accounts.iter_mut().zip(split_gpu(&interval, &presences)) {
            account.gpu_joules += share;
            account.gpu_metered = true;
        }
    }
}

impl GpuLook {
    /// By its counter, or else by its power at both ends.
    fn since(&self, before: &Self, elapsed: Duration) -> Option<f64> {
        let counted = self.joules.zip(before.joules).map(|(now, before)| now - before);
        let powered = || Some(f64::midpoint(self.watts?, before.watts?) * elapsed.as_secs_f64());
        (!elapsed.is_zero()).then(|| counted.or_else(powered)).flatten()
    }
}

impl Account {
    /// Share of an interval for which the attempt was there.
    fn presence(&self, from: Duration, to: Duration) -> f64 {
        let length = to.saturating_sub(from).as_secs_f64();
        let there = self.until.unwrap_or(to).min(to).saturating_sub(self.since.max(from)).as_secs_f64();
        if length > 0.0 { there / length } else { 0.0 }
    }
}

fn plausible(joules: f64, elapsed: Duration) -> bool {
    (0.0..=MOST_WATTS * elapsed.as_secs_f64()).contains(&joules)
}

/// Without times of the processors all of them count as busy: attempts get no part of what may
/// have been idle.
fn interval(joules: f64, before: &Look, now: &Look, elapsed: Duration) -> Interval {
    let times = now.cpu.zip(before.cpu).map(|((busy, all), (busy_before, all_before))| {
        (busy.saturating_sub(busy_before).as_secs_f64(), all.saturating_sub(all_before).as_secs_f64())
    });
    let (busy, capacity) = times.unwrap_or((elapsed.as_secs_f64(), elapsed.as_secs_f64()));
    Interval { joules, busy, capacity }
}
