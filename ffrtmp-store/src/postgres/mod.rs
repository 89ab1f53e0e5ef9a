//! [`PostgresStore`]: one database, any number of masters.
//!
//! `open` makes sure the database is ours and current; `desk` is the group commit, at which
//! `claim`, `apply` and `submit` do their work; `lanes` is what claims remember of the queue,
//! `active` what is remembered of jobs under way; `rows` are the statements that write jobs,
//! `signs` those that come most often, `query` and `nodes` the others; `wake` tells masters of each other's jobs and time, `lead`
//! decides which of them leads; `portable` moves everything; `tally` counts; `upkeep` goes round now and then; `session` is a
//! connection that comes back; `fault` turns what the server says into errors.
//!
//! Nothing here decides how a job changes, and nothing here reads a clock but to bound a wait.

mod active;
mod apply;
mod claim;
mod desk;
mod digest;
mod fault;
mod lane_rows;
mod lanes;
mod lead;
mod nodes;
mod open;
mod portable;
mod query;
mod rows;
mod session;
mod signs;
mod submit;
mod tally;
mod upkeep;
mod wake;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

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
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnection, PgPool, PgPoolOptions, Postgres};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::closed;
use active::Active;
use apply::Changes;
use claim::Claims;
use desk::Desk;
use fault::Fault;
use lanes::Lanes;
use lead::Seat;
use open::{Door, Opening, Purpose};
use session::{Session, Tries};
use submit::Submissions;

/// How a [`PostgresStore`] connects and how long it waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostgresOptions {
    /// Connections for reads, at most. Five more write, listen and hold the lead.
    pub connections: u32,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long the server may work on one statement.
    pub statement_timeout: Duration,
    /// How long a call waits for a server that went away, before it fails with `unavailable`.
    pub patience: Duration,
    /// How long a leader may be silent, before another master takes over (PostgreSQL 14 or newer).
    pub silence: Duration,
}

impl Default for PostgresOptions {
    /// Eight connections, 10 s to connect, 30 s for a statement, 15 s of patience and of silence.
    fn default() -> Self {
        Self {
            connections: 8,
            connect_timeout: Duration::from_secs(10),
            statement_timeout: Duration::from_secs(30),
            patience: Duration::from_secs(15),
            silence: Duration::from_secs(15),
        }
    }
}

/// A store in a PostgreSQL database, version 12 or newer, in a schema of its own.
///
/// Everything that a call changed is committed when the call returns. Calls that come together
/// share a transaction. Any number of masters may use one database.
///
/// # Cancel safety
/// A call that is dropped before its transaction began may be done or not; it is never half done.
pub struct PostgresStore {
    shared: Arc<Shared>,
    claims: Desk<Claims>,
    changes: Desk<Changes>,
    submissions: Desk<Submissions>,
    pool: PgPool,
    seat: tokio::sync::Mutex<Option<Seat>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    options: PostgresOptions,
    due: Mutex<DueScan>,
}

/// What the parts of a store have in common.
#[derive(Debug)]
struct Shared {
    lanes: Lanes,
    active: Active,
    changes: watch::Sender<u64>,
    /// Tells this master's notifications from those of others.
    name: String,
    /// What the leader said, and when.
    leader: Mutex<Option<(Timestamp, Instant)>>,
}

/// How long the last look at everything that may be due took, and up to when nothing is left.
#[derive(Debug, Default)]
struct DueScan {
    clear_until: Option<Timestamp>,
    next_full: Option<Instant>,
}

/// A look at what is due that takes longer walks over what an old snapshot keeps.
const SLOW: Duration = Duration::from_millis(25);

impl PostgresStore {
    /// Connects to the database that `dsn` names (`postgres://USER:PASSWORD@HOST:PORT/DATABASE`,
    /// with `sslmode` and `sslrootcert` for TLS), makes the schema `ffrtmp` if it is not there, and
    /// brings an older one up to date. Needs a tokio runtime, on which it keeps tasks until it is
    /// closed or dropped.
    ///
    /// # Errors
    /// Naming `--db-dsn` and the cure: `invalid_config` for a DSN that cannot be read, a role or
    /// database that does not exist, missing rights, another program's schema, or a server older
    /// than version 12; `unavailable` if no server answers; `storage` for a schema that a newer
    /// version wrote. The password is in no message.
    pub async fn connect(dsn: &str, options: PostgresOptions) -> Result<Self> {
        Self::open(dsn, options, Opening::Work).await
    }

