//! `ffrtmp.transcode`.

use std::path::PathBuf;
use std::time::Duration;

use ffrtmp::core::engine::Control;
use ffrtmp::core::{Code, request};
use ffrtmp::{Error, Result, Transcode};
use pyo3::prelude::*;
use pyo3::types::{PyAny, PyDict};
use serde_json::{Value, json};

use crate::error::raised;

/// Between looks at Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);
/// Stands for a scenario where there is none: a request needs one.
const NO_SCENARIO: &str = "transcode";

/// Transcodes one file to another and returns what was measured, as a dict.
///
/// Without a scenario the source's size and rate are kept and the extension of `dst` decides the
/// codecs. `options` are the encoding parameters of a job by their names in the API, such as
/// `crf=20`, `ladder="auto"` or `stills={"poster": 3}`. The interpreter lock is released; Ctrl-C
/// cancels and leaves nothing behind.
#[pyfunction]
#[pyo3(signature = (src, dst, *, scenario=None, **options))]
pub(crate) fn transcode(
    py: Python<'_>,
    src: PathBuf,
    dst: PathBuf,
    scenario: Option<&str>,
    options: Option<&Bound<'_, PyDict>>,
) -> PyResult<Py<PyAny>> {
    let control = Control::default();
    let wishes = options.map_or(Ok(Value::Null), json_of)?;
    let transcode = wished(Transcode::new(src, dst), scenario, wishes).map_err(|error| raised(py, &error))?;
    let transcode = transcode.control(control.clone());
    let worker = std::thread::spawn(move || transcode.run());
    while !worker.is_finished() {
        py.detach(|| std::thread::sleep(SIGNAL_INTERVAL));
        if let Err(interrupt) = py.check_signals() {
            control.cancel();
            // The cancel takes at most 200 ms; what the worker says no longer matters.
            drop(py.detach(|| worker.join()));
            return Err(interrupt);
        }
    }
    let report = worker
        .join()
        .map_err(|_| pyo3::exceptions::PyRuntimeError::new_err("the transcode panicked"))?
        .map_err(|error| raised(py, &named(error)))?;
    let text =
        serde_json::to_string(&report).map_err(|error| pyo3::exceptions::PyRuntimeError::new_err(error.to_string()))?;
    Ok(py.import("json")?.call_method1("loads", (text,))?.unbind())
}

/// Options as JSON, written by Python's own encoder: what it cannot write is a `TypeError`.
fn json_of(options: &Bound<'_, PyDict>) -> PyResult<Value> {
    let text: String = options.py().import("json")?.call_method1("dumps", (options,))?.extract()?;
    serde_json::from_str(&text).map_err(|error| pyo3::exceptions::PyValueError::new_err(error.to_string()))
}

/// Reads the wishes as a job's are read, so that an error names the field.
fn wished(transcode: Transcode, scenario: Option<&str>, parameters: Value) -> Result<Transcode> {
    if parameters.get("resource_limits").is_some() {
        return Err(Error::new(Code::UnknownField, "is for jobs of a master")
            .field("resource_limits")
            .hint("leave it out; limit the process that calls this function"));
    }
    let body = json!({ "scenario": scenario.unwrap_or(NO_SCENARIO), "parameters": parameters });
    let read = request::parse(body).map_err(named)?;
    let transcode = transcode.parameters(read.parameters);
    match scenario {
        Some(scenario) => Ok(transcode.scenario(scenario.parse().map_err(named)?)),
        None => Ok(transcode),
    }
}

/// Names the argument: there is no `parameters` here.
fn named(error: Error) -> Error {
    match error.field_name().and_then(|field| field.strip_prefix("parameters.")).map(str::to_owned) {
        Some(argument) => error.field(argument),
        None => error,
    }
}
