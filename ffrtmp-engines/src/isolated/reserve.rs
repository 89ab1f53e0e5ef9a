//! One child in reserve under the governor. The kernel may take tens of milliseconds to move a process
//! under its limits; a child that is moved before it has work costs an attempt none of them.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Governed, ProcessLimits, ResourceGovernor};

use super::child::Child;
use super::server::Servers;

/// Time for an attempt to begin before the next child is made: nothing on the machine can start a
/// thread while the kernel moves a process.
const REFILL_AFTER: Duration = Duration::from_millis(200);

/// A child and its limits.
pub(super) type Ready = (Child, Option<Box<dyn Governed>>);

/// Where attempts get their children.
#[derive(Default)]
pub(super) struct Reserve(Mutex<State>);

#[derive(Default)]
struct State {
    spare: Option<Spare>,
    filling: bool,
}

/// A child that waits, and who governs it.
struct Spare {
    child: Child,
    governed: Box<dyn Governed>,
    governor: Arc<dyn ResourceGovernor>,
}

impl Reserve {
    /// A child under limits: the one in reserve, if it waits for this governor, or a new one.
    ///
    /// # Errors
    /// Those of [`Servers::child`] and of the governor.
    pub(super) fn take(
        &self,
        servers: &Servers,
        governor: Option<&Arc<dyn ResourceGovernor>>,
        limits: &ProcessLimits,
        remains: Option<&Path>,
    ) -> Result<Ready> {
        let Some(governor) = governor else { return Ok((servers.child(remains)?, None)) };
        if let Some(ready) = self.waiting(governor, limits, remains)? {
            return Ok(ready);
        }
        let child = servers.child(remains)?;
        let governed = governor.govern(child.pid(), limits)?;
        Ok((child, Some(governed)))
    }

    fn waiting(
        &self,
        governor: &Arc<dyn ResourceGovernor>,
        limits: &ProcessLimits,
        remains: Option<&Path>,
    ) -> Result<Option<Ready>> {
        let spare = self.0.lock().unwrap_or_else(PoisonError::into_inner).spare.take();
        let Some(Spare { mut child, governed, governor: whose }) = spare else { return Ok(None) };
        let fits = Arc::ptr_eq(&whose, governor) && child.await_end(Duration::ZERO).is_none();
        if !fits || remains.is_some_and(|remains| !child.mind(remains)) || !governed.limit(limits)? {
            return Ok(None);
        }
        Ok(Some((child, Some(governed))))
    }

    /// Has a child made for the next attempt, a little later and beside.
    pub(super) fn refill(self: &Arc<Self>, servers: &Arc<Servers>, governor: &Arc<dyn ResourceGovernor>) {
        {
            let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if state.filling || state.spare.is_some() {
                return;
            }
            state.filling = true;
        }
        let (reserve, servers, governor) = (Arc::downgrade(self), Arc::downgrade(servers), Arc::clone(governor));
        let fill = move || {
            thread::sleep(REFILL_AFTER);
            let (Some(reserve), Some(servers)) = (reserve.upgrade(), servers.upgrade()) else { return };
            let spare = Spare::make(&servers, governor);
            let mut state = reserve.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.filling = false;
            state.spare = spare.inspect_err(|error| tracing::debug!(%error, "no child in reserve")).ok();
        };
        if let Err(error) = thread::Builder::new().name("runner-reserve".into()).spawn(fill) {
            tracing::debug!(%error, "no child in reserve");
            self.0.lock().unwrap_or_else(PoisonError::into_inner).filling = false;
        }
    }
}

impl Spare {
    fn make(servers: &Servers, governor: Arc<dyn ResourceGovernor>) -> Result<Self> {
        let child = servers.child(None)?;
        let governed = governor.govern(child.pid(), &ProcessLimits::default())?;
        Ok(Self { child, governed, governor })
    }
}
