//! The governor that fits this machine: limits by what the kernel allows, energy, then a budget.

use std::sync::Arc;

use ffrtmp_core::error::Result;
use ffrtmp_core::governor::ResourceGovernor;
use ffrtmp_core::policy::limits::DEFAULT_NICE;

use crate::budget::{BudgetOptions, Budgeted};
use crate::nice::NiceGovernor;

/// Whether control groups are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CgroupUse {
    /// Where this process may.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Always: a machine where this process may not is an error.
    Require,
}

/// Wishes of the operator.
#[derive(Clone, Debug, PartialEq)]
pub struct HostOptions {
    /// Scheduling priority of attempts, -20 to 19.
    pub nice: i32,
    /// Whether control groups are used.
    pub cgroups: CgroupUse,
    /// What is given out.
    pub budget: BudgetOptions,
    /// Attempts at once, as the node was told; see [`BudgetOptions::attempts`].
    pub max_concurrent_jobs: Option<u32>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            nice: DEFAULT_NICE,
            cgroups: CgroupUse::default(),
            budget: BudgetOptions::default(),
            max_concurrent_jobs: None,
        }
    }
}

/// Composes the governor that fits this machine.
///
/// # Errors
/// `invalid_field` for `cgroups` if they are required and cannot be used, with the reason.
pub fn detect(options: &HostOptions) -> Result<Arc<dyn ResourceGovernor>> {
    let limits: Arc<dyn ResourceGovernor> = Arc::new(NiceGovernor::with_nice(options.nice));
    let attempts = options.budget.attempts.or(options.max_concurrent_jobs);
    let budget = BudgetOptions { attempts, ..options.budget.clone() };
    Ok(Arc::new(Budgeted::new(limits, &budget)))
}
