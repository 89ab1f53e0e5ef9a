//! [`SqliteStore`]: one file, one writing thread, a few reading connections.
//!
//! `open` makes sure the file is ours, which is the matter of `home`, `schema` that it is current, and `load` reads what `database`
//! remembers; `writer` is the group commit; `jobs` is the life of a job, `upkeep` what is written
//! beside it, `nodes` the nodes; `rows` and `facet` are the form of what is stored, `runs`
//! changes rows side by side; `query` and
//! `list` read, through the pool in `readers`; `backup` copies a live file and `portable` moves its
//! content; `fault` turns what SQLite says into errors.

mod backup;
mod database;
mod document;
mod facet;
mod fault;
mod home;
mod jobs;
mod list;
mod load;
mod nodes;
mod open;
mod options;
mod portable;
mod query;
mod readers;
mod rows;
mod runs;
mod schema;
#[cfg(test)]
mod tests;
mod upkeep;
mod writer;

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use ffrtmp_core::clock::Timestamp;
use ffrtmp_core::id::{JobId, JobKey, NodeId};
use ffrtmp_core::job::{Job, JobState};
use ffrtmp_core::lifecycle::JobCommand;
use ffrtmp_core::node::{About, Node, NodeCommand};
use ffrtmp_core::protocol::LogLine;
use ffrtmp_core::store::{
    ClaimOrder, Counts, Due, JobFilter, LaneStanding, Lead, NewJob, Page, Rank, Store, Submitted,
};
use ffrtmp_core::{Code, Error, Result};
use rusqlite::Connection;
use tokio::sync::{mpsc, watch};

pub use backup::backup_sqlite;
pub use options::{Integrity, SqliteOptions, Synchronous};

use crate::closed;
use database::Database;
use fault::Fault;
use jobs::{Draft, Order};
use open::{Opened, Purpose};
use readers::Readers;
use writer::{Operation, Request, Writer};

/// Operations that may wait for the writer before callers have to.
const BACKLOG: usize = 1024;

/// A store in one SQLite file.
///
/// Everything that a call changed is on the disk when the call returns, unless
/// [`Synchronous::Normal`] was asked for. Calls that come together share a transaction, so many
/// callers are served at the speed of a batch. One process may have the file open; a second one is
/// refused with the cure.
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
    /// `None` in memory.
    path: Option<PathBuf>,
}

impl SqliteStore {
    /// Opens the database at `path`, makes it with mode 0600 if it is not there, and brings an
    /// older one up to date. The empty path is a database in memory.
    ///
    /// # Errors
    /// `storage` naming the file and the cure: in use by another master, damaged, not a database,
    /// another program's, written by a newer version, not writable. `disk_full`.
    pub fn open(path: &Path) -> Result<Self> {
        Self::open_with(path, SqliteOptions::default())
    }

