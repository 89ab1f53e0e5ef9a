//! A consistent copy of a database that is in use, by SQLite's own means.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ffrtmp_core::id::JobId;
use ffrtmp_core::{Code, Error, Result};
use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::fault::Fault;
use super::schema::APPLICATION;
use super::{SqliteStore, open};

/// Pages that are copied between two looks at whether the source is busy.
const STEP: i32 = 4096;
const PAUSE: Duration = Duration::from_millis(10);

/// Copies the database at `from` to the new file `to`, also while a master has it open: the copy is
/// the database as it was at one moment, and the master does not wait. `to` has mode 0600 and
/// appears when it is whole, checked and on the disk.
///
/// The copy needs the room of the database, and while it is made the master's log keeps growing.
///
/// # Errors
/// `invalid_field` naming `to` for a file that exists; `storage` for a source that is not a
/// database of ffrtmp, `disk_full`.
pub fn backup_sqlite(from: &Path, to: &Path) -> Result<()> {
    copy(to, || {
        let source = open::reader(from)?;
        let application: i64 = source.pragma_query_value(None, "application_id", |row| row.get(0))?;
        if application != APPLICATION {
            return Err(Error::new(Code::Storage, format!("{} is not a database of ffrtmp", from.display()))
                .hint("name the file that the master was given with --db")
                .into());
        }
        Ok(source)
    })
}

impl SqliteStore {
    /// Copies the database to the new file `to`; see [`backup_sqlite`].
    ///
    /// # Errors
    /// As [`backup_sqlite`]; `invalid_field` for a database in memory.
    ///
    /// # Cancel safety
    /// A dropped call goes on, and its copy appears.
    pub async fn backup(&self, to: &Path) -> Result<()> {
        let Some(from) = self.path.clone() else {
            return Err(Error::new(Code::InvalidField, "a database in memory has no file to copy")
                .field("db")
                .hint("name a file for the database with --db FILE"));
        };
        let to = to.to_owned();
        self.orders()?;
        tokio::task::spawn_blocking(move || backup_sqlite(&from, &to))
            .await
            .map_err(|error| Error::new(Code::Internal, "the backup broke off").source(error))?
    }
}

fn copy(to: &Path, source: impl FnOnce() -> Result<Connection, Fault>) -> Result<()> {
    if to.symlink_metadata().is_ok() {
        return Err(exists(to));
    }
    let unfinished = unfinished(to);
    let copied = open::create(&unfinished)
        .and_then(|()| {
            source().and_then(|source| pages(&source, &unfinished)).map_err(|fault| fault.into_error("sqlite.backup"))
        })
        .and_then(|()| publish(&unfinished, to));
    if copied.is_err() && unfinished.exists() {
        let removed = fs::remove_file(&unfinished);
        removed
            .unwrap_or_else(|error| tracing::warn!(path = %unfinished.display(), %error, "an unfinished copy stays"));
    }
    copied
}

/// A name beside the target that nobody else uses.
fn unfinished(to: &Path) -> PathBuf {
    let mut name = to.as_os_str().to_owned();
    name.push(format!(".{}.unfinished", JobId::random()));
    PathBuf::from(name)
}

fn pages(source: &Connection, to: &Path) -> Result<(), Fault> {
    // While it is open the source stays at one moment: a step never begins again.
    let moment = source.unchecked_transaction()?;
    source.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut target = Connection::open_with_flags(to, flags)?;
    // The file counts only once it has its name, after a sync of the whole.
    target.pragma_update_and_check(None, "journal_mode", "off", |_| Ok(()))?;
    target.pragma_update(None, "synchronous", "off")?;
    let backup = Backup::new(source, &mut target)?;
    loop {
        match backup.step(STEP)? {
            StepResult::Done => break,
            StepResult::More => {}
            _ => std::thread::sleep(PAUSE),
        }
    }
    drop(backup);
    drop(moment);
    let report: String = target.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if report != "ok" {
        return Err(Error::new(Code::Storage, format!("the copy is damaged: {report}"))
            .hint("check the disk of the copy, and the database itself")
            .into());
    }
    target.close().map_err(|(_, error)| Fault::Sqlite(error))
}

fn publish(unfinished: &Path, to: &Path) -> Result<()> {
    let published = || -> io::Result<()> {
        File::open(unfinished)?.sync_all()?;
        // Unlike a rename it does not replace what somebody else has put there meanwhile.
        fs::hard_link(unfinished, to)?;
        fs::remove_file(unfinished)?;
        let directory = to.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(directory)?.sync_all()
    };
    published().map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => exists(to),
        io::ErrorKind::StorageFull => Error::new(Code::DiskFull, "no room for the copy").source(error),
        _ => Error::new(Code::Storage, format!("{} cannot be written", to.display()))
            .hint("give this user write permission on the directory")
            .operation("sqlite.backup")
            .source(error),
    })
}

fn exists(to: &Path) -> Error {
    Error::new(Code::InvalidField, format!("{} exists already", to.display()))
        .field("to")
        .hint("name another file for the copy, or remove this one first")
        .operation("sqlite.backup")
}
