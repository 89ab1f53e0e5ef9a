//! Ends encoders that take their time.
//!
//! SVT-AV1 works off its pipeline before it lets go, which takes a second at 720p and cannot be
//! hurried. A canceled attempt does not wait for that: its encoder ends on a thread of the engine,
//! which waits for it when it is dropped itself.

use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, JoinHandle};

use super::sys::Encoder;

/// Owns the threads on which canceled encoders end.
#[derive(Debug, Default)]
pub(super) struct Reaper(Mutex<Vec<JoinHandle<()>>>);

impl Reaper {
    /// Ends an encoder without waiting for it.
    pub(super) fn take(&self, encoder: Encoder) {
        let mut threads = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        threads.retain(|thread| !thread.is_finished());
        // Where no thread can be had, the encoder ends right here.
        if let Ok(thread) = Builder::new().name("encoder-end".to_owned()).spawn(move || drop(encoder)) {
            threads.push(thread);
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        for thread in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // It only drops; there is nothing to learn from its end.
            let _ = thread.join();
        }
    }
}
