//! Settings that fit a machine: what `ffrtmp config recommend` prints.
//!
//! Jobs at once are half the threads, within the ranges of the founding documents: 2–3 on 4–8
//! threads, 4–6 on 8–16, 8–12 above, and 1 or 2 below 4. A laptop stays at 3, because it throttles
//! under more. Every job is given at least 2 GiB of memory; a quarter of the memory, at most 4 GiB,
//! is left to the system. What the machine is for scales the jobs: all of them in production, three
//! quarters in staging, half in development, where a person works beside them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ffrtmp_core::error::{Code, Error, nearest};
use ffrtmp_core::policy::limits::DEFAULT_MEMORY_MB;
use serde::{Serialize, Serializer};

use crate::facts::HostFacts;

const MIB: u64 = 1 << 20;
/// Most memory that is left to the system, in megabytes.
const MOST_RESERVE_MB: u64 = 4096;
/// Most memory that one job is recommended, as for 4K60.
const MOST_MEMORY_MB: u64 = 4096;
/// Most jobs on a laptop.
const LAPTOP_JOBS: u32 = 3;

/// What a machine is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Environment {
    /// A person works on it too.
    Development,
    /// Trials under real conditions.
    Staging,
    /// Nothing else runs there.
    Production,
}

impl Environment {
    /// Every environment.
    pub const ALL: &'static [Self] = &[Self::Development, Self::Staging, Self::Production];

    /// The stable name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Development => "development",
            Self::Staging => "staging",
            Self::Production => "production",
        }
    }

    const fn percent_of_jobs(self) -> u32 {
        match self {
            Self::Development => 50,
            Self::Staging => 75,
            Self::Production => 100,
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for Environment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let names = || Self::ALL.iter().map(|environment| environment.as_str());
        Self::ALL.iter().copied().find(|environment| environment.as_str().eq_ignore_ascii_case(text)).ok_or_else(|| {
            let known = names().collect::<Vec<_>>().join(", ");
            let hint = nearest(text, names()).map_or_else(|| known.clone(), |near| format!("did you mean {near}?"));
            Error::new(Code::InvalidField, format!("unknown environment {text:?}")).field("environment").hint(hint)
        })
    }
}

/// Settings for an agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// What the machine is for.
    pub environment: Environment,
    /// Jobs at once.
    pub max_concurrent_jobs: u32,
    /// Limit of one job in percent of a core.
    pub cpu_limit_percent: u32,
    /// Limit of one job in megabytes (2^20 bytes).
    pub memory_limit_mb: u64,
    /// Fallback of the long poll.
    #[serde(rename = "poll_interval_sec", serialize_with = "seconds")]
    pub poll_interval: Duration,
    /// Time between two signs of life; the master gives up after three.
    #[serde(rename = "heartbeat_interval_sec", serialize_with = "seconds")]
    pub heartbeat_interval: Duration,
    /// Why, one sentence per rule that applied.
    pub reasons: Vec<String>,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_secs())
}

