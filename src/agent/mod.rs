//! The agent: registers, claims what it has room for, runs attempts, reports, obeys.
//!
//! Four tasks share one [`Shared`]: the claim loop, the heartbeat, one task per attempt, and the
//! optional metrics server. [`Agent::run`] owns them all and returns when the last has ended.

mod attempt;
mod claiming;
mod download;
mod exporters;
mod heartbeat;
mod journal;
mod live;
mod metrics;
mod places;
mod server;
mod workdir;
mod workshop;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use ffrtmp_core::clock::Clock;
use ffrtmp_core::engine::Engine;
use ffrtmp_core::error::{Code, Disposition, Error, Result};
use ffrtmp_core::governor::ResourceGovernor;
use ffrtmp_core::id::{Fence, JobId, NodeId};
use ffrtmp_core::node::Registration;
use ffrtmp_core::policy::limits::DEFAULT_MIN_FREE_DISK_PERCENT;
use ffrtmp_core::transport::Transport;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::SteadyClock;
use crate::traces::SpanTaker;
use attempt::Attempt;
use metrics::AgentMetrics;
use workshop::LocalWorkshop;

pub use exporters::AgentExporters;
pub use workshop::{Workpiece, Workshop};

/// How an agent behaves. Every field has the contract's default.
#[derive(Clone, Debug)]
pub struct AgentOptions {
    /// Name for people; the host name by default.
    pub name: Option<String>,
    /// Jobs at once; what [`ffrtmp_governor`] recommends for this machine by default.
    pub max_concurrent_jobs: Option<u32>,
    /// Percent of one core for a job that states no limit; every core by default.
    pub cpu_limit_percent: Option<u32>,
    /// Percent of a disk that downloads and outputs leave free; 5 by default. Whether a job may begin
    /// is the governor's decision.
    pub min_free_disk_percent: u8,
    /// How long to wait before asking again after an answer that was no answer.
    pub poll_interval: Duration,
    /// How often to send a heartbeat while idle, unless the master wants them more often; every
    /// half second while attempts run.
    pub heartbeat_interval: Duration,
    /// Whether jobs without input get a generated one.
    pub generate_input: bool,
    /// Work directory; by default one below the user's state directory.
    pub work_dir: Option<PathBuf>,
    /// Directories that jobs may read and write; the current one by default.
    pub allow_paths: Vec<PathBuf>,
    /// Hosts that jobs may contact although their addresses are private.
    pub allow_hosts: Vec<String>,
    /// Host of the media server for live outputs without an address.
    pub media_host: String,
    /// Free labels of the node.
    pub labels: BTreeMap<String, String>,
    /// How long running jobs may take to end when the agent stops.
    pub drain_timeout: Duration,
    /// Where to listen for `/metrics`, `/health` and `/ready`; not at all if `None`.
    pub metrics_address: Option<std::net::SocketAddr>,
    /// Where exporters listen; none of them by default.
    pub exporters: AgentExporters,
}

impl Default for AgentOptions {
    fn default() -> Self {
        Self {
            name: None,
            max_concurrent_jobs: None,
            cpu_limit_percent: None,
            min_free_disk_percent: DEFAULT_MIN_FREE_DISK_PERCENT,
            poll_interval: Duration::from_secs(3),
            heartbeat_interval: Duration::from_secs(30),
            generate_input: true,
            work_dir: None,
            allow_paths: Vec::new(),
            allow_hosts: Vec::new(),
            media_host: "localhost".to_owned(),
            labels: BTreeMap::new(),
            drain_timeout: Duration::from_secs(30),
            metrics_address: None,
            exporters: AgentExporters::default(),
        }
    }
}

/// A worker, composed of a way to the master, engines and a governor.
pub struct Agent {
    shared: Arc<Shared>,
    listener: Option<TcpListener>,
    exporters: exporters::Open,
}

