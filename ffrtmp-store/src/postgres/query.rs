//! Reads: each function is one read on any connection.

use std::collections::BTreeMap;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{Fence, JobId, JobKey};
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::store::{Due, JobFilter, LaneStanding, MAX_LOG_LINES, Page, Rank};
use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{QueryBuilder, Row};
use uuid::Uuid;

use super::fault::Fault;
use super::lanes::{LaneId, Lanes};
use super::rows::{COLUMNS, job_id, number, read, uuid, word};
use super::{submit, tally};
use crate::record::Coded;
use crate::{ambiguous, job_not_found, prefix};

const JOINED: &str = "FROM ffrtmp.jobs j LEFT JOIN ffrtmp.live l ON l.sequence = j.sequence
                      LEFT JOIN ffrtmp.ended e ON e.sequence = j.sequence";

pub(super) async fn job(connection: &mut PgConnection, key: &JobKey) -> Result<Job, Fault> {
    let mut query = QueryBuilder::<Postgres>::new(format!("SELECT {COLUMNS} {JOINED} WHERE "));
    match key {
        JobKey::Id(id) => query.push("j.id = ").push_bind(uuid(id)),
        JobKey::Sequence(sequence) => query.push("j.sequence = ").push_bind(number(*sequence)),
        JobKey::Prefix(text) => {
            let ids = prefix::ids(text).ok_or_else(|| job_not_found(key))?;
            query.push("j.id BETWEEN ").push_bind(uuid(ids.start())).push(" AND ").push_bind(uuid(ids.end()))
        }
    };
    query.push(" AND coalesce(l.state, e.state) IS NOT NULL LIMIT 2");
    let rows = query.build().fetch_all(connection).await?;
    match rows.as_slice() {
        [] => Err(job_not_found(key).into()),
        [row] => Ok(read(row)?.record.job),
        _ => Err(ambiguous(&key.to_string()).into()),
    }
}

/// How these jobs stand; those that are not there are left out.
pub(super) async fn states(connection: &mut PgConnection, ids: &[JobId]) -> Result<BTreeMap<JobId, JobState>, Fault> {
    let sql = format!(
        "SELECT j.id, coalesce(l.state, e.state) {JOINED} WHERE j.id = ANY ($1)
                       AND coalesce(l.state, e.state) IS NOT NULL"
    );
    let ids: Vec<Uuid> = ids.iter().map(uuid).collect();
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(ids).fetch_all(connection).await?;
    rows.iter().map(|row| Ok((job_id(row.try_get(0)?), word(row, 1)?))).collect()
}

/// The rows that a list looks at, by the partial indexes that hold them.
struct Branch {
    from: &'static str,
    /// The table that has number, state and node.
    table: &'static str,
    of: &'static str,
    states: Vec<i16>,
}

const LIVE: &str = "FROM ffrtmp.live l JOIN ffrtmp.jobs j ON j.sequence = l.sequence LEFT JOIN ffrtmp.ended e ON false";
const ENDED: &str =
    "FROM ffrtmp.ended e JOIN ffrtmp.jobs j ON j.sequence = e.sequence LEFT JOIN ffrtmp.live l ON false";

fn branches(states: &[JobState]) -> Vec<Branch> {
    use JobState::{Assigned, Canceled, Completed, Failed, Paused, Queued, Rejected, Retrying, Running, Waiting};
    if states.is_empty() {
        let all = |from, table| Branch { from, table, of: "true", states: Vec::new() };
        return vec![all(LIVE, "l"), all(ENDED, "e")];
    }
    let rows: [(&str, &str, &str, &[JobState]); 5] = [
        (LIVE, "l", "l.phase = 1", &[Queued]),
        (LIVE, "l", "l.phase = 2", &[Assigned, Running, Paused]),
        (LIVE, "l", "l.phase IN (0, 3, 4)", &[Waiting, Retrying, Paused]),
        (ENDED, "e", "e.state = 7", &[Completed]),
        (ENDED, "e", "e.state <> 7", &[Failed, Canceled, Rejected]),
    ];
    rows.into_iter()
        .map(|(from, table, of, has)| {
            let wanted = has.iter().filter(|state| states.contains(state)).map(|state| state.code()).collect();
            Branch { from, table, of, states: wanted }
        })
        .filter(|branch| !branch.states.is_empty())
        .collect()
}

