//! Routes for load balancers and supervisors; no key needed.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use ffrtmp_core::{Code, Error, Result};
use tokio::time::timeout;

use super::App;
use super::failure::Failure;
use crate::http::wire::Health;

/// Says whether the master works, by using its store.
#[utoipa::path(
    get, path = "/health", tag = "health", operation_id = "health", security(()),
    responses((status = 200, description = "The master works.", body = Health))
)]
pub(super) async fn health(State(app): State<Arc<App>>) -> Result<Json<Health>, Failure> {
    check_store(&app).await?;
    Ok(ok())
}

/// Says that the process answers, without asking the store.
#[utoipa::path(
    get, path = "/livez", tag = "health", operation_id = "livez", security(()),
    responses((status = 200, description = "The process answers.", body = Health))
)]
pub(super) async fn livez() -> Json<Health> {
    ok()
}

/// Says whether the master takes requests: its store works and it is not stopping.
#[utoipa::path(
    get, path = "/readyz", tag = "health", operation_id = "readyz", security(()),
    responses((status = 200, description = "The master takes requests.", body = Health))
)]
pub(super) async fn readyz(State(app): State<Arc<App>>) -> Result<Json<Health>, Failure> {
    if app.stop.is_cancelled() || app.coordinator.is_closing() {
        return Err(Error::new(Code::Unavailable, "the master is stopping").into());
    }
    check_store(&app).await?;
    Ok(ok())
}

async fn check_store(app: &App) -> Result<()> {
    // A store that hangs is as dead as one that fails.
    match timeout(Duration::from_secs(5), app.coordinator.check()).await {
        Ok(checked) => checked,
        Err(_) => Err(Error::new(Code::Unavailable, "the database does not answer")
            .hint("look after the database and the way to it; the master goes on by itself once it answers")),
    }
}

fn ok() -> Json<Health> {
    Json(Health { status: "ok".into(), version: env!("CARGO_PKG_VERSION").into() })
}
