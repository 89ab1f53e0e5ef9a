//! From the error taxonomy of `ffrtmp-core` to the exceptions of `ffrtmp.errors`. Which class a code
//! has is decided there; here a code only finds it.

use ffrtmp::{Code, Disposition, Error};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

/// The exception for an error.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    exception(py, error).map_or_else(|cause| cause, PyErr::from_value)
}

/// The same, for errors of calls whose arguments are the encoding parameters themselves.
pub(crate) fn raised_here(py: Python<'_>, error: Error) -> PyErr {
    raised(py, &named(error))
}

/// A result for Python.
pub(crate) trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for ffrtmp::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raised_here(py, error))
    }
}

/// A wrong argument that this package found itself.
pub(crate) fn invalid(py: Python<'_>, field: &str, message: impl Into<String>, hint: impl Into<String>) -> PyErr {
    raised_here(py, Error::new(Code::InvalidField, message).field(field).hint(hint))
}

/// A defect: what a task that panicked leaves.
pub(crate) fn crashed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Code::Internal, "the work crashed").source(error)
}

/// An exception that is not raised.
pub(crate) fn exception<'py>(py: Python<'py>, error: &Error) -> PyResult<Bound<'py, PyAny>> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = MAKE.get_or_try_init(py, || Ok::<_, PyErr>(py.import("ffrtmp.errors")?.getattr("of")?.unbind()))?;
    let arguments = (error.code().as_str(), error.to_string(), error.hint_text(), error.field_name().map(argument));
    make.bind(py).call1(arguments)
}

/// Every code, for the Python side: `name: (disposition, exit code, HTTP status, cause, cure)`.
pub(crate) fn codes(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let codes = PyDict::new(py);
    for code in Code::ALL {
        let explained = code.explain();
        let facts =
            (disposition(code.disposition()), code.exit_code(), code.http_status(), explained.cause, explained.cure);
        codes.set_item(code.as_str(), PyTuple::new(py, facts.into_pyobject(py)?.iter())?)?;
    }
    Ok(codes)
}

const fn disposition(disposition: Disposition) -> &'static str {
    match disposition {
        Disposition::Transient => "transient",
        Disposition::Terminal => "terminal",
        Disposition::Caller => "caller",
    }
}

/// There is no `parameters` in a Python call: its fields are arguments.
fn named(error: Error) -> Error {
    match error.field_name().and_then(|field| field.strip_prefix("parameters.")).map(str::to_owned) {
        Some(argument) => error.field(argument),
        None => error,
    }
}

/// The name of an argument for a flag of the command line.
fn argument(field: &str) -> String {
    match field.strip_prefix("--") {
        Some("master") => "url".to_owned(),
        Some(flag) => flag.replace('-', "_"),
        None => field.to_owned(),
    }
}
