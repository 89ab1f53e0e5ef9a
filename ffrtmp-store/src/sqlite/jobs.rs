//! Submit, claim and apply: each function is one operation inside the writer's transaction. It
//! reads, decides and encodes everything before it writes anything, so that a refusal leaves
//! nothing to undo.

use std::collections::BTreeMap;
use std::sync::Arc;

use ffrtmp_core::Result as CoreResult;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, TenantId};
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::lifecycle::{JobCommand, Outcome};
use ffrtmp_core::node::Requirements;
use ffrtmp_core::store::{ClaimOrder, Idempotency, Lane, NewJob, Rank, Submitted};
use rusqlite::{Connection, OptionalExtension, Row, params};

use super::database::Database;
use super::fault::Fault;
use super::rows::{self, Ready, Stored, Table, Told};
use super::runs::{self, Later, Run};
use crate::admission::{self, Admission};
use crate::failpoint;
use crate::job_not_found;
use crate::ledger::Place;
use crate::record::{self, Phase, Record};

/// Submissions whose fixed part is text already.
pub(super) struct Draft {
    jobs: Vec<NewJob>,
    fixed: Vec<String>,
}

impl Draft {
    /// Encodes what never changes, which needs no database.
    pub(super) fn new(jobs: Vec<NewJob>) -> CoreResult<Self> {
        let mut fixed = Vec::with_capacity(jobs.len());
        let mut encoded = Vec::with_capacity(jobs.len());
        for mut new in jobs {
            let record = Record::new(new.job);
            fixed.push(record.fixed()?);
            new.job = record.job;
            encoded.push(new);
        }
        Ok(Self { jobs: encoded, fixed })
    }
}

/// What is in the database, for the admission.
struct Known<'a>(&'a Connection);

impl admission::Stored for Known<'_> {
    type Fault = Fault;

    fn state(&self, id: JobId) -> Result<Option<JobState>, Fault> {
        let mut statement = self.0.prepare_cached(
            "SELECT coalesce(active.facet, pending.facet, ended.facet)
             FROM jobs LEFT JOIN active ON active.sequence = jobs.sequence
                       LEFT JOIN pending ON pending.sequence = jobs.sequence
                       LEFT JOIN ended ON ended.sequence = jobs.sequence
             WHERE jobs.id = ?1",
        )?;
        let mut found = statement.query([rows::bytes(id)])?;
        found.next()?.map(|row| rows::words(row, 0).map(|words| words.cell.state)).transpose()
    }

    fn idempotent(&self, tenant: &TenantId, key: &str) -> Result<Option<(String, JobId)>, Fault> {
        let mut statement = self.0.prepare_cached(
            "SELECT digest, id FROM idempotency JOIN jobs ON sequence = job
             WHERE idempotency.tenant = ?1 AND key = ?2",
        )?;
        let known = statement.query_row([tenant.as_str(), key], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        Ok(known.map(|(digest, id)| (digest, JobId::from_u128(u128::from_be_bytes(id)))))
    }
}

/// How these jobs stand; those that are not there are left out.
pub(super) fn states(connection: &Connection, ids: &[JobId]) -> Result<BTreeMap<JobId, JobState>, Fault> {
    let known = Known(connection);
    let mut states = BTreeMap::new();
    for id in ids {
        states.extend(admission::Stored::state(&known, *id)?.map(|state| (*id, state)));
    }
    Ok(states)
}

pub(super) fn submit(database: &mut Database, draft: Draft, now: Timestamp) -> Result<Vec<Submitted>, Fault> {
    let Draft { jobs, fixed } = draft;
    let admissions = admission::admit(jobs, &Known(&database.connection), now)?;
    let entries = admissions.into_iter().map(Entry::from).collect::<Result<Vec<_>, Fault>>()?;
    failpoint::hit("sqlite.submit.admitted")?;
    let mut span = Span::default();
    let mut answers = Vec::with_capacity(entries.len());
    for (entry, fixed) in entries.into_iter().zip(fixed) {
        answers.push(match entry {
            Entry::New(new) => {
                let job = insert(database, *new, &fixed)?;
                span.add(&database.connection, job.sequence_number, job.created_at)?;
                Submitted { job, created: true }
            }
            Entry::Known(id) => Submitted { job: stored(&database.connection, id)?.record.job, created: false },
        });
    }
    span.write(&database.connection)?;
    failpoint::hit("sqlite.submit.written")?;
    Ok(answers)
}

