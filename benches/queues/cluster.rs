//! A master with HTTPS and agents with the synthetic engine, each in a process of its own: this
//! program, started once more, so that what each of them used is known.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use ffrtmp::core::job::{EngineName, JobRequest};
use ffrtmp::engines::SyntheticEngine;
use ffrtmp::governor::NoGovernor;
use ffrtmp::prelude::{Agent, AgentOptions, CancellationToken, Engine, Master, MasterOptions, Store};
use ffrtmp::store::{PostgresOptions, PostgresStore, SqliteStore};
use ffrtmp::transport::http::server::TlsConfig;
use ffrtmp::transport::http::{ClientConfig, MasterClient, certificate};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::runtime::Runtime;

use crate::ground::Ground;
use crate::{Result, cpu};

const KEY: &str = "key-of-the-benchmark";
const PATIENCE: Duration = Duration::from_secs(60);

/// What this program does instead of measuring, if it is started with such words.
#[derive(Debug, Serialize, Deserialize)]
enum Role {
    Master { store: Place, dir: PathBuf },
    Agents { url: String, dir: PathBuf, agents: usize, slots: u32 },
}

/// Where jobs are kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Place {
    pub(crate) async fn open(&self) -> Result<Arc<dyn Store>> {
        Ok(match self {
            Self::Sqlite(path) => Arc::new(SqliteStore::open(path)?),
            Self::Postgres(dsn) => Arc::new(PostgresStore::connect(dsn, PostgresOptions::default()).await?),
        })
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Sqlite(_) => "SQLite",
            Self::Postgres(_) => "Postgres",
        }
    }

    /// One of each kind, both empty.
    pub(crate) fn both(ground: &Ground, dir: &Path) -> Result<[Self; 2]> {
        Ok([Self::Postgres(ground.server()?.new_database()?), Self::Sqlite(dir.join("store.db"))])
    }
}

/// A running cluster; dropped, it ends.
pub(crate) struct Cluster {
    pub(crate) client: MasterClient,
    master: Part,
    agents: Part,
}

impl Cluster {
    /// Starts a master and agents and waits until all are in service.
    pub(crate) async fn start(place: &Place, dir: &Path, agents: usize, slots: u32) -> Result<Self> {
        let (cert, key) = (dir.join("cert.pem"), dir.join("key.pem"));
        certificate::generate(&cert, &key, &["localhost".into()], &["127.0.0.1".parse()?])?;
        let master = Part::start(&Role::Master { store: place.clone(), dir: dir.to_owned() })?;
        let url = master.said.clone();
        let client = client(&url, dir)?;
        let agents_role = Role::Agents { url, dir: dir.to_owned(), agents, slots };
        let cluster = Self { client, master, agents: Part::start(&agents_role)? };
        tokio::time::timeout(PATIENCE, cluster.in_service(agents))
            .await
            .map_err(|_| "the agents did not register")??;
        Ok(cluster)
    }

    async fn in_service(&self, agents: usize) -> Result<()> {
        while self.client.nodes().await?.len() < agents {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Processor time of the master.
    pub(crate) fn master_cpu(&self) -> Duration {
        cpu::of(self.master.child.id())
    }

    /// Processor time of all agents.
    pub(crate) fn agents_cpu(&self) -> Duration {
        cpu::of(self.agents.child.id())
    }
}

fn client(url: &str, dir: &Path) -> Result<MasterClient> {
    Ok(MasterClient::new(&ClientConfig {
        master: url.to_owned(),
        api_key: Some(KEY.to_owned()),
        ca: Some(dir.join("cert.pem")),
        ..ClientConfig::default()
    })?)
}

/// The least that an attempt can be: one frame without a codec.
pub(crate) fn least_job() -> Result<JobRequest> {
    Ok(serde_json::from_value(json!({"scenario": "144p-h264", "engine": "ffmpeg", "parameters": {"duration": 0.04}}))?)
}

/// A process of the cluster.
struct Part {
    child: Child,
    /// The line that it wrote when it was ready.
    said: String,
}

impl Part {
    fn start(role: &Role) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .arg(FLAG)
            .arg(serde_json::to_string(role)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut said = String::new();
        let stdout = child.stdout.take().ok_or("a part has no output")?;
        if BufReader::new(stdout).read_line(&mut said)? == 0 {
            return Err(format!("a part of the cluster did not start: {}", child.wait()?).into());
        }
        Ok(Self { child, said: said.trim().to_owned() })
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It stops when nobody can tell it anything any more.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// The word before a role.
pub(crate) const FLAG: &str = "--as";

pub(crate) fn play(role: &str) -> ExitCode {
    let played = serde_json::from_str(role).map_err(Into::into).and_then(|role: Role| {
        let runtime = Runtime::new()?;
        runtime.block_on(async {
            match role {
                Role::Master { store, dir } => master(&store, &dir).await,
                Role::Agents { url, dir, agents, slots } => work(&url, &dir, agents, slots).await,
            }
        })
    });
    match played {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn master(place: &Place, dir: &Path) -> Result<()> {
    let tls = TlsConfig { cert: dir.join("cert.pem"), key: dir.join("key.pem"), client_ca: None };
    let unlimited = std::num::NonZeroU32::MAX;
    let options = MasterOptions {
        tls: Some(tls),
        api_key: Some(KEY.to_owned()),
        rate_limit: unlimited,
        rate_burst: unlimited,
        ..MasterOptions::default()
    };
    let master = Master::new(place.open().await?, options).await?;
    ready(&master.url().ok_or("the master has no address")?)?;
    Ok(master.run(end_of_orders()).await?)
}

async fn work(url: &str, dir: &Path, agents: usize, slots: u32) -> Result<()> {
    let stop = end_of_orders();
    let mut running = Vec::new();
    for number in 0..agents {
        let options = AgentOptions {
            name: Some(format!("agent-{number}")),
            max_concurrent_jobs: Some(slots),
            work_dir: Some(dir.join(format!("agent-{number}"))),
            allow_paths: vec![dir.to_owned()],
            ..AgentOptions::default()
        };
        let engine: Arc<dyn Engine> = Arc::new(SyntheticEngine::default().standing_in_for(EngineName::Ffmpeg));
        let transport = Arc::new(client(url, dir)?);
        let agent = Agent::new(transport, vec![engine], Arc::new(NoGovernor::default()), options).await?;
        running.push(tokio::spawn(agent.run(stop.clone())));
    }
    ready("ready")?;
    for agent in running {
        agent.await??;
    }
    Ok(())
}

fn ready(line: &str) -> Result<()> {
    println!("{line}");
    Ok(std::io::stdout().flush()?)
}

/// Cancelled when whoever started this closes its end.
fn end_of_orders() -> CancellationToken {
    let stop = CancellationToken::new();
    let told = stop.clone();
    std::thread::spawn(move || {
        let mut nothing = Vec::new();
        // An error is an end as well.
        let _ = std::io::stdin().read_to_end(&mut nothing);
        told.cancel();
    });
    stop
}
