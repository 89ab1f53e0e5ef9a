//! [`SqliteStore`]: one file, one writing thread, a few reading connections.
//!
//! `open` makes sure the file is ours and current; `writer` is the group commit; `ledger` is what
//! the writer remembers of the queue; `jobs`, `nodes` and `query` are the statements; `readers` is
//! the pool; `document` is the JSON of a row; `fault` turns what SQLite says into errors.

mod document;
mod fault;
mod jobs;
mod ledger;
mod nodes;
mod open;
mod query;
mod readers;
#[cfg(test)]
mod tests;
mod writer;

use std::fs::File;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, JobKey, NodeId};
use ffrtmp_core::job::Job;
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::node::{About, Node, NodeCommand};
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::store::{
    ClaimOrder, Counts, Due, JobFilter, LaneStanding, Lead, NewJob, Page, Rank, Store, Submitted,
};
use ffrtmp_core::{Code, Error, Result};
use rusqlite::Connection;
use tokio::sync::{mpsc, watch};

use crate::closed;
use fault::Fault;
use open::Opened;
use readers::Readers;
use writer::{Database, Operation, Request, Writer};

/// Operations that may wait for the writer before callers have to.
const BACKLOG: usize = 1024;

/// A store in one SQLite file.
///
/// Everything that a call changed is on the disk when the call returns. Calls that come together
/// share a transaction, so many callers are served at the speed of a batch. One process may have
/// the file open; a second one is refused with the cure.
///
/// # Cancel safety
/// A call that is dropped before the writer took it is not done; after that it is done as a whole.
pub struct SqliteStore {
    /// `None` once closed.
    orders: Mutex<Option<mpsc::Sender<Box<dyn Operation>>>>,
    thread: tokio::sync::Mutex<Option<JoinHandle<()>>>,
    readers: Option<Readers>,
    changes: watch::Sender<u64>,
    led: AtomicBool,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it with mode 0600 if it is not there, and brings an
    /// older one up to date. The empty path is a database in memory.
    ///
    /// Reads the whole file once, to be sure that it is undamaged.
    ///
    /// # Errors
    /// `storage` naming the file and the cure: in use by another master, damaged, not a database,
    /// another program's, written by a newer version, not writable. `disk_full`.
    pub fn open(path: &Path) -> Result<Self> {
        if path.as_os_str().is_empty() { Self::in_memory() } else { Self::start(open::file(path)?) }
    }

    /// A database in memory, gone with its process.
    ///
    /// # Errors
    /// `storage` if SQLite has no memory.
    pub fn in_memory() -> Result<Self> {
        Self::start(open::memory()?)
    }

    fn start(opened: Opened) -> Result<Self> {
        let Opened { writer, readers, ledger, lock } = opened;
        let changes = watch::Sender::new(0);
        let writer = Writer::new(writer, ledger, changes.clone());
        let (orders, queue) = mpsc::channel(BACKLOG);
        let work = move || {
            writer.run(queue);
            drop::<Option<File>>(lock);
        };
        let thread = thread::Builder::new()
            .name("ffrtmp-sqlite".into())
            .spawn(work)
            .map_err(|error| Error::new(Code::Storage, "the writing thread cannot be started").source(error))?;
        Ok(Self {
            orders: Mutex::new(Some(orders)),
            thread: tokio::sync::Mutex::new(Some(thread)),
            readers: (!readers.is_empty()).then(|| Readers::new(readers)),
            changes,
            led: AtomicBool::new(false),
        })
    }

    fn orders(&self) -> Result<mpsc::Sender<Box<dyn Operation>>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).clone().ok_or_else(closed)
    }

    async fn write<T, W>(&self, operation: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut Database) -> Result<T, Fault> + Send + 'static,
    {
        let (request, answer) = Request::new(work);
        self.orders()?.send(Box::new(request)).await.map_err(|_| stopped(operation))?;
        answer.await.map_err(|_| stopped(operation))?.map_err(|fault| fault.into_error(operation))
    }

    async fn read<T, W>(&self, operation: &'static str, work: W) -> Result<T>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> Result<T, Fault> + Send + 'static,
    {
        match &self.readers {
            Some(readers) => readers.read(work).await?.map_err(|fault| fault.into_error(operation)),
            None => self.write(operation, |database| work(&database.connection)).await,
        }
    }
}

impl std::fmt::Debug for SqliteStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SqliteStore").finish_non_exhaustive()
    }
}

/// The writing thread ends by itself only if an operation of ours panicked.
fn stopped(operation: &'static str) -> Error {
    Error::new(Code::Internal, "the writing thread of the database has stopped").operation(operation)
}

