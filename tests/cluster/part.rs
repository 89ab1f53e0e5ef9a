//! A process of the cluster: this test program, started once more with a role.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ffrtmp::core::coordinator::Settings;
use ffrtmp::core::engine::Engine;
use ffrtmp::core::job::EngineName;
use ffrtmp::engines::SyntheticEngine;
use ffrtmp::governor::NoGovernor;
use ffrtmp::prelude::{Agent, AgentOptions, CancellationToken, Master, MasterOptions};
use ffrtmp::store::{PostgresOptions, PostgresStore};
use ffrtmp::transport::http::{ClientConfig, MasterClient};
pub(crate) use rustix::process::Signal;

/// What a process is.
#[derive(Clone, Debug)]
pub(crate) enum Role {
    Master { dsn: String, address: SocketAddr },
    Agent { masters: String, dir: PathBuf, name: String },
}

/// How soon silence is noticed here.
pub(crate) const LEASE: Duration = Duration::from_secs(10);

const ROLE: &str = "FFRTMP_TEST_ROLE";

impl Role {
    fn to_words(&self) -> Vec<String> {
        match self {
            Self::Master { dsn, address } => vec!["master".into(), dsn.clone(), address.to_string()],
            Self::Agent { masters, dir, name } => {
                vec!["agent".into(), masters.clone(), dir.display().to_string(), name.clone()]
            }
        }
    }

    fn from_words(words: &[&str]) -> Self {
        match words {
            ["master", dsn, address] => {
                Self::Master { dsn: (*dsn).into(), address: address.parse().expect("an address") }
            }
            ["agent", masters, dir, name] => {
                Self::Agent { masters: (*masters).into(), dir: (*dir).into(), name: (*name).into() }
            }
            other => panic!("no role: {other:?}"),
        }
    }
}

/// A running one; dropped, it is killed.
pub(crate) struct Part {
    role: Role,
    log: PathBuf,
    child: Child,
}

impl Part {
    pub(crate) fn start(role: Role, log: PathBuf) -> Self {
        let child = spawn(&role, &log);
        Self { role, log, child }
    }

    pub(crate) fn start_again(&mut self) {
        self.child = spawn(&self.role, &self.log);
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it lives");
    }

    pub(crate) fn await_exit(&mut self, limit: Duration) -> ExitStatus {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child") {
                return status;
            }
            assert!(Instant::now() < deadline, "{:?} does not end; its log: {}", self.role, self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // Both fail only where it has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(role: &Role, log: &Path) -> Child {
    let log = std::fs::File::options().create(true).append(true).open(log).expect("a log");
    Command::new(std::env::current_exe().expect("this program"))
        .args(["part::plays_its_role", "--exact", "--ignored", "--nocapture"])
        .env(ROLE, role.to_words().join("\n"))
        .stdin(Stdio::piped())
        .stdout(log.try_clone().expect("a log"))
        .stderr(log)
        .spawn()
        .expect("it starts")
}

#[test]
#[ignore = "is a part of a cluster that the other tests start"]
fn plays_its_role() {
    let Ok(words) = std::env::var(ROLE) else { return };
    let role = Role::from_words(&words.split('\n').collect::<Vec<_>>());
    #[cfg(feature = "cli")]
    ffrtmp::logging::start(&ffrtmp::logging::LogOptions::plain("info")).expect("a log");
    tokio::runtime::Runtime::new().expect("a runtime").block_on(async {
        match role {
            Role::Master { dsn, address } => master(&dsn, address).await,
            Role::Agent { masters, dir, name } => agent(&masters, &dir, name).await,
        }
    });
}

async fn master(dsn: &str, address: SocketAddr) {
    let unlimited = std::num::NonZeroU32::MAX;
    let options = MasterOptions {
        api_address: Some(address),
        rate_limit: unlimited,
        rate_burst: unlimited,
        scheduler_interval: Duration::from_secs(1),
        settings: Settings { heartbeat_interval: LEASE / 4, heartbeat_timeout: LEASE, ..Settings::default() },
        ..MasterOptions::default()
    };
    let store = PostgresStore::connect(dsn, PostgresOptions::default()).await.expect("a store");
    let master = Master::new(Arc::new(store), options).await.expect("a master");
    master.run(until_told()).await.expect("it ends in good order");
}

async fn agent(masters: &str, dir: &Path, name: String) {
    let options = AgentOptions {
        work_dir: Some(dir.join(&name)),
        name: Some(name),
        max_concurrent_jobs: Some(2),
        allow_paths: vec![dir.to_owned()],
        drain_timeout: Duration::from_millis(100),
        ..AgentOptions::default()
    };
    let engine: Arc<dyn Engine> = Arc::new(SyntheticEngine::at_speed(1.0).standing_in_for(EngineName::Ffmpeg));
    let agent = Agent::new(Arc::new(client(masters)), vec![engine], Arc::new(NoGovernor::default()), options).await;
    agent.expect("an agent").run(until_told()).await.expect("it ends in good order");
}

pub(crate) fn client(masters: &str) -> MasterClient {
    MasterClient::new(&ClientConfig { master: masters.to_owned(), ..ClientConfig::default() }).expect("a client")
}

/// Until a signal, or until the tests have ended, however they did.
fn until_told() -> CancellationToken {
    use tokio::signal::unix::{SignalKind, signal};
    let stop = CancellationToken::new();
    let (told, alone) = (stop.clone(), stop.clone());
    let mut terminate = signal(SignalKind::terminate()).expect("signals");
    tokio::spawn(async move {
        terminate.recv().await;
        told.cancel();
    });
    std::thread::spawn(move || {
        // An error is an end as well.
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        alone.cancel();
    });
    stop
}
