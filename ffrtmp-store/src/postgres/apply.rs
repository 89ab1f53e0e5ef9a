//! Commands: loaded or remembered, decided by [`ffrtmp_core::job::Job::apply`], saved if nobody
//! else changed the job meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use ffrtmp_core::Result as CoreResult;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::JobId;
use ffrtmp_core::job::Job;
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::store::Rank;
use sqlx::postgres::PgConnection;

use super::desk::Work;
use super::fault::Fault;
use super::lanes::LaneId;
use super::rows::{COLUMNS, EndRows, Held, HotRows, read, uuid};
use super::session::Session;
use super::tally::{Difference, Stand};
use super::wake::Woken;
use super::{Shared, point};
use crate::job_not_found;
use crate::record::{End, Hot, Phase};

/// Commands of many callers at once.
pub(super) struct Changes(pub(super) Arc<Shared>);

/// Commands of one call.
pub(super) struct Question {
    pub(super) commands: Vec<(JobId, JobCommand)>,
    pub(super) now: Timestamp,
}

#[async_trait]
impl Work for Changes {
    type Question = Question;
    type Answer = Vec<CoreResult<Job>>;
    const NAME: &'static str = "postgres.apply";

    fn weight(question: &Question) -> usize {
        question.commands.len().max(1)
    }

    async fn answer(
        &self,
        session: &mut Session,
        questions: &[Question],
    ) -> Result<Vec<CoreResult<Vec<CoreResult<Job>>>>, Fault> {
        let ids: HashSet<JobId> = questions.iter().flat_map(|asked| asked.commands.iter().map(|(id, _)| *id)).collect();
        let mut known: HashMap<JobId, Arc<Held>> =
            ids.iter().filter_map(|id| self.0.active.find(*id).map(|held| (*id, held))).collect();
        let unknown: Vec<JobId> = ids.iter().filter(|id| !known.contains_key(id)).copied().collect();
        if !unknown.is_empty() {
            known.extend(load(session.connection().await?, &unknown).await?);
        }
        let mut proven: HashSet<JobId> = unknown.into_iter().collect();
        let mut desk = Decisions::make(questions, &known, &proven);
        if !desk.doubtful.is_empty() {
            // What this master remembers may be old: nobody is refused without a look.
            let doubtful: Vec<JobId> = desk.doubtful.iter().copied().collect();
            doubtful.iter().for_each(|id| drop(known.remove(id)));
            known.extend(load(session.connection().await?, &doubtful).await?);
            proven.extend(doubtful);
            desk = Decisions::make(questions, &known, &proven);
        }
        let saved = self.save(session, desk.changed, &known).await;
        if matches!(saved, Err(Fault::Outrun | Fault::Unknown(_))) {
            self.0.active.forget(ids);
        }
        saved?;
        Ok(desk.answers.into_iter().map(Ok).collect())
    }
}

impl Changes {
    async fn save(
        &self,
        session: &mut Session,
        changed: Vec<Changed>,
        before: &HashMap<JobId, Arc<Held>>,
    ) -> Result<(), Fault> {
        if changed.is_empty() {
            return Ok(());
        }
        let (mut hot, mut revived, mut ends) = (HotRows::default(), HotRows::default(), EndRows::default());
        let (mut counted, mut woken) = (Difference::default(), Woken::default());
        let mut kept = Vec::with_capacity(changed.len());
        for Changed { mut held, part } in changed {
            let job = &held.record.job;
            let Some(old) = before.get(&job.id) else { continue };
            counted.went(Stand::of(held.lane, &old.record.job));
            counted.came(Stand::of(held.lane, job));
            let was = old.phase();
            if held.phase() == Phase::Ready && was != Phase::Ready {
                woken.add(held.lane, held.rank);
            }
            match (part, was) {
                (Part::End(end), _) => ends.push(&held, end),
                (Part::Hot(part), Phase::Ended) => revived.push(&held, part),
                (Part::Hot(part), _) => hot.push(&held, part),
            }
            held.version += 1;
            kept.push(Arc::new(held));
        }
        point("postgres.apply.decided")?;
        let mut change = session.begin().await?;
        if !hot.is_empty() {
            let number = hot.update(change.connection(), counted.take()).await?;
            change.note(number);
        }
        if !revived.is_empty() {
            let number = revived.revive(change.connection(), counted.take()).await?;
            change.note(number);
        }
        if !ends.is_empty() {
            let number = ends.end(change.connection(), counted.take()).await?;
            change.note(number);
        }
        self.0.notify(change.connection(), &woken).await?;
        point("postgres.apply.before_commit")?;
        if let Err(lost) = change.commit().await {
            lost.settle(session).await?;
        }
        point("postgres.apply.committed")?;
        self.0.active.keep(kept);
        self.0.wake(&woken);
        Ok(())
    }
}

