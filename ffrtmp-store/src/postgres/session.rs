//! A connection of one's own that comes back by itself, and transactions whose end is known.

use std::time::Duration;

use sqlx::postgres::{PgConnection, Postgres};
use sqlx::{Connection, Transaction};
use tokio::time::Instant;

use super::fault::{Cure, Fault};
use super::open::{Door, Purpose};

/// First and longest pause before a connection is tried again.
const PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Deadlocks and serialization failures in a row that are taken as bad luck.
const LUCK: u32 = 20;

/// One connection, made when it is needed.
#[derive(Debug)]
pub(super) struct Session {
    door: Door,
    connection: Option<PgConnection>,
    /// How long a lost connection is tried again before callers are told.
    patience: Duration,
    /// The longest that the server may take, seen from here: an answer that was lost on the way.
    limit: Duration,
}

/// How often and how long something has been tried.
pub(super) struct Tries {
    since: Instant,
    count: u32,
    pause: Duration,
}

impl Tries {
    pub(super) fn new() -> Self {
        Self { since: Instant::now(), count: 0, pause: PAUSE }
    }

    /// `Ok` to try again, after a pause where one is due.
    pub(super) async fn pause_after(&mut self, fault: Fault, patience: Duration) -> Result<(), Fault> {
        self.count += 1;
        match fault.cure() {
            Cure::Again if self.count <= LUCK => Ok(()),
            Cure::Reconnect if self.since.elapsed() < patience => {
                tracing::debug!(%fault, "the connection to the database was lost");
                tokio::time::sleep(self.pause).await;
                self.pause = (self.pause * 2).min(LONGEST_PAUSE);
                Ok(())
            }
            _ => Err(fault),
        }
    }
}

impl Session {
    pub(super) fn new(door: Door, patience: Duration, limit: Duration) -> Self {
        Self { door, connection: None, patience, limit }
    }

    /// The connection, which may be a new one.
    pub(super) async fn connection(&mut self) -> Result<&mut PgConnection, Fault> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.door.connect(Purpose::Writes).await?,
        };
        Ok(self.connection.insert(connection))
    }

    /// Gives up a connection that is broken.
    pub(super) fn hang_up(&mut self) {
        self.connection = None;
    }

    /// Begins a transaction.
    pub(super) async fn begin(&mut self) -> Result<Change<'_>, Fault> {
        let transaction = self.connection().await?.begin().await?;
        Ok(Change { transaction, number: None })
    }

    /// Bounds a piece of work, so that an answer that never comes is a lost connection.
    pub(super) async fn bounded<T>(limit: Duration, work: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        match tokio::time::timeout(limit, work).await {
            Ok(done) => done,
            Err(_) => Err(Fault::Unknown(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()))),
        }
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// What to do after a fault: `Ok` to try again, after a pause where one is due.
    pub(super) async fn recover(&mut self, fault: Fault, tries: &mut Tries) -> Result<(), Fault> {
        if fault.breaks_connection() {
            self.connection = None;
        }
        self.undo().await;
        tries.pause_after(fault, self.patience).await
    }

    /// Rolls back what was begun, now and not when the session is used again: until then its locks
    /// would stand in the way of everybody else.
    async fn undo(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        // A dropped transaction is rolled back by whatever is sent next.
        if !matches!(tokio::time::timeout(self.limit, connection.ping()).await, Ok(Ok(()))) {
            self.connection = None;
        }
    }

    /// Ends the session politely.
    pub(super) async fn close(mut self) {
        if let Some(connection) = self.connection.take() {
            let _ = connection.close().await;
        }
    }
}

/// A transaction under way.
#[derive(Debug)]
pub(super) struct Change<'s> {
    transaction: Transaction<'s, Postgres>,
    /// The number that the server gave it, if a statement has told.
    number: Option<i64>,
}

impl Change<'_> {
    pub(super) fn connection(&mut self) -> &mut PgConnection {
        &mut self.transaction
    }

    /// Notes what `txid_current()` said, so that a lost answer to the commit can be found out.
    pub(super) fn note(&mut self, number: Option<i64>) {
        self.number = self.number.or(number);
    }

    /// Commits. If the answer is lost the error carries the number of the transaction.
    pub(super) async fn commit(self) -> Result<(), Lost> {
        let number = self.number;
        self.transaction.commit().await.map_err(|error| Lost { error, number })
    }
}

/// A commit that was not confirmed.
#[derive(Debug)]
pub(super) struct Lost {
    error: sqlx::Error,
    number: Option<i64>,
}

impl Lost {
    /// Whether it was done after all: asks the server as soon as it answers.
    ///
    /// # Errors
    /// The refusal itself, if the server refused the commit; `Unknown` if nobody can say.
    pub(super) async fn settle(self, session: &mut Session) -> Result<(), Fault> {
        let Self { error, number } = self;
        let fault = Fault::Database(error);
        if fault.cure() != Cure::Reconnect {
            return Err(fault);
        }
        session.connection = None;
        let Some(number) = number else { return Err(unknown(fault)) };
        let mut tries = Tries::new();
        let limit = session.limit;
        loop {
            let asked = async {
                let connection = session.connection().await?;
                let status: Option<String> =
                    sqlx::query_scalar("SELECT txid_status($1)").bind(number).fetch_one(connection).await?;
                Ok(status)
            };
            match Session::bounded(limit, asked).await {
                Ok(Some(status)) if status == "committed" => return Ok(()),
                Ok(Some(status)) if status == "aborted" => return Err(fault),
                // Its server process has not noticed yet that we are gone.
                Ok(Some(_)) if tries.since.elapsed() < session.patience => {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(_) => return Err(unknown(fault)),
                Err(again) => {
                    if session.recover(again, &mut tries).await.is_err() {
                        return Err(unknown(fault));
                    }
                }
            }
        }
    }
}

fn unknown(fault: Fault) -> Fault {
    match fault {
        Fault::Database(error) => Fault::Unknown(error),
        other => other,
    }
}
