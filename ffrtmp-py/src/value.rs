//! Values between Python and JSON. What Python gives is foreign: it is measured before it is copied,
//! and an error names where it stood.

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyMapping, PyString, PyTuple};
use serde::Serialize;
use serde_json::{Map, Number, Value};

use crate::error::{crashed, invalid};

/// Longest text that is taken, in characters.
const MAX_TEXT: usize = 64 * 1024;
/// Most entries of a list or mapping.
const MAX_ENTRIES: usize = 10_000;
/// Deepest nesting.
const MAX_DEPTH: usize = 16;

/// A value as JSON, made on the thread that did the work.
pub(crate) fn json(value: &impl Serialize) -> ffrtmp::Result<Value> {
    serde_json::to_value(value).map_err(crashed)
}

/// JSON as plain Python values.
pub(crate) fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::Null => py.None().into_bound(py),
        Value::Bool(value) => PyBool::new(py, *value).to_owned().into_any(),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(number), _, _) => number.into_pyobject(py)?.into_any(),
            (_, Some(number), _) => number.into_pyobject(py)?.into_any(),
            (_, _, number) => number.into_pyobject(py)?.into_any(),
        },
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Array(values) => {
            let list = PyList::empty(py);
            values.iter().try_for_each(|value| list.append(to_python(py, value)?))?;
            list.into_any()
        }
        Value::Object(entries) => {
            let dict = PyDict::new(py);
            for (key, value) in entries {
                dict.set_item(PyString::intern(py, key), to_python(py, value)?)?;
            }
            dict.into_any()
        }
    })
}

/// A Python value as JSON. `field` names it in errors.
///
/// # Errors
/// `invalid_field` for numbers that are not finite and texts, lists and nestings too large to be
/// meant; `TypeError` for what has no place in JSON.
pub(crate) fn from_python(value: &Bound<'_, PyAny>, field: &str) -> PyResult<Value> {
    read(value, field, 0)
}

fn read(value: &Bound<'_, PyAny>, field: &str, depth: usize) -> PyResult<Value> {
    let py = value.py();
    if depth > MAX_DEPTH {
        return Err(invalid(py, field, format!("is nested more than {MAX_DEPTH} deep"), "give a flat value"));
    }
    if value.is_none() {
        return Ok(Value::Null);
    }
    if let Ok(text) = value.cast::<PyString>() {
        return read_text(text, field).map(Value::String);
    }
    if let Ok(truth) = value.cast::<PyBool>() {
        return Ok(Value::Bool(truth.is_true()));
    }
    if value.is_instance_of::<PyInt>() {
        return read_integer(value, field);
    }
    if let Ok(number) = value.cast::<PyFloat>() {
        return read_float(py, number.value(), field);
    }
    if let Ok(entries) = value.cast::<PyDict>() {
        return read_entries(entries.as_mapping(), field, depth);
    }
    if value.is_instance_of::<PyList>() || value.is_instance_of::<PyTuple>() {
        return read_list(value, field, depth);
    }
    read_foreign(value, field, depth)
}

/// A text, if it is of a length that somebody means.
pub(crate) fn read_text(text: &Bound<'_, PyString>, field: &str) -> PyResult<String> {
    let length = text.code_point_len()?;
    if length > MAX_TEXT {
        let message = format!("is {length} characters long, more than {MAX_TEXT}");
        return Err(invalid(text.py(), field, message, "give a shorter text"));
    }
    match text.to_cow() {
        Ok(text) => Ok(text.into_owned()),
        Err(_) => {
            Err(invalid(text.py(), field, "holds characters that are not Unicode", "give text that UTF-8 can carry"))
        }
    }
}

fn read_integer(value: &Bound<'_, PyAny>, field: &str) -> PyResult<Value> {
    if let Ok(number) = value.extract::<i64>() {
        return Ok(Value::Number(number.into()));
    }
    match value.extract::<u64>() {
        Ok(number) => Ok(Value::Number(number.into())),
        Err(_) => Err(invalid(value.py(), field, "is a number of more than 64 bits", "give a smaller number")),
    }
}

fn read_float(py: Python<'_>, number: f64, field: &str) -> PyResult<Value> {
    match Number::from_f64(number) {
        Some(number) => Ok(Value::Number(number)),
        None => Err(invalid(py, field, format!("{number} is not a finite number"), "give a finite number")),
    }
}

fn read_entries(entries: &Bound<'_, PyMapping>, field: &str, depth: usize) -> PyResult<Value> {
    let mut read_entries = Map::new();
    for entry in entries.items()?.iter() {
        let (key, value): (Bound<'_, PyAny>, Bound<'_, PyAny>) = entry.extract()?;
        let Ok(key) = key.cast::<PyString>() else {
            return Err(invalid(entries.py(), field, "has a key that is not a text", "give names as keys"));
        };
        let key = read_text(key, field)?;
        let value = read(&value, &inner(field, &key), depth + 1)?;
        read_entries.insert(key, value);
        refuse_many(entries.py(), read_entries.len(), field)?;
    }
    Ok(Value::Object(read_entries))
}

fn read_list(values: &Bound<'_, PyAny>, field: &str, depth: usize) -> PyResult<Value> {
    let mut list = Vec::new();
    for value in values.try_iter()? {
        let value = read(&value?, &format!("{field}[{}]", list.len()), depth + 1)?;
        list.push(value);
        refuse_many(values.py(), list.len(), field)?;
    }
    Ok(Value::Array(list))
}

/// Our own values by `__ffrtmp__`, then paths, times, spans, and numbers of other libraries.
fn read_foreign(value: &Bound<'_, PyAny>, field: &str, depth: usize) -> PyResult<Value> {
    for method in ["__ffrtmp__", "__fspath__", "isoformat", "total_seconds", "item"] {
        if value.hasattr(method)? {
            return read(&value.call_method0(method)?, field, depth + 1);
        }
    }
    if let Ok(entries) = value.cast::<PyMapping>() {
        return read_entries(entries, field, depth);
    }
    if let Ok(number) = value.extract::<i64>() {
        return Ok(Value::Number(number.into()));
    }
    // A fraction or a decimal number.
    if value.hasattr("__float__")? {
        return read(&value.call_method0("__float__")?, field, depth + 1);
    }
    let kind = value.get_type().name()?;
    Err(PyTypeError::new_err(format!("{field} is a {kind}, which a request cannot carry")))
}

fn refuse_many(py: Python<'_>, count: usize, field: &str) -> PyResult<()> {
    match count > MAX_ENTRIES {
        true => Err(invalid(py, field, format!("has more than {MAX_ENTRIES} entries"), "give fewer")),
        false => Ok(()),
    }
}

fn inner(field: &str, key: &str) -> String {
    if field.is_empty() { key.to_owned() } else { format!("{field}.{key}") }
}
