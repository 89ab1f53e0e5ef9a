//! Commands: loaded or remembered, decided by [`ffrtmp_core::job::Job::apply`], saved if nobody
//! else changed the job meanwhile.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::JobId;
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::store::Rank;
use ffrtmp_core::{Error, Result as CoreResult};
use sqlx::postgres::PgConnection;

use super::desk::Work;
use super::fault::Fault;
use super::lanes::LaneId;
use super::rows::{COLUMNS, EndRows, Held, HotRows, read, uuid};
use super::session::Session;
use super::signs::SignRows;
use super::tally::{Difference, Stand};
use super::wake::Woken;
use super::{Shared, point};
use crate::job_not_found;
use crate::record::{End, Hot, Phase, is_sign};

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
        let remembered: HashMap<JobId, Held> =
            ids.iter().filter_map(|id| self.0.active.take(*id).map(|held| (*id, held))).collect();
        let unknown: Vec<JobId> = ids.iter().filter(|id| !remembered.contains_key(id)).copied().collect();
        let mut desk = Decisions::new(remembered.into_values(), false);
        if !unknown.is_empty() {
            desk.add(load(session.connection().await?, &unknown).await?.into_values(), true);
        }
        let answers = match desk.decide(questions) {
            Some(answers) => answers,
            None => {
                // What this master remembers may be old: nobody is refused without a look.
                let all: Vec<JobId> = ids.into_iter().collect();
                desk = Decisions::new(load(session.connection().await?, &all).await?.into_values(), true);
                desk.decide(questions).ok_or(Fault::Outrun)?
            }
        };
        let mut stored = self.save(session, desk.jobs).await?;
        let mut said = |answers: Vec<Answer>| answers.into_iter().map(|answer| answer.said(&mut stored)).collect();
        let said = answers.into_iter().map(|answers| Ok(said(answers))).collect();
        self.0.active.keep(stored.into_values().filter(|held| held.phase() == Phase::Leased));
        Ok(said)
    }
}

impl Changes {
    /// Stores what changed, and returns all jobs as they are now stored.
    async fn save(
        &self,
        session: &mut Session,
        jobs: HashMap<JobId, Working>,
    ) -> Result<HashMap<JobId, Arc<Held>>, Fault> {
        let mut jobs: Vec<Working> = jobs.into_values().collect();
        // Masters that change the same jobs lock them in the same order.
        jobs.sort_unstable_by_key(|working| working.held.record.job.sequence_number);
        let (mut hot, mut revived, mut ends) = (HotRows::default(), HotRows::default(), EndRows::default());
        let (mut signs, mut counted, mut woken) = (SignRows::default(), Difference::default(), Woken::default());
        for working in &mut jobs {
            let Some(part) = working.part.take() else { continue };
            let Working { held, was, stood, .. } = working;
            counted.went(*stood);
            counted.came(Stand::of(held.lane, &held.record.job));
            if held.phase() == Phase::Ready && *was != Phase::Ready {
                woken.add(held.lane, held.rank);
            }
            match (part, *was) {
                (Part::End(end), _) => ends.push(held, end),
                (Part::Sign, _) => signs.push(held),
                (Part::Hot(part), Phase::Ended) => revived.push(held, part),
                (Part::Hot(part), _) => hot.push(held, part),
            }
            held.version += 1;
        }
        let stored = jobs.into_iter().map(|working| (working.held.record.job.id, Arc::new(working.held))).collect();
        if signs.is_empty() && hot.is_empty() && revived.is_empty() && ends.is_empty() {
            return Ok(stored);
        }
        point("postgres.apply.decided")?;
        let mut change = session.begin().await?;
        if !signs.is_empty() {
            let number = signs.update(change.connection(), counted.take()).await?;
            change.note(number);
        }
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
        self.0.wake(&woken);
        Ok(stored)
    }
}

/// A job while a group of commands is decided.
struct Working {
    held: Held,
    was: Phase,
    stood: Stand,
    /// Read for this group, and not only remembered.
    proven: bool,
    /// What must be written, if anything.
    part: Option<Part>,
}

enum Part {
    /// What is in columns; the story stands.
    Sign,
    Hot(Hot),
    End(End),
}

/// The answer to one command.
enum Answer {
    /// The job as it will be stored: no later command of the group changes it.
    Stored(JobId),
    /// The job, or why not.
    Said(Box<CoreResult<Job>>),
}

impl Answer {
    /// The answer; a job that no node holds is handed over, one that is held is remembered too.
    fn said(self, stored: &mut HashMap<JobId, Arc<Held>>) -> CoreResult<Job> {
        match self {
            Self::Said(said) => *said,
            Self::Stored(id) => match stored.get(&id) {
                Some(held) if held.phase() == Phase::Leased => Ok(held.record.job.clone()),
                _ => stored
                    .remove(&id)
                    .map(|held| Arc::unwrap_or_clone(held).record.job)
                    .ok_or_else(|| job_not_found(id)),
            },
        }
    }
}

