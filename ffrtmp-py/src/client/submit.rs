//! `submit`.

use ffrtmp::core::job::JobRequest;
use ffrtmp::transport::http::MasterClient;
use pyo3::prelude::*;
use serde_json::Value;

use super::Client;
use crate::request;
use crate::runtime::{Give as _, later, now};
use crate::value::json;

/// Submits a job. With an idempotency key the call may be repeated.
#[pyfunction]
#[pyo3(signature = (client, job, idempotency_key))]
pub(super) fn submit(
    py: Python<'_>,
    client: &Client,
    job: &Bound<'_, PyAny>,
    idempotency_key: Option<String>,
) -> PyResult<Py<PyAny>> {
    now(py, work(client.here(py)?, request::job(job)?, idempotency_key))?.give(py)
}

/// Submits a job. With an idempotency key the call may be repeated.
#[pyfunction]
#[pyo3(signature = (client, job, idempotency_key))]
pub(super) fn submit_async<'py>(
    py: Python<'py>,
    client: &Client,
    job: &Bound<'_, PyAny>,
    idempotency_key: Option<String>,
) -> PyResult<Bound<'py, PyAny>> {
    later(py, work(client.here(py)?, request::job(job)?, idempotency_key))
}

async fn work(client: MasterClient, request: JobRequest, idempotency_key: Option<String>) -> ffrtmp::Result<Value> {
    json(&client.submit(&request, idempotency_key.as_deref()).await?)
}
