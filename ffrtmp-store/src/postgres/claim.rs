//! Claims: the heads of the lanes that a node can run, locked so that masters take different ones.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::sync::Arc;

use async_trait::async_trait;
use ffrtmp_core::Result as CoreResult;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{Fence, NodeId};
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::store::{ClaimOrder, Lane, Rank};
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgRow};
use uuid::Uuid;

use super::desk::Work;
use super::fault::Fault;
use super::lanes::{Key, LaneId, Open};
use super::rows::{Held, job_id, uuid};
use super::session::{Session, Tries};
use super::signs::{Askers, Given, taken};
use super::tally::{Difference, Stand};
use super::{Shared, point};
use crate::record::{Hot, Record};
use crate::room::Room;

/// Held by whoever claims under caps or encode sessions: the counts must not change meanwhile.
const CLAIM_LOCK: i64 = 0x6666_7274_6d70_0002;

/// Claims of many nodes at once.
pub(super) struct Claims(pub(super) Arc<Shared>);

/// A claim and when it is made.
pub(super) struct Question {
    pub(super) order: ClaimOrder,
    pub(super) now: Timestamp,
}

/// A queued job as a claim sees it: which open lane, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    key: Key,
    lane: usize,
}

/// A locked head and the row behind it.
struct Locked {
    head: Head,
    row: PgRow,
}

#[async_trait]
impl Work for Claims {
    type Question = Question;
    type Answer = Vec<Job>;
    const NAME: &'static str = "postgres.claim";

    fn weight(question: &Question) -> usize {
        question.order.slots.max(1)
    }

    async fn answer(&self, session: &mut Session, questions: &[Question]) -> Result<Vec<CoreResult<Vec<Job>>>, Fault> {
        let Shared { lanes, active, .. } = &*self.0;
        let fits = |lane: &Lane| questions.iter().any(|question| lane.requirements.met_by(&question.order.offer));
        let open = lanes.begin(fits);
        let mut given = match open.as_slice() {
            [] => {
                // A closed connection must not look like an empty queue.
                session.connection().await?;
                return Ok(questions.iter().map(|_| Ok(Vec::new())).collect());
            }
            [open] if !is_bounded(questions, std::slice::from_ref(open)) => {
                self.take_of_one(session, questions, open).await?
            }
            open => self.share_out(session, questions, open).await?,
        };
        given.iter_mut().for_each(|held| held.sort_unstable_by_key(|held| (held.rank, held.sequence())));
        active.keep(given.iter().flatten().cloned());
        let answer = |held: Vec<Arc<Held>>| Ok(held.iter().map(|held| held.record.job.clone()).collect());
        Ok(given.into_iter().map(answer).collect())
    }
}

/// What each question is given.
type Shares = Vec<Vec<Arc<Held>>>;

impl Claims {
    /// Nothing but the order of one lane decides: one statement takes its first jobs.
    async fn take_of_one(&self, session: &mut Session, questions: &[Question], open: &Open) -> Result<Shares, Fault> {
        let able = |index: &usize| open.lane.requirements.met_by(&questions[*index].order.offer);
        let able: Vec<usize> = (0..questions.len()).filter(able).collect();
        let slots: Vec<i64> =
            able.iter().map(|index| i64::try_from(questions[*index].order.slots).unwrap_or(i64::MAX)).collect();
        let mut askers = Askers::default();
        able.iter().for_each(|index| askers.push(&questions[*index]));
        point("postgres.claim.selected")?;
        point("postgres.claim.before_commit")?;
        let mark = mark();
        let rows = match askers.take(session.connection().await?, open, &slots, mark).await {
            Err(fault) if fault.breaks_connection() => taken_after_all(session, fault, mark).await?,
            rows => rows?,
        };
        point("postgres.claim.committed")?;
        let mut given: Shares = questions.iter().map(|_| Vec::new()).collect();
        let mut last = None;
        for row in &rows {
            let key = (row.try_get(0)?, row.try_get(1)?);
            last = last.max(Some(key));
            let Some(asker) = asker(row, questions, &able, &given)? else { continue };
            match ready(row, open.id, key) {
                Ok(held) => {
                    let Question { order, now } = &questions[asker];
                    let mut held = Held { version: mark, ..held };
                    held.record.job.assign(order.node, &order.node_name, order.lease, *now)?;
                    given[asker].push(Arc::new(held));
                }
                Err(fault @ Fault::Unreadable { .. }) => {
                    set_aside(session.connection().await?, key.1).await?;
                    tracing::error!(%fault, "a queued job is set aside");
                }
                Err(fault) => return Err(fault),
            }
        }
        let wanted = slots.iter().fold(0_i64, |all, slots| all.saturating_add(*slots));
        let is_dry = i64::try_from(rows.len()).unwrap_or(i64::MAX) < wanted;
        self.0.lanes.advance(open.id, last.filter(|_| !is_dry));
        Ok(given)
    }

