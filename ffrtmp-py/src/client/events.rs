//! `events`: the story of a job, live, through restarts of the master.

use std::pin::Pin;
use std::sync::Arc;

use ffrtmp::Result;
use ffrtmp::core::clock::Timestamp;
use ffrtmp::core::coordinator::JobEvent;
use ffrtmp::transport::http::MasterClient;
use futures::{Stream, StreamExt as _};
use pyo3::prelude::*;
use serde_json::Value;
use tokio::sync::Mutex;

use super::Client;
use super::connect::Named;
use super::patience::Patience;
use crate::runtime::{Give as _, later, now};
use crate::value::json;

/// A story that is being followed.
#[pyclass(frozen)]
pub(crate) struct Events(Arc<Mutex<Follower>>);

/// Follows a job from its submission to its end. Nothing is sent yet.
#[pyfunction]
pub(super) fn events(py: Python<'_>, client: &Client, id: Named) -> PyResult<Events> {
    Ok(Events(Arc::new(Mutex::new(Follower::new(client.here(py)?, id.0)))))
}

/// The next event, or `None` after the last.
#[pyfunction]
pub(super) fn next_event(py: Python<'_>, events: &Events) -> PyResult<Py<PyAny>> {
    now(py, work(Arc::clone(&events.0)))?.give(py)
}

/// The next event, or `None` after the last.
#[pyfunction]
pub(super) fn next_event_async<'py>(py: Python<'py>, events: &Events) -> PyResult<Bound<'py, PyAny>> {
    later(py, work(Arc::clone(&events.0)))
}

async fn work(follower: Arc<Mutex<Follower>>) -> Result<Value> {
    json(&follower.lock().await.next().await?)
}

type Stories = Pin<Box<dyn Stream<Item = Result<JobEvent>> + Send>>;

/// Where a follower is in the story.
pub(super) struct Follower {
    client: MasterClient,
    id: String,
    stream: Option<Stories>,
    heard: Option<Timestamp>,
    /// A stream after the first tells the story again: what was heard is left out.
    again: Option<Timestamp>,
    patience: Patience,
    ended: bool,
}

impl Follower {
    pub(super) fn new(client: MasterClient, id: String) -> Self {
        Self { client, id, stream: None, heard: None, again: None, patience: Patience::default(), ended: false }
    }

    /// The next event; `None` once the job has ended. Dropped midway it may be called again.
    pub(super) async fn next(&mut self) -> Result<Option<JobEvent>> {
        while !self.ended {
            let Some(event) = self.listen().await? else { continue };
            if self.again.is_some_and(|heard| event.at <= heard) {
                continue;
            }
            self.heard = Some(event.at);
            self.ended = event.state.is_final();
            return Ok(Some(event));
        }
        Ok(None)
    }

    /// One event of the stream, which is opened if there is none; `None` where it broke.
    async fn listen(&mut self) -> Result<Option<JobEvent>> {
        let Some(stream) = &mut self.stream else {
            match self.client.follow(&self.id).await {
                Ok(stream) => {
                    self.again = self.heard;
                    self.stream = Some(Box::pin(stream));
                }
                Err(error) => self.patience.wait(error).await?,
            }
            return Ok(None);
        };
        match stream.next().await {
            Some(Ok(event)) => {
                self.patience.renew();
                Ok(Some(event))
            }
            Some(Err(error)) => {
                self.stream = None;
                self.patience.wait(error).await.map(|()| None)
            }
            None => {
                self.stream = None;
                self.close().await.map(|()| None)
            }
        }
    }

    /// A stream that ends early belongs to a master that stops, unless the end was already heard.
    async fn close(&mut self) -> Result<()> {
        match self.client.job(&self.id).await {
            Ok(view) if view.job.state.is_final() => {
                let last = view.job.state_transitions.last().map(|change| change.at);
                self.ended = last.is_none() || last <= self.heard;
                Ok(())
            }
            Ok(_) => self.patience.wait(ffrtmp::Error::new(ffrtmp::Code::Network, "the stream of events ended")).await,
            Err(error) => self.patience.wait(error).await,
        }
    }
}
