//! The beginning and the end of attempts, one or many at a time: one call of the store for all.

use std::sync::PoisonError;

use crate::cost::Spent;
use crate::error::{Code, Error, JobError, Result};
use crate::id::JobId;
use crate::job::{Job, JobReport, JobState};
use crate::lifecycle::{JobCommand, Lease, Outcome};
use crate::protocol::{AttemptState, ErrorText, FinishRequest, LogLine, LogText, ResultStatus, StartRequest};

use super::logbook::Said;
use super::{Coordinator, bounds};

/// Canceled attempts that are known to have told what they used: a node asks again within minutes, if at all.
const STOPPED_KEPT: usize = 256;

impl Coordinator {
    /// The node begins an attempt.
    ///
    /// # Errors
    /// `stale_fence` if the attempt is over, `job_not_found`.
    pub async fn start(&self, id: JobId, request: StartRequest) -> Result<Job> {
        only(self.begin(vec![(id, request)]).await?)
    }

    /// Begins many attempts, each on its own: the answers stand in the order of the requests.
    ///
    /// # Errors
    /// Inner: as [`Coordinator::start`]. Outer: `storage`; say all of it again.
    pub async fn start_many(&self, starts: Vec<(JobId, StartRequest)>) -> Result<Vec<Result<AttemptState>>> {
        Ok(states(self.begin(starts).await?))
    }

    /// The end of an attempt. The same one twice has one effect and gives the same answer.
    ///
    /// # Errors
    /// `stale_fence` if another attempt has begun or the job ended otherwise.
    pub async fn finish(&self, request: FinishRequest) -> Result<Job> {
        only(self.end(vec![request]).await?)
    }

    /// Ends many attempts, each on its own: the answers stand in the order of the requests.
    ///
    /// # Errors
    /// Inner: as [`Coordinator::finish`]. Outer: `storage`; say all of it again.
    pub async fn finish_many(&self, requests: Vec<FinishRequest>) -> Result<Vec<Result<AttemptState>>> {
        Ok(states(self.end(requests).await?))
    }

    /// Refuses an end that no attempt can have, without any effect: for whoever takes many at once
    /// and wants to refuse them as a whole.
    ///
    /// # Errors
    /// `invalid_field` naming a measure that is negative or not a number, or too much of them.
    pub fn check_result(request: &FinishRequest) -> Result<()> {
        request.metrics.as_ref().map_or(Ok(()), bounds::measures)
    }

    async fn begin(&self, starts: Vec<(JobId, StartRequest)>) -> Result<Vec<Result<Job>>> {
        let now = self.now();
        let command = |(id, StartRequest { node_id, fence })| {
            (id, JobCommand::Start { lease: Lease { node: node_id, fence }, engine: None })
        };
        let jobs = self.store.apply(starts.into_iter().map(command).collect(), now).await?;
        for job in jobs.iter().flatten().filter(|job| job.changed_at() == Some(now)) {
            self.logbook.open(job);
            self.announce(job);
        }
        Ok(jobs)
    }

    async fn end(&self, requests: Vec<FinishRequest>) -> Result<Vec<Result<Job>>> {
        let canceled: Vec<_> = requests.iter().map(canceled).collect();
        let mut heard: Vec<_> = requests.into_iter().map(|request| self.hear(request)).collect();
        // Whoever sees the end finds the log whole.
        let last = heard.iter_mut().flatten().filter_map(|heard| heard.last.take()).map(|last| self.last(last));
        for unknown in self.keep(last.collect()).await? {
            self.keep_unknown(unknown, &canceled).await?;
        }
        for heard in heard.iter().flatten() {
            self.logbook.close(heard.job);
        }
        let now = self.now();
        let (mut commands, mut told) = (Vec::with_capacity(heard.len()), Vec::with_capacity(heard.len()));
        for heard in heard {
            told.push(match heard {
                Ok(Heard { job, lease, command, spent, .. }) => {
                    commands.extend(spent.clone().map(|spent| (job, JobCommand::Spend { lease, spent })));
                    commands.push((job, command));
                    (None, spent)
                }
                Err(error) => (Some(error), None),
            });
        }
        let mut answers = self.store.apply(commands, now).await?.into_iter();
        let mut jobs = Vec::with_capacity(told.len());
        for ((refused, spent), canceled) in told.iter_mut().zip(canceled) {
            // Of two answers the later is that to the end, which decides about both.
            let mut end = || answers.nth(usize::from(spent.is_some())).unwrap_or_else(|| Err(no_answer()));
            jobs.push(match (refused.take().map_or_else(&mut end, Err), canceled) {
                (Err(error), Some((id, lease))) if error.code() == Code::StaleFence => {
                    let job = self.canceled_already(id, lease, error).await;
                    job.inspect(|job| self.tell_spent_once(job, lease, spent.take()))
                }
                (answer, _) => answer,
            });
        }
        let ended = jobs.iter().zip(told).filter_map(|(job, (_, spent))| Some((job.as_ref().ok()?, spent)));
        let ended: Vec<_> = ended.filter(|(job, _)| job.changed_at() == Some(now)).collect();
        for (job, spent) in &ended {
            self.announce(job);
            self.tell_spent(job, spent.as_deref());
        }
        let changed: Vec<_> = ended.into_iter().map(|(job, _)| job).collect();
        // The same word again changes nothing, so nobody would look at the dependents once more.
        self.settle_dependents(changed).await.inspect_err(|_| self.settle_next_round())?;
        Ok(jobs)
    }

