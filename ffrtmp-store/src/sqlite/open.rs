//! Opening a database: who may (one process), what it is (ours, undamaged, not too new), and
//! bringing it up to date. Nothing here runs after the start.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ffrtmp_core::{Code, Error, Result};
use rusqlite::{Connection, OpenFlags};

use super::database::Database;
use super::fault::{self, Fault};
use super::home::{self, Home};
use super::load;
use super::schema::{self, APPLICATION};
use super::{Integrity, SqliteOptions, Synchronous};

const BUSY: Duration = Duration::from_secs(5);
/// With less, in bytes, the next writes may fail.
const LEAST_ROOM: u64 = 1 << 20;
const STATEMENTS: usize = 256;
const READERS: usize = 4;
/// Pages of the log that are moved into the database together: pages that are written often are
/// moved once.
const CHECKPOINT: u32 = 8192;
const LOG_SIZE: u32 = 64 << 20;
/// Kibibytes of the writer's page cache. SQLite walks over the whole of it after every transaction
/// that split a page, and what is not in it is mapped memory anyway.
const CACHE: i64 = 8 << 10;
/// Bytes of the file that are read without a copy.
const MAPPED: i64 = 1 << 30;
/// A file up to this size is read whole at every start.
const SMALL: u64 = 256 << 20;

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Work,
    /// To move the content of another store in.
    Import,
}

/// A database that is ours alone and up to date.
pub(super) struct Opened {
    pub(super) database: Database,
    /// None for a database in memory: only its writer sees it.
    pub(super) readers: Vec<Connection>,
    pub(super) lock: Option<File>,
    /// Where it is; `None` in memory.
    pub(super) path: Option<PathBuf>,
    pub(super) home: Option<Home>,
}

pub(super) fn file(path: &Path, options: SqliteOptions, purpose: Purpose) -> Result<Opened> {
    // First of all, so that nothing is made in vain.
    room_to_work(path)?;
    create(path)?;
    let path = fs::canonicalize(path).map_err(|error| cannot_open(path, error))?;
    let lock = lock(&path)?;
    let home = Home::of(&path)?;
    let attempt = || -> Result<Opened, Fault> {
        let is_suspect = is_suspect(&path, options.integrity);
        let mut writer = Connection::open_with_flags(&path, flags(OpenFlags::SQLITE_OPEN_READ_WRITE))?;
        // What may not be written SQLite opens for reading, and says nothing.
        if writer.is_readonly("main")? {
            return Err(home::read_only(&path).into());
        }
        settings(&writer)?;
        if is_suspect {
            undamaged(&writer, &path)?;
        }
        recognise(&writer, &path)?;
        durable(&writer, &path, options.synchronous)?;
        schema::migrate(&mut writer, &path)?;
        if purpose == Purpose::Work {
            moved_in(&writer, &path)?;
        }
        touch(&writer)?;
        let database = load::database(writer)?;
        let readers = (0..READERS).map(|_| reader(&path)).collect::<rusqlite::Result<_>>()?;
        Ok(Opened { database, readers, lock: Some(lock), path: Some(path.clone()), home: Some(home) })
    };
    attempt().map_err(|fault| damaged(&path, fault))
}

pub(super) fn memory() -> Result<Opened> {
    let attempt = || -> Result<Opened, Fault> {
        let mut writer = Connection::open_in_memory()?;
        settings(&writer)?;
        schema::migrate(&mut writer, Path::new(":memory:"))?;
        let database = load::database(writer)?;
        Ok(Opened { database, readers: Vec::new(), lock: None, path: None, home: None })
    };
    attempt().map_err(|fault| fault.into_error("sqlite.open"))
}

/// Whether the file must be read whole before it is used: it is small, or whoever had it last did
/// not close it (then its log is still there).
fn is_suspect(path: &Path, integrity: Integrity) -> bool {
    let size = |path: &Path| fs::metadata(path).map_or(0, |file| file.len());
    integrity == Integrity::Always || size(path) <= SMALL || size(&side_file(path, "-wal")) > 0
}

