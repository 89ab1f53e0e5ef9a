//! How jobs ended.

use std::collections::{BTreeMap, BTreeSet};

use ffrtmp::core::job::{AttemptOutcome, Job, JobState};

#[derive(Debug, Default)]
pub(crate) struct Tally {
    jobs: usize,
    ids: BTreeSet<String>,
    states: BTreeMap<String, usize>,
    attempts: BTreeMap<String, usize>,
    /// Jobs that were tried again because an attempt failed.
    retried: Vec<Job>,
    /// What the processes logged.
    logs: String,
    /// Jobs that were not completed, or not by exactly one attempt.
    wrong: Vec<Job>,
}

impl Tally {
    pub(crate) fn of(jobs: impl Iterator<Item = Job>, logs: impl FnOnce() -> String) -> Self {
        let mut tally = Self::default();
        for job in jobs {
            tally.jobs += 1;
            tally.ids.insert(job.id.to_string());
            *tally.states.entry(job.state.to_string()).or_default() += 1;
            if job.retry_count > 0 {
                tally.retried.push(job.clone());
            }
            for attempt in &job.attempts {
                let outcome = attempt.outcome.map_or("under way".into(), |outcome| outcome.to_string());
                *tally.attempts.entry(outcome).or_default() += 1;
            }
            if !completed_once(&job) {
                tally.wrong.push(job);
            }
        }
        tally.logs = logs();
        tally
    }

    pub(crate) fn print(&self, what: &str) {
        let Self { jobs, states, attempts, retried, .. } = self;
        eprintln!("{what}: {jobs} jobs {states:?}, attempts {attempts:?}, {} tried again", retried.len());
    }

    pub(crate) fn assert_none_tried_again(&self) {
        assert!(self.retried.is_empty(), "{:#?}\n{}", self.retried, self.logs);
    }

    pub(crate) fn assert_each_completed_once(&self) {
        assert!(self.wrong.is_empty(), "{:#?}\n{}", self.wrong, self.logs);
        assert_eq!(self.ids.len(), self.jobs, "every submission is a job of its own");
    }
}

fn completed_once(job: &Job) -> bool {
    let ends = job.state_transitions.iter().filter(|change| change.to.is_final()).count();
    let completed = job.attempts.iter().filter(|attempt| attempt.outcome == Some(AttemptOutcome::Completed)).count();
    let open = job.attempts.iter().filter(|attempt| attempt.outcome.is_none()).count();
    job.state == JobState::Completed && (ends, completed, open) == (1, 1, 0) && job.result.is_some()
}
