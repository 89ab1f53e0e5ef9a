//! Settings that fit a machine: what `ffrtmp config recommend` prints, by the names of the agent's
//! flags, with one reason for each.
//!
//! Jobs at once are half the threads, within the ranges of the founding documents: 2–3 on 4–8
//! threads, 4–6 on 8–16, 8–12 above, and 1 or 2 below 4. A laptop stays at 3, because it throttles
//! under more. What the machine is for scales them: all in production, three quarters in staging, half
//! in development, where a person works beside them. An encode session of a graphics processor that
//! works carries a job besides, at most as many again. Every job is given at least 2 GiB of memory and
//! 5000 MB of disk; a quarter of the memory, at most 4 GiB, is left to the system.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use ffrtmp_core::error::{Code, Error, nearest};
use ffrtmp_core::node::{Gpu, Safeguard};
use ffrtmp_core::policy::limits::{DEFAULT_DISK_MB, DEFAULT_MEMORY_MB, DEFAULT_MIN_FREE_DISK_PERCENT};
use serde::{Serialize, Serializer};

use crate::budget::system_reserve;
use crate::facts::HostFacts;

const MIB: u64 = 1 << 20;
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

/// What was found out about a machine by trying. What is empty was not tried, and holds nothing back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Abilities {
    /// Limits on attempts, as a governor tells them.
    pub limits: Vec<Safeguard>,
    /// Layers of the sandbox, as a trial child tells them.
    pub sandbox: Vec<Safeguard>,
    /// Encoders that passed a test encode.
    pub encoders: Vec<String>,
    /// Bytes that are free where attempts work.
    pub disk_available_bytes: Option<u64>,
    /// Bytes of that disk, free or not.
    pub disk_total_bytes: Option<u64>,
}

/// Settings for an agent, by the names of its flags.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Recommendation {
    /// What the machine is for.
    pub environment: Environment,
    /// Jobs at once.
    pub max_concurrent_jobs: u32,
    /// Percent of a core for a job that states no limit.
    pub cpu_limit_percent: u32,
    /// Megabytes (2^20 bytes) of memory for all jobs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_budget_mb: Option<u64>,
    /// Megabytes of disk for all jobs together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_budget_mb: Option<u64>,
    /// Percent of the disk that stays free.
    pub min_free_disk_percent: u8,
    /// Encode sessions of the graphics cards, by their indexes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_sessions: Option<String>,
    /// Fallback of the long poll.
    #[serde(serialize_with = "seconds")]
    pub poll_interval: Duration,
    /// Time between two signs of life; the master gives up after three.
    #[serde(serialize_with = "seconds")]
    pub heartbeat_interval: Duration,
    /// Whether control groups are used: `auto` or `require`.
    pub cgroups: &'static str,
    /// Whether attempts are confined: `on` or `require`.
    pub sandbox: &'static str,
    /// Why, one sentence for each setting.
    pub reasons: BTreeMap<&'static str, String>,
}

fn seconds<S: Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{}s", time.as_secs()))
}

