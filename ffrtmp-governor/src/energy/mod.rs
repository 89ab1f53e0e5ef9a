//! What of the machine's energy an attempt used.
//!
//! | file | subject |
//! |---|---|
//! | `split` | the formula: one interval, the node's joules, everybody's share |
//! | `books` | intervals from looks at the meters, and what each attempt got of them |
//! | `watch` | when to look: when asked, and once a second while an attempt lives |
//!
//! What is not here: the counters themselves ([`crate::probe::energy`], [`crate::gpu`]).
//!
//! # Formula
//! The meters are looked at again and again. Between two looks the node used `E` joules and its
//! processors worked `B` of `K` seconds; an attempt worked `c` seconds of them, all attempts
//! together `C`.
//! - Working energy is `E · B / K`; of it an attempt gets `c / B`.
//! - The rest is idle energy. Attempts together get `C / B` of it, and those that worked at all share
//!   it equally, by the time for which each was there. The share of other programs of the machine
//!   stays with the node, and so does a machine that does nothing.
//!
//! Together attempts get `E · C / B`: the node's energy by their share of processor time, never more
//! than the node used. The split of a node's power into a working and an idle part by its use, and
//! of the working part by processor time, is that of Kepler's power attribution guide; Kepler leaves
//! the idle part with the node, here those for whom it is on carry it.
//! - A graphics processor adds what it uses above the least power seen of it, divided by the encode
//!   sessions on it. Its idle power stays with the node.
//!
//! Where no meter can be read, an attempt gets its processor time times
//! [`EnergyOptions::watts_per_core`], marked [`EnergySource::Modelled`].

mod books;
mod split;
mod watch;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Admission, Demand, Governed, ProcessLimits, Reservation, ResourceGovernor, Room};
#[cfg(doc)]
use ffrtmp_core::job::EnergySource;
use ffrtmp_core::node::{Safeguard, Telemetry};

use crate::gpu::Fleet;
use crate::probe::Root;

use watch::Watch;

/// Power of a busy hardware thread with its part of what the machine uses when idle, in watts: the
/// "average max watts" of the processors of AWS in the methodology of Cloud Carbon Footprint, which
/// has it from SPECpower_ssj2008. Its other clouds lie between 3.5 and 4.3.
pub const DEFAULT_WATTS_PER_CORE: f64 = 3.5;

/// How energy is found.
#[derive(Clone, Debug, PartialEq)]
pub struct EnergyOptions {
    /// Power of a busy hardware thread in watts, for machines without a meter that can be read.
    pub watts_per_core: f64,
    /// Time between two looks at the meters while an attempt lives.
    pub look_every: Duration,
}

impl Default for EnergyOptions {
    fn default() -> Self {
        Self { watts_per_core: DEFAULT_WATTS_PER_CORE, look_every: Duration::from_secs(1) }
    }
}

/// Attributes energy to what is governed; everything else is as the governor inside does it.
///
/// A thread looks at the meters while a guard lives, if there is a meter: every
/// [`EnergyOptions::look_every`], less and less often down to once a minute while nothing works. It
/// ends when it sees that no guard lives.
pub struct Metered {
    inner: Arc<dyn ResourceGovernor>,
    watch: Watch,
}

impl Metered {
    /// Meters of this machine.
    #[must_use]
    pub fn new(inner: Arc<dyn ResourceGovernor>, options: &EnergyOptions) -> Self {
        Self::on(Root::default(), inner, options, None)
    }

    /// Meters of a machine described by files below a root, and those of its graphics processors,
    /// which are asked only while an attempt drives one.
    #[must_use]
    pub fn on(root: Root, inner: Arc<dyn ResourceGovernor>, options: &EnergyOptions, gpus: Option<Arc<Fleet>>) -> Self {
        Self { inner, watch: Watch::new(root, options, gpus) }
    }
}

impl ResourceGovernor for Metered {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn limits(&self) -> Vec<Safeguard> {
        self.inner.limits()
    }

    fn admit(&self, demand: &Demand<'_>) -> Result<Admission> {
        self.inner.admit(demand)
    }

    fn reserve(&self, demand: &Demand<'_>) -> Result<Reservation> {
        self.inner.reserve(demand)
    }

    fn room(&self, work_dir: &Path) -> Room {
        self.inner.room(work_dir)
    }

    fn govern(&self, pid: u32, limits: &ProcessLimits) -> Result<Box<dyn Governed>> {
        let guard = Arc::from(self.inner.govern(pid, limits)?);
        Ok(Box::new(self.watch.begin(guard, limits.gpu)))
    }

    fn telemetry(&self, work_dir: &Path) -> Telemetry {
        self.inner.telemetry(work_dir)
    }
}
