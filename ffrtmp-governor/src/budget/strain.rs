//! Pressure and heat that hold new attempts back, by thresholds that do not flap.
//!
//! | sign | holds back from | until | what it holds back |
//! |---|---|---|---|
//! | memory: share of time in which all work waited | 10 % | 5 % | every attempt |
//! | heat: degrees below the critical point | 5 | 10 | every attempt |
//! | input and output: share of time in which all work waited | 40 % | 20 % | all but the first |
//! | throttling: share of time in which heat slowed the processor | 10 % | 5 % | all but the first |
//! | processor: share of time in which some work waited | 90 % | 45 % | those that overcommit it |
//!
//! Shares are averages over ten seconds. Short memory and heat endanger what runs, whoever caused
//! them, so nothing more begins; the node says why. Waiting for a disk or a core costs only time,
//! so one attempt is always let in, and a machine full of its own attempts holds back just those
//! that would overcommit it.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::probe::{Root, pressure};

/// Thresholds; see the module. Each falls back only at half of it, heat at twice the distance.
#[derive(Clone, Debug, PartialEq)]
pub struct StrainLimits {
    /// Percent of time in which some work waited for a core; `None` never holds back.
    pub cpu_some_percent: Option<f64>,
    /// Percent of time in which all work waited for memory; `None` never holds back.
    pub memory_full_percent: Option<f64>,
    /// Percent of time in which all work waited for a disk; `None` never holds back.
    pub io_full_percent: Option<f64>,
    /// Degrees below the critical temperature of a sensor; `None` never holds back.
    pub heat_margin_celsius: Option<f64>,
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
            look_every: Duration::from_secs(1),
        }
    }
}

impl StrainLimits {
    /// Nothing holds back.
    #[must_use]
    pub fn none() -> Self {
        Self {
            cpu_some_percent: None,
            memory_full_percent: None,
            io_full_percent: None,
            heat_margin_celsius: None,
            ..Self::default()
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

/// What is remembered between two looks.
#[derive(Debug)]
pub(crate) struct Strain {
    limits: StrainLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    looked: Option<Instant>,
    gates: Gates,
    reasons: Reasons,
}

/// Which signs hold back since when they crossed their threshold.
#[derive(Debug, Default)]
struct Gates {
    cpu: bool,
    memory: bool,
    io: bool,
    heat: bool,
}

/// How the machine is.
#[derive(Clone, Debug, Default, PartialEq)]
struct Signs {
    cpu_some: Option<f64>,
    memory_full: Option<f64>,
    io_full: Option<f64>,
    /// Temperature and critical temperature of the sensor that is nearest to it.
    heat: Option<(f64, f64)>,
}

impl Strain {
    pub(crate) fn new(limits: StrainLimits) -> Self {
        Self { limits, state: Mutex::default() }
    }

    /// What holds back now. Looks at the machine once in `look_every`.
    pub(crate) fn reasons(&self, root: &Root) -> Reasons {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.looked.is_none_or(|looked| looked.elapsed() >= self.limits.look_every) {
            state.reasons = state.gates.judge(&self.limits, &Signs::read(root));
            state.looked = Some(Instant::now());
        }
        state.reasons.clone()
    }
}

impl Gates {
    fn judge(&mut self, limits: &StrainLimits, signs: &Signs) -> Reasons {
        let waiting = |what: &str, percent: f64, limit: f64| {
            format!("{what} pressure {percent:.0} % over 10 s (limit {limit:.0} %)")
        };
        let above = |shut: &mut bool, what, percent: Option<f64>, limit: Option<f64>| {
            let (percent, limit) = percent.zip(limit)?;
            *shut = percent >= if *shut { limit / 2.0 } else { limit };
            shut.then(|| waiting(what, percent, limit))
        };
        let heat = signs.heat.zip(limits.heat_margin_celsius).and_then(|((celsius, critical), margin)| {
            self.heat = critical - celsius <= if self.heat { 2.0 * margin } else { margin };
            self.heat.then(|| format!("{celsius:.0} degrees, critical at {critical:.0} (limit {margin:.0} below)"))
        });
        let memory = above(&mut self.memory, "memory", signs.memory_full, limits.memory_full_percent);
        Reasons {
            all: memory.or(heat),
            further: above(&mut self.io, "disk", signs.io_full, limits.io_full_percent),
            overcommit: above(&mut self.cpu, "processor", signs.cpu_some, limits.cpu_some_percent),
        }
    }
}

impl Signs {
    fn read(root: &Root) -> Self {
        let pressure = |resource| pressure::read(root, resource).unwrap_or_default();
        Self {
            cpu_some: pressure("cpu").some,
            memory_full: pressure("memory").full,
            io_full: pressure("io").full,
            heat: None,
        }
    }
}
