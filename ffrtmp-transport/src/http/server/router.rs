//! Which path leads to which handler, under `/api/v1` and without it.

use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::http::HeaderValue;
use axum::http::header::{ALLOW, CONTENT_TYPE};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, head};
use ffrtmp_core::{Code, Error};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::failure::Failure;
use super::{App, admission, agents, conclude, events, health, jobs, nodes, openapi};

/// The whole service.
pub(super) fn build(app: Arc<App>) -> Router {
    let (routes, document) = documented().split_for_parts();
    let document = openapi::complete(document);
    let routes = routes.route(
        "/openapi.json",
        get(move || {
            let json = document.clone();
            async move { ([(CONTENT_TYPE, "application/json")], json) }
        }),
    );
    // A GET that leases a job must not run for a HEAD, which promises to change nothing.
    let routes = routes.route(NEXT_JOB, head(wrong_method));
    Router::new()
        .merge(routes.clone())
        .nest("/api/v1", routes)
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(Arc::clone(&app), admission::admit))
        .layer(from_fn_with_state(Arc::clone(&app), conclude::conclude))
        .with_state(app)
}

/// The OpenAPI document as JSON, without a running server.
#[must_use]
pub fn openapi_json() -> String {
    openapi::complete(documented().into_openapi())
}

fn documented() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(jobs::list, jobs::submit))
        .routes(routes!(jobs::submit_batch))
        .routes(routes!(agents::claim))
        .routes(routes!(agents::next))
        .routes(routes!(jobs::show))
        .routes(routes!(jobs::logs))
        .routes(routes!(events::events))
        .routes(routes!(jobs::cancel))
        .routes(routes!(jobs::pause))
        .routes(routes!(jobs::resume))
        .routes(routes!(jobs::retry))
        .routes(routes!(agents::start))
        .routes(routes!(agents::start_batch))
        .routes(routes!(agents::finish))
        .routes(routes!(agents::finish_batch))
        .routes(routes!(nodes::list))
        .routes(routes!(agents::register))
        .routes(routes!(nodes::show, nodes::remove))
        .routes(routes!(nodes::drain))
        .routes(routes!(nodes::activate))
        .routes(routes!(agents::heartbeat))
        .routes(routes!(health::health))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
}

async fn unknown_path(request: Request) -> Failure {
    Error::new(Code::NotFound, format!("there is no {:?}", request.uri().path())).into()
}

/// The one GET with an effect.
const NEXT_JOB: &str = "/jobs/next";

async fn wrong_method(request: Request) -> Response {
    let path = request.uri().path();
    let message = format!("{path:?} does not take {}", request.method());
    let mut response = Failure::from(Error::new(Code::MethodNotAllowed, message)).into_response();
    if path.ends_with(NEXT_JOB) {
        // axum would name HEAD wherever there is a GET.
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
    }
    response
}