/// Makes the file with mode 0600 before SQLite would make it with a wider one; its side files
/// take the same mode.
pub(super) fn create(path: &Path) -> Result<()> {
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

/// Writes what changes nothing, to hear now what the database has against it.
pub(super) fn touch(connection: &Connection) -> Result<(), Fault> {
    connection.prepare_cached("UPDATE state SET writes = writes + 1")?.execute([])?;
    Ok(())
}

/// Refuses a database that is, or would be, on a full disk.
fn room_to_work(path: &Path) -> Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(place) = [path, directory].into_iter().find(|place| place.exists()) else { return Ok(()) };
    room_left(place).map_err(|error| match error.code() {
        Code::DiskFull => Error::new(Code::DiskFull, format!("{} cannot be opened", path.display()))
            .hint("free space on the disk, or name another file with --db FILE")
            .operation("sqlite.open")
            .source(error),
        _ => error,
    })
}

/// Refuses to call a database sound that has no room to grow.
///
/// # Errors
/// `disk_full`; `storage` if the file system does not say.
pub(super) fn room_left(path: &Path) -> Result<()> {
    let asked = rustix::fs::statvfs(path).map_err(|error| cannot_open(path, error.into()))?;
    let room = asked.f_bavail.saturating_mul(asked.f_frsize);
    if room >= LEAST_ROOM {
        return Ok(());
    }
    // Whoever asks for the master's health needs no key, and need not learn where its files are.
    Err(Error::new(Code::DiskFull, format!("{room} bytes are left on the disk of the database"))
        .hint("free space on the master's disk")
        .operation("sqlite.check"))
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

/// A connection that only reads.
pub(super) fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(path, flags(OpenFlags::SQLITE_OPEN_READ_ONLY))?;
    settings(&connection)?;
    Ok(connection)
}

fn settings(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.pragma_update(None, "foreign_keys", false)?;
    connection.pragma_update(None, "mmap_size", MAPPED)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "temp_store", "memory")
}

fn durable(connection: &Connection, path: &Path, synchronous: Synchronous) -> Result<(), Fault> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(Error::new(Code::Storage, format!("{} cannot keep a write-ahead log", path.display()))
            .hint("keep the database on a local file system")
            .into());
    }
    connection.pragma_update(None, "synchronous", synchronous.as_str())?;
    connection.pragma_update(None, "cache_size", -CACHE)?;
    connection.pragma_update_and_check(None, "wal_autocheckpoint", CHECKPOINT, |_| Ok(()))?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_SIZE, |_| Ok(()))?;
    Ok(())
}

fn undamaged(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let report: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if report == "ok" {
        return Ok(());
    }
    Err(Error::new(Code::Storage, format!("{} is damaged: {report}", path.display()))
        .hint("restore a backup, or name another file with --db FILE")
        .into())
}

/// What has moved in only in part is no queue to work on.
fn moved_in(connection: &Connection, path: &Path) -> Result<(), Fault> {
    if connection.query_row("SELECT importing FROM state", [], |row| row.get(0))? {
        return Err(Error::new(Code::Storage, format!("a move into {} has not ended", path.display()))
            .hint("start the move again, it goes on where it stopped; or name another file with --db FILE")
            .into());
    }
    Ok(())
}

fn recognise(connection: &Connection, path: &Path) -> Result<(), Fault> {
    let application: i64 = connection.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables > 0 && application != APPLICATION {
        return Err(Error::new(Code::Storage, format!("{} is the database of another program", path.display()))
            .hint("name another file with --db FILE")
            .into());
    }
    Ok(())
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
        Fault::Sqlite(error) if error.sqlite_error_code() == Some(DatabaseCorrupt) || fault::is_unreadable(&error) => {
            Error::new(Code::Storage, format!("{} is damaged", path.display()))
                .hint("restore a backup, or name another file with --db FILE")
                .operation("sqlite.open")
                .source(error)
        }
        Fault::Unreadable { what, name, source } => {
            Error::new(Code::Storage, format!("{} is damaged: its {what} {name} cannot be read", path.display()))
                .hint("restore a backup, or run the version of ffrtmp that wrote it")
                .operation("sqlite.open")
                .source(source)
        }
        Fault::Refused(_) => fault.into_error("sqlite.open"),
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