    /// The same for a database that shall be filled with [`crate::transfer::migrate`], or whose
    /// filling broke off.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_for_import(dsn: &str, options: PostgresOptions) -> Result<Self> {
        Self::open(dsn, options, Opening::Import).await
    }

    async fn open(dsn: &str, options: PostgresOptions, opening: Opening) -> Result<Self> {
        let door = Door::new(dsn, &options)?;
        door.prepare(opening).await?;
        let pool = PgPoolOptions::new()
            .max_connections(options.connections.max(2))
            .acquire_timeout(options.patience)
            .test_before_acquire(false)
            .connect_lazy_with(door.options(Purpose::Reads));
        let shared = Arc::new(Shared {
            lanes: Lanes::default(),
            active: Active::default(),
            changes: watch::Sender::new(0),
            name: uuid::Uuid::new_v4().simple().to_string(),
            leader: Mutex::default(),
        });
        let limit = options.statement_timeout + options.connect_timeout + options.patience;
        let sessions = |count: usize| -> Vec<Session> {
            (0..count).map(|_| Session::new(door.clone(), options.patience, limit)).collect()
        };
        let (first, listening) = tokio::sync::oneshot::channel();
        let tasks = vec![
            tokio::spawn(wake::listen(Arc::clone(&shared), pool.clone(), first)),
            tokio::spawn(upkeep::keep_up(Arc::clone(&shared), pool.clone())),
        ];
        let store = Self {
            claims: Desk::open(Arc::new(Claims(Arc::clone(&shared))), sessions(1)),
            changes: Desk::open(Arc::new(Changes(Arc::clone(&shared))), sessions(2)),
            submissions: Desk::open(Arc::new(Submissions(Arc::clone(&shared))), sessions(1)),
            seat: tokio::sync::Mutex::new(Some(Seat::new(
                door,
                options.connect_timeout + options.statement_timeout,
                options.silence,
            ))),
            tasks: Mutex::new(tasks),
            due: Mutex::default(),
            shared,
            pool,
            options,
        };
        // Once it listens it misses nothing that other masters do.
        tokio::time::timeout(store.options.connect_timeout, listening)
            .await
            .map_err(|_| Fault::Away.into_error("postgres.connect"))?
            .map_err(|_| closed())?;
        Ok(store)
    }

    /// A connection for something that is done with one statement or transaction.
    async fn connection(&self) -> Result<Lent, Fault> {
        Ok(Lent(Some(self.pool.acquire().await?)))
    }

    /// Whether to do it again after this fault, at once or after a pause.
    async fn recover(&self, fault: Fault, tries: &mut Tries, operation: &'static str) -> Result<()> {
        if self.pool.is_closed() {
            return Err(closed());
        }
        tries.pause_after(fault, self.options.patience).await.map_err(|fault| fault.into_error(operation))
    }

    fn limit(&self) -> Duration {
        self.options.statement_timeout + self.options.connect_timeout + self.options.patience
    }

    /// From where to look for what is due: from the beginning, unless that takes long.
    fn due_from(&self) -> Option<Timestamp> {
        let due = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        let soon = due.next_full.is_some_and(|next| Instant::now() < next);
        due.clear_until.filter(|_| soon)
    }
}

impl std::fmt::Debug for PostgresStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresStore").finish_non_exhaustive()
    }
}

impl Drop for PostgresStore {
    /// What was asked before is still answered; connections end with their tasks.
    fn drop(&mut self) {
        for task in self.tasks.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }
}

/// A named point at which tests end or disturb the process.
fn point(name: &'static str) -> Result<(), Fault> {
    crate::failpoint::hit(name).map_err(Fault::from)
}

/// A connection of the pool. It ends unless it is given back: one whose caller went away in the
/// middle may have a transaction open that the driver does not know of, and the work of the next
/// caller would be lost in it.
struct Lent(Option<PoolConnection<Postgres>>);

impl Lent {
    fn connection(&mut self) -> Result<&mut PgConnection, Fault> {
        self.0.as_deref_mut().ok_or(Fault::Away)
    }

    fn give_back(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            drop(connection.detach());
        }
    }
}

/// Does something on a connection, again on another one if that one turns out to be broken.
macro_rules! with_connection {
    ($store:expr, $operation:literal, |$connection:ident| $work:expr) => {{
        let mut tries = Tries::new();
        loop {
            let done = Session::bounded($store.limit(), async {
                let mut lent = $store.connection().await?;
                let $connection: &mut PgConnection = lent.connection()?;
                let done: Result<_, Fault> = $work.await;
                if !done.as_ref().is_err_and(Fault::breaks_connection) {
                    lent.give_back();
                }
                done
            });
            match done.await {
                Ok(answer) => break Ok(answer),
                Err(fault) => $store.recover(fault, &mut tries, $operation).await?,
            }
        }
    }};
}
use with_connection;

#[async_trait]
impl Store for PostgresStore {
    async fn submit(&self, jobs: Vec<NewJob>, now: Timestamp) -> Result<Vec<Submitted>> {
        self.submissions.ask(submit::Question { jobs, now }).await
    }

    async fn job(&self, key: &JobKey) -> Result<Job> {
        with_connection!(self, "postgres.job", |connection| query::job(connection, key))
    }

    async fn states(&self, ids: &[JobId]) -> Result<BTreeMap<JobId, JobState>> {
        with_connection!(self, "postgres.states", |connection| query::states(connection, ids))
    }

    async fn list_jobs(&self, filter: &JobFilter, page: Page) -> Result<Vec<Job>> {
        let lanes = &self.shared.lanes;
        with_connection!(self, "postgres.list_jobs", |connection| query::list(connection, lanes, filter, page))
    }

