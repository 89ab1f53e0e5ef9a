//! Routes of people: submit, look, cancel, pause, resume, retry.

#![allow(unused_qualifications, reason = "utoipa's macro writes them for query parameters")]

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::{IntoResponse, Response};
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, JobKey, NodeId, TenantId};
use ffrtmp_core::job::{Classification, JobRequest, JobState, JobView, Priority, Queue};
use ffrtmp_core::store::{JobFilter, Page};
use ffrtmp_core::{Code, Error, Result, request};
use serde_json::Value;
use utoipa::IntoParams;

use super::App;
use super::extract::{Batch, Body, Caller, IdempotencyKey, JobPath, Query};
use super::failure::Failure;
use crate::http::problem::Problem;
use crate::http::wire::{self, BatchAnswer, JobList, LogEntry, LogList, MAX_BATCH};

/// Submits a job.
///
/// The same `Idempotency-Key` with the same request gives the same job.
#[utoipa::path(
    post, path = "/jobs", tag = "jobs", operation_id = "submit_job",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the submission repeatable.",
        pattern = r"^[!-~]{1,255}$", min_length = 1, max_length = 255),
        ("traceparent" = Option<String>, Header, description = "The trace that the submission is a part of, as the \
            W3C's trace context has it; one that cannot be read is ignored.")),
    request_body = JobRequest,
    responses(
        (status = 201, description = "The job was created.", body = JobView,
            headers(("Location" = String, description = "Where the job is."))),
        (status = 200, description = "The idempotency key was known: the job of then.", body = JobView),
        (status = 404, description = "A job that it depends on does not exist.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "The idempotency key belongs to another request, or the output is the input.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "The parts of the request contradict each other.", body = Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn submit(
    State(app): State<Arc<App>>,
    IdempotencyKey(key): IdempotencyKey,
    Caller(caller): Caller,
    Body(body): Body<Value>,
) -> Result<Response, Failure> {
    let mut request = request::parse(body)?;
    request.traceparent = request.traceparent.or(caller);
    let named = vec![request.depends_on.clone()];
    let submitted = match app.coordinator.submit(request, key).await {
        Err(refused) => return Err(missing(&app, refused, &named, |_| String::new()).await.into()),
        Ok(submitted) => submitted,
    };
    let location = format!("/api/v1/jobs/{}", submitted.job.id);
    let job = Json(JobView::from(submitted.job));
    Ok(if submitted.created {
        (StatusCode::CREATED, [(LOCATION, location)], job).into_response()
    } else {
        job.into_response()
    })
}

/// Why a submission was refused. A dependency that does not exist is told as what it is, a job that is
/// not found, with its place.
async fn missing(app: &App, refused: Error, named: &[Vec<JobId>], place: impl Fn(usize) -> String) -> Error {
    if refused.code() != Code::InvalidField || !refused.field_name().is_some_and(|field| field.ends_with(DEPENDS_ON)) {
        return refused;
    }
    let known = match app.coordinator.states(&named.concat()).await {
        Ok(known) => known,
        Err(error) => return error,
    };
    let places = named
        .iter()
        .enumerate()
        .flat_map(|(position, ids)| ids.iter().enumerate().map(move |(index, id)| (position, index, id)));
    let mut unknown = places.filter(|(_, _, id)| !known.contains_key(id));
    unknown.next().map_or(refused, |(position, index, id)| {
        Error::new(Code::JobNotFound, format!("no job has the id {id}"))
            .field(format!("{}{DEPENDS_ON}[{index}]", place(position)))
            .hint("name jobs that exist; `ffrtmp jobs list` shows them")
    })
}

const DEPENDS_ON: &str = "depends_on";

/// What a batch may look like.
#[derive(utoipa::ToSchema)]
#[schema(as = BatchRequest)]
#[allow(dead_code, reason = "describes the body for the OpenAPI document; the handler reads it job by job")]
pub(super) struct BatchDocument {
    /// The jobs, all of which are created or none.
    #[schema(min_items = 1, max_items = 1000)]
    jobs: Vec<JobRequest>,
}

/// Submits up to 1,000 jobs, all or none.
#[utoipa::path(
    post, path = "/jobs/batch", tag = "jobs", operation_id = "submit_jobs",
    params(("traceparent" = Option<String>, Header, description = "The trace that the submission is a part of.")),
    request_body = BatchDocument,
    responses(
        (status = 201, description = "Every job was created, in the order of the request.", body = BatchAnswer),
        (status = 404, description = "A job that one of them depends on does not exist.", body = Problem,
            content_type = "application/problem+json"),
        (status = 409, description = "The output of one of them is its input.", body = Problem,
            content_type = "application/problem+json"),
        (status = 422, description = "The parts of a request contradict each other.", body = Problem,
            content_type = "application/problem+json"),
    )
)]
pub(super) async fn submit_batch(
    State(app): State<Arc<App>>,
    Caller(caller): Caller,
    Body(Batch(body)): Body<Batch>,
) -> Result<Response, Failure> {
    let mut requests = batch(body)?;
    for request in &mut requests {
        request.traceparent = request.traceparent.or(caller);
    }
    let named: Vec<_> = requests.iter().map(|request| request.depends_on.clone()).collect();
    let jobs = match app.coordinator.submit_batch(requests).await {
        Err(refused) => {
            let place = |position| format!("jobs[{position}].");
            return Err(missing(&app, refused, &named, place).await.into());
        }
        Ok(jobs) => jobs,
    };
    let jobs: Vec<_> = jobs.into_iter().map(JobView::from).collect();
    Ok((StatusCode::CREATED, Json(BatchAnswer { count: jobs.len(), jobs })).into_response())
}

