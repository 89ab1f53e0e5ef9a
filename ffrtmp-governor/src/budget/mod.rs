//! What of the machine is given out to attempts, and when nothing more is.
//!
//! | file | subject |
//! |---|---|
//! | `options` | how much may be given out: the machine's own size by default |
//! | `ledger` | who holds what: admission, reservation, room |
//! | `guards` | memory that attempts use of what they have reserved |
//! | `strain` | pressure and heat that hold new attempts back |
//! | `heat` | sensors near their critical point, processors slowed for heat |
//!
//! What is not here: limits on processes, which the governor inside puts; the choice between
//! graphics processors ([`crate::gpu`]).

mod guards;
mod heat;
mod ledger;
mod options;
mod strain;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::{Admission, Demand, Governed, ProcessLimits, Reservation, ResourceGovernor, Room};
use ffrtmp_core::node::{Safeguard, Telemetry};

use crate::gpu::Pool;
use crate::probe::Root;

pub use ledger::Ledger;
pub use options::{Budget, BudgetOptions, system_reserve};
pub use strain::StrainLimits;

/// Decides by a budget how many attempts fit; puts limits on processes as the governor inside does.
///
/// # Contract
/// Admission, reservation and room are decided here alone; those of the governor inside are not
/// asked. Everything else is its.
pub struct Budgeted {
    inner: Arc<dyn ResourceGovernor>,
    ledger: Ledger,
}

impl Budgeted {
    /// A budget for this machine.
    #[must_use]
    pub fn new(inner: Arc<dyn ResourceGovernor>, options: &BudgetOptions) -> Self {
        Self::on(Root::default(), inner, options)
    }

    /// The same for a machine described by files below another root.
    #[must_use]
    pub fn on(root: Root, inner: Arc<dyn ResourceGovernor>, options: &BudgetOptions) -> Self {
        let budget = Budget::of(&root, options);
        Self { inner, ledger: Ledger::new(root, budget) }
    }

    /// The same with encode sessions of graphics processors.
    #[must_use]
    pub fn with_gpus(self, gpus: Pool) -> Self {
        Self { ledger: self.ledger.with_gpus(gpus), ..self }
    }

    /// What is given out at most.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        self.ledger.budget()
    }
}

impl ResourceGovernor for Budgeted {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn limits(&self) -> Vec<Safeguard> {
        self.inner.limits()
    }

    fn admit(&self, demand: &Demand<'_>) -> Result<Admission> {
        self.ledger.admit(demand)
    }

    fn reserve(&self, demand: &Demand<'_>) -> Result<Reservation> {
        self.ledger.reserve(demand)
    }

    fn room(&self, work_dir: &Path) -> Room {
        self.ledger.room(work_dir)
    }

    fn govern(&self, pid: u32, limits: &ProcessLimits) -> Result<Box<dyn Governed>> {
        Ok(self.ledger.counted(Arc::from(self.inner.govern(pid, limits)?)))
    }

    fn telemetry(&self, work_dir: &Path) -> Telemetry {
        let told = self.inner.telemetry(work_dir);
        let gpus = self.ledger.gpus().map_or(told.gpus, |pool| pool.fleet().telemetry());
        Telemetry { gpus, held_back: self.ledger.held_back(work_dir), ..told }
    }
}
