//! What a store does by itself now and then: it looks from the front of every lane for jobs that a
//! claim must not miss, and adds up the tally. Both cost a share of time that stays small, however
//! much an old snapshot makes the server walk over.

use std::sync::Arc;
use std::time::Duration;

use ffrtmp_core::store::Rank;
use sqlx::Row;
use sqlx::postgres::{PgConnection, PgPool};
use tokio::time::Instant;

use super::fault::Fault;
use super::lanes::LaneId;
use super::{Shared, lane_rows, tally};

const ROUND: Duration = Duration::from_secs(2);
/// A look that took long is repeated after this many times as long.
const SHARE: u32 = 100;

pub(super) async fn keep_up(shared: Arc<Shared>, pool: PgPool) {
    let mut wait = ROUND;
    loop {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = pool.close_event() => return,
        }
        let began = Instant::now();
        if let Err(fault) = round(&shared, &pool).await {
            tracing::debug!(%fault, "the lanes were not looked at");
        }
        wait = ROUND.max(began.elapsed() * SHARE);
    }
}

async fn round(shared: &Shared, pool: &PgPool) -> Result<(), Fault> {
    let mut connection = pool.acquire().await?;
    lane_rows::refresh(&mut connection, &shared.lanes).await?;
    if look(shared, &mut connection).await? {
        shared.look_again();
    }
    tally::compact(&mut connection).await
}

/// Announces the first job of every lane that is behind what the claims remember.
async fn look(shared: &Shared, connection: &mut PgConnection) -> Result<bool, Fault> {
    let rows = sqlx::query(
        "SELECT n.id, h.rank, h.sequence FROM ffrtmp.lanes n CROSS JOIN LATERAL (
             SELECT rank, sequence FROM ffrtmp.live WHERE live.lane = n.id AND live.phase = 1
             ORDER BY live.rank, live.sequence LIMIT 1) h",
    )
    .fetch_all(connection)
    .await?;
    let mut missed = false;
    for row in rows {
        let (lane, key) = (LaneId(row.try_get(0)?), (row.try_get(1)?, row.try_get(2)?));
        if shared.lanes.is_behind(lane, key) {
            shared.lanes.announce(lane, Rank(key.0));
            missed = true;
        }
    }
    Ok(missed)
}
