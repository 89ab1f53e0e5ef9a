//! The master: a coordinator behind HTTPS, its reaper, and its metrics.
//!
//! Start-up order: store → coordinator → reaper → metrics → API; [`Master::run`] stops them in
//! the reverse order.

mod diary;
pub mod key;
mod metrics;
mod timed;
mod watchers;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::IntoResponse;
use axum::routing::get;
use ffrtmp_core::clock::Clock;
use ffrtmp_core::coordinator::{Coordinator, Settings, Watcher};
use ffrtmp_core::error::{Code, Result};
use ffrtmp_core::policy::fifo::PriorityFifo;
use ffrtmp_core::scheduler::Scheduler;
use ffrtmp_core::store::Store;
use ffrtmp_transport::http::expiry::expiry;
use ffrtmp_transport::http::server::{self, HttpObserver, Secret, ServerConfig, TlsConfig};
use ffrtmp_transport::local::LocalTransport;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::SteadyClock;
use crate::exporters::port::Port;
use crate::traces::SpanTaker;
use metrics::MasterMetrics;
use timed::Timed;

/// How a master behaves. The default is the contract's, on free loopback ports without TLS.
#[derive(Clone, Debug)]
pub struct MasterOptions {
    /// Where the API listens; `None` listens nowhere, for agents in the same process.
    pub api_address: Option<SocketAddr>,
    /// Certificate and key; plain HTTP without.
    pub tls: Option<TlsConfig>,
    /// The key that clients must show; `None` lets everybody in.
    pub api_key: Option<String>,
    /// Requests per second and address.
    pub rate_limit: NonZeroU32,
    /// Requests at once and address.
    pub rate_burst: NonZeroU32,
    /// Where `/metrics` listens, in plain HTTP; `None` listens nowhere.
    pub metrics_address: Option<SocketAddr>,
    /// Between rounds of the scheduler: lost nodes, overlong jobs, old jobs.
    pub scheduler_interval: Duration,
    /// Policies of the coordinator.
    pub settings: Settings,
    /// Who takes the spans of traced jobs; which jobs those are is among the settings.
    pub spans: Option<Arc<dyn SpanTaker>>,
    /// Where exporters listen, in plain HTTP; none of them by default.
    pub exporters: ExporterAddresses,
}

/// Where the exporters of a master listen; what is `None` listens nowhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExporterAddresses {
    /// Results by scenario.
    pub results: Option<SocketAddr>,
    /// Quality of experience.
    pub qoe: Option<SocketAddr>,
    /// Cost; there are rates in [`Settings::tariff`].
    pub cost: Option<SocketAddr>,
    /// Predictions.
    pub predictions: Option<SocketAddr>,
}

impl Default for MasterOptions {
    fn default() -> Self {
        let limits = ServerConfig::default();
        Self {
            api_address: Some(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
            tls: None,
            api_key: None,
            rate_limit: limits.rate_limit,
            rate_burst: limits.rate_burst,
            metrics_address: None,
            scheduler_interval: Duration::from_secs(5),
            settings: Settings::default(),
            spans: None,
            exporters: ExporterAddresses::default(),
        }
    }
}

/// Between looks at leases and backoffs.
const DUE_INTERVAL: Duration = Duration::from_millis(250);

/// A master, composed of a store and a scheduler.
pub struct Master {
    coordinator: Arc<Coordinator>,
    metrics: Arc<MasterMetrics>,
    options: MasterOptions,
    api: Option<TcpListener>,
    scrape: Option<TcpListener>,
    exporters: Vec<Port>,
}

impl Master {
    /// Composes a master with the default scheduler. Opens its ports; serves when run.
    ///
    /// # Errors
    /// `port_in_use` naming the port and the flag, `tls` for a certificate that cannot be used.
    pub async fn new(store: Arc<dyn Store>, options: MasterOptions) -> Result<Self> {
        Self::with_scheduler(store, Arc::new(PriorityFifo::default()), options).await
    }

