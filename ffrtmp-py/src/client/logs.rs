//! `logs`, and the log of a job as it grows.

use std::sync::Arc;
use std::time::Duration;

use ffrtmp::Result;
use ffrtmp::transport::http::LogFollower;
use pyo3::prelude::*;
use serde_json::Value;
use tokio::sync::Mutex;

use super::Client;
use super::connect::Named;
use super::patience::Patience;
use crate::runtime::{Give as _, later, now};
use crate::value::json;

super::about_job!(logs, logs_async, logs, "The log of a job, oldest line first.");

/// The master keeps lines but does not announce them: they are asked for this often.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// A log that is being followed.
#[pyclass(frozen)]
pub(crate) struct Log(Arc<Mutex<Follower>>);

/// Follows the log of a job to its end. Nothing is sent yet.
#[pyfunction]
pub(super) fn follow_logs(py: Python<'_>, client: &Client, id: Named) -> PyResult<Log> {
    let log = client.here(py)?.follow_logs(&id.0);
    Ok(Log(Arc::new(Mutex::new(Follower { log, patience: Patience::default(), has_ended: false }))))
}

/// The next lines, or `None` after the last.
#[pyfunction]
pub(super) fn next_lines(py: Python<'_>, log: &Log) -> PyResult<Py<PyAny>> {
    now(py, more(Arc::clone(&log.0)))?.give(py)
}

/// The next lines, or `None` after the last.
#[pyfunction]
pub(super) fn next_lines_async<'py>(py: Python<'py>, log: &Log) -> PyResult<Bound<'py, PyAny>> {
    later(py, more(Arc::clone(&log.0)))
}

async fn more(follower: Arc<Mutex<Follower>>) -> Result<Value> {
    follower.lock().await.next().await
}

struct Follower {
    log: LogFollower,
    patience: Patience,
    has_ended: bool,
}

impl Follower {
    /// Lines, at least one; null once the job has ended.
    async fn next(&mut self) -> Result<Value> {
        while !self.has_ended {
            match self.log.next().await {
                Ok((lines, has_ended)) => {
                    self.patience.renew();
                    self.has_ended = has_ended;
                    if !lines.is_empty() {
                        return json(&lines);
                    }
                    if !has_ended {
                        tokio::time::sleep(ASK_EVERY).await;
                    }
                }
                Err(error) => self.patience.wait(error).await?,
            }
        }
        Ok(Value::Null)
    }
}
