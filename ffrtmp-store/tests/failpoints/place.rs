//! Where a store is kept, so that one process can leave it to the next.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use ffrtmp_core::store::Store;
use ffrtmp_store::private_server::PrivateServer;
use ffrtmp_store::{PostgresOptions, PostgresStore, SqliteStore};

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    /// The first word of its points.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

/// A database of one's own.
#[derive(Debug)]
pub(crate) enum Place {
    Sqlite { path: PathBuf, _home: Option<tempfile::TempDir> },
    Postgres(String),
}

impl Place {
    pub(crate) fn new(kind: Kind) -> Self {
        match kind {
            Kind::Sqlite => {
                let home = tempfile::tempdir().expect("a directory");
                Self::Sqlite { path: home.path().join("master.db"), _home: Some(home) }
            }
            Kind::Postgres => {
                let server = PrivateServer::shared().expect("a server");
                Self::Postgres(server.new_database().expect("a database"))
            }
        }
    }

    pub(crate) async fn open(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite { path, .. } => Arc::new(SqliteStore::open(path).expect("the lock of the dead is free")),
            Self::Postgres(dsn) => {
                Arc::new(PostgresStore::connect(dsn, PostgresOptions::default()).await.expect("it connects"))
            }
        }
    }
}

impl Place {
    /// What the server itself says.
    pub(crate) fn sql(&self, statement: &str) -> String {
        let server = PrivateServer::shared().expect("a server");
        server.sql(&self.to_string(), statement).expect("answered")
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite { path, .. } => f.write_str(&path.to_string_lossy()),
            Self::Postgres(dsn) => f.write_str(dsn),
        }
    }
}

impl FromStr for Place {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text.strip_prefix("postgres://") {
            Some(_) => Self::Postgres(text.into()),
            None => Self::Sqlite { path: text.into(), _home: None },
        })
    }
}
