//! Opening a database: who may (one process), what it is (ours, undamaged, not too new), and
//! bringing it up to date. Nothing here runs after the start.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ffrtmp_core::{Code, Error, Result};
use rusqlite::{Connection, OpenFlags};

use super::fault::Fault;
use super::jobs::cell;
use super::ledger::{ClassId, Ledger};

/// One step per version of the schema: the database's `user_version` counts those it has.
const MIGRATIONS: &[&str] = &[include_str!("schema/001.sql")];

/// "ffrt" in ASCII: marks the file as ours.
const APPLICATION: i64 = 0x6666_7274;

const BUSY: Duration = Duration::from_secs(5);
const STATEMENTS: usize = 128;
const READERS: usize = 4;

/// A database that is ours alone and up to date.
pub(super) struct Opened {
    pub(super) writer: Connection,
    /// None for a database in memory: only its writer sees it.
    pub(super) readers: Vec<Connection>,
    pub(super) ledger: Ledger,
    pub(super) lock: Option<File>,
}

pub(super) fn file(path: &Path) -> Result<Opened> {
    create(path)?;
    let path = fs::canonicalize(path).map_err(|error| cannot_open(path, error))?;
    let lock = lock(&path)?;
    let attempt = || -> Result<Opened, Fault> {
        let mut writer = Connection::open_with_flags(&path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
        settings(&writer)?;
        recognise(&writer, &path)?;
        durable(&writer, &path)?;
        migrate(&mut writer, &path)?;
        let ledger = ledger(&writer)?;
        let readers = (0..READERS).map(|_| reader(&path)).collect::<rusqlite::Result<_>>()?;
        Ok(Opened { writer, readers, ledger, lock: Some(lock) })
    };
    attempt().map_err(|fault| damaged(&path, fault))
}

pub(super) fn memory() -> Result<Opened> {
    let attempt = || -> Result<Opened, Fault> {
        let mut writer = Connection::open_in_memory()?;
        settings(&writer)?;
        migrate(&mut writer, Path::new(":memory:"))?;
        let ledger = ledger(&writer)?;
        Ok(Opened { writer, readers: Vec::new(), ledger, lock: None })
    };
    attempt().map_err(|fault| fault.into_error("sqlite.open"))
}

/// Makes the file with mode 0600 before SQLite would make it with a wider one; its side files
/// take the same mode.
fn create(path: &Path) -> Result<()> {
    match private().create_new(true).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_file() => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::new(Code::Storage, format!("{} is not a regular file", path.display()))
                .hint("name a file for the database with --db FILE"))
        }
        Err(error) => Err(cannot_open(path, error)),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Two masters on one file would each keep a ledger that the other makes wrong.
fn lock(path: &Path) -> Result<File> {
    let name = side_file(path, ".lock");
    let mut file = private().create(true).truncate(false).open(&name).map_err(|error| cannot_open(&name, error))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(in_use(path, &holder(&mut file))),
        Err(TryLockError::Error(error)) => {
            return Err(Error::new(Code::Storage, format!("{} cannot be locked", name.display()))
                .hint("keep the database on a local file system")
                .source(error));
        }
    }
    let sign = |file: &mut File| file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    sign(&mut file).map_err(|error| cannot_open(&name, error))?;
    Ok(file)
}

fn side_file(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn holder(file: &mut File) -> String {
    let mut pid = String::new();
    let read = file.rewind().and_then(|()| file.take(20).read_to_string(&mut pid));
    match read {
        Ok(_) if !pid.is_empty() && pid.bytes().all(|byte| byte.is_ascii_digit()) => format!(" (process {pid})"),
        _ => String::new(),
    }
}

fn in_use(path: &Path, holder: &str) -> Error {
    Error::new(Code::Storage, format!("{} is in use by another master{holder}", path.display()))
        .hint("stop the other master, or give this one its own database with --db FILE")
        .operation("sqlite.open")
}

fn cannot_open(path: &Path, error: io::Error) -> Error {
    let hint = match error.kind() {
        io::ErrorKind::NotFound => "create the directory first, or name another file with --db FILE",
        io::ErrorKind::StorageFull => "free space on the disk, or name another file with --db FILE",
        _ => "give this user write permission on the file and its directory, or name another with --db FILE",
    };
    let code = if error.kind() == io::ErrorKind::StorageFull { Code::DiskFull } else { Code::Storage };
    Error::new(code, format!("{} cannot be opened", path.display())).hint(hint).operation("sqlite.open").source(error)
}

fn flags(access: OpenFlags) -> OpenFlags {
    access | OpenFlags::SQLITE_OPEN_NO_MUTEX
}

fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    settings(&connection)?;
    Ok(connection)
}

fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "memory")
}

/// A commit is on the disk when it returns: the log is synced with every one.
fn durable(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::new(Code::Storage, format!("{} cannot keep a write-ahead log", path.display()))
            .hint("keep the database on a local file system")
            .into());
    }
    connection.pragma_update(None, "synchronous", "full")?;
    connection.pragma_update(None, "journal_size_limit", 64 << 20)?;
    Ok(())
}

fn recognise(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let report: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if report != "ok" {
        return Err(Error::new(Code::Storage, format!("{} is damaged: {report}", path.display()))
            .hint("restore a backup, or name another file with --db FILE")
            .into());
    }
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION {
        return Err(Error::new(Code::Storage, format!("{} is the database of another program", path.display()))
            .hint("name another file with --db FILE")
            .into());
    }
    Ok(())
}

/// Each step is a transaction of its own: a database is at one version or the next, never between.
fn migrate(connection: &mut Connection, path: &Path) -> Result<(), Fault> {
    let version: usize = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version > MIGRATIONS.len() {
        let known = MIGRATIONS.len();
        let message =
            format!("{} was written by a newer ffrtmp (schema {version}, this one knows {known})", path.display());
        return Err(Error::new(Code::Storage, message)
            .hint("upgrade this ffrtmp, or name another file with --db FILE")
            .into());
    }
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(version) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(sql)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", step + 1)?;
        transaction.commit()?;
    }
    Ok(())
}

fn ledger(connection: &Connection) -> Result<Ledger, Fault> {
    let mut ledger = Ledger::default();
    connection.execute("DELETE FROM classes WHERE id NOT IN (SELECT class FROM jobs)", [])?;
    let mut statement = connection.prepare("SELECT id, requirements FROM classes")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let id: i64 = row.get(0)?;
        let text = row.get_ref(1)?.as_str().map_err(rusqlite::Error::from)?;
        let requirements = serde_json::from_str(text).map_err(|error| Fault::Unreadable {
            what: "class",
            name: id.to_string(),
            source: error.into(),
        })?;
        ledger.open_class(ClassId(id), requirements);
    }
    let mut statement = connection.prepare(
        "SELECT state, queue, priority, engine, class, count(*) FROM jobs GROUP BY state, queue, priority, engine, class",
    )?;
    let mut rows = statement.query([])?;
    let mut queues: std::collections::HashMap<i64, u64> = std::collections::HashMap::new();
    while let Some(row) = rows.next()? {
        let (cell, jobs) = (cell(row, 0)?, row.get(5)?);
        ledger.load(cell, jobs);
        if cell.state == ffrtmp_core::job::JobState::Queued {
            *queues.entry(row.get(4)?).or_default() += jobs;
        }
    }
    queues.into_iter().for_each(|(class, jobs)| ledger.load_queue(ClassId(class), jobs));
    ledger.keep();
    Ok(ledger)
}

/// Names the file in what SQLite says of it.
fn damaged(path: &Path, fault: Fault) -> Error {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match fault {
        Fault::Sqlite(error) if error.sqlite_error_code() == Some(NotADatabase) => {
            Error::new(Code::Storage, format!("{} is not a SQLite database", path.display()))
                .hint("name another file with --db FILE, or restore a backup")
                .operation("sqlite.open")
                .source(error)
        }
        Fault::Sqlite(error) if error.sqlite_error_code() == Some(DatabaseCorrupt) => {
            Error::new(Code::Storage, format!("{} is damaged", path.display()))
                .hint("restore a backup, or name another file with --db FILE")
                .operation("sqlite.open")
                .source(error)
        }
        Fault::Unreadable { .. } | Fault::Refused(_) => fault.into_error("sqlite.open"),
        fault => {
            let cause = fault.into_error("sqlite.open");
            let hint = cause.hint_text().to_owned();
            Error::new(cause.code(), format!("{} cannot be opened", path.display()))
                .hint(hint)
                .operation("sqlite.open")
                .source(cause)
        }
    }
}