pub(super) async fn list(
    connection: &mut PgConnection,
    lanes: &Lanes,
    filter: &JobFilter,
    page: Page,
) -> Result<Vec<Job>, Fault> {
    let mut query = QueryBuilder::<Postgres>::new("SELECT * FROM (");
    for (index, branch) in branches(&filter.states).iter().enumerate() {
        query.push(if index > 0 { " UNION ALL (" } else { "(" });
        push_branch(&mut query, branch, lanes, filter, page);
        query.push(")");
    }
    query.push(") page ORDER BY sequence DESC LIMIT ").push_bind(number(page.limit as u64));
    let rows = query.build().fetch_all(connection).await?;
    rows.iter().map(|row| read(row).map(|held| held.record.job)).collect()
}

fn push_branch(query: &mut QueryBuilder<Postgres>, branch: &Branch, lanes: &Lanes, filter: &JobFilter, page: Page) {
    let Branch { from, table, of, states } = branch;
    query.push(format!("SELECT {COLUMNS} {from} WHERE {of}"));
    if !states.is_empty() {
        query.push(format!(" AND {table}.state = ANY (")).push_bind(states.clone()).push(")");
    }
    if let Some(before) = page.before {
        query.push(format!(" AND {table}.sequence < ")).push_bind(number(before));
    }
    if filter.tenant.is_some() || filter.queue.is_some() {
        let tenant =
            |lane: &ffrtmp_core::store::Lane| filter.tenant.as_ref().is_none_or(|wanted| *wanted == lane.tenant);
        let matching = lanes.matching(|lane| tenant(lane) && filter.queue.is_none_or(|queue| queue == lane.queue));
        query.push(" AND j.lane = ANY (").push_bind(matching).push(")");
    }
    if let Some(priority) = filter.priority {
        query.push(format!(" AND j.priority = {}", priority.code()));
    }
    if let Some(classification) = filter.classification {
        query.push(format!(" AND j.classification = {}", classification.code()));
    }
    if let Some(node) = filter.node_id {
        query.push(format!(" AND {table}.node = ")).push_bind(uuid(node));
    }
    if let Some(scenario) = &filter.scenario {
        query.push(" AND j.scenario = ").push_bind(submit::scenario(scenario));
    }
    if let Some(after) = filter.created_after {
        query.push(" AND j.created_at >= ").push_bind(after.as_micros());
    }
    if let Some(before) = filter.created_before {
        query.push(" AND j.created_at < ").push_bind(before.as_micros());
    }
    for (key, value) in &filter.labels {
        query
            .push(format!(" AND {table}.sequence IN (SELECT job FROM ffrtmp.labels WHERE label = "))
            .push_bind(submit::label(key, value))
            .push(")");
    }
    query.push(format!(" ORDER BY {table}.sequence DESC LIMIT ")).push_bind(number(page.limit as u64));
}

/// What is due up to `now`; leases that ended before `from` are known to be gone.
pub(super) async fn due(
    connection: &mut PgConnection,
    from: Timestamp,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Due>, Fault> {
    let rows = sqlx::query(
        "SELECT j.id, d.fence FROM (
             (SELECT lease_expires_at AS at, sequence, fence FROM ffrtmp.live
              WHERE phase = 2 AND lease_expires_at >= $3 AND lease_expires_at <= $1
              ORDER BY lease_expires_at, sequence LIMIT $2)
             UNION ALL
             (SELECT retry_at, sequence, NULL FROM ffrtmp.live WHERE phase = 3 AND retry_at >= $3 AND retry_at <= $1
              ORDER BY retry_at, sequence LIMIT $2)) d
         JOIN ffrtmp.jobs j ON j.sequence = d.sequence ORDER BY d.at, d.sequence LIMIT $2",
    )
    .bind(now.as_micros())
    .bind(number(limit as u64))
    .bind(from.as_micros())
    .fetch_all(connection)
    .await?;
    let mut due = Vec::with_capacity(rows.len());
    for row in rows {
        let id = job_id(row.try_get(0)?);
        let fence: Option<i64> = row.try_get(1)?;
        let lease = |fence| Due::LeaseExpired(id, Fence(u64::try_from(fence).unwrap_or_default()));
        due.push(fence.map_or(Due::BackoffOver(id), lease));
    }
    Ok(due)
}

