//! Routes of agents: register, claim, start, heartbeat, results, one or many at a time.

use std::future::pending;
use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use ffrtmp_core::coordinator::Coordinator;
use ffrtmp_core::id::{JobKey, NodeId};
use ffrtmp_core::job::JobView;
use ffrtmp_core::node::Registration;
use ffrtmp_core::protocol::{
    AttemptState, ClaimRequest, Claimed, FinishRequest, Heartbeat, HeartbeatAnswer, Registered, StartRequest,
};
use ffrtmp_core::{Code, Error, Result};

use super::App;
use super::conclude::RequestId;
use super::extract::{Body, JobPath, NodePath, Query};
use super::failure::Failure;
use crate::http::problem::Problem;
use crate::http::wire::{AttemptAnswer, AttemptAnswers, MAX_BATCH, ResultBatch, StartBatch, refuse_unknown};

/// Introduces a node, or what a known one newly says of itself.
#[utoipa::path(
    post, path = "/nodes/register", tag = "agents", operation_id = "register_node",
    request_body = Registration,
    responses(
        (status = 201, description = "The node is new.", body = Registered),
        (status = 200, description = "The node was known.", body = Registered),
    )
)]
pub(super) async fn register(
    State(app): State<Arc<App>>,
    Body(registration): Body<Registration>,
) -> Result<Response, Failure> {
    let registered = app.coordinator.register(registration).await?;
    let status = if registered.created { StatusCode::CREATED } else { StatusCode::OK };
    Ok((status, Json(registered)).into_response())
}

/// Asks for work and waits for it: the long poll.
#[utoipa::path(
    post, path = "/jobs/claim", tag = "agents", operation_id = "claim_jobs",
    request_body = ClaimRequest,
    responses((status = 200, description = "The leased jobs; none if none came in time.", body = Claimed))
)]
pub(super) async fn claim(
    State(app): State<Arc<App>>,
    Body(request): Body<ClaimRequest>,
) -> Result<Json<Claimed>, Failure> {
    let asks_for_new = request.slots > 0;
    // A claim is woken and not broken off: it may be leasing jobs at this moment.
    let wake = async {
        app.stop.cancelled().await;
        app.coordinator.close();
        pending().await
    };
    let claimed = tokio::select! {
        biased;
        claimed = app.coordinator.claim(request) => claimed?,
        never = wake => never,
    };
    if asks_for_new && claimed.jobs.is_empty() && app.coordinator.is_closing() {
        return Err(Error::new(Code::Unavailable, "the master is stopping").into());
    }
    Ok(Json(claimed))
}

