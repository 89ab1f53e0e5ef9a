//! Limits into files of a group: what they may be, how they are written, how they are told.

use cgroups_rs::MaxValue;
use cgroups_rs::blkio::BlkIoController;
use cgroups_rs::cpu::CpuController;
use cgroups_rs::memory::MemController;
use cgroups_rs::pid::PidController;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::{IoLimit, Limit, ProcessLimits};
use ffrtmp_core::node::Safeguard;
use rustix::io::Errno;

use super::group::{Group, Seat, refused};
use super::layout::{Controller, Layout};
use super::mounts::Version;
use super::owner::Ownership;

/// Length in microseconds of the time in which a quota is counted.
const PERIOD_US: u64 = 100_000;
/// Less than this and not even the first page of a program fits.
const LEAST_MEMORY: u64 = 1 << 20;

/// The kernel has no more processes than this, and takes no larger number: `PID_MAX_LIMIT`.
const ALL_PIDS: u32 = 4 << 20;

/// Refuses limits under which nothing could run.
pub(crate) fn check(limits: &ProcessLimits) -> Result<()> {
    let invalid = |field: &str, message: String, hint: &str| {
        Err(Error::new(Code::InvalidField, message).field(field).hint(hint.to_owned()))
    };
    if limits.cpu_percent == Some(0) {
        return invalid("cpu_percent", "0 % of a processor".into(), "give 1 or more; 100 is one core");
    }
    if let Some(weight) = limits.cpu_weight.filter(|weight| !(1..=10_000).contains(weight)) {
        return invalid("cpu_weight", format!("{weight} is no weight"), "give 1 to 10000; 100 is everybody's");
    }
    if let Some(bytes) = limits.memory_bytes.filter(|bytes| *bytes < LEAST_MEMORY) {
        return invalid("memory_bytes", format!("{bytes} bytes of memory"), "give at least 1 MiB, 1048576 bytes");
    }
    if limits.max_processes == Some(0) {
        return invalid("max_processes", "0 processes".into(), "give 1 or more; threads count too");
    }
    let rates = |io: &IoLimit| [io.read_bytes, io.write_bytes, io.reads, io.writes];
    if limits.io.iter().flat_map(rates).any(|rate| rate == Some(0)) {
        return invalid("io", "a rate of 0".into(), "give 1 or more, or leave the rate out");
    }
    Ok(())
}

/// Writes limits into a group. What its controllers do not hold is left out; [`safeguards`] has
/// said so. `cores` is what groups above leave, for the kernel refuses more than that.
pub(crate) fn apply(group: &Group, limits: &ProcessLimits, cores: Option<f64>) -> Result<()> {
    if let Some(seat) = group.seat(Controller::Cpu) {
        limit_cpu(seat, limits, cores)?;
    }
    if let (Some(seat), Some(bytes)) = (group.seat(Controller::Memory), limits.memory_bytes) {
        limit_memory(seat, bytes)?;
    }
    if let (Some(seat), Some(most)) = (group.seat(Controller::Pids), limits.max_processes) {
        let pids = PidController::new(seat.folder.clone(), is_v2(seat));
        let most = if most < ALL_PIDS { MaxValue::Value(most.into()) } else { MaxValue::Max };
        pids.set_pid_max(most).map_err(unwritten("max_processes"))?;
    }
    if let Some(seat) = group.seat(Controller::Io) {
        limits.io.iter().try_for_each(|io| limit_io(seat, io))?;
    }
    Ok(())
}

fn limit_cpu(seat: &Seat, limits: &ProcessLimits, cores: Option<f64>) -> Result<()> {
    let cpu = CpuController::new(seat.folder.clone(), is_v2(seat));
    if let Some(percent) = limits.cpu_percent {
        cpu.set_cfs_quota_and_period(Some(quota_us(percent, cores)), Some(PERIOD_US))
            .map_err(unwritten("cpu_percent"))?;
    }
    if let Some(weight) = limits.cpu_weight {
        let shares = if is_v2(seat) { weight.into() } else { shares(weight) };
        cpu.set_shares(shares).map_err(unwritten("cpu_weight"))?;
    }
    Ok(())
}

/// Microseconds of processor in each period.
fn quota_us(percent: u32, cores: Option<f64>) -> i64 {
    let wanted = i64::from(percent) * (PERIOD_US as i64 / 100);
    // Rounded down, so that it is never more than what is above.
    let above = cores.map(|cores| (cores * PERIOD_US as f64) as i64);
    above.map_or(wanted, |above| wanted.min(above)).max(1000)
}

/// The kernel's own conversion of a weight of version 2, `sched_weight_to_cgroup` turned around:
/// shares = weight × 1024 / 100, rounded to the nearest.
fn shares(weight: u32) -> u64 {
    (u64::from(weight) * 1024 + 50) / 100
}

