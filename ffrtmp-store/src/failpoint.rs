//! Named points at which a test ends, disturbs or delays this process, to see what recovery makes
//! of it. Without the feature `failpoints` a point is nothing; no released program has it.
//!
//! One point at a time is armed, by [`arm`] or by the environment:
//! `FFRTMP_FAILPOINT=NAME=ACTION[@N]`. The action is `kill` (SIGKILL to the process itself, so that
//! nothing is flushed or closed), `error` (the step fails as if its disk or server had refused) or
//! `sleep:MS`; it is done at the N-th time that the point is reached, the first by default.
//!
//! Where a step cannot fail, such as after a commit, stands [`reach`] instead of [`hit`].

/// The variable that arms a point.
pub const VARIABLE: &str = "FFRTMP_FAILPOINT";

/// Every point of the stores. The first word is the store.
pub const NAMES: &[&str] = &[
    "sqlite.submit.admitted",
    "sqlite.submit.written",
    "sqlite.claim.selected",
    "sqlite.claim.written",
    "sqlite.apply.taken",
    "sqlite.apply.written",
    "sqlite.due.found",
    "sqlite.transaction.begun",
    "sqlite.transaction.before_commit",
    "sqlite.transaction.committed",
    "sqlite.transaction.kept",
    "postgres.submit.admitted",
    "postgres.submit.before_commit",
    "postgres.submit.committed",
    "postgres.claim.selected",
    "postgres.claim.before_commit",
    "postgres.claim.committed",
    "postgres.apply.decided",
    "postgres.apply.before_commit",
    "postgres.apply.committed",
    "postgres.due.found",
    "postgres.lead.taken",
];

#[cfg(feature = "failpoints")]
pub use armed::{arm, disarm, hit, reach};

/// Reaches a point at which the step may fail.
///
/// # Errors
/// `unavailable` if the point is armed with `error`, or if the environment names a point or an
/// action that does not exist.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub const fn hit(_name: &'static str) -> ffrtmp_core::Result<()> {
    Ok(())
}

/// Reaches a point at which nothing can fail: `error` does nothing here.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub const fn reach(_name: &'static str) {}

#[cfg(feature = "failpoints")]
mod armed {
    use std::collections::BTreeMap;
    use std::str::FromStr;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, Once, PoisonError};
    use std::time::Duration;

    use ffrtmp_core::{Code, Error, Result};

    use super::{NAMES, VARIABLE};

    /// What to do where, and when.
    #[derive(Debug)]
    struct Order {
        name: String,
        action: Action,
        at: u64,
    }

    /// An order under way, and how often each point was reached meanwhile.
    #[derive(Debug)]
    struct Armed {
        order: Result<Order, String>,
        reached: BTreeMap<&'static str, u64>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Action {
        Kill,
        Fail,
        Sleep(Duration),
    }

    static ARMED: Mutex<Option<Armed>> = Mutex::new(None);
    /// Spares the lock where nothing is armed.
    static IS_ARMED: AtomicBool = AtomicBool::new(false);
    static ENVIRONMENT: Once = Once::new();

    /// Arms the point that `order` names, in place of the one before: `NAME=ACTION[@N]`.
    ///
    /// # Errors
    /// `invalid_config` if it cannot be read.
    pub fn arm(order: &str) -> Result<()> {
        ENVIRONMENT.call_once(|| {});
        let order: Order = order.parse().map_err(|why: String| Error::new(Code::InvalidConfig, why))?;
        set(Ok(order));
        Ok(())
    }

    /// Disarms whatever is armed and says how often each point was reached meanwhile.
    pub fn disarm() -> BTreeMap<&'static str, u64> {
        IS_ARMED.store(false, Ordering::Release);
        lock().take().map(|armed| armed.reached).unwrap_or_default()
    }

    /// Reaches a point at which the step may fail.
    ///
    /// # Errors
    /// `unavailable` if the point is armed with `error`, or if the environment names an action that
    /// does not exist.
    pub fn hit(name: &'static str) -> Result<()> {
        match due(name)? {
            Some(Action::Fail) => Err(Error::new(Code::Unavailable, format!("the failpoint {name} failed"))),
            action => {
                carry_out(action);
                Ok(())
            }
        }
    }

    /// Reaches a point at which nothing can fail: `error` does nothing here.
    pub fn reach(name: &'static str) {
        carry_out(due(name).unwrap_or(None));
    }

    fn due(name: &'static str) -> Result<Option<Action>> {
        let is_ours = name.starts_with("sqlite.") || name.starts_with("postgres.");
        debug_assert!(!is_ours || NAMES.contains(&name), "{name} is not registered");
        ENVIRONMENT.call_once(|| {
            if let Ok(order) = std::env::var(VARIABLE) {
                set(order.parse());
            }
        });
        if !IS_ARMED.load(Ordering::Acquire) {
            return Ok(None);
        }
        let mut armed = lock();
        let Some(Armed { order, reached }) = armed.as_mut() else { return Ok(None) };
        let reached = reached.entry(name).or_default();
        *reached += 1;
        match order {
            Ok(order) => Ok((order.name == name && order.at == *reached).then_some(order.action)),
            Err(why) => Err(Error::new(Code::Unavailable, format!("{VARIABLE}: {why}"))),
        }
    }

    fn carry_out(action: Option<Action>) {
        match action {
            Some(Action::Kill) => die(),
            Some(Action::Sleep(time)) => std::thread::sleep(time),
            Some(Action::Fail) | None => {}
        }
    }

    /// The kernel ends this process before the call returns; the loop is for the types.
    fn die() -> ! {
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }

    fn set(order: Result<Order, String>) {
        *lock() = Some(Armed { order, reached: BTreeMap::new() });
        IS_ARMED.store(true, Ordering::Release);
    }

    fn lock() -> std::sync::MutexGuard<'static, Option<Armed>> {
        ARMED.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl FromStr for Order {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let (name, order) = text.split_once('=').ok_or_else(|| format!("{text:?} is not NAME=ACTION[@N]"))?;
            let (action, at) = order.split_once('@').unwrap_or((order, "1"));
            let at = at.parse().ok().filter(|at| *at > 0).ok_or_else(|| format!("{at:?} is not a count from 1"))?;
            Ok(Self { name: name.to_owned(), action: action.parse()?, at })
        }
    }

    impl FromStr for Action {
        type Err = String;

        fn from_str(text: &str) -> Result<Self, String> {
            let milliseconds = |text: &str| text.parse().ok().map(Duration::from_millis);
            match text {
                "kill" => Ok(Self::Kill),
                "error" => Ok(Self::Fail),
                other => other
                    .strip_prefix("sleep:")
                    .and_then(milliseconds)
                    .map(Self::Sleep)
                    .ok_or_else(|| format!("{other:?} is neither kill, error nor sleep:MS")),
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn orders_are_read() {
            let order: Order = "a.b=sleep:20@3".parse().unwrap();
            assert_eq!(
                (order.name.as_str(), order.action, order.at),
                ("a.b", Action::Sleep(Duration::from_millis(20)), 3)
            );
            assert_eq!("a=kill".parse::<Order>().unwrap().at, 1);
            for wrong in ["", "a", "a=", "a=explode", "a=kill@0", "a=kill@", "a=sleep:", "a=sleep:x"] {
                assert!(wrong.parse::<Order>().is_err(), "{wrong:?}");
            }
        }
    }
}