    /// The same with a scheduler of the caller's.
    ///
    /// # Errors
    /// As [`Master::new`].
    pub async fn with_scheduler(
        store: Arc<dyn Store>,
        scheduler: Arc<dyn Scheduler>,
        options: MasterOptions,
    ) -> Result<Self> {
        Self::with_clock(store, scheduler, Arc::new(SteadyClock::start()), options).await
    }

    /// The same with a clock of the caller's too.
    ///
    /// # Errors
    /// As [`Master::new`].
    pub async fn with_clock(
        store: Arc<dyn Store>,
        scheduler: Arc<dyn Scheduler>,
        clock: Arc<dyn Clock>,
        options: MasterOptions,
    ) -> Result<Self> {
        options.tls.as_ref().map(server::check_tls).transpose()?;
        let metrics = Arc::new(MasterMetrics::new()?);
        if let Some(tls) = &options.tls {
            metrics.certificate(expiry(&tls.cert)?);
        }
        let (watchers, exporters) = watchers::open(&options, &metrics, &clock).await;
        let store = Arc::new(Timed::new(store, metrics.own.calls.clone()));
        let watcher = Some(Arc::new(watchers) as Arc<dyn Watcher>);
        let coordinator = Coordinator::watched(store, scheduler, clock, options.settings.clone(), watcher);
        let api = match options.api_address {
            Some(address) => Some(listen_api(address).await?),
            None => None,
        };
        let scrape = match options.metrics_address {
            Some(address) => Some(crate::listen(address, "metrics-port").await?),
            None => None,
        };
        Ok(Self { coordinator, metrics, options, api, scrape, exporters })
    }

    /// What it does with requests, for callers in the same process.
    #[must_use]
    pub fn coordinator(&self) -> Arc<Coordinator> {
        Arc::clone(&self.coordinator)
    }

    /// A way for an agent in the same process.
    #[must_use]
    pub fn transport(&self) -> LocalTransport {
        LocalTransport::new(self.coordinator())
    }

    /// Where the API listens, as a URL; `None` if it does not.
    #[must_use]
    pub fn url(&self) -> Option<String> {
        let address = self.api.as_ref()?.local_addr().ok()?;
        let scheme = if self.options.tls.is_some() { "https" } else { "http" };
        let host = if address.ip().is_unspecified() { "localhost".to_owned() } else { host_text(address) };
        Some(format!("{scheme}://{host}:{}", address.port()))
    }

    /// Where its exporters listen, in the order of their ports in the contract.
    #[must_use]
    pub fn exporter_addresses(&self) -> Vec<SocketAddr> {
        self.exporters.iter().filter_map(Port::address).collect()
    }

    /// Where `/metrics` listens; `None` if it does not.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.scrape.as_ref()?.local_addr().ok()
    }

    /// Serves until `shutdown`, then stops in the reverse order of start and closes the store.
    ///
    /// # Errors
    /// `tls` for a certificate that cannot be used, `storage` if the store does not close.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self { coordinator, metrics, options, api, scrape, exporters } = self;
        join(&coordinator, &shutdown).await?;
        let background = CancellationToken::new();
        let reaper =
            reap(Arc::clone(&coordinator), options.scheduler_interval, Arc::clone(&metrics), background.clone());
        let reaper = tokio::spawn(reaper);
        let exporting = TaskTracker::new();
        exporters.into_iter().for_each(|port| port.serve(&exporting, background.clone()));
        exporting.close();
        let scraper = scrape.map(|listener| {
            tokio::spawn(serve_metrics(listener, Arc::clone(&metrics), Arc::clone(&coordinator), background.clone()))
        });
        let served = match api {
            Some(listener) => {
                let closing = shutdown.clone();
                let waiting = Arc::clone(&coordinator);
                let closer = tokio::spawn(async move {
                    closing.cancelled().await;
                    waiting.close();
                });
                let served =
                    server::serve(listener, server_config(&options, &metrics), Arc::clone(&coordinator), shutdown)
                        .await;
                closer.abort();
                served
            }
            None => {
                shutdown.cancelled().await;
                Ok(())
            }
        };
        coordinator.close();
        background.cancel();
        if let Some(scraper) = scraper {
            let _ = scraper.await;
        }
        let _ = reaper.await;
        crate::traces::close(options.spans).await;
        served.and(coordinator.store().close().await)
    }
}

