//! How many jobs stand where: kept up to date with every change, so that metrics never scan.

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

/// One more than the engines: a job may have none.
const ENGINES: usize = EngineName::ALL.len() + 1;
const CELLS: usize = JobState::ALL.len() * Queue::ALL.len() * Priority::ALL.len() * ENGINES;

impl Cell {
    /// Its place in a [`Tally`].
    fn index(self) -> usize {
        let engine = self.engine.map_or(0, |engine| engine as usize + 1);
        let kind = (self.state as usize * Queue::ALL.len() + self.queue as usize) * Priority::ALL.len();
        (kind + self.priority as usize) * ENGINES + engine
    }

    fn all() -> impl Iterator<Item = Self> {
        let engines = || std::iter::once(None).chain(EngineName::ALL.iter().copied().map(Some));
        let priorities = move |state, queue| {
            let cell = move |priority| move |engine| Self { state, queue, priority, engine };
            Priority::ALL.iter().flat_map(move |priority| engines().map(cell(*priority)))
        };
        let queues = move |state| Queue::ALL.iter().flat_map(move |queue| priorities(state, *queue));
        JobState::ALL.iter().flat_map(move |state| queues(*state))
    }
}

/// Jobs per cell.
#[derive(Debug)]
pub(crate) struct Tally(Box<[u64; CELLS]>);

impl Default for Tally {
    fn default() -> Self {
        Self(Box::new([0; CELLS]))
    }
}

impl Tally {
    pub(crate) fn add(&mut self, cell: Cell, jobs: u64) {
        self.0[cell.index()] += jobs;
    }

    pub(crate) fn remove(&mut self, cell: Cell) {
        let jobs = &mut self.0[cell.index()];
        *jobs = jobs.saturating_sub(1);
    }

    pub(crate) fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for cell in Cell::all() {
            let jobs = self.0[cell.index()];
            if jobs > 0 {
                add(&mut counts, cell, jobs);
            }
        }
        counts
    }
}

fn add(counts: &mut Counts, cell: Cell, jobs: u64) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_has_a_place_of_its_own() {
        let mut places: Vec<usize> = Cell::all().map(Cell::index).collect();
        places.sort_unstable();
        assert!(places.iter().copied().eq(0..CELLS));
    }
}