/// Settings that fit a machine and what it is for. The same facts give the same settings.
#[must_use]
pub fn recommend(environment: Environment, facts: &HostFacts, abilities: &Abilities) -> Recommendation {
    let threads = facts.cpu_threads.max(1);
    let (jobs, why_jobs) = jobs(environment, facts, abilities);
    let cpu_limit_percent = threads.saturating_mul(100) / jobs;
    let memory_budget_mb = memory_for_jobs_mb(facts);
    let (cgroups, why_cgroups) = cgroups(environment, &abilities.limits);
    let (sandbox, why_sandbox) = sandbox(environment, &abilities.sandbox);
    let mut reasons = BTreeMap::from([
        ("max_concurrent_jobs", why_jobs),
        ("cpu_limit_percent", why_share(threads, jobs)),
        ("poll_interval", "the master wakes a waiting agent; this is the wait after an answer that was none".into()),
        ("heartbeat_interval", why_heartbeat(environment).into()),
        ("cgroups", why_cgroups),
        ("sandbox", why_sandbox),
    ]);
    if let Some(memory) = memory_budget_mb {
        let left = facts.ram_total_bytes / MIB - memory;
        reasons.insert("memory_budget_mb", format!("{left} MB are left to the system{}", short_memory(memory, jobs)));
    }
    let (disk_budget_mb, why_disk, why_free) = disk(abilities);
    reasons.insert("min_free_disk_percent", why_free);
    if disk_budget_mb.is_some() {
        reasons.insert("disk_budget_mb", why_disk);
    }
    let gpu_sessions = gpu_sessions(&facts.gpus);
    if gpu_sessions.is_some() {
        let names: Vec<_> = facts.gpus.iter().map(|gpu| format!("{} {}", gpu.index, gpu.name)).collect();
        reasons.insert("gpu_sessions", format!("what is known of the cards and their drivers: {}", names.join(", ")));
    }
    Recommendation {
        environment,
        max_concurrent_jobs: jobs,
        cpu_limit_percent,
        memory_budget_mb,
        disk_budget_mb,
        min_free_disk_percent: DEFAULT_MIN_FREE_DISK_PERCENT,
        gpu_sessions,
        poll_interval: Duration::from_secs(3),
        heartbeat_interval: heartbeat(environment),
        cgroups,
        sandbox,
        reasons,
    }
}

fn jobs(environment: Environment, facts: &HostFacts, abilities: &Abilities) -> (u32, String) {
    let threads = facts.cpu_threads.max(1);
    let mut jobs = jobs_by_threads(threads);
    let mut why = vec![format!("{threads} usable hardware threads suit {jobs}")];
    if facts.node_type == "laptop" && jobs > LAPTOP_JOBS {
        jobs = LAPTOP_JOBS;
        why.push(format!("a laptop throttles under more than {LAPTOP_JOBS}"));
    }
    let scaled = (jobs * environment.percent_of_jobs()).div_ceil(100);
    if scaled < jobs {
        jobs = scaled;
        why.push(format!("{environment} uses {} % of them", environment.percent_of_jobs()));
    }
    let device = abilities.encoders.iter().find(|encoder| DEVICES.iter().any(|device| encoder.ends_with(device)));
    let sessions: u32 = facts.gpus.iter().map(|gpu| gpu.max_encode_sessions).fold(0, u32::saturating_add);
    if let Some(encoder) = device.filter(|_| sessions > 0) {
        let besides = sessions.min(jobs);
        jobs += besides;
        why.push(format!("{encoder} works and carries {besides} besides"));
    }
    let mut bound = |what: &str, has_mb: Option<u64>, each_mb: u64| {
        let Some(has_mb) = has_mb else { return };
        let fit = u32::try_from(has_mb / each_mb).unwrap_or(u32::MAX).max(1);
        if fit < jobs {
            jobs = fit;
            why.push(format!("{has_mb} MB of {what} are enough for {fit} of {each_mb} MB"));
        }
    };
    bound("memory", memory_for_jobs_mb(facts), DEFAULT_MEMORY_MB);
    bound("free disk", disk_for_jobs_mb(abilities), DEFAULT_DISK_MB);
    if !abilities.encoders.is_empty() {
        why.push(format!("encoders that work: {}", abilities.encoders.join(", ")));
    }
    (jobs, why.join("; "))
}

/// Disk for jobs, why, and why some stays free.
fn disk(abilities: &Abilities) -> (Option<u64>, String, String) {
    let percent = DEFAULT_MIN_FREE_DISK_PERCENT;
    let (Some(free), Some(budget)) = (abilities.disk_available_bytes, disk_for_jobs_mb(abilities)) else {
        return (None, String::new(), "jobs wait rather than fill a disk".into());
    };
    let free = free / MIB;
    let stays = free - budget;
    match budget {
        0 => {
            let why = format!("only {free} MB are free here: no job begins before there are more");
            (None, String::new(), why)
        }
        _ => (
            Some(budget),
            format!("{free} MB are free now, {stays} MB of them stay free"),
            format!("{percent} % of the disk are {stays} MB; with less free no job begins"),
        ),
    }
}

