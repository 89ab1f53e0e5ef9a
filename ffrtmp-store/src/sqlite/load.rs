//! Reading into memory what the writer remembers, at the start.

use ffrtmp_core::id::JobId;
use ffrtmp_core::job::{JobState, Queue};
use ffrtmp_core::store::{Lane, Rank};
use rusqlite::{Connection, Row};

use super::database::Database;
use super::fault::Fault;
use super::query;
use super::rows::{self, Stored};
use crate::ledger::{Ledger, Place};
use crate::record::{Coded, Phase};

/// Takes the connection over, with everything that is to be remembered.
pub(super) fn database(connection: Connection) -> Result<Database, Fault> {
    let mut ledger = Ledger::default();
    lanes(&connection, &mut ledger)?;
    each(&connection, "SELECT facet, count(*) FROM ended GROUP BY facet", |row| {
        ledger.count(rows::words(row, 0)?.cell, row.get(1)?);
        Ok(())
    })?;
    each(&connection, "SELECT sequence, facet, lane, rank, retry_at FROM pending", |row| {
        ledger.moved(None, Some(&pending(row)?));
        Ok(())
    })?;
    let mut active: Vec<Stored> = Vec::new();
    each(&connection, rows::ACTIVE, |row| {
        active.push(rows::hot(row, 3)?);
        Ok(())
    })?;
    // A node that cannot be read would stand in the way of every list.
    query::list_nodes(&connection)?;
    let last: u64 = connection.query_row(
        "SELECT max(last_sequence, coalesce((SELECT max(sequence) FROM jobs), 0)) FROM state",
        [],
        |row| row.get(0),
    )?;
    Ok(Database::new(connection, ledger, active, last))
}

fn lanes(connection: &Connection, ledger: &mut Ledger) -> Result<(), Fault> {
    each(connection, "SELECT id, requirements, tenant, queue FROM lanes ORDER BY id", |row| {
        let number: u64 = row.get(0)?;
        let lane = lane(row).map_err(|source| unreadable(number, source))?;
        if ledger.lanes_opened() as u64 + 1 != number {
            return Err(unreadable(number, "a lane before it is missing".into()));
        }
        ledger.open_lane(lane);
        Ok(())
    })
}

fn lane(row: &Row<'_>) -> Result<Lane, Box<dyn std::error::Error + Send + Sync>> {
    Ok(Lane {
        requirements: serde_json::from_str(row.get_ref(1)?.as_str()?)?,
        tenant: row.get_ref(2)?.as_str()?.parse()?,
        queue: Queue::from_code(row.get(3)?).ok_or("no queue has its number")?,
    })
}

fn unreadable(number: u64, source: Box<dyn std::error::Error + Send + Sync>) -> Fault {
    Fault::Unreadable { what: "lane", name: number.to_string(), source }
}

fn pending(row: &Row<'_>) -> Result<Place, Fault> {
    let cell = rows::words(row, 1)?.cell;
    let phase = match cell.state {
        JobState::Queued => Phase::Ready,
        JobState::Retrying => Phase::Backoff,
        JobState::Paused => Phase::Held,
        _ => Phase::Waiting,
    };
    Ok(Place {
        sequence: row.get(0)?,
        cell,
        phase,
        lane: rows::lane(row, 2)?,
        rank: Rank(row.get(3)?),
        node: None,
        until: rows::time(row, 4)?.filter(|_| phase == Phase::Backoff),
    })
}

/// The place of a job that neither ended nor is held by a node.
pub(super) fn place(connection: &Connection, id: JobId) -> Result<Option<Place>, Fault> {
    let mut statement = connection.prepare_cached(
        "SELECT pending.sequence, facet, lane, rank, retry_at
         FROM jobs JOIN pending ON pending.sequence = jobs.sequence WHERE jobs.id = ?1",
    )?;
    let mut found = statement.query([rows::bytes(id)])?;
    found.next()?.map(pending).transpose()
}

fn each(connection: &Connection, sql: &str, mut take: impl FnMut(&Row<'_>) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        take(row)?;
    }
    Ok(())
}
