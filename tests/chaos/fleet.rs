//! Two masters, four agents and their database, and what is done to them.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ffrtmp::core::job::Job;
use ffrtmp::core::store::{JobFilter, Page, Store};
use ffrtmp::store::private_server::{PrivateServer, Shutdown};
use ffrtmp::store::{PostgresOptions, PostgresStore};
use ffrtmp::transport::http::{ClientConfig, MasterClient};
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::processes::{is_unpublished, with_home};
use crate::program::{Program, binary, command};
use crate::{Blow, PATIENCE, until};

/// How soon silence is noticed here.
pub(crate) const LEASE: Duration = Duration::from_secs(4);
const MASTERS: usize = 2;
const AGENTS: usize = 4;
/// Seconds of media that the engine makes in a second.
const SPEED: u32 = 4;

/// A program that is started again and again with the same words.
struct Part {
    name: String,
    program: Program,
}

pub(crate) struct Fleet {
    /// Masters first; ended before the database.
    parts: Vec<Part>,
    ports: Vec<u16>,
    server: Arc<PrivateServer>,
    dsn: String,
    runtime: Runtime,
    blows: BTreeMap<&'static str, usize>,
    began: Instant,
    dir: TempDir,
}

impl Fleet {
    /// Starts all of it and waits until it is in service.
    pub(crate) fn start() -> Self {
        let dir = tempfile::Builder::new().prefix("ffrtmp-chaos-").tempdir().expect("a directory");
        for part in ["home", "files/out"] {
            fs::create_dir_all(dir.path().join(part)).expect("a directory");
        }
        fs::write(dir.path().join("api-key"), "a-key-that-all-of-them-share-0123456789").expect("a key");
        fs::set_permissions(dir.path().join("api-key"), fs::Permissions::from_mode(0o600)).expect("a private key");
        write_runner(dir.path());
        let server = PrivateServer::start().expect("a server");
        let dsn = server.new_database().expect("a database");
        let mut fleet = Self {
            parts: Vec::new(),
            ports: (0..MASTERS).map(|_| free_port()).collect(),
            server: Arc::new(server),
            dsn,
            runtime: Runtime::new().expect("a runtime"),
            blows: BTreeMap::new(),
            began: Instant::now(),
            dir,
        };
        let certificate = fleet.master(fleet.ports[0]).arg("--generate-cert").status().expect("it runs");
        assert!(certificate.success(), "{certificate}");
        for index in 0..MASTERS + AGENTS {
            let part = fleet.spawn(index);
            fleet.parts.push(part);
        }
        fleet.await_service();
        fleet.began = Instant::now();
        fleet
    }

    pub(crate) fn parts(&self) -> usize {
        self.parts.len()
    }

    /// Does it, and returns while the program is missing.
    pub(crate) fn strike(&mut self, index: usize, blow: Blow) {
        self.tell(&format!("{blow:?} {}", self.parts[index].name));
        let program = &mut self.parts[index].program;
        if let Some(status) = program.ended() {
            panic!("{} ended by itself, {status}: {}", self.parts[index].name, self.logs());
        }
        let (name, signal) = match blow {
            Blow::Kill(_) => ("kills", Signal::KILL),
            Blow::Stop => ("stops", Signal::TERM),
            Blow::Freeze(_) => ("freezes", Signal::STOP),
        };
        *self.blows.entry(name).or_default() += 1;
        program.signal(signal);
    }

    /// Brings the program back.
    pub(crate) fn recover(&mut self, index: usize, blow: Blow) {
        match blow {
            Blow::Kill(absence) => {
                self.await_exit(index);
                std::thread::sleep(absence);
                self.parts[index] = self.spawn(index);
            }
            Blow::Stop => {
                let status = self.await_exit(index);
                // One that has only just been started does not listen yet.
                let is_stopped = status.code() == Some(0) || status.signal() == Some(Signal::TERM.as_raw());
                assert!(is_stopped, "{} was told to stop, {status}: {}", self.parts[index].name, self.logs());
                self.parts[index] = self.spawn(index);
            }
            Blow::Freeze(time) => {
                std::thread::sleep(time);
                self.parts[index].program.signal(Signal::CONT);
            }
        }
    }

