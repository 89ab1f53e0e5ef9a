//! A bounded queue between two stages of an attempt.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ffrtmp_core::engine::Control;
use ffrtmp_core::error::Result;

/// How often a waiting stage looks whether it was told to stop: orders come from elsewhere and
/// wake nobody here.
const LOOK: Duration = Duration::from_millis(20);

/// Holds at most `capacity` items; who puts in waits for room, who takes out waits for items.
pub(super) struct Queue<T> {
    capacity: usize,
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    items: VecDeque<T>,
    /// Nothing more is put in.
    ended: bool,
    /// Nothing more is taken out.
    abandoned: bool,
}

/// Whether an item found a taker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Put {
    Taken,
    Abandoned,
}

impl<T> Queue<T> {
    pub(super) fn new(capacity: usize) -> Self {
        let state = State { items: VecDeque::with_capacity(capacity), ended: false, abandoned: false };
        Self { capacity, state: Mutex::new(state), changed: Condvar::new() }
    }

    /// Puts an item in, when there is room.
    ///
    /// # Errors
    /// `canceled`.
    pub(super) fn put(&self, item: T, control: &Control) -> Result<Put> {
        let mut state = self.lock();
        while state.items.len() >= self.capacity && !state.abandoned {
            control.checkpoint()?;
            state = self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
        if state.abandoned {
            return Ok(Put::Abandoned);
        }
        state.items.push_back(item);
        self.changed.notify_all();
        Ok(Put::Taken)
    }

    /// Takes the next item out; `None` after the last one.
    pub(super) fn take(&self) -> Option<T> {
        let mut state = self.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                self.changed.notify_all();
                return Some(item);
            }
            if state.ended {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Nothing more will be put in.
    pub(super) fn end(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Nothing more will be taken out; what is still inside is dropped.
    pub(super) fn abandon(&self) {
        let mut state = self.lock();
        state.abandoned = true;
        state.items.clear();
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::thread;

    use super::*;

    #[test]
    fn items_pass_in_order_and_the_end_comes_last() {
        let queue = Arc::new(Queue::new(2));
        let taker = Arc::clone(&queue);
        let taken = thread::spawn(move || std::iter::from_fn(|| taker.take()).collect::<Vec<_>>());
        for item in 0..100 {
            assert_eq!(queue.put(item, &Control::default()).unwrap(), Put::Taken);
        }
        queue.end();
        assert_eq!(taken.join().unwrap(), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_full_queue_lets_go_when_canceled_or_abandoned() {
        let queue = Arc::new(Queue::new(1));
        let control = Control::default();
        queue.put(1, &control).unwrap();
        let (putter, order) = (Arc::clone(&queue), control.clone());
        let blocked = thread::spawn(move || putter.put(2, &order).map_err(|error| error.code()));
        control.cancel();
        assert_eq!(blocked.join().unwrap(), Err(ffrtmp_core::Code::Canceled));
        queue.abandon();
        assert_eq!(queue.put(3, &Control::default()).unwrap(), Put::Abandoned);
    }
}
