//! What a handler returns when it fails: an error that [`super::conclude`] turns into a problem
//! document.

use std::sync::Arc;
use std::time::Duration;

use axum::http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use ffrtmp_core::{Code, Error};

/// An error on its way to the caller.
#[derive(Debug)]
pub(super) struct Failure {
    error: Error,
    retry_after: Option<Duration>,
}

/// Rides in the extensions of a response whose body is not written yet.
#[derive(Clone)]
pub(super) struct Failed(pub(super) Arc<Error>);

impl Failure {
    /// An error after which the caller should wait.
    pub(super) fn retry_after(error: Error, wait: Duration) -> Self {
        Self { error, retry_after: Some(wait) }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let retry_after = (error.code() == Code::Unavailable).then_some(Duration::from_secs(1));
        Self { error, retry_after }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let code = self.error.code();
        let status = StatusCode::from_u16(code.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        if let Some(wait) = self.retry_after {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
        }
        if code == Code::Unauthorized {
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"ffrtmp\", charset=\"UTF-8\""));
        }
        response.extensions_mut().insert(Failed(Arc::new(self.error)));
        response
    }
}
