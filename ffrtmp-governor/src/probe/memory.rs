//! Memory, from `/proc/meminfo` and the control group of this process.

use super::{Root, cgroup};

/// Memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// What this process and its children may use at most.
    pub total: u64,
    /// What can be taken without swapping.
    pub available: u64,
}

impl Memory {
    /// What is in use.
    #[must_use]
    pub const fn used(&self) -> u64 {
        self.total.saturating_sub(self.available)
    }
}

/// Swap in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swap {
    /// All of it.
    pub total: u64,
    /// What is in use.
    pub used: u64,
}

/// Reads `/proc/meminfo`. Kernels before 3.14 do not tell what is available; what is free and what
/// is cached stands in for it.
#[must_use]
pub fn parse(meminfo: &str) -> Option<Memory> {
    let field = |name| field(meminfo, name);
    let total = field("MemTotal")?;
    let guess = || field("MemFree")?.checked_add(field("Cached").unwrap_or(0));
    let available = field("MemAvailable").or_else(guess)?;
    Some(Memory { total, available: available.min(total) })
}

/// Reads the swap from `/proc/meminfo`.
#[must_use]
pub fn parse_swap(meminfo: &str) -> Option<Swap> {
    let (total, free) = (field(meminfo, "SwapTotal")?, field(meminfo, "SwapFree")?);
    Some(Swap { total, used: total.checked_sub(free)? })
}

fn field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Swap of the machine.
#[must_use]
pub fn swap(root: &Root) -> Option<Swap> {
    parse_swap(&root.text("proc/meminfo")?)
}

/// Memory of the machine, or of the container where it has less.
#[must_use]
pub fn read(root: &Root) -> Option<Memory> {
    let machine = parse(&root.text("proc/meminfo")?)?;
    Some(match cgroup::memory(root) {
        Some(group) if group.limit < machine.total => {
            let left = group.limit.saturating_sub(group.used);
            Memory { total: group.limit, available: left.min(machine.available) }
        }
        _ => machine,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meminfo() {
        let text = "MemTotal:        8000 kB\nMemFree:  1000 kB\nMemAvailable:    6000 kB\nCached: 500 kB\n";
        let memory = parse(text).unwrap();
        assert_eq!((memory.total, memory.available, memory.used()), (8_192_000, 6_144_000, 2_048_000));
        let old = parse("MemTotal: 8000 kB\nMemFree: 1000 kB\nCached: 500 kB\n").unwrap();
        assert_eq!(old.available, 1500 * 1024);
        assert_eq!(parse("MemTotal: 99999999999999999999 kB\nMemFree: 1 kB"), None);
        assert_eq!(parse("MemTotal: 5 kB\nMemAvailable: 9 kB\n").unwrap().used(), 0);
        let swap = parse_swap("SwapCached: 1 kB\nSwapTotal: 20 kB\nSwapFree: 15 kB\n");
        assert_eq!(swap, Some(Swap { total: 20 << 10, used: 5 << 10 }));
        assert_eq!(parse_swap("SwapTotal: 1 kB\nSwapFree: 2 kB\n"), None);
    }
}
