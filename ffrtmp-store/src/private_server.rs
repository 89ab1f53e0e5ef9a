//! A PostgreSQL server of one's own: tests and benchmarks start it on a free port in a temporary
//! directory and leave nothing behind.
//!
//! The server runs with the durability of production (`fsync`, `synchronous_commit` and full page
//! writes on), as an unprivileged user where this process is root, and only for whoever knows its
//! random password. A guard process holds a pipe to this one: when this one ends, however it ends,
//! the guard stops the server and removes the directory, so a `static` server is as good as an
//! owned one.
//!
//! What is deliberately not here: anything that runs in production, and the store itself.

use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use ffrtmp_core::{Code, Error, Result};
use rustix::process::{Pid, Signal};
use tempfile::TempDir;

/// Names the directory of the PostgreSQL programs, before any other place is searched.
pub const BIN_VARIABLE: &str = "FFRTMP_POSTGRES_BIN";

const ROLE: &str = "ffrtmp";
/// Long enough for the recovery of a large database on a busy disk.
const PATIENCE: Duration = Duration::from_secs(120);
const READY: &str = "database system is ready to accept connections";
/// A Unix socket's path has at most 107 bytes; the server adds the name of the file.
const LONGEST_SOCKET_DIRECTORY: usize = 80;
const LOG_LINES: usize = 200;

/// Waits for the end of its parent, then ends the server and removes the directory. A process
/// belongs to the server if it works in the data directory; a recycled number does not.
const GUARD: &str = r#"
read -r _
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null)
mine() { [ -n "$pid" ] && [ "$(readlink "/proc/$pid/cwd")" = "$1/data" ]; }
if mine "$1"; then
    kill -QUIT "$pid"
    while mine "$1"; do sleep 0.02; done
fi
rm -rf -- "$1"
"#;

/// How a server ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// Sessions are cut, a checkpoint is written.
    Fast,
    /// At once and without a checkpoint, as in a crash; the next start recovers from the log.
    Immediate,
}

/// A running PostgreSQL server that ends, with all its data, when this value or this process does.
///
/// All methods block the calling thread; in async code call them through `spawn_blocking` where
/// other tasks must go on meanwhile.
#[derive(Debug)]
pub struct PrivateServer {
    home: TempDir,
    programs: Programs,
    owner: Option<Owner>,
    settings: Vec<String>,
    port: u16,
    password: String,
    databases: AtomicU32,
    running: Mutex<Option<Running>>,
    /// Dropping its standard input lets it clean up.
    guard: Child,
}

impl PrivateServer {
    /// Starts a server and waits until it takes connections.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if PostgreSQL is not installed, this process is root and there is no
    /// user to run it as, or the server does not start; the message has the server's own words.
    pub fn start() -> Result<Self> {
        Self::start_with(&[])
    }

    /// The same with settings besides, such as `("shared_buffers", "1GB")`.
    ///
    /// # Errors
    /// As [`PrivateServer::start`].
    pub fn start_with(settings: &[(&str, &str)]) -> Result<Self> {
        let programs = Programs::find()?;
        let owner = Owner::needed()?;
        let home = home(owner.as_ref())?;
        let guard = guard(home.path())?;
        let mut server = Self {
            home,
            programs,
            owner,
            settings: settings.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            port: 0,
            password: uuid::Uuid::new_v4().simple().to_string(),
            databases: AtomicU32::new(0),
            running: Mutex::new(None),
            guard,
        };
        server.initialize()?;
        server.run_on_a_free_port()?;
        Ok(server)
    }

