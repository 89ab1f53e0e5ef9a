//! `submit_batch`: one request with up to 1,000 jobs, all or none. Python cuts longer iterables.

use ffrtmp::core::job::JobRequest;
use ffrtmp::transport::http::MasterClient;
use pyo3::prelude::*;
use pyo3::types::PyList;
use serde_json::Value;

use super::Client;
use crate::request;
use crate::runtime::{Give as _, later, now};

/// Submits jobs, all or none, and returns their ids. An error names the job by its place, `offset`
/// added.
#[pyfunction]
pub(super) fn submit_batch(
    py: Python<'_>,
    client: &Client,
    jobs: &Bound<'_, PyList>,
    offset: usize,
) -> PyResult<Py<PyAny>> {
    now(py, work(client.here(py)?, read(jobs, offset)?))?.give(py)
}

/// Submits jobs, all or none, and returns their ids.
#[pyfunction]
pub(super) fn submit_batch_async<'py>(
    py: Python<'py>,
    client: &Client,
    jobs: &Bound<'_, PyList>,
    offset: usize,
) -> PyResult<Bound<'py, PyAny>> {
    later(py, work(client.here(py)?, read(jobs, offset)?))
}

fn read(jobs: &Bound<'_, PyList>, offset: usize) -> PyResult<Vec<JobRequest>> {
    let py = jobs.py();
    let read_one = |(place, job): (usize, Bound<'_, PyAny>)| {
        request::job(&job).inspect_err(|error| {
            // Told beside the error: its field is the one at fault.
            let _ = error.value(py).setattr("index", offset + place);
        })
    };
    jobs.iter().enumerate().map(read_one).collect()
}

async fn work(client: MasterClient, requests: Vec<JobRequest>) -> ffrtmp::Result<Value> {
    let ids = client.submit_batch(&requests).await?;
    Ok(ids.iter().map(|view| Value::String(view.job.id.to_string())).collect())
}
