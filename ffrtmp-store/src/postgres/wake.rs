//! Waking: whoever makes jobs ready tells the waiting claims of its own master at once and those of
//! the others by NOTIFY; the masters' time travels the same way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::store::Rank;
use sqlx::Connection;
use sqlx::postgres::{PgConnection, PgListener, PgPool};
use tokio::time::Instant;

use super::Shared;
use super::fault::Fault;
use super::lane_rows;
use super::lanes::LaneId;

const CHANNEL: &str = "ffrtmp";
/// A payload has less than 8000 bytes.
const LONGEST: usize = 7900;
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Lanes that have newly ready jobs, with the lowest rank of each.
#[derive(Debug, Default)]
pub(super) struct Woken(BTreeMap<LaneId, Rank>);

impl Woken {
    pub(super) fn add(&mut self, lane: LaneId, rank: Rank) {
        let lowest = self.0.entry(lane).or_insert(rank);
        *lowest = rank.min(*lowest);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// What masters tell each other.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    /// Jobs became ready; `None` if there were too many lanes to name.
    Ready(Option<Vec<(LaneId, Rank)>>),
    /// The leader's time.
    Time(Timestamp),
}

/// Which master said it, and what.
fn spoken(payload: &str) -> Option<(&str, Word)> {
    let (from, rest) = payload.split_once(' ')?;
    let (kind, text) = rest.split_once(' ')?;
    let word = match kind {
        "time" => Word::Time(Timestamp::from_micros(text.parse().ok()?)),
        "ready" if text == "*" => Word::Ready(None),
        "ready" => {
            let lane = |part: &str| {
                let (id, rank) = part.split_once(':')?;
                Some((LaneId(id.parse().ok()?), Rank(rank.parse().ok()?)))
            };
            Word::Ready(Some(text.split(',').map(lane).collect::<Option<_>>()?))
        }
        _ => return None,
    };
    Some((from, word))
}

fn ready(from: &str, woken: &Woken) -> String {
    let lanes: Vec<String> = woken.0.iter().map(|(lane, rank)| format!("{}:{}", lane.0, rank.0)).collect();
    let named = format!("{from} ready {}", lanes.join(","));
    if named.len() <= LONGEST { named } else { format!("{from} ready *") }
}

impl Shared {
    /// Tells other masters, as part of the transaction that made the jobs ready.
    pub(super) async fn notify(&self, connection: &mut PgConnection, woken: &Woken) -> Result<(), Fault> {
        if woken.is_empty() {
            return Ok(());
        }
        self.say(connection, &ready(&self.name, woken)).await
    }

    /// Tells the claims of this master, once the transaction is committed.
    pub(super) fn wake(&self, woken: &Woken) {
        if woken.is_empty() {
            return;
        }
        for (lane, rank) in &woken.0 {
            self.lanes.announce(*lane, *rank);
        }
        self.look_again();
    }

    pub(super) fn look_again(&self) {
        self.changes.send_modify(|version| *version += 1);
    }

    /// Tells the followers what time it is.
    pub(super) async fn say_time(&self, connection: &mut PgConnection, now: Timestamp) -> Result<(), Fault> {
        self.say(connection, &format!("{} time {}", self.name, now.as_micros())).await
    }

    async fn say(&self, connection: &mut PgConnection, payload: &str) -> Result<(), Fault> {
        sqlx::query("SELECT pg_notify($1, $2)").bind(CHANNEL).bind(payload).execute(connection).await?;
        Ok(())
    }

    async fn hear(&self, payload: &str, pool: &PgPool) {
        let Some((from, word)) = spoken(payload) else { return };
        if from == self.name {
            return;
        }
        match word {
            Word::Time(leader) => self.hear_time(leader),
            Word::Ready(Some(lanes)) => {
                if lanes.iter().any(|(lane, _)| !self.lanes.knows(*lane)) {
                    self.learn_lanes(pool).await;
                }
                lanes.iter().for_each(|(lane, rank)| self.lanes.announce(*lane, *rank));
                self.look_again();
            }
            Word::Ready(None) => {
                self.learn_lanes(pool).await;
                self.lanes.announce_all();
                self.look_again();
            }
        }
    }

    fn hear_time(&self, leader: Timestamp) {
        *self.leader.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some((leader, Instant::now()));
    }

    async fn learn_lanes(&self, pool: &PgPool) {
        let learned = async { lane_rows::refresh(&mut *pool.acquire().await?, &self.lanes).await };
        if let Err(fault) = learned.await {
            // The next look at all lanes finds them.
            tracing::debug!(%fault, "the lanes were not read");
        }
    }
}

/// Listens until the store is closed. After every gap anything may have become ready.
pub(super) async fn listen(shared: Arc<Shared>, pool: PgPool, first: tokio::sync::oneshot::Sender<()>) {
    let (mut pause, mut first) = (PAUSE, Some(first));
    while !pool.is_closed() {
        match connected(&pool).await {
            Ok(mut listener) => {
                pause = PAUSE;
                shared.learn_lanes(&pool).await;
                shared.lanes.announce_all();
                shared.look_again();
                first.take().map(|first| first.send(()));
                while let Ok(Some(said)) = listener.try_recv().await {
                    shared.hear(said.payload(), &pool).await;
                }
            }
            Err(error) => tracing::debug!(%error, "no connection to hear other masters"),
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            () = pool.close_event() => return,
        }
    }
}

async fn connected(pool: &PgPool) -> sqlx::Result<PgListener> {
    let mut listener = PgListener::connect_with(pool).await?;
    listener.eager_reconnect(false);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Ends a connection politely.
pub(super) async fn hang_up(connection: PgConnection) {
    // It ends with the process anyway.
    let _ = connection.close().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_go_both_ways() {
        let mut woken = Woken::default();
        woken.add(LaneId(3), Rank(9));
        woken.add(LaneId(3), Rank(-7));
        woken.add(LaneId(12), Rank(i64::MIN));
        let lanes = vec![(LaneId(3), Rank(-7)), (LaneId(12), Rank(i64::MIN))];
        assert_eq!(spoken(&ready("me", &woken)), Some(("me", Word::Ready(Some(lanes)))));
        (0..2000).for_each(|lane| woken.add(LaneId(lane), Rank(i64::MAX)));
        assert_eq!(spoken(&ready("me", &woken)), Some(("me", Word::Ready(None))));
        assert_eq!(spoken("me time 17"), Some(("me", Word::Time(Timestamp::from_micros(17)))));
        for foreign in ["", "me", "me ready", "me ready 1", "me ready 1:x", "me sing la", "hello world again"] {
            assert_eq!(spoken(foreign), None, "{foreign}");
        }
    }
}
