//! What the database and the files say in the end.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use ffrtmp::core::clock::Timestamp;
use ffrtmp::core::job::{AttemptOutcome, Job, JobState};

use crate::fleet::{Fleet, files_under};

/// The count, and what is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    submitted: usize,
    states: BTreeMap<String, usize>,
    attempts: BTreeMap<String, usize>,
    /// Causes of failed attempts.
    causes: BTreeMap<String, usize>,
    most_attempts: u32,
    outputs: usize,
    longest_gap: Duration,
    longest_job: Duration,
    wrong: Vec<String>,
}

impl Tally {
    /// Counts everything that is stored and published.
    pub(crate) fn take(fleet: &Fleet, submitted: &[String]) -> Self {
        let jobs = fleet.jobs();
        let mut tally = Self { submitted: submitted.len(), ..Self::default() };
        tally.compare_ids(&jobs, submitted);
        for job in &jobs {
            tally.count(job);
        }
        tally.recount(fleet, &jobs);
        tally.look_at_outputs(fleet, &jobs);
        tally.longest_gap = longest_gap(&jobs);
        tally
    }

    pub(crate) fn assert_right(&self) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
        assert!(self.submitted > 0, "nothing was tried");
    }

    fn compare_ids(&mut self, jobs: &[Job], submitted: &[String]) {
        let stored: BTreeSet<String> = jobs.iter().map(|job| job.id.to_string()).collect();
        let answered: BTreeSet<String> = submitted.iter().cloned().collect();
        let lost: Vec<_> = answered.difference(&stored).collect();
        let surplus: Vec<_> = stored.difference(&answered).collect();
        self.fault_if(!lost.is_empty(), || format!("lost: {lost:?}"));
        self.fault_if(!surplus.is_empty(), || format!("nobody submitted: {surplus:?}"));
        self.fault_if(answered.len() != submitted.len(), || "two submissions are one job".into());
    }

    fn count(&mut self, job: &Job) {
        *self.states.entry(job.state.to_string()).or_default() += 1;
        self.most_attempts = self.most_attempts.max(job.attempt);
        for attempt in &job.attempts {
            let outcome = attempt.outcome.map_or("under way".into(), |outcome| outcome.to_string());
            *self.attempts.entry(outcome).or_default() += 1;
            if let Some(error) = &attempt.error {
                *self.causes.entry(error.code.to_string()).or_default() += 1;
            }
        }
        if let Some(ended) = job.completed_at {
            self.longest_job = self.longest_job.max(ended.since(job.created_at));
        }
        let ends = job.state_transitions.iter().filter(|change| change.to.is_final()).count();
        let completed = job.attempts.iter().filter(|attempt| attempt.outcome == Some(AttemptOutcome::Completed));
        let once = (job.state, ends, completed.count()) == (JobState::Completed, 1, 1);
        self.fault_if(!once, || format!("not completed exactly once: {job:#?}"));
        let in_order = job.attempts.windows(2).all(|pair| pair[0].fence < pair[1].fence);
        self.fault_if(!in_order, || format!("a fence was given twice: {job:#?}"));
    }

    /// The tables themselves, and what the store counts as it goes along.
    fn recount(&mut self, fleet: &Fleet, jobs: &[Job]) {
        for (what, statement) in [
            ("jobs", "SELECT count(*) FROM ffrtmp.jobs"),
            ("ended jobs", "SELECT count(*) FROM ffrtmp.ended"),
            ("numbers", "SELECT count(DISTINCT id) FROM ffrtmp.jobs"),
            ("jobs in the running count", "SELECT coalesce(sum(jobs), 0) FROM ffrtmp.tally"),
        ] {
            let count = fleet.sql(statement);
            self.fault_if(count.trim() != jobs.len().to_string(), || format!("{count} {what}, {} jobs", jobs.len()));
        }
    }

    /// Outputs of equal requests are equal byte for byte, and as long as was reported.
    fn look_at_outputs(&mut self, fleet: &Fleet, jobs: &[Job]) {
        let mut files: BTreeSet<PathBuf> = files_under(&fleet.path("files")).into_iter().collect();
        let mut contents = BTreeMap::new();
        for job in jobs {
            let path = PathBuf::from(job.output.clone().unwrap_or_default());
            files.remove(&path);
            let reported = job.result.as_ref().map_or(0, |report| report.size_bytes);
            match fs::read(&path) {
                Ok(content) if content.len() as u64 == reported => {
                    let duration = job.parameters.duration.map(|duration| duration.to_string());
                    let first = contents.entry(duration).or_insert_with(|| content.clone());
                    let same = *first == content;
                    self.fault_if(!same, || format!("{} is not what it should be", path.display()));
                    self.outputs += usize::from(same);
                }
                Ok(content) => {
                    self.wrong.push(format!("{}: {} bytes, reported {reported}", path.display(), content.len()));
                }
                Err(error) => self.wrong.push(format!("{}: {error}", path.display())),
            }
        }
        self.fault_if(!files.is_empty(), || format!("nobody's files: {files:?}"));
    }

    fn fault_if(&mut self, is_wrong: bool, what: impl FnOnce() -> String) {
        if is_wrong {
            self.wrong.push(what());
        }
    }
}

/// The longest time in which nothing was completed.
fn longest_gap(jobs: &[Job]) -> Duration {
    let mut ends: Vec<Timestamp> = jobs.iter().filter_map(|job| job.completed_at).collect();
    ends.sort_unstable();
    ends.windows(2).map(|pair| pair[1].since(pair[0])).max().unwrap_or_default()
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { submitted, states, attempts, causes, most_attempts, outputs, longest_gap, longest_job, wrong } =
            self;
        writeln!(f, "submitted {submitted}, in the database {states:?}, whole outputs {outputs}")?;
        writeln!(f, "attempts {attempts:?}, at most {most_attempts} of one job, ended by {causes:?}")?;
        write!(f, "nothing completed for {longest_gap:.1?} at most, one job took {longest_job:.1?} at most; ")?;
        write!(f, "{} wrong", wrong.len())
    }
}
