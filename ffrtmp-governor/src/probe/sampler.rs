//! How a machine is, sampled again and again: the rates between two looks and the levels of now,
//! gathered into [`Telemetry`]. Graphics processors are added by who has them ([`crate::gpu`]).

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ffrtmp_core::node::Telemetry;

use super::cpu::CpuUse;
use super::energy::Energy;
use super::network::{Network, Rates};
use super::{Root, cpu, disk, energy, memory, network, pressure, thermal};

/// Looks closer together than this see the rates of the look before: a rate over a few kernel
/// ticks says nothing.
const SHORTEST: Duration = Duration::from_millis(200);

/// Samples one machine. Rates are those since the look before, so each of several observers with
/// its own rhythm keeps a sampler of its own.
#[derive(Debug)]
pub struct Sampler {
    root: Root,
    last: Mutex<Option<Look>>,
}

/// What rates are counted from, and the rates of then.
#[derive(Debug)]
struct Look {
    at: Instant,
    cpu: Option<CpuUse>,
    network: Option<Network>,
    energy: Option<Energy>,
    moving: Moving,
}

/// What needs two looks.
#[derive(Clone, Debug, Default)]
struct Moving {
    cpu_percent: Option<f64>,
    core_percents: Vec<f64>,
    network: Option<Rates>,
    power_watts: Option<f64>,
}

impl Default for Sampler {
    fn default() -> Self {
        Self::new(Root::default())
    }
}

impl Sampler {
    /// A sampler of the machine below a root.
    #[must_use]
    pub fn new(root: Root) -> Self {
        Self { root, last: Mutex::default() }
    }

    /// How the machine is; `work_dir` names the disk. What it does not tell is absent. The first
    /// sample has no rates.
    #[must_use]
    pub fn sample(&self, work_dir: &Path) -> Telemetry {
        let moving = self.moving();
        let memory = memory::read(&self.root).unwrap_or_default();
        let swap = memory::swap(&self.root);
        let disk = disk::read(work_dir).unwrap_or_default();
        let pressure = |resource| pressure::read(&self.root, resource).unwrap_or_default();
        let (cpu, tight, io) = (pressure("cpu"), pressure("memory"), pressure("io"));
        Telemetry {
            cpu_percent: moving.cpu_percent.unwrap_or_default(),
            core_percents: moving.core_percents,
            load_avg_1m: cpu::load(&self.root).unwrap_or_default(),
            memory_used_bytes: memory.used(),
            memory_total_bytes: memory.total,
            swap_used_bytes: swap.map(|swap| swap.used),
            swap_total_bytes: swap.map(|swap| swap.total),
            disk_available_bytes: disk.available,
            disk_total_bytes: disk.total,
            cpu_pressure_avg10: cpu.some,
            cpu_pressure_full_avg10: cpu.full,
            memory_pressure_avg10: tight.some,
            memory_pressure_full_avg10: tight.full,
            io_pressure_avg10: io.some,
            io_pressure_full_avg10: io.full,
            network_receive_bytes_per_second: moving.network.map(|rates| rates.received),
            network_send_bytes_per_second: moving.network.map(|rates| rates.sent),
            power_watts: moving.power_watts,
            temperature_celsius: thermal::hottest(&self.root),
            ..Telemetry::default()
        }
    }

    fn moving(&self) -> Moving {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(fresh) = last.as_ref().filter(|last| now.duration_since(last.at) < SHORTEST) {
            return fresh.moving.clone();
        }
        let mut look = Look::at(&self.root, now);
        if let Some(before) = last.take() {
            look.moving = look.since(&before);
        }
        last.insert(look).moving.clone()
    }
}

impl Look {
    fn at(root: &Root, at: Instant) -> Self {
        let (cpu, network, energy) = (cpu::usage(root), network::read(root), energy::read(root));
        Self { at, cpu, network, energy, moving: Moving::default() }
    }

    fn since(&self, before: &Self) -> Moving {
        let elapsed = self.at.duration_since(before.at);
        let cpu = self.cpu.as_ref().zip(before.cpu.as_ref());
        let network = self.network.as_ref().zip(before.network.as_ref());
        let energy = self.energy.as_ref().zip(before.energy.as_ref());
        Moving {
            cpu_percent: cpu.and_then(|(now, before)| now.all.percent_since(&before.all)),
            core_percents: cpu.map(|(now, before)| now.core_percents_since(before)).unwrap_or_default(),
            network: network.and_then(|(now, before)| now.since(before, elapsed)),
            power_watts: energy.and_then(|(now, before)| now.watts_since(before, elapsed)),
        }
    }
}