/// What is free of the disk without what must stay so.
fn disk_for_jobs_mb(abilities: &Abilities) -> Option<u64> {
    let total = abilities.disk_total_bytes.unwrap_or(0);
    let stays = total / 100 * u64::from(DEFAULT_MIN_FREE_DISK_PERCENT);
    abilities.disk_available_bytes.map(|free| free.saturating_sub(stays) / MIB)
}

/// Sessions of the cards that have some.
fn gpu_sessions(gpus: &[Gpu]) -> Option<String> {
    let known = gpus.iter().filter(|gpu| gpu.max_encode_sessions > 0);
    let each: Vec<_> = known.map(|gpu| format!("{}={}", gpu.index, gpu.max_encode_sessions)).collect();
    (!each.is_empty()).then(|| each.join(","))
}

fn short_memory(memory_mb: u64, jobs: u32) -> String {
    let each = memory_mb / u64::from(jobs);
    if each < DEFAULT_MEMORY_MB {
        format!("; memory is short: {each} MB for a job do for 720p, not for more")
    } else {
        format!("; {each} MB for each job")
    }
}

fn why_share(threads: u32, jobs: u32) -> String {
    match jobs {
        1 => format!("all {threads} hardware threads for the only job"),
        several => format!("an equal share of {threads} hardware threads for each of {several} jobs"),
    }
}

fn heartbeat(environment: Environment) -> Duration {
    Duration::from_secs(if environment == Environment::Development { 10 } else { 30 })
}

fn why_heartbeat(environment: Environment) -> &'static str {
    match environment {
        Environment::Development => "a person who tries things out wants to see soon that a node is gone",
        Environment::Staging | Environment::Production => "the master gives a node up after three that are missing",
    }
}

/// Control groups are required where they work and nobody tries things out: a machine that loses them
/// shall say so rather than run unbounded jobs.
fn cgroups(environment: Environment, limits: &[Safeguard]) -> (&'static str, String) {
    let state = |name: &str| limits.iter().find(|limit| limit.name == name);
    let works = |name: &str| state(name).is_some_and(|limit| limit.on);
    if works("cpu") && works("memory") {
        let word = if environment == Environment::Development { "auto" } else { "require" };
        let means = state("memory").map(|limit| limit.detail.as_str()).unwrap_or_default();
        return (word, format!("limits on processor and memory hold here: {means}"));
    }
    let lacking = ["cpu", "memory"].iter().find_map(|name| state(name).filter(|limit| !limit.on));
    match lacking {
        Some(limit) => ("auto", format!("{} cannot be limited by the kernel here: {}", limit.name, limit.detail)),
        None => ("auto", "used where this machine has them".into()),
    }
}

fn sandbox(environment: Environment, layers: &[Safeguard]) -> (&'static str, String) {
    let off: Vec<_> = layers.iter().filter(|layer| !layer.on).map(|layer| layer.name.as_str()).collect();
    match (layers, &off[..]) {
        ([], _) => ("on", "every layer that this machine has".into()),
        (all, []) if environment != Environment::Development => ("require", format!("all {} layers work", all.len())),
        (all, []) => ("on", format!("all {} layers work", all.len())),
        (all, off) => {
            ("on", format!("{} of {} layers work; not here: {}", all.len() - off.len(), all.len(), off.join(", ")))
        }
    }
}

