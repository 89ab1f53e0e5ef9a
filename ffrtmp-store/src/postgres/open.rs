//! From a DSN to a database that is ours and current, or an error that says what is wrong with it.
//! The password of the DSN is in no message.

use std::str::FromStr;
use std::time::{Duration, Instant};

use ffrtmp_core::{Code, Error, Result};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Connection, Executor};

use super::PostgresOptions;
use super::lead::LEAD_LOCK;

/// Changes of the schema, oldest first. They are history: never change one, add another.
const MIGRATIONS: &[&str] = &[include_str!("schema_1.sql"), include_str!("schema_2.sql")];
/// PostgreSQL 12.
const OLDEST_SERVER: i32 = 120_000;
/// Held while a master looks at the schema and changes it.
const SCHEMA_LOCK: i64 = 0x6666_7274_6d70_0001;
const FLAG: &str = "--db-dsn";
/// First and longest pause before a server that is away is tried again.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// How connections are made.
#[derive(Clone)]
pub(super) struct Door {
    options: PgConnectOptions,
    timeout: Duration,
    patience: Duration,
    statement_timeout: Duration,
}

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Short statements whose plans are known: each is prepared once and goes by index, whatever
    /// the statistics of a queue that was empty a minute ago say.
    Writes,
    /// Lists, whose plans depend on what is asked.
    Reads,
    /// Waits for notifications, holds the lead.
    Watch,
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// To be used by a master.
    Work,
    /// To be filled from another store.
    Import,
}

impl Door {
    pub(super) fn new(dsn: &str, options: &PostgresOptions) -> Result<Self> {
        if !dsn.starts_with("postgres://") && !dsn.starts_with("postgresql://") {
            return Err(invalid("the DSN does not begin with postgres://"));
        }
        // What the parser says may hold parts of the DSN.
        let parsed = PgConnectOptions::from_str(dsn).map_err(|_| invalid("the DSN cannot be read"))?;
        Ok(Self {
            options: parsed.application_name("ffrtmp").disable_statement_logging(),
            timeout: options.connect_timeout,
            patience: options.patience,
            statement_timeout: options.statement_timeout,
        })
    }

    pub(super) fn options(&self, purpose: Purpose) -> PgConnectOptions {
        let millis = |timeout: Duration| timeout.as_millis().to_string();
        let common = self.options.clone().options([
            ("jit", "off".to_owned()),
            ("default_transaction_isolation", "read committed".to_owned()),
            ("statement_timeout", millis(self.statement_timeout)),
            ("lock_timeout", millis(self.statement_timeout / 2)),
            ("idle_in_transaction_session_timeout", millis(self.statement_timeout)),
        ]);
        match purpose {
            Purpose::Reads | Purpose::Watch => common,
            Purpose::Writes => common.options([
                ("plan_cache_mode", "force_generic_plan"),
                ("enable_seqscan", "off"),
                ("enable_hashjoin", "off"),
                ("enable_mergejoin", "off"),
            ]),
        }
    }

    /// A new connection.
    pub(super) async fn connect(&self, purpose: Purpose) -> sqlx::Result<PgConnection> {
        let options = self.options(purpose);
        match tokio::time::timeout(self.timeout, PgConnection::connect_with(&options)).await {
            Ok(connected) => connected,
            Err(_) => Err(sqlx::Error::Io(std::io::ErrorKind::TimedOut.into())),
        }
    }

