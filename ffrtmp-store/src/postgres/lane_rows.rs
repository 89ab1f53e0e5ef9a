//! Lanes in the database: found or made before jobs are stored, read again when another master made
//! some. They are few and never change.

use std::collections::HashSet;

use ffrtmp_core::store::Lane;
use sqlx::Row;
use sqlx::postgres::PgConnection;

use super::digest;
use super::fault::Fault;
use super::lanes::{LaneId, Lanes};

/// Makes sure that each of these lanes has an id. What was made stays, whatever becomes of the jobs.
pub(super) async fn ensure<'a>(
    connection: &mut PgConnection,
    lanes: &Lanes,
    needed: impl Iterator<Item = &'a Lane>,
) -> Result<(), Fault> {
    let missing: HashSet<&Lane> = needed.filter(|lane| lanes.id(lane).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let (mut digests, mut texts) = (Vec::new(), Vec::new());
    for lane in missing {
        let text = serde_json::to_string(lane).map_err(|error| Fault::unreadable("lane", "new", error))?;
        digests.push(digest::of(&[text.as_bytes()]));
        texts.push(text);
    }
    sqlx::query(
        "INSERT INTO ffrtmp.lanes (digest, lane) SELECT * FROM unnest($1::uuid[], $2::text[])
         ON CONFLICT (digest) DO NOTHING",
    )
    .bind(digests)
    .bind(texts)
    .execute(&mut *connection)
    .await?;
    refresh(connection, lanes).await
}

/// Reads all lanes.
pub(super) async fn refresh(connection: &mut PgConnection, lanes: &Lanes) -> Result<(), Fault> {
    for row in sqlx::query("SELECT id, lane FROM ffrtmp.lanes").fetch_all(connection).await? {
        let id = LaneId(row.try_get(0)?);
        if !lanes.knows(id) {
            let text: &str = row.try_get(1)?;
            let lane = serde_json::from_str(text).map_err(|error| Fault::unreadable("lane", id.0, error))?;
            lanes.learn(id, lane);
        }
    }
    Ok(())
}
