//! Writes about jobs: each function is one operation inside the writer's transaction.

use ffrtmp_core::Result as CoreResult;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, TenantId};
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::node::Requirements;
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::store::{ClaimOrder, Lane, LaneStanding, MAX_LOG_LINES, NewJob, Rank, Submitted};
use rusqlite::{Connection, OptionalExtension, params};

use super::document::{self, micros};
use super::fault::Fault;
use super::ledger::{ClassId, Standing};
use super::writer::Database;
use crate::admission::{self, Admission, Stored};
use crate::job_not_found;
use crate::tally::Cell;

/// A job as its row holds it.
struct Stand {
    job: Job,
    class: ClassId,
}

impl Stand {
    fn standing(&self) -> Standing {
        let queued = (self.job.state == JobState::Queued).then_some(self.class);
        Standing { cell: Cell::from(&self.job), queued }
    }
}

struct Rows<'a>(&'a Connection);

impl Stored for Rows<'_> {
    type Fault = Fault;

    fn state(&self, id: JobId) -> Result<Option<JobState>, Fault> {
        let mut statement = self.0.prepare_cached("SELECT state FROM jobs WHERE id = ?1")?;
        let mut rows = statement.query([id.to_string()])?;
        rows.next()?.map(|row| document::word(row, 0)).transpose()
    }

    fn idempotent(&self, tenant: &TenantId, key: &str) -> Result<Option<(String, JobId)>, Fault> {
        let known: Option<(String, String)> = self
            .0
            .prepare_cached(
                "SELECT digest, id FROM idempotency JOIN jobs ON sequence = job
                 WHERE idempotency.tenant = ?1 AND key = ?2",
            )?
            .query_row([tenant.as_str(), key], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        known.map(|(digest, id)| Ok((digest, id.parse()?))).transpose()
    }
}

pub(super) fn submit(database: &mut Database, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Submitted>, Fault> {
    let admissions = admission::admit(jobs, &Rows(&database.connection), now)?;
    admissions
        .into_iter()
        .map(|admission| match admission {
            Admission::New(new) => Ok(Submitted { job: insert(database, *new)?, created: true }),
            Admission::Known(id) => {
                let stand = load(&database.connection, id)?.ok_or_else(|| job_not_found(id))?;
                Ok(Submitted { job: stand.job, created: false })
            }
        })
        .collect()
}

fn insert(database: &mut Database, new: NewJob) -> Result<Job, Fault> {
    let NewJob { mut job, rank, requirements, idempotency } = new;
    let class = class_of(database, requirements)?;
    let connection = &database.connection;
    connection
        .prepare_cached(
            "INSERT INTO jobs (id, tenant, state, rank, class, queue, priority, classification, scenario, engine, node,
                               fence, created_at, lease_expires_at, retry_at, completed_at, document)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
        )?
        .execute(params![
            job.id.to_string(),
            job.tenant.as_str(),
            job.state.as_str(),
            rank.0,
            class.0,
            job.queue.as_str(),
            job.priority.as_str(),
            job.classification.as_str(),
            job.scenario,
            job.engine_used.map(|engine| engine.as_str()),
            job.node_id.map(|node| node.to_string()),
            job.fence.0,
            job.created_at.as_micros(),
            micros(job.lease_expires_at),
            micros(job.retry_at),
            end_of(&job),
            document::of_foreign_job(&job)?,
        ])?;
    let sequence = connection.last_insert_rowid();
    job.sequence_number = u64::try_from(sequence).unwrap_or_default();
    let mut label = connection.prepare_cached("INSERT INTO labels VALUES (?1, ?2, ?3)")?;
    for (key, value) in &job.labels {
        label.execute(params![sequence, key, value])?;
    }
    let mut dependency = connection.prepare_cached("INSERT OR IGNORE INTO dependencies VALUES (?1, ?2)")?;
    for id in &job.depends_on {
        dependency.execute(params![sequence, id.to_string()])?;
    }
    if let Some(idempotency) = idempotency {
        connection.prepare_cached("INSERT INTO idempotency VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            job.tenant.as_str(),
            idempotency.key,
            idempotency.digest,
            sequence
        ])?;
    }
    drop((label, dependency));
    let stand = Stand { job, class };
    database.ledger.moved(None, Some(stand.standing()));
    database.claimable |= stand.job.state == JobState::Queued;
    Ok(stand.job)
}

/// The row of a requirement class. Its key is the whole of the requirements as JSON: a text made
/// for people could stand for two of them.
fn class_of(database: &mut Database, requirements: Requirements) -> Result<ClassId, Fault> {
    if let Some(class) = database.ledger.class(&requirements) {
        return Ok(class);
    }
    let text = serde_json::to_string(&requirements).map_err(|error| Fault::Unreadable {
        what: "requirements",
        name: requirements.class(),
        source: error.into(),
    })?;
    database.connection.prepare_cached("INSERT INTO classes (requirements) VALUES (?1)")?.execute([text])?;
    let class = ClassId(database.connection.last_insert_rowid());
    database.ledger.open_class(class, requirements);
    Ok(class)
}

