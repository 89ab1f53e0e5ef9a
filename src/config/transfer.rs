//! Moving a database to another one, and copying one that is in use.

use std::fmt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use clap::Args;
use ffrtmp_core::clock::Clock;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::store::{Lead, Store};
use ffrtmp_store::transfer::{self, Moved, Portable, Step};
use ffrtmp_store::{PostgresOptions, PostgresStore, SqliteOptions, SqliteStore};

use super::contradiction;
use super::database::Dsn;
use crate::clock::SteadyClock;

/// Options of `ffrtmp-master migrate`.
#[derive(Args, Clone, Debug)]
pub struct MigrateArgs {
    /// Database to read, sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME; no master may use it
    #[arg(long, value_name = "DATABASE")]
    pub from: Dsn,
    /// Database to fill, which must be empty (or DATABASE_DSN); a move that broke off goes on
    #[arg(long, value_name = "DATABASE", env = "DATABASE_DSN", hide_env_values = true)]
    pub to: Dsn,
}

/// Options of `ffrtmp-master backup`.
#[derive(Args, Clone, Debug)]
pub struct BackupArgs {
    /// SQLite file to copy, also while a master uses it
    #[arg(long, value_name = "FILE", default_value = "master.db", env = "FFRTMP_DB")]
    pub from: PathBuf,
    /// New file
    #[arg(long, value_name = "FILE")]
    pub to: PathBuf,
}

/// Where a database is. What is wrong is not repeated in an error: it may hold a password.
#[derive(Clone, PartialEq, Eq)]
enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Place {
    fn read(given: &Dsn, field: &'static str) -> Result<Self> {
        let text = given.reveal();
        let path = text.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
        match path.filter(|path| !path.is_empty()) {
            Some(path) => Ok(Self::Sqlite(path.into())),
            None if ["postgres://", "postgresql://"].iter().any(|scheme| text.starts_with(scheme)) => {
                Ok(Self::Postgres(text.to_owned()))
            }
            None => Err(contradiction(
                field,
                "this names no database",
                "give sqlite:PATH or postgres://USER:PASSWORD@HOST/NAME",
            )),
        }
    }
}

impl Place {
    /// Whether both name one database, as far as the names tell.
    fn is_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sqlite(one), Self::Sqlite(two)) => {
                one == two || one.canonicalize().is_ok_and(|one| two.canonicalize().is_ok_and(|two| one == two))
            }
            _ => self == other,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(_) => f.write_str("postgres"),
        }
    }
}

impl MigrateArgs {
    /// Moves everything and proves that it arrived.
    ///
    /// # Errors
    /// `invalid_config` naming `from` for a file that does not exist; what
    /// [`transfer::migrate`] refuses.
    pub async fn run(&self) -> Result<Moved> {
        let places = (Place::read(&self.from, "from")?, Place::read(&self.to, "to")?);
        if places.0.is_same(&places.1) {
            return Err(contradiction("to", "this is the database that is read", "name another database to fill"));
        }
        let (from, to) = (places.0.open_source().await?, places.1.open_target().await?);
        tracing::info!(from = %places.0, to = %places.1, "moving the database");
        let moved = undisturbed(&*from, &*to).await;
        let closed = from.close().await.and(to.close().await);
        let moved = moved?;
        closed?;
        tracing::info!(
            jobs = moved.jobs,
            log_lines = moved.log_lines,
            nodes = moved.nodes,
            hash = moved.hash,
            "moved: counts and hashes are the same on both sides"
        );
        Ok(moved)
    }
}

/// Moves everything, and keeps the lead on both sides meanwhile.
async fn undisturbed(from: &dyn Portable, to: &dyn Portable) -> Result<Moved> {
    const SAY_SO: Duration = Duration::from_secs(2);
    let clock = SteadyClock::start();
    let mut moving = pin!(transfer::migrate(from, to, tell));
    loop {
        tokio::select! {
            moved = &mut moving => return moved,
            () = tokio::time::sleep(SAY_SO) => {
                for (store, field) in [(from, "from"), (to, "to")] {
                    if let Lead::Follower { .. } = store.lead(clock.now()).await? {
                        return Err(in_use(field));
                    }
                }
            }
        }
    }
}

