//! No governor at all, for embedders that govern by themselves and for simulations.

use std::path::Path;

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Admission, Demand, Governed, Limit, ProcessLimits, Reservation, ResourceGovernor, Room};
use ffrtmp_core::node::{Safeguard, Telemetry};

use crate::nice::Watched;
use crate::probe::Root;

/// Admits everything and limits nothing; it only tells what a process used.
#[derive(Clone, Debug, Default)]
pub struct NoGovernor {
    root: Root,
}

impl ResourceGovernor for NoGovernor {
    fn name(&self) -> &'static str {
        "none"
    }

    fn limits(&self) -> Vec<Safeguard> {
        Limit::ALL.iter().map(|limit| Safeguard::off(limit.as_str(), "no governor")).collect()
    }

    fn admit(&self, _: &Demand<'_>) -> Result<Admission> {
        Ok(Admission::Admitted)
    }

    fn reserve(&self, _: &Demand<'_>) -> Result<Reservation> {
        Ok(Reservation::new(None, None, ()))
    }

    fn room(&self, _: &Path) -> Room {
        Room::default()
    }

    fn govern(&self, pid: u32, _: &ProcessLimits) -> Result<Box<dyn Governed>> {
        Ok(Box::new(Watched::new(self.root.clone(), pid)))
    }

    fn telemetry(&self, _: &Path) -> Telemetry {
        Telemetry::default()
    }
}