    /// The server that all tests of this process share, started at the first call.
    ///
    /// # Errors
    /// As [`PrivateServer::start`].
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<PrivateServer, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::start().map_err(|error| format!("{error:?}")))
            .as_ref()
            .map_err(|why| Error::new(Code::Unavailable, why.clone()))
    }

    /// Where and how to connect, over TCP, to the database that is always there.
    #[must_use]
    pub fn dsn(&self) -> String {
        self.dsn_of("postgres")
    }

    /// Makes an empty database and returns how to connect to it.
    ///
    /// # Errors
    /// [`Code::Storage`] with the server's own words.
    pub fn new_database(&self) -> Result<String> {
        let name = format!("db{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.sql(&self.dsn(), &format!("CREATE DATABASE {name}"))?;
        Ok(self.dsn_of(&name))
    }

    /// Runs one statement with `psql` and returns its rows, one per line, columns parted by `|`.
    ///
    /// # Errors
    /// [`Code::Storage`] with the server's own words.
    pub fn sql(&self, dsn: &str, statement: &str) -> Result<String> {
        let mut psql = self.programs.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-d", dsn, "-c", statement]);
        finished(&mut psql, Code::Storage)
    }

    /// The port on 127.0.0.1, the same after a restart.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The process that all others of the server descend from; `None` while it is stopped.
    #[must_use]
    pub fn pid(&self) -> Option<u32> {
        self.running().as_ref().map(|running| running.child.id())
    }

    /// The directory of the PostgreSQL programs in use.
    #[must_use]
    pub fn programs(&self) -> &Path {
        &self.programs.0
    }

    /// The temporary directory of the server: the data, and the Unix socket where the path is
    /// short enough for one.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.home.path()
    }

    /// Stops the server and starts it again on the same data and port; returns when it takes
    /// connections. Of a stopped server only the second half is left.
    ///
    /// # Errors
    /// [`Code::Unavailable`] with the server's own words.
    pub fn restart(&self, shutdown: Shutdown) -> Result<()> {
        let mut running = self.running();
        if let Some(old) = running.take() {
            old.end(shutdown)?;
        }
        *running = Some(self.launch(self.port)?);
        Ok(())
    }

    /// Stops the server as a crash does; [`PrivateServer::restart`] brings it back.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if it does not end.
    pub fn kill(&self) -> Result<()> {
        self.stop(Shutdown::Immediate)
    }

    /// Stops the server and keeps its data for [`PrivateServer::restart`]. A second call does
    /// nothing.
    ///
    /// # Errors
    /// [`Code::Unavailable`] if it does not end.
    pub fn stop(&self, shutdown: Shutdown) -> Result<()> {
        self.running().take().map_or(Ok(()), |running| running.end(shutdown))
    }

    fn dsn_of(&self, database: &str) -> String {
        format!("postgres://{ROLE}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn initialize(&self) -> Result<()> {
        let password = self.home.path().join("password");
        fs::write(&password, &self.password).map_err(|error| broken("cannot write the password", error))?;
        self.give(&password)?;
        let mut initdb = self.command("initdb");
        initdb.args(["--no-sync", "--no-instructions", "--auth=scram-sha-256", "--encoding=UTF8", "--locale=C"]);
        initdb.arg(format!("--username={ROLE}")).arg("--pwfile").arg(&password).arg("-D").arg(self.data());
        finished(&mut initdb, Code::Unavailable).map(drop)
    }

    /// Between the look for a free port and its use another process may take it.
    fn run_on_a_free_port(&mut self) -> Result<()> {
        const ATTEMPTS: usize = 8;
        for attempt in 1..=ATTEMPTS {
            let port = free_port()?;
            match self.launch(port) {
                Ok(running) => {
                    self.port = port;
                    *self.running() = Some(running);
                    break;
                }
                Err(error) if attempt < ATTEMPTS && error.code() == Code::PortInUse => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn launch(&self, port: u16) -> Result<Running> {
        let mut server = self.command("postgres");
        server.arg("-D").arg(self.data());
        let socket = self.home.path().as_os_str().len() <= LONGEST_SOCKET_DIRECTORY;
        let socket = if socket { self.home.path() } else { Path::new("") };
        let fixed = [
            "listen_addresses=127.0.0.1".to_owned(),
            format!("port={port}"),
            format!("unix_socket_directories={}", socket.display()),
            "max_connections=300".to_owned(),
            "fsync=on".to_owned(),
            "synchronous_commit=on".to_owned(),
            "full_page_writes=on".to_owned(),
            "lc_messages=C".to_owned(),
            "log_destination=stderr".to_owned(),
            "logging_collector=off".to_owned(),
        ];
        for setting in fixed.iter().chain(&self.settings) {
            server.arg("-c").arg(setting);
        }
        server.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).process_group(0);
        Running::of(server.spawn().map_err(|error| broken("cannot run postgres", error))?)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = self.programs.command(program);
        if let Some(owner) = &self.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        command.current_dir(self.home.path());
        command
    }

    fn give(&self, path: &Path) -> Result<()> {
        give(path, self.owner.as_ref())
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        // What fails here is left to the guard, which ends the server and removes everything.
        let _ = self.stop(Shutdown::Immediate);
        drop(self.guard.stdin.take());
        let _ = self.guard.wait();
    }
}

/// The server process and the last words of its log.
#[derive(Debug)]
struct Running {
    child: Child,
    log: Log,
}

impl Running {
    /// Waits until the server says that it is ready.
    fn of(mut child: Child) -> Result<Self> {
        let stderr = child.stderr.take().ok_or_else(|| Error::new(Code::Internal, "postgres has no log"))?;
        let (log, ready) = Log::follow(stderr);
        let mut running = Self { child, log };
        match ready.recv_timeout(PATIENCE) {
            Ok(()) => Ok(running),
            Err(why) => {
                let _ = running.child.kill();
                let _ = running.child.wait();
                Err(running.failed(why))
            }
        }
    }

    fn failed(&self, why: mpsc::RecvTimeoutError) -> Error {
        let log = self.log.text();
        let taken = log.contains("Address already in use");
        let what = match why {
            mpsc::RecvTimeoutError::Timeout => format!("postgres was not ready after {PATIENCE:?}"),
            mpsc::RecvTimeoutError::Disconnected => "postgres did not start".to_owned(),
        };
        Error::new(if taken { Code::PortInUse } else { Code::Unavailable }, format!("{what}: {log}"))
    }

    fn end(mut self, shutdown: Shutdown) -> Result<()> {
        let signal = match shutdown {
            Shutdown::Fast => Signal::INT,
            Shutdown::Immediate => Signal::QUIT,
        };
        let gone = self.child.try_wait().map_err(|error| broken("cannot wait for postgres", error))?.is_some();
        if !gone && let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            rustix::process::kill_process(pid, signal).map_err(|error| broken("cannot stop postgres", error))?;
            self.child.wait().map_err(|error| broken("cannot wait for postgres", error))?;
        }
        Ok(())
    }
}

/// The newest lines of the server's log.
#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<VecDeque<String>>>);

impl Log {
    /// Reads to the end of the stream on a thread of its own, since a server whose log nobody
    /// reads stands still. The receiver hears once, when the server is ready; a hang-up says that
    /// it ended before.
    fn follow(stream: ChildStderr) -> (Self, mpsc::Receiver<()>) {
        let log = Self::default();
        let (tell, ready) = mpsc::channel();
        let kept = log.clone();
        std::thread::spawn(move || {
            let mut tell = Some(tell);
            for line in BufReader::new(stream).lines() {
                let Ok(line) = line else { break };
                if line.contains(READY)
                    && let Some(tell) = tell.take()
                {
                    // Whoever waited may have lost patience.
                    let _ = tell.send(());
                }
                kept.push(line);
            }
        });
        (log, ready)
    }

    fn push(&self, line: String) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LOG_LINES {
            lines.pop_front();
        }
        lines.push_back(line);
    }

    fn text(&self) -> String {
        let lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

/// Where `initdb`, `postgres` and `psql` are.
#[derive(Clone, Debug)]
struct Programs(PathBuf);

impl Programs {
    fn find() -> Result<Self> {
        if let Some(named) = std::env::var_os(BIN_VARIABLE) {
            let named = PathBuf::from(named);
            return Self::at(&named).ok_or_else(|| {
                Error::new(Code::InvalidConfig, format!("{} has no initdb, postgres and psql", named.display()))
                    .field(BIN_VARIABLE)
            });
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).chain(packaged(Path::new("/usr/lib/postgresql"))).find_map(|dir| Self::at(&dir)).ok_or_else(
            || {
                Error::new(Code::Unavailable, "no PostgreSQL server is installed here").hint(format!(
                    "install the package `postgresql` (scripts/setup.sh does), or name the directory of initdb with {BIN_VARIABLE}"
                ))
            },
        )
    }

    fn at(dir: &Path) -> Option<Self> {
        let whole = ["initdb", "postgres", "psql"].iter().all(|program| dir.join(program).is_file());
        whole.then(|| Self(dir.to_owned()))
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.0.join(program));
        // Variables of the person who runs this (PGHOST, PGDATA, PGSERVICE, …) mean another server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C");
        command
    }
}

/// The directories of Debian's packages, newest version first.
fn packaged(root: &Path) -> impl Iterator<Item = PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable();
    versions.into_iter().rev().map(|(_, path)| path)
}

