//! Routes about the fleet: list, show, drain, activate, remove.

#![allow(unused_qualifications, reason = "utoipa's macro writes them for query parameters")]

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use ffrtmp_core::Result;
use ffrtmp_core::node::Node;
use utoipa::IntoParams;

use super::App;
use super::extract::{NodePath, Query};
use super::failure::Failure;
use crate::http::wire::{self, NodeList, NodePlace};

/// The query of a list of nodes, for the OpenAPI document; [`wire::node_page`] reads it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes the query for the OpenAPI document")]
pub(super) struct ListParameters {
    /// Nodes of a page; 100 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(pattern = r"^([0-9a-f]{2}){16,}$")]
    cursor: Option<String>,
}

/// Lists nodes, by name.
#[utoipa::path(
    get, path = "/nodes", tag = "nodes", operation_id = "list_nodes", params(ListParameters),
    responses((status = 200, description = "A page of nodes.", body = NodeList))
)]
pub(super) async fn list(State(app): State<Arc<App>>, Query(query): Query) -> Result<Json<NodeList>, Failure> {
    let (limit, behind) = wire::node_page(&query)?;
    let mut nodes = app.coordinator.nodes().await?;
    nodes.retain(|node| behind.as_ref().is_none_or(|behind| NodePlace::of(node) > *behind));
    nodes.sort_by_cached_key(NodePlace::of);
    let more = nodes.len() > limit;
    nodes.truncate(limit);
    let next_cursor = nodes.last().filter(|_| more).map(|last| NodePlace::of(last).to_string());
    Ok(Json(NodeList { count: nodes.len(), nodes, next_cursor }))
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