/// An admitted job, encoded.
struct New {
    record: Record,
    ready: Ready,
    rank: Rank,
    requirements: Requirements,
    idempotency: Option<Idempotency>,
}

enum Entry {
    New(Box<New>),
    Known(JobId),
}

impl Entry {
    fn from(admission: Admission) -> Result<Self, Fault> {
        Ok(match admission {
            Admission::Known(id) => Self::Known(id),
            Admission::New(new) => {
                let NewJob { job, rank, requirements, idempotency } = *new;
                let record = Record::new(job);
                Self::New(Box::new(New { ready: Ready::of(&record)?, record, rank, requirements, idempotency }))
            }
        })
    }
}

fn insert(database: &mut Database, new: New, fixed: &str) -> Result<Job, Fault> {
    let New { mut record, ready, rank, requirements, idempotency } = new;
    let Job { tenant, queue, .. } = &record.job;
    let lane = database.lane(Lane { requirements, tenant: tenant.clone(), queue: *queue })?;
    database.last_sequence += 1;
    record.job.sequence_number = database.last_sequence;
    let stored = Stored::new(record, lane, rank);
    asked(&database.connection, stored.job(), fixed, idempotency.as_ref())?;
    rows::write(&database.connection, &stored, &ready, None)?;
    database.moved(None, Some(stored.place));
    Ok(stored.record.job)
}

/// Writes what never changes of a job.
pub(super) fn asked(
    connection: &Connection,
    job: &Job,
    fixed: &str,
    idempotency: Option<&Idempotency>,
) -> Result<(), Fault> {
    let sequence = job.sequence_number;
    let tenant = Some(job.tenant.as_str()).filter(|_| job.tenant != TenantId::single());
    connection.prepare_cached("INSERT INTO jobs VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?.execute(params![
        sequence,
        rows::bytes(job.id),
        tenant,
        job.scenario,
        job.created_at.as_micros(),
        fixed,
    ])?;
    for (key, value) in &job.labels {
        let mut label = connection.prepare_cached("INSERT INTO labels VALUES (?1, ?2, ?3)")?;
        label.execute(params![key, value, sequence])?;
    }
    if job.state == JobState::Waiting {
        let mut dependency = connection.prepare_cached("INSERT OR IGNORE INTO dependencies VALUES (?1, ?2)")?;
        for id in &job.depends_on {
            dependency.execute(params![rows::bytes(*id), sequence])?;
        }
    }
    if let Some(Idempotency { key, digest }) = idempotency {
        let mut statement = connection.prepare_cached("INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4)")?;
        statement.execute(params![job.tenant.as_str(), key, digest, sequence])?;
    }
    Ok(())
}

/// Times of submission of one block of sequence numbers.
#[derive(Default)]
pub(super) struct Span(Option<(u64, i64, i64)>);

/// Sequence numbers in a block, as a power of two.
pub(super) const BLOCK_BITS: u32 = 12;

impl Span {
    pub(super) fn add(&mut self, connection: &Connection, sequence: u64, at: Timestamp) -> Result<(), Fault> {
        let (block, at) = (sequence >> BLOCK_BITS, at.as_micros());
        match &mut self.0 {
            Some((open, oldest, newest)) if *open == block => {
                *oldest = at.min(*oldest);
                *newest = at.max(*newest);
            }
            _ => {
                self.write(connection)?;
                self.0 = Some((block, at, at));
            }
        }
        Ok(())
    }

