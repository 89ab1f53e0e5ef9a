//! What a run spends its time on: stages that follow each other without a gap.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ffrtmp_core::job::{Stage, StageTime};

/// Times the stages of one run.
#[derive(Debug)]
pub(crate) struct Stages {
    begun: Instant,
    ended: Mutex<Vec<(Stage, Instant)>>,
}

impl Stages {
    /// The run begins, and its first stage.
    pub(crate) fn begin() -> Self {
        Self { begun: Instant::now(), ended: Mutex::default() }
    }

    /// A stage ends, and the next one begins.
    pub(crate) fn end(&self, stage: Stage) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push((stage, Instant::now()));
    }

    /// Those that have ended, as a report has them.
    pub(crate) fn times(&self) -> Vec<StageTime> {
        let mut from = self.begun;
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let each = ended.iter().map(|(stage, at)| {
            let time = StageTime::new(*stage, from - self.begun, *at - from);
            from = *at;
            time
        });
        each.collect()
    }
}