/// Merges the heads of the classes that the node can run, by rank and sequence number.
pub(super) fn claim(database: &mut Database, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>, Fault> {
    let able: Vec<ClassId> =
        database.ledger.queued().filter(|(_, needs, _)| needs.met_by(&order.offer)).map(|(class, ..)| class).collect();
    let mut heads: Vec<(i64, i64)> = Vec::new();
    for class in able {
        let mut statement = database.connection.prepare_cached(
            "SELECT rank, sequence FROM jobs WHERE state = 'queued' AND class = ?1 ORDER BY rank, sequence LIMIT ?2",
        )?;
        let rows = statement.query_map(params![class.0, bounded(order.slots)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for head in rows {
            heads.push(head?);
        }
    }
    heads.sort_unstable();
    heads.truncate(order.slots);
    heads.into_iter().map(|(_, sequence)| assign(database, sequence, order, now)).collect()
}

fn assign(database: &mut Database, sequence: i64, order: &ClaimOrder, now: Timestamp) -> Result<Job, Fault> {
    let mut statement =
        database.connection.prepare_cached("SELECT sequence, document, class FROM jobs WHERE sequence = ?1")?;
    let mut rows = statement.query([sequence])?;
    let row = rows.next()?.ok_or(rusqlite::Error::QueryReturnedNoRows)?;
    let mut stand = Stand { job: document::job(row)?, class: ClassId(row.get(2)?) };
    drop(rows);
    drop(statement);
    let before = stand.standing();
    stand.job.assign(order.node, &order.node_name, order.lease, now)?;
    let text = document::of_job(&stand.job)?;
    save(database, &stand, before, &text)?;
    Ok(stand.job)
}

/// Applies commands one by one. A refusal, or a row that cannot be read, is that command's own
/// answer; a database that fails ends the operation.
pub(super) fn apply(
    database: &mut Database,
    commands: Vec<(JobId, JobCommand)>,
    now: Timestamp,
) -> Result<Vec<CoreResult<Job>>, Fault> {
    let mut answers = Vec::with_capacity(commands.len());
    for (id, command) in commands {
        match apply_one(database, id, command, now) {
            Err(fault @ (Fault::Sqlite(_) | Fault::Commit(_))) => return Err(fault),
            answer => answers.push(answer.map_err(|fault| fault.into_error("sqlite.apply"))),
        }
    }
    Ok(answers)
}

fn apply_one(database: &mut Database, id: JobId, command: JobCommand, now: Timestamp) -> Result<Job, Fault> {
    let mut stand = load(&database.connection, id)?.ok_or_else(|| job_not_found(id))?;
    let before = stand.standing();
    let is_foreign = matches!(command, JobCommand::Finish { .. });
    if stand.job.apply(command, now)? {
        let text = if is_foreign { document::of_foreign_job(&stand.job) } else { document::of_job(&stand.job) }?;
        save(database, &stand, before, &text)?;
    }
    Ok(stand.job)
}

fn load(connection: &Connection, id: JobId) -> Result<Option<Stand>, Fault> {
    let mut statement = connection.prepare_cached("SELECT sequence, document, class FROM jobs WHERE id = ?1")?;
    let mut rows = statement.query([id.to_string()])?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Stand { job: document::job(row)?, class: ClassId(row.get(2)?) }))
}

fn save(database: &mut Database, stand: &Stand, before: Standing, text: &str) -> Result<(), Fault> {
    let Stand { job, .. } = stand;
    let changed = database
        .connection
        .prepare_cached(
            "UPDATE jobs SET state = ?2, engine = ?3, node = ?4, fence = ?5, lease_expires_at = ?6, retry_at = ?7,
                             completed_at = ?8, document = ?9
             WHERE sequence = ?1 AND state = ?10",
        )?
        .execute(params![
            job.sequence_number,
            job.state.as_str(),
            job.engine_used.map(|engine| engine.as_str()),
            job.node_id.map(|node| node.to_string()),
            job.fence.0,
            micros(job.lease_expires_at),
            micros(job.retry_at),
            end_of(job),
            text,
            before.cell.state.as_str(),
        ])?;
    if changed != 1 {
        return Err(Fault::Unreadable {
            what: "job",
            name: job.id.to_string(),
            source: "its columns and its document differ about its state".into(),
        });
    }
    let after = stand.standing();
    database.ledger.moved(Some(before), Some(after));
    database.claimable |= before.queued.is_none() && after.queued.is_some();
    Ok(())
}

pub(super) fn lanes(database: &mut Database) -> Result<Vec<LaneStanding>, Fault> {
    let mut statement = database.connection.prepare_cached(
        "SELECT requirements, tenant, queue, sum(state = 'queued'), sum(lease_expires_at IS NOT NULL),
                min(iif(state = 'queued', rank, NULL)), max(iif(state = 'queued', rank, NULL))
         FROM jobs JOIN classes ON classes.id = class
         WHERE state = 'queued' OR lease_expires_at IS NOT NULL GROUP BY class, tenant, queue",
    )?;
    let mut rows = statement.query([])?;
    let mut lanes = Vec::new();
    while let Some(row) = rows.next()? {
        let text: String = row.get(0)?;
        let requirements = serde_json::from_str(&text).map_err(|error| Fault::Unreadable {
            what: "class",
            name: text.clone(),
            source: error.into(),
        })?;
        let tenant: String = row.get(1)?;
        let lane = Lane { requirements, tenant: tenant.parse()?, queue: document::word(row, 2)? };
        let rank = |column| row.get::<_, Option<i64>>(column).map(|rank| rank.map(Rank));
        lanes.push(LaneStanding { lane, queued: row.get(3)?, active: row.get(4)?, first: rank(5)?, last: rank(6)? });
    }
    Ok(lanes)
}

pub(super) fn rerank(database: &mut Database, ranks: &[(JobId, Rank)]) -> Result<(), Fault> {
    let mut statement =
        database.connection.prepare_cached("UPDATE jobs SET rank = ?2 WHERE id = ?1 AND state = 'queued'")?;
    for (id, rank) in ranks {
        statement.execute(params![id.to_string(), rank.0])?;
    }
    Ok(())
}

pub(super) fn append_logs(database: &mut Database, id: JobId, attempt: u32, lines: &[LogLine]) -> Result<(), Fault> {
    let sequence = sequence_of(&database.connection, id)?;
    let last: Option<i64> = database
        .connection
        .prepare_cached("SELECT max(line) FROM logs WHERE job = ?1")?
        .query_row([sequence], |row| row.get(0))?;
    let mut number = last.unwrap_or(0);
    let surplus = lines.len().saturating_sub(MAX_LOG_LINES);
    let mut statement = database.connection.prepare_cached("INSERT INTO logs VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for line in &lines[surplus..] {
        number += 1;
        statement.execute(params![sequence, number, attempt, line.at.as_micros(), line.level, line.text])?;
    }
    database
        .connection
        .prepare_cached("DELETE FROM logs WHERE job = ?1 AND line <= ?2")?
        .execute(params![sequence, number - bounded(MAX_LOG_LINES)])?;
    Ok(())
}

/// The row number of a job.
pub(super) fn sequence_of(connection: &Connection, id: JobId) -> Result<i64, Fault> {
    let mut statement = connection.prepare_cached("SELECT sequence FROM jobs WHERE id = ?1")?;
    let sequence = statement.query_row([id.to_string()], |row| row.get(0)).optional()?;
    sequence.ok_or_else(|| job_not_found(id).into())
}

pub(super) fn purge(database: &mut Database, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    let over = ended(&database.connection, before, limit)?;
    for (sequence, cell) in &over {
        database.connection.prepare_cached("DELETE FROM jobs WHERE sequence = ?1")?.execute([sequence])?;
        database.ledger.moved(Some(Standing { cell: *cell, queued: None }), None);
    }
    Ok(over.len() as u64)
}

fn ended(connection: &Connection, before: Timestamp, limit: usize) -> Result<Vec<(i64, Cell)>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, state, queue, priority, engine FROM jobs AS ended
         WHERE completed_at IS NOT NULL AND completed_at < ?1
           AND NOT EXISTS (SELECT 1 FROM dependencies JOIN jobs AS waiting ON waiting.sequence = dependencies.job
                           WHERE dependencies.dependency = ended.id AND waiting.state = 'waiting')
         ORDER BY completed_at, sequence LIMIT ?2",
    )?;
    let mut rows = statement.query(params![before.as_micros(), bounded(limit)])?;
    let mut over = Vec::new();
    while let Some(row) = rows.next()? {
        over.push((row.get(0)?, cell(row, 1)?));
    }
    Ok(over)
}

/// Reads `state, queue, priority, engine` from `column` on.
pub(super) fn cell(row: &rusqlite::Row<'_>, column: usize) -> Result<Cell, Fault> {
    let engine: Option<String> = row.get(column + 3)?;
    Ok(Cell {
        state: document::word(row, column)?,
        queue: document::word(row, column + 1)?,
        priority: document::word(row, column + 2)?,
        engine: engine.map(|engine| engine.parse()).transpose()?,
    })
}

fn end_of(job: &Job) -> Option<i64> {
    micros(job.completed_at.filter(|_| job.state.is_final()))
}

/// A count as SQLite takes it.
pub(super) fn bounded(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