    pub(crate) fn restart_database(&mut self, how: Shutdown) {
        self.tell(&format!("restart of the database, {how:?}"));
        *self.blows.entry("restarts of the database").or_default() += 1;
        self.server.restart(how).expect("the server starts again");
    }

    /// Waits until every master answers and knows every agent to be there.
    pub(crate) fn await_service(&self) {
        for port in &self.ports {
            let client = self.client(&[*port]);
            until(&format!("the master on port {port} knows all agents; {}", self.logs()), PATIENCE, || {
                let nodes = self.runtime.block_on(client.nodes()).ok()?;
                (nodes.iter().filter(|node| node.is_alive()).count() == AGENTS).then_some(())
            });
        }
    }

    /// Waits until all of these jobs have ended.
    pub(crate) fn await_the_end(&self, submitted: &[String]) {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            let left = self.server.sql(&self.dsn, "SELECT count(*) FROM ffrtmp.live").expect("answered");
            if left.trim() == "0" {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let left: Vec<_> = self.jobs().into_iter().filter(|job| !job.state.is_final()).collect();
        panic!("{} of {} jobs hang: {left:#?}; {}", left.len(), submitted.len(), self.logs());
    }

    /// All jobs, as the database has them.
    pub(crate) fn jobs(&self) -> Vec<Job> {
        self.runtime.block_on(async {
            let store = PostgresStore::connect(&self.dsn, PostgresOptions::default()).await.expect("it connects");
            let mut jobs: Vec<Job> = Vec::new();
            loop {
                let before = jobs.last().map(|job| job.sequence_number);
                let page = Page { limit: 500, before };
                let next = store.list_jobs(&JobFilter::default(), page).await.expect("answered");
                if next.is_empty() {
                    store.close().await.expect("closed");
                    return jobs;
                }
                jobs.extend(next);
            }
        })
    }

    /// One answer of the database.
    pub(crate) fn sql(&self, statement: &str) -> String {
        self.server.sql(&self.dsn, statement).expect("answered")
    }

    /// Stops everything in good order; nothing is left of it, neither processes nor files.
    pub(crate) fn stop(&mut self) {
        for part in &self.parts {
            part.program.signal(Signal::TERM);
        }
        for index in 0..self.parts.len() {
            assert_eq!(self.await_exit(index).code(), Some(0), "{}", self.logs());
        }
        let home = self.path("home");
        until("no process is left behind", PATIENCE, || with_home(&home).is_empty().then_some(()));
        let unpublished: Vec<_> =
            files_under(self.dir.path()).into_iter().filter(|file| is_unpublished(file)).collect();
        assert!(unpublished.is_empty(), "{unpublished:?}");
        let logs = self.all_logs();
        assert!(!logs.contains("panicked at"), "{logs}");
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    /// A client that knows all masters.
    pub(crate) fn client_of_all(&self) -> MasterClient {
        self.client(&self.ports)
    }

    /// What was done to it.
    pub(crate) fn story(&self) -> String {
        let blows: Vec<_> = self.blows.iter().map(|(name, times)| format!("{times} {name}")).collect();
        blows.join(", ")
    }

    fn tell(&self, what: &str) {
        let line = format!("{:8.3} s {what}\n", self.began.elapsed().as_secs_f64());
        let file = fs::File::options().create(true).append(true).open(self.path("blows.log"));
        std::io::Write::write_all(&mut file.expect("a log"), line.as_bytes()).expect("it is written");
    }

    fn await_exit(&mut self, index: usize) -> std::process::ExitStatus {
        let what = format!("{} ends", self.parts[index].name);
        until(&what, PATIENCE, || self.parts[index].program.ended())
    }

    fn spawn(&self, index: usize) -> Part {
        let (name, command) = match index.checked_sub(MASTERS) {
            None => (format!("master-{index}"), self.master(self.ports[index])),
            Some(agent) => (format!("agent-{agent}"), self.agent(agent)),
        };
        let program = Program::start(command, &self.path(&format!("{name}.log")));
        Part { name, program }
    }

    fn master(&self, port: u16) -> Command {
        let mut master = command(&binary("ffrtmp-master"), &self.path("home"));
        master.env("DATABASE_DSN", &self.dsn).current_dir(self.dir.path());
        master.args(["--db-type", "postgres", "--bind", "127.0.0.1", "--port", &port.to_string(), "--metrics=false"]);
        master.arg("--cert").arg(self.path("master.crt")).arg("--key").arg(self.path("master.key"));
        master.arg("--api-key-file").arg(self.path("api-key"));
        master.args(["--heartbeat-interval", &seconds(LEASE / 4), "--heartbeat-timeout", &seconds(LEASE)]);
        master.args(["--scheduler-interval", "1s", "--rate-limit", "100000", "--rate-burst", "100000"]);
        master
    }

    /// Half of the agents know the masters the other way round.
    fn agent(&self, number: usize) -> Command {
        let mut ports = self.ports.clone();
        ports.rotate_left(number % MASTERS);
        let mut agent = command(&binary("ffrtmp-agent"), &self.path("home"));
        agent.env("FFRTMP_RUNNER", self.path("runner")).current_dir(self.path("files"));
        agent.args(["--master", &urls(&ports), "--name", &format!("agent-{number}"), "--metrics-port", "0"]);
        agent.arg("--ca").arg(self.path("master.crt")).arg("--api-key-file").arg(self.path("api-key"));
        agent.arg("--work-dir").arg(self.path(&format!("agent-{number}"))).arg("--allow-path").arg(self.path("files"));
        agent.args(["--max-concurrent-jobs", "2", "--poll-interval", "200ms", "--drain-timeout", "1s"]);
        agent
    }

    fn client(&self, ports: &[u16]) -> MasterClient {
        let key = fs::read_to_string(self.path("api-key")).expect("a key");
        let ca = Some(self.path("master.crt"));
        let config = ClientConfig { master: urls(ports), api_key: Some(key), ca, ..ClientConfig::default() };
        MasterClient::new(&config).expect("a client")
    }

    /// The ends of all logs.
    fn logs(&self) -> String {
        let tail = |text: String| {
            let lines: Vec<_> = text.lines().rev().take(15).collect();
            lines.into_iter().rev().fold(String::new(), |tail, line| tail + line + "\n")
        };
        self.each_log().map(|(name, text)| format!("--- end of {name}\n{}", tail(text))).collect()
    }

    fn all_logs(&self) -> String {
        self.each_log().map(|(_, text)| text).collect()
    }

    fn each_log(&self) -> impl Iterator<Item = (String, String)> {
        let logs = fs::read_dir(self.dir.path()).expect("the directory").filter_map(|entry| Some(entry.ok()?.path()));
        let logs = logs.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.map(|path| (path.display().to_string(), fs::read_to_string(path).unwrap_or_default()))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.parts.clear();
        // Children of agents end with them; one that was frozen cannot.
        for process in with_home(&self.path("home")) {
            if let Some(pid) = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, Signal::KILL);
            }
        }
    }
}

/// A runner whose engine needs exactly as long as it is told.
fn write_runner(dir: &Path) {
    let (path, runner) = (dir.join("runner"), binary("ffrtmp-runner"));
    let script = format!("#!/bin/sh\nexec '{}' --synthetic '{{\"speed\":{SPEED}}}'\n", runner.display());
    fs::write(&path, script).expect("a script");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable script");
}

/// Every file below a directory.
pub(crate) fn files_under(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths.flat_map(|path| if path.is_dir() && !path.is_symlink() { files_under(&path) } else { vec![path] }).collect()
}

fn urls(ports: &[u16]) -> String {
    ports.iter().map(|port| format!("https://127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

fn seconds(time: Duration) -> String {
    format!("{}ms", time.as_millis())
}

/// Below the ports that outgoing connections get, so that it is free again after a restart.
fn free_port() -> u16 {
    let mut candidates = std::iter::repeat_with(|| fastrand::u16(20_000..32_000));
    candidates.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).expect("a free port")
}
