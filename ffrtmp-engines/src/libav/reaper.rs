//! Ends encoders that take their time.
//!
//! SVT-AV1 works off its pipeline before it lets go, which takes a second at 720p and cannot be
//! hurried. A canceled attempt does not wait for that: its encoder's thread becomes one of the
//! engine, which waits for it when it is dropped itself.

use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// Owns the threads on which canceled encoders end.
#[derive(Debug, Default)]
pub(super) struct Reaper(Mutex<Vec<JoinHandle<()>>>);

impl Reaper {
    /// Takes over the thread of an encoder that was told to stop, without waiting for it.
    pub(super) fn adopt(&self, thread: JoinHandle<()>) {
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        let own = thread::current().id();
        for thread in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One of them may be the last to know the engine: it ends with this.
            if thread.thread().id() != own {
                // It only drops; there is nothing to learn from its end.
                let _ = thread.join();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_last_to_know_it_may_be_a_thread_of_its_own() {
        let reaper = Arc::new(Reaper::default());
        let (go, wait) = mpsc::channel::<()>();
        let (tell, told) = mpsc::channel();
        let last = Arc::clone(&reaper);
        let thread = thread::spawn(move || {
            wait.recv().unwrap();
            drop(last);
            tell.send(()).unwrap();
        });
        reaper.adopt(thread);
        drop(reaper);
        go.send(()).unwrap();
        told.recv().expect("the thread ended without a panic");
    }
}
