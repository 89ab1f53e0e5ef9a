//! What a submission becomes: known idempotency keys answer with their job, dependencies decide
//! whether a job waits, is ready or has failed already. Nothing is written here.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, TenantId};
use ffrtmp_core::job::JobState;
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::store::{Idempotency, NewJob};
use ffrtmp_core::{Code, Error};

/// What is stored already.
pub(crate) trait Stored {
    /// Why it cannot be read.
    type Fault: From<Error>;

    /// The state of a job; `None` if there is no such job.
    fn state(&self, id: JobId) -> Result<Option<JobState>, Self::Fault>;

    /// The digest and the job that an idempotency key stands for.
    fn idempotent(&self, tenant: &TenantId, key: &str) -> Result<Option<(String, JobId)>, Self::Fault>;
}

/// One answer per submitted job, in their order.
pub(crate) enum Admission {
    /// Store it as it is here.
    New(Box<NewJob>),
    /// The key was known: this is its job. It may be an earlier one of the same call.
    Known(JobId),
}

/// Decides about every job of a call.
///
/// # Errors
/// As [`ffrtmp_core::store::Store::submit`]; then nothing of the call may be stored.
pub(crate) fn admit<S: Stored>(jobs: Vec<NewJob>, stored: &S, now: Timestamp) -> Result<Vec<Admission>, S::Fault> {
    let mut admissions = recognise(jobs, stored)?;
    settle(&mut admissions, stored, now)?;
    Ok(admissions)
}

fn recognise<S: Stored>(jobs: Vec<NewJob>, stored: &S) -> Result<Vec<Admission>, S::Fault> {
    let mut keys: HashMap<(TenantId, String), (String, JobId)> = HashMap::new();
    let mut admissions = Vec::with_capacity(jobs.len());
    for new in jobs {
        let Some(Idempotency { key, digest }) = new.idempotency.clone() else {
            admissions.push(Admission::New(Box::new(new)));
            continue;
        };
        let tenant = new.job.tenant.clone();
        let known = match stored.idempotent(&tenant, &key)? {
            Some(known) => Some(known),
            None => keys.get(&(tenant.clone(), key.clone())).cloned(),
        };
        match known {
            Some((before, id)) if before == digest => admissions.push(Admission::Known(id)),
            Some(_) => return Err(mismatch(&key).into()),
            None => {
                keys.insert((tenant, key), (digest, new.job.id));
                admissions.push(Admission::New(Box::new(new)));
            }
        }
    }
    Ok(admissions)
}

/// Applies `Ready` and `DependencyFailed`, dependencies before their dependents (Kahn's order), so
/// that a failure passes through a chain within one call.
fn settle<S: Stored>(admissions: &mut [Admission], stored: &S, now: Timestamp) -> Result<(), S::Fault> {
    let mut position = HashMap::new();
    for (index, admission) in admissions.iter().enumerate() {
        if let Admission::New(new) = admission {
            let id = new.job.id;
            if position.insert(id, index).is_some() || stored.state(id)?.is_some() {
                return Err(Error::new(Code::InvalidField, format!("job {id} exists already")).field("id").into());
            }
        }
    }
    let mut dependents: HashMap<JobId, Vec<usize>> = HashMap::new();
    let mut open = vec![0_usize; admissions.len()];
    let mut states: HashMap<JobId, JobState> = HashMap::new();
    for (index, admission) in admissions.iter().enumerate() {
        let Admission::New(new) = admission else { continue };
        for dependency in new.job.depends_on.iter().copied().collect::<HashSet<_>>() {
            if position.contains_key(&dependency) {
                dependents.entry(dependency).or_default().push(index);
                open[index] += 1;
            } else if let Entry::Vacant(unasked) = states.entry(dependency) {
                unasked.insert(stored.state(dependency)?.ok_or_else(|| unknown(dependency))?);
            }
        }
    }
    let mut ready: Vec<usize> = position.values().copied().filter(|index| open[*index] == 0).collect();
    let mut settled = 0;
    while let Some(index) = ready.pop() {
        let Admission::New(new) = &mut admissions[index] else { continue };
        settle_one(new, &states, now)?;
        states.insert(new.job.id, new.job.state);
        settled += 1;
        for dependent in dependents.remove(&new.job.id).unwrap_or_default() {
            open[dependent] -= 1;
            if open[dependent] == 0 {
                ready.push(dependent);
            }
        }
    }
    if settled < position.len() { Err(circle().into()) } else { Ok(()) }
}

fn settle_one(new: &mut NewJob, states: &HashMap<JobId, JobState>, now: Timestamp) -> Result<(), Error> {
    if new.job.state != JobState::Waiting {
        return Ok(());
    }
    let state_of = |id: &JobId| states.get(id).copied().unwrap_or(JobState::Waiting);
    let failed = |id: &&JobId| matches!(state_of(id), JobState::Failed | JobState::Canceled | JobState::Rejected);
    if let Some(id) = new.job.depends_on.iter().find(failed).copied() {
        new.job.apply(JobCommand::DependencyFailed(id, Some(state_of(&id))), now)?;
    } else if new.job.depends_on.iter().all(|id| state_of(id) == JobState::Completed) {
        new.job.apply(JobCommand::Ready, now)?;
    }
    Ok(())
}

fn mismatch(key: &str) -> Error {
    Error::new(Code::IdempotencyMismatch, format!("the key {key:?} was used before with a different request"))
}

fn unknown(dependency: JobId) -> Error {
    Error::new(Code::InvalidField, format!("no job has the id {dependency}"))
        .field("depends_on")
        .hint("name jobs that exist, or jobs of the same batch")
}

fn circle() -> Error {
    Error::new(Code::InvalidField, "jobs of the batch wait for each other in a circle")
        .field("depends_on")
        .hint("leave out one of the dependencies")
}
