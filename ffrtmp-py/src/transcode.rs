//! `ffrtmp.transcode`.

use std::path::PathBuf;
use std::time::Duration;

use ffrtmp::core::engine::Control;
use ffrtmp::{Error, Transcode};
use pyo3::prelude::*;
use pyo3::types::PyAny;

use crate::error::raised;

/// Between looks at Ctrl-C.
const SIGNAL_INTERVAL: Duration = Duration::from_millis(50);

/// Transcodes one file to another and returns what was measured, as a dict.
///
/// Without a scenario the source's size and rate are kept and the extension of `dst` decides the
/// codecs. The interpreter lock is released; Ctrl-C cancels and leaves nothing behind.
#[pyfunction]
#[pyo3(signature = (src, dst, *, scenario=None))]
pub(crate) fn transcode(py: Python<'_>, src: PathBuf, dst: PathBuf, scenario: Option<&str>) -> PyResult<Py<PyAny>> {
    let control = Control::default();
    let mut transcode = Transcode::new(src, dst).control(control.clone());
    if let Some(scenario) = scenario {
        transcode = transcode.scenario(scenario.parse().map_err(|error: Error| raised(py, &error))?);
    }
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
        .map_err(|error| raised(py, &error))?;
    let text =
        serde_json::to_string(&report).map_err(|error| pyo3::exceptions::PyRuntimeError::new_err(error.to_string()))?;
    Ok(py.import("json")?.call_method1("loads", (text,))?.unbind())
}
