//! `list`: one page; Python turns the pages.

use ffrtmp::transport::http::MasterClient;
use ffrtmp::transport::http::wire::JobQuery;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::Value;

use super::Client;
use crate::error::invalid;
use crate::runtime::{Give as _, later, now};
use crate::value::{from_python, json};

/// A page of jobs, newest first: `{"jobs": […], "count": …, "next_cursor": …}`.
#[pyfunction]
pub(super) fn list(py: Python<'_>, client: &Client, query: &Bound<'_, PyDict>) -> PyResult<Py<PyAny>> {
    now(py, work(client.here(py)?, read(query)?))?.give(py)
}

/// A page of jobs, newest first.
#[pyfunction]
pub(super) fn list_async<'py>(
    py: Python<'py>,
    client: &Client,
    query: &Bound<'_, PyDict>,
) -> PyResult<Bound<'py, PyAny>> {
    later(py, work(client.here(py)?, read(query)?))
}

async fn work(client: MasterClient, query: JobQuery) -> ffrtmp::Result<Value> {
    json(&client.jobs(&query).await?)
}

fn read(given: &Bound<'_, PyDict>) -> PyResult<JobQuery> {
    let mut query = JobQuery::default();
    let Value::Object(parameters) = from_python(given, "")? else { return Ok(query) };
    for (name, value) in parameters {
        let text = match &value {
            Value::Null => continue,
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            Value::Array(words) if words.iter().all(Value::is_string) => {
                words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(",")
            }
            Value::Object(labels) if name == "labels" => {
                query.more_labels = labels.iter().map(|(key, value)| label(key, value)).collect();
                continue;
            }
            _ => return Err(invalid(given.py(), &name, "is not a filter", "give a text, or several in a list")),
        };
        let known = match name.as_str() {
            "limit" => {
                query.limit = value.as_u64().and_then(|limit| usize::try_from(limit).ok());
                continue;
            }
            "cursor" => &mut query.cursor,
            "state" => &mut query.state,
            "queue" => &mut query.queue,
            "priority" => &mut query.priority,
            "tenant" => &mut query.tenant,
            "node_id" => &mut query.node_id,
            "scenario" => &mut query.scenario,
            "classification" => &mut query.classification,
            "created_after" => &mut query.created_after,
            "created_before" => &mut query.created_before,
            _ => return Err(invalid(given.py(), &name, "is no filter", "see help(ffrtmp.Client.list)")),
        };
        *known = Some(text);
    }
    Ok(query)
}

fn label(key: &str, value: &Value) -> String {
    format!("{key}={}", value.as_str().map_or_else(|| value.to_string(), str::to_owned))
}
