//! Commands: loaded or remembered, decided by [`ffrtmp_core::job::Job::apply`], saved if nobody
//! else changed the job meanwhile.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use async_trait::async_trait;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::JobId;
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::store::Rank;
use ffrtmp_core::{Error, Result as CoreResult};
use sqlx::postgres::PgConnection;

use super::active::{Active, Digits};
use super::desk::Work;
use super::fault::Fault;
use super::lanes::LaneId;
use super::rows::{COLUMNS, Held, HotRows, read, uuid};
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
        let mut group = Group::remembered(&self.0.active, questions);
        let unknown = group.unknown();
        if !unknown.is_empty() {
            group.add(load(session.connection().await?, &unknown).await?.into_values());
        }
        let answers = match group.decide(questions) {
            Some(answers) => answers,
            None => {
                // What this master remembers may be old: nobody is refused without a look.
                group.forget();
                group.add(load(session.connection().await?, &group.unknown()).await?.into_values());
                group.decide(questions).ok_or(Fault::Outrun)?
            }
        };
        let is_sure = questions.iter().flat_map(|asked| &asked.commands).all(|(_, command)| may_be_repeated(command));
        let mut stored = self.save(session, group.jobs, is_sure).await?;
        let mut said = |answers: Vec<Answer>| answers.into_iter().map(|answer| answer.said(&mut stored)).collect();
        let said = answers.into_iter().map(|answers| Ok(said(answers))).collect();
        self.0.active.keep(stored.into_iter().flatten().filter(|held| held.phase() == Phase::Leased));
        Ok(said)
    }
}

/// Jobs as they are stored, by their places in a group.
type Stored = Vec<Option<Arc<Held>>>;

