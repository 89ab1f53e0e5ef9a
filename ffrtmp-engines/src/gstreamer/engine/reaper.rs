//! Encoders that work off what they hold before they let go: after a cancel they do so on a thread
//! of the engine, so that nobody waits for what is thrown away.

use std::ops::Deref;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use ffrtmp_core::engine::Control;

use crate::gstreamer::session::LiveSession;

/// Waits for the last of them when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Reaper(Mutex<Vec<JoinHandle<()>>>);

impl Reaper {
    fn take(&self, session: LiveSession) {
        let ending = thread::Builder::new().name("live-reaper".to_owned()).spawn(move || drop(session));
        let mut endings = self.lock();
        endings.retain(|ending| !ending.is_finished());
        // Without a thread the session has ended here and now.
        endings.extend(ending.ok());
    }

    fn lock(&self) -> MutexGuard<'_, Vec<JoinHandle<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        for ending in self.lock().drain(..) {
            if ending.join().is_err() {
                tracing::error!("a session panicked at its end");
            }
        }
    }
}

/// A session that goes to the reaper if its attempt was canceled.
pub(super) struct Reaped<'a> {
    session: Option<LiveSession>,
    reaper: &'a Reaper,
    control: &'a Control,
}

impl<'a> Reaped<'a> {
    pub(super) fn new(session: LiveSession, reaper: &'a Reaper, control: &'a Control) -> Self {
        Self { session: Some(session), reaper, control }
    }
}

impl Deref for Reaped<'_> {
    type Target = LiveSession;

    fn deref(&self) -> &LiveSession {
        self.session.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Reaped<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take().filter(|_| self.control.is_canceled()) {
            self.reaper.take(session);
        }
    }
}
