//! Time as a value. Core never reads a clock by itself: whoever composes a node hands one in, so
//! that every policy can be simulated.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use time::format_description::well_known::Rfc3339;
use time::{OffsetDateTime, UtcOffset};

/// A point in time, in microseconds since the Unix epoch; RFC 3339 in UTC where it is shown, which
/// has the years 0 to 9999: what is parsed outside of them is refused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since the Unix epoch.
    #[must_use]
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Microseconds since the Unix epoch.
    #[must_use]
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Time from `earlier` to `self`, zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, after: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(after.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl std::ops::Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, before: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(before.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.0) * 1000)
            .ok()
            .and_then(|time| time.format(&Rfc3339).ok());
        match text {
            Some(text) => f.write_str(&text),
            None => write!(f, "{}us", self.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Timestamp {
    type Err = time::error::Parse;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let utc = OffsetDateTime::parse(text, &Rfc3339)?
            .checked_to_offset(UtcOffset::UTC)
            .filter(|utc| (0..=9999).contains(&utc.year()))
            .ok_or(time::error::ParseFromDescription::InvalidComponent("year"))?;
        let micros = utc.unix_timestamp_nanos().div_euclid(1000);
        Ok(Self(i64::try_from(micros).unwrap_or(i64::MAX)))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(|_| de::Error::custom("not an RFC 3339 time such as 2026-01-31T12:00:00Z"))
    }
}

/// Where a node's time comes from.
///
/// # Contract
/// `now` never runs backwards and never jumps, whatever is done to the wall clock: a leap of the
/// wall clock by a day must not expire a lease. It starts near the wall clock, so that stored
/// times make sense to people.
pub trait Clock: Send + Sync + 'static {
    /// The present.
    fn now(&self) -> Timestamp;
}

/// The time that masters on one store agree on: a clock of one's own, moved to the leader's.
///
/// # Contract
/// - What [`Clock::now`] says does not run backwards, and runs with the own clock where no leader is
///   heard.
/// - A leader that is ahead is followed at once. One that is a little behind is waited for: the
///   clock stands still until the leader has caught up. Only before its first word, or for a leader
///   that is further behind than [`ClusterClock::PATIENCE`], the clock is set back: a master whose
///   wall clock was wrong must not stamp what has no meaning to the others for hours.
pub struct ClusterClock {
    own: Arc<dyn Clock>,
    pace: Mutex<Pace>,
}

#[derive(Clone, Copy)]
struct Pace {
    /// Microseconds from the own time to the cluster's.
    offset: i64,
    said: Option<Timestamp>,
}

impl ClusterClock {
    /// The longest time that the clock stands still. A leader that was stopped and goes on may say
    /// an old time once, and mends it with its next word.
    pub const PATIENCE: Duration = Duration::from_secs(60);

    /// The own clock, until a leader is heard.
    #[must_use]
    pub fn new(own: Arc<dyn Clock>) -> Self {
        Self { own, pace: Mutex::new(Pace { offset: 0, said: None }) }
    }

    /// Learns what time it is for the leader at this moment.
    pub fn follow(&self, leader: Timestamp) {
        let own = self.own.now();
        let mut pace = self.pace();
        pace.offset = leader.0.saturating_sub(own.0);
        pace.said = pace.said.filter(|said| said.since(leader) <= Self::PATIENCE);
    }

    /// What [`Clock::now`] would say, without being bound by it.
    #[must_use]
    pub fn glance(&self) -> Timestamp {
        let own = self.own.now();
        self.pace().at(own)
    }

    fn pace(&self) -> std::sync::MutexGuard<'_, Pace> {
        self.pace.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pace {
    fn at(&self, own: Timestamp) -> Timestamp {
        let now = Timestamp(own.0.saturating_add(self.offset));
        self.said.map_or(now, |said| said.max(now))
    }
}

impl Clock for ClusterClock {
    fn now(&self) -> Timestamp {
        let own = self.own.now();
        let mut pace = self.pace();
        let now = pace.at(own);
        pace.said = Some(now);
        now
    }
}

/// A clock that moves only when told to, for tests and simulations.
#[derive(Debug)]
pub struct ManualClock(Mutex<Timestamp>);

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub const fn new(start: Timestamp) -> Self {
        Self(Mutex::new(start))
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        let mut now = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *now = *now + by;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug)]
    enum Event {
        Passes(u32),
        Heard(i64),
        Read,
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            (0..10_000_000_u32).prop_map(Event::Passes),
            (-90_000_000_000..90_000_000_000_i64).prop_map(Event::Heard),
            (-70_000_000..70_000_000_i64).prop_map(Event::Heard),
            Just(Event::Read),
        ]
    }

    proptest! {
        #[test]
        fn the_cluster_clock_is_never_behind_its_leader_nor_far_ahead(
            events in proptest::collection::vec(event(), 1..60),
        ) {
            let own = Arc::new(ManualClock::new(Timestamp::from_micros(1_700_000_000_000_000)));
            let clock = ClusterClock::new(own.clone());
            let mut said = None;
            let mut leader_ahead = 0;
            for event in events {
                match event {
                    Event::Passes(micros) => own.advance(Duration::from_micros(micros.into())),
                    Event::Heard(ahead) => {
                        leader_ahead = ahead;
                        let leader = Timestamp(own.now().0 + ahead);
                        clock.follow(leader);
                        said = said.filter(|said: &Timestamp| said.since(leader) <= ClusterClock::PATIENCE);
                    }
                    Event::Read => {
                        let leader = Timestamp(own.now().0 + leader_ahead);
                        let now = clock.now();
                        prop_assert_eq!(now, said.map_or(leader, |said: Timestamp| said.max(leader)));
                        said = Some(now);
                    }
                }
                let glance = clock.glance();
                prop_assert!(said.is_none_or(|said| said <= glance));
                prop_assert!(glance.since(Timestamp(own.now().0 + leader_ahead)) <= ClusterClock::PATIENCE);
            }
        }
    }

    #[test]
    fn timestamps_round_trip_as_rfc3339() {
        let time = Timestamp::from_micros(1_767_700_000_123_456);
        assert_eq!(time.to_string(), "2026-01-06T11:46:40.123456Z");
        assert_eq!(time.to_string().parse::<Timestamp>().unwrap(), time);
        assert_eq!((time + Duration::from_secs(5)).since(time), Duration::from_secs(5));
        assert_eq!(time.since(time + Duration::from_secs(5)), Duration::ZERO);
        for far in ["9999-12-31T23:59:59-01:00", "0000-01-01T00:00:00+01:00", "yesterday"] {
            assert!(far.parse::<Timestamp>().is_err(), "{far}");
        }
    }
}