    /// Keeps the last lines of an attempt that this master did not begin.
    async fn keep_unknown(&self, last: Said, canceled: &[Option<(JobId, Lease)>]) -> Result<()> {
        let job = match self.store.job(&last.job.into()).await {
            // Said of the attempt itself, later.
            Err(error) if error.code() == Code::JobNotFound => return Ok(()),
            found => found?,
        };
        let stopped = canceled.contains(&Some((last.job, last.lease))) && stopped(&job, last.lease);
        if stopped || job.lease() == Some(last.lease) {
            self.keep_lines(&job, last.from, last.lines).await?;
        }
        Ok(())
    }

    /// A node that says that it stopped a canceled attempt is right, not late.
    async fn canceled_already(&self, id: JobId, lease: Lease, error: Error) -> Result<Job> {
        let job = self.store.job(&id.into()).await?;
        if stopped(&job, lease) { Ok(job) } else { Err(error) }
    }

    fn hear(&self, request: FinishRequest) -> Result<Heard> {
        let lease = Lease { node: request.node_id, fence: request.fence };
        let metrics = request.metrics.map(bounds::report).transpose()?;
        let without = metrics.as_ref().filter(|_| request.status != ResultStatus::Completed);
        let spent = without.and_then(|used| Spent::of(used, self.settings.tariff.as_ref(), self.now()));
        let outcome = outcome(request.status, metrics.map(|report| self.priced(report)), request.error);
        let logs = request.logs.filter(|logs| match logs {
            LogText::Lines(lines) => !lines.is_empty(),
            LogText::Text(text) => !text.is_empty(),
        });
        let last = logs.map(|logs| (request.job_id, lease, request.logs_from, logs));
        let command = JobCommand::Finish { lease, outcome };
        Ok(Heard { job: request.job_id, lease, command, spent: spent.map(Box::new), last })
    }

    fn tell_spent(&self, job: &Job, spent: Option<&Spent>) {
        if let (Some(watcher), Some(spent)) = (&self.watcher, spent) {
            watcher.spent(job, spent);
        }
    }

    /// The same of an attempt whose job was canceled: nothing of the job tells whether it said so before.
    fn tell_spent_once(&self, job: &Job, lease: Lease, spent: Option<Box<Spent>>) {
        let mut stopped = self.stopped.lock().unwrap_or_else(PoisonError::into_inner);
        let attempt = (job.id, lease.fence);
        if spent.is_none() || stopped.contains(&attempt) {
            return;
        }
        stopped.truncate(STOPPED_KEPT - 1);
        stopped.push_front(attempt);
        drop(stopped);
        self.tell_spent(job, spent.as_deref());
    }

    /// With what it cost: by the rates here, whatever a node says.
    fn priced(&self, report: JobReport) -> JobReport {
        let cost = self.settings.tariff.as_ref().map(|tariff| Box::new(tariff.cost(&report, self.now())));
        JobReport { cost, ..report }
    }

    fn last(&self, (job, lease, from, logs): (JobId, Lease, Option<u64>, LogText)) -> Said {
        let lines = match logs {
            LogText::Lines(lines) => lines,
            LogText::Text(text) => text.lines().map(|line| self.plain_line(line)).collect(),
        };
        Said { job, lease, from, lines }
    }

    fn plain_line(&self, text: &str) -> LogLine {
        LogLine { at: self.now(), level: "info".into(), text: text.to_owned() }
    }
}

/// The end of an attempt, read.
struct Heard {
    job: JobId,
    lease: Lease,
    command: JobCommand,
    /// What it used, if it made no output.
    spent: Option<Box<Spent>>,
    last: Option<(JobId, Lease, Option<u64>, LogText)>,
}

fn only(mut jobs: Vec<Result<Job>>) -> Result<Job> {
    jobs.pop().unwrap_or_else(|| Err(no_answer()))
}

fn no_answer() -> Error {
    Error::new(Code::Internal, "the store answered nothing")
}

fn states(jobs: Vec<Result<Job>>) -> Vec<Result<AttemptState>> {
    jobs.into_iter().map(|job| job.map(|job| AttemptState::from(&job))).collect()
}

/// Whether the job was canceled during this attempt.
fn stopped(job: &Job, lease: Lease) -> bool {
    job.state == JobState::Canceled && job.node_id == Some(lease.node) && job.fence == lease.fence
}

fn canceled(request: &FinishRequest) -> Option<(JobId, Lease)> {
    let lease = Lease { node: request.node_id, fence: request.fence };
    (request.status == ResultStatus::Canceled).then_some((request.job_id, lease))
}

fn outcome(status: ResultStatus, metrics: Option<JobReport>, error: Option<ErrorText>) -> Outcome {
    match status {
        ResultStatus::Completed => Outcome::Completed(Box::new(metrics.unwrap_or_default())),
        ResultStatus::Failed => Outcome::Failed(job_error(error)),
        ResultStatus::Canceled => Outcome::Released("its node stopped the attempt".into()),
        ResultStatus::Released => Outcome::Released(job_error(error).message),
    }
}

fn job_error(error: Option<ErrorText>) -> JobError {
    let text = match error {
        // The disposition follows from the code, whatever the node says.
        Some(ErrorText::Typed(error)) => return bounds::error(error),
        Some(ErrorText::Text(text)) => bounds::cut(text, bounds::MAX_MESSAGE),
        None => "the node gave no reason".into(),
    };
    (&Error::new(Code::EncodeFailed, text)).into()
}