/// What the tasks of an agent share.
struct Shared {
    transport: Arc<dyn Transport>,
    workshop: Arc<dyn Workshop>,
    governor: Arc<dyn ResourceGovernor>,
    clock: Arc<dyn Clock>,
    options: AgentOptions,
    slots: u32,
    metrics: AgentMetrics,
    /// Who takes the spans of traced jobs.
    spans: Option<Arc<dyn SpanTaker>>,
    /// By fence too: a job may come back to a node that has not yet heard that it lost it.
    attempts: Mutex<BTreeMap<(JobId, Fence), Arc<Attempt>>>,
    /// Name of the claim that was not answered yet.
    claiming: Mutex<Option<String>>,
    /// Why no jobs are taken now, in words.
    held_back: Mutex<Option<String>>,
    /// Why an attempt did not fit although it was taken, and how long the next claim waits.
    crowded: Mutex<Option<(Instant, String)>>,
    has_gpus: AtomicBool,
    /// An attempt ended or began: the claim loop and the heartbeat look again.
    changed: Notify,
    lease_ms: AtomicU64,
    /// How often the master wants to hear of this node.
    wanted_beat_ms: AtomicU64,
    drained: AtomicBool,
    connected: AtomicBool,
    beats_begun: AtomicU64,
    /// The last beat that was answered.
    beating: tokio::sync::Mutex<u64>,
    force: CancellationToken,
}

impl Agent {
    /// Composes an agent. Opens its work directory and its metrics port.
    ///
    /// # Errors
    /// `invalid_config` for a work directory in use or an allowed path that does not exist,
    /// `port_in_use`, `storage`.
    pub async fn new(
        transport: Arc<dyn Transport>,
        engines: Vec<Arc<dyn Engine>>,
        governor: Arc<dyn ResourceGovernor>,
        options: AgentOptions,
    ) -> Result<Self> {
        let workshop = Arc::new(LocalWorkshop::open(engines, Arc::clone(&governor), &options)?);
        Self::with_workshop(transport, workshop, governor, Arc::new(SteadyClock::start()), options).await
    }

    /// The same with a workshop and a clock of the caller's; directories, allowed places and
    /// generated inputs are then the workshop's affair.
    ///
    /// # Errors
    /// `port_in_use`.
    pub async fn with_workshop(
        transport: Arc<dyn Transport>,
        workshop: Arc<dyn Workshop>,
        governor: Arc<dyn ResourceGovernor>,
        clock: Arc<dyn Clock>,
        options: AgentOptions,
    ) -> Result<Self> {
        let listener = match options.metrics_address {
            Some(address) => Some(crate::listen(address, "metrics-port").await?),
            None => None,
        };
        let exporters = exporters::Open::new(options.exporters).await;
        let slots = options.max_concurrent_jobs.unwrap_or_else(recommended_slots).max(1);
        let shared = Shared {
            metrics: AgentMetrics::new(workshop.node(), slots)?,
            transport,
            workshop,
            governor,
            clock,
            slots,
            options,
            spans: None,
            attempts: Mutex::default(),
            claiming: Mutex::default(),
            held_back: Mutex::default(),
            crowded: Mutex::default(),
            has_gpus: AtomicBool::new(false),
            changed: Notify::new(),
            lease_ms: AtomicU64::new(90_000),
            wanted_beat_ms: AtomicU64::new(u64::MAX),
            drained: AtomicBool::new(false),
            connected: AtomicBool::new(false),
            beats_begun: AtomicU64::new(0),
            beating: tokio::sync::Mutex::default(),
            force: CancellationToken::new(),
        };
        Ok(Self { shared: Arc::new(shared), listener, exporters })
    }

    /// The same, with somebody who takes the spans of jobs that the master traces.
    #[must_use]
    pub fn traced(mut self, spans: Option<Arc<dyn SpanTaker>>) -> Self {
        if let Some(shared) = Arc::get_mut(&mut self.shared) {
            shared.spans = spans;
        }
        self
    }