/// What becomes of a group of commands.
struct Decisions {
    jobs: HashMap<JobId, Working>,
}

impl Decisions {
    fn new(held: impl Iterator<Item = Held>, proven: bool) -> Self {
        let mut decisions = Self { jobs: HashMap::new() };
        decisions.add(held, proven);
        decisions
    }

    fn add(&mut self, held: impl Iterator<Item = Held>, proven: bool) {
        for held in held {
            let (was, stood) = (held.phase(), Stand::of(held.lane, &held.record.job));
            self.jobs.insert(held.record.job.id, Working { held, was, stood, proven, part: None });
        }
    }

    /// Applies each command to what the one before it left. `None` if a remembered copy refuses one
    /// or has nothing to change: then the jobs must be read first.
    fn decide(&mut self, questions: &[Question]) -> Option<Vec<Vec<Answer>>> {
        let mut left: HashMap<JobId, usize> = HashMap::new();
        for (id, _) in questions.iter().flat_map(|question| &question.commands) {
            *left.entry(*id).or_default() += 1;
        }
        let mut answers = Vec::with_capacity(questions.len());
        for Question { commands, now } in questions {
            let mut answer = Vec::with_capacity(commands.len());
            for (id, command) in commands {
                let last = left.get_mut(id).is_some_and(|left| {
                    *left -= 1;
                    *left == 0
                });
                answer.push(match self.jobs.get_mut(id) {
                    None => Answer::Said(Box::new(Err(job_not_found(id)))),
                    Some(working) => match working.apply(command, *now) {
                        Applied::Doubtful => return None,
                        Applied::Refused(refusal) => Answer::Said(Box::new(Err(refusal))),
                        Applied::Done if last => Answer::Stored(*id),
                        Applied::Done => Answer::Said(Box::new(Ok(working.held.record.job.clone()))),
                    },
                });
            }
            answers.push(answer);
        }
        Some(answers)
    }
}

/// What a command did.
enum Applied {
    /// The job is as the command leaves it.
    Done,
    Refused(Error),
    /// A remembered copy does not do for an answer, and may not be used any more.
    Doubtful,
}

impl Working {
    fn apply(&mut self, command: &JobCommand, now: Timestamp) -> Applied {
        let (was, before) = (self.held.record.job.state, self.part.as_ref());
        // The story that is stored must be the one from before this command.
        let sign = is_sign(command) && before.is_none_or(|part| matches!(part, Part::Sign));
        if !self.proven {
            // A copy that refuses is thrown away, so it may be changed in place.
            return match self.held.record.job.apply(command.clone(), now) {
                Ok(true) => match part(&self.held, sign.then_some(was)) {
                    Ok(part) => {
                        self.part = Some(part);
                        Applied::Done
                    }
                    Err(_) => Applied::Doubtful,
                },
                Ok(false) | Err(_) => Applied::Doubtful,
            };
        }
        let mut held = self.held.clone();
        let changed = held.record.job.apply(command.clone(), now);
        match changed.and_then(|changed| changed.then(|| part(&held, sign.then_some(was))).transpose()) {
            Ok(None) => Applied::Done,
            Ok(Some(part)) => {
                (self.held, self.part) = (held, Some(part));
                Applied::Done
            }
            Err(refusal) => Applied::Refused(refusal),
        }
    }
}

/// The part of a changed job that is written; `sign` is the state before one.
fn part(held: &Held, sign: Option<JobState>) -> CoreResult<Part> {
    Ok(match held.phase() {
        Phase::Leased if sign.is_some_and(|was| held.record.story_stands(was)) => Part::Sign,
        Phase::Ended => Part::End(held.record.end()?),
        _ => Part::Hot(held.record.hot()?),
    })
}

/// Jobs by id, as they are stored now.
pub(super) async fn load(connection: &mut PgConnection, ids: &[JobId]) -> Result<HashMap<JobId, Held>, Fault> {
    static SQL: std::sync::LazyLock<String> = std::sync::LazyLock::new(|| {
        format!(
            "SELECT {COLUMNS} FROM ffrtmp.jobs j LEFT JOIN ffrtmp.live l ON l.sequence = j.sequence
             LEFT JOIN ffrtmp.ended e ON e.sequence = j.sequence
             WHERE j.id = ANY ($1) AND coalesce(l.state, e.state) IS NOT NULL"
        )
    });
    let ids: Vec<_> = ids.iter().map(uuid).collect();
    let rows = sqlx::query(SQL.as_str()).bind(ids).fetch_all(connection).await?;
    rows.iter().map(|row| read(row).map(|held| (held.record.job.id, held))).collect()
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