    pub(super) fn write(&mut self, connection: &Connection) -> Result<(), Fault> {
        let Some((block, oldest, newest)) = self.0.take() else { return Ok(()) };
        connection
            .prepare_cached(
                "INSERT INTO spans VALUES (?1, ?2, ?3) ON CONFLICT (block) DO UPDATE
                 SET oldest = min(oldest, excluded.oldest), newest = max(newest, excluded.newest)
                 WHERE oldest > excluded.oldest OR newest < excluded.newest",
            )?
            .execute(params![block, oldest, newest])?;
        Ok(())
    }
}

/// Gives the best jobs that the node may have, as the ledger knows them.
pub(super) fn claim(database: &mut Database, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Told>, Fault> {
    let mut taken = Vec::new();
    for run in runs::runs(database.ledger.heads(order)) {
        taken.append(&mut assign_run(database, &run, order, now)?);
    }
    failpoint::hit("sqlite.claim.selected")?;
    runs::remove(&database.connection, Table::Pending, taken.iter().map(|(before, ..)| before.sequence))?;
    let mut jobs = Vec::with_capacity(taken.len());
    for (before, stored, ready) in taken {
        rows::write(&database.connection, &stored, &ready, None)?;
        database.moved(Some(before), Some(stored.place));
        let stored = Arc::new(stored);
        jobs.push(Told(Arc::clone(&stored)));
        database.activate(stored);
    }
    failpoint::hit("sqlite.claim.written")?;
    Ok(jobs)
}

type Assigned = (Place, Stored, Ready);

/// Assigns queued jobs that stand side by side. One that cannot be given away is set aside.
fn assign_run(database: &mut Database, run: &Run, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Assigned>, Fault> {
    let mut statement = database.connection.prepare_cached(rows::PENDING)?;
    let mut found = statement.query([run.start(), run.end()])?;
    let mut assigned = Vec::new();
    let mut set_aside = |sequence, fault: &Fault| {
        tracing::error!(sequence, error = %fault, "a queued job cannot be given away and is set aside");
        database.ledger.set_aside(sequence);
    };
    let mut next = *run.start();
    while let Some(row) = found.next()? {
        let sequence: u64 = row.get(0)?;
        (next..sequence).for_each(|missing| set_aside(missing, &rows::not_there(missing)));
        next = sequence + 1;
        match assign(row, order, now) {
            Ok(job) => assigned.push(job),
            Err(fault @ (Fault::Sqlite(_) | Fault::Commit(_))) => return Err(fault),
            Err(fault) => set_aside(sequence, &fault),
        }
    }
    (next..=*run.end()).for_each(|missing| set_aside(missing, &rows::not_there(missing)));
    Ok(assigned)
}

fn assign(row: &Row<'_>, order: &ClaimOrder, now: Timestamp) -> Result<Assigned, Fault> {
    let mut stored = rows::hot(row, 3)?;
    let before = stored.place;
    stored.record.job.assign(order.node, &order.node_name, order.lease, now)?;
    stored.moved();
    let ready = Ready::of(&stored.record)?;
    Ok((before, stored, ready))
}

/// A command whose report, if it carries one, is text already.
pub(super) struct Order {
    id: JobId,
    command: JobCommand,
    report: CoreResult<Option<String>>,
}

impl Order {
    /// Encodes what came from outside, which needs no database.
    pub(super) fn new((id, command): (JobId, JobCommand)) -> Self {
        let report = match &command {
            JobCommand::Finish { outcome: Outcome::Completed(report), .. } => record::report(report).map(Some),
            _ => Ok(None),
        };
        Self { id, command, report }
    }
}

/// Applies commands one by one. A refusal, or a row that cannot be read, is that command's own
/// answer; a database that fails ends the operation.
pub(super) fn apply(
    database: &mut Database,
    orders: Vec<Order>,
    now: Timestamp,
) -> Result<Vec<CoreResult<Told>>, Fault> {
    failpoint::hit("sqlite.apply.taken")?;
    let mut answers = Vec::with_capacity(orders.len());
    let mut later = Later::default();
    for order in orders {
        match apply_one(database, &mut later, order, now) {
            Err(fault @ (Fault::Sqlite(_) | Fault::Commit(_))) => return Err(fault),
            answer => answers.push(answer.map_err(|fault| fault.into_error("sqlite.apply"))),
        }
    }
    later.write(&database.connection)?;
    failpoint::hit("sqlite.apply.written")?;
    Ok(answers)
}

fn apply_one(database: &mut Database, later: &mut Later, order: Order, now: Timestamp) -> Result<Told, Fault> {
    let Order { id, command, report } = order;
    let report = report?;
    if database.active(id).is_some() {
        return apply_active(database, later, id, command, report.as_deref(), now);
    }
    // It reads rows, which must be as the memory is.
    later.write(&database.connection)?;
    apply_stored(database, id, command, now)
}

/// A change of a job that a node holds: nothing is read.
fn apply_active(
    database: &mut Database,
    later: &mut Later,
    id: JobId,
    command: JobCommand,
    report: Option<&str>,
    now: Timestamp,
) -> Result<Told, Fault> {
    let is_sign = record::is_sign(&command);
    let Some(stored) = database.active_mut(id) else { return Err(job_not_found(id).into()) };
    let (before, was) = (stored.place, stored.job().state);
    let has_changed = stored.record.job.apply(command, now)?;
    stored.moved();
    let is_told = is_sign && stored.record.story_stands(was);
    let Some(stored) = database.active(id).map(Arc::clone) else { return Err(job_not_found(id).into()) };
    if !has_changed {
        return Ok(Told(stored));
    }
    if is_told {
        later.sign(stored.job());
        database.moved(Some(before), Some(stored.place));
        return Ok(Told(stored));
    }
    let ready = match Ready::with_report(&stored.record, report) {
        Ok(ready) => ready,
        Err(fault) => {
            later.write(&database.connection)?;
            database.reload(id)?;
            return Err(fault);
        }
    };
    if Table::from(stored.place.phase) == Table::Active {
        later.write(&database.connection)?;
        rows::write(&database.connection, &stored, &ready, Some(before.phase))?;
    } else {
        database.deactivate(id);
        later.gone(stored.place.sequence);
        rows::write(&database.connection, &stored, &ready, None)?;
    }
    database.moved(Some(before), Some(stored.place));
    Ok(Told(stored))
}

/// A change of a job that no node holds.
fn apply_stored(database: &mut Database, id: JobId, command: JobCommand, now: Timestamp) -> Result<Told, Fault> {
    let mut stored = stored(&database.connection, id)?;
    let before = stored.place;
    if !stored.record.job.apply(command, now)? {
        return Ok(Told(Arc::new(stored)));
    }
    stored.moved();
    let ready = Ready::of(&stored.record)?;
    rows::write(&database.connection, &stored, &ready, Some(before.phase))?;
    if before.phase == Phase::Waiting && stored.place.phase != Phase::Waiting {
        waits_no_more(&database.connection, stored.job())?;
    }
    database.moved(Some(before), Some(stored.place));
    let stored = Arc::new(stored);
    if stored.place.phase == Phase::Leased {
        database.activate(Arc::clone(&stored));
    }
    Ok(Told(stored))
}

fn waits_no_more(connection: &Connection, job: &Job) -> Result<(), Fault> {
    let mut statement = connection.prepare_cached("DELETE FROM dependencies WHERE dependency = ?1 AND job = ?2")?;
    for id in &job.depends_on {
        statement.execute(params![rows::bytes(*id), job.sequence_number])?;
    }
    Ok(())
}

/// The job as its rows have it.
pub(super) fn stored(connection: &Connection, id: JobId) -> Result<Stored, Fault> {
    let mut statement = connection.prepare_cached(rows::BY_ID)?;
    let mut found = statement.query([rows::bytes(id)])?;
    found.next()?.map(rows::whole).transpose()?.ok_or_else(|| job_not_found(id).into())
}
