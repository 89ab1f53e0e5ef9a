//! What a family of processes used, added up by looking: for machines where no control group
//! counts.

use std::time::Duration;

use super::family::Family;
use crate::probe::process::Clocks;

/// CPU time and memory of a family, as far as looks at it tell.
#[derive(Debug)]
pub(super) struct Tally {
    clocks: Clocks,
    page: u64,
    earlier: u64,
    most: u64,
    memory: u64,
    peak: u64,
    /// What the kernel told of the head when it was waited for.
    told: Duration,
    /// Use of orphans, which nobody of the family waits for.
    lost: Duration,
}

impl Tally {
    /// Begins to count; what a family used before that was not started here does not count.
    pub(super) fn begin(family: &Family, from_its_start: bool) -> Self {
        let mut tally = Self {
            clocks: Clocks::of_this_kernel(),
            page: u64::try_from(rustix::param::page_size()).unwrap_or(4096),
            earlier: 0,
            most: 0,
            memory: 0,
            peak: 0,
            told: Duration::ZERO,
            lost: Duration::ZERO,
        };
        if !from_its_start {
            tally.look(family);
            tally.earlier = tally.most;
        }
        tally
    }

    /// Looks once.
    pub(super) fn look(&mut self, family: &Family) {
        let members = family.members();
        // A child that was waited for counts in its parent from then on, so nothing counts twice.
        let ticks = members.iter().fold(0_u64, |sum, member| sum.saturating_add(member.ticks));
        let pages = members.iter().fold(0_u64, |sum, member| sum.saturating_add(member.resident_pages));
        self.most = self.most.max(ticks);
        self.memory = pages.saturating_mul(self.page);
        self.peak = self.peak.max(self.memory);
    }

    pub(super) fn told(&mut self, cpu: Duration, peak: u64) {
        self.told = cpu;
        self.peak = self.peak.max(peak);
    }

    pub(super) fn lost(&mut self, cpu: Duration) {
        self.lost += cpu;
    }

    /// Memory in use at the last look, in bytes; what is shared counts for each.
    pub(super) fn memory(&self) -> u64 {
        self.memory
    }

    pub(super) fn peak(&self) -> u64 {
        self.peak
    }

    pub(super) fn cpu(&self) -> Duration {
        let seen = self.clocks.time(self.most.saturating_sub(self.earlier));
        seen.max(self.told + self.lost)
    }
}
