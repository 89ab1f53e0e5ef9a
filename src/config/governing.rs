//! Flags about the machine that an agent governs: limits, the sandbox, what is given out.

use std::ffi::OsString;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::ResourceGovernor;
use ffrtmp_core::policy::limits::DEFAULT_MIN_FREE_DISK_PERCENT;
use ffrtmp_governor::budget::BudgetOptions;
use ffrtmp_governor::energy::EnergyOptions;
use ffrtmp_governor::gpu::GpuOptions;
use ffrtmp_governor::host::{self, CgroupUse, HostOptions};

const MIB: u64 = 1 << 20;

/// How attempts are limited, confined and admitted.
#[derive(Args, Clone, Debug)]
pub struct GoverningArgs {
    /// Limits by control groups: auto where this user may, off, or require them
    #[arg(long, default_value = "auto", env = "FFRTMP_CGROUPS")]
    pub cgroups: CgroupChoice,
    /// Sandbox around attempts: on with every layer that the kernel has, off, or require every layer
    #[arg(long, default_value = "on", env = "FFRTMP_SANDBOX")]
    pub sandbox: SandboxChoice,
    /// Percent of one core for a job that states no limit; every core by default
    #[arg(long, env = "FFRTMP_CPU_LIMIT_PERCENT", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub cpu_limit_percent: Option<u32>,
    /// Megabytes of memory for all jobs together; all but a reserve for the system by default
    #[arg(long, env = "FFRTMP_MEMORY_BUDGET_MB", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub memory_budget_mb: Option<u64>,
    /// Megabytes of disk for all jobs together; what is free by default
    #[arg(long, env = "FFRTMP_DISK_BUDGET_MB", value_parser = clap::value_parser!(u64).range(1..=1 << 40))]
    pub disk_budget_mb: Option<u64>,
    /// Percent of each disk that stays free: with less, no job begins or goes on; below twice as much,
    /// with a warning
    #[arg(long, default_value_t = DEFAULT_MIN_FREE_DISK_PERCENT, env = "FFRTMP_MIN_FREE_DISK_PERCENT",
          value_parser = clap::value_parser!(u8).range(0..=50))]
    pub min_free_disk_percent: u8,
    /// Encode sessions of every graphics card, such as 12, or of single ones, such as 0=12,1=3; by
    /// what is known of the card and its driver by default
    #[arg(long, env = "FFRTMP_GPU_SESSIONS")]
    pub gpu_sessions: Option<GpuOptions>,
    /// Power of a busy core in watts, where no meter can be read
    #[arg(long, env = "FFRTMP_WATTS_PER_CORE", value_parser = watts)]
    pub watts_per_core: Option<f64>,
}

/// Whether control groups are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CgroupChoice {
    /// Where this user may.
    Auto,
    /// Never.
    Off,
    /// Always, or the agent does not start.
    Require,
}

/// How much of the sandbox there must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SandboxChoice {
    /// Every layer that can be had.
    On,
    /// None.
    Off,
    /// Every layer, or no attempt.
    Require,
}

impl SandboxChoice {
    /// The stable name, as the runner takes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
            Self::Require => "require",
        }
    }
}

impl GoverningArgs {
    /// What the runner is told; nothing where its own choice is meant.
    pub(super) fn runner_arguments(&self) -> Vec<OsString> {
        match self.sandbox {
            SandboxChoice::On => Vec::new(),
            other => vec!["--sandbox".into(), other.as_str().into()],
        }
    }

    /// The governor of this machine.
    ///
    /// # Errors
    /// `invalid_config` if control groups are required and cannot be used.
    pub(super) fn governor(&self, max_concurrent_jobs: Option<u32>) -> Result<Arc<dyn ResourceGovernor>> {
        let mib = |megabytes: Option<u64>| megabytes.map(|megabytes| megabytes.saturating_mul(MIB));
        let defaults = EnergyOptions::default();
        let options = HostOptions {
            cgroups: match self.cgroups {
                CgroupChoice::Auto => CgroupUse::Auto,
                CgroupChoice::Off => CgroupUse::Off,
                CgroupChoice::Require => CgroupUse::Require,
            },
            budget: BudgetOptions {
                memory_bytes: mib(self.memory_budget_mb),
                disk_bytes: mib(self.disk_budget_mb),
                min_free_disk_percent: self.min_free_disk_percent,
                ..BudgetOptions::default()
            },
            energy: EnergyOptions {
                watts_per_core: self.watts_per_core.unwrap_or(defaults.watts_per_core),
                ..defaults
            },
            gpus: self.gpu_sessions.clone().unwrap_or_default(),
            max_concurrent_jobs,
            ..HostOptions::default()
        };
        host::detect(&options).map_err(|error| {
            let wrong = Error::new(Code::InvalidConfig, error.message()).hint(error.hint_text());
            wrong.field(format!("--{}", error.field_name().unwrap_or("cgroups")))
        })
    }
}

fn watts(text: &str) -> std::result::Result<f64, String> {
    match text.parse() {
        Ok(watts) if (0.0..=1e6).contains(&watts) => Ok(watts),
        _ => Err(format!("{text:?} is not a power in watts; give a number such as 5.5")),
    }
}

#[cfg(test)]
mod tests {
    use ffrtmp_governor::sandbox::Mode;

    use super::*;

    #[test]
    fn the_runner_knows_every_choice_by_its_name() {
        for choice in SandboxChoice::value_variants() {
            assert!(choice.as_str().parse::<Mode>().is_ok(), "{choice:?}");
        }
    }
}
