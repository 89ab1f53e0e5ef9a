//! The error taxonomy as a Python exception.

use pyo3::create_exception;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

create_exception!(ffrtmp, FfrtmpError, PyException, "An error with `code`, `hint`, `field` and `retryable`.");

/// The exception for an error.
pub(crate) fn raised(py: Python<'_>, error: &ffrtmp::Error) -> PyErr {
    let raised = FfrtmpError::new_err(error.to_string());
    let value = raised.value(py);
    let retryable = error.disposition() == ffrtmp::Disposition::Transient;
    let told = value
        .setattr("code", error.code().as_str())
        .and_then(|()| value.setattr("hint", error.hint_text()))
        .and_then(|()| value.setattr("field", error.field_name()))
        .and_then(|()| value.setattr("retryable", retryable));
    told.err().unwrap_or(raised)
}