    /// Its identity, kept in the work directory.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.shared.node()
    }

    /// Where it keeps its identity, its attempts, and outputs without a place of their own.
    #[must_use]
    pub fn work_dir(&self) -> &Path {
        self.shared.workshop.root()
    }

    /// Where `/metrics`, `/health` and `/ready` listen; `None` if they do not.
    #[must_use]
    pub fn metrics_address(&self) -> Option<std::net::SocketAddr> {
        self.listener.as_ref()?.local_addr().ok()
    }

    /// Where its exporters listen, in the order of their ports in the contract.
    #[must_use]
    pub fn exporter_addresses(&self) -> Vec<std::net::SocketAddr> {
        self.exporters.addresses()
    }

    /// Cancel it to stop at once: attempts are given back without waiting for them to end.
    #[must_use]
    pub fn force(&self) -> CancellationToken {
        self.shared.force.clone()
    }

    /// Works until `shutdown`: then stops claiming, lets attempts end within the drain timeout,
    /// gives back what is left, and returns.
    ///
    /// # Errors
    /// What the first registration refuses for good, such as `unauthorized`.
    pub async fn run(self, shutdown: CancellationToken) -> Result<()> {
        let Self { shared, listener, exporters } = self;
        let ended = CancellationToken::new();
        let exporting = TaskTracker::new();
        exporters.serve(&exporting, &ended);
        exporting.close();
        let server = listener.map(|listener| tokio::spawn(server::serve(listener, Arc::clone(&shared), ended.clone())));
        let worked = work(&shared, &shutdown).await;
        ended.cancel();
        if let Some(server) = server {
            let _ = server.await;
        }
        exporting.wait().await;
        crate::traces::close(shared.spans.clone()).await;
        worked
    }
}

async fn work(shared: &Arc<Shared>, shutdown: &CancellationToken) -> Result<()> {
    tokio::select! {
        biased;
        () = shutdown.cancelled() => return Ok(()),
        registered = shared.register() => registered?,
    }
    let quiet = CancellationToken::new();
    let heart = tokio::spawn(heartbeat::run(Arc::clone(shared), quiet.clone()));
    let attempts = TaskTracker::new();
    let stop = CancellationToken::new();
    let ordered = async {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => {}
            () = shared.force.cancelled() => {}
        }
        stop.cancel();
        std::future::pending().await
    };
    let claimed = tokio::select! {
        biased;
        never = ordered => never,
        claimed = claiming::run(shared, &attempts, &stop) => claimed,
    };
    let (claimed, asked) = match claimed {
        Ok(asked) => (Ok(()), asked),
        Err(error) => (Err(error), None),
    };
    tokio::join!(drain(shared, &attempts), claiming::withdraw(shared, asked));
    quiet.cancel();
    still(heart).await;
    shared.take_leave().await;
    claimed
}

/// Waits for the last heartbeat, so that the word of farewell does not overtake it.
async fn still(mut heart: JoinHandle<()>) {
    if tokio::time::timeout(claiming::LAST_WORD, &mut heart).await.is_err() {
        heart.abort();
    }
}

/// Lets attempts end; gives back those that take too long, or all when forced.
async fn drain(shared: &Shared, attempts: &TaskTracker) {
    attempts.close();
    let left = shared.attempts().len();
    if left > 0 {
        let seconds = shared.options.drain_timeout.as_secs();
        tracing::info!(left, seconds, "waiting for running jobs; a second signal gives them back at once");
    }
    shared.hand_back_live();
    tokio::select! {
        biased;
        () = attempts.wait() => return,
        () = tokio::time::sleep(shared.options.drain_timeout) => {}
        () = shared.force.cancelled() => {}
    }
    for attempt in shared.attempts().values() {
        attempt.hand_back();
    }
    // Encoders stop within 200 ms; telling the master takes a moment more.
    if tokio::time::timeout(Duration::from_secs(5), attempts.wait()).await.is_err() {
        shared.force.cancel();
        let _ = tokio::time::timeout(Duration::from_secs(2), attempts.wait()).await;
    }
}

