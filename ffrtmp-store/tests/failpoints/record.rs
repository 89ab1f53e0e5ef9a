//! What a master was answered, said line by line so that its heir knows it.

use std::collections::BTreeMap;

use ffrtmp_core::id::{Fence, JobId, NodeId};
use ffrtmp_core::job::Job;

/// What was answered so far.
#[derive(Debug, Default)]
pub(crate) struct Record {
    /// Jobs as they were last answered.
    pub(crate) told: BTreeMap<JobId, Job>,
    /// Attempts that were given to nodes.
    pub(crate) given: Vec<(JobId, Fence, NodeId)>,
    /// How often each point was reached.
    pub(crate) reached: BTreeMap<String, u64>,
    /// Everything that was heard, for a failure.
    pub(crate) heard: Vec<String>,
    /// Whether to say it aloud.
    aloud: bool,
}

impl Record {
    /// What another process said.
    pub(crate) fn of(text: &str) -> Self {
        let mut record = Self::default();
        text.lines().for_each(|line| record.hear(line));
        record
    }

    /// From now on it is also written to standard error.
    pub(crate) fn aloud(self) -> Self {
        Self { aloud: true, ..self }
    }

    /// A job was answered.
    pub(crate) fn tell(&mut self, job: &Job) {
        self.say("told", job);
        self.told.insert(job.id, job.clone());
    }

    /// A job was given to a node.
    pub(crate) fn give(&mut self, job: &Job) {
        self.say("gave", job);
        self.given.push(attempt(job));
        self.tell(job);
    }

    fn hear(&mut self, line: &str) {
        match line.split_once(' ') {
            Some((word @ ("told" | "gave"), job)) => {
                let job: Job = serde_json::from_str(job).expect("a job");
                self.heard.push(format!("{word} {} {} fence {}", job.sequence_number, job.state, job.fence));
                if word == "gave" {
                    self.given.push(attempt(&job));
                }
                self.told.insert(job.id, job);
            }
            Some(("reached", rest)) => {
                let (name, times) = rest.split_once(' ').expect("a point and a number");
                self.reached.insert(name.into(), times.parse().expect("a number"));
            }
            _ => self.heard.push(line.to_owned()),
        }
    }

    fn say(&self, word: &str, job: &Job) {
        if self.aloud {
            eprintln!("{word} {}", serde_json::to_string(job).expect("it is written"));
        }
    }
}

fn attempt(job: &Job) -> (JobId, Fence, NodeId) {
    (job.id, job.fence, job.node_id.expect("a job that is given has a node"))
}
