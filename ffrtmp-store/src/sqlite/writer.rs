//! The one thread that writes. Operations that wait for it share a transaction and its fsync
//! (group commit); each stands in a savepoint, so that a refused one does not undo its neighbours.
//! Nobody is answered before the commit.

use std::collections::VecDeque;
use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::fault::Fault;
use super::ledger::Ledger;

/// Operations that one transaction takes at most.
const GROUP: usize = 256;

/// The database as an operation sees it, inside a transaction.
pub(super) struct Database {
    pub(super) connection: Connection,
    pub(super) ledger: Ledger,
    /// Set by an operation that made a job claimable.
    pub(super) claimable: bool,
}

/// An operation that waits for its transaction.
pub(super) trait Operation: Send {
    /// Does the work. Returns whether it may stay.
    fn run(&mut self, database: &mut Database) -> bool;

    /// The transaction is over: committed, or lost for this reason.
    fn answer(self: Box<Self>, lost: Option<Arc<rusqlite::Error>>);
}

/// Work with an answer for its caller.
pub(super) struct Request<T, W> {
    work: Option<W>,
    done: Option<Result<T, Fault>>,
    reply: oneshot::Sender<Result<T, Fault>>,
}

impl<T, W> Request<T, W> {
    pub(super) fn new(work: W) -> (Self, oneshot::Receiver<Result<T, Fault>>) {
        let (reply, answer) = oneshot::channel();
        (Self { work: Some(work), done: None, reply }, answer)
    }
}

impl<T: Send, W: FnOnce(&mut Database) -> Result<T, Fault> + Send> Operation for Request<T, W> {
    fn run(&mut self, database: &mut Database) -> bool {
        let Some(work) = self.work.take() else { return false };
        self.done.insert(work(database)).is_ok()
    }

    fn answer(self: Box<Self>, lost: Option<Arc<rusqlite::Error>>) {
        let answer = match (self.done, lost) {
            (Some(Err(fault)), _) => Err(fault),
            (_, Some(error)) => Err(Fault::Commit(error)),
            (Some(done), None) => done,
            (None, None) => Err(Fault::Sqlite(rusqlite::Error::InvalidQuery)),
        };
        // A caller that has gone away does not undo what it asked for.
        let _ = self.reply.send(answer);
    }
}

/// The thread's own state.
pub(super) struct Writer {
    database: Database,
    changes: watch::Sender<u64>,
}

impl Writer {
    pub(super) fn new(connection: Connection, ledger: Ledger, changes: watch::Sender<u64>) -> Self {
        Self { database: Database { connection, ledger, claimable: false }, changes }
    }

    /// Works until every sender is gone and the queue is empty, then closes the database.
    pub(super) fn run(mut self, mut orders: mpsc::Receiver<Box<dyn Operation>>) {
        while let Some(first) = orders.blocking_recv() {
            let mut group = VecDeque::from([first]);
            while group.len() < GROUP {
                let Ok(next) = orders.try_recv() else { break };
                group.push_back(next);
            }
            while !group.is_empty() {
                self.transaction(&mut group);
            }
        }
        self.close();
    }

    /// Carries out as much of the group as one transaction takes: all of it, unless SQLite rolls
    /// the transaction back by itself (disk full, I/O error), which takes the done part with it.
    fn transaction(&mut self, group: &mut VecDeque<Box<dyn Operation>>) {
        if let Err(error) = self.statement("BEGIN IMMEDIATE") {
            return answer_all(group.drain(..), Some(Arc::new(error)));
        }
        let mut done = Vec::with_capacity(group.len());
        let mut broken = None;
        while let Some(mut operation) = group.pop_front() {
            let outcome = self.step(operation.as_mut());
            done.push(operation);
            if let Err(error) = outcome {
                broken = Some(error);
                break;
            }
        }
        let outcome = match broken {
            None => self.statement("COMMIT"),
            Some(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                self.database.ledger.keep();
                if std::mem::take(&mut self.database.claimable) {
                    self.changes.send_modify(|version| *version += 1);
                }
                answer_all(done, None);
            }
            Err(error) => {
                self.abandon();
                answer_all(done, Some(Arc::new(error)));
            }
        }
    }

    /// One operation in its savepoint. An error means that the whole transaction is lost.
    fn step(&mut self, operation: &mut dyn Operation) -> rusqlite::Result<()> {
        self.statement("SAVEPOINT operation")?;
        let mark = self.database.ledger.mark();
        if operation.run(&mut self.database) {
            return self.statement("RELEASE operation");
        }
        if self.database.connection.is_autocommit() {
            return Err(rusqlite::Error::SqliteFailure(
                rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK),
                Some("a neighbour in the same transaction met an error that undid both".into()),
            ));
        }
        self.database.ledger.undo(mark);
        self.statement("ROLLBACK TO operation")?;
        self.statement("RELEASE operation")
    }

    fn abandon(&mut self) {
        self.database.ledger.undo_all();
        self.database.claimable = false;
        if !self.database.connection.is_autocommit()
            && let Err(error) = self.statement("ROLLBACK")
        {
            tracing::error!(%error, "the database cannot roll back");
        }
    }

    fn statement(&self, sql: &str) -> rusqlite::Result<()> {
        self.database.connection.prepare_cached(sql)?.execute([]).map(|_| ())
    }

    fn close(self) {
        if let Err((_, error)) = self.database.connection.close() {
            tracing::warn!(%error, "the database did not close cleanly; it recovers at the next start");
        }
    }
}

fn answer_all(operations: impl IntoIterator<Item = Box<dyn Operation>>, lost: Option<Arc<rusqlite::Error>>) {
    for operation in operations {
        operation.answer(lost.clone());
    }
}
