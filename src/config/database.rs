//! Where a master keeps its jobs: the flags, and the store that they name.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::store::Store;
use ffrtmp_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore, Synchronous};

use super::contradiction;

/// Options of the database.
#[derive(Args, Clone, Debug)]
pub struct DatabaseArgs {
    /// SQLite file; "" keeps everything in memory
    #[arg(long, default_value = "master.db", env = "FFRTMP_DB")]
    pub db: String,
    /// Kind of database; several masters may share one postgres
    #[arg(long, default_value = "sqlite", env = "DATABASE_TYPE")]
    pub db_type: DatabaseKind,
    /// Connection string of a Postgres database, postgres://USER:PASSWORD@HOST/NAME; the environment keeps it out of the process list
    #[arg(long, env = "DATABASE_DSN", hide_env_values = true)]
    pub db_dsn: Option<Dsn>,
    /// When SQLite reports a commit: full, once it is on the disk; normal, sooner, and a power cut may undo the newest ones
    #[arg(long, default_value = "full", env = "FFRTMP_DB_SYNC")]
    pub db_sync: Durability,
}

/// A kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DatabaseKind {
    /// One file on this machine, one master.
    Sqlite,
    /// A server, any number of masters.
    #[value(alias = "postgresql")]
    Postgres,
}

/// When a commit is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Durability {
    /// Once it is on the disk.
    Full,
    /// Sooner.
    Normal,
}

/// A connection string, which holds a password: it is never shown whole.
#[derive(Clone, PartialEq, Eq)]
pub struct Dsn(String);

impl Dsn {
    /// The whole string.
    #[must_use]
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl FromStr for Dsn {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> std::result::Result<Self, Self::Err> {
        password(text).into_iter().for_each(|password| crate::logging::secrets::keep(&password));
        Ok(Self(text.to_owned()))
    }
}

/// The password of a URL, as it stands there, or of `key=value` words.
fn password(text: &str) -> Option<String> {
    match text.split_once("://") {
        Some((_, rest)) => Some(rest.rsplit_once('@')?.0.split_once(':')?.1.to_owned()),
        None => text.split_whitespace().find_map(|word| Some(word.strip_prefix("password=")?.to_owned())),
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dsn(…)")
    }
}

impl DatabaseArgs {
    /// Opens the database.
    ///
    /// # Errors
    /// `invalid_config` naming the flag; `storage` for a database that is damaged, of another
    /// program or of a newer version, or that cannot be reached or written.
    pub async fn open(&self) -> Result<Arc<dyn Store>> {
        match (self.db_type, &self.db_dsn) {
            (DatabaseKind::Sqlite, Some(_)) => Err(contradiction(
                "db-dsn",
                "a connection string is given, and the database type is sqlite",
                "give --db-type postgres as well, or unset DATABASE_DSN",
            )),
            (DatabaseKind::Sqlite, None) => open_sqlite(self.db.clone(), self.db_sync).await,
            (DatabaseKind::Postgres, None) => Err(contradiction(
                "db-dsn",
                "postgres needs a connection string",
                "give one such as postgres://USER:PASSWORD@HOST/NAME with --db-dsn or DATABASE_DSN",
            )),
            (DatabaseKind::Postgres, Some(dsn)) => open_postgres(dsn).await,
        }
    }

    /// What it is, in words that may be logged.
    #[must_use]
    pub fn describe(&self) -> String {
        match self.db_type {
            DatabaseKind::Postgres => "postgres".into(),
            DatabaseKind::Sqlite if self.db.is_empty() => "memory".into(),
            DatabaseKind::Sqlite => self.db.clone(),
        }
    }
}

async fn open_sqlite(db: String, durability: Durability) -> Result<Arc<dyn Store>> {
    let opened = tokio::task::spawn_blocking(move || {
        let path = PathBuf::from(db);
        let synchronous = match durability {
            Durability::Full => Synchronous::Full,
            Durability::Normal => Synchronous::Normal,
        };
        SqliteStore::open_with(&path, SqliteOptions::default().synchronous(synchronous))
    });
    let store =
        opened.await.map_err(|error| Error::new(Code::Internal, "cannot open the database").source(error))??;
    Ok(Arc::new(store))
}

async fn open_postgres(dsn: &Dsn) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(PostgresStore::connect(dsn.reveal(), PostgresOptions::default()).await?))
}
