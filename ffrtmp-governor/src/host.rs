//! The governor that fits this machine: limits by what the kernel allows, then energy, then a
//! budget around both.

use std::sync::Arc;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::ResourceGovernor;
use ffrtmp_core::policy::limits::DEFAULT_NICE;

use crate::budget::{BudgetOptions, Budgeted};
use crate::cgroups::{CgroupGovernor, Ownership};
use crate::energy::{EnergyOptions, Metered};
use crate::gpu::{Fleet, GpuOptions, GpuRule, Pool};
use crate::nice::NiceGovernor;
use crate::probe::Root;

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
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Scheduling priority of attempts, -20 to 19.
    pub nice: i32,
    /// Whether control groups are used.
    pub cgroups: CgroupUse,
    /// What is given out.
    pub budget: BudgetOptions,
    /// How energy is found.
    pub energy: EnergyOptions,
    /// What is known of its graphics processors.
    pub gpus: GpuOptions,
    /// Which of them an attempt gets.
    pub gpu_rule: GpuRule,
    /// Attempts at once, as the node was told; see [`BudgetOptions::attempts`].
    pub max_concurrent_jobs: Option<u32>,
}

impl Default for HostOptions {
    fn default() -> Self {
        Self {
            nice: DEFAULT_NICE,
            cgroups: CgroupUse::default(),
            budget: BudgetOptions::default(),
            energy: EnergyOptions::default(),
            gpus: GpuOptions::default(),
            gpu_rule: GpuRule::default(),
            max_concurrent_jobs: None,
        }
    }
}

/// Composes the governor that fits this machine.
///
/// # Errors
/// `invalid_field` for `cgroups` if they are required and cannot be used, with the reason.
pub fn detect(options: &HostOptions) -> Result<Arc<dyn ResourceGovernor>> {
    let fleet = Fleet::here(&options.gpus);
    let limiting = limiting(options)?;
    let metered = Metered::on(Root::default(), limiting, &options.energy, Some(Arc::clone(&fleet)));
    let attempts = options.budget.attempts.or(options.max_concurrent_jobs);
    let budget = BudgetOptions { attempts, ..options.budget.clone() };
    let pool = Pool::new(fleet, options.gpu_rule);
    Ok(Arc::new(Budgeted::new(Arc::new(metered), &budget).with_gpus(pool)))
}

fn limiting(options: &HostOptions) -> Result<Arc<dyn ResourceGovernor>> {
    let nice = NiceGovernor::with_nice(options.nice);
    if options.cgroups == CgroupUse::Off {
        return Ok(Arc::new(nice.because("control groups are switched off")));
    }
    match CgroupGovernor::with_nice(Ownership::Attempts, options.nice) {
        Ok(groups) => Ok(Arc::new(groups)),
        Err(reason) if options.cgroups == CgroupUse::Auto => Ok(Arc::new(nice.because(reason))),
        Err(reason) => Err(Error::new(Code::InvalidField, format!("no control groups: {reason}"))
            .field("cgroups")
            .hint("give the service a delegated group, or do not require control groups")),
    }
}
