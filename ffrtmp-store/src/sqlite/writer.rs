//! The one thread that writes. Operations that wait for it share a transaction and its fsync
//! (group commit). An operation that refuses has changed nothing; one that fails after it changed
//! something takes the transaction with it. Nobody is answered before the commit.

use std::sync::Arc;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot, watch};

use super::database::Database;
use super::fault::Fault;
use super::home::Home;
use crate::failpoint;

/// Operations that one transaction takes at most.
const GROUP: usize = 256;

/// An operation that waits for its transaction.
pub(super) trait Operation: Send {
    /// Does the work.
    fn run(&mut self, database: &mut Database) -> Outcome;

    /// The transaction is over: committed, or lost for this reason.
    fn answer(self: Box<Self>, lost: Option<Arc<rusqlite::Error>>);
}

/// How an operation ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outcome {
    Done,
    /// With what SQLite said, if it was SQLite.
    Refused(Option<rusqlite::ffi::Error>),
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
    fn run(&mut self, database: &mut Database) -> Outcome {
        let Some(work) = self.work.take() else { return Outcome::Refused(None) };
        match self.done.insert(work(database)) {
            Ok(_) => Outcome::Done,
            Err(Fault::Sqlite(error)) => Outcome::Refused(error.sqlite_error().copied()),
            Err(_) => Outcome::Refused(None),
        }
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

/// Operations that wait for the writer.
type Orders = mpsc::Receiver<Box<dyn Operation>>;

/// The thread's own state.
pub(super) struct Writer {
    database: Database,
    changes: watch::Sender<u64>,
    /// `None` in memory.
    home: Option<Home>,
}

impl Writer {
    pub(super) fn new(database: Database, changes: watch::Sender<u64>, home: Option<Home>) -> Self {
        Self { database, changes, home }
    }

    /// Works until every sender is gone and the queue is empty, then closes the database.
    pub(super) fn run(mut self, mut orders: Orders) {
        while let Some(first) = orders.blocking_recv() {
            self.transaction(first, &mut orders);
        }
        close(self.database.connection);
    }

    /// Carries out whatever waits when it would be over, so that callers who were answered together
    /// and come back one by one share their next transaction as well: all of them, unless an operation
    /// fails in the middle (disk full, I/O error), which takes the done part with it.
    fn transaction(&mut self, first: Box<dyn Operation>, orders: &mut Orders) {
        let mut next = Some(first);
        if let Err(error) = self.begin() {
            self.abandon();
            return answer_all(next, Some(Arc::new(error)));
        }
        let mut done = Vec::new();
        let mut broken = None;
        while let Some(mut operation) = next {
            let outcome = self.step(operation.as_mut());
            done.push(operation);
            if let Err(error) = outcome {
                broken = Some(error);
                break;
            }
            next = if done.len() < GROUP { orders.try_recv().ok() } else { None };
        }
        let outcome = match broken {
            None => point("sqlite.transaction.before_commit").and_then(|()| self.statement("COMMIT")),
            Some(error) => Err(error),
        };
        match outcome {
            Ok(()) => {
                failpoint::reach("sqlite.transaction.committed");
                if self.database.keep() {
                    self.changes.send_modify(|version| *version += 1);
                }
                failpoint::reach("sqlite.transaction.kept");
                answer_all(done, None);
            }
            Err(error) => {
                self.abandon();
                answer_all(done, Some(Arc::new(error)));
            }
        }
    }

    fn begin(&mut self) -> rusqlite::Result<()> {
        // What is written to a file without a name is lost when the master ends.
        if self.home.as_ref().is_some_and(|home| !home.is_ours()) {
            let moved = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_READONLY_DBMOVED);
            return Err(rusqlite::Error::SqliteFailure(moved, None));
        }
        self.statement("BEGIN IMMEDIATE")?;
        point("sqlite.transaction.begun")?;
        self.database.begin().map_err(|fault| match fault {
            Fault::Sqlite(error) => error,
            fault => {
                let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT);
                rusqlite::Error::SqliteFailure(code, Some(fault.to_string()))
            }
        })
    }

    /// One operation. An error means that the whole transaction is lost.
    fn step(&mut self, operation: &mut dyn Operation) -> rusqlite::Result<()> {
        let changes = |database: &Database| (database.connection.total_changes(), database.changes());
        let before = changes(&self.database);
        let outcome = operation.run(&mut self.database);
        let wrote = changes(&self.database) != before;
        let undone = self.database.connection.is_autocommit();
        match outcome {
            Outcome::Refused(cause) if undone || wrote => {
                let code = cause.unwrap_or(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT_ROLLBACK));
                let why = "a neighbour in the same transaction met an error that undid both";
                Err(rusqlite::Error::SqliteFailure(code, Some(why.into())))
            }
            _ => Ok(()),
        }
    }

    fn abandon(&mut self) {
        self.database.undo();
        if !self.database.connection.is_autocommit()
            && let Err(error) = self.statement("ROLLBACK")
        {
            tracing::error!(%error, "the database cannot roll back");
        }
    }

    fn statement(&self, sql: &str) -> rusqlite::Result<()> {
        self.database.connection.prepare_cached(sql)?.execute([]).map(|_| ())
    }
}

/// A named point, which fails as a disk does.
fn point(name: &'static str) -> rusqlite::Result<()> {
    failpoint::hit(name).map_err(|error| {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR);
        rusqlite::Error::SqliteFailure(code, Some(error.to_string()))
    })
}

/// Leaves all of it in the one file, where a copy of that file has it.
fn close(connection: Connection) {
    let gather = |row: &rusqlite::Row<'_>| row.get::<_, bool>(0);
    match connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], gather) {
        Ok(false) => {}
        Ok(true) => tracing::warn!("another program reads the database; its log stays beside the file"),
        Err(error) => tracing::warn!(%error, "the log of the database stays beside the file"),
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the database did not close cleanly; it recovers at the next start");
    }
}

fn answer_all(operations: impl IntoIterator<Item = Box<dyn Operation>>, lost: Option<Arc<rusqlite::Error>>) {
    for operation in operations {
        operation.answer(lost.clone());
    }
}
