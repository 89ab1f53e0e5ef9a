//! When to look at the meters: when an attempt is asked about, and in between while one lives, for
//! the counters turn over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Governed, ProcessLimits, Usage};
use ffrtmp_core::node::{GpuClass, GpuTelemetry};

use crate::gpu::Fleet;
use crate::probe::process::Clocks;
use crate::probe::{Root, cpu, energy};

use super::EnergyOptions;
use super::books::{Books, GpuLook, Look};

/// Looks closer together than this tell nothing: processor time comes in ticks of 10 ms.
const SHORTEST: Duration = Duration::from_millis(50);
/// Time between two looks while nothing works: shorter than any counter takes to turn over.
const LONGEST: Duration = Duration::from_secs(60);

/// Watches the meters of one machine.
pub(crate) struct Watch {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    root: Root,
    clocks: Clocks,
    options: EnergyOptions,
    gpus: Option<Arc<Fleet>>,
    /// Whether the packages have a meter that can be read.
    packages: bool,
    started: Instant,
    state: Mutex<State>,
    woken: Condvar,
}

#[derive(Default)]
struct State {
    books: Books,
    guards: BTreeMap<u64, Arc<dyn Governed>>,
    /// Guards of those that drive a graphics processor.
    on_gpus: BTreeSet<u64>,
    /// Whether a thread looks.
    watched: bool,
    /// Whether it looks seldom.
    drowsy: bool,
    closed: bool,
}

/// A guard with an account.
pub(crate) struct MeteredGuard {
    shared: Arc<Shared>,
    key: u64,
    inner: Arc<dyn Governed>,
}

impl Watch {
    pub(crate) fn new(root: Root, options: &EnergyOptions, gpus: Option<Arc<Fleet>>) -> Self {
        let shared = Shared {
            packages: energy::read(&root).is_some(),
            root,
            clocks: Clocks::of_this_kernel(),
            options: options.clone(),
            gpus: gpus.filter(|fleet| !fleet.cards().is_empty()),
            started: Instant::now(),
            state: Mutex::default(),
            woken: Condvar::new(),
        };
        Self { shared: Arc::new(shared), thread: Mutex::default() }
    }

    /// Opens an account for what a guard governs.
    pub(crate) fn begin(&self, inner: Arc<dyn Governed>, gpu: Option<u32>) -> MeteredGuard {
        let shared = &self.shared;
        let cpu = inner.usage().cpu;
        let mut state = shared.state();
        if state.guards.is_empty() {
            shared.look(&mut state);
        }
        let key = state.books.open(shared.started.elapsed(), cpu, None);
        state.guards.insert(key, Arc::clone(&inner));
        shared.drives(&mut state, key, gpu);
        shared.rouse(&state);
        if shared.has_meters() && !state.watched && !state.closed {
            state.watched = self.start_looking();
        }
        drop(state);
        MeteredGuard { shared: Arc::clone(shared), key, inner }
    }

    /// A machine that gives no thread is looked at only when an attempt is asked about.
    fn start_looking(&self) -> bool {
        let shared = Arc::clone(&self.shared);
        let thread = thread::Builder::new().name("ffrtmp-energy".into()).spawn(move || shared.look_until_alone());
        let mut slot = self.thread.lock().unwrap_or_else(PoisonError::into_inner);
        *slot = thread.ok();
        slot.is_some()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.state().closed = true;
        self.shared.woken.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // It has nothing to say, and a panic in it was told already.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_meters(&self) -> bool {
        self.packages || self.gpus.is_some()
    }

    fn look_until_alone(&self) {
        let mut pause = self.options.look_every;
        let mut state = self.state();
        loop {
            let (woken, waited) = self.woken.wait_timeout(state, pause).unwrap_or_else(PoisonError::into_inner);
            state = woken;
            if state.closed || state.guards.is_empty() {
                state.watched = false;
                return;
            }
            let idle = !self.look(&mut state) && waited.timed_out();
            pause = if idle { LONGEST.min(pause * 2).max(self.options.look_every) } else { self.options.look_every };
            state.drowsy = idle;
        }
    }