/// Finds this master's place among the others, however long the database is away.
async fn join(coordinator: &Coordinator, shutdown: &CancellationToken) -> Result<()> {
    let mut warned = false;
    loop {
        let away = match coordinator.join().await {
            Err(error) if error.code() == Code::Unavailable && !shutdown.is_cancelled() => error,
            joined => return joined,
        };
        if !std::mem::replace(&mut warned, true) {
            tracing::warn!(error = %away, "waiting for the database");
        }
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(DUE_INTERVAL) => {}
        }
    }
}

fn server_config(options: &MasterOptions, metrics: &Arc<MasterMetrics>) -> ServerConfig {
    ServerConfig {
        tls: options.tls.clone(),
        api_key: options.api_key.clone().map(Secret::new),
        rate_limit: options.rate_limit,
        rate_burst: options.rate_burst,
        observer: Some(Arc::new(Counted(Arc::clone(metrics)))),
        ..ServerConfig::default()
    }
}

/// Hands HTTP requests to the metrics.
struct Counted(Arc<MasterMetrics>);

impl HttpObserver for Counted {
    fn request(&self, method: &str, route: &str, status: u16, bytes_in: u64, bytes_out: u64) {
        self.0.own.http(method, route, status, bytes_in, bytes_out);
    }
}

async fn reap(coordinator: Arc<Coordinator>, interval: Duration, metrics: Arc<MasterMetrics>, stop: CancellationToken) {
    let mut next_round = tokio::time::Instant::now();
    let mut failing = false;
    while !stop.is_cancelled() {
        let full = tokio::time::Instant::now() >= next_round;
        let reaped = if full { coordinator.tick().await } else { coordinator.tick_due().await };
        if full {
            next_round = tokio::time::Instant::now() + interval;
        }
        metrics.reaped(&reaped);
        match &reaped {
            Ok(reaped) if *reaped != Default::default() => tracing::info!(?reaped, "reaper"),
            Err(error) if !failing => tracing::error!(%error, "the reaper cannot do its work"),
            Ok(_) if failing && full => tracing::info!("the reaper does its work again"),
            _ => {}
        }
        // Looking for what is due only reads: it may work where the rest does not.
        failing = reaped.is_err() || failing && !full;
        tokio::select! {
            biased;
            () = stop.cancelled() => {}
            () = tokio::time::sleep(DUE_INTERVAL.min(interval)) => {}
        }
    }
}

async fn serve_metrics(
    listener: TcpListener,
    metrics: Arc<MasterMetrics>,
    coordinator: Arc<Coordinator>,
    stop: CancellationToken,
) {
    let routes = Router::new().route("/metrics", get(metrics_text)).with_state((metrics, coordinator));
    if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await {
        tracing::error!(%error, "the metrics server ended");
    }
}

async fn metrics_text(
    State((metrics, coordinator)): State<(Arc<MasterMetrics>, Arc<Coordinator>)>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let accept: Vec<_> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    let (kind, text) = metrics.text(&coordinator, &accept.join(",")).await;
    ([(header::CONTENT_TYPE, kind)], text)
}

async fn listen_api(address: SocketAddr) -> Result<TcpListener> {
    if address.ip().is_unspecified() { server::bind(address.port()).await } else { server::bind_to(address).await }
}

fn host_text(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

#[cfg(test)]
mod tests;
