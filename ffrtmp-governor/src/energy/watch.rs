//! When to look at the meters: when an attempt is asked about, and in between while one lives, for
//! the counters turn over.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Governed, Usage};
use ffrtmp_core::node::{GpuClass, GpuTelemetry};

use crate::gpu::Fleet;
use crate::probe::process::Clocks;
use crate::probe::{Root, cpu, energy};

use super::EnergyOptions;
use super::books::{Books, GpuLook, Look};

/// Looks closer together than this tell nothing: processor time comes in ticks of 10 ms.
const SHORTEST: Duration = Duration::from_millis(50);

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
    guards: BTreeMap<u64, (Arc<dyn Governed>, Option<u32>)>,
    /// Whether a thread looks.
    watched: bool,
    closed: bool,
}

/// A guard with an account.
pub(crate) struct MeteredGuard {
    shared: Arc<Shared>,
    key: u64,
    gpu: bool,
    inner: Arc<dyn Governed>,
}

impl Watch {
    pub(crate) fn new(root: Root, options: &EnergyOptions, gpus: Option<Arc<Fleet>>) -> Self {
        let shared = Shared {
            packages: energy::read(&root).is_some(),
            root,
            clocks: Clocks::of_this_kernel(),
            options: options.clone(),
            gpus,
            started: Instant::now(),
            state: Mutex::default(),
            woken: Condvar::new(),
        };
        Self { shared: Arc::new(shared), thread: Mutex::default() }
    }

    /// Opens an account for what a guard governs.
    pub(crate) fn begin(&self, inner: Arc<dyn Governed>, gpu: Option<u32>) -> MeteredGuard {
        let shared = &self.shared;
        let gpu = gpu.filter(|_| shared.gpus.is_some());
        let cpu = inner.usage().cpu;
        let mut state = shared.state();
        if state.guards.is_empty() || gpu.is_some() {
            shared.look_at_all(&mut state, gpu.is_some());
        }
        let key = state.books.open(shared.started.elapsed(), cpu, gpu);
        state.guards.insert(key, (Arc::clone(&inner), gpu));
        if (shared.packages || gpu.is_some()) && !state.watched && !state.closed {
            state.watched = self.start_looking();
        }
        drop(state);
        MeteredGuard { shared: Arc::clone(shared), key, gpu: gpu.is_some(), inner }
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

    fn look_until_alone(&self) {
        let mut state = self.state();
        loop {
            let waited = self.woken.wait_timeout(state, self.options.look_every);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.closed || state.guards.is_empty() {
                state.watched = false;
                return;
            }
            self.look_at_all(&mut state, false);
        }
    }

    /// Settles what all attempts used until now. `gpu` says that one is about to drive a graphics
    /// processor.
    fn look_at_all(&self, state: &mut State, gpu: bool) {
        let gpu = gpu || state.guards.values().any(|(_, gpu)| gpu.is_some());
        if !self.packages && !gpu {
            return;
        }
        let State { books, guards, .. } = state;
        for (key, (guard, _)) in guards.iter() {
            books.worked(*key, guard.usage().cpu);
        }
        let times = self.root.text("proc/stat").and_then(|stat| cpu::parse_times(&stat));
        books.settle(Look {
            at: self.started.elapsed(),
            energy: energy::read(&self.root),
            cpu: times.map(|times| (self.clocks.time(times.busy), self.clocks.time(times.total))),
            gpus: self.gpus.as_deref().filter(|_| gpu).map(|fleet| self.cards(fleet)).unwrap_or_default(),
        });
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
        state.books.worked(self.key, usage.cpu);
        let now = self.shared.started.elapsed();
        if state.books.looked().is_some_and(|looked| now.saturating_sub(looked) >= SHORTEST) {
            self.shared.look_at_all(&mut state, false);
        }
        Usage { energy: state.books.of(self.key, now, self.shared.options.watts_per_core), ..usage }
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
        let metered = self.shared.packages || self.gpu;
        let cpu = metered.then(|| self.inner.usage().cpu);
        let mut state = self.shared.state();
        match cpu {
            Some(cpu) => state.books.close(self.key, cpu, self.shared.started.elapsed()),
            None => state.books.forget(self.key),
        }
        state.guards.remove(&self.key);
    }
}
