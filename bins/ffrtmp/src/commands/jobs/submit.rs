//! `ffrtmp jobs submit`: from flags or a file to jobs of the master.

use std::path::Path;

use ffrtmp::core::id::{JobId, JobKey};
use ffrtmp::core::job::{JobRequest, JobView};
use ffrtmp::core::trace::TraceContext;
use ffrtmp::core::{Code, Error, Result};
use ffrtmp::transport::http::MasterClient;
use serde_json::json;

use super::{file, follow, resolve};
use crate::cli::Globals;
use crate::cli::jobs::Submit;
use crate::cli::names;
use crate::commands::converse;
use crate::console::Console;
use crate::stop::Done;

/// Most jobs that the master takes at once.
const BATCH: usize = 1000;

pub(super) fn run(command: &Submit, globals: &Globals, console: &Console) -> Done {
    let done = work(command, globals, console);
    match command.file {
        // Fields of a file are named as they stand there.
        Some(_) => done,
        None => done.map_err(|stop| stop.about(|error| names::in_flags(error, names::SUBMIT))),
    }
}

fn work(command: &Submit, globals: &Globals, console: &Console) -> Done {
    let requests = match &command.file {
        Some(path) => {
            Requests::Many(file::read(path)?.into_iter().map(|request| over(command, request)).collect::<Result<_>>()?)
        }
        None => Requests::One(Box::new(over(command, JobRequest::default())?)),
    };
    if command.dry_run {
        return resolve::dry_run(requests.as_slice(), console);
    }
    converse(globals, async |client| {
        let before = dependencies(&client, &command.depends_on).await?;
        let jobs = requests.after(before).submit(&client, command.idempotency_key.as_deref()).await?;
        if command.wait {
            return follow::all(&client, &jobs, console).await;
        }
        say(&jobs, command.file.is_some(), console)
    })
}

/// One job, or those of a file: the answer has the same shape as the question.
enum Requests {
    One(Box<JobRequest>),
    Many(Vec<JobRequest>),
}

impl Requests {
    fn as_slice(&self) -> &[JobRequest] {
        match self {
            Self::One(request) => std::slice::from_ref(request),
            Self::Many(requests) => requests,
        }
    }

    fn after(mut self, before: Vec<JobId>) -> Self {
        let requests = match &mut self {
            Self::One(request) => std::slice::from_mut(request.as_mut()),
            Self::Many(requests) => requests.as_mut_slice(),
        };
        for request in requests {
            request.depends_on.extend(&before);
        }
        self
    }

    async fn submit(self, client: &MasterClient, idempotency_key: Option<&str>) -> Result<Vec<JobView>> {
        match self {
            Self::One(request) => Ok(vec![client.submit(&request, idempotency_key).await?]),
            Self::Many(requests) => submit_batches(client, &requests).await,
        }
    }
}

/// Submits by batches. A batch is taken whole or not at all; an error says what is already in.
async fn submit_batches(client: &MasterClient, requests: &[JobRequest]) -> Result<Vec<JobView>> {
    let mut jobs = Vec::with_capacity(requests.len());
    for batch in requests.chunks(BATCH) {
        match client.submit_batch(batch).await {
            Ok(views) => jobs.extend(views),
            Err(error) if jobs.is_empty() => return Err(error),
            Err(error) => {
                let hint = format!(
                    "the first {} jobs of the file are submitted: take them out before trying again",
                    jobs.len()
                );
                return Err(Error::new(error.code(), error.to_string()).hint(hint));
            }
        }
    }
    Ok(jobs)
}

/// Flags win over what a file says.
fn over(command: &Submit, request: JobRequest) -> Result<JobRequest> {
    let JobRequest { parameters, resource_limits, .. } = &request;
    let mut labels = request.labels.clone();
    let wishes = command.wishes.parameters().map_err(|error| names::in_flags(error, names::SUBMIT))?;
    let wishes = command.live.parameters()?.over(wishes);
    let limits = command.limits();
    let parameters = wishes.over(parameters.clone());
    let resource_limits = ffrtmp::core::job::ResourceLimits {
        max_cpu_percent: limits.max_cpu_percent.or(resource_limits.max_cpu_percent),
        max_memory_mb: limits.max_memory_mb.or(resource_limits.max_memory_mb),
        max_disk_mb: limits.max_disk_mb.or(resource_limits.max_disk_mb),
        timeout_sec: limits.timeout_sec.or(resource_limits.timeout_sec),
    };
    labels.extend(command.labels.iter().cloned());
    Ok(JobRequest {
        scenario: command.scenario.as_ref().map_or(request.scenario, |scenario| scenario.as_str().to_owned()),
        input: command.input.as_deref().map(absolute).or(request.input),
        output: command.out.as_deref().map(absolute).or(request.output),
        confidence: command.confidence.clone().or(request.confidence),
        engine: command.engine.or(request.engine),
        classification: command.classification.or(request.classification),
        queue: command.queue.or(request.queue),
        priority: command.priority.or(request.priority),
        tenant: command.tenant.clone().or(request.tenant),
        parameters,
        resource_limits,
        max_retries: command.max_retries.or(request.max_retries),
        depends_on: request.depends_on,
        labels,
        deadline: command.deadline.or(request.deadline),
        traceparent: request.traceparent.or_else(caller),
    })
}

/// The trace that this command is a part of, by the variable that tracing tools set for their
/// children. One that cannot be read begins a trace of its own, as the W3C wants it.
fn caller() -> Option<TraceContext> {
    std::env::var("TRACEPARENT").ok()?.parse().ok()
}

/// A relative path counts from where the command was typed, not from where the agent runs.
fn absolute(text: &str) -> String {
    if text.is_empty() || text.contains("://") || text.starts_with("file:") {
        return text.to_owned();
    }
    match std::path::absolute(Path::new(text)) {
        Ok(path) => path.to_string_lossy().into_owned(),
        Err(_) => text.to_owned(),
    }
}

/// The full ids of the jobs to wait for.
async fn dependencies(client: &MasterClient, keys: &[JobKey]) -> Result<Vec<JobId>> {
    let mut ids = Vec::with_capacity(keys.len());
    for key in keys {
        ids.push(match key {
            JobKey::Id(id) => *id,
            key => client.job(&key.to_string()).await.map_err(|error| dependency(key, &error))?.job.id,
        });
    }
    Ok(ids)
}

fn dependency(key: &JobKey, error: &Error) -> Error {
    match error.code() {
        Code::JobNotFound => Error::new(Code::JobNotFound, format!("no job is named {:?}", key.to_string())),
        code => Error::new(code, error.to_string()),
    }
    .field("--depends-on")
    .hint(error.hint_text())
}

fn say(jobs: &[JobView], many: bool, console: &Console) -> Done {
    match (console.is_json(), jobs) {
        (true, [job]) if !many => console.json(job),
        (true, jobs) => console.json(&json!({ "jobs": jobs, "count": jobs.len() })),
        (false, jobs) => jobs.iter().try_for_each(|view| {
            let job = &view.job;
            console.line(format_args!("{} {} {} (number {})", job.id, job.state, job.scenario, job.sequence_number))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_local_paths_are_made_absolute() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("clip.mp4"), here.join("clip.mp4").to_string_lossy());
        for kept in ["/a/b.mp4", "https://host/a.mp4", "file:///a.mp4", "rtmp://host/live/x", ""] {
            assert_eq!(absolute(kept), kept);
        }
    }
}
