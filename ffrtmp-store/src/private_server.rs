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

mod owner;
mod process;
mod programs;

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use ffrtmp_core::{Code, Error, Result};
use tempfile::TempDir;

use owner::{Owner, give, home};
use process::Running;
use programs::{Programs, finished};

/// Names the directory of the PostgreSQL programs, before any other place is searched.
pub const BIN_VARIABLE: &str = "FFRTMP_POSTGRES_BIN";

const ROLE: &str = "ffrtmp";
/// A Unix socket's path has at most 107 bytes; the server adds the name of the file.
const LONGEST_SOCKET_DIRECTORY: usize = 80;

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

    /// What a killed test leaves to its guard; run by the test below, in a process of its own.
    #[test]
    #[ignore = "it waits to be killed"]
    fn a_process_with_a_server() {
        let server = PrivateServer::start().unwrap();
        fs::write(std::env::var_os("FFRTMP_TEST_TELL").unwrap(), server.directory().to_str().unwrap()).unwrap();
        std::io::stdin().read_line(&mut String::new()).unwrap();
    }

    #[test]
    fn a_killed_process_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let told = dir.path().join("told");
        let mut owner = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "private_server::tests::a_process_with_a_server", "--ignored"])
            .env("FFRTMP_TEST_TELL", &told)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let home = until(|| fs::read_to_string(&told).ok().filter(|home| !home.is_empty()));
        let pid = fs::read_to_string(Path::new(&home).join("data/postmaster.pid")).unwrap();
        let server = Path::new("/proc").join(pid.lines().next().unwrap());
        assert!(fs::read_link(server.join("cwd")).is_ok());
        owner.kill().unwrap();
        owner.wait().unwrap();
        until(|| (!Path::new(&home).exists()).then_some(()));
        // Whoever adopted it may not have noticed yet; a process that ended has no directory.
        assert!(fs::read_link(server.join("cwd")).is_err());
    }

    fn until<T>(mut look: impl FnMut() -> Option<T>) -> T {
        let begun = std::time::Instant::now();
        loop {
            if let Some(seen) = look() {
                return seen;
            }
            assert!(begun.elapsed().as_secs() < 60, "it did not happen");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
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
    fn the_range_of_outgoing_ports_is_read() {
        assert_eq!(first_ephemeral("32768\t60999\n"), 32_768);
        assert_eq!(first_ephemeral(""), 32_768);
    }
}
