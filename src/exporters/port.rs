//! Serving one exporter. It is worth less than the work it tells of: where its port is taken, the
//! program says so and runs on without it.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{Exporter, text};

/// An exporter with its port.
pub(crate) struct Port {
    listener: TcpListener,
    exporter: Arc<dyn Exporter>,
}

impl Port {
    /// Opens a port for an exporter; `None`, and a warning, where that cannot be.
    pub(crate) async fn open(address: SocketAddr, flag: &'static str, exporter: Arc<dyn Exporter>) -> Option<Self> {
        match crate::listen(address, flag).await {
            Ok(listener) => Some(Self { listener, exporter }),
            Err(error) => {
                tracing::warn!(%error, hint = error.hint_text(), "going on without the exporter of --{flag}");
                None
            }
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves on tasks of `tasks` until `stop`.
    pub(crate) fn serve(self, tasks: &TaskTracker, stop: CancellationToken) {
        let Self { listener, exporter } = self;
        let routes = Router::new()
            .route("/metrics", get(scrape))
            .route("/health", get(|| async { Json(json!({"status": "healthy"})) }))
            .with_state(exporter);
        tasks.spawn(async move {
            if let Err(error) = axum::serve(listener, routes).with_graceful_shutdown(stop.cancelled_owned()).await {
                tracing::error!(%error, "an exporter ended");
            }
        });
    }
}

async fn scrape(State(exporter): State<Arc<dyn Exporter>>) -> impl IntoResponse {
    let families = tokio::task::spawn_blocking(move || exporter.families()).await.unwrap_or_else(|error| {
        tracing::error!(%error, "an exporter broke");
        Vec::new()
    });
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text(&families))
}

/// The text format.
pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
