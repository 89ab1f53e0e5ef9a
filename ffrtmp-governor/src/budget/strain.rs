//! Pressure and heat that hold new attempts back, by thresholds that do not flap.
//!
//! | sign | holds back from | until | what it holds back |
//! |---|---|---|---|
//! | memory: share of time in which all work waited | 10 % | 5 % | every attempt |
//! | heat: degrees below the critical point of a sensor | 5 | 10 | every attempt |
//! | disk: share of time in which all work waited | 40 % | 20 % | all but the first |
//! | throttling: share of time in which heat slowed a processor | 10 % | 5 % | all but the first |
//! | processor: share of time in which some work waited | 90 % | 45 % | those that overcommit it |
//!
//! Shares are averages over ten seconds, that of throttling is since the look before. Short memory
//! and heat endanger what runs, whoever caused them, so nothing more begins and the node says why.
//! Waiting for a disk or a core costs only time, so one attempt is always let in, and a machine
//! full of its own attempts holds back just those that would overcommit it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::probe::{Root, pressure};

use super::heat::{self, Sensor, Slowed};

/// Thresholds; see the module. Each lets go only at half of it, heat at twice the distance. `None`
/// never holds back.
#[derive(Clone, Debug, PartialEq)]
pub struct StrainLimits {
    /// Percent of time in which some work waited for a core.
    pub cpu_some_percent: Option<f64>,
    /// Percent of time in which all work waited for memory.
    pub memory_full_percent: Option<f64>,
    /// Percent of time in which all work waited for a disk.
    pub io_full_percent: Option<f64>,
    /// Degrees Celsius below the critical point of a sensor.
    pub heat_margin_celsius: Option<f64>,
    /// Percent of time in which a processor was slowed for heat.
    pub throttled_percent: Option<f64>,
    /// How long what was seen of the machine is taken as true.
    pub look_every: Duration,
}

impl Default for StrainLimits {
    fn default() -> Self {
        Self {
            cpu_some_percent: Some(90.0),
            memory_full_percent: Some(10.0),
            io_full_percent: Some(40.0),
            heat_margin_celsius: Some(5.0),
            throttled_percent: Some(10.0),
            look_every: Duration::from_secs(1),
        }
    }
}

impl StrainLimits {
    /// Nothing holds back.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            cpu_some_percent: None,
            memory_full_percent: None,
            io_full_percent: None,
            heat_margin_celsius: None,
            throttled_percent: None,
            look_every: Duration::from_secs(1),
        }
    }
}

/// Reasons for which attempts are held back now, in words, by what they hold back.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reasons {
    /// Every attempt.
    pub(crate) all: Option<String>,
    /// All but the first.
    pub(crate) further: Option<String>,
    /// Those that overcommit the processor.
    pub(crate) overcommit: Option<String>,
}

/// Watches one machine.
#[derive(Debug)]
pub(crate) struct Strain {
    limits: StrainLimits,
    /// Counters of slowed processors.
    counters: Vec<String>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    looked: Option<Instant>,
    slowed: Slowed,
    gates: Gates,
    reasons: Reasons,
}

/// How the machine is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Signs {
    pub(crate) cpu_some: Option<f64>,
    pub(crate) memory_full: Option<f64>,
    pub(crate) io_full: Option<f64>,
    /// The sensor that is nearest to its critical point.
    pub(crate) heat: Option<Sensor>,
    pub(crate) throttled: Option<f64>,
}

/// Which signs hold back since when they crossed their threshold.
#[derive(Debug, Default)]
pub(crate) struct Gates {
    cpu: bool,
    memory: bool,
    io: bool,
    heat: bool,
    throttled: bool,
}

impl Strain {
    pub(crate) fn new(root: &Root, limits: StrainLimits) -> Self {
        let counters = if limits.throttled_percent.is_some() { heat::counters(root) } else { Vec::new() };
        Self { limits, counters, state: Mutex::default() }
    }

    /// What holds back now. Looks at the machine once in `look_every`.
    pub(crate) fn reasons(&self, root: &Root) -> Reasons {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let elapsed = state.looked.map(|looked| now.duration_since(looked));
        if self.limits != StrainLimits::none() && elapsed.is_none_or(|elapsed| elapsed >= self.limits.look_every) {
            let slowed = heat::slowed(root, &self.counters);
            let throttled = elapsed.and_then(|elapsed| heat::slowed_percent(&slowed, &state.slowed, elapsed));
            let signs = Signs { throttled, ..Signs::read(root) };
            state.reasons = state.gates.judge(&self.limits, &signs);
            state.slowed = slowed;
            state.looked = Some(now);
        }
        state.reasons.clone()
    }
}

impl Gates {
    pub(crate) fn judge(&mut self, limits: &StrainLimits, signs: &Signs) -> Reasons {
        let waiting = |what: &'static str| {
            move |percent: f64, limit: f64| format!("{what} pressure {percent:.0} % over 10 s (limit {limit:.0} %)")
        };
        let throttling =
            |percent, limit| format!("heat slowed the processor {percent:.0} % of the time (limit {limit:.0} %)");
        let memory = above(&mut self.memory, signs.memory_full, limits.memory_full_percent, waiting("memory"));
        let io = above(&mut self.io, signs.io_full, limits.io_full_percent, waiting("disk"));
        let throttled = above(&mut self.throttled, signs.throttled, limits.throttled_percent, throttling);
        Reasons {
            all: near(&mut self.heat, signs.heat, limits.heat_margin_celsius).or(memory),
            further: io.or(throttled),
            overcommit: above(&mut self.cpu, signs.cpu_some, limits.cpu_some_percent, waiting("processor")),
        }
    }
}

/// A sign that is not told any more lets go.
fn above(
    shut: &mut bool,
    percent: Option<f64>,
    limit: Option<f64>,
    words: impl Fn(f64, f64) -> String,
) -> Option<String> {
    let known = percent.zip(limit);
    *shut = known.is_some_and(|(percent, limit)| percent >= if *shut { limit / 2.0 } else { limit });
    known.filter(|_| *shut).map(|(percent, limit)| words(percent, limit))
}

fn near(shut: &mut bool, sensor: Option<Sensor>, margin: Option<f64>) -> Option<String> {
    let known = sensor.zip(margin);
    *shut = known.is_some_and(|(sensor, margin)| sensor.distance() <= if *shut { 2.0 * margin } else { margin });
    known.filter(|_| *shut).map(|(Sensor { celsius, critical }, margin)| {
        format!("a sensor shows {celsius:.0} degrees, {critical:.0} are critical (limit {margin:.0} below)")
    })
}

impl Signs {
    fn read(root: &Root) -> Self {
        let pressure = |resource| pressure::read(root, resource).unwrap_or_default();
        Self {
            cpu_some: pressure("cpu").some,
            memory_full: pressure("memory").full,
            io_full: pressure("io").full,
            heat: heat::nearest(root),
            throttled: None,
        }
    }
}
