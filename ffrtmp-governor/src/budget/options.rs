//! How much of a machine may be given out.

use ffrtmp_core::policy::limits::DEFAULT_MIN_FREE_DISK_PERCENT;

use crate::probe::{Root, cpu, memory};

use super::strain::StrainLimits;

/// Most memory that is left to the system, in bytes.
const MOST_RESERVE: u64 = 4 << 30;

/// Wishes of the operator. What is absent fits the machine.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetOptions {
    /// Percent of one core for all attempts together; every usable hardware thread by default.
    pub cpu_percent: Option<u32>,
    /// How many times the processor may be given out, at least 1. It may be more than once because
    /// the quota of each attempt holds, few attempts keep all their threads busy, and too little
    /// processor only makes an attempt slower. Memory and disk are never given out twice.
    pub cpu_overcommit: f64,
    /// Bytes of memory for all attempts together; all but [`system_reserve`] by default.
    pub memory_bytes: Option<u64>,
    /// Bytes of each disk for all attempts together; what is free by default.
    pub disk_bytes: Option<u64>,
    /// Percent of each disk that stays free: with less, nothing begins; below twice as much, with a
    /// warning. 5 by default.
    pub min_free_disk_percent: u8,
    /// Attempts that the node was told to run at once. One that states no limit on the processor
    /// counts as one core, or as its equal share where that is less.
    pub attempts: Option<u32>,
    /// Pressure and heat at which nothing more is given out.
    pub strain: StrainLimits,
}

impl Default for BudgetOptions {
    fn default() -> Self {
        Self {
            cpu_percent: None,
            cpu_overcommit: 2.0,
            memory_bytes: None,
            disk_bytes: None,
            min_free_disk_percent: DEFAULT_MIN_FREE_DISK_PERCENT,
            attempts: None,
            strain: StrainLimits::default(),
        }
    }
}

/// What is given out at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// Percent of one core that the machine really has for attempts.
    pub cpu_percent: u64,
    /// Percent of one core that is given out: the same, overcommitted.
    pub cpu_given_percent: u64,
    /// What an attempt without a limit on the processor counts as, in percent of one core.
    pub cpu_default_percent: u64,
    /// Bytes of memory; `None` if the machine does not tell what it has.
    pub memory_bytes: Option<u64>,
    /// Bytes of each disk; `None` for what is free.
    pub disk_bytes: Option<u64>,
    /// Percent of each disk that stays free.
    pub min_free_disk_percent: u8,
    /// Pressure and heat at which nothing more is given out.
    pub strain: StrainLimits,
}

impl Budget {
    /// All memory and disk of a machine, as much processor as anybody wants, in any state.
    #[must_use]
    pub fn all_of(root: &Root) -> Self {
        Self {
            cpu_percent: u64::MAX,
            cpu_given_percent: u64::MAX,
            cpu_default_percent: 0,
            memory_bytes: memory::read(root).map(|memory| memory.total),
            disk_bytes: None,
            min_free_disk_percent: 0,
            strain: StrainLimits::none(),
        }
    }

    /// The budget of a machine. Wishes beyond the machine are cut to it: a budget never promises
    /// what is not there.
    #[must_use]
    pub fn of(root: &Root, options: &BudgetOptions) -> Self {
        let present = u64::from(cpu::usable_threads(root)) * 100;
        let cpu_percent = options.cpu_percent.map_or(present, |wish| u64::from(wish).clamp(1, present));
        let cpu_given_percent = overcommitted(cpu_percent, options.cpu_overcommit);
        let share = options.attempts.map_or(u64::MAX, |attempts| cpu_given_percent / u64::from(attempts.max(1)));
        let total = memory::read(root).map(|memory| memory.total);
        let spare = total.map(|total| total - system_reserve(total));
        Self {
            cpu_percent,
            cpu_given_percent,
            cpu_default_percent: share.clamp(1, cpu_percent.min(100)),
            memory_bytes: options.memory_bytes.map(|wish| total.map_or(wish, |total| wish.min(total))).or(spare),
            disk_bytes: options.disk_bytes,
            min_free_disk_percent: options.min_free_disk_percent,
            strain: options.strain.clone(),
        }
    }
}

fn overcommitted(percent: u64, factor: f64) -> u64 {
    let factor = if factor.is_finite() { factor.clamp(1.0, 1000.0) } else { 1.0 };
    (percent as f64 * factor) as u64
}

/// Memory that is left to the system: a quarter, at most 4 GiB.
#[must_use]
pub const fn system_reserve(total_bytes: u64) -> u64 {
    let quarter = total_bytes / 4;
    if quarter < MOST_RESERVE { quarter } else { MOST_RESERVE }
}
