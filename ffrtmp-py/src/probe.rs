//! `probe`, in this process.

use std::path::PathBuf;

use ffrtmp::Result;
use ffrtmp::core::engine::{Engine as _, MediaBounds, Source};
use ffrtmp::engines::LibavEngine;
use pyo3::prelude::*;
use serde_json::Value;

use crate::error::{about_files, crashed};
use crate::request;
use crate::runtime::{Give as _, later, now};
use crate::value::json;

/// Describes a file.
#[pyfunction]
pub(crate) fn probe(py: Python<'_>, src: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    now(py, work(request::path(src, "src")?))?.give(py)
}

/// Describes a file.
#[pyfunction]
pub(crate) fn probe_async<'py>(py: Python<'py>, src: &Bound<'_, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    later(py, work(request::path(src, "src")?))
}

async fn work(path: PathBuf) -> Result<Value> {
    let look = move || LibavEngine::new()?.probe(&Source::File(path), &MediaBounds::default());
    json(&tokio::task::spawn_blocking(look).await.map_err(crashed)?.map_err(about_files)?)
}