pub(super) async fn dependents(connection: &mut PgConnection, dependencies: &[JobId]) -> Result<Vec<Job>, Fault> {
    let sql = format!(
        "SELECT {COLUMNS} FROM ffrtmp.dependencies d JOIN ffrtmp.live l ON l.sequence = d.job AND l.phase = 0
         JOIN ffrtmp.jobs j ON j.sequence = d.job LEFT JOIN ffrtmp.ended e ON false
         WHERE d.dependency = ANY($1) ORDER BY d.job"
    );
    let dependencies: Vec<_> = dependencies.iter().map(|dependency| uuid(*dependency)).collect();
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(dependencies).fetch_all(connection).await?;
    rows.iter().map(|row| read(row).map(|held| held.record.job)).collect()
}

pub(super) async fn standings(connection: &mut PgConnection, lanes: &Lanes) -> Result<Vec<LaneStanding>, Fault> {
    let counted = tally::standings(connection, lanes).await?;
    let queued: Vec<i32> = counted.iter().filter(|(_, standing)| standing.1 > 0).map(|(id, _)| id.0).collect();
    let end = |order: &str| {
        format!(
            "(SELECT rank FROM ffrtmp.live WHERE live.lane = n.id AND live.phase = 1
              ORDER BY live.rank {order}, live.sequence {order} LIMIT 1)"
        )
    };
    let sql = format!("SELECT n.id, {}, {} FROM unnest($1::integer[]) AS n(id)", end("ASC"), end("DESC"));
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).bind(queued).fetch_all(connection).await?;
    let mut ranks = std::collections::HashMap::new();
    for row in rows {
        let (first, last): (Option<i64>, Option<i64>) = (row.try_get(1)?, row.try_get(2)?);
        ranks.insert(LaneId(row.try_get(0)?), (first.map(Rank), last.map(Rank)));
    }
    let standing = |(id, (lane, queued, active)): (LaneId, (std::sync::Arc<_>, u64, u64))| {
        let (first, last) = ranks.get(&id).copied().unwrap_or_default();
        LaneStanding { lane: ffrtmp_core::store::Lane::clone(&lane), queued, active, first, last }
    };
    Ok(counted.into_iter().map(standing).collect())
}

/// A line of a log as its row keeps it.
#[derive(serde::Serialize, serde::Deserialize)]
struct Line(i64, String, String);

