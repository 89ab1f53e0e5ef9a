//! The HTTP server of a master.
//!
//! A request passes, from outside in: [`connection`] (sockets, TLS, deadlines) → [`conclude`]
//! (request id, panics, problem documents, metrics) → [`admission`] (key, rate limits) →
//! [`router`] → one handler in [`jobs`], [`agents`], [`nodes`], [`events`] or [`health`], which
//! asks the coordinator. [`openapi`] completes the document that the handlers' annotations make.
//!
//! What is deliberately not here: state of jobs and nodes. Everything a handler knows it asks the
//! coordinator.

mod admission;
mod agents;
mod conclude;
mod connection;
mod events;
mod extract;
mod failure;
mod health;
mod jobs;
mod nodes;
mod openapi;
mod router;

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ffrtmp_core::coordinator::Coordinator;
use ffrtmp_core::{Code, Error, Result};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use connection::{check_tls, serve};
pub use router::openapi_json;

/// A key that never shows in a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret with this text.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text itself.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Certificate and key of a server, and who may connect.
#[derive(Clone, Debug)]
pub struct TlsConfig {
    /// PEM file with the certificate chain, the server's own first.
    pub cert: PathBuf,
    /// PEM file with the private key.
    pub key: PathBuf,
    /// With mutual TLS, a PEM file with the authorities whose client certificates are let in;
    /// without, anybody may connect.
    pub client_ca: Option<PathBuf>,
}

/// Is told of every request once its answer is sent, for metrics. Calls are short and never block.
pub trait HttpObserver: Send + Sync + 'static {
    /// `method` and `route` come from bounded sets: the pattern such as `/jobs/{id}` without its
    /// prefix, `unmatched` for a path that no route has; bytes count bodies only.
    fn request(&self, method: &str, route: &str, status: u16, bytes_in: u64, bytes_out: u64);
}

/// How a server behaves.
#[derive(Clone)]
pub struct ServerConfig {
    /// TLS; plain HTTP without.
    pub tls: Option<TlsConfig>,
    /// The key that every request must carry; `None` lets everybody in.
    pub api_key: Option<Secret>,
    /// Requests per second and address, on average: of those with the right key and of those without
    /// it each; routes that keep leases alive get 50 times as many.
    pub rate_limit: NonZeroU32,
    /// Requests that an address may send at once, counted in the same way.
    pub rate_burst: NonZeroU32,
    /// Connections at the same time; more wait in the kernel's backlog.
    pub max_connections: u32,
    /// Time for a TLS handshake, and for the head of a request on an open connection.
    pub header_timeout: Duration,
    /// Time for the whole body of a request.
    pub body_timeout: Duration,
    /// Time that requests under way get when the server stops.
    pub drain_timeout: Duration,
    /// Who is told of requests.
    pub observer: Option<Arc<dyn HttpObserver>>,
}

impl Default for ServerConfig {
    /// No TLS and no key: a caller adds both. 100 requests/s, burst 200, 8192 connections, 30 s
    /// for a head, 30 s for a body, 10 s to drain.
    fn default() -> Self {
        const fn count(number: u32) -> NonZeroU32 {
            NonZeroU32::MIN.saturating_add(number - 1)
        }
        Self {
            tls: None,
            api_key: None,
            rate_limit: count(100),
            rate_burst: count(200),
            max_connections: 8192,
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
            observer: None,
        }
    }
}

impl fmt::Debug for ServerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerConfig")
            .field("tls", &self.tls)
            .field("api_key", &self.api_key)
            .field("rate_limit", &self.rate_limit)
            .field("rate_burst", &self.rate_burst)
            .field("max_connections", &self.max_connections)
            .finish_non_exhaustive()
    }
}

/// Listens on a port of every address, IPv6 and IPv4 alike; 0 takes any free port.
///
/// # Errors
/// `port_in_use` naming the port, `network` for what else the kernel refuses.
pub async fn bind(port: u16) -> Result<TcpListener> {
    match bind_to(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))).await {
        // A host without IPv6.
        Err(error) if error.code() == Code::Network => bind_to(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))).await,
        other => other,
    }
}

/// Listens on one address.
///
/// # Errors
/// As [`bind`].
pub async fn bind_to(address: SocketAddr) -> Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let port = address.port();
        match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                Error::new(Code::PortInUse, format!("port {port} is taken by another process"))
                    .field("--port")
                    .hint("stop the other process or choose another port with --port")
            }
            std::io::ErrorKind::PermissionDenied => {
                Error::new(Code::InvalidConfig, format!("port {port} needs privileges"))
                    .field("--port")
                    .hint("choose a port above 1023 with --port")
            }
            _ => Error::new(Code::Network, format!("cannot listen on {address}")).field("--port").source(error),
        }
    })
}

/// What every handler can reach.
struct App {
    coordinator: Arc<Coordinator>,
    admission: admission::Admission,
    observer: Option<Arc<dyn HttpObserver>>,
    body_timeout: Duration,
    /// Whether a key protects the master against requests that a browser sends for a foreign page.
    keyed: bool,
    stop: CancellationToken,
}

impl App {
    fn new(config: &ServerConfig, coordinator: Arc<Coordinator>, stop: CancellationToken) -> Self {
        Self {
            coordinator,
            admission: admission::Admission::new(config),
            observer: config.observer.clone(),
            body_timeout: config.body_timeout,
            keyed: config.api_key.is_some(),
            stop,
        }
    }
}