    async fn claim(&self, order: &ClaimOrder, now: Timestamp) -> Result<Vec<Job>> {
        if order.slots == 0 {
            return self.claims.is_open().map(|()| Vec::new());
        }
        self.claims.ask(claim::Question { order: order.clone(), now }).await
    }

    async fn apply(&self, commands: Vec<(JobId, JobCommand)>, now: Timestamp) -> Result<Vec<Result<Job>>> {
        if commands.is_empty() {
            return self.changes.is_open().map(|()| Vec::new());
        }
        self.changes.ask(apply::Question { commands, now }).await
    }

    async fn due(&self, now: Timestamp, limit: usize) -> Result<Vec<Due>> {
        self.shared.active.prune(now);
        let (from, began) = (self.due_from(), Instant::now());
        let since = from.unwrap_or(Timestamp::from_micros(i64::MIN));
        let due: Result<Vec<Due>> =
            with_connection!(self, "postgres.due", |connection| query::due(connection, since, now, limit));
        let due = due?;
        crate::failpoint::hit("postgres.due.found")?;
        let took = began.elapsed();
        let mut scan = self.due.lock().unwrap_or_else(PoisonError::into_inner);
        scan.clear_until = due.is_empty().then_some(now).or(from);
        if from.is_none() {
            scan.next_full = (took > SLOW).then(|| Instant::now() + took * 100);
        }
        Ok(due)
    }

    async fn dependents(&self, dependency: JobId) -> Result<Vec<Job>> {
        with_connection!(self, "postgres.dependents", |connection| query::dependents(connection, &[dependency]))
    }

    async fn dependents_of(&self, dependencies: &[JobId]) -> Result<Vec<Job>> {
        with_connection!(self, "postgres.dependents_of", |connection| query::dependents(connection, dependencies))
    }

    async fn append_many(&self, logs: Vec<(JobId, u32, Vec<LogLine>)>) -> Result<()> {
        with_connection!(self, "postgres.append_many", |connection| query::append_many(connection, &logs))
    }

    async fn rerank(&self, ranks: Vec<(JobId, Rank)>) -> Result<()> {
        let shared = &self.shared;
        with_connection!(self, "postgres.rerank", |connection| apply::rerank(shared, connection, &ranks))
    }

    async fn lanes(&self) -> Result<Vec<LaneStanding>> {
        let lanes = &self.shared.lanes;
        with_connection!(self, "postgres.lanes", |connection| query::standings(connection, lanes))
    }

    async fn append_logs(&self, job: JobId, attempt: u32, lines: Vec<LogLine>) -> Result<()> {
        with_connection!(self, "postgres.append_logs", |connection| query::append_logs(
            connection,
            job,
            attempt,
            lines.clone()
        ))
    }

    async fn logs(&self, job: JobId) -> Result<Vec<(u32, LogLine)>> {
        with_connection!(self, "postgres.logs", |connection| query::logs(connection, job))
    }

    async fn register_node(&self, id: NodeId, about: About, now: Timestamp) -> Result<(Node, bool)> {
        with_connection!(self, "postgres.register_node", |connection| nodes::register(
            connection,
            id,
            about.clone(),
            now
        ))
    }

    async fn node(&self, id: NodeId) -> Result<Node> {
        with_connection!(self, "postgres.node", |connection| nodes::find(connection, id))
    }

    async fn list_nodes(&self) -> Result<Vec<Node>> {
        with_connection!(self, "postgres.list_nodes", |connection| nodes::list(connection))
    }

    async fn apply_node(&self, id: NodeId, command: NodeCommand, now: Timestamp) -> Result<Node> {
        with_connection!(self, "postgres.apply_node", |connection| nodes::apply(connection, id, command.clone(), now))
    }

    async fn remove_node(&self, id: NodeId) -> Result<()> {
        with_connection!(self, "postgres.remove_node", |connection| nodes::remove(connection, id))
    }

    async fn counts(&self) -> Result<Counts> {
        let lanes = &self.shared.lanes;
        with_connection!(self, "postgres.counts", |connection| tally::counts(connection, lanes))
    }

    async fn purge(&self, before: Timestamp, limit: usize) -> Result<u64> {
        with_connection!(self, "postgres.purge", |connection| query::purge(connection, before, limit))
    }

    async fn check(&self) -> Result<()> {
        with_connection!(self, "postgres.check", |connection| query::check(connection))
    }

    async fn lead(&self, now: Timestamp) -> Result<Lead> {
        let mut seat = self.seat.lock().await;
        let seat = seat.as_mut().ok_or_else(closed)?;
        seat.lead(&self.shared, now).await.map_err(|fault| fault.into_error("postgres.lead"))
    }

    fn is_shared(&self) -> bool {
        true
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.shared.changes.subscribe()
    }

    async fn close(&self) -> Result<()> {
        self.claims.close().await;
        self.changes.close().await;
        self.submissions.close().await;
        if let Some(mut seat) = self.seat.lock().await.take() {
            seat.leave().await;
        }
        self.pool.close().await;
        let tasks: Vec<JoinHandle<()>> = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        for task in tasks {
            task.await.map_err(|error| Error::new(Code::Internal, "the store did not close").source(error))?;
        }
        Ok(())
    }
}