/// Whom the server runs as, since PostgreSQL refuses to run as root.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl Owner {
    /// `None` where this process is not root and the server runs as its user.
    fn needed() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let users = fs::read_to_string("/etc/passwd").map_err(|error| broken("cannot read /etc/passwd", error))?;
        ["postgres", "nobody"].iter().find_map(|name| Self::named(name, &users)).map(Some).ok_or_else(|| {
            Error::new(Code::Unavailable, "this is root, and there is no user to run PostgreSQL as")
                .hint("run as another user, or add the user `postgres`")
        })
    }

    fn named(name: &str, users: &str) -> Option<Self> {
        let mut fields = users.lines().map(|line| line.split(':')).find_map(|mut fields| {
            let found = fields.next() == Some(name);
            found.then_some(fields)
        })?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(Self { uid, gid })
    }
}

fn home(owner: Option<&Owner>) -> Result<TempDir> {
    let home = tempfile::Builder::new()
        .prefix("ffrtmp-pg-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir()
        .map_err(|error| broken("cannot make a temporary directory", error))?;
    give(home.path(), owner)?;
    Ok(home)
}

fn give(path: &Path, owner: Option<&Owner>) -> Result<()> {
    let Some(owner) = owner else { return Ok(()) };
    chown(path, Some(owner.uid), Some(owner.gid))
        .map_err(|error| broken("cannot hand the directory to the server's user", error))
}

/// In a process group of its own, so that a Ctrl-C that ends this process leaves it to clean up.
fn guard(home: &Path) -> Result<Child> {
    let home = home.canonicalize().map_err(|error| broken("cannot find the temporary directory", error))?;
    Command::new("/bin/sh")
        .args(["-c", GUARD, "ffrtmp-postgres-guard"])
        .arg(home)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .current_dir("/")
        .spawn()
        .map_err(|error| broken("cannot run /bin/sh", error))
}

/// A free port below those that the system gives to outgoing connections: while a server is down,
/// one of those could be taken by a client that tries to reach it.
fn free_port() -> Result<u16> {
    const FIRST: u16 = 15_000;
    const TRIES: usize = 200;
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let end = first_ephemeral(&range).max(FIRST + 1000);
    (0..TRIES)
        .map(|_| FIRST + u16::try_from(uuid::Uuid::new_v4().as_u128() % u128::from(end - FIRST)).unwrap_or_default())
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok())
        .ok_or_else(|| Error::new(Code::PortInUse, "no port for PostgreSQL is free on 127.0.0.1"))
}

