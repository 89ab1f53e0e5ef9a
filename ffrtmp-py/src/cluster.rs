//! A master and agents of the facade in this process, for notebooks and tests.
//!
//! Attempts run in children where `ffrtmp-runner` is found, as under an agent of its own; else on
//! threads of this process, where a hostile file can end it.

use std::ffi::OsString;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ffrtmp::core::coordinator::Coordinator;
use ffrtmp::core::engine::{Control, Engine};
use ffrtmp::core::governor::ResourceGovernor;
use ffrtmp::core::id::NodeId;
use ffrtmp::core::node::Node;
use ffrtmp::core::store::Store;
use ffrtmp::engines::{IsolatedEngine, LibavEngine};
use ffrtmp::governor::NoGovernor;
use ffrtmp::governor::budget::{BudgetOptions, StrainLimits};
use ffrtmp::governor::energy::{EnergyOptions, Metered};
use ffrtmp::governor::host::{self, CgroupUse, HostOptions};
use ffrtmp::store::{MemoryStore, SqliteStore};
use ffrtmp::{Agent, AgentOptions, Code, Error, Master, MasterOptions, Result};
use pyo3::prelude::*;
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::error::{crashed, invalid};
use crate::runtime::{Attendance, Give, later, now_attended};

/// Most agents of one process.
const MAX_AGENTS: u32 = 64;

/// A running master and its agents.
#[pyclass(frozen)]
pub(crate) struct Cluster {
    /// Where the master listens.
    #[pyo3(get)]
    url: String,
    /// The key that clients show.
    #[pyo3(get)]
    api_key: String,
    /// Whether attempts run in children.
    #[pyo3(get)]
    isolated: bool,
    /// Number of agents.
    #[pyo3(get)]
    agents: u32,
    parts: Parts,
}

/// What has to be stopped, the agents first; taken by the first who stops it.
#[derive(Clone)]
struct Parts(Arc<Mutex<Option<Running>>>);

struct Running {
    agents: Vec<Part>,
    master: Part,
    _scratch: tempfile::TempDir,
}

struct Part {
    stop: CancellationToken,
    running: JoinHandle<Result<()>>,
}

impl Drop for Part {
    /// A cluster that nobody stopped ends when nobody has it any more.
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Part {
    fn start<F>(run: impl FnOnce(CancellationToken) -> F) -> Self
    where
        F: Future<Output = Result<()>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        Self { running: tokio::spawn(run(stop.clone())), stop }
    }

    async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        (&mut self.running).await.map_err(crashed)?
    }
}

/// How a cluster is made.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub(crate) struct Wanted {
    agents: u32,
    slots: Option<u32>,
    store: Option<PathBuf>,
    allow_paths: Vec<PathBuf>,
    allow_hosts: Vec<String>,
    api_key: String,
    port: u16,
    isolate: Option<bool>,
    runner: Option<PathBuf>,
    watts_per_core: Option<f64>,
}

/// Starts a cluster; it takes jobs when this returns.
#[pyfunction]
pub(crate) fn start_cluster(py: Python<'_>, wanted: Wanted) -> PyResult<Py<PyAny>> {
    check(py, &wanted)?;
    let control = Control::default();
    let attendance = Attendance { control: Some(control.clone()), ..Attendance::default() };
    now_attended(py, start(wanted, control), &attendance)?.give(py)
}

/// Stops the agents, then the master. A second stop does nothing.
#[pyfunction]
pub(crate) fn stop_cluster(py: Python<'_>, cluster: &Cluster) -> PyResult<()> {
    // Ctrl-C comes after what was begun: half a stop would leave children and files behind.
    let attendance = Attendance { control: Some(Control::default()), ..Attendance::default() };
    now_attended(py, stop(cluster.parts.clone()), &attendance).map(drop)
}

/// Stops the agents, then the master. A second stop does nothing.
#[pyfunction]
pub(crate) fn stop_cluster_async<'py>(py: Python<'py>, cluster: &Cluster) -> PyResult<Bound<'py, PyAny>> {
    later(py, stop(cluster.parts.clone()))
}

impl Give for Cluster {
    fn give(self, py: Python<'_>) -> PyResult<Py<PyAny>> {
        Ok(Py::new(py, self)?.into_any())
    }
}

fn check(py: Python<'_>, wanted: &Wanted) -> PyResult<()> {
    if wanted.agents > MAX_AGENTS {
        let message = format!("is {}", wanted.agents);
        return Err(invalid(py, "agents", message, format!("give 0 to {MAX_AGENTS}")));
    }
    match wanted.watts_per_core {
        Some(watts) if !(0.0..=1e6).contains(&watts) => {
            Err(invalid(py, "watts_per_core", format!("{watts} is not a power"), "give watts, such as 5.5"))
        }
        _ => Ok(()),
    }
}

