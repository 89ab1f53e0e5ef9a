//! A master and agents as processes in a directory of their own, with TLS and a generated key, and
//! a client of them. Dropped, it ends everything that it started.

mod processes;
mod program;
mod room;

use std::fs;
use std::future::Future;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use ffrtmp::Result;
use ffrtmp::core::job::{Job, JobReport, JobState};
use ffrtmp::core::node::Node;
use ffrtmp::transport::http::{ClientConfig, JobQuery, MasterClient};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

pub(crate) use processes::{at_work, cpu_ticks, is_gone, is_unpublished, resident_bytes, with_home};
pub(crate) use program::{Program, binary, command, example};
pub(crate) use room::Room;

/// Longest wait for anything that a healthy system does.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Looks until there is something, or fails saying what did not happen.
pub(crate) fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(begun.elapsed() < limit, "not within {limit:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// What to start.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// Flags of the master beyond ports and paths.
    pub(crate) master: Vec<&'static str>,
    /// Agents to start with it.
    pub(crate) agents: Vec<AgentSetup>,
}

/// One agent to start.
#[derive(Clone, Debug)]
pub(crate) struct AgentSetup {
    /// Its name, and that of its work directory.
    pub(crate) name: &'static str,
    /// Flags beyond addresses and paths.
    pub(crate) flags: Vec<String>,
    /// Jobs at once.
    pub(crate) slots: u32,
    /// Arguments of its runner, for an engine other than libav.
    pub(crate) runner: Vec<String>,
}

impl AgentSetup {
    /// An agent with libav.
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, flags: Vec::new(), slots: 1, runner: Vec::new() }
    }

    /// An agent whose attempts take exactly as long as their media divided by `speed`.
    pub(crate) fn paced(name: &'static str, speed: f64) -> Self {
        Self { runner: vec!["--synthetic".into(), format!("{{\"speed\":{speed}}}")], ..Self::new(name) }
    }

    pub(crate) fn flag(mut self, flag: impl Into<String>) -> Self {
        self.flags.push(flag.into());
        self
    }
}

/// A lease short enough to wait for.
pub(crate) const SHORT_LEASE: [&str; 4] = ["--heartbeat-interval", "500ms", "--heartbeat-timeout", "2s"];

/// An agent and its process.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) program: Program,
    pub(crate) metrics_port: u16,
    pub(crate) node: String,
}

/// A running cluster.
pub(crate) struct Cluster {
    pub(crate) client: MasterClient,
    pub(crate) master: Program,
    pub(crate) port: u16,
    pub(crate) metrics_port: u16,
    pub(crate) key: String,
    master_flags: Vec<&'static str>,
    workers: Vec<Worker>,
    runtime: Runtime,
    dir: TempDir,
    _room: Room,
}

impl Cluster {
    /// One master, one agent with libav.
    pub(crate) fn single() -> Self {
        Self::start(Setup { agents: vec![AgentSetup::new("first")], ..Setup::default() })
    }

    /// What the setup says, ready to work.
    pub(crate) fn start(setup: Setup) -> Self {
        Self::start_in(setup, Room::some())
    }

    pub(crate) fn start_in(setup: Setup, room: Room) -> Self {
        let dir = tempfile::Builder::new().prefix("ffrtmp-system-").tempdir().expect("a temporary directory");
        for part in ["home", "files/out", "outside"] {
            fs::create_dir_all(dir.path().join(part)).expect("a directory");
        }
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (master, port, metrics_port) = start_master(dir.path(), &setup.master);
        let key = fs::read_to_string(dir.path().join("api-key")).map(|key| key.trim().to_owned()).unwrap_or_default();
        let mut cluster = Self {
            client: client(dir.path(), port, &setup.master, &key),
            master,
            port,
            metrics_port,
            key,
            master_flags: setup.master,
            workers: Vec::new(),
            runtime,
            dir,
            _room: room,
        };
        for agent in &setup.agents {
            cluster.add_agent(agent);
        }
        cluster
    }

