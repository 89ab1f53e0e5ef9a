//! `wait`: follows jobs to their ends, a few at a time; the others end meanwhile.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ffrtmp::core::coordinator::JobEvent;
use ffrtmp::core::job::{Job, JobState, JobView};
use ffrtmp::transport::http::MasterClient;
use ffrtmp::{Code, Error, Result};
use futures::{StreamExt as _, TryStreamExt as _};
use pyo3::prelude::*;
use serde_json::{Value, json};

use super::Client;
use super::connect::Named;
use super::events::Follower;
use super::patience::Patience;
use crate::error::invalid;
use crate::runtime::{Attendance, Give as _, Teller, later_attended, now_attended};

/// Jobs followed at once: each takes a connection.
const SIDE_BY_SIDE: usize = 16;
/// Longest wait, in seconds: a year.
const LONGEST: f64 = 366.0 * 86_400.0;

/// Waits until all jobs have ended and returns them in their order.
#[pyfunction]
#[pyo3(signature = (client, ids, timeout, progress))]
pub(super) fn wait(
    py: Python<'_>,
    client: &Client,
    ids: Vec<Named>,
    timeout: Option<f64>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Py<PyAny>> {
    let attendance = Attendance { callback: progress, ..Attendance::default() };
    let work = work(client.here(py)?, ids, limit(py, timeout)?, attendance.teller.clone());
    now_attended(py, work, &attendance)?.give(py)
}

/// Waits until all jobs have ended and returns them in their order.
#[pyfunction]
#[pyo3(signature = (client, ids, timeout, progress))]
pub(super) fn wait_async<'py>(
    py: Python<'py>,
    client: &Client,
    ids: Vec<Named>,
    timeout: Option<f64>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let attendance = Attendance { callback: progress, ..Attendance::default() };
    let work = work(client.here(py)?, ids, limit(py, timeout)?, attendance.teller.clone());
    later_attended(py, work, attendance)
}

fn limit(py: Python<'_>, seconds: Option<f64>) -> PyResult<Option<Duration>> {
    let Some(seconds) = seconds else { return Ok(None) };
    if !(0.0..=LONGEST).contains(&seconds) {
        let message = format!("{seconds} is not a number of seconds to wait");
        return Err(invalid(py, "timeout", message, "give 0 to 31622400 seconds, or None"));
    }
    Ok(Some(Duration::from_secs_f64(seconds)))
}

async fn work(client: MasterClient, ids: Vec<Named>, limit: Option<Duration>, teller: Teller) -> Result<Value> {
    let board = Board { total: ids.len(), teller, standing: Mutex::default() };
    let board = Arc::new(board);
    board.tell();
    let ends = ids.into_iter().enumerate().map(|(place, id)| end(client.clone(), place, id.0, Arc::clone(&board)));
    let all = futures::stream::iter(ends).buffered(SIDE_BY_SIDE).try_collect::<Vec<_>>();
    let ended = match limit {
        None => all.await?,
        Some(limit) => tokio::time::timeout(limit, all).await.map_err(|_| board.late(limit))??,
    };
    Ok(Value::Array(ended))
}

/// One job at its end.
async fn end(client: MasterClient, place: usize, id: String, board: Arc<Board>) -> Result<Value> {
    let mut patience = Patience::default();
    let mut follower: Option<Follower> = None;
    loop {
        let view = match client.job(&id).await {
            Ok(view) => view,
            Err(error) => {
                patience.wait(error).await?;
                continue;
            }
        };
        patience.renew();
        board.stands(place, &view.job);
        if view.job.state.is_final() {
            return crate::value::json(&JobView::from(view.job));
        }
        let full_id = view.job.id.to_string();
        let follower = follower.get_or_insert_with(|| Follower::new(client.clone(), full_id));
        while let Some(event) = follower.next().await? {
            board.moves(place, &event);
        }
    }
}

/// How many jobs have ended, and how far the ones that are followed are.
struct Board {
    total: usize,
    teller: Teller,
    standing: Mutex<Standing>,
}

#[derive(Default)]
struct Standing {
    ended: usize,
    failed: usize,
    open: BTreeMap<usize, (JobState, f64)>,
}

impl Board {
    fn stands(&self, place: usize, job: &Job) {
        self.set(place, job.state, job.progress);
    }

    fn moves(&self, place: usize, event: &JobEvent) {
        // The end itself is told by the job.
        if !event.state.is_final() {
            self.set(place, event.state, event.progress);
        }
    }

    fn set(&self, place: usize, state: JobState, progress: f64) {
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        if state.is_final() {
            standing.open.remove(&place);
            standing.ended += 1;
            standing.failed += usize::from(state != JobState::Completed);
        } else {
            standing.open.insert(place, (state, progress));
        }
        drop(standing);
        self.tell();
    }

    fn tell(&self) {
        let standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        let under_way: f64 = standing.open.values().map(|(_, progress)| progress.clamp(0.0, 100.0) / 100.0).sum();
        let percent = match self.total {
            0 => 100.0,
            total => 100.0 * (standing.ended as f64 + under_way) / total as f64,
        };
        let running = standing.open.values().filter(|(state, _)| state.is_active()).count();
        self.teller.tell(json!({
            "total": self.total,
            "ended": standing.ended,
            "failed": standing.failed,
            "running": running,
            "percent": percent,
        }));
    }

    fn late(&self, limit: Duration) -> Error {
        let ended = self.standing.lock().unwrap_or_else(PoisonError::into_inner).ended;
        let message = format!("{} of {} jobs have not ended after {limit:?}", self.total - ended, self.total);
        Error::new(Code::Timeout, message).field("timeout").hint("the jobs go on: wait again, or cancel them")
    }
}