/// Starts a cluster, or stops what there is of it where it is told to.
async fn start(wanted: Wanted, control: Control) -> Result<Cluster> {
    let isolated = wanted.isolate.unwrap_or(wanted.runner.is_some());
    let scratch = tempfile::Builder::new().prefix("ffrtmp-cluster-").tempdir();
    let scratch = scratch.map_err(|error| Error::new(Code::Storage, "no temporary directory").source(error))?;
    let store: Arc<dyn Store> = match &wanted.store {
        Some(path) => Arc::new(SqliteStore::open(path)?),
        None => Arc::new(MemoryStore::new()),
    };
    let master = Master::new(store, master_options(&wanted)).await?;
    let url = master.url().ok_or_else(|| Error::new(Code::Internal, "the master listens nowhere"))?;
    let mut agents = Vec::new();
    for number in 1..=wanted.agents {
        let (engine, governor) = means(isolated, &wanted)?;
        let options = agent_options(&wanted, scratch.path(), number);
        agents.push(Agent::new(Arc::new(master.transport()), vec![engine], governor, options).await?);
    }
    let coordinator = master.coordinator();
    let master = Part::start(|stop| master.run(stop));
    let ids: Vec<_> = agents.iter().map(Agent::node_id).collect();
    let agents: Vec<_> = agents.into_iter().map(|agent| Part::start(|stop| agent.run(stop))).collect();
    let mut running = Running { agents, master, _scratch: scratch };
    let ready = registration(&mut running, &coordinator, &ids, &control).await;
    let parts = Parts(Arc::new(Mutex::new(Some(running))));
    if let Err(error) = ready {
        // Why it did not start says more than how it stopped.
        drop(stop(parts).await);
        return Err(error);
    }
    Ok(Cluster { url, api_key: wanted.api_key, isolated, agents: wanted.agents, parts })
}

async fn registration(
    running: &mut Running,
    coordinator: &Coordinator,
    ids: &[NodeId],
    control: &Control,
) -> Result<()> {
    while !all_registered(&coordinator.nodes().await?, ids) {
        control.checkpoint()?;
        if let Some(ended) = running.agents.iter().position(|agent| agent.running.is_finished()) {
            let said = running.agents.swap_remove(ended).stop().await.err();
            return Err(said.unwrap_or_else(|| Error::new(Code::Internal, "an agent ended before it had begun")));
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    control.checkpoint()
}

fn all_registered(nodes: &[Node], ids: &[NodeId]) -> bool {
    ids.iter().all(|id| nodes.iter().any(|node| node.id == *id))
}

async fn stop(parts: Parts) -> Result<Value> {
    let running = parts.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Running { agents, master, _scratch }) = running else { return Ok(Value::Null) };
    let agents = futures::future::join_all(agents.into_iter().map(Part::stop)).await;
    let master = master.stop().await;
    agents.into_iter().collect::<Result<Vec<()>>>().and(master).map(|()| Value::Null)
}

fn master_options(wanted: &Wanted) -> MasterOptions {
    MasterOptions {
        api_address: Some(([127, 0, 0, 1], wanted.port).into()),
        api_key: Some(wanted.api_key.clone()),
        // Whoever has the key is this program.
        rate_limit: NonZeroU32::MAX,
        rate_burst: NonZeroU32::MAX,
        ..MasterOptions::default()
    }
}

fn agent_options(wanted: &Wanted, scratch: &Path, number: u32) -> AgentOptions {
    AgentOptions {
        name: Some(format!("agent-{number}")),
        max_concurrent_jobs: wanted.slots,
        work_dir: Some(scratch.join(format!("agent-{number}"))),
        allow_paths: wanted.allow_paths.clone(),
        allow_hosts: wanted.allow_hosts.clone(),
        drain_timeout: Duration::ZERO,
        ..AgentOptions::default()
    }
}

/// What an agent works with.
fn means(isolated: bool, wanted: &Wanted) -> Result<(Arc<dyn Engine>, Arc<dyn ResourceGovernor>)> {
    let default = EnergyOptions::default();
    let energy = EnergyOptions { watts_per_core: wanted.watts_per_core.unwrap_or(default.watts_per_core), ..default };
    if !isolated {
        let governor = Metered::new(Arc::new(NoGovernor::default()), &energy);
        return Ok((Arc::new(LibavEngine::new()?), Arc::new(governor)));
    }
    let runner = wanted.runner.clone().ok_or_else(|| {
        Error::new(Code::EngineUnavailable, "ffrtmp-runner is not installed")
            .field("isolate")
            .hint("install it beside ffrtmp or on the PATH, name it with FFRTMP_RUNNER, or leave out isolate=True")
    })?;
    let engine = IsolatedEngine::new(runner, Vec::<OsString>::new());
    // Whoever studies on a machine loads it too: that shall not hold the own jobs back.
    let budget = BudgetOptions { strain: StrainLimits::none(), ..BudgetOptions::default() };
    let options = HostOptions { cgroups: CgroupUse::Off, budget, energy, ..HostOptions::default() };
    Ok((Arc::new(engine), host::detect(&options)?))
}