    /// Several lanes, or bounds: the heads are locked, shared out here, and given.
    async fn share_out(&self, session: &mut Session, questions: &[Question], open: &[Open]) -> Result<Shares, Fault> {
        let mut change = session.begin().await?;
        let standing = Standing::read(change.connection(), questions, open).await?;
        let plan = plan(change.connection(), questions, open, &standing).await?;
        let locked = lock(change.connection(), open, &plan.wanted).await?;
        point("postgres.claim.selected")?;
        let heads: Vec<Head> = locked.iter().map(|locked| locked.head).collect();
        let shares = share(questions, open, &standing, &heads);
        let (mut askers, mut rows, mut counted) = (Askers::default(), Given::default(), Difference::default());
        questions.iter().for_each(|question| askers.push(question));
        let mut given: Shares = questions.iter().map(|_| Vec::new()).collect();
        for (locked, share) in locked.iter().zip(&shares) {
            let Some(asker) = *share else { continue };
            let lane = open[locked.head.lane].id;
            let Question { order, now } = &questions[asker];
            let mut held = match ready(&locked.row, lane, locked.head.key) {
                Ok(held) => held,
                Err(fault @ Fault::Unreadable { .. }) => {
                    // A damaged row must not stand in the way of those behind it.
                    tracing::error!(%fault, "a queued job is passed over");
                    continue;
                }
                Err(fault) => return Err(fault),
            };
            counted.went(Stand::of(lane, &held.record.job));
            held.record.job.assign(order.node, &order.node_name, order.lease, *now)?;
            counted.came(Stand::of(lane, &held.record.job));
            rows.push(held.sequence(), asker);
            held.version += 1;
            given[asker].push(Arc::new(held));
        }
        if !rows.is_empty() {
            let number = askers.give(change.connection(), rows, counted.take()).await?;
            change.note(number);
        }
        point("postgres.claim.before_commit")?;
        if let Err(lost) = change.commit().await {
            lost.settle(session).await?;
        }
        point("postgres.claim.committed")?;
        for (index, lane) in open.iter().enumerate() {
            self.0.lanes.advance(lane.id, plan.rest(index, &heads, &shares));
        }
        Ok(given)
    }
}

/// A version that no other change has: it tells the jobs of one claim from all others.
fn mark() -> i64 {
    let (random, _) = Uuid::new_v4().as_u64_pair();
    i64::try_from(random >> 2).unwrap_or_default()
}

/// Which question a row of [`Askers::take`] or [`taken`] is for.
fn asker(row: &PgRow, questions: &[Question], able: &[usize], given: &Shares) -> Result<Option<usize>, Fault> {
    if let Ok(place) = row.try_get::<i32, _>(PLACE) {
        return Ok(usize::try_from(place).ok().and_then(|place| able.get(place).copied()));
    }
    let node: Option<Uuid> = row.try_get(PLACE)?;
    let fits = |asker: &&usize| {
        let order = &questions[**asker].order;
        Some(uuid(order.node)) == node && given[**asker].len() < order.slots
    };
    Ok(able.iter().find(fits).copied())
}