impl Changes {
    /// Stores what changed, and returns all jobs as they are now stored. What may be decided again
    /// if the answer is lost needs no transaction around its one statement.
    async fn save(&self, session: &mut Session, jobs: Vec<Working>, may_be_repeated: bool) -> Result<Stored, Fault> {
        let mut jobs = jobs;
        let mut order: Vec<usize> = (0..jobs.len()).filter(|place| jobs[*place].part.is_some()).collect();
        // Masters that change the same jobs lock them in the same order.
        order.sort_unstable_by_key(|place| jobs[*place].held.record.job.sequence_number);
        let (mut hot, mut revived, mut signs) = (HotRows::default(), HotRows::default(), SignRows::default());
        let (mut counted, mut woken) = (Difference::default(), Woken::default());
        for place in order {
            let Working { held, was, stood, part, .. } = &mut jobs[place];
            let (Some(part), held) = (part.take(), Arc::make_mut(held)) else { continue };
            counted.went(*stood);
            counted.came(Stand::of(held.lane, &held.record.job));
            if held.phase() == Phase::Ready && *was != Phase::Ready {
                woken.add(held.lane, held.rank);
            }
            match (part, *was) {
                (Part::End(end), _) => signs.ends.push(held, end),
                (Part::Sign, _) => signs.push(held),
                (Part::Hot(part), Phase::Ended) => revived.push(held, *part),
                (Part::Hot(part), _) => hot.push(held, *part),
            }
            held.version += 1;
        }
        let stored = jobs.into_iter().map(|working| Some(working.held)).collect();
        let only_signs = hot.is_empty() && revived.is_empty();
        if signs.is_empty() && only_signs {
            return Ok(stored);
        }
        point("postgres.apply.decided")?;
        if only_signs && woken.is_empty() && may_be_repeated {
            point("postgres.apply.before_commit")?;
            signs.write(session.connection().await?, counted.take()).await?;
            point("postgres.apply.committed")?;
            return Ok(stored);
        }
        let mut change = session.begin().await?;
        if !signs.is_empty() {
            let number = signs.write(change.connection(), counted.take()).await?;
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

/// Whether a command that was done says the same when it is given again.
fn may_be_repeated(command: &JobCommand) -> bool {
    is_sign(command) || matches!(command, JobCommand::Finish { .. } | JobCommand::Cancel)
}

/// A job while a group of commands is decided.
struct Working {
    held: Arc<Held>,
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
    Hot(Box<Hot>),
    End(End),
}

/// The answer to one command.
enum Answer {
    /// The job at this place as it will be stored: no later command of the group changes it.
    Stored(usize),
    /// The job, or why not.
    Said(Box<CoreResult<Job>>),
}

impl Answer {
    /// The answer; a job that no node holds is handed over, one that is held is remembered too.
    fn said(self, stored: &mut Stored) -> CoreResult<Job> {
        let place = match self {
            Self::Said(said) => return *said,
            Self::Stored(place) => place,
        };
        match &stored[place] {
            Some(held) if held.phase() == Phase::Leased => Ok(held.record.job.clone()),
            _ => stored[place].take().map(|held| Arc::unwrap_or_clone(held).record.job).ok_or_else(crate::closed),
        }
    }
}

/// The jobs that a group of commands is about, each once.
#[derive(Default)]
struct Group {
    jobs: Vec<Working>,
    /// Where they stand; `None` where the job is not known.
    places: HashMap<JobId, Option<usize>, Digits>,
    /// How many commands each place has yet to come.
    left: Vec<usize>,
}

impl Group {
    /// What this master remembers of the jobs.
    fn remembered(active: &Active, questions: &[Question]) -> Self {
        let mut group = Self::default();
        let ids = questions.iter().flat_map(|asked| asked.commands.iter().map(|(id, _)| *id));
        let count = questions.iter().map(|asked| asked.commands.len()).sum();
        group.places.reserve(count);
        group.jobs.reserve(count);
        let mut active = active.jobs();
        for id in ids {
            if let Entry::Vacant(place) = group.places.entry(id) {
                let held = active.remove(&id);
                place.insert(held.is_some().then_some(group.jobs.len()));
                group.jobs.extend(held.map(|held| Working::of(held, false)));
            }
        }
        group
    }

    /// Jobs that are not there.
    fn unknown(&self) -> Vec<JobId> {
        self.places.iter().filter(|(_, place)| place.is_none()).map(|(id, _)| *id).collect()
    }

    /// Drops all that is remembered.
    fn forget(&mut self) {
        self.jobs.clear();
        self.places.values_mut().for_each(|place| *place = None);
    }

    /// Adds jobs that were read for this group.
    fn add(&mut self, read: impl Iterator<Item = Held>) {
        for held in read {
            self.places.insert(held.record.job.id, Some(self.jobs.len()));
            self.jobs.push(Working::of(Arc::new(held), true));
        }
    }

    /// Applies each command to what the one before it left. `None` if a remembered copy refuses one
    /// or has nothing to change: then the jobs must be read first.
    fn decide(&mut self, questions: &[Question]) -> Option<Vec<Vec<Answer>>> {
        let Self { jobs, places, left } = self;
        left.clear();
        left.resize(jobs.len(), 0);
        let place = |id: &JobId| places.get(id).copied().flatten();
        for place in questions.iter().flat_map(|question| question.commands.iter().filter_map(|(id, _)| place(id))) {
            left[place] += 1;
        }
        let mut answers = Vec::with_capacity(questions.len());
        for Question { commands, now } in questions {
            let mut answer = Vec::with_capacity(commands.len());
            for (id, command) in commands {
                let Some(place) = place(id) else {
                    answer.push(Answer::Said(Box::new(Err(job_not_found(id)))));
                    continue;
                };
                left[place] -= 1;
                answer.push(match jobs[place].apply(command, *now) {
                    Applied::Doubtful => return None,
                    Applied::Refused(refusal) => Answer::Said(Box::new(Err(refusal))),
                    Applied::Done if left[place] == 0 => Answer::Stored(place),
                    Applied::Done => Answer::Said(Box::new(Ok(jobs[place].held.record.job.clone()))),
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
    fn of(held: Arc<Held>, proven: bool) -> Self {
        let (was, stood) = (held.phase(), Stand::of(held.lane, &held.record.job));
        Self { held, was, stood, proven, part: None }
    }

    fn apply(&mut self, command: &JobCommand, now: Timestamp) -> Applied {
        let (was, before) = (self.held.record.job.state, self.part.as_ref());
        // The story that is stored must be the one from before this command.
        let sign = is_sign(command) && before.is_none_or(|part| matches!(part, Part::Sign));
        if !self.proven {
            // A copy that refuses is thrown away, so it may be changed in place.
            let held = Arc::make_mut(&mut self.held);
            return match held.record.job.apply(command.clone(), now) {
                Ok(true) => match part(held, sign.then_some(was)) {
                    Ok(part) => {
                        self.part = Some(part);
                        Applied::Done
                    }
                    Err(_) => Applied::Doubtful,
                },
                Ok(false) | Err(_) => Applied::Doubtful,
            };
        }
        let mut held = Held::clone(&self.held);
        let changed = held.record.job.apply(command.clone(), now);
        match changed.and_then(|changed| changed.then(|| part(&held, sign.then_some(was))).transpose()) {
            Ok(None) => Applied::Done,
            Ok(Some(part)) => {
                (self.held, self.part) = (Arc::new(held), Some(part));
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
        _ => Part::Hot(Box::new(held.record.hot()?)),
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