impl Drop for SqliteStore {
    /// Finishes what is under way, so that the file is free when the store is gone.
    fn drop(&mut self) {
        self.orders.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = self.thread.get_mut().take() {
            report(thread.join());
        }
    }
}

fn report(ended: thread::Result<()>) {
    if ended.is_err() {
        tracing::error!("the writing thread of the database panicked");
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn submit(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Submitted>> {
        self.write("sqlite.submit", move |database| jobs::submit(database, jobs, now)).await
    }

    async fn job(&self, key: &JobKey) -> Result<Job> {
        let key = key.clone();
        self.read("sqlite.job", move |connection| query::job(connection, &key)).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: Page) -> Result<Vec<Job>> {
        let filter = filter.clone();
        self.read("sqlite.list_jobs", move |connection| query::list(connection, &filter, page)).await
    }

    async fn claim(&self, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>> {
        let order = order.clone();
        self.write("sqlite.claim", move |database| jobs::claim(database, &order, now)).await
    }

    async fn apply(&self, commands: Vec<(JobId, JobCommand)>, now: Timestamp) -> Result<Vec<Result<Job>>> {
        self.write("sqlite.apply", move |database| jobs::apply(database, commands, now)).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        self.read("sqlite.due", move |connection| query::due(connection, now, limit)).await
    }

    async fn dependents(&self, dependency: JobId) -> Result<Vec<Job>> {
        self.read("sqlite.dependents", move |connection| query::dependents(connection, dependency)).await
    }

    async fn rerank(&self, ranks: Vec<(JobId, Rank)>) -> Result<()> {
        self.write("sqlite.rerank", move |database| jobs::rerank(database, &ranks)).await
    }

    async fn lanes(&self) -> Result<Vec<LaneStanding>> {
        self.write("sqlite.lanes", jobs::lanes).await
    }

    async fn append_logs(&self, job: JobId, attempt: u32, lines: Vec<LogLine>) -> Result<()> {
        self.write("sqlite.append_logs", move |database| jobs::append_logs(database, job, attempt, &lines)).await
    }

    async fn logs(&self, job: JobId) -> Result<Vec<(u32, LogLine)>> {
        self.read("sqlite.logs", move |connection| query::logs(connection, job)).await
    }

    async fn register_node(&self, id: NodeId, about: About, now: Timestamp) -> Result<(Node, bool)> {
        self.write("sqlite.register_node", move |database| nodes::register(&database.connection, id, about, now)).await
    }

    async fn node(&self, id: NodeId) -> Result<Node> {
        self.read("sqlite.node", move |connection| query::node(connection, id)).await
    }

    async fn list_nodes(&self) -> Result<Vec<Node>> {
        self.read("sqlite.list_nodes", query::list_nodes).await
    }

    async fn apply_node(&self, id: NodeId, command: NodeCommand, now: Timestamp) -> Result<Node> {
        self.write("sqlite.apply_node", move |database| nodes::apply(&database.connection, id, command, now)).await
    }

    async fn remove_node(&self, id: NodeId) -> Result<()> {
        self.write("sqlite.remove_node", move |database| nodes::remove(&database.connection, id)).await
    }

    async fn counts(&self) -> Result<Counts> {
        self.write("sqlite.counts", |database| Ok(database.ledger.counts())).await
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        self.write("sqlite.purge", move |database| jobs::purge(database, before, limit)).await
    }

    async fn check(&self) -> Result<()> {
        let touch = |database: &mut Database| {
            Ok(database.connection.prepare_cached("UPDATE probe SET writes = writes + 1")?.execute([])?)
        };
        self.write("sqlite.check", touch).await?;
        let look = |connection: &Connection| {
            Ok(connection.prepare_cached("SELECT writes FROM probe")?.query_row([], |row| row.get::<_, i64>(0))?)
        };
        self.read("sqlite.check", look).await.map(|_| ())
    }

    async fn lead(&self, _now: Timestamp) -> Result<Lead> {
        self.orders()?;
        Ok(Lead::Leader { newly: !self.led.swap(true, Ordering::Relaxed) })
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    async fn close(&self) -> Result<()> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(readers) = &self.readers {
            readers.close().await;
        }
        let mut thread = self.thread.lock().await;
        if let Some(thread) = thread.take() {
            tokio::task::spawn_blocking(move || report(thread.join()))
                .await
                .map_err(|error| Error::new(Code::Internal, "the store did not close").source(error))?;
        }
        Ok(())
    }
}