/// Memory, with no way out into swap, and in version 2 everybody killed when one must be.
fn limit_memory(seat: &Seat, bytes: u64) -> Result<()> {
    let memory = MemController::new(seat.folder.clone(), is_v2(seat));
    let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
    memory.set_limit(bytes).map_err(unwritten("memory_bytes"))?;
    if seat.folder.join(swap_file(seat)).exists() {
        // In version 1 the number is that of memory and swap together.
        let swap = if is_v2(seat) { 0 } else { bytes };
        memory.set_memswap_limit(swap).map_err(unwritten("memory_bytes"))?;
    } else if !is_v2(seat) {
        memory.set_swappiness(0).map_err(unwritten("memory_bytes"))?;
    }
    if is_v2(seat) && seat.folder.join("memory.oom.group").exists() {
        seat.write("memory.oom.group", "1").map_err(unwritten("memory_bytes"))?;
    }
    Ok(())
}

fn limit_io(seat: &Seat, io: &IoLimit) -> Result<()> {
    let blkio = BlkIoController::new(seat.folder.clone(), is_v2(seat));
    let (major, minor) = (u64::from(io.device.0), u64::from(io.device.1));
    let told = |rate: Option<u64>, write: &dyn Fn(u64) -> cgroups_rs::error::Result<()>| {
        rate.map_or(Ok(()), write).map_err(|error| {
            let unknown = [Errno::NODEV, Errno::NXIO, Errno::INVAL].map(|errno| Some(errno.raw_os_error()));
            match unknown.contains(&os_error(&error)) {
                true => {
                    Error::new(Code::InvalidField, format!("{major}:{minor} is no disk whose rates can be limited"))
                        .field("io")
                        .hint("name a whole disk and not a partition; `lsblk` lists them")
                }
                false => unwritten("io")(error),
            }
        })
    };
    told(io.read_bytes, &|rate| blkio.throttle_read_bps_for_device(major, minor, rate))?;
    told(io.write_bytes, &|rate| blkio.throttle_write_bps_for_device(major, minor, rate))?;
    told(io.reads, &|rate| blkio.throttle_read_iops_for_device(major, minor, rate))?;
    told(io.writes, &|rate| blkio.throttle_write_iops_for_device(major, minor, rate))
}

fn unwritten<E: std::error::Error + Send + Sync + 'static>(field: &'static str) -> impl Fn(E) -> Error {
    move |error| {
        let message = format!("the kernel refuses the limit {field}");
        // The crate's own words are for programmers.
        let told = match os_error(&error) {
            Some(number) => refused(message, std::io::Error::from_raw_os_error(number)),
            None => refused(message, error),
        };
        told.field(field)
    }
}

/// The number of the kernel's error in or below one of the crate's.
fn os_error(error: &(dyn std::error::Error + 'static)) -> Option<i32> {
    let all = std::iter::successors(Some(error), |error| error.source());
    all.filter_map(|error| error.downcast_ref::<std::io::Error>()?.raw_os_error()).next()
}

fn is_v2(seat: &Seat) -> bool {
    seat.version == Version::V2
}

pub(crate) fn swap_file(seat: &Seat) -> &'static str {
    if is_v2(seat) { "memory.swap.max" } else { "memory.memsw.limit_in_bytes" }
}

/// The file through which a controller limits; there is none for one that only counts.
pub(crate) fn file(controller: Controller, version: Version) -> Option<&'static str> {
    Some(match (controller, version) {
        (Controller::Cpu, Version::V1) => "cpu.cfs_quota_us",
        (Controller::Cpu, Version::V2) => "cpu.max",
        (Controller::Memory, Version::V1) => "memory.limit_in_bytes",
        (Controller::Memory, Version::V2) => "memory.max",
        (Controller::Pids, _) => "pids.max",
        (Controller::Io, Version::V1) => "blkio.throttle.read_bps_device",
        (Controller::Io, Version::V2) => "io.max",
        (Controller::CpuAcct | Controller::Freezer, _) => return None,
    })
}

/// Whether swap can be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Swap {
    Off,
    Unlimited,
}