/// Asks for one job without waiting: an alias of the claim for simple agents.
#[utoipa::path(
    get, path = "/jobs/next", tag = "agents", operation_id = "next_job",
    params(("node_id" = uuid::Uuid, Query, description = "Who asks.")),
    responses(
        (status = 200, description = "The leased job.", body = JobView),
        (status = 204, description = "There is no work for this node."),
    )
)]
pub(super) async fn next(State(app): State<Arc<App>>, Query(query): Query) -> Result<Response, Failure> {
    let request = ClaimRequest { node_id: asking_node(&query)?, slots: 1, wait_ms: 0, request_id: None, room: None };
    Ok(match app.coordinator.claim(request).await?.jobs.pop() {
        Some(job) => Json(JobView::with_secrets(job)).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

fn asking_node(query: &[(String, String)]) -> Result<NodeId> {
    refuse_unknown(query, &["node_id"])?;
    match query {
        [(_, id)] => id.parse(),
        _ => Err(Error::new(Code::InvalidField, "is required once")
            .field("node_id")
            .hint("ask for /jobs/next?node_id=ID with the id that the registration gave")),
    }
}

/// Begins an attempt.
#[utoipa::path(
    post, path = "/jobs/{id}/start", tag = "agents", operation_id = "start_job",
    params(("id" = String, Path, description = "Id, unique prefix of it, or sequence number.")),
    request_body = StartRequest,
    responses(
        (status = 200, description = "The job, running.", body = JobView),
        (status = 409, description = "The attempt is not this node's, or it is over.", body = Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn start(
    State(app): State<Arc<App>>,
    JobPath(key): JobPath,
    Body(request): Body<StartRequest>,
) -> Result<Json<JobView>, Failure> {
    let id = match key {
        JobKey::Id(id) => id,
        key => app.coordinator.job(&key).await?.id,
    };
    Ok(Json(app.coordinator.start(id, request).await?.into()))
}

/// Begins up to 1,000 attempts, each on its own.
#[utoipa::path(
    post, path = "/jobs/start", tag = "agents", operation_id = "start_jobs",
    request_body = StartBatch,
    responses((status = 200, description = "An answer for each attempt, in the order of the request.",
        body = AttemptAnswers))
)]
pub(super) async fn start_batch(
    State(app): State<Arc<App>>,
    RequestId(id): RequestId,
    Body(StartBatch { starts }): Body<StartBatch>,
) -> Result<Json<AttemptAnswers>, Failure> {
    check_batch("starts", starts.len())?;
    let starts = starts.into_iter().map(Into::into).collect();
    Ok(Json(answers(app.coordinator.start_many(starts).await?, &id)))
}

/// Takes a sign of life and answers with orders.
#[utoipa::path(
    post, path = "/nodes/{id}/heartbeat", tag = "agents", operation_id = "heartbeat",
    params(("id" = uuid::Uuid, Path, description = "Id of the node.")),
    request_body = Heartbeat,
    responses((status = 200, description = "Orders for the node.", body = HeartbeatAnswer))
)]
pub(super) async fn heartbeat(
    State(app): State<Arc<App>>,
    NodePath(id): NodePath,
    Body(heartbeat): Body<Heartbeat>,
) -> Result<Json<HeartbeatAnswer>, Failure> {
    Ok(Json(app.coordinator.heartbeat(id, heartbeat).await?))
}

/// Ends an attempt. The same result twice has one effect and the same answer.
#[utoipa::path(
    post, path = "/results", tag = "agents", operation_id = "finish_job",
    request_body = FinishRequest,
    responses(
        (status = 200, description = "The job after it.", body = JobView),
        (status = 404, description = "There is no such job.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "The attempt is not this node's, or another has begun.", body = Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn finish(
    State(app): State<Arc<App>>,
    Body(request): Body<FinishRequest>,
) -> Result<Json<JobView>, Failure> {
    Ok(Json(app.coordinator.finish(request).await?.into()))
}

/// Ends up to 1,000 attempts, each on its own. Results that were taken before have no effect and
/// get the same answer.
#[utoipa::path(
    post, path = "/results/batch", tag = "agents", operation_id = "finish_jobs",
    request_body = ResultBatch,
    responses((status = 200, description = "An answer for each result, in the order of the request.",
        body = AttemptAnswers))
)]
pub(super) async fn finish_batch(
    State(app): State<Arc<App>>,
    RequestId(id): RequestId,
    Body(ResultBatch { results }): Body<ResultBatch>,
) -> Result<Json<AttemptAnswers>, Failure> {
    check_batch("results", results.len())?;
    for (position, result) in results.iter().enumerate() {
        Coordinator::check_result(result).map_err(|error| at_position(&error, position))?;
    }
    Ok(Json(answers(app.coordinator.finish_many(results).await?, &id)))
}

fn check_batch(field: &'static str, len: usize) -> Result<()> {
    if (1..=MAX_BATCH).contains(&len) {
        return Ok(());
    }
    Err(Error::new(Code::InvalidField, format!("holds {len} entries")).field(field).hint("give 1 to 1,000"))
}

fn at_position(error: &Error, position: usize) -> Error {
    let place = format!("results[{position}]");
    let field = error.field_name().map_or_else(|| place.clone(), |field| format!("{place}.{field}"));
    Error::new(error.code(), error.message()).field(field).hint(error.hint_text())
}

fn answers(answers: Vec<Result<AttemptState>>, request_id: &str) -> AttemptAnswers {
    let answer = |answer: Result<AttemptState>| match answer {
        Ok(state) => AttemptAnswer::State(state),
        Err(error) => AttemptAnswer::Problem(Problem::new(&error, request_id)),
    };
    let answers: Vec<_> = answers.into_iter().map(answer).collect();
    AttemptAnswers { count: answers.len(), answers }
}