impl Shared {
    /// Live work ends only when it is told to: waiting for it would be in vain, and another node can
    /// go on at once.
    fn hand_back_live(&self) {
        for attempt in self.attempts().values().filter(|attempt| attempt.is_live) {
            attempt.hand_back();
        }
    }

    fn node(&self) -> NodeId {
        self.workshop.node()
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(self.lease_ms.load(Ordering::Acquire))
    }

    /// Between heartbeats of an idle agent: as the operator says, but never slower than the master
    /// wants, who would take the node for lost.
    fn idle_beat(&self) -> Duration {
        let wanted = Duration::from_millis(self.wanted_beat_ms.load(Ordering::Acquire));
        self.options.heartbeat_interval.min(wanted)
    }

    fn attempts(&self) -> std::sync::MutexGuard<'_, BTreeMap<(JobId, Fence), Arc<Attempt>>> {
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An attempt was taken that the governor has no room for.
    fn does_not_fit(&self, error: &Error) {
        let until = Instant::now() + self.options.poll_interval;
        let mut crowded = self.crowded.lock().unwrap_or_else(PoisonError::into_inner);
        *crowded = Some((until, error.message().to_owned()));
    }

    fn name(&self) -> String {
        self.options.name.clone().unwrap_or_else(host_name)
    }

    /// Introduces the node, waiting for a master that is away.
    async fn register(&self) -> Result<()> {
        let registration = self.registration().await?;
        let registered = self.retrying("register", || self.transport.register(registration.clone())).await?;
        self.lease_ms.store(registered.lease_ms.max(1), Ordering::Release);
        if registered.heartbeat_interval_ms > 0 {
            self.wanted_beat_ms.store(registered.heartbeat_interval_ms, Ordering::Release);
        }
        self.drained.store(registered.node.draining, Ordering::Release);
        // A node that was drained when the master forgot it is in service again.
        self.changed.notify_waiters();
        self.connected.store(true, Ordering::Release);
        tracing::info!(node = %self.node(), name = %self.name(), slots = self.slots, created = registered.created, "registered");
        Ok(())
    }

    /// What this machine is and can do; encoders are proven by a test encode the first time.
    async fn registration(&self) -> Result<Registration> {
        let machine = self.workshop.describe().await?;
        self.metrics.introduced(&machine);
        self.has_gpus.store(machine.has_gpu, Ordering::Release);
        Ok(Registration {
            id: Some(self.node()),
            name: self.name(),
            labels: self.options.labels.clone(),
            max_concurrent_jobs: Some(self.slots),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            ..machine
        })
    }

    /// Repeats a call until it is answered: 1 s, 2 s, … 30 s between tries while the error is
    /// transient. Nothing that an agent has to say is given up while the agent lives.
    async fn retrying<T, F: Future<Output = Result<T>>>(&self, what: &'static str, call: impl Fn() -> F) -> Result<T> {
        let mut backoff = patience().build();
        loop {
            let error = match call().await {
                Err(error) if error.disposition() == Disposition::Transient || error.code() == Code::RateLimited => {
                    error
                }
                answered => return answered,
            };
            let wait = backoff.next().unwrap_or(Duration::from_secs(30));
            tracing::warn!(%error, what, wait_s = wait.as_secs_f64(), "the master does not answer, trying again");
            tokio::select! {
                biased;
                () = self.force.cancelled() => return Err(error),
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

fn patience() -> ExponentialBuilder {
    ExponentialBuilder::default()
        .with_min_delay(Duration::from_secs(1))
        .with_max_delay(Duration::from_secs(30))
        .with_jitter()
        .without_max_times()
}

fn recommended_slots() -> u32 {
    use ffrtmp_governor::{Abilities, Environment, HostFacts, recommend};
    recommend(Environment::Production, &HostFacts::detect(), &Abilities::default()).max_concurrent_jobs
}

pub(crate) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "agent".into() } else { name }
}
