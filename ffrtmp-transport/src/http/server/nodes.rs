//! Routes about the fleet: list, show, drain, activate, remove.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ffrtmp_core::Result;
use ffrtmp_core::node::Node;

use super::App;
use super::extract::{NodePath, Query};
use super::failure::Failure;
use crate::http::wire::{NodeList, refuse_unknown};

/// Lists all nodes, by name.
#[utoipa::path(
    get, path = "/nodes", tag = "nodes", operation_id = "list_nodes",
    responses((status = 200, description = "The nodes.", body = NodeList))
)]
pub(super) async fn list(State(app): State<Arc<App>>, Query(query): Query) -> Result<Json<NodeList>, Failure> {
    refuse_unknown(&query, &[])?;
    let nodes = app.coordinator.nodes().await?;
    Ok(Json(NodeList { count: nodes.len(), nodes, next_cursor: None }))
}

/// Shows a node.
#[utoipa::path(
    get, path = "/nodes/{id}", tag = "nodes", operation_id = "get_node",
    params(("id" = uuid::Uuid, Path, description = "Id of the node.")),
    responses((status = 200, description = "The node.", body = Node))
)]
pub(super) async fn show(State(app): State<Arc<App>>, NodePath(id): NodePath) -> Result<Json<Node>, Failure> {
    Ok(Json(app.coordinator.node(id).await?))
}

/// Forgets a node; what it runs goes back to the queue.
#[utoipa::path(
    delete, path = "/nodes/{id}", tag = "nodes", operation_id = "remove_node",
    params(("id" = uuid::Uuid, Path, description = "Id of the node.")),
    responses((status = 204, description = "The node is forgotten."))
)]
pub(super) async fn remove(State(app): State<Arc<App>>, NodePath(id): NodePath) -> Result<StatusCode, Failure> {
    app.coordinator.remove_node(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a node out of service: its jobs end, no new ones start.
#[utoipa::path(
    post, path = "/nodes/{id}/drain", tag = "nodes", operation_id = "drain_node",
    params(("id" = uuid::Uuid, Path, description = "Id of the node.")),
    responses((status = 200, description = "The node after it.", body = Node))
)]
pub(super) async fn drain(State(app): State<Arc<App>>, NodePath(id): NodePath) -> Result<Json<Node>, Failure> {
    Ok(Json(app.coordinator.drain(id).await?))
}

/// Puts a node back into service.
#[utoipa::path(
    post, path = "/nodes/{id}/activate", tag = "nodes", operation_id = "activate_node",
    params(("id" = uuid::Uuid, Path, description = "Id of the node.")),
    responses((status = 200, description = "The node after it.", body = Node))
)]
pub(super) async fn activate(State(app): State<Arc<App>>, NodePath(id): NodePath) -> Result<Json<Node>, Failure> {
    Ok(Json(app.coordinator.activate(id).await?))
}
