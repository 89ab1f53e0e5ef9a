//! `/metrics`, `/health` and `/ready` of an agent.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

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
use super::metrics::UnderWay;
use crate::exporters::port::CONTENT_TYPE;

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

/// What an idle agent says of its machine is as old as its last heartbeat: older than this it is looked
/// at again.
const FRESH: Duration = Duration::from_secs(5);

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    if shared.metrics.is_older_than(FRESH) {
        let seen = Arc::clone(&shared);
        let looked = tokio::task::spawn_blocking(move || seen.metrics.telemetry(&seen.telemetry())).await;
        if let Err(error) = looked {
            tracing::error!(%error, "metrics show an old look at the machine");
        }
    }
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], shared.metrics.text(under_way(&shared)))
}

fn under_way(shared: &Shared) -> UnderWay {
    let attempts = shared.attempts();
    let slowest = |live: bool| {
        let paces = attempts.values().filter_map(|attempt| attempt.pace()).filter(|(_, is_live)| *is_live == live);
        paces.map(|(speed, _)| speed).min_by(f64::total_cmp)
    };
    UnderWay {
        attempts: attempts.len(),
        connected: shared.connected.load(Ordering::Acquire),
        slowest_live: slowest(true),
        slowest_file: slowest(false),
    }
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
