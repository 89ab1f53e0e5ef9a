//! Jobs that wait for others: queued or failed when those end, many at a time.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Code, Result};
use crate::id::JobId;
use crate::job::{Job, JobState};
use crate::lifecycle::JobCommand;

use super::Coordinator;
use super::reaper::STEP;

impl Coordinator {
    /// How the jobs of these ids stand; those that do not exist are absent. One question to the store.
    ///
    /// # Errors
    /// `storage`.
    pub async fn states(&self, ids: &[JobId]) -> Result<BTreeMap<JobId, JobState>> {
        let distinct: Vec<JobId> = ids.iter().copied().collect::<BTreeSet<_>>().into_iter().collect();
        self.store.states(&distinct).await
    }

    /// Moves on the jobs that waited for those of these that ended, and the ones that waited for them.
    pub(super) async fn settle_dependents(&self, changed: impl IntoIterator<Item = &Job>) -> Result<()> {
        let ended = changed.into_iter().filter(|job| job.state.is_final()).map(|job| job.id);
        self.settle_dependents_of(ended.collect()).await
    }

    /// The same for jobs that have ended.
    pub(super) async fn settle_dependents_of(&self, mut ended: Vec<JobId>) -> Result<()> {
        while !ended.is_empty() {
            let mut seen = BTreeSet::new();
            let mut waiting = self.store.dependents_of(&ended).await?;
            waiting.retain(|job| seen.insert(job.id));
            ended = self.settle(&waiting).await?;
        }
        Ok(())
    }

    /// Queues or fails those of these waiting jobs whose dependencies decide it. Returns the ones that
    /// failed by it.
    pub(super) async fn settle(&self, waiting: &[Job]) -> Result<Vec<JobId>> {
        let mut failed = Vec::new();
        for step in waiting.chunks(STEP) {
            let needed: Vec<_> = step.iter().flat_map(|job| job.depends_on.iter().copied()).collect();
            let states = self.states(&needed).await?;
            let commands = step.iter().filter_map(|job| Some((job.id, decided(job, &states)?))).collect();
            for answer in self.store.apply(commands, self.now()).await? {
                match answer {
                    Ok(job) => {
                        self.announce(&job);
                        failed.extend(job.state.is_final().then_some(job.id));
                    }
                    // Somebody else moved it in the meantime.
                    Err(error) if matches!(error.code(), Code::WrongState | Code::JobNotFound) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(failed)
    }
}

/// What its dependencies make of a waiting job. `None` if it waits on.
fn decided(waiting: &Job, states: &BTreeMap<JobId, JobState>) -> Option<JobCommand> {
    let state = |id: &JobId| states.get(id).copied();
    let is_lost = |id: &&JobId| state(id).is_none_or(|state| state.is_final() && state != JobState::Completed);
    if let Some(lost) = waiting.depends_on.iter().find(is_lost) {
        return Some(JobCommand::DependencyFailed(*lost, state(lost)));
    }
    waiting.depends_on.iter().all(|id| state(id) == Some(JobState::Completed)).then_some(JobCommand::Ready)
}
