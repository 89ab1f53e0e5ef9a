//! Ports of exporters: each is off until it is given one.

use std::net::{IpAddr, SocketAddr};

use clap::Args;

use crate::agent::AgentExporters;
use crate::master::ExporterAddresses;

/// Ports of the exporters of a master.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct MasterExporterArgs {
    /// Serve results by scenario on this port; 9502 without a value
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "9502", env = "FFRTMP_RESULTS_PORT")]
    pub results_port: Option<u16>,
    /// Serve the quality of experience on this port; 9503 without a value
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "9503", env = "FFRTMP_QOE_PORT")]
    pub qoe_port: Option<u16>,
    /// Serve what jobs cost on this port; 9504 without a value
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "9504", env = "FFRTMP_COST_PORT")]
    pub cost_port: Option<u16>,
    /// Serve predictions on this port, once there is a model; 9505 without a value
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "9505",
          env = "FFRTMP_PREDICTIONS_PORT")]
    pub predictions_port: Option<u16>,
}

/// Ports of the exporters of an agent.
#[derive(Args, Clone, Copy, Debug, Default)]
pub struct AgentExporterArgs {
    /// Serve the energy of the processors on this port; 9500 without a value
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "9500", env = "FFRTMP_RAPL_PORT")]
    pub rapl_port: Option<u16>,
    /// Serve graphics processors on this port; 9501 without a value
    #[arg(long, value_name = "PORT", num_args = 0..=1, default_missing_value = "9501", env = "FFRTMP_GPU_PORT")]
    pub gpu_port: Option<u16>,
}

impl MasterExporterArgs {
    pub(super) fn addresses(&self, host: IpAddr) -> ExporterAddresses {
        let at = |port: Option<u16>| port.map(|port| SocketAddr::new(host, port));
        ExporterAddresses {
            results: at(self.results_port),
            qoe: at(self.qoe_port),
            cost: at(self.cost_port),
            predictions: at(self.predictions_port),
        }
    }
}

impl AgentExporterArgs {
    pub(super) fn addresses(&self, host: IpAddr) -> AgentExporters {
        let at = |port: Option<u16>| port.map(|port| SocketAddr::new(host, port));
        AgentExporters { rapl: at(self.rapl_port), gpu: at(self.gpu_port) }
    }
}
