//! `submit`.

use ffrtmp::core::job::JobRequest;
use ffrtmp::transport::http::MasterClient;
use pyo3::prelude::*;
use pyo3::types::PyString;
use serde_json::Value;

use super::Client;
use crate::request;
use crate::runtime::{Give as _, later, now};
use crate::value::{json, read_text};

/// Submits a job. With an idempotency key the call may be repeated.
#[pyfunction]
#[pyo3(signature = (client, job, idempotency_key))]
pub(super) fn submit(
    py: Python<'_>,
    client: &Client,
    job: &Bound<'_, PyAny>,
    idempotency_key: Option<&Bound<'_, PyString>>,
) -> PyResult<Py<PyAny>> {
    now(py, work(client.here(py)?, request::job(job)?, key(idempotency_key)?))?.give(py)
}

/// Submits a job. With an idempotency key the call may be repeated.
#[pyfunction]
#[pyo3(signature = (client, job, idempotency_key))]
pub(super) fn submit_async<'py>(
    py: Python<'py>,
    client: &Client,
    job: &Bound<'_, PyAny>,
    idempotency_key: Option<&Bound<'_, PyString>>,
) -> PyResult<Bound<'py, PyAny>> {
    later(py, work(client.here(py)?, request::job(job)?, key(idempotency_key)?))
}

fn key(given: Option<&Bound<'_, PyString>>) -> PyResult<Option<String>> {
    given.map(|key| read_text(key, "idempotency_key")).transpose()
}

async fn work(client: MasterClient, request: JobRequest, idempotency_key: Option<String>) -> ffrtmp::Result<Value> {
    json(&client.submit(&request, idempotency_key.as_deref()).await?)
}