pub(super) async fn append_logs(
    connection: &mut PgConnection,
    id: JobId,
    attempt: u32,
    lines: Vec<LogLine>,
) -> Result<(), Fault> {
    let surplus = lines.len().saturating_sub(MAX_LOG_LINES);
    let kept: Vec<Line> =
        lines.into_iter().skip(surplus).map(|line| Line(line.at.as_micros(), line.level, line.text)).collect();
    let text = serde_json::to_string(&kept).map_err(|error| Fault::unreadable("log", id, error))?;
    let stored: Option<i64> = sqlx::query_scalar(
        "WITH job AS (SELECT sequence FROM ffrtmp.jobs WHERE id = $1),
         added AS (INSERT INTO ffrtmp.logs (job, attempt, lines, text)
                   SELECT sequence, $2, $3, $4 FROM job WHERE $3 > 0)
         SELECT sequence FROM job",
    )
    .bind(uuid(id))
    .bind(i32::try_from(attempt).unwrap_or(i32::MAX))
    .bind(i32::try_from(kept.len()).unwrap_or(i32::MAX))
    .bind(text)
    .fetch_optional(&mut *connection)
    .await?;
    let sequence = stored.ok_or_else(|| job_not_found(id))?;
    // What stands before the newest lines as a whole row; the rest is cut when it is read.
    sqlx::query(
        "DELETE FROM ffrtmp.logs USING (
             SELECT number, sum(lines) OVER (ORDER BY number DESC) - lines AS newer FROM ffrtmp.logs WHERE job = $1) old
         WHERE logs.job = $1 AND logs.number = old.number AND old.newer >= $2",
    )
    .bind(sequence)
    .bind(number(MAX_LOG_LINES as u64))
    .execute(connection)
    .await?;
    Ok(())
}

/// Adds lines to many logs, in one statement. What stands before the newest lines is cut when it is
/// read, and removed when lines are added to one log.
pub(super) async fn append_many(
    connection: &mut PgConnection,
    logs: &[(JobId, u32, Vec<LogLine>)],
) -> Result<(), Fault> {
    let (mut ids, mut attempts, mut counts, mut texts) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for (id, attempt, lines) in logs {
        let line = |line: &LogLine| Line(line.at.as_micros(), line.level.clone(), line.text.clone());
        let kept: Vec<Line> = lines.iter().skip(lines.len().saturating_sub(MAX_LOG_LINES)).map(line).collect();
        ids.push(uuid(*id));
        attempts.push(i32::try_from(*attempt).unwrap_or(i32::MAX));
        counts.push(i32::try_from(kept.len()).unwrap_or(i32::MAX));
        texts.push(serde_json::to_string(&kept).map_err(|error| Fault::unreadable("log", *id, error))?);
    }
    let unknown: Option<Uuid> = sqlx::query_scalar(
        "WITH given AS (
             SELECT j.sequence, g.* FROM unnest($1::uuid[], $2::integer[], $3::integer[], $4::text[])
                 WITH ORDINALITY AS g(id, attempt, lines, text, place) LEFT JOIN ffrtmp.jobs j ON j.id = g.id),
         added AS (INSERT INTO ffrtmp.logs (job, attempt, lines, text)
                   SELECT sequence, attempt, lines, text FROM given WHERE sequence IS NOT NULL AND lines > 0
                   ORDER BY place)
         SELECT id FROM given WHERE sequence IS NULL LIMIT 1",
    )
    .bind(&ids)
    .bind(attempts)
    .bind(counts)
    .bind(texts)
    .fetch_optional(connection)
    .await?;
    match unknown {
        None => Ok(()),
        Some(unknown) => {
            let id = logs.iter().zip(&ids).find_map(|((id, ..), uuid)| (*uuid == unknown).then_some(*id));
            id.map_or(Ok(()), |id| Err(job_not_found(id).into()))
        }
    }
}

pub(super) async fn logs(connection: &mut PgConnection, id: JobId) -> Result<Vec<(u32, LogLine)>, Fault> {
    let rows = sqlx::query(
        "SELECT l.attempt, l.text FROM ffrtmp.jobs j LEFT JOIN ffrtmp.logs l ON l.job = j.sequence
         WHERE j.id = $1 ORDER BY l.number",
    )
    .bind(uuid(id))
    .fetch_all(connection)
    .await?;
    if rows.is_empty() {
        return Err(job_not_found(id).into());
    }
    let mut logs = Vec::new();
    for row in rows {
        let (Some(attempt), Some(text)) = (row.try_get::<Option<i32>, _>(0)?, row.try_get::<Option<&str>, _>(1)?)
        else {
            continue;
        };
        let lines: Vec<Line> = serde_json::from_str(text).map_err(|error| Fault::unreadable("log", id, error))?;
        let attempt = u32::try_from(attempt).unwrap_or_default();
        let line = |Line(at, level, text)| (attempt, LogLine { at: Timestamp::from_micros(at), level, text });
        logs.extend(lines.into_iter().map(line));
    }
    let surplus = logs.len().saturating_sub(MAX_LOG_LINES);
    logs.drain(..surplus);
    Ok(logs)
}

