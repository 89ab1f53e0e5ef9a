//! `transcode`, in this process.

use std::sync::Arc;

use ffrtmp::core::engine::{Control, Observer, Progress};
use ffrtmp::core::job::{JobReport, Parameters};
use ffrtmp::core::scenario::Scenario;
use ffrtmp::engines::LibavEngine;
use ffrtmp::{Result, Transcode};
use pyo3::prelude::*;
use pyo3::types::PyString;
use serde_json::Value;

use crate::error::{OrRaise, about_files, crashed};
use crate::request;
use crate::runtime::{Attendance, Give as _, Teller, later_attended, now_attended};
use crate::value::{json, read_text};

/// Transcodes one file to another and returns what was measured.
#[pyfunction]
#[pyo3(signature = (src, dst, scenario, options, progress))]
pub(crate) fn transcode(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    scenario: Option<&Bound<'_, PyString>>,
    options: &Bound<'_, PyAny>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let wanted = wanted(src, dst, scenario, options)?;
    let control = Control::default();
    let attendance = Attendance { callback: progress, control: Some(control.clone()), ..Attendance::default() };
    now_attended(py, work(wanted, control, attendance.teller.clone()), &attendance)?.give(py)
}

/// The same as a future, and what stops the work: the future resolves once it has ended.
#[pyfunction]
#[pyo3(signature = (src, dst, scenario, options, progress))]
pub(crate) fn transcode_async<'py>(
    py: Python<'py>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    scenario: Option<&Bound<'_, PyString>>,
    options: &Bound<'_, PyAny>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(Bound<'py, PyAny>, Cancel)> {
    let wanted = wanted(src, dst, scenario, options)?;
    let control = Control::default();
    let attendance = Attendance { callback: progress, ..Attendance::default() };
    let teller = attendance.teller.clone();
    Ok((later_attended(py, work(wanted, control.clone(), teller), attendance)?, Cancel(control)))
}

/// Stops a transcode when called.
#[pyclass(frozen)]
pub(crate) struct Cancel(Control);

#[pymethods]
impl Cancel {
    fn __call__(&self) {
        self.0.cancel();
    }
}

/// Works out what a transcode would do.
#[pyfunction]
#[pyo3(signature = (src, dst, scenario, options))]
pub(crate) fn plan(
    py: Python<'_>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    scenario: Option<&Bound<'_, PyString>>,
    options: &Bound<'_, PyAny>,
) -> PyResult<Py<PyAny>> {
    let wanted = wanted(src, dst, scenario, options)?;
    now_attended(py, planned(wanted), &Attendance::default())?.give(py)
}

/// Works out what a transcode would do.
#[pyfunction]
#[pyo3(signature = (src, dst, scenario, options))]
pub(crate) fn plan_async<'py>(
    py: Python<'py>,
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    scenario: Option<&Bound<'_, PyString>>,
    options: &Bound<'_, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    later_attended(py, planned(wanted(src, dst, scenario, options)?), Attendance::default())
}

fn wanted(
    src: &Bound<'_, PyAny>,
    dst: &Bound<'_, PyAny>,
    scenario: Option<&Bound<'_, PyString>>,
    options: &Bound<'_, PyAny>,
) -> PyResult<Transcode> {
    let py = src.py();
    let parameters: Parameters = request::parameters(options)?;
    let transcode = Transcode::new(request::path(src, "src")?, request::path(dst, "dst")?).parameters(parameters);
    Ok(match scenario {
        Some(scenario) => transcode.scenario(read_text(scenario, "scenario")?.parse::<Scenario>().or_raise(py)?),
        None => transcode,
    })
}

async fn work(wanted: Transcode, control: Control, teller: Teller) -> Result<Value> {
    let run = move || -> Result<JobReport> {
        let wanted = wanted.control(control).engine(Arc::new(LibavEngine::new()?));
        wanted.run_observed(&Watched(teller))
    };
    json(&tokio::task::spawn_blocking(run).await.map_err(crashed)?.map_err(about_files)?)
}

async fn planned(wanted: Transcode) -> Result<Value> {
    json(&tokio::task::spawn_blocking(move || wanted.plan()).await.map_err(crashed)?.map_err(about_files)?)
}

/// Passes progress on; log lines of one file's transcode are its warnings, which the report has.
struct Watched(Teller);

impl Observer for Watched {
    fn progress(&self, progress: Progress) {
        if let Ok(progress) = json(&progress) {
            self.0.tell(progress);
        }
    }

    fn log(&self, _: &str, _: &str) {}
}
