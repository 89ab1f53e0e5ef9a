//! `nodes`.

use ffrtmp::transport::http::MasterClient;
use pyo3::prelude::*;
use serde_json::Value;

use super::Client;
use crate::runtime::{Give as _, later, now};
use crate::value::json;

/// All nodes, by name.
#[pyfunction]
pub(super) fn nodes(py: Python<'_>, client: &Client) -> PyResult<Py<PyAny>> {
    now(py, work(client.here(py)?))?.give(py)
}

/// All nodes, by name.
#[pyfunction]
pub(super) fn nodes_async<'py>(py: Python<'py>, client: &Client) -> PyResult<Bound<'py, PyAny>> {
    later(py, work(client.here(py)?))
}

async fn work(client: MasterClient) -> ffrtmp::Result<Value> {
    json(&client.nodes().await?)
}
