//! A master and an agent of the facade in this process, on free loopback ports.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffrtmp::core::{Code, Error, Result};
use ffrtmp::engines::IsolatedEngine;
use ffrtmp::governor::NiceGovernor;
use ffrtmp::store::SqliteStore;
use ffrtmp::transport::http::server::TlsConfig;
use ffrtmp::transport::http::{ClientConfig, MasterClient, certificate};
use ffrtmp::{Agent, AgentOptions, Master, MasterOptions};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A running master and agent.
pub(super) struct Cluster {
    url: String,
    client: MasterClient,
    agent: Task,
    master: Task,
}

/// One of the two, and how to stop it.
struct Task {
    stop: CancellationToken,
    running: JoinHandle<Result<()>>,
}

impl Task {
    async fn stop(self) -> Result<()> {
        self.stop.cancel();
        self.running.await.map_err(|error| Error::new(Code::Internal, "a part of the demo crashed").source(error))?
    }
}

impl Cluster {
    /// Starts both below a scratch directory: SQLite, a self-signed certificate, a generated key.
    ///
    /// # Errors
    /// What the parts say.
    pub(super) async fn start(scratch: &Path, allowed: &[PathBuf], engine: IsolatedEngine) -> Result<Self> {
        let (cert, key) = (scratch.join("master.crt"), scratch.join("master.key"));
        certificate::ensure(&cert, &key, &[], &[])?;
        let (api_key, _) = ffrtmp::master::key::ensure(&scratch.join("api-key"))?;
        let store = Arc::new(SqliteStore::open(&scratch.join("master.db"))?);
        let options = MasterOptions {
            tls: Some(TlsConfig { cert: cert.clone(), key, client_ca: None }),
            api_key: Some(api_key.clone()),
            ..MasterOptions::default()
        };
        let master = Master::new(store, options).await?;
        let url = master.url().ok_or_else(|| Error::new(Code::Internal, "the master listens nowhere"))?;
        let config =
            ClientConfig { master: url.clone(), api_key: Some(api_key), ca: Some(cert), ..ClientConfig::default() };
        let client = MasterClient::new(&config)?;
        let agent = agent(&client, scratch, allowed, engine).await?;
        let master = spawn(|stop| master.run(stop));
        let agent = spawn(|stop| agent.run(stop));
        Ok(Self { url, client, agent, master })
    }

    /// Where the master listens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// A client with the generated key.
    pub(super) const fn client(&self) -> &MasterClient {
        &self.client
    }

    /// Stops the agent, then the master.
    ///
    /// # Errors
    /// The first error that either ended with.
    pub(super) async fn stop(self) -> Result<()> {
        let agent = self.agent.stop().await;
        let master = self.master.stop().await;
        agent.and(master)
    }
}

async fn agent(client: &MasterClient, scratch: &Path, allowed: &[PathBuf], engine: IsolatedEngine) -> Result<Agent> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = AgentOptions {
        name: Some("demo".to_owned()),
        max_concurrent_jobs: Some(u32::try_from(cores).unwrap_or(1).clamp(1, 3)),
        work_dir: Some(scratch.join("agent")),
        allow_paths: allowed.to_vec(),
        min_free_disk_percent: 0,
        drain_timeout: std::time::Duration::ZERO,
        ..AgentOptions::default()
    };
    Agent::new(Arc::new(client.clone()), vec![Arc::new(engine)], Arc::new(NiceGovernor::new()), options).await
}

fn spawn<F>(run: impl FnOnce(CancellationToken) -> F) -> Task
where
    F: Future<Output = Result<()>> + Send + 'static,
{
    let stop = CancellationToken::new();
    Task { running: tokio::spawn(run(stop.clone())), stop }
}
