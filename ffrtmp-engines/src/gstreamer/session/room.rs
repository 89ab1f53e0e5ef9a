//! Room for what is pushed: whoever finds none waits, on a thread or as a task, until there is
//! some or the session is over.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use ffrtmp_core::error::{Code, Error, Result};

/// Samples of one kind that wait, and those who wait for fewer.
#[derive(Debug)]
pub(super) struct Room {
    size: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    taken: usize,
    is_over: bool,
    wakers: Vec<Waker>,
}

impl Room {
    pub(super) fn new(size: usize) -> Self {
        Self { size, state: Mutex::default(), changed: Condvar::new() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for room, at most so long; whether there is some.
    ///
    /// # Errors
    /// `wrong_state` once the session is over.
    pub(super) fn wait(&self, patience: Duration) -> Result<bool> {
        let until = Instant::now() + patience;
        let mut state = self.state();
        loop {
            if state.is_over {
                return Err(over());
            }
            if state.taken < self.size {
                return Ok(true);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(false);
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The same for a task.
    pub(super) fn poll(&self, waker: &Waker) -> Poll<Result<()>> {
        let mut state = self.state();
        if state.is_over {
            return Poll::Ready(Err(over()));
        }
        if state.taken < self.size {
            return Poll::Ready(Ok(()));
        }
        if !state.wakers.iter().any(|known| known.will_wake(waker)) {
            state.wakers.push(waker.clone());
        }
        Poll::Pending
    }

    /// One more waits.
    pub(super) fn enter(&self) {
        self.state().taken += 1;
    }

    /// One went on.
    pub(super) fn leave(&self) {
        self.wake(|state| state.taken = state.taken.saturating_sub(1));
    }

    /// Nothing enters any more.
    pub(super) fn close(&self) {
        self.wake(|state| state.is_over = true);
    }

    fn wake(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state();
        change(&mut state);
        let wakers = std::mem::take(&mut state.wakers);
        drop(state);
        self.changed.notify_all();
        wakers.into_iter().for_each(Waker::wake);
    }
}

pub(super) fn over() -> Error {
    Error::new(Code::WrongState, "the live session is over").hint("start a new one; this one takes nothing more")
}
