//! From the threads of the session to one task: bounded, so that a reader who is slow slows the
//! session down, and open to a waker of any runtime.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use ffrtmp_core::error::Error;

/// Samples that wait for the reader: some hundred milliseconds of a ladder with sound.
const SIZE: usize = 64;

#[derive(Debug)]
pub(super) struct Mailbox<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    letters: VecDeque<T>,
    /// Nothing more comes; what went wrong, if something did, is told once.
    is_complete: bool,
    fault: Option<Error>,
    /// Nobody reads any more.
    is_abandoned: bool,
    reader: Option<Waker>,
}

impl<T> Default for Mailbox<T> {
    fn default() -> Self {
        let state = State {
            letters: VecDeque::with_capacity(SIZE),
            is_complete: false,
            fault: None,
            is_abandoned: false,
            reader: None,
        };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
}

impl<T> Mailbox<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts something in, waiting for room; without a reader it is dropped.
    pub(super) fn put(&self, letter: T) {
        let mut state = self.state();
        while state.letters.len() >= SIZE && !state.is_abandoned {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.is_abandoned {
            return;
        }
        state.letters.push_back(letter);
        Self::wake(state);
    }

    /// Nothing more comes.
    pub(super) fn complete(&self, fault: Option<Error>) {
        let mut state = self.state();
        if !state.is_complete {
            state.is_complete = true;
            state.fault = fault;
        }
        Self::wake(state);
    }

    /// Nobody reads any more: whoever waits for room goes on.
    pub(super) fn abandon(&self) {
        let mut state = self.state();
        state.is_abandoned = true;
        state.letters.clear();
        drop(state);
        self.changed.notify_all();
    }

    /// The oldest letter; `None` after the last one.
    pub(super) fn poll(&self, context: &mut Context<'_>) -> Poll<Option<Result<T, Error>>> {
        let mut state = self.state();
        if let Some(letter) = state.letters.pop_front() {
            drop(state);
            self.changed.notify_all();
            return Poll::Ready(Some(Ok(letter)));
        }
        if state.is_complete {
            return Poll::Ready(state.fault.take().map(Err));
        }
        state.reader = Some(context.waker().clone());
        Poll::Pending
    }

    fn wake(mut state: MutexGuard<'_, State<T>>) {
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}