    /// Makes sure that the database is ours and current, and that no move into it has broken off
    /// unless this is one. A server that is away or starting has as long as `patience` to come.
    pub(super) async fn prepare(&self, opening: Opening) -> Result<()> {
        let begun = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            let away = match self.prepare_once(opening).await {
                Err(error) if error.code() == Code::Unavailable && begun.elapsed() + pause < self.patience => error,
                prepared => return prepared,
            };
            if pause == FIRST_PAUSE {
                tracing::warn!(error = %away, "waiting for the database");
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn prepare_once(&self, opening: Opening) -> Result<()> {
        let mut connection = self.connect(Purpose::Watch).await.map_err(|error| self.unreachable(error))?;
        let version = server_version(&mut connection).await.map_err(|error| self.unreachable(error))?;
        if version < OLDEST_SERVER {
            return Err(invalid(format!("the PostgreSQL server has version {}", version / 10_000))
                .hint("use PostgreSQL 12 or newer"));
        }
        if is_read_only(&mut connection).await.map_err(|error| self.unreachable(error))? {
            return Err(Error::new(Code::Storage, format!("the database at {} is read-only", self.place()))
                .field(FLAG)
                .hint("name the primary server, not a standby; default_transaction_read_only must be off"));
        }
        let prepared = match self.bring_up(&mut connection).await {
            Ok(()) if opening == Opening::Work => self.moved_in(&mut connection).await,
            prepared => prepared,
        };
        // The server ends the session anyway.
        let _ = connection.close().await;
        prepared
    }

    async fn bring_up(&self, connection: &mut PgConnection) -> Result<()> {
        let mut change = connection.begin().await.map_err(|error| self.unreachable(error))?;
        sqlx::query("SELECT pg_advisory_xact_lock($1)")
            .bind(SCHEMA_LOCK)
            .execute(&mut *change)
            .await
            .map_err(|error| self.unreachable(error))?;
        let found = found(&mut change).await.map_err(|error| self.unreachable(error))?;
        let newest = MIGRATIONS.len();
        let current = match found {
            Found::Nothing => 0,
            Found::Ours(version) => version,
            Found::Foreign => {
                return Err(invalid("the database has a schema ffrtmp that ffrtmp did not make")
                    .hint("name another database, or rename that schema"));
            }
        };
        if current > newest {
            return Err(Error::new(
                Code::Storage,
                format!("the database has schema {current}, and this version of ffrtmp knows {newest}"),
            )
            .field(FLAG)
            .hint("use the newer version of ffrtmp that wrote it; nothing was changed"));
        }
        if current == newest {
            return Ok(());
        }
        if current > 0 {
            self.alone(&mut change).await?;
        }
        self.migrate(&mut change, current).await.map_err(|error| self.unchangeable(error))?;
        change.commit().await.map_err(|error| self.unchangeable(error))?;
        tracing::info!(from = current, to = newest, "brought the schema of the database up to date");
        Ok(())
    }

    /// Masters of an older version cannot read what the new schema holds. Where there are any, one leads.
    async fn alone(&self, change: &mut PgConnection) -> Result<()> {
        let nobody_leads: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
            .bind(LEAD_LOCK)
            .fetch_one(change)
            .await
            .map_err(|error| self.unreachable(error))?;
        if nobody_leads {
            return Ok(());
        }
        Err(unavailable("a master of an older version works on the database")
            .hint("stop all masters of the older version; the newer one then brings the database up to date"))
    }

    /// What has moved in only in part is no queue to work on.
    async fn moved_in(&self, connection: &mut PgConnection) -> Result<()> {
        let sql = "SELECT importing FROM ffrtmp.about";
        let importing: bool =
            sqlx::query_scalar(sql).fetch_one(connection).await.map_err(|error| self.unreachable(error))?;
        if !importing {
            return Ok(());
        }
        Err(Error::new(Code::Storage, "a move into the database has not ended")
            .field(FLAG)
            .hint("start the move again, it goes on where it stopped; or name another database"))
    }

    async fn migrate(&self, change: &mut PgConnection, current: usize) -> sqlx::Result<()> {
        if current == 0 {
            // Even `IF NOT EXISTS` needs the right to make one.
            let there: bool =
                sqlx::query_scalar("SELECT to_regnamespace('ffrtmp') IS NOT NULL").fetch_one(&mut *change).await?;
            if !there {
                change.execute("CREATE SCHEMA ffrtmp").await?;
            }
            change.execute("CREATE TABLE ffrtmp.about (program text NOT NULL, schema integer NOT NULL, importing boolean NOT NULL)").await?;
            change.execute("INSERT INTO ffrtmp.about VALUES ('ffrtmp', 0, false)").await?;
        }
        for migration in &MIGRATIONS[current..] {
            sqlx::raw_sql(*migration).execute(&mut *change).await?;
        }
        let newest = i32::try_from(MIGRATIONS.len()).unwrap_or(i32::MAX);
        sqlx::query("UPDATE ffrtmp.about SET schema = $1").bind(newest).execute(change).await.map(|_| ())
    }

    fn place(&self) -> String {
        let (host, port) = (self.options.get_host(), self.options.get_port());
        match self.options.get_socket() {
            Some(socket) => format!("the socket in {}", socket.display()),
            None => format!("{host}:{port}"),
        }
    }

    /// Why the database cannot be used, in words that name the cure.
    fn unreachable(&self, error: sqlx::Error) -> Error {
        let user = self.options.get_username();
        let database = self.options.get_database().unwrap_or(user);
        let place = self.place();
        let said = match code_of(&error).as_deref() {
            Some("28P01" | "28000") => invalid(format!("{place} refuses the role {user}"))
                .hint("correct the user name or the password of the DSN, or pg_hba.conf of the server"),
            Some("3D000") => invalid(format!("there is no database {database} at {place}"))
                .hint(format!("make it with `createdb {database}`, or name another one")),
            Some("42501") => invalid(format!("the role {user} may not use the database {database}"))
                .hint(format!("GRANT CONNECT, CREATE ON DATABASE {database} TO {user}")),
            Some("53300") => unavailable(format!("{place} has no free connections"))
                .hint("raise max_connections of the server, or stop other programs"),
            Some("57P03") => unavailable(format!("{place} is still starting")).hint("try again in a moment"),
            Some(_) => unavailable(format!("{place} refuses to work")).hint("look into the log of the server"),
            None => match &error {
                sqlx::Error::Tls(_) => unavailable(format!("no TLS connection to {place}"))
                    .hint("give sslmode and sslrootcert in the DSN as the server needs them"),
                sqlx::Error::Io(io) if io.kind() == std::io::ErrorKind::TimedOut => {
                    unavailable(format!("{place} does not answer"))
                        .hint("correct the host of the DSN, or open the network")
                }
                _ => unavailable(format!("no PostgreSQL server answers at {place}"))
                    .hint("start the server, or correct the host and port of the DSN"),
            },
        };
        said.source(error)
    }

    fn unchangeable(&self, error: sqlx::Error) -> Error {
        if code_of(&error).as_deref() != Some("42501") {
            return self.unreachable(error);
        }
        let user = self.options.get_username();
        let database = self.options.get_database().unwrap_or(user);
        invalid(format!("the role {user} may not make the schema ffrtmp in the database {database}"))
            .hint(format!(
                "GRANT CREATE ON DATABASE {database} TO {user}, or CREATE SCHEMA ffrtmp AUTHORIZATION {user}"
            ))
            .source(error)
    }
}

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Door").field("place", &self.place()).finish_non_exhaustive()
    }
}