/// How the names of encoders on devices end.
const DEVICES: &[&str] = &["_nvenc", "_qsv", "_vaapi", "_amf"];

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
    let total = facts.ram_total_bytes;
    (total > 0).then(|| (total - system_reserve(total)) / MIB)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::GpuOptions;

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
            (Production, machine("server", 1, 8), 1, 100, Some(6144)),
            (Production, machine("server", 3, 8), 2, 150, Some(6144)),
            (Production, machine("laptop", 4, 16), 2, 200, Some(12288)),
            (Production, machine("desktop", 7, 16), 3, 233, Some(12288)),
            (Production, machine("laptop", 16, 32), 3, 533, Some(28672)),
            (Production, machine("desktop", 8, 32), 4, 200, Some(28672)),
            (Production, machine("desktop", 15, 64), 6, 250, Some(61440)),
            (Production, machine("server", 16, 64), 8, 200, Some(61440)),
            (Production, machine("server", 128, 512), 12, 1066, Some(520_192)),
            (Staging, machine("server", 16, 64), 6, 266, Some(61440)),
            (Development, machine("server", 16, 64), 4, 400, Some(61440)),
            (Production, machine("server", 32, 8), 3, 1066, Some(6144)),
            (Production, machine("server", 4, 1), 1, 400, Some(768)),
            (Production, machine("server", 0, 0), 1, 100, None),
        ] {
            let got = recommend(environment, &facts, &Abilities::default());
            let numbers = (got.max_concurrent_jobs, got.cpu_limit_percent, got.memory_budget_mb);
            assert_eq!(numbers, (jobs, cpu, memory), "{environment} {facts:?}");
        }
    }

    #[test]
    fn what_was_tried_counts() {
        let gpu = Gpu { max_encode_sessions: 3, ..Gpu::default() };
        let facts = HostFacts { gpus: vec![gpu], ..machine("server", 16, 64) };
        let groups = ["cpu", "memory"].map(|name| Safeguard::on(name, "cgroup v2"));
        let abilities = Abilities {
            limits: groups.to_vec(),
            sandbox: vec![Safeguard::on("seccomp", ""), Safeguard::off("landlock", "old kernel")],
            encoders: vec!["libx264".into(), "h264_nvenc".into()],
            disk_available_bytes: Some(1 << 40),
            disk_total_bytes: Some(1 << 41),
        };
        let got = recommend(Environment::Production, &facts, &abilities);
        assert_eq!((got.max_concurrent_jobs, got.cgroups, got.sandbox), (11, "require", "on"));
        assert!(got.reasons["sandbox"].contains("landlock"), "{:?}", got.reasons);
        assert!(got.reasons["max_concurrent_jobs"].ends_with("libx264, h264_nvenc"), "{:?}", got.reasons);
        assert_eq!((got.disk_budget_mb, got.min_free_disk_percent), (Some(943_718), 5));
        assert!(got.reasons["disk_budget_mb"].starts_with("1048576 MB are free"), "{:?}", got.reasons);
        assert_eq!(got.gpu_sessions.as_deref(), Some("0=3"));
        let sessions = got.gpu_sessions.map(|told| told.parse::<GpuOptions>());
        assert!(matches!(sessions, Some(Ok(_))), "the agent takes it: {sessions:?}");
        let gib = |free: u64, total: u64| Abilities {
            disk_available_bytes: Some(free << 30),
            disk_total_bytes: Some(total << 30),
            ..abilities.clone()
        };
        assert_eq!(recommend(Environment::Production, &facts, &gib(11, 12)).max_concurrent_jobs, 2);
        let full = recommend(Environment::Production, &facts, &gib(1, 40));
        assert!(full.disk_budget_mb.is_none() && full.reasons["min_free_disk_percent"].contains("only 1024 MB"));
        let watched = Abilities { limits: vec![Safeguard::off("cpu", "no delegation")], ..Abilities::default() };
        let got = recommend(Environment::Production, &facts, &watched);
        assert!(got.cgroups == "auto" && got.reasons["cgroups"].contains("no delegation"), "{:?}", got.reasons);
    }

    #[test]
    fn every_setting_has_a_name_and_a_reason() {
        assert_eq!("Production".parse::<Environment>().unwrap(), Environment::Production);
        let error = "prodction".parse::<Environment>().unwrap_err();
        assert!(error.hint_text().contains("production"));
        let got = recommend(Environment::Staging, &machine("server", 2, 4), &Abilities::default());
        let shown = serde_json::to_value(&got).unwrap();
        assert_eq!((&shown["environment"], &shown["poll_interval"]), (&"staging".into(), &"3s".into()));
        for name in
            shown.as_object().unwrap().keys().filter(|name| !["environment", "reasons"].contains(&name.as_str()))
        {
            assert!(!got.reasons[name.as_str()].is_empty(), "{name}");
        }
    }
}