/// A job that must be saved, and the part that is written.
struct Changed {
    held: Held,
    part: Part,
}

enum Part {
    Hot(Hot),
    End(End),
}

/// What becomes of a group of commands.
struct Decisions {
    answers: Vec<Vec<CoreResult<Job>>>,
    changed: Vec<Changed>,
    /// Jobs whose remembered copy refused a command or had nothing to change.
    doubtful: HashSet<JobId>,
}

impl Decisions {
    /// Applies each command to what the one before it left.
    fn make(questions: &[Question], known: &HashMap<JobId, Arc<Held>>, proven: &HashSet<JobId>) -> Self {
        let mut working: HashMap<JobId, Changed> = HashMap::new();
        let mut doubtful = HashSet::new();
        let mut answers = Vec::with_capacity(questions.len());
        for Question { commands, now } in questions {
            let mut answer = Vec::with_capacity(commands.len());
            for (id, command) in commands {
                let Some(stored) = known.get(id) else {
                    answer.push(Err(job_not_found(id)));
                    continue;
                };
                let current = working.get(id).map_or(&**stored, |changed| &changed.held);
                match decide(current, command, *now) {
                    Ok(Some(changed)) => {
                        answer.push(Ok(changed.held.record.job.clone()));
                        working.insert(*id, changed);
                    }
                    Ok(None) => {
                        answer.push(Ok(current.record.job.clone()));
                        doubtful.insert(*id);
                    }
                    Err(refusal) => {
                        answer.push(Err(refusal));
                        doubtful.insert(*id);
                    }
                }
            }
            answers.push(answer);
        }
        doubtful.retain(|id| !proven.contains(id));
        let mut changed: Vec<Changed> = working.into_values().collect();
        // Masters that change the same jobs lock them in the same order.
        changed.sort_unstable_by_key(|changed| changed.held.record.job.sequence_number);
        Self { answers, changed, doubtful }
    }
}

/// The job after the command, or `None` if it stays as it is.
fn decide(current: &Held, command: &JobCommand, now: Timestamp) -> CoreResult<Option<Changed>> {
    let mut held = current.clone();
    if !held.record.job.apply(command.clone(), now)? {
        return Ok(None);
    }
    let part = match held.phase() {
        Phase::Ended => Part::End(held.record.end()?),
        _ => Part::Hot(held.record.hot()?),
    };
    Ok(Some(Changed { held, part }))
}

/// Jobs by id, as they are stored now.
pub(super) async fn load(
    connection: &mut PgConnection,
    ids: &[JobId],
) -> Result<HashMap<JobId, Arc<Held>>, Fault> {
    static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        format!(
            "SELECT {COLUMNS} FROM ffrtmp.jobs j LEFT JOIN ffrtmp.live l ON l.sequence = j.sequence
             LEFT JOIN ffrtmp.ended e ON e.sequence = j.sequence
             WHERE j.id = ANY ($1) AND coalesce(l.state, e.state) IS NOT NULL"
        )
    });
    let ids: Vec<_> = ids.iter().map(uuid).collect();
    let rows = sqlx::query(SQL.as_str()).bind(ids).fetch_all(connection).await?;
    rows.iter().map(|row| read(row).map(|held| (held.record.job.id, Arc::new(held)))).collect()
}

/// Moves queued jobs within their lanes.
pub(super) async fn rerank(
    shared: &Shared,
    connection: &mut PgConnection,
    ranks: &[(JobId, Rank)],
) -> Result<(), Fault> {
    use sqlx::{Connection, Row};
    let mut transaction = connection.begin().await?;
    let rows = sqlx::query(
        "UPDATE ffrtmp.live SET rank = u.rank, version = version + 1
         FROM unnest($1::uuid[], $2::bigint[]) AS u(id, rank) JOIN ffrtmp.jobs j ON j.id = u.id
         WHERE live.sequence = j.sequence AND live.phase = 1 AND live.rank <> u.rank RETURNING live.lane, live.rank",
    )
    .bind(ranks.iter().map(|(id, _)| uuid(id)).collect::<Vec<_>>())
    .bind(ranks.iter().map(|(_, rank)| rank.0).collect::<Vec<_>>())
    .fetch_all(&mut *transaction)
    .await?;
    let mut woken = Woken::default();
    for row in rows {
        woken.add(LaneId(row.try_get(0)?), Rank(row.try_get(1)?));
    }
    shared.notify(&mut transaction, &woken).await?;
    transaction.commit().await?;
    shared.wake(&woken);
    Ok(())
}
