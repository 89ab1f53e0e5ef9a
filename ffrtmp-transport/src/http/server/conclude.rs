//! The outermost step of every request: gives it an id and a span, survives a panic, writes the
//! problem document of a failure, and tells the observer.

use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use ffrtmp_core::{Code, Error};
use futures::FutureExt;
use http_body::{Body as HttpBody, Frame, SizeHint};
use tracing::Instrument;

use super::failure::{Failed, Failure};
use super::{App, HttpObserver};
use crate::http::problem::{MEDIA_TYPE, Problem};

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Wraps the handling of a request.
pub(super) async fn conclude(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let id = uuid::Uuid::new_v4().to_string();
    let method = request.method().clone();
    let route = route(&request);
    let span = tracing::info_span!("request", %method, route, %id);
    let tally = Arc::new(Tally::default());
    let mut request = request.map(|body| Body::new(Counted::inwards(body, Arc::clone(&tally))));
    request.extensions_mut().insert(RequestId(id.clone()));
    let outcome = AssertUnwindSafe(next.run(request)).catch_unwind().instrument(span.clone()).await;
    let mut response = outcome.unwrap_or_else(|_| {
        span.in_scope(|| tracing::error!("the handler of a request panicked"));
        Failure::from(Error::new(Code::Internal, "a handler panicked")).into_response()
    });
    span.in_scope(|| render_failure(&mut response, &id));
    dress(&mut response, &id);
    let report = Report { observer: app.observer.clone(), method, route, status: response.status(), tally };
    response.map(|body| Body::new(Counted::outwards(body, report)))
}

/// The id of a request, for problems in the midst of an answer.
#[derive(Clone)]
pub(super) struct RequestId(pub(super) String);

impl<S: Sync> FromRequestParts<S> for RequestId {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let id = parts.extensions.get::<Self>().cloned();
        id.ok_or_else(|| Error::new(Code::Internal, "the request has no id").into())
    }
}

/// The pattern of the route without its prefix.
fn route(request: &Request) -> String {
    match request.extensions().get::<MatchedPath>() {
        Some(path) => path.as_str().strip_prefix("/api/v1").unwrap_or(path.as_str()).to_owned(),
        None => "unmatched".to_owned(),
    }
}

fn render_failure(response: &mut Response, id: &str) {
    let failed = response.extensions_mut().remove::<Failed>();
    let status = response.status();
    if status.is_server_error() {
        let error: &dyn std::fmt::Display = failed.as_ref().map_or(&status, |failed| &failed.0);
        tracing::warn!(status = status.as_u16(), %error, "request failed");
    } else {
        tracing::debug!(status = status.as_u16(), "request done");
    }
    let Some(Failed(error)) = failed else { return };
    let body = serde_json::to_vec(&Problem::new(&error, id)).unwrap_or_default();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    *response.body_mut() = Body::from(body);
}

fn dress(response: &mut Response, id: &str) {
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
}

/// Bytes of the two bodies of an exchange.
#[derive(Default)]
struct Tally {
    inwards: AtomicU64,
    outwards: AtomicU64,
}

/// Tells the observer when it is dropped: when the answer is sent or given up.
struct Report {
    observer: Option<Arc<dyn HttpObserver>>,
    method: Method,
    route: String,
    status: StatusCode,
    tally: Arc<Tally>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let Some(observer) = &self.observer else { return };
        // Anybody can invent methods; a metric label must come from a bounded set.
        let method = match self.method.as_str() {
            known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
            _ => "OTHER",
        };
        let (inwards, outwards) =
            (self.tally.inwards.load(Ordering::Relaxed), self.tally.outwards.load(Ordering::Relaxed));
        observer.request(method, &self.route, self.status.as_u16(), inwards, outwards);
    }
}

/// A body that counts what passes.
struct Counted {
    body: Body,
    tally: Arc<Tally>,
    report: Option<Report>,
}

impl Counted {
    fn inwards(body: Body, tally: Arc<Tally>) -> Self {
        Self { body, tally, report: None }
    }

    fn outwards(body: Body, report: Report) -> Self {
        Self { body, tally: Arc::clone(&report.tally), report: Some(report) }
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame
            && let Some(data) = frame.data_ref()
        {
            let counter = if self.report.is_some() { &self.tally.outwards } else { &self.tally.inwards };
            counter.fetch_add(data.len() as u64, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
