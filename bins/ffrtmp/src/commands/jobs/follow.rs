//! Follows jobs to their end over server-sent events, through restarts of the master.

use std::time::{Duration, Instant};

use ffrtmp::core::clock::Timestamp;
use ffrtmp::core::coordinator::JobEvent;
use ffrtmp::core::id::JobKey;
use ffrtmp::core::job::{Job, JobState, JobView};
use ffrtmp::core::{Code, Disposition, Error, Result};
use ffrtmp::transport::http::MasterClient;
use futures::StreamExt as _;
use serde_json::json;

use crate::commands::signals::Signals;
use crate::console::Console;
use crate::describe::quantity::short;
use crate::progress::{Board, Gauge};
use crate::stop::{Done, Stop};

/// Follows one job, shows it in the end, and ends as it did.
pub(super) async fn one(client: &MasterClient, id: &JobKey, console: &Console) -> Done {
    let view = client.job(&id.to_string()).await?;
    all(client, std::slice::from_ref(&view), console).await
}

/// Follows jobs side by side until all have ended. The first one that went wrong decides how the
/// command ends.
pub(super) async fn all(client: &MasterClient, jobs: &[JobView], console: &Console) -> Done {
    let board = Board::new(console, true);
    let mut signals = Signals::new()?;
    let ended = tokio::select! {
        ended = to_ends(client, jobs, &board, console) => ended?,
        () = signals.next() => return Err(detached(jobs).into()),
    };
    show(&ended, console)?;
    ended.iter().find_map(|view| failure(&view.job)).map_or(Ok(()), |error| Err(error.into()))
}

/// Follows jobs until all have ended; gives them in their order.
pub(in crate::commands) async fn to_ends(
    client: &MasterClient,
    jobs: &[JobView],
    board: &Board,
    console: &Console,
) -> Done<Vec<JobView>> {
    let each = jobs.iter().map(|view| to_end(client, view, board.gauge(name(&view.job)), console));
    futures::future::try_join_all(each).await
}

fn name(job: &Job) -> String {
    let scenario: String = job.scenario.chars().take(12).collect();
    format!("#{} {scenario}", job.sequence_number)
}

fn detached(jobs: &[JobView]) -> Error {
    let hint = match jobs {
        [view] => format!("the job goes on; `ffrtmp jobs cancel {}` stops it", short(view.job.id)),
        _ => "the jobs go on; `ffrtmp jobs cancel ID` stops one".to_owned(),
    };
    Error::new(Code::Canceled, "stopped following").hint(hint)
}

fn show(ended: &[JobView], console: &Console) -> Done {
    match (console.is_json(), ended) {
        (true, [view]) => console.json_line(view),
        (true, views) => console.json_line(&json!({ "jobs": views, "count": views.len() })),
        // What went wrong is said once, by the command's own error.
        (false, [view]) => console.table(&crate::describe::job::outcome(&view.job, console)),
        (false, views) => console.table(&crate::describe::job::list(views, console)),
    }
}

/// What a job that did not complete ended with.
fn failure(job: &Job) -> Option<Error> {
    if job.state == JobState::Completed {
        return None;
    }
    let general = || {
        let code = if job.state == JobState::Canceled { Code::Canceled } else { Code::CapabilityMissing };
        Error::new(code, format!("the job is {}", job.state))
    };
    let error = match (&job.error, job.state) {
        (Some(error), JobState::Failed | JobState::Rejected) => Error::from(error.clone()),
        _ => general(),
    };
    Some(error.field(format!("job {}", short(job.id))))
}

/// Follows one job to its end.
async fn to_end(client: &MasterClient, view: &JobView, gauge: Gauge, console: &Console) -> Result<JobView, Stop> {
    let id = view.job.id.to_string();
    let mut patience = Patience::new();
    let mut current = view.clone();
    let mut seen = last_change(&current.job);
    loop {
        gauge.show(current.job.progress, &stand(&current.job));
        if current.job.state.is_final() {
            gauge.finish(current.job.progress, &stand(&current.job));
            return Ok(current);
        }
        if let Err(error) = listen(client, &id, &mut seen, &gauge, &mut patience, console).await? {
            patience.wait(error, console).await?;
        }
        // Events say what changed; only the job itself says all of it.
        current = loop {
            match client.job(&id).await {
                Ok(view) => break view,
                Err(error) => patience.wait(error, console).await?,
            }
        };
    }
}

/// Shows events until the job ends or the stream does. The outer error ends the command, the inner
/// one is worth another try.
async fn listen(
    client: &MasterClient,
    id: &str,
    seen: &mut Timestamp,
    gauge: &Gauge,
    patience: &mut Patience,
    console: &Console,
) -> Result<Result<()>, Stop> {
    let mut events = match client.follow(id).await {
        Ok(events) => std::pin::pin!(events),
        Err(error) => return Ok(Err(error)),
    };
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            Err(error) => return Ok(Err(error)),
        };
        patience.renew();
        // A stream begins with the story so far.
        if event.at <= *seen {
            continue;
        }
        *seen = event.at;
        if console.is_json() {
            console.json_line(&event)?;
        }
        gauge.show(event.progress, &moved(&event));
        if event.state.is_final() {
            return Ok(Ok(()));
        }
    }
    Ok(Err(Error::new(Code::Network, "the master closed the connection")))
}

fn last_change(job: &Job) -> Timestamp {
    job.state_transitions.last().map_or(job.created_at, |change| change.at)
}

fn stand(job: &Job) -> String {
    let why = job.error.as_ref().filter(|_| !job.state.is_final()).map(|error| error.message.clone());
    let why = why.or_else(|| job.waiting_reason.clone());
    let place = job.node_name.as_ref().filter(|_| job.state.is_active()).map(|name| format!("on {name}"));
    [Some(job.state.to_string()), place, why].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

fn moved(event: &JobEvent) -> String {
    let place = event.node_name.as_ref().filter(|_| event.state.is_active()).map(|name| format!("on {name}"));
    let again = (event.attempt > 1).then(|| format!("attempt {}", event.attempt));
    let told_later = matches!(event.state, JobState::Failed | JobState::Rejected);
    let why = event.reason.clone().filter(|_| !event.state.is_active() && !told_later);
    [Some(event.state.to_string()), place, again, why].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// How long a master may be away before following gives up.
pub(super) struct Patience {
    lost: Option<Instant>,
    wait: Duration,
}

impl Patience {
    const FIRST: Duration = Duration::from_millis(250);
    const LONGEST: Duration = Duration::from_secs(5);
    const TOTAL: Duration = Duration::from_secs(300);

    /// Full patience.
    pub(super) const fn new() -> Self {
        Self { lost: None, wait: Self::FIRST }
    }

    /// The master answered.
    pub(super) const fn renew(&mut self) {
        *self = Self::new();
    }

    /// Waits before the next try, longer every time.
    ///
    /// # Errors
    /// The error itself if another try cannot mend it, or after five minutes.
    pub(super) async fn wait(&mut self, error: Error, console: &Console) -> Result<()> {
        let mends = error.disposition() == Disposition::Transient || error.code() == Code::RateLimited;
        if !mends || self.lost.is_some_and(|since| since.elapsed() > Self::TOTAL) {
            return Err(error);
        }
        if self.lost.is_none() {
            self.lost = Some(Instant::now());
            console.note(format_args!("warning: {}; trying again", crate::console::one_line(&error.to_string())));
        }
        tokio::time::sleep(self.wait).await;
        self.wait = (self.wait * 2).min(Self::LONGEST);
        Ok(())
    }
}
