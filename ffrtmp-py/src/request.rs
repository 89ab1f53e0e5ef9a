//! What Python asks for, as requests of the core: its parser reads them, so that a wrong field is
//! refused here as a master would.

use std::ffi::OsString;
use std::path::PathBuf;

use ffrtmp::core::job::{JobRequest, Parameters};
use ffrtmp::core::request;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use serde_json::{Map, Value, json};

use crate::error::{OrRaise, invalid};
use crate::value::from_python;

/// Stands for a scenario where there is none: a request needs one.
const NO_SCENARIO: &str = "transcode";
/// Longest path that is taken, in characters: that of Linux.
const MAX_PATH: usize = 4096;
/// Fields of a job beside its encoding parameters.
const JOB_FIELDS: &[&str] = &[
    "scenario",
    "input",
    "output",
    "confidence",
    "engine",
    "classification",
    "queue",
    "priority",
    "tenant",
    "parameters",
    "resource_limits",
    "max_retries",
    "depends_on",
    "labels",
    "deadline",
    "traceparent",
];

/// A job as Python describes it: a scenario, or a mapping with the fields of a job and, beside them
/// or in `parameters`, encoding parameters.
pub(crate) fn job(described: &Bound<'_, PyAny>) -> PyResult<JobRequest> {
    let body = match from_python(described, "")? {
        Value::String(scenario) => json!({ "scenario": scenario }),
        Value::Object(fields) => sorted(fields),
        _ => return Err(invalid(described.py(), "job", "is neither a scenario nor a mapping", "give a JobRequest")),
    };
    request::parse(body).or_raise(described.py())
}

/// Puts encoding parameters where a request has them.
fn sorted(fields: Map<String, Value>) -> Value {
    let mut job = Map::new();
    let mut parameters = Map::new();
    for (name, value) in fields {
        match JOB_FIELDS.contains(&name.as_str()) {
            _ if value.is_null() => {}
            true => drop(job.insert(name, value)),
            false => drop(parameters.insert(name, value)),
        }
    }
    if !parameters.is_empty() {
        if let Some(Value::Object(given)) = job.remove("parameters") {
            parameters.extend(given);
        }
        job.insert("parameters".into(), Value::Object(parameters));
    }
    Value::Object(job)
}

/// Encoding parameters as arguments.
pub(crate) fn parameters(options: &Bound<'_, PyAny>) -> PyResult<Parameters> {
    let py = options.py();
    let mut parameters = from_python(options, "")?;
    if let Value::Object(given) = &mut parameters {
        given.retain(|_, value| !value.is_null());
    }
    if parameters.get("resource_limits").is_some() {
        return Err(crate::error::raised(
            py,
            ffrtmp::Error::new(ffrtmp::Code::UnknownField, "is for jobs of a master")
                .field("resource_limits")
                .hint("leave it out; limit the process that calls this function"),
        ));
    }
    let body = json!({ "scenario": NO_SCENARIO, "parameters": parameters });
    Ok(request::parse(body).or_raise(py)?.parameters)
}

/// A path as text, for what Python does with files itself.
#[pyfunction]
pub(crate) fn read_path(given: &Bound<'_, PyAny>, field: &str) -> PyResult<OsString> {
    path(given, field).map(PathBuf::into_os_string)
}

/// A path, if it is of a length that a file can have.
pub(crate) fn path(given: &Bound<'_, PyAny>, field: &str) -> PyResult<PathBuf> {
    let py = given.py();
    let path = py.import("os")?.call_method1("fspath", (given,))?;
    let length = match path.cast::<PyString>() {
        Ok(text) => text.code_point_len()?,
        Err(_) => path.cast::<PyBytes>()?.as_bytes().len(),
    };
    if length > MAX_PATH {
        let message = format!("is a path of {length} characters, more than {MAX_PATH}");
        return Err(invalid(py, field, message, "give the path of a file"));
    }
    let path: PathBuf = py.import("os")?.call_method1("fsdecode", (path,))?.extract()?;
    if path.as_os_str().as_encoded_bytes().contains(&0) {
        return Err(invalid(py, field, "holds a NUL byte", "give the path of a file"));
    }
    if path.as_os_str().is_empty() {
        return Err(invalid(py, field, "is empty", "give the path of a file"));
    }
    Ok(path)
}