fn first_ephemeral(range: &str) -> u16 {
    range.split_whitespace().next().and_then(|first| first.parse().ok()).unwrap_or(32_768)
}

fn finished(command: &mut Command, code: Code) -> Result<String> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().map_err(|error| broken("cannot run a PostgreSQL program", error))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).trim_end().to_owned());
    }
    let ended = status.signal().map_or_else(|| status.to_string(), |signal| format!("ended by signal {signal}"));
    Err(Error::new(code, format!("{program} failed ({ended}): {}", String::from_utf8_lossy(&stderr).trim_end())))
}

fn broken(what: &str, error: impl Into<std::io::Error>) -> Error {
    let error = error.into();
    Error::new(Code::Unavailable, format!("{what}: {error}")).source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_keeps_what_was_committed_and_leaves_nothing_behind() {
        let server = PrivateServer::start().unwrap();
        let (first, second) = (server.new_database().unwrap(), server.new_database().unwrap());
        assert_ne!(first, second);
        assert_eq!(server.sql(&first, "SHOW fsync").unwrap(), "on");
        server.sql(&first, "CREATE TABLE kept (what text); INSERT INTO kept VALUES ('this')").unwrap();
        let port = server.port();
        for shutdown in [Shutdown::Immediate, Shutdown::Fast] {
            server.restart(shutdown).unwrap();
            assert_eq!(server.sql(&first, "SELECT what FROM kept").unwrap(), "this");
        }
        server.kill().unwrap();
        assert_eq!(server.sql(&first, "SELECT 1").unwrap_err().code(), Code::Storage);
        server.restart(Shutdown::Fast).unwrap();
        assert_eq!((server.port(), server.sql(&second, "SELECT 1").unwrap().as_str()), (port, "1"));
        let (pid, home) = (server.pid().unwrap(), server.directory().to_owned());
        drop(server);
        assert!(!home.exists());
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn the_password_is_needed() {
        let server = PrivateServer::shared().unwrap();
        let stranger = server.dsn().replace(&server.password, "guess");
        let refused = server.sql(&stranger, "SELECT 1").unwrap_err();
        assert!(refused.to_string().contains("password authentication failed"), "{refused}");
    }

    #[test]
    fn wrong_settings_are_told_in_the_words_of_the_server() {
        let refused = PrivateServer::start_with(&[("shared_buffers", "much")]).unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable);
        assert!(refused.to_string().contains("shared_buffers"), "{refused}");
    }

    #[test]
    fn users_and_ports_are_read() {
        let users = "root:x:0:0:root:/root:/bin/sh\npostgres:x:101:104:,,,:/var/lib:/bin/bash\nbroken\n";
        assert_eq!(Owner::named("postgres", users), Some(Owner { uid: 101, gid: 104 }));
        assert_eq!(Owner::named("broken", users), None);
        assert_eq!(first_ephemeral("32768\t60999\n"), 32_768);
        assert_eq!(first_ephemeral(""), 32_768);
    }
}