    /// Settles what all attempts used until now, and tells whether any has worked since the look
    /// before. Without a meter there is nothing to settle.
    fn look(&self, state: &mut State) -> bool {
        if !self.packages && state.on_gpus.is_empty() {
            return false;
        }
        let State { books, guards, on_gpus, .. } = state;
        let worked = guards.iter().fold(false, |any, (key, guard)| books.worked(*key, guard.usage().cpu) || any);
        let times = self.root.text("proc/stat").and_then(|stat| cpu::parse_times(&stat));
        books.settle(Look {
            at: self.started.elapsed(),
            energy: energy::read(&self.root),
            cpu: times.map(|times| (self.clocks.time(times.busy), self.clocks.time(times.total))),
            gpus: self
                .gpus
                .as_deref()
                .filter(|_| !on_gpus.is_empty())
                .map(|fleet| self.cards(fleet))
                .unwrap_or_default(),
        });
        worked
    }

    fn rouse(&self, state: &State) {
        if state.drowsy {
            self.woken.notify_all();
        }
    }

    /// From now on an attempt drives a graphics processor; how that is now is where its part begins.
    fn drives(&self, state: &mut State, key: u64, gpu: Option<u32>) {
        if let Some(gpu) = gpu.filter(|_| self.gpus.is_some()) {
            state.books.drives(key, gpu);
            state.on_gpus.insert(key);
            self.look(state);
        }
    }

    /// Cards that are a part of the processor are left out: its counters hold their energy.
    fn cards(&self, fleet: &Fleet) -> BTreeMap<u32, GpuLook> {
        let used = fleet.energy();
        let look = fleet.look();
        let at = look.at.saturating_duration_since(self.started);
        let of_its_own =
            |index| fleet.cards().iter().any(|card| card.index == index && card.class != GpuClass::Integrated);
        let card = |now: &GpuTelemetry| GpuLook {
            at,
            joules: used.get(&now.index).map(|used| used.0),
            watts: now.power_watts,
            sessions: now.encode_sessions.unwrap_or(0),
        };
        look.cards.iter().filter(|now| of_its_own(now.index)).map(|now| (now.index, card(now))).collect()
    }
}

impl Governed for MeteredGuard {
    fn usage(&self) -> Usage {
        let usage = self.inner.usage();
        let mut state = self.shared.state();
        let now = self.shared.started.elapsed();
        if state.books.looked().is_none_or(|looked| now.saturating_sub(looked) >= SHORTEST) {
            self.shared.look(&mut state);
        }
        state.books.worked(self.key, usage.cpu);
        Usage { energy: state.books.of(self.key, now, self.shared.options.watts_per_core), ..usage }
    }

    fn count(&self, cpu: Duration) {
        self.inner.count(cpu);
    }

    /// A process that was in reserve begins to work now.
    fn limit(&self, limits: &ProcessLimits) -> Result<bool> {
        let limited = self.inner.limit(limits)?;
        if self.shared.has_meters() {
            let mut state = self.shared.state();
            self.shared.drives(&mut state, self.key, limits.gpu);
            self.shared.rouse(&state);
        }
        Ok(limited)
    }

    fn freeze(&self, frozen: bool) -> Result<bool> {
        self.inner.freeze(frozen)
    }

    fn kill(&self) -> Result<bool> {
        self.inner.kill()
    }
}

impl Drop for MeteredGuard {
    /// Leaves the last handle to the guard inside here, so that the limits are lifted when this
    /// returns and not by the thread that looks.
    fn drop(&mut self) {
        let metered = self.shared.has_meters();
        let cpu = metered.then(|| self.inner.usage().cpu);
        let mut state = self.shared.state();
        match cpu {
            Some(cpu) => state.books.close(self.key, cpu, self.shared.started.elapsed()),
            None => state.books.forget(self.key),
        }
        state.guards.remove(&self.key);
        state.on_gpus.remove(&self.key);
    }
}