    /// Starts an agent, or starts one again with the same identity, and waits until it is in
    /// service. Returns its index.
    pub(crate) fn add_agent(&mut self, setup: &AgentSetup) -> usize {
        let metrics_port = free_port();
        let mut command = self.agent_command(setup);
        command.args(["--metrics-bind", "127.0.0.1", "--metrics-port", &metrics_port.to_string()]);
        let mut program = Program::start(command, &self.path(&format!("{}.log", setup.name)));
        let node = until(&format!("{} is in service", setup.name), PATIENCE, || {
            assert!(program.ended().is_none(), "{} ended: {}", setup.name, program.log_text());
            let registered = program.log_text().lines().filter(|line| line.contains("\"registered\"")).count();
            let starts = program.log_text().lines().filter(|line| line.contains("ffrtmp-agent ")).count();
            (registered >= starts && starts > 0).then(|| self.node_named(setup.name)).flatten()
        });
        self.workers.push(Worker { program, metrics_port, node: node.id.to_string() });
        self.workers.len() - 1
    }

    /// The command line of an agent of this cluster.
    pub(crate) fn agent_command(&self, setup: &AgentSetup) -> Command {
        let mut command = command(&binary("ffrtmp-agent"), &self.home());
        if !setup.runner.is_empty() {
            command.env("FFRTMP_RUNNER", self.runner_with(setup.name, &setup.runner));
        }
        command.current_dir(self.files());
        command.args(["--master", &self.url(), "--name", setup.name, "--work-dir"]).arg(self.path(setup.name));
        command.arg("--allow-path").arg(self.files());
        if !self.key.is_empty() {
            command.arg("--api-key-file").arg(self.path("api-key"));
        }
        command.args(["--max-concurrent-jobs", &setup.slots.to_string(), "--poll-interval", "200ms"]);
        command.args(["--log-format", "json"]);
        command.args(&setup.flags);
        command
    }

    /// A runner that is always given these arguments.
    fn runner_with(&self, name: &str, arguments: &[String]) -> PathBuf {
        let path = self.path(&format!("ffrtmp-runner-{name}"));
        let quoted: Vec<_> = arguments.iter().map(|argument| format!("'{argument}'")).collect();
        let script = format!("#!/bin/sh\nexec '{}' {} \"$@\"\n", binary("ffrtmp-runner").display(), quoted.join(" "));
        fs::write(&path, script).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("an executable script");
        path
    }

    /// Starts the master again where it was, with the same database.
    pub(crate) fn restart_master(&mut self) {
        let command = master_command(self.dir.path(), &self.master_flags, self.port, self.metrics_port);
        self.master = Program::start(command, &self.path("master.log"));
        until("the master is back", PATIENCE, || self.call(self.client.health()).ok());
    }

    pub(crate) fn worker(&mut self, index: usize) -> &mut Worker {
        &mut self.workers[index]
    }

    /// Where the newest agent serves its metrics.
    pub(crate) fn agent_metrics_port(&self) -> Option<u16> {
        Some(self.workers.last()?.metrics_port)
    }

