//! `/metrics`, `/health` and `/ready` of an agent.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use ffrtmp_core::governor::{Admission, Demand};
use ffrtmp_core::job::ResourceLimits;
use serde_json::json;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Shared;

/// Serves until `ended`.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>, ended: CancellationToken) {
    let routes = Router::new()
        .route("/metrics", get(metrics))
        .route("/health", get(|| async { Json(json!({"status": "healthy"})) }))
        .route("/ready", get(ready))
        .with_state(shared);
    let served = axum::serve(listener, routes).with_graceful_shutdown(ended.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the metrics server ended");
    }
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    shared.metrics.active(shared.attempts().len());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], shared.metrics.text())
}

/// Ready only when codecs load, the disk has room, and the master answers.
async fn ready(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let codecs = !shared.workshop.capabilities().encoders.is_empty();
    let limits = ResourceLimits::default();
    let room = shared.governor.admit(&Demand { limits: &limits, gpu: false, work_dir: shared.workshop.root() });
    let disk = matches!(room, Ok(Admission::Admitted | Admission::Warned(_)));
    let master = shared.connected.load(Ordering::Acquire);
    let status = if codecs && disk && master { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": status.is_success(), "codecs": codecs, "disk": disk, "master": master})))
}
