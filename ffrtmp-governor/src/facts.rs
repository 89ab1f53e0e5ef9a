//! What kind of machine this is: what an agent says of itself when it registers.

use ffrtmp_core::node::Gpu;
use serde::Serialize;

use crate::gpu::{Fleet, GpuOptions};
use crate::probe::{Root, cpu, memory};

/// What a machine is made of.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct HostFacts {
    /// Name of the machine.
    pub hostname: String,
    /// `laptop`, `desktop` or `server`: a guess from battery, case, and threads.
    pub node_type: String,
    /// Processor model; empty if the machine does not tell.
    pub cpu_model: String,
    /// Hardware threads that this process may use: fewer than the machine's in a container.
    pub cpu_threads: u32,
    /// Memory in bytes that this process may use.
    pub ram_total_bytes: u64,
    /// Graphics processors that their drivers show.
    pub gpus: Vec<Gpu>,
    /// Whether device files of NVIDIA are there. It says nothing about encoders that work.
    pub has_nvidia_device: bool,
    /// Whether device files for rendering are there, such as those of VA-API and QSV.
    pub has_render_device: bool,
}

impl HostFacts {
    /// Looks at this machine. Its graphics processors are those of [`Fleet::here`], which waits
    /// for their drivers up to 10 s the first time.
    #[must_use]
    pub fn detect() -> Self {
        let gpus = Fleet::here(&GpuOptions::default()).cards().to_vec();
        Self { gpus, ..Self::read(&Root::default()) }
    }

    /// Looks at a machine described by files below a root. Graphics processors are not looked for:
    /// those of NVIDIA are not in files.
    #[must_use]
    pub fn read(root: &Root) -> Self {
        let cpu_threads = cpu::usable_threads(root);
        Self {
            hostname: root.text("proc/sys/kernel/hostname").map(|name| name.trim().to_owned()).unwrap_or_default(),
            node_type: node_type(root, cpu_threads).to_owned(),
            cpu_model: cpu::model(root).unwrap_or_default(),
            cpu_threads,
            ram_total_bytes: memory::read(root).map_or(0, |memory| memory.total),
            gpus: Vec::new(),
            has_nvidia_device: root.path("dev/nvidiactl").exists() || root.path("dev/nvidia0").exists(),
            has_render_device: root.names("dev/dri").iter().any(|name| name.starts_with("renderD")),
        }
    }
}

/// Case types of the SMBIOS specification (DSP0134, table 17) that are carried around.
const PORTABLE: &[u32] = &[8, 9, 10, 11, 14, 30, 31, 32];
/// Those that stand on or under a desk.
const DESKTOP: &[u32] = &[3, 4, 5, 6, 7, 13, 15, 16, 24, 34, 35, 36];

fn node_type(root: &Root, threads: u32) -> &'static str {
    let case = root.number("sys/class/dmi/id/chassis_type");
    let battery = root.names("sys/class/power_supply").iter().any(|name| name.starts_with("BAT"));
    match case {
        _ if battery => "laptop",
        Some(case) if PORTABLE.contains(&case) => "laptop",
        Some(case) if DESKTOP.contains(&case) && threads <= 16 => "desktop",
        // Containers and virtual machines have no case that means anything.
        _ => "server",
    }
}