enum Found {
    Nothing,
    Ours(usize),
    Foreign,
}

async fn found(connection: &mut PgConnection) -> sqlx::Result<Found> {
    let (about, tables): (bool, i64) = sqlx::query_as(
        "SELECT to_regclass('ffrtmp.about') IS NOT NULL,
                (SELECT count(*) FROM pg_catalog.pg_class
                 WHERE relnamespace = (SELECT oid FROM pg_catalog.pg_namespace WHERE nspname = 'ffrtmp'))",
    )
    .fetch_one(&mut *connection)
    .await?;
    if !about {
        return Ok(if tables == 0 { Found::Nothing } else { Found::Foreign });
    }
    let ours = "SELECT count(*) FROM pg_catalog.pg_attribute
                WHERE attrelid = 'ffrtmp.about'::regclass AND attname IN ('program', 'schema') AND NOT attisdropped";
    if sqlx::query_scalar::<_, i64>(ours).fetch_one(&mut *connection).await? != 2 {
        return Ok(Found::Foreign);
    }
    let rows: Vec<(String, i32)> =
        sqlx::query_as("SELECT program::text, schema::integer FROM ffrtmp.about").fetch_all(connection).await?;
    Ok(match rows.as_slice() {
        [(program, schema)] if program == "ffrtmp" => usize::try_from(*schema).map_or(Found::Foreign, Found::Ours),
        _ => Found::Foreign,
    })
}

async fn server_version(connection: &mut PgConnection) -> sqlx::Result<i32> {
    sqlx::query_scalar("SELECT current_setting('server_version_num')::integer").fetch_one(connection).await
}

/// A standby, or a database or role that may only read.
async fn is_read_only(connection: &mut PgConnection) -> sqlx::Result<bool> {
    let sql = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only') = 'on'";
    sqlx::query_scalar(sql).fetch_one(connection).await
}

fn code_of(error: &sqlx::Error) -> Option<String> {
    error.as_database_error().and_then(|error| error.code().map(|code| code.into_owned()))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidConfig, message).field(FLAG).hint("give postgres://USER:PASSWORD@HOST:PORT/DATABASE")
}

fn unavailable(message: impl Into<String>) -> Error {
    Error::new(Code::Unavailable, message).field(FLAG)
}
