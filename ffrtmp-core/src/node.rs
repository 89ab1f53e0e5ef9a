//! Nodes: the machines that run agents, what they can do, how they are.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::error::Result;
use crate::id::NodeId;
use crate::job::EngineName;
use crate::media::{VideoCodec, named_enum};

mod gpu;
mod requirements;

pub use gpu::{EncodeBound, Gpu, GpuClass, GpuTelemetry};
pub use requirements::{Offer, Requirements};

named_enum!(
    /// How a node stands.
    NodeStatus, "status" {
        /// Alive with free slots.
        Available "available",
        /// Alive, every slot taken.
        Busy "busy",
        /// Alive, takes no new jobs.
        Draining "draining",
        /// No heartbeat for too long.
        Offline "offline",
    }
);

/// What a node can do. A node that declares nothing is taken to run every codec with libav.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Capabilities {
    /// Engines that work there.
    pub engines: Vec<EngineName>,
    /// Video codecs that it encodes, proven by a test encode; absent if it did not say.
    pub video_codecs: Option<Vec<VideoCodec>>,
    /// Encoders that work there, such as `libx264` or `h264_nvenc`.
    pub encoders: Vec<String>,
    /// Limits that are really enforced there, such as `timeout` or `memory`.
    pub enforced_limits: Vec<String>,
    /// Every limit, in force by what means, or only watched and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Safeguard>,
    /// Every layer of the sandbox around an attempt, on or off and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sandbox: Vec<Safeguard>,
}

/// A protection, and whether it is in force.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Safeguard {
    /// Stable name, such as `memory` or `seccomp`.
    pub name: String,
    /// Whether it is in force.
    pub on: bool,
    /// By what means, or why it is not.
    pub detail: String,
}

impl Safeguard {
    /// One in force by these means.
    #[must_use]
    pub fn on(name: &str, means: impl Into<String>) -> Self {
        Self { name: name.to_owned(), on: true, detail: means.into() }
    }

    /// One that is not in force, and why.
    #[must_use]
    pub fn off(name: &str, reason: impl Into<String>) -> Self {
        Self { name: name.to_owned(), on: false, detail: reason.into() }
    }
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            engines: vec![EngineName::Ffmpeg],
            video_codecs: None,
            encoders: Vec::new(),
            enforced_limits: Vec::new(),
            limits: Vec::new(),
            sandbox: Vec::new(),
        }
    }
}

/// What an agent says of itself: the body of `POST /nodes/register`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registration {
    /// Identity that the agent kept; the master gives one to a client without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<NodeId>,
    /// Name for people; the host name by default.
    #[cfg_attr(
        feature = "openapi",
        schema(
            example = "worker-01",
            required = true,
            min_length = 1,
            max_length = 255,
            pattern = "^[^\\u0000-\\u001f\\u007f-\\u009f]+$"
        )
    )]
    pub name: String,
    /// `server`, `desktop`, `laptop`, or another word.
    #[serde(rename = "type")]
    pub node_type: String,
    /// Address for people; the master never connects to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// Hardware threads.
    pub cpu_threads: u32,
    /// Processor model.
    pub cpu_model: String,
    /// Whether it has a graphics processor.
    pub has_gpu: bool,
    /// Its model.
    pub gpu_type: String,
    /// All of them.
    pub gpus: Vec<Gpu>,
    /// Memory in bytes.
    pub ram_total_bytes: u64,
    /// Free labels; a job can ask for one with a label `node.KEY`.
    pub labels: BTreeMap<String, String>,
    /// What it can do.
    #[serde(deserialize_with = "crate::protocol::only_object")]
    pub capabilities: Capabilities,
    /// Jobs it runs at once; 1 if it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_concurrent_jobs: Option<u32>,
    /// Version of the agent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// How a machine is, as its agent reports it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Telemetry {
    /// Use of all cores, 0 to 100.
    pub cpu_percent: f64,
    /// Load average over one minute.
    pub load_avg_1m: f64,
    /// Memory in use, in bytes.
    pub memory_used_bytes: u64,
    /// Memory of the machine, in bytes.
    pub memory_total_bytes: u64,
    /// Free space for work, in bytes.
    pub disk_available_bytes: u64,
    /// Size of that file system, in bytes.
    pub disk_total_bytes: u64,
    /// Share of time that work waited for a core, percent over 10 s, where the kernel tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_pressure_avg10: Option<f64>,
    /// The same for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_pressure_avg10: Option<f64>,
    /// The same for input and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_pressure_avg10: Option<f64>,
    /// Package power in watts, where RAPL tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub power_watts: Option<f64>,
    /// Temperature of the hottest core in degrees Celsius, where a sensor tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub temperature_celsius: Option<f64>,
    /// Share of time in which all work waited for a core at once, percent over 10 s.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_pressure_full_avg10: Option<f64>,
    /// The same for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_pressure_full_avg10: Option<f64>,
    /// The same for input and output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_pressure_full_avg10: Option<f64>,
    /// Use of each core, 0 to 100.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub core_percents: Vec<f64>,
    /// Swap in use, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_used_bytes: Option<u64>,
    /// Swap of the machine, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub swap_total_bytes: Option<u64>,
    /// Bytes received per second, all interfaces but the loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_receive_bytes_per_second: Option<f64>,
    /// Bytes sent per second, all interfaces but the loopback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub network_send_bytes_per_second: Option<f64>,
    /// Graphics processors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gpus: Vec<GpuTelemetry>,
    /// Why the node takes no further job now, in words: a full disk, pressure, heat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<String>,
}

