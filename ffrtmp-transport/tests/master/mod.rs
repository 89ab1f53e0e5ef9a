//! A master on a free loopback port, for the tests of this crate.

#![allow(dead_code, reason = "each test uses its own part")]

pub(crate) mod raw;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ffrtmp_core::Result;
use ffrtmp_core::clock::{Clock, Timestamp};
use ffrtmp_core::coordinator::{Coordinator, Settings};
use ffrtmp_core::policy::fifo::PriorityFifo;
use ffrtmp_store::MemoryStore;
use ffrtmp_transport::http::server::{self, Secret, ServerConfig, TlsConfig};
use ffrtmp_transport::http::{ClientConfig, MasterClient, certificate};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(crate) const KEY: &str = "the-key";

struct SteadyClock(Instant, Timestamp);

impl Clock for SteadyClock {
    fn now(&self) -> Timestamp {
        self.1 + self.0.elapsed()
    }
}

pub(crate) fn coordinator() -> Arc<Coordinator> {
    let wall = Timestamp::default() + SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let clock = Arc::new(SteadyClock(Instant::now(), wall));
    Coordinator::new(Arc::new(MemoryStore::new()), Arc::new(PriorityFifo::default()), clock, Settings::default())
}

/// A key, no TLS, deadlines of the contract.
pub(crate) fn config() -> ServerConfig {
    ServerConfig { api_key: Some(Secret::new(KEY)), ..ServerConfig::default() }
}

/// A server that ends with the value.
pub(crate) struct Master {
    pub(crate) address: SocketAddr,
    pub(crate) coordinator: Arc<Coordinator>,
    pub(crate) stop: CancellationToken,
    pub(crate) served: JoinHandle<Result<()>>,
    scheme: &'static str,
}

impl Master {
    pub(crate) async fn start(config: ServerConfig) -> Self {
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let listener = server::bind_to(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (coordinator, stop) = (coordinator(), CancellationToken::new());
        let served = tokio::spawn(server::serve(listener, config, Arc::clone(&coordinator), stop.clone()));
        Self { address, coordinator, stop, served, scheme }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.address.port())
    }

    /// How a client with the right key reaches it; certificates are pinned in `directory`.
    pub(crate) fn client_config(&self, directory: &Path) -> ClientConfig {
        ClientConfig {
            master: self.url(),
            api_key: Some(KEY.into()),
            pins: Some(directory.join("known_masters")),
            ..ClientConfig::default()
        }
    }

    pub(crate) fn client(&self, directory: &Path) -> MasterClient {
        MasterClient::new(&self.client_config(directory)).unwrap()
    }

    /// Stops it and waits for its end.
    pub(crate) async fn end(mut self) -> Duration {
        let started = Instant::now();
        self.stop.cancel();
        (&mut self.served).await.unwrap().unwrap();
        started.elapsed()
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A new self-signed pair in the directory.
pub(crate) fn tls(directory: &Path, name: &str) -> TlsConfig {
    let (cert, key) = (directory.join(format!("{name}.crt")), directory.join(format!("{name}.key")));
    certificate::ensure(&cert, &key, &[], &[]).unwrap();
    TlsConfig { cert, key, client_ca: None }
}