/// The requests of `{"jobs": [...]}`.
fn batch(body: Value) -> Result<Vec<JobRequest>> {
    let wrong = |message: &str| {
        Error::new(Code::InvalidField, message).field("jobs").hint("send {\"jobs\": [...]} with 1 to 1,000 jobs")
    };
    let Value::Object(mut object) = body else { return Err(wrong("the body is not an object")) };
    let jobs = object.remove("jobs").ok_or_else(|| wrong("is required"))?;
    if let Some(name) = object.keys().next() {
        return Err(Error::new(Code::UnknownField, "unknown field").field(name).hint("known: jobs"));
    }
    let Value::Array(list) = jobs else { return Err(wrong("is not a list")) };
    match list.len() {
        0 => Err(wrong("holds no job")),
        too_many if too_many > MAX_BATCH => Err(wrong(&format!("holds {too_many} jobs"))),
        _ => list.into_iter().enumerate().map(|(position, job)| element(position, job)).collect(),
    }
}

fn element(position: usize, job: Value) -> Result<JobRequest> {
    request::parse(job).map_err(|error| {
        let place = format!("jobs[{position}]");
        let field = error.field_name().map_or_else(|| place.clone(), |field| format!("{place}.{field}"));
        Error::new(error.code(), error.message()).field(field).hint(error.hint_text())
    })
}

/// A label in a query.
#[derive(utoipa::ToSchema)]
#[schema(value_type = String, pattern = "^[^=]+=.*$", example = "team=news")]
#[allow(dead_code, reason = "describes the query for the OpenAPI document")]
pub(super) struct Label(String);

/// The query of a list of jobs, for the OpenAPI document; [`wire::filter`] reads it.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[allow(dead_code, reason = "describes the query for the OpenAPI document")]
pub(super) struct ListParameters {
    /// Jobs of a page; 100 by default.
    #[param(minimum = 1, maximum = 500)]
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    #[param(pattern = r"^[1-9][0-9]{0,17}$")]
    cursor: Option<String>,
    /// One or more states, separated by commas.
    #[param(style = Form, explode = false, min_items = 1)]
    state: Option<Vec<JobState>>,
    /// In this queue.
    #[param(inline)]
    queue: Option<Queue>,
    /// With this priority.
    #[param(inline)]
    priority: Option<Priority>,
    /// Of this tenant.
    #[param(value_type = Option<String>, pattern = r"^[A-Za-z0-9._-]{1,64}$")]
    tenant: Option<TenantId>,
    /// With this classification.
    #[param(inline)]
    classification: Option<Classification>,
    /// Held or last held by this node.
    #[param(value_type = Option<String>, format = Uuid)]
    node_id: Option<NodeId>,
    /// With exactly this scenario.
    scenario: Option<String>,
    /// With this label, `key=value`; may be given more than once.
    #[param(inline, style = Form, explode = true, min_items = 1)]
    label: Option<Vec<Label>>,
    /// Submitted at or after.
    #[param(value_type = Option<String>, format = DateTime)]
    created_after: Option<Timestamp>,
    /// Submitted before.
    #[param(value_type = Option<String>, format = DateTime)]
    created_before: Option<Timestamp>,
}

