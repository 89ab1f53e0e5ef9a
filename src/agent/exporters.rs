//! The exporters of an agent: energy of the processors, and graphics processors.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use ffrtmp_governor::gpu::{Fleet, GpuOptions};
use ffrtmp_governor::probe::Root;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::exporters::gpu::Gpus;
use crate::exporters::port::Port;
use crate::exporters::rapl::{LOOK_EVERY, Rapl};

/// Where the exporters of an agent listen; what is `None` listens nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentExporters {
    /// Energy of the processors.
    pub rapl: Option<SocketAddr>,
    /// Graphics processors.
    pub gpu: Option<SocketAddr>,
}

/// Exporters with their ports open.
#[derive(Default)]
pub(super) struct Open {
    ports: Vec<Port>,
    rapl: Option<Arc<Rapl>>,
}

impl Open {
    /// Opens the ports that can be had.
    pub(super) async fn new(addresses: AgentExporters) -> Self {
        let mut open = Self::default();
        if let Some(address) = addresses.rapl {
            let rapl = Arc::new(Rapl::new(Root::default()));
            if let Some((reason, hint)) = rapl.absence() {
                tracing::warn!(hint, "the exporter of --rapl-port has nothing to tell: {reason}");
            }
            open.ports.extend(Port::open(address, "rapl-port", Arc::clone(&rapl) as _).await);
            open.rapl = Some(rapl);
        }
        if let Some(address) = addresses.gpu {
            // Waits for drivers, the first time.
            let fleet = tokio::task::spawn_blocking(|| Fleet::here(&GpuOptions::default())).await;
            let fleet = fleet.unwrap_or_else(|_| Arc::new(Fleet::none()));
            open.ports.extend(Port::open(address, "gpu-port", Arc::new(Gpus::new(fleet))).await);
        }
        open
    }

    /// Where they listen.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.ports.iter().filter_map(Port::address).collect()
    }

    /// Serves on tasks of `tasks` until `stop`.
    pub(super) fn serve(self, tasks: &TaskTracker, stop: &CancellationToken) {
        self.ports.into_iter().for_each(|port| port.serve(tasks, stop.clone()));
        if let Some(rapl) = self.rapl {
            tasks.spawn(stop.clone().run_until_cancelled_owned(look(rapl)));
        }
    }
}

/// Looks before the counters turn over, also while nobody scrapes.
async fn look(rapl: Arc<Rapl>) {
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let rapl = Arc::clone(&rapl);
        let looked = tokio::task::spawn_blocking(move || rapl.look(Instant::now(), LOOK_EVERY / 2));
        if looked.await.is_err() {
            tracing::error!("the counters of energy are not looked at any more");
            return;
        }
    }
}
