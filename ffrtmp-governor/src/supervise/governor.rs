//! The governor for processes that run for themselves.

use std::path::Path;
use std::sync::Arc;

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Admission, Demand, Governed, Limit, ProcessLimits, Reservation, ResourceGovernor, Room};
use ffrtmp_core::node::{Safeguard, Telemetry};

use crate::cgroups::{CgroupGovernor, Ownership, WhyNot};
use crate::energy::{EnergyOptions, Metered};
use crate::nice::NiceGovernor;

/// Limits by control groups where this process may make them, else none; energy either way. What
/// it governs goes on, under its limits, when this process is killed.
#[must_use]
pub fn governor() -> Arc<dyn ResourceGovernor> {
    let limits: Arc<dyn ResourceGovernor> = match CgroupGovernor::detect(Ownership::Foreign) {
        Ok(groups) => Arc::new(groups),
        Err(why) => Arc::new(Watching { why, nice: NiceGovernor::with_nice(LOWEST) }),
    };
    Arc::new(Metered::new(limits, &EnergyOptions::default()))
}

/// Everyone is at least this nice: nobody's priority is changed who did not ask for it.
const LOWEST: i32 = -20;

/// A governor that can only watch, and says why.
struct Watching {
    why: WhyNot,
    nice: NiceGovernor,
}

impl ResourceGovernor for Watching {
    fn name(&self) -> &'static str {
        self.nice.name()
    }

    fn limits(&self) -> Vec<Safeguard> {
        let told = |guard: Safeguard| match guard.name.parse() {
            Ok(Limit::Nice) => Safeguard::off(&guard.name, "not changed unless asked for"),
            Ok(limit) => Safeguard::off(&guard.name, self.why.of(limit)),
            Err(_) => guard,
        };
        self.nice.limits().into_iter().map(told).collect()
    }

    fn admit(&self, demand: &Demand<'_>) -> Result<Admission> {
        self.nice.admit(demand)
    }

    fn reserve(&self, demand: &Demand<'_>) -> Result<Reservation> {
        self.nice.reserve(demand)
    }

    fn room(&self, work_dir: &Path) -> Room {
        self.nice.room(work_dir)
    }

    fn govern(&self, pid: u32, limits: &ProcessLimits) -> Result<Box<dyn Governed>> {
        self.nice.govern(pid, limits)
    }

    fn telemetry(&self, work_dir: &Path) -> Telemetry {
        self.nice.telemetry(work_dir)
    }
}