/// Lists jobs, newest submission first.
#[utoipa::path(
    get, path = "/jobs", tag = "jobs", operation_id = "list_jobs", params(ListParameters),
    responses((status = 200, description = "A page of jobs.", body = JobList))
)]
pub(super) async fn list(State(app): State<Arc<App>>, Query(query): Query) -> Result<Json<JobList>, Failure> {
    let Some((filter, page)) = wire::filter(&query)? else {
        return Ok(Json(JobList { jobs: Vec::new(), count: 0, next_cursor: None }));
    };
    let jobs = app.coordinator.jobs(&filter, page).await?;
    let next_cursor = match jobs.last() {
        Some(last) if jobs.len() == page.limit => older(&app, &filter, last.sequence_number).await?,
        _ => None,
    };
    let jobs: Vec<_> = jobs.into_iter().map(JobView::from).collect();
    Ok(Json(JobList { count: jobs.len(), jobs, next_cursor }))
}

/// The cursor behind a full page, if anything follows it.
async fn older(app: &App, filter: &JobFilter, before: u64) -> Result<Option<String>> {
    let follow = app.coordinator.jobs(filter, Page { limit: 1, before: Some(before) }).await?;
    Ok((!follow.is_empty()).then(|| before.to_string()))
}

/// Shows a job.
#[utoipa::path(
    get, path = "/jobs/{id}", tag = "jobs", operation_id = "get_job",
    params(("id" = String, Path, description = "Id, unique prefix of it, or sequence number.")),
    responses((status = 200, description = "The job.", body = JobView))
)]
pub(super) async fn show(State(app): State<Arc<App>>, JobPath(key): JobPath) -> Result<Json<JobView>, Failure> {
    Ok(Json(app.coordinator.job(&key).await?.into()))
}

/// Shows the log of a job over all its attempts.
#[utoipa::path(
    get, path = "/jobs/{id}/logs", tag = "jobs", operation_id = "get_job_logs",
    params(
        ("id" = String, Path, description = "Id, unique prefix of it, or sequence number."),
        ("limit" = Option<u32>, Query, description = "So many of the newest lines; all by default.",
            minimum = 1, maximum = 10000),
    ),
    responses((status = 200, description = "The lines, oldest first.", body = LogList))
)]
pub(super) async fn logs(
    State(app): State<Arc<App>>,
    JobPath(key): JobPath,
    Query(query): Query,
) -> Result<Json<LogList>, Failure> {
    let limit = wire::lines(&query)?;
    let lines = app.coordinator.logs(&key).await?;
    let older = lines.len().saturating_sub(limit);
    let logs: Vec<_> = lines.into_iter().skip(older).map(LogEntry::from).collect();
    Ok(Json(LogList { count: logs.len(), logs }))
}

macro_rules! change {
    ($(#[$doc:meta])* $name:ident $path:literal $operation:literal) => {
        $(#[$doc])*
        #[utoipa::path(
            post, path = $path, tag = "jobs", operation_id = $operation,
            params(("id" = String, Path, description = "Id, unique prefix of it, or sequence number.")),
            responses(
                (status = 200, description = "The job after it.", body = JobView),
                (status = 409, description = "The job's state does not allow it.", body = Problem,
                    content_type = "application/problem+json"),
            )
        )]
        pub(super) async fn $name(
            State(app): State<Arc<App>>,
            JobPath(key): JobPath,
        ) -> Result<Json<JobView>, Failure> {
            let key: &JobKey = &key;
            Ok(Json(app.coordinator.$name(key).await?.into()))
        }
    };
}

change!(
    /// Cancels a job; a node that runs it stops when it hears of it.
    cancel "/jobs/{id}/cancel" "cancel_job"
);
change!(
    /// Holds a queued job back, or freezes a running one.
    pause "/jobs/{id}/pause" "pause_job"
);
change!(
    /// Lets a paused job go on.
    resume "/jobs/{id}/resume" "resume_job"
);
change!(
    /// Starts a new round of a job that failed or was canceled.
    retry "/jobs/{id}/retry" "retry_job"
);
