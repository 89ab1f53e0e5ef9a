//! No governor at all, for embedders that govern by themselves and for simulations.

use std::path::Path;

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Admission, Governed, Limit, ResourceGovernor};
use ffrtmp_core::job::ResourceLimits;
use ffrtmp_core::node::Telemetry;

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

    fn enforced(&self) -> Vec<Limit> {
        Vec::new()
    }

    fn admit(&self, _: &ResourceLimits, _: &Path) -> Result<Admission> {
        Ok(Admission::Admitted)
    }

    fn govern(&self, pid: u32, _: &ResourceLimits) -> Result<Box<dyn Governed>> {
        Ok(Box::new(Watched::new(self.root.clone(), pid)))
    }

    fn telemetry(&self, _: &Path) -> Telemetry {
        Telemetry::default()
    }
}
