//! The story of a job: as a list, or live as server-sent events.
//!
//! A live stream begins with every change of state so far, goes on with what happens, and ends
//! when the job has ended. Where several masters share the store, what another one did shows within
//! about a second. The id of an event is its time in microseconds and its place among
//! events of that time, so that a follower who comes back with `Last-Event-ID` misses nothing.
//!
//! The record of a change holds no node, attempt or progress. They are known of the last change, as
//! those of the job now; earlier ones are told with no node, attempt 0 and progress 0.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, HeaderName};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use ffrtmp_core::Result;
use ffrtmp_core::coordinator::{JobEvent, JobEventKind};
use ffrtmp_core::id::JobId;
use ffrtmp_core::job::{Job, JobState, StateTransition};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, timeout_at};

use super::App;
use super::extract::{JobPath, Query};
use super::failure::Failure;
use crate::http::wire::{EventList, refuse_unknown};

/// Shows every change of a job's state; with `Accept: text/event-stream`, follows it until it ends.
#[utoipa::path(
    get, path = "/jobs/{id}/events", tag = "jobs", operation_id = "get_job_events",
    params(("id" = String, Path, description = "Id, unique prefix of it, or sequence number.")),
    responses((status = 200, description = "The changes, oldest first.", content(
        (EventList = "application/json"),
        (String = "text/event-stream"),
    )))
)]
pub(super) async fn events(
    State(app): State<Arc<App>>,
    JobPath(key): JobPath,
    Query(query): Query,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    refuse_unknown(&query, &[])?;
    // Subscribed before the job is read: what happens in between comes twice and is dropped once.
    let receiver = app.coordinator.events();
    let job = app.coordinator.job(&key).await?;
    if !wants_stream(&headers) {
        let events = job.state_transitions;
        return Ok(Json(EventList { count: events.len(), events }).into_response());
    }
    let follower = Follower::new(app, receiver, &job, last_event_id(&headers));
    let stream = futures::stream::unfold(follower, Follower::next);
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(Duration::from_secs(15)).text("alive")).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|range| {
        range.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("text/event-stream"))
    })
}

fn last_event_id(headers: &HeaderMap) -> Mark {
    const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
    let id = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok()).and_then(|id| id.split_once('-'));
    // Somebody who comes back with an unknown id hears the story from the beginning.
    id.and_then(|(at, place)| Some(Mark { at: at.parse().ok()?, place: place.parse().ok()? })).unwrap_or_default()
}

/// How far a follower has heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    at: i64,
    place: u32,
}

/// Between looks at a job that other masters may change.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

struct Follower {
    app: Arc<App>,
    receiver: Receiver<JobEvent>,
    job: JobId,
    heard: Mark,
    /// Attempt and percent as last told.
    progress: (u32, f64),
    look_again: Option<Instant>,
    pending: VecDeque<Event>,
    ended: bool,
}

impl Follower {
    fn new(app: Arc<App>, receiver: Receiver<JobEvent>, job: &Job, heard: Mark) -> Self {
        let look_again = app.coordinator.store().is_shared().then(|| Instant::now() + LOOK_AGAIN);
        let progress = (job.attempt, job.progress);
        let pending = VecDeque::new();
        let mut follower = Self { app, receiver, job: job.id, heard, progress, look_again, pending, ended: false };
        follower.catch_up(job);
        follower
    }

    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some((Ok(event), self));
            }
            if self.ended {
                return None;
            }
            let app = Arc::clone(&self.app);
            match app.stop.run_until_cancelled(self.received()).await? {
                Some(Ok(event)) if event.job_id != self.job => {}
                Some(Ok(event)) if event.kind == JobEventKind::Progress => self.came_further(&event),
                Some(Err(RecvError::Closed)) => return None,
                // The job itself tells what was missed.
                Some(Ok(_) | Err(RecvError::Lagged(_))) | None => {
                    let job = app.coordinator.job(&self.job.into()).await.ok()?;
                    self.catch_up(&job);
                    self.catch_up_progress(&job);
                }
            }
        }
    }

    /// What this master did next; `None` when it is time to look for what others did.
    async fn received(&mut self) -> Option<Result<JobEvent, RecvError>> {
        let Some(at) = self.look_again else { return Some(self.receiver.recv().await) };
        let received = if at <= Instant::now() { None } else { timeout_at(at, self.receiver.recv()).await.ok() };
        if received.is_none() {
            self.look_again = Some(Instant::now() + LOOK_AGAIN);
        }
        received
    }

    fn came_further(&mut self, event: &JobEvent) {
        self.progress = (event.attempt, event.progress);
        self.pending.extend(message(event, None));
    }

    /// Tells of progress that an attempt reported to another master.
    fn catch_up_progress(&mut self, job: &Job) {
        if self.look_again.is_none() || job.state != JobState::Running || self.progress == (job.attempt, job.progress) {
            return;
        }
        self.came_further(&JobEvent {
            job_id: job.id,
            at: self.app.coordinator.now(),
            kind: JobEventKind::Progress,
            state: job.state,
            progress: job.progress,
            attempt: job.attempt,
            node_name: job.node_name.clone(),
            reason: None,
        });
    }

    /// Queues the changes of state that the follower has not heard yet.
    fn catch_up(&mut self, job: &Job) {
        let last = job.state_transitions.len().saturating_sub(1);
        for (position, (change, mark)) in job.state_transitions.iter().zip(marks(&job.state_transitions)).enumerate() {
            if mark > self.heard {
                self.heard = mark;
                self.pending.extend(message(&story(job, change, position == last), Some(mark)));
            }
        }
        self.ended = job.state.is_final();
    }
}

/// Where each change stands in the story. Two masters never have quite the same time, so a change
/// may bear an earlier one than the change before it: it stands behind all the same.
fn marks(changes: &[StateTransition]) -> impl Iterator<Item = Mark> {
    changes.iter().scan(Mark::default(), |mark, change| {
        let at = change.at.as_micros();
        *mark = if at > mark.at { Mark { at, place: 1 } } else { Mark { at: mark.at, place: mark.place + 1 } };
        Some(*mark)
    })
}

/// A change of state as an event; only the latest is about the attempt that the job shows.
fn story(job: &Job, change: &StateTransition, latest: bool) -> JobEvent {
    // A job that waits again still names the node of its last attempt.
    let placed = latest && !matches!(change.to, JobState::Waiting | JobState::Queued | JobState::Retrying);
    JobEvent {
        job_id: job.id,
        at: change.at,
        kind: JobEventKind::State,
        state: change.to,
        progress: if latest { job.progress } else { 0.0 },
        attempt: if latest { job.attempt } else { 0 },
        node_name: job.node_name.clone().filter(|_| placed),
        reason: Some(change.reason.clone()),
    }
}

fn message(event: &JobEvent, mark: Option<Mark>) -> Option<Event> {
    let message = Event::default().event(event.kind.as_str()).json_data(event).ok()?;
    Some(match mark {
        Some(Mark { at, place }) => message.id(format!("{at}-{place}")),
        None => message,
    })
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::clock::Timestamp;

    use super::*;

    #[test]
    fn a_change_by_a_master_whose_clock_is_behind_stands_last() {
        let at = |micros| StateTransition {
            from: JobState::Queued,
            to: JobState::Assigned,
            at: Timestamp::from_micros(micros),
            reason: String::new(),
        };
        let marks: Vec<_> = marks(&[at(100), at(97), at(100), at(101)]).map(|mark| (mark.at, mark.place)).collect();
        assert_eq!(marks, [(100, 1), (100, 2), (100, 3), (101, 1)]);
    }
}
