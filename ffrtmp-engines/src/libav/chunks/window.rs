//! Which chunk is encoded next, and when a finished one may be written.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ffrtmp_core::engine::Control;
use ffrtmp_core::error::{Code, Error, Result};

/// Chunks per worker that are encoded or wait to be written.
const AHEAD: usize = 4;
/// How often a wait looks whether the attempt was told to stop.
const LOOK: Duration = Duration::from_millis(20);

/// Chunks on their way from the workers to the writer. Workers take the longest chunk of a window
/// that moves on with the writer, so what waits is bounded and the last chunks are short ones.
pub(super) struct Window<T> {
    /// Pictures of each chunk.
    lengths: Vec<u64>,
    ahead: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    slots: Vec<Slot<T>>,
    /// The chunk that the writer waits for.
    next: usize,
    failure: Option<Error>,
    /// Nobody works any more.
    closed: bool,
}

enum Slot<T> {
    Waiting,
    Taken,
    Done(T),
    Written,
}

impl<T> Window<T> {
    pub(super) fn new(lengths: Vec<u64>, workers: usize) -> Self {
        let slots = lengths.iter().map(|_| Slot::Waiting).collect();
        let state = State { slots, next: 0, failure: None, closed: false };
        Self { lengths, ahead: AHEAD * workers.max(1), state: Mutex::new(state), changed: Condvar::new() }
    }

    /// The next chunk for a worker; `None` when there is no more work.
    pub(super) fn take(&self) -> Option<usize> {
        let mut state = self.lock();
        loop {
            if state.closed || !state.slots.iter().any(|slot| matches!(slot, Slot::Waiting)) {
                return None;
            }
            let window = state.next..(state.next + self.ahead).min(state.slots.len());
            let free = window.filter(|index| matches!(state.slots[*index], Slot::Waiting));
            // Of equally long ones the first.
            if let Some(index) = free.max_by_key(|index| (self.lengths[*index], std::cmp::Reverse(*index))) {
                state.slots[index] = Slot::Taken;
                return Some(index);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Hands in what a worker made of a chunk. The first failure ends all work.
    pub(super) fn give(&self, index: usize, result: Result<T>) {
        let mut state = self.lock();
        match result {
            Ok(done) => state.slots[index] = Slot::Done(done),
            Err(error) => {
                state.failure.get_or_insert(error);
                state.closed = true;
            }
        }
        drop(state);
        self.changed.notify_all();
    }

    /// What was made of the next chunk in order; waits for it. `None` after the last one.
    ///
    /// # Errors
    /// `canceled`; the first failure of a worker.
    pub(super) fn next(&self, control: &Control) -> Result<Option<T>> {
        let mut state = self.lock();
        loop {
            control.checkpoint()?;
            if let Some(error) = state.failure.take() {
                return Err(error);
            }
            let index = state.next;
            if index == state.slots.len() {
                return Ok(None);
            }
            if matches!(state.slots[index], Slot::Done(_))
                && let Slot::Done(done) = std::mem::replace(&mut state.slots[index], Slot::Written)
            {
                state.next += 1;
                self.changed.notify_all();
                return Ok(Some(done));
            }
            if state.closed {
                return Err(Error::new(Code::Internal, "the encoders of the chunks are gone"));
            }
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Whether nobody wants the work any more.
    pub(super) fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Ends all work.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn the_longest_of_the_window_comes_first_and_the_window_moves_with_the_writer() {
        let queue = Window::new(vec![3, 9, 5, 5, 99], 1);
        let first: Vec<_> = (0..4).map(|_| queue.take().unwrap()).collect();
        assert_eq!(first, [1, 2, 3, 0], "the last chunk is beyond the window");
        queue.give(0, Ok("zero"));
        assert_eq!(queue.next(&Control::default()).unwrap(), Some("zero"));
        assert_eq!(queue.take(), Some(4));
        assert_eq!(queue.take(), None);
    }

    #[test]
    fn results_come_in_order_whatever_the_number_of_workers() {
        for workers in [1, 3, 8] {
            let queue = Window::new((0..100).map(|index| index * 7 % 13).collect(), workers);
            let written = thread::scope(|scope| {
                for _ in 0..workers {
                    scope.spawn(|| {
                        while let Some(index) = queue.take() {
                            queue.give(index, Ok(index));
                        }
                    });
                }
                std::iter::from_fn(|| queue.next(&Control::default()).unwrap()).collect::<Vec<_>>()
            });
            assert_eq!(written, (0..100).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_failure_reaches_the_writer_and_ends_the_work() {
        let queue: Window<()> = Window::new(vec![1; 5], 2);
        queue.take();
        queue.give(0, Err(Error::new(Code::EncodeFailed, "broken")));
        assert_eq!(queue.take(), None);
        assert_eq!(queue.next(&Control::default()).unwrap_err().code(), Code::EncodeFailed);
        let control = Control::default();
        control.cancel();
        assert_eq!(queue.next(&control).unwrap_err().code(), Code::Canceled);
    }
}
