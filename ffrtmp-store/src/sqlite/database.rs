//! The database as its one writer sees it: the connection, and beside it what the writer remembers
//! so that it does not have to read: where every job stands, and the jobs that nodes hold, whole.
//! What is remembered follows the open transaction and goes back with it.
//!
//! This is sound because one process owns the database (`open` takes a lock) and one thread of it
//! writes.

use std::collections::HashMap;
use std::sync::Arc;

use ffrtmp_core::id::JobId;
use ffrtmp_core::store::Lane;
use rusqlite::{Connection, params};

use super::fault::Fault;
use super::rows::{self, Stored};
use crate::ledger::{LaneId, Ledger, Place};
use crate::record::{Coded, Phase};

pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) ledger: Ledger,
    /// The highest sequence number ever given.
    pub(super) last_sequence: u64,
    /// Set by an operation that made a job claimable.
    pub(super) claimable: bool,
    /// Shared with the answers about them: those who wait for an answer make the copies.
    active: HashMap<JobId, Arc<Stored>>,
    /// What the open transaction has done to the ledger, in order.
    moves: Vec<(Option<Place>, Option<Place>)>,
    /// Jobs whose memory the open transaction has changed.
    touched: Vec<JobId>,
    /// Jobs of a lost transaction, to be read again before the next one begins.
    stale: Vec<JobId>,
    before: Before,
}

/// How things stood when the transaction began.
#[derive(Clone, Copy, Debug, Default)]
struct Before {
    lanes: usize,
    last_sequence: u64,
}

impl Database {
    /// Remembers what `load` has read.
    pub(super) fn new(connection: Connection, ledger: Ledger, active: Vec<Stored>, last_sequence: u64) -> Self {
        let mut database = Self {
            connection,
            ledger,
            last_sequence,
            claimable: false,
            active: HashMap::new(),
            moves: Vec::new(),
            touched: Vec::new(),
            stale: Vec::new(),
            before: Before::default(),
        };
        for stored in active {
            database.ledger.moved(None, Some(&stored.place));
            database.active.insert(stored.job().id, Arc::new(stored));
        }
        database.keep();
        database
    }

    /// The job, if a node holds it.
    pub(super) fn active(&self, id: JobId) -> Option<&Arc<Stored>> {
        self.active.get(&id)
    }

    /// Changes the memory of a job that a node holds. The caller must save it or [`Self::reload`].
    pub(super) fn active_mut(&mut self, id: JobId) -> Option<&mut Stored> {
        let stored = self.active.get_mut(&id)?;
        self.touched.push(id);
        Some(Arc::make_mut(stored))
    }

    /// A node holds this job now.
    pub(super) fn activate(&mut self, stored: Arc<Stored>) {
        self.touched.push(stored.job().id);
        self.active.insert(stored.job().id, stored);
    }

    /// No node holds this job any more.
    pub(super) fn deactivate(&mut self, id: JobId) -> Option<Arc<Stored>> {
        self.touched.push(id);
        self.active.remove(&id)
    }

    /// A job came, went or changed.
    pub(super) fn moved(&mut self, from: Option<Place>, to: Option<Place>) {
        let was_ready = from.is_some_and(|from| from.phase == Phase::Ready);
        self.claimable |= !was_ready && to.is_some_and(|to| to.phase == Phase::Ready);
        self.ledger.moved(from.as_ref(), to.as_ref());
        self.moves.push((from, to));
    }

    /// The number of a lane, which gets a row if it has none.
    pub(super) fn lane(&mut self, lane: Lane) -> Result<LaneId, Fault> {
        if let Some(id) = self.ledger.lane(&lane) {
            return Ok(id);
        }
        let requirements = serde_json::to_string(&lane.requirements).map_err(|error| Fault::Unreadable {
            what: "requirements",
            name: lane.requirements.class(),
            source: error.into(),
        })?;
        let number = self.ledger.lanes_opened() as u64 + 1;
        self.connection.prepare_cached("INSERT INTO lanes VALUES (?1, ?2, ?3, ?4)")?.execute(params![
            number,
            requirements,
            lane.tenant.as_str(),
            lane.queue.code()
        ])?;
        Ok(self.ledger.open_lane(lane))
    }

    /// A transaction begins: what an earlier one lost is read again first.
    pub(super) fn begin(&mut self) -> Result<(), Fault> {
        while let Some(id) = self.stale.last().copied() {
            self.reload(id)?;
            self.stale.pop();
        }
        Ok(())
    }

    /// Remembers a job as its rows have it.
    pub(super) fn reload(&mut self, id: JobId) -> Result<(), Fault> {
        let mut statement = self.connection.prepare_cached(rows::BY_ID)?;
        let mut found = statement.query([rows::bytes(id)])?;
        match found.next()?.map(rows::whole).transpose()? {
            Some(stored) if stored.place.phase == Phase::Leased => self.active.insert(id, Arc::new(stored)),
            _ => self.active.remove(&id),
        };
        Ok(())
    }

    /// How much of the memory the open transaction has changed: unchanged, this number stays the same.
    pub(super) fn changes(&self) -> usize {
        self.moves.len() + self.touched.len()
    }

    /// The transaction is committed. Returns whether it made a job claimable.
    pub(super) fn keep(&mut self) -> bool {
        self.moves.clear();
        self.touched.clear();
        self.before = Before { lanes: self.ledger.lanes_opened(), last_sequence: self.last_sequence };
        std::mem::take(&mut self.claimable)
    }

    /// The transaction went back to its start.
    pub(super) fn undo(&mut self) {
        while let Some((from, to)) = self.moves.pop() {
            self.ledger.moved(to.as_ref(), from.as_ref());
        }
        self.ledger.close_lanes(self.before.lanes);
        self.last_sequence = self.before.last_sequence;
        self.claimable = false;
        self.stale.append(&mut self.touched);
    }
}