    /// The same, with options.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(path: &Path, options: SqliteOptions) -> Result<Self> {
        if path.as_os_str().is_empty() {
            Self::in_memory()
        } else {
            Self::start(open::file(path, options, Purpose::Work)?)
        }
    }

    /// The same, to move another store's content in: also where such a move broke off, which is
    /// refused otherwise.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for_import(path: &Path, options: SqliteOptions) -> Result<Self> {
        Self::start(open::file(path, options, Purpose::Import)?)
    }

    /// A database in memory, gone with its process.
    ///
    /// # Errors
    /// `storage` if SQLite has no memory.
    pub fn in_memory() -> Result<Self> {
        Self::start(open::memory()?)
    }

    fn start(opened: Opened) -> Result<Self> {
        let Opened { database, readers, lock, path, home } = opened;
        let changes = watch::Sender::new(0);
        let writer = Writer::new(database, changes.clone(), home);
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
            path,
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
        // Before the writer: whoever closes last moves the log into the file, and a reader may not.
        drop(self.readers.take());
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
        let draft = Draft::new(jobs)?;
        self.write("sqlite.submit", move |database| jobs::submit(database, draft, now)).await
    }

    async fn job(&self, key: &JobKey) -> Result<Job> {
        let key = key.clone();
        self.read("sqlite.job", move |connection| query::job(connection, &key)).await
    }

    async fn states(&self, ids: &[JobId]) -> Result<BTreeMap<JobId, JobState>> {
        let ids = ids.to_vec();
        self.read("sqlite.states", move |connection| jobs::states(connection, &ids)).await
    }

    async fn list_jobs(&self, filter: &JobFilter, page: Page) -> Result<Vec<Job>> {
        let filter = filter.clone();
        self.read("sqlite.list_jobs", move |connection| list::list(connection, &filter, page)).await
    }

    async fn claim(&self, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>> {
        let order = order.clone();
        let claimed = self.write("sqlite.claim", move |database| jobs::claim(database, &order, now)).await?;
        Ok(claimed.into_iter().map(Job::from).collect())
    }

    async fn apply(&self, commands: Vec<(JobId, JobCommand)>, now: Timestamp) -> Result<Vec<Result<Job>>> {
        let orders: Vec<Order> = commands.into_iter().map(Order::new).collect();
        let applied = self.write("sqlite.apply", move |database| jobs::apply(database, orders, now)).await?;
        Ok(applied.into_iter().map(|told| told.map(Job::from)).collect())
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        self.write("sqlite.due", move |database| upkeep::due(database, now, limit)).await
    }

    async fn dependents(&self, dependency: JobId) -> Result<Vec<Job>> {
        self.read("sqlite.dependents", move |connection| query::dependents(connection, dependency)).await
    }

    async fn dependents_of(&self, dependencies: &[JobId]) -> Result<Vec<Job>> {
        let dependencies = dependencies.to_vec();
        let all = move |connection: &Connection| {
            let each = dependencies.iter().map(|dependency| query::dependents(connection, *dependency));
            Ok(each.collect::<Result<Vec<_>, _>>()?.concat())
        };
        self.read("sqlite.dependents_of", all).await
    }

    async fn append_many(&self, logs: Vec<(JobId, u32, Vec<LogLine>)>) -> Result<()> {
        let append = move |database: &mut Database| upkeep::append_many(&database.connection, &logs);
        self.write("sqlite.append_many", append).await
    }

    async fn rerank(&self, ranks: Vec<(JobId, Rank)>) -> Result<()> {
        self.write("sqlite.rerank", move |database| upkeep::rerank(database, &ranks)).await
    }

    async fn lanes(&self) -> Result<Vec<LaneStanding>> {
        self.write("sqlite.lanes", |database| Ok(database.ledger.standings())).await
    }

    async fn append_logs(&self, job: JobId, attempt: u32, lines: Vec<LogLine>) -> Result<()> {
        let append = move |database: &mut Database| upkeep::append_logs(&database.connection, job, attempt, &lines);
        self.write("sqlite.append_logs", append).await
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
        self.write("sqlite.purge", move |database| upkeep::purge(database, before, limit)).await
    }

    async fn check(&self) -> Result<()> {
        // A commit may still find room in the log where nothing else does.
        self.path.as_deref().map_or(Ok(()), open::room_left)?;
        self.write("sqlite.check", |database| open::touch(&database.connection)).await?;
        let look = |connection: &Connection| {
            Ok(connection.prepare_cached("SELECT writes FROM state")?.query_row([], |row| row.get::<_, i64>(0))?)
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
        let last = self.orders.lock().unwrap_or_else(PoisonError::into_inner).take();
        // Before the writer: whoever closes last moves the log into the file, and a reader may not.
        if let Some(readers) = &self.readers {
            readers.close().await;
        }
        drop(last);
        let mut thread = self.thread.lock().await;
        if let Some(thread) = thread.take() {
            tokio::task::spawn_blocking(move || report(thread.join()))
                .await
                .map_err(|error| Error::new(Code::Internal, "the store did not close").source(error))?;
        }
        Ok(())
    }
}