fn tell(step: Step) {
    const EVERY: u64 = 10_000;
    match step {
        Step::Copied(jobs) if jobs % EVERY == 0 => tracing::info!(jobs, "copied"),
        Step::Compared(jobs) if jobs % EVERY == 0 => tracing::info!(jobs, "compared"),
        Step::Copied(_) | Step::Compared(_) => {}
    }
}

impl BackupArgs {
    /// Makes the copy.
    ///
    /// # Errors
    /// As [`ffrtmp_store::backup_sqlite`].
    pub async fn run(&self) -> Result<()> {
        let (from, to) = (self.from.clone(), self.to.clone());
        must_exist(&from, "from")?;
        blocking(move || ffrtmp_store::backup_sqlite(&from, &to)).await?;
        tracing::info!(file = %self.to.display(), "the copy is whole and on the disk");
        Ok(())
    }
}

impl Place {
    async fn open_source(&self) -> Result<Box<dyn Portable>> {
        match self.clone() {
            Self::Sqlite(path) => {
                must_exist(&path, "from")?;
                Ok(Box::new(blocking(move || SqliteStore::open(&path)).await?))
            }
            Self::Postgres(dsn) => {
                let store = PostgresStore::connect(&dsn, PostgresOptions::default()).await;
                alone(store.map_err(|error| error.field("from"))?, "from").await
            }
        }
    }

    async fn open_target(&self) -> Result<Box<dyn Portable>> {
        match self.clone() {
            Self::Sqlite(path) => {
                let open = move || SqliteStore::open_for_import(&path, SqliteOptions::default());
                Ok(Box::new(blocking(open).await?))
            }
            Self::Postgres(dsn) => {
                let store = PostgresStore::connect_for_import(&dsn, PostgresOptions::default()).await;
                alone(store.map_err(|error| error.field("to"))?, "to").await
            }
        }
    }
}

/// A database that no master leads. While this store is open it has the lead, so none can.
async fn alone(store: PostgresStore, field: &'static str) -> Result<Box<dyn Portable>> {
    match store.lead(SteadyClock::start().now()).await? {
        Lead::Leader { .. } => Ok(Box::new(store)),
        Lead::Follower { .. } => Err(in_use(field)),
    }
}

fn in_use(field: &'static str) -> Error {
    Error::new(Code::Unavailable, "a master uses the database")
        .field(field)
        .hint("stop every master that uses it, then move again")
}

/// A source that is missing is a mistake: opening it would make an empty one.
fn must_exist(path: &Path, field: &'static str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    Err(Error::new(Code::InvalidConfig, format!("{} does not exist", path.display()))
        .field(field)
        .hint("name the file that the master was given with --db"))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|error| Error::new(Code::Internal, "the database thread panicked").source(error))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_known_by_any_of_its_names() {
        let home = tempfile::tempdir().unwrap();
        let (file, link) = (home.path().join("a.db"), home.path().join("b.db"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let place = |path: &Path| Place::Sqlite(path.into());
        assert!(place(&file).is_same(&place(&link)) && place(&file).is_same(&place(&home.path().join("./a.db"))));
        assert!(!place(&file).is_same(&place(&home.path().join("c.db"))));
        let there = || Place::Postgres("postgres://h/n".into());
        assert!(there().is_same(&there()) && !there().is_same(&place(&file)));
    }

    #[test]
    fn places_are_read_and_never_show_a_password() {
        let read = |text: &str| Place::read(&text.parse().unwrap(), "to");
        assert!(read("sqlite:a/b.db").unwrap() == Place::Sqlite("a/b.db".into()));
        assert!(read("sqlite:///a/b.db").unwrap() == Place::Sqlite("/a/b.db".into()));
        assert_eq!(read("postgresql://me:secret@host/name").unwrap().to_string(), "postgres");
        for wrong in ["", "sqlite:", "master.db", "mysql://me:secret@host"] {
            let error = read(wrong).err().expect("refused");
            assert_eq!((error.code(), error.field_name()), (Code::InvalidConfig, Some("to")));
            assert!(!format!("{error:?}").contains("secret"));
        }
    }
}