/// What a claim was given whose answer was lost.
///
/// # Errors
/// The fault, if it was given nothing or nobody can say: at worst its jobs wait for one lease.
async fn taken_after_all(session: &mut Session, fault: Fault, mark: i64) -> Result<Vec<PgRow>, Fault> {
    session.hang_up();
    let mut tries = Tries::new();
    loop {
        let asked = async { taken(session.connection().await?, mark).await };
        match asked.await {
            Ok(rows) if rows.is_empty() => return Err(fault),
            Ok(rows) => return Ok(rows),
            Err(again) => session.recover(again, &mut tries).await?,
        }
    }
}

/// Takes a damaged row out of the way of leases and claims.
async fn set_aside(connection: &mut PgConnection, sequence: i64) -> Result<(), Fault> {
    let sql = "UPDATE ffrtmp.live SET phase = 4 WHERE sequence = $1";
    sqlx::query(sql).bind(sequence).execute(connection).await?;
    Ok(())
}

/// How many heads of which lanes to lock.
struct Plan {
    wanted: BTreeMap<usize, usize>,
    /// The first head of each lane that is not wanted, as far as it was looked at.
    firsts: Vec<Option<Key>>,
}

impl Plan {
    /// Where the lane begins after this claim, or `None` if it is empty as far as one can see.
    fn rest(&self, lane: usize, heads: &[Head], shares: &[Option<usize>]) -> Option<Key> {
        let Some(limit) = self.wanted.get(&lane) else { return self.firsts[lane] };
        let seen = || heads.iter().zip(shares).filter(|(head, _)| head.lane == lane);
        match seen().find(|(_, share)| share.is_none()) {
            Some((left, _)) => Some(left.key),
            None if seen().count() < *limit => None,
            None => seen().next_back().map(|(last, _)| last.key),
        }
    }
}

/// What bounds the claims beside their slots.
#[derive(Default)]
struct Standing {
    /// Active jobs by lane.
    lanes: Vec<(Arc<Lane>, u64)>,
    /// Active jobs that take an encode session, by node.
    sessions: HashMap<NodeId, u32>,
    /// Whether anything is bounded.
    bounded: bool,
}

impl Standing {
    /// Reads it where a bound is set, and keeps other masters from claiming until the commit.
    async fn read(connection: &mut PgConnection, questions: &[Question], open: &[Open]) -> Result<Self, Fault> {
        if !is_bounded(questions, open) {
            return Ok(Self::default());
        }
        sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(CLAIM_LOCK).execute(&mut *connection).await?;
        let rows = sqlx::query(
            "SELECT l.lane, l.node, count(*), n.lane FROM ffrtmp.live l JOIN ffrtmp.lanes n ON n.id = l.lane
             WHERE l.phase = 2 GROUP BY l.lane, l.node, n.lane",
        )
        .fetch_all(connection)
        .await?;
        let mut standing = Self { bounded: true, ..Self::default() };
        for row in rows {
            let text: &str = row.try_get(3)?;
            let lane: Lane = serde_json::from_str(text).map_err(|error| Fault::unreadable("lane", text, error))?;
            let jobs = u64::try_from(row.try_get::<i64, _>(2)?).unwrap_or_default();
            if let Some(node) = row.try_get::<Option<Uuid>, _>(1)?.filter(|_| lane.requirements.gpu) {
                let sessions = standing.sessions.entry(NodeId::from_u128(node.as_u128())).or_default();
                *sessions = sessions.saturating_add(u32::try_from(jobs).unwrap_or(u32::MAX));
            }
            standing.lanes.push((Arc::new(lane), jobs));
        }
        Ok(standing)
    }
}

/// Whether more than the order of the lanes decides who gets what.
fn is_bounded(questions: &[Question], open: &[Open]) -> bool {
    let gpu = open.iter().any(|open| open.lane.requirements.gpu);
    let bounded =
        |question: &Question| !question.order.caps.is_empty() || gpu && question.order.offer.gpu_sessions.is_some();
    questions.iter().any(bounded)
}