/// Tells which limits hold in groups of this layout, by what means, or why not. `nice` is the
/// priority of attempts.
pub(crate) fn safeguards(layout: &Layout, swap: Swap, ownership: Ownership, nice: i32) -> Vec<Safeguard> {
    let state = |limit: &Limit| match limit {
        Limit::Cpu => held(layout, *limit, Controller::Cpu, ""),
        Limit::Memory => held(layout, *limit, Controller::Memory, swap_note(swap)),
        Limit::Pids => held(layout, *limit, Controller::Pids, ""),
        Limit::Io => held(layout, *limit, Controller::Io, io_note(layout)),
        Limit::Disk | Limit::Timeout | Limit::Nice if ownership == Ownership::Foreign => by_the_wrapper(*limit),
        Limit::Disk | Limit::Timeout => by_the_agent(*limit),
        Limit::Nice => Safeguard::on(limit.as_str(), format!("priority {nice}")),
    };
    Limit::ALL.iter().map(state).collect()
}

/// Limits that need no control group: the agent and the parent of an attempt watch and kill.
pub(crate) fn by_the_agent(limit: Limit) -> Safeguard {
    match limit {
        Limit::Disk => Safeguard::on(limit.as_str(), "by the agent: counted while it runs, ended above the limit"),
        _ => Safeguard::on(limit.as_str(), "by the agent: ended with its process group when time is up"),
    }
}

/// The same for programs that run for themselves.
fn by_the_wrapper(limit: Limit) -> Safeguard {
    match limit {
        Limit::Disk => Safeguard::off(limit.as_str(), "not counted for programs that run for themselves"),
        Limit::Nice => Safeguard::on(limit.as_str(), "the priority that is asked for"),
        _ => Safeguard::on(limit.as_str(), "by the supervising program, as long as it lives"),
    }
}

fn held(layout: &Layout, limit: Limit, controller: Controller, note: &str) -> Safeguard {
    let Some(tree) = layout.tree(controller) else {
        return Safeguard::off(limit.as_str(), layout.why_not(controller));
    };
    let version = match tree.mount.version {
        Version::V1 => "v1",
        Version::V2 => "v2",
    };
    let file = file(controller, tree.mount.version).unwrap_or_default();
    Safeguard::on(limit.as_str(), format!("cgroup {version} {file}{note}"))
}

/// Version 1 does not know whose the pages are that the kernel writes back later.
fn io_note(layout: &Layout) -> &'static str {
    let is_v1 = layout.tree(Controller::Io).is_some_and(|tree| tree.mount.version == Version::V1);
    if is_v1 { "; writes through the cache are not limited" } else { "" }
}

fn swap_note(swap: Swap) -> &'static str {
    match swap {
        Swap::Off => ", no swap",
        Swap::Unlimited => "; the kernel does not limit swap",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_the_kernel() {
        for (percent, cores, us) in [
            (200, None, 200_000),
            (50, None, 50_000),
            (1, None, 1000),
            (u32::MAX, None, 4_294_967_295_000),
            (200, Some(1.5), 150_000),
            (100, Some(1.5), 100_000),
        ] {
            assert_eq!(quota_us(percent, cores), us, "{percent} % of {cores:?}");
        }
        // What `cpu.weight` shows for these shares is the weight again.
        for (weight, expected) in [(1, 10), (50, 512), (100, 1024), (300, 3072), (10_000, 102_400)] {
            assert_eq!(shares(weight), expected);
            assert_eq!((shares(weight) * 100 + 512) / 1024, u64::from(weight));
        }
    }

    #[test]
    fn limits_under_which_nothing_runs() {
        let none = ProcessLimits::default;
        let io = |io| ProcessLimits { io: vec![IoLimit { device: (8, 0), ..io }], ..none() };
        for (field, limits) in [
            ("cpu_percent", ProcessLimits { cpu_percent: Some(0), ..none() }),
            ("cpu_weight", ProcessLimits { cpu_weight: Some(0), ..none() }),
            ("cpu_weight", ProcessLimits { cpu_weight: Some(10_001), ..none() }),
            ("memory_bytes", ProcessLimits { memory_bytes: Some((1 << 20) - 1), ..none() }),
            ("max_processes", ProcessLimits { max_processes: Some(0), ..none() }),
            ("io", io(IoLimit { writes: Some(0), ..IoLimit::default() })),
        ] {
            let error = check(&limits).expect_err(field);
            assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some(field)));
        }
        check(&ProcessLimits { memory_bytes: Some(u64::MAX), cpu_percent: Some(u32::MAX), ..none() }).expect("much");
    }

    #[test]
    fn a_refusal_is_in_the_words_of_the_kernel() {
        let seat =
            Seat { version: Version::V1, controllers: vec![Controller::Io], folder: "/nonexistent/group".into() };
        let error = limit_io(&seat, &IoLimit { device: (8, 0), reads: Some(1), ..IoLimit::default() });
        let error = error.expect_err("there is no such group");
        let all = std::iter::successors(Some(&error as &dyn std::error::Error), |error| error.source());
        let told = all.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        assert!(told.contains("No such file") && !told.contains("Os {"), "{told}");
    }
}
