//! From the error taxonomy of `ffrtmp-core` to the exceptions of `ffrtmp.errors`. Which class a code
//! has is decided there; here a code only finds it.

use ffrtmp::{Code, Disposition, Error};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyDict, PyTuple};

use crate::words;

/// The exception for an error; a field of a request or a flag is named as the argument that it is here.
pub(crate) fn raised(py: Python<'_>, error: Error) -> PyErr {
    exception(py, named(error)).map_or_else(|cause| cause, PyErr::from_value)
}

/// A result for Python.
pub(crate) trait OrRaise<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T>;
}

impl<T> OrRaise<T> for ffrtmp::Result<T> {
    fn or_raise(self, py: Python<'_>) -> PyResult<T> {
        self.map_err(|error| raised(py, error))
    }
}

/// A wrong argument that this package found itself.
pub(crate) fn invalid(py: Python<'_>, field: &str, message: impl Into<String>, hint: impl Into<String>) -> PyErr {
    raised(py, Error::new(Code::InvalidField, message).field(field).hint(hint))
}

/// A defect: what a task that panicked leaves.
pub(crate) fn crashed(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::new(Code::Internal, "the work crashed").source(error)
}

/// An exception that is not raised.
pub(crate) fn exception<'py>(py: Python<'py>, error: Error) -> PyResult<Bound<'py, PyAny>> {
    static MAKE: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    let make = MAKE.get_or_try_init(py, || Ok::<_, PyErr>(py.import("ffrtmp.errors")?.getattr("of")?.unbind()))?;
    let said = error.to_string();
    let message = short(&words::of_python(&said));
    let hint = short(&words::of_python(error.hint_text()));
    let arguments = (error.code().as_str(), message, hint, error.field_name());
    make.bind(py).call1(arguments)
}

/// A text that may quote what was given, as long as somebody reads.
fn short(text: &str) -> String {
    const LONGEST: usize = 1000;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Every code, for the Python side: `name: (disposition, exit code, HTTP status, cause, cure)`.
pub(crate) fn codes(py: Python<'_>) -> PyResult<Bound<'_, PyDict>> {
    let codes = PyDict::new(py);
    for code in Code::ALL {
        let explained = code.explain();
        let cure = words::of_python(explained.cure);
        let facts = (disposition(code.disposition()), code.exit_code(), code.http_status(), explained.cause, cure);
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

/// A Python call has neither `parameters` nor flags: both are arguments.
fn named(error: Error) -> Error {
    match error.field_name().and_then(words::argument) {
        Some(argument) => error.field(argument),
        None => error,
    }
}

/// Names the arguments of work on one file, and what to do where no agent is meant.
pub(crate) fn about_files(error: Error) -> Error {
    let error = match error.field_name() {
        Some("input") => error.field("src"),
        Some("output") => error.field("dst"),
        None if error.code().as_str().starts_with("input_") => error.field("src"),
        None if error.code().as_str().starts_with("output_") => error.field("dst"),
        _ => error,
    };
    match error.code() {
        Code::InputNotFound if error.message().contains("://") => {
            error.hint("give a file: fetch it first, or let an agent do it with Client.submit")
        }
        Code::InputNotFound => error.hint("check the path; a relative one counts from the current directory"),
        Code::InputUnreadable => error.hint("make it a regular file that you may read"),
        Code::OutputNotWritable => error.hint("give a file path in a directory that you may write"),
        _ => error,
    }
}
