//! What the values `Scenario` and `Ladder` say, and whether wishes can be fulfilled at all: read and
//! checked by the core.

use ffrtmp::core::encoding::{Ladder, VideoEncoder};
use ffrtmp::core::plan::OutputRequest;
use ffrtmp::core::request;
use ffrtmp::core::scenario::Scenario;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};
use serde_json::json;

use crate::error::OrRaise;
use crate::runtime::Give as _;
use crate::value::{from_python, json, read_text};

/// What a scenario says: `{"size": …, "fps": …, "codec": …, "words": […]}`.
#[pyfunction]
pub(crate) fn read_scenario(py: Python<'_>, text: &Bound<'_, PyString>) -> PyResult<Py<PyAny>> {
    let read: Scenario = read_text(text, "scenario")?.parse().or_raise(py)?;
    let size = read.size.map(|size| size.to_string());
    let codec = read.codec.map(|codec| codec.to_string());
    let live = read.is_live_hint();
    let said = json!({ "size": size, "fps": read.fps, "codec": codec, "words": read.words, "live": live });
    said.give(py)
}

/// The renditions of a ladder as a list of mappings; `"auto"` where the plan chooses them.
#[pyfunction]
pub(crate) fn read_ladder(py: Python<'_>, ladder: &Bound<'_, PyAny>) -> PyResult<Py<PyAny>> {
    let body = json!({ "scenario": "transcode", "parameters": { "ladder": from_python(ladder, "ladder")? } });
    let read = request::parse(body).or_raise(py)?.parameters.ladder;
    read.as_ref().map(Ladder::check).transpose().or_raise(py)?;
    json(&read).or_raise(py)?.give(py)
}

/// Refuses encoding parameters that no source could be encoded with into a file of this name.
#[pyfunction]
pub(crate) fn check(py: Python<'_>, options: &Bound<'_, PyAny>, name: &Bound<'_, PyString>) -> PyResult<()> {
    let name = read_text(name, "name")?;
    let parameters = crate::request::parameters(options)?;
    OutputRequest::for_output(Scenario::default(), parameters, Some(&name)).check().or_raise(py)
}

/// The names of the encoders that can be asked for, whether they are here or not.
pub(crate) fn video_encoders(py: Python<'_>) -> PyResult<Bound<'_, PyTuple>> {
    PyTuple::new(py, VideoEncoder::ALL.iter().map(|encoder| encoder.as_str()))
}