/// Settings that fit a machine and what it is for. The same facts give the same settings.
#[must_use]
pub fn recommend(environment: Environment, facts: &HostFacts) -> Recommendation {
    let mut reasons = Vec::new();
    let threads = facts.cpu_threads.max(1);
    let by_threads = jobs_by_threads(threads);
    reasons.push(format!("{threads} usable hardware threads suit {by_threads} jobs at once"));
    let mut jobs = by_threads;
    if facts.node_type == "laptop" && jobs > LAPTOP_JOBS {
        jobs = LAPTOP_JOBS;
        reasons.push(format!("a laptop throttles under more than {LAPTOP_JOBS} jobs"));
    }
    let scaled = (jobs * environment.percent_of_jobs()).div_ceil(100);
    if scaled < jobs {
        jobs = scaled;
        reasons.push(format!("{environment} uses {} % of them", environment.percent_of_jobs()));
    }
    let memory = memory_for_jobs_mb(facts);
    if let Some(memory) = memory {
        let by_memory = u32::try_from(memory / DEFAULT_MEMORY_MB).unwrap_or(u32::MAX).max(1);
        if by_memory < jobs {
            jobs = by_memory;
            reasons.push(format!("{memory} MB of memory are enough for {by_memory} jobs of {DEFAULT_MEMORY_MB} MB"));
        }
    }
    let memory_limit_mb = memory.map_or(DEFAULT_MEMORY_MB, |memory| (memory / u64::from(jobs)).min(MOST_MEMORY_MB));
    if memory_limit_mb < DEFAULT_MEMORY_MB {
        reasons.push(format!("memory is short: {memory_limit_mb} MB do for 720p, not for more"));
    }
    let heartbeat = if environment == Environment::Development { 10 } else { 30 };
    Recommendation {
        environment,
        max_concurrent_jobs: jobs,
        cpu_limit_percent: threads.saturating_mul(100) / jobs,
        memory_limit_mb,
        poll_interval: Duration::from_secs(3),
        heartbeat_interval: Duration::from_secs(heartbeat),
        reasons,
    }
}

fn jobs_by_threads(threads: u32) -> u32 {
    let (least, most) = match threads {
        ..4 => (1, 2),
        4..8 => (2, 3),
        8..16 => (4, 6),
        _ => (8, 12),
    };
    threads.div_ceil(2).clamp(least, most)
}

/// Memory that jobs may share; `None` if the machine does not tell what it has.
fn memory_for_jobs_mb(facts: &HostFacts) -> Option<u64> {
    let total = facts.ram_total_bytes / MIB;
    (total > 0).then(|| total - (total / 4).min(MOST_RESERVE_MB))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(node_type: &str, threads: u32, gib: u64) -> HostFacts {
        HostFacts {
            node_type: node_type.into(),
            cpu_threads: threads,
            ram_total_bytes: gib << 30,
            ..HostFacts::default()
        }
    }

    #[test]
    fn jobs_follow_threads_memory_and_purpose() {
        use Environment::{Development, Production, Staging};
        for (environment, facts, jobs, cpu, memory) in [
            (Production, machine("server", 1, 8), 1, 100, 4096),
            (Production, machine("server", 3, 8), 2, 150, 3072),
            (Production, machine("laptop", 4, 16), 2, 200, 4096),
            (Production, machine("desktop", 7, 16), 3, 233, 4096),
            (Production, machine("laptop", 16, 32), 3, 533, 4096),
            (Production, machine("desktop", 8, 32), 4, 200, 4096),
            (Production, machine("desktop", 15, 64), 6, 250, 4096),
            (Production, machine("server", 16, 64), 8, 200, 4096),
            (Production, machine("server", 128, 512), 12, 1066, 4096),
            (Staging, machine("server", 16, 64), 6, 266, 4096),
            (Development, machine("server", 16, 64), 4, 400, 4096),
            (Development, machine("desktop", 1, 4), 1, 100, 3072),
            (Production, machine("server", 32, 8), 3, 1066, 2048),
            (Production, machine("server", 4, 1), 1, 400, 768),
            (Production, machine("server", 0, 0), 1, 100, 2048),
        ] {
            let got = recommend(environment, &facts);
            let numbers = (got.max_concurrent_jobs, got.cpu_limit_percent, got.memory_limit_mb);
            assert_eq!(numbers, (jobs, cpu, memory), "{environment} {facts:?}");
            assert!(!got.reasons.is_empty());
        }
    }

    #[test]
    fn environments_have_names() {
        assert_eq!("Production".parse::<Environment>().unwrap(), Environment::Production);
        let error = "prodction".parse::<Environment>().unwrap_err();
        assert!(error.hint_text().contains("production"));
        let shown = serde_json::to_value(recommend(Environment::Staging, &machine("server", 2, 4))).unwrap();
        assert_eq!((&shown["environment"], &shown["poll_interval_sec"]), (&"staging".into(), &3.into()));
    }
}