/// With one lane all slots are wanted of it; with several a look at the heads tells which of them
/// come first, so that no more rows are locked than are given.
async fn plan(
    connection: &mut PgConnection,
    questions: &[Question],
    open: &[Open],
    standing: &Standing,
) -> Result<Plan, Fault> {
    let slots: usize = questions.iter().map(|question| question.order.slots).sum();
    if open.len() == 1 && !standing.bounded {
        return Ok(Plan { wanted: [(0, slots)].into(), firsts: vec![None] });
    }
    let rows = sqlx::query(
        "SELECT l.index, h.rank, h.sequence
         FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[]) AS l(index, lane, rank, sequence)
         CROSS JOIN LATERAL (SELECT rank, sequence FROM ffrtmp.live
             WHERE live.lane = l.lane AND live.phase = 1 AND (live.rank, live.sequence) >= (l.rank, l.sequence)
             ORDER BY live.rank, live.sequence LIMIT $5) h",
    )
    .bind((0..open.len()).map(|index| i32::try_from(index).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(open.iter().map(|open| open.id.0).collect::<Vec<_>>())
    .bind(open.iter().map(|open| open.from.0).collect::<Vec<_>>())
    .bind(open.iter().map(|open| open.from.1).collect::<Vec<_>>())
    .bind(i64::try_from(slots).unwrap_or(i64::MAX))
    .fetch_all(connection)
    .await?;
    let mut heads = Vec::with_capacity(rows.len());
    for row in &rows {
        let lane = usize::try_from(row.try_get::<i32, _>(0)?).unwrap_or_default();
        heads.push(Head { key: (row.try_get(1)?, row.try_get(2)?), lane });
    }
    heads.sort_unstable_by_key(|head| (head.lane, head.key));
    let mut firsts = vec![None; open.len()];
    for head in heads.iter().rev() {
        firsts[head.lane] = Some(head.key);
    }
    let mut wanted: BTreeMap<usize, usize> = BTreeMap::new();
    for (head, share) in heads.iter().zip(share(questions, open, standing, &heads)) {
        if share.is_some() {
            *wanted.entry(head.lane).or_default() += 1;
        }
    }
    Ok(Plan { wanted, firsts })
}

/// Locks heads, skipping those that another master has locked, in the order of each lane.
async fn lock(
    connection: &mut PgConnection,
    open: &[Open],
    wanted: &BTreeMap<usize, usize>,
) -> Result<Vec<Locked>, Fault> {
    if wanted.values().sum::<usize>() == 0 {
        return Ok(Vec::new());
    }
    let rows = sqlx::query(
        "SELECT g.rank, g.sequence, j.id, j.fixed, g.version, g.fence, g.attempt, g.retry_count, g.node,
                g.queued_at, g.started_at, g.last_activity_at, g.story, l.index
         FROM unnest($1::integer[], $2::integer[], $3::bigint[], $4::bigint[], $5::bigint[])
             AS l(index, lane, rank, sequence, slots)
         CROSS JOIN LATERAL (SELECT * FROM ffrtmp.live
             WHERE live.lane = l.lane AND live.phase = 1 AND (live.rank, live.sequence) >= (l.rank, l.sequence)
             ORDER BY live.rank, live.sequence LIMIT l.slots FOR NO KEY UPDATE SKIP LOCKED) g
         JOIN ffrtmp.jobs j ON j.sequence = g.sequence",
    )
    .bind(wanted.keys().map(|index| i32::try_from(*index).unwrap_or(i32::MAX)).collect::<Vec<_>>())
    .bind(wanted.keys().map(|index| open[*index].id.0).collect::<Vec<_>>())
    .bind(wanted.keys().map(|index| open[*index].from.0).collect::<Vec<_>>())
    .bind(wanted.keys().map(|index| open[*index].from.1).collect::<Vec<_>>())
    .bind(wanted.values().map(|slots| i64::try_from(*slots).unwrap_or(i64::MAX)).collect::<Vec<_>>())
    .fetch_all(connection)
    .await?;
    let mut locked = Vec::with_capacity(rows.len());
    for row in rows {
        let lane = usize::try_from(row.try_get::<i32, _>(PLACE)?).unwrap_or_default();
        locked.push(Locked { head: Head { key: (row.try_get(0)?, row.try_get(1)?), lane }, row });
    }
    locked.sort_unstable_by_key(|locked| (locked.head.lane, locked.head.key));
    Ok(locked)
}

/// Who gets which head: the claims in their order, each the first heads by rank and number that its
/// node can run and that there is room for. `heads` are in order within each lane.
fn share(questions: &[Question], open: &[Open], standing: &Standing, heads: &[Head]) -> Vec<Option<usize>> {
    let mut shares = vec![None; heads.len()];
    let mut queues: Vec<std::collections::VecDeque<usize>> = vec![Default::default(); open.len()];
    for (index, head) in heads.iter().enumerate() {
        queues[head.lane].push_back(index);
    }
    let mut given: Vec<(Arc<Lane>, u64)> = Vec::new();
    let mut sessions = standing.sessions.clone();
    for (asker, Question { order, .. }) in questions.iter().enumerate() {
        let active = standing.lanes.iter().chain(&given).map(|(lane, jobs)| (&**lane, *jobs));
        let mut room = Room::new(order, active, sessions.get(&order.node).copied().unwrap_or(0));
        let able = |lane: usize| open[lane].lane.requirements.met_by(&order.offer);
        let mut fronts: BinaryHeap<Reverse<(Key, usize)>> = (0..open.len())
            .filter(|lane| able(*lane))
            .filter_map(|lane| queues[lane].front().map(|index| Reverse((heads[*index].key, lane))))
            .collect();
        let mut left = order.slots;
        while left > 0 {
            let Some(Reverse((_, lane))) = fronts.pop() else { break };
            // A lane without room stays so for this claim.
            if !room.take(&open[lane].lane) {
                continue;
            }
            let Some(index) = queues[lane].pop_front() else { continue };
            shares[index] = Some(asker);
            left -= 1;
            if standing.bounded {
                given.push((Arc::clone(&open[lane].lane), 1));
                if open[lane].lane.requirements.gpu {
                    *sessions.entry(order.node).or_default() += 1;
                }
            }
            fronts.extend(queues[lane].front().map(|next| Reverse((heads[*next].key, lane))));
        }
    }
    shares
}

/// The column behind those of a queued job: whose it is.
const PLACE: usize = 13;

/// A row as the queued job that it was.
fn ready(row: &PgRow, lane: LaneId, key: Key) -> Result<Held, Fault> {
    let time = |column: usize| -> Result<Option<Timestamp>, Fault> {
        Ok(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_micros))
    };
    let id = job_id(row.try_get(2)?);
    let hot = Hot {
        state: JobState::Queued,
        node: row.try_get::<Option<Uuid>, _>(8)?.map(|node| NodeId::from_u128(node.as_u128())),
        fence: Fence(u64::try_from(row.try_get::<i64, _>(5)?).unwrap_or_default()),
        attempt: u32::try_from(row.try_get::<i32, _>(6)?).unwrap_or_default(),
        retry_count: u32::try_from(row.try_get::<i32, _>(7)?).unwrap_or_default(),
        progress: 0.0,
        queued_at: time(9)?,
        started_at: time(10)?,
        last_activity_at: time(11)?,
        lease_expires_at: None,
        retry_at: None,
        story: row.try_get(12)?,
    };
    let sequence = u64::try_from(key.1).unwrap_or_default();
    let record =
        Record::from_hot(id, sequence, row.try_get(3)?, hot).map_err(|error| Fault::unreadable("job", id, error))?;
    Ok(Held { record, lane, rank: Rank(key.0), version: row.try_get(4)? })
}
