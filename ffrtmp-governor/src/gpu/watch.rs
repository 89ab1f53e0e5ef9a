//! A source on a thread of its own. A driver may take seconds to wake a card and may hang for good
//! when one breaks; whoever asks waits for a while only and gets what was seen last.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::{Absence, Card, GpuSource};

/// Looks are asked for by whoever wants one; the thread ends when nobody can ask any more. A thread
/// that hangs in a driver cannot be ended and is left behind.
pub(super) struct Watch {
    name: &'static str,
    shared: Arc<Shared>,
    ask: SyncSender<()>,
}

/// What a source showed.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    pub cards: Result<Vec<Card>, Absence>,
    /// When the look began.
    pub at: Instant,
    /// For how long the look that is under way has not ended.
    pub silent_for: Option<Duration>,
}

struct Shared {
    state: Mutex<State>,
    answered: Condvar,
}

#[derive(Default)]
struct State {
    last: Option<(Instant, Result<Vec<Card>, Absence>)>,
    /// Since when a look is under way.
    looking: Option<Instant>,
}

impl Watch {
    pub(super) fn start(source: Box<dyn GpuSource>) -> Self {
        let name = source.name();
        let shared = Arc::new(Shared { state: Mutex::default(), answered: Condvar::new() });
        let (ask, asked) = sync_channel(1);
        let theirs = Arc::clone(&shared);
        let started = thread::Builder::new().name(format!("gpu-{name}")).spawn(move || theirs.serve(source, &asked));
        if let Err(error) = started {
            let absence = Absence {
                source: name,
                reason: format!("cannot start a thread: {error}"),
                hint: "raise the limit on threads".into(),
            };
            shared.state().last = Some((Instant::now(), Err(absence)));
        }
        Self { name, shared, ask }
    }

    /// What was seen no longer ago than `age`, or what is seen within `patience`, or what was seen
    /// last; `None` if nothing was seen yet.
    pub(super) fn look(&self, age: Duration, patience: Duration) -> Option<Seen> {
        let mut state = self.shared.state();
        let fresh = |state: &State| state.last.as_ref().is_some_and(|(at, _)| at.elapsed() < age);
        if !fresh(&state) {
            self.ask_once(&mut state);
            let waiting = |state: &mut State| state.looking.is_some();
            let waited = self.shared.answered.wait_timeout_while(state, patience, waiting);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let silent_for = state.looking.map(|since| since.elapsed());
        state.last.clone().map(|(at, cards)| Seen { cards, at, silent_for })
    }

    pub(super) const fn name(&self) -> &'static str {
        self.name
    }

    fn ask_once(&self, state: &mut State) {
        if state.looking.is_none() {
            match self.ask.try_send(()) {
                Ok(()) => state.looking = Some(Instant::now()),
                // The thread never started; what it would have seen is already said.
                Err(TrySendError::Full(()) | TrySendError::Disconnected(())) => {}
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, mut source: Box<dyn GpuSource>, asked: &Receiver<()>) {
        while asked.recv().is_ok() {
            let at = Instant::now();
            let cards = catch_unwind(AssertUnwindSafe(|| source.look())).unwrap_or_else(|_| Err(broken(&*source)));
            let mut state = self.state();
            state.last = Some((at, cards));
            state.looking = None;
            self.answered.notify_all();
        }
    }
}

fn broken(source: &dyn GpuSource) -> Absence {
    Absence {
        source: source.name(),
        reason: "the driver's library broke while it was asked".into(),
        hint: "install library and driver of the same version anew".into(),
    }
}
