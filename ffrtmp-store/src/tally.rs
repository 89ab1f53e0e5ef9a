//! How many jobs stand where: kept up to date with every change, so that metrics never scan.

use std::collections::HashMap;

use ffrtmp_core::job::{EngineName, Job, JobState, Priority, Queue};
use ffrtmp_core::store::Counts;

/// What jobs are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Cell {
    pub(crate) state: JobState,
    pub(crate) queue: Queue,
    pub(crate) priority: Priority,
    pub(crate) engine: Option<EngineName>,
}

impl From<&Job> for Cell {
    fn from(job: &Job) -> Self {
        Self { state: job.state, queue: job.queue, priority: job.priority, engine: job.engine_used }
    }
}

/// Jobs per cell.
#[derive(Debug, Default)]
pub(crate) struct Tally(HashMap<Cell, u64>);

impl Tally {
    pub(crate) fn add(&mut self, cell: Cell, jobs: u64) {
        *self.0.entry(cell).or_default() += jobs;
    }

    pub(crate) fn remove(&mut self, cell: Cell) {
        if let Some(jobs) = self.0.get_mut(&cell) {
            *jobs = jobs.saturating_sub(1);
            if *jobs == 0 {
                self.0.remove(&cell);
            }
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for (cell, jobs) in &self.0 {
            *counts.by_state.entry(cell.state).or_default() += jobs;
            *counts.by_queue.entry(cell.queue).or_default() += jobs;
            if cell.state == JobState::Queued {
                *counts.queued_by_priority.entry(cell.priority).or_default() += jobs;
                *counts.queued_by_queue.entry(cell.queue).or_default() += jobs;
            }
            if let Some(engine) = cell.engine {
                *counts.by_engine.entry(engine).or_default() += jobs;
                if cell.state == JobState::Completed {
                    *counts.completed_by_engine.entry(engine).or_default() += jobs;
                }
            }
        }
        counts
    }
}
