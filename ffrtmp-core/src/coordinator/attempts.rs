//! The beginning and the end of attempts, one or many at a time: one call of the store for all.

use crate::error::{Code, Error, JobError, Result};
use crate::id::JobId;
use crate::job::{Job, JobReport, JobState};
use crate::lifecycle::{JobCommand, Lease, Outcome};
use crate::protocol::{AttemptState, ErrorText, FinishRequest, LogLine, LogText, ResultStatus, StartRequest};

use super::logbook::LastLines;
use super::{Coordinator, bounds};

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
        for unknown in self.keep_last(last.collect()).await? {
            self.keep_unknown(unknown, &canceled).await?;
        }
        for heard in heard.iter().flatten() {
            self.logbook.close(heard.job);
        }
        let now = self.now();
        let (mut commands, mut refused) = (Vec::with_capacity(heard.len()), Vec::with_capacity(heard.len()));
        for heard in heard {
            match heard {
                Ok(Heard { job, command, .. }) => (commands.push((job, command)), refused.push(None)),
                Err(error) => ((), refused.push(Some(error))),
            };
        }
        let mut answers = self.store.apply(commands, now).await?.into_iter();
        let mut jobs = Vec::with_capacity(refused.len());
        for (refused, canceled) in refused.into_iter().zip(canceled) {
            let answer = refused.map_or_else(|| answers.next().unwrap_or_else(|| Err(no_answer())), Err);
            jobs.push(match (answer, canceled) {
                (Err(error), Some((id, lease))) if error.code() == Code::StaleFence => {
                    self.canceled_already(id, lease, error).await
                }
                (answer, _) => answer,
            });
        }
        let changed: Vec<_> = jobs.iter().flatten().filter(|job| job.changed_at() == Some(now)).collect();
        changed.iter().for_each(|job| self.announce(job));
        // The same word again changes nothing, so nobody would look at the dependents once more.
        self.settle_dependents(changed).await.inspect_err(|_| self.settle_next_round())?;
        Ok(jobs)
    }

    /// Keeps the last lines of an attempt that this master did not begin.
    async fn keep_unknown(&self, last: LastLines, canceled: &[Option<(JobId, Lease)>]) -> Result<()> {
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
        let outcome = outcome(request.status, metrics.map(|report| self.priced(report)), request.error);
        let logs = request.logs.filter(|logs| match logs {
            LogText::Lines(lines) => !lines.is_empty(),
            LogText::Text(text) => !text.is_empty(),
        });
        let last = logs.map(|logs| (request.job_id, lease, request.logs_from, logs));
        Ok(Heard { job: request.job_id, command: JobCommand::Finish { lease, outcome }, last })
    }

    /// With what it cost: by the rates here, whatever a node says.
    fn priced(&self, report: JobReport) -> JobReport {
        let cost = self.settings.tariff.as_ref().map(|tariff| Box::new(tariff.cost(&report, self.now())));
        JobReport { cost, ..report }
    }

    fn last(&self, (job, lease, from, logs): (JobId, Lease, Option<u64>, LogText)) -> LastLines {
        let lines = match logs {
            LogText::Lines(lines) => lines,
            LogText::Text(text) => text.lines().map(|line| self.plain_line(line)).collect(),
        };
        LastLines { job, lease, from, lines }
    }

    fn plain_line(&self, text: &str) -> LogLine {
        LogLine { at: self.now(), level: "info".into(), text: text.to_owned() }
    }
}

/// The end of an attempt, read.
struct Heard {
    job: JobId,
    command: JobCommand,
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