    pub(crate) fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.path("home")
    }

    /// The directory that jobs may use.
    pub(crate) fn files(&self) -> PathBuf {
        self.path("files")
    }

    /// A path in the directory that jobs may use, as text.
    pub(crate) fn file(&self, name: &str) -> String {
        self.files().join(name).display().to_string()
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if is_plain(&self.master_flags) { "http" } else { "https" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// Awaits a call of the client.
    pub(crate) fn call<T>(&self, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.runtime.block_on(call)
    }

    /// Submits a job and returns its id.
    pub(crate) fn submit(&self, request: Value) -> String {
        let request = serde_json::from_value(request).expect("a job request");
        self.call(self.client.submit(&request, None)).expect("a job").job.id.to_string()
    }

    pub(crate) fn job(&self, id: &str) -> Job {
        self.call(self.client.job(id)).unwrap_or_else(|error| panic!("{id}: {error}")).job
    }

    /// The newest job.
    pub(crate) fn newest_job(&self) -> Option<Job> {
        let query = JobQuery { limit: Some(1), ..JobQuery::default() };
        self.call(self.client.jobs(&query)).expect("a list").jobs.pop().map(|view| view.job)
    }

    /// The job once it is as wanted.
    pub(crate) fn job_when(&self, id: &str, what: &str, wanted: impl Fn(&Job) -> bool) -> Job {
        let mut last = None;
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE {
            // A master that is away does not end the wait.
            if let Ok(view) = self.call(self.client.job(id)) {
                if wanted(&view.job) {
                    return view.job;
                }
                last = Some(view.job);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("job {id} is not {what} within {PATIENCE:?}: {last:#?}");
    }

    /// The job once a child writes its output.
    pub(crate) fn job_under_way(&self, id: &str) -> Job {
        let job = self.job_when(id, "under way", |job| {
            job.state.is_final() || (job.state == JobState::Running && at_work(&self.home()).is_some())
        });
        assert!(!job.state.is_final(), "job {id} was too quick to be caught in mid-work: {:?}", job.error);
        job
    }

    /// The job once it has ended.
    pub(crate) fn ended(&self, id: &str) -> Job {
        self.job_when(id, "ended", |job| job.state.is_final())
    }

    /// The report of a job that must complete.
    pub(crate) fn completed(&self, id: &str) -> (Job, JobReport) {
        let job = self.ended(id);
        assert_eq!(job.state, JobState::Completed, "{} {:?}", job.scenario, job.error);
        let report = job.result.as_deref().cloned().expect("a completed job has a report");
        (job, report)
    }

    /// The node of an agent, if it is in service.
    pub(crate) fn node_named(&self, name: &str) -> Option<Node> {
        let nodes = self.call(self.client.nodes()).ok()?;
        nodes.into_iter().find(|node| node.about.name == name && node.is_alive())
    }

    /// Status and body of a raw HTTP request to the API, made by curl with the key.
    pub(crate) fn http(&self, method: &str, path: &str, body: Option<&[u8]>) -> (u16, Value) {
        let mut curl = command(Path::new("curl"), &self.home());
        curl.args(["-sS", "--max-time", "30", "-X", method, "-w", "\n%{http_code}", "-H", "Expect:"]);
        curl.arg("--cacert").arg(self.path("certs/master.crt"));
        curl.args(["-H", &format!("Authorization: Bearer {}", self.key)]);
        if body.is_some() {
            curl.args(["-H", "Content-Type: application/json", "--data-binary", "@-"]);
        }
        curl.arg(format!("{}{path}", self.url()));
        let output = piped(curl, body.unwrap_or_default());
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("a status after the body");
        let status = status.parse().expect("a status");
        assert_ne!(status, 0, "{method} {path}: {}", String::from_utf8_lossy(&output.stderr));
        (status, serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
    }

    /// Runs `ffrtmp` against this cluster.
    pub(crate) fn ffrtmp(&self, args: &[&str]) -> std::process::Output {
        let mut ffrtmp = command(&binary("ffrtmp"), &self.home());
        ffrtmp.args(args).env("MASTER_URL", self.url()).env("MASTER_API_KEY", &self.key);
        ffrtmp.output().expect("ffrtmp runs")
    }

    /// Files that an attempt that did not complete must not leave: unpublished outputs anywhere, and
    /// attempt directories of agents.
    pub(crate) fn residue(&self) -> Vec<PathBuf> {
        let mut left: Vec<PathBuf> =
            files_under(self.dir.path()).into_iter().filter(|path| is_unpublished(path)).collect();
        for worker in fs::read_dir(self.dir.path()).expect("the directory").filter_map(|entry| Some(entry.ok()?.path()))
        {
            let attempts = fs::read_dir(worker.join("attempts")).into_iter().flatten();
            left.extend(attempts.filter_map(|entry| Some(entry.ok()?.path())));
        }
        left
    }

    /// Waits until nothing is left behind.
    pub(crate) fn assert_no_residue(&self) {
        until("no residue", Duration::from_secs(5), || self.residue().is_empty().then_some(()));
    }

    /// Fails if a program of the cluster panicked.
    pub(crate) fn assert_no_panic(&self) {
        for log in fs::read_dir(self.dir.path()).expect("the directory").filter_map(|entry| Some(entry.ok()?.path())) {
            if log.extension().is_some_and(|extension| extension == "log") {
                let text = fs::read_to_string(&log).expect("a log");
                assert!(!text.contains("panicked at"), "{}:\n{text}", log.display());
            }
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for name in fs::read_dir(self.dir.path()).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()))
            {
                if name.extension().is_some_and(|extension| extension == "log") {
                    let text = fs::read_to_string(&name).unwrap_or_default();
                    let tail: Vec<_> = text.lines().rev().take(25).collect();
                    eprintln!("--- end of {}", name.display());
                    tail.iter().rev().for_each(|line| eprintln!("{line}"));
                }
            }
        }
        self.workers.clear();
        // Children of agents end with them; a test that failed may have left a frozen one.
        for process in with_home(&self.home()) {
            if let Some(pid) = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// Every file below a directory.
pub(crate) fn files_under(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut files = Vec::new();
    for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
        if path.is_dir() && !path.is_symlink() {
            files.extend(files_under(&path));
        } else {
            files.push(path);
        }
    }
    files
}

/// A port of loopback that was free a moment ago, below those that the kernel gives to outgoing
/// connections.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = u16::try_from(std::process::id() % 10_000).unwrap_or(0);
    loop {
        let port = 20_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed) * 7) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The command line of a master in a directory.
pub(crate) fn master_command(dir: &Path, flags: &[&str], port: u16, metrics_port: u16) -> Command {
    let mut master = command(&binary("ffrtmp-master"), &dir.join("home"));
    master.current_dir(dir).args(["--bind", "127.0.0.1", "--port", &port.to_string()]);
    master.args(["--metrics-port", &metrics_port.to_string(), "--log-format", "json"]);
    for (flag, file) in [("--db", "master.db"), ("--cert", "certs/master.crt"), ("--key", "certs/master.key")] {
        master.arg(flag).arg(dir.join(file));
    }
    // Tests ask far more often than people.
    master.args(["--scheduler-interval", "200ms", "--rate-limit", "100000", "--rate-burst", "100000"]);
    master.args(flags);
    master
}

/// Starts a master on free ports and waits until it answers.
fn start_master(dir: &Path, flags: &[&str]) -> (Program, u16, u16) {
    let log = dir.join("master.log");
    for _ in 0..5 {
        let (port, metrics_port) = (free_port(), free_port());
        let mut master = Program::start(master_command(dir, flags, port, metrics_port), &log);
        let ready = until("the master is ready", PATIENCE, || match master.ended() {
            Some(_) => Some(false),
            None => master.log_text().contains("is ready").then_some(true),
        });
        if ready {
            return (master, port, metrics_port);
        }
        assert!(master.log_text().contains("in use"), "the master ended: {}", master.log_text());
        fs::remove_file(&log).expect("the log");
    }
    panic!("no free port");
}

fn client(dir: &Path, port: u16, flags: &[&str], key: &str) -> MasterClient {
    let plain = is_plain(flags);
    let config = ClientConfig {
        master: format!("{}://127.0.0.1:{port}", if plain { "http" } else { "https" }),
        api_key: (!key.is_empty()).then(|| key.to_owned()),
        ca: (!plain).then(|| dir.join("certs/master.crt")),
        ..ClientConfig::default()
    };
    MasterClient::new(&config).expect("a client")
}

fn is_plain(flags: &[&str]) -> bool {
    flags.windows(2).any(|pair| pair == ["--tls", "false"])
}

/// Runs a command with this on its standard input.
pub(crate) fn piped(mut command: Command, input: &[u8]) -> std::process::Output {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("a pipe");
    std::thread::scope(|scope| {
        scope.spawn(move || {
            use std::io::Write as _;
            // A server that refuses early closes the pipe.
            let _ = stdin.write_all(input);
        });
        child.wait_with_output().expect("it ends")
    })
}
