//! Signals that ask a command to end. They cancel it; the command cleans up and ends by itself,
//! which takes less than a second because an engine obeys a cancel within 200 ms.

use ffrtmp::core::engine::Control;
use ffrtmp::core::{Code, Error, Result};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Cancels the attempt on SIGINT, SIGTERM or SIGHUP.
///
/// # Errors
/// `internal` if the handlers cannot be installed.
pub(super) fn cancel_on_signal(control: &Control) -> Result<()> {
    let runtime = super::runtime(&mut Builder::new_current_thread())?;
    let mut signals = {
        let _entered = runtime.enter();
        Signals::new()?
    };
    let control = control.clone();
    // The thread waits for a signal as long as the process lives; there is nothing to hand back.
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    signals.next().await;
                    control.cancel();
                }
            });
        })
        .map(drop)
        .map_err(unwatched)
}

/// The signals that ask a program to end.
pub(super) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Watches for them from now on. Must be called within a runtime.
    ///
    /// # Errors
    /// `internal` if the handlers cannot be installed.
    pub(super) fn new() -> Result<Self> {
        let watch = |kind| signal(kind).map_err(unwatched);
        Ok(Self {
            interrupt: watch(SignalKind::interrupt())?,
            terminate: watch(SignalKind::terminate())?,
            hangup: watch(SignalKind::hangup())?,
        })
    }

    /// Waits for the next one.
    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

fn unwatched(error: std::io::Error) -> Error {
    Error::new(Code::Internal, "signals cannot be watched").source(error)
}