/// Proves that the database can be written.
pub(super) async fn check(connection: &mut PgConnection) -> Result<(), Fault> {
    sqlx::query("UPDATE ffrtmp.probe SET writes = writes + 1").execute(connection).await?;
    Ok(())
}

/// Which of these rows, locked by now, a job has come to wait for since they were chosen.
async fn waited_for(
    connection: &mut PgConnection,
    rows: &[sqlx::postgres::PgRow],
) -> Result<std::collections::HashSet<i64>, Fault> {
    let chosen = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<i64>, _>>()?;
    let waited: Vec<i64> = sqlx::query_scalar(
        "SELECT j.sequence FROM ffrtmp.jobs j WHERE j.sequence = ANY ($1) AND EXISTS (
             SELECT 1 FROM ffrtmp.dependencies d JOIN ffrtmp.live w ON w.sequence = d.job AND w.phase = 0
             WHERE d.dependency = j.id)",
    )
    .bind(chosen)
    .fetch_all(connection)
    .await?;
    Ok(waited.into_iter().collect())
}

/// Removes ended jobs with everything that belongs to them.
pub(super) async fn purge(connection: &mut PgConnection, before: Timestamp, limit: usize) -> Result<u64, Fault> {
    use sqlx::Connection;
    let mut transaction = connection.begin().await?;
    let sql = format!(
        "SELECT {COLUMNS} FROM ffrtmp.ended e JOIN ffrtmp.jobs j ON j.sequence = e.sequence
         LEFT JOIN ffrtmp.live l ON false
         WHERE e.completed_at < $1 AND NOT EXISTS (
             SELECT 1 FROM ffrtmp.dependencies d JOIN ffrtmp.live w ON w.sequence = d.job AND w.phase = 0
             WHERE d.dependency = j.id)
         ORDER BY e.completed_at, e.sequence LIMIT $2 FOR UPDATE OF e, j SKIP LOCKED"
    );
    let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(before.as_micros())
        .bind(number(limit as u64))
        .fetch_all(&mut *transaction)
        .await?;
    let kept = waited_for(&mut transaction, &rows).await?;
    let mut counted = tally::Difference::default();
    let (mut over, mut labels): (Vec<i64>, Vec<(Uuid, i64)>) = (Vec::new(), Vec::new());
    for row in &rows {
        if kept.contains(&row.try_get(0)?) {
            continue;
        }
        let held = read(row)?;
        counted.went(tally::Stand::of(held.lane, &held.record.job));
        labels.extend(submit::labels(&held.record.job).map(|label| (label, held.sequence())));
        over.push(held.sequence());
    }
    if over.is_empty() {
        return Ok(0);
    }
    for sql in [
        "DELETE FROM ffrtmp.ended WHERE sequence = ANY ($1)",
        "DELETE FROM ffrtmp.jobs WHERE sequence = ANY ($1)",
        "DELETE FROM ffrtmp.logs WHERE job = ANY ($1)",
        "DELETE FROM ffrtmp.dependencies WHERE job = ANY ($1)",
    ] {
        sqlx::query(sql).bind(&over).execute(&mut *transaction).await?;
    }
    let (left, right): (Vec<Uuid>, Vec<i64>) = labels.into_iter().unzip();
    sqlx::query(
        "DELETE FROM ffrtmp.labels USING unnest($1::uuid[], $2::bigint[]) AS u(label, job)
         WHERE labels.label = u.label AND labels.job = u.job",
    )
    .bind(left)
    .bind(right)
    .execute(&mut *transaction)
    .await?;
    counted.take().write(&mut transaction).await?;
    transaction.commit().await?;
    Ok(over.len() as u64)
}