/// A node with everything known about it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Node {
    /// Identity.
    pub id: NodeId,
    /// What it said of itself.
    #[serde(flatten)]
    pub about: About,
    /// How it stands.
    pub status: NodeStatus,
    /// Whether a person took it out of service.
    pub draining: bool,
    /// Attempts that it reported as running.
    pub active_jobs: u32,
    /// First registration.
    pub registered_at: Timestamp,
    /// Last sign of life.
    pub last_heartbeat: Timestamp,
    /// How its machine was then.
    pub telemetry: Telemetry,
}

/// What a node said of itself at its last registration.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct About {
    /// Name for people.
    pub name: String,
    /// Kind of machine.
    #[serde(rename = "type")]
    pub node_type: String,
    /// Address for people.
    pub address: Option<String>,
    /// Hardware threads.
    pub cpu_threads: u32,
    /// Processor model.
    pub cpu_model: String,
    /// Whether it has a graphics processor.
    pub has_gpu: bool,
    /// Its model.
    pub gpu_type: String,
    /// All of them.
    pub gpus: Vec<Gpu>,
    /// Memory in bytes.
    pub ram_total_bytes: u64,
    /// Free labels.
    pub labels: BTreeMap<String, String>,
    /// What it can do.
    pub capabilities: Capabilities,
    /// Jobs it runs at once.
    pub max_concurrent_jobs: u32,
    /// Version of its agent.
    pub version: Option<String>,
}

impl From<Registration> for About {
    fn from(said: Registration) -> Self {
        Self {
            name: said.name,
            node_type: said.node_type,
            address: said.address,
            cpu_threads: said.cpu_threads,
            cpu_model: said.cpu_model,
            has_gpu: said.has_gpu,
            gpu_type: said.gpu_type,
            gpus: said.gpus,
            ram_total_bytes: said.ram_total_bytes,
            labels: said.labels,
            capabilities: said.capabilities,
            max_concurrent_jobs: said.max_concurrent_jobs.unwrap_or(1).max(1),
            version: said.version,
        }
    }
}

/// A change of a node.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant, reason = "heartbeats are nearly all of them, and each is made once")]
pub enum NodeCommand {
    /// A sign of life.
    Heartbeat {
        /// How the machine is, if the agent says.
        telemetry: Option<Telemetry>,
        /// Attempts under way.
        active_jobs: u32,
    },
    /// Take it out of service: jobs under way end, no new ones start.
    Drain,
    /// Put it back into service.
    Activate,
    /// No heartbeat for too long, or it has said that it stops.
    Lost,
}

impl Node {
    /// A node that has just registered.
    #[must_use]
    pub fn new(id: NodeId, about: About, now: Timestamp) -> Self {
        Self {
            id,
            about,
            status: NodeStatus::Available,
            draining: false,
            active_jobs: 0,
            registered_at: now,
            last_heartbeat: now,
            telemetry: Telemetry::default(),
        }
    }

    /// The node registers again: what it says replaces what it said; a drain stays in force.
    pub fn register_again(&mut self, about: About, now: Timestamp) {
        self.about = about;
        self.last_heartbeat = now;
        self.settle(true);
    }

    /// Applies a command.
    ///
    /// # Errors
    /// None today; a store treats it as fallible like [`crate::job::Job::apply`].
    pub fn apply(&mut self, command: NodeCommand, now: Timestamp) -> Result<()> {
        let alive = match command {
            NodeCommand::Heartbeat { telemetry, active_jobs } => {
                self.last_heartbeat = now;
                self.active_jobs = active_jobs;
                if let Some(telemetry) = telemetry {
                    self.telemetry = telemetry;
                }
                true
            }
            NodeCommand::Drain => {
                self.draining = true;
                self.is_alive()
            }
            NodeCommand::Activate => {
                self.draining = false;
                self.is_alive()
            }
            NodeCommand::Lost => {
                self.active_jobs = 0;
                false
            }
        };
        self.settle(alive);
        Ok(())
    }

    /// Whether it sent heartbeats in time.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.status != NodeStatus::Offline
    }

    /// Whether it may be given new jobs.
    #[must_use]
    pub fn takes_jobs(&self) -> bool {
        self.is_alive() && !self.draining
    }

    fn settle(&mut self, alive: bool) {
        self.status = match () {
            () if !alive => NodeStatus::Offline,
            () if self.draining => NodeStatus::Draining,
            () if self.active_jobs >= self.about.max_concurrent_jobs => NodeStatus::Busy,
            () => NodeStatus::Available,
        };
    }
}
