//! Any engine in a child process: a crash, a hang or a hunger for memory ends one attempt, not the
//! agent.
//!
//! [`IsolatedEngine`] starts `ffrtmp-runner` once. It loads what every attempt needs, stays a
//! process with one thread, and forks a child for each request. The agent puts the child under the
//! governor, sends it the request, passes orders down and progress up, and learns from the server how
//! it ended; the child confines itself before it reads anything foreign. [`serve`] is what the
//! runner does.
//!
//! | file | subject |
//! |---|---|
//! | `server.rs`, `child.rs` | the agent's side of the fork server, and of one child |
//! | `reserve.rs` | a child that is governed before it has work |
//! | `attempt.rs`, `memory.rs`, `disk.rs` | watch one request from the agent's side |
//! | `verdict.rs`, `printed.rs` | say how it ended without an answer, and what it printed |
//! | `fork.rs`, `serve.rs` | the runner's side: the fork server, and what a child does |
//! | `reach.rs` | what a request may touch, and the place for what it writes |
//! | `wire.rs`, `link.rs` | what they say, and how descriptors travel |
//! | `sys.rs` | the only unsafe code |
//!
//! What is not here: the engines themselves, the sandbox and the governor, which are other crates'.

mod attempt;
mod child;
mod disk;
#[doc(hidden)]
pub mod fault;
mod fork;
mod link;
mod memory;
mod printed;
mod reach;
mod reserve;
mod serve;
mod server;
mod sys;
mod verdict;
mod wire;

use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use ffrtmp_core::encoding::VideoEncoder;
use ffrtmp_core::engine::{Control, Engine, EngineCapabilities, MediaBounds, Observer, Source, Task, Unobserved};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::{Limit, ProcessLimits, ResourceGovernor};
use ffrtmp_core::job::{EngineName, JobReport, ResourceLimits};
use ffrtmp_core::media::MediaInfo;
use ffrtmp_core::plan::Plan;
use ffrtmp_core::policy::limits::DEFAULT_NICE;

use attempt::{Answered, Conditions};
use disk::DiskWatch;
use reach::Place;
use reserve::Reserve;
pub use serve::serve;
use server::{Recipe, Servers};
use wire::{Answer, Request, Work};

/// Time on top of [`MediaBounds::max_probe`] in which a probing child must have ended.
const PROBE_GRACE: Duration = Duration::from_secs(2);
/// Most memory of a probing child: a description needs little, whatever the file claims to be.
const PROBE_MEMORY: u64 = 512 << 20;
/// Time for the test encodes behind [`Engine::capabilities`].
const CAPABILITIES_TIME: Duration = Duration::from_secs(60);

/// Runs every request of another engine in a child process of its own.
///
/// The child is a copy of a server that has loaded the libraries. It lives in its own session and
/// process group, with priority 10, without core dumps, without the agent's descriptors and without
/// its environment but for a few names, in the sandbox of the runner. Server and children end when
/// the agent ends; a server that is gone is started again. Clones share the server and may be used
/// at once from many threads.
///
/// # Measures
/// `cpu_seconds` of a report is what the kernel counted for the child, its start included;
/// `peak_memory_bytes` its largest resident memory; what a governor counts for the child and all
/// that it started, where it is more.
///
/// # Errors
/// Those of the engine, and `engine_unavailable` if the runner is missing, does not start or has
/// another version; `attempt_crashed`, `killed` and `memory_exceeded` for a child that ended
/// without an answer; `disk_quota_exceeded` and `disk_full` for one that wrote too much; `no_room`
/// if the machine has no room for another process.
#[derive(Clone)]
pub struct IsolatedEngine {
    shared: Arc<Shared>,
    limits: ResourceLimits,
    governor: Option<Arc<dyn ResourceGovernor>>,
}

struct Shared {
    name: EngineName,
    servers: Arc<Servers>,
    /// `None` for a program that runs one task.
    reserve: Option<Arc<Reserve>>,
    known: OnceLock<Known>,
}

/// What the trial child told. It read nothing foreign, so the others may believe it.
struct Known {
    capabilities: EngineCapabilities,
    findings: Option<String>,
}

impl IsolatedEngine {
    /// An engine whose children run this program, such as the one of
    /// [`runner_beside_current_exe`], with these arguments. Starts no process yet.
    #[must_use]
    pub fn new(program: PathBuf, args: Vec<OsString>) -> Self {
        Self::named(program, args, EngineName::Ffmpeg)
    }

    /// The same for a runner that carries another engine than libav.
    #[must_use]
    pub fn named(program: PathBuf, args: Vec<OsString>, name: EngineName) -> Self {
        Self::with(program, args, name, Some(Arc::default()))
    }

    /// The same for a program that runs one task and ends: it keeps no child in reserve.
    #[must_use]
    pub fn cold(program: PathBuf, args: Vec<OsString>) -> Self {
        Self::with(program, args, EngineName::Ffmpeg, None)
    }

    fn with(program: PathBuf, args: Vec<OsString>, name: EngineName, reserve: Option<Arc<Reserve>>) -> Self {
        let program = std::path::absolute(&program).unwrap_or(program);
        let servers = Arc::new(Servers::new(Recipe { program, args, nice: DEFAULT_NICE }));
        Self {
            shared: Arc::new(Shared { name, servers, reserve, known: OnceLock::new() }),
            limits: ResourceLimits::default(),
            governor: None,
        }
    }

    /// The same engine under the limits of one job. Memory is watched here; a child above it is
    /// killed. The server is shared.
    #[must_use]
    pub fn under(&self, limits: &ResourceLimits) -> Self {
        Self { limits: *limits, ..self.clone() }
    }

    /// The same engine with every child of a task put under a governor before the task begins.
    #[must_use]
    pub fn governed(&self, governor: Arc<dyn ResourceGovernor>) -> Self {
        Self { governor: Some(governor), ..self.clone() }
    }

    /// Has the server started, so that the first task need not wait. Returns at once.
    pub fn warm(&self) {
        let shared = Arc::clone(&self.shared);
        let warm = move || {
            if let Err(error) = shared.servers.running() {
                tracing::warn!(%error, "the runner cannot be started ahead");
            }
        };
        if let Err(error) = thread::Builder::new().name("runner-warm".into()).spawn(warm) {
            tracing::warn!(%error, "the runner cannot be started ahead");
        }
    }

    /// What works here, or why nothing does; [`Engine::capabilities`] can only be empty then.
    ///
    /// # Errors
    /// As in the description of the type.
    pub fn try_capabilities(&self) -> Result<&EngineCapabilities> {
        if let Some(known) = self.shared.known.get() {
            return Ok(&known.capabilities);
        }
        let time = (CAPABILITIES_TIME, Code::EngineUnavailable);
        let known = match self.ask_quietly(Work::Capabilities, time)? {
            Answer::Capabilities(capabilities, findings) => Known { capabilities, findings },
            other => return Err(wrong_answer(&other)),
        };
        Ok(&self.shared.known.get_or_init(|| known).capabilities)
    }

    fn ask_quietly(&self, work: Work, time: (Duration, Code)) -> Result<Answer> {
        let memory = (!matches!(work, Work::Capabilities)).then_some(PROBE_MEMORY);
        let conditions = Conditions { time: Some(time), ..Conditions::default() };
        let child = self.shared.servers.child(None)?;
        let request = Request { work, memory, findings: None };
        attempt::ask(child, request, conditions, &Control::default(), &Unobserved).map(|answered| answered.answer)
    }

    fn attempt(&self, task: &Task, control: &Control, observer: &dyn Observer) -> Result<JobReport> {
        control.checkpoint()?;
        let begun = Instant::now();
        let place = Place::make(task);
        let limits = ProcessLimits { gpu: task.bounds.gpu, ..ProcessLimits::from(&self.limits) };
        let (child, governed) = self.child(&limits, remains_of(task))?;
        let conditions = Conditions { disk: Some(DiskWatch::over(task)), governed, ..Conditions::default() };
        let memory = self.limits.max_memory_mb.and_then(|mb| mb.checked_mul(1 << 20));
        let findings = self.shared.known.get().and_then(|known| known.findings.clone());
        let request = Request { work: Work::Run(task.into()), memory, findings };
        let before = begun.elapsed();
        let answered = attempt::ask(child, request, conditions, control, observer);
        let mut report = match answered.and_then(|answered| self.report(task, answered)) {
            Ok(report) => report,
            Err(error) => {
                place.keep_recording(control);
                return Err(error);
            }
        };
        report.stages = report.stages.into_iter().map(|stage| stage.later(before)).collect();
        place.keep();
        Ok(report)
    }

    /// A child under the limits, and one in reserve for the next attempt.
    fn child(&self, limits: &ProcessLimits, remains: Option<&Path>) -> Result<reserve::Ready> {
        let (servers, governor) = (&self.shared.servers, self.governor.as_ref());
        let none = Reserve::default();
        let reserve = self.shared.reserve.as_deref().unwrap_or(&none);
        let ready = reserve.take(servers, governor, limits, remains)?;
        if let (Some(reserve), Some(governor)) = (&self.shared.reserve, governor) {
            reserve.refill(servers, governor);
        }
        Ok(ready)
    }

    /// The child's report with what only others can measure.
    fn report(&self, task: &Task, answered: Answered) -> Result<JobReport> {
        let Answered { answer, cpu, peak_memory_bytes, usage, sandbox, warning } = answered;
        let Answer::Report(mut report) = answer else { return Err(wrong_answer(&answer)) };
        let usage = usage.unwrap_or_default();
        report.cpu_seconds = cpu.max(usage.cpu).as_secs_f64();
        report.peak_memory_bytes = report.peak_memory_bytes.max(peak_memory_bytes).max(usage.peak_memory_bytes);
        report.throttled_seconds = self.has_cpu_limit().then_some(usage.throttled.as_secs_f64());
        (report.energy_joules, report.energy_source) = usage.energy.unzip();
        report.gpu = task.bounds.gpu.filter(|_| is_hardware(report.video_encoder.as_deref()));
        let off = sandbox.iter().filter(|layer| !layer.on);
        report.sandbox_off = off.map(|layer| format!("{}: {}", layer.name, layer.detail)).collect();
        report.warnings.extend(warning);
        Ok(report)
    }

    fn has_cpu_limit(&self) -> bool {
        let is_enforced = |governor: &Arc<dyn ResourceGovernor>| governor.enforced().contains(&Limit::Cpu);
        self.limits.max_cpu_percent.is_some() && self.governor.as_ref().is_some_and(is_enforced)
    }
}

/// What the server removes where nobody else does: a recording of live work is there once, and is the
/// next agent's to publish.
fn remains_of(task: &Task) -> Option<&Path> {
    task.live.is_none().then_some(&*task.output)
}

fn is_hardware(encoder: Option<&str>) -> bool {
    encoder.and_then(|name| name.parse().ok()).is_some_and(VideoEncoder::is_hardware)
}

fn probe_time(bounds: &MediaBounds) -> (Duration, Code) {
    (bounds.max_probe + PROBE_GRACE, Code::InputInvalid)
}

fn wrong_answer(answer: &Answer) -> Error {
    let kind = match answer {
        Answer::Capabilities(..) => "capabilities",
        Answer::Media(_) => "a description",
        Answer::Plan(_) => "a plan",
        Answer::Report(_) => "a report",
    };
    Error::new(Code::AttemptCrashed, format!("the runner answered with {kind}, which was not asked for"))
}

impl Engine for IsolatedEngine {
    fn name(&self) -> EngineName {
        self.shared.name
    }

    fn capabilities(&self) -> &EngineCapabilities {
        static NONE: EngineCapabilities = EngineCapabilities {
            video_encoders: Vec::new(),
            audio_encoders: Vec::new(),
            versions: Vec::new(),
            missing: Vec::new(),
            sandbox: Vec::new(),
        };
        self.try_capabilities().unwrap_or_else(|error| {
            tracing::error!(%error, hint = error.hint_text(), "the runner cannot say what works here");
            &NONE
        })
    }

    fn probe(&self, source: &Source, bounds: &MediaBounds) -> Result<MediaInfo> {
        match self.ask_quietly(Work::Probe(source.into(), *bounds), probe_time(bounds))? {
            Answer::Media(info) => Ok(info),
            other => Err(wrong_answer(&other)),
        }
    }

    fn plan(&self, task: &Task) -> Result<Plan> {
        match self.ask_quietly(Work::Plan(task.into()), probe_time(&task.bounds))? {
            Answer::Plan(plan) => Ok(plan),
            other => Err(wrong_answer(&other)),
        }
    }

    fn run(&self, task: &Task, control: &Control, observer: &dyn Observer) -> Result<JobReport> {
        self.attempt(task, control, observer)
    }

    fn limited(&self, limits: &ResourceLimits, governor: &Arc<dyn ResourceGovernor>) -> Option<Arc<dyn Engine>> {
        Some(Arc::new(self.under(limits).governed(Arc::clone(governor))))
    }
}

impl fmt::Debug for IsolatedEngine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IsolatedEngine").field("name", &self.shared.name).field("limits", &self.limits).finish()
    }
}

/// The runner: the program that `FFRTMP_RUNNER` names, else `ffrtmp-runner` beside the current
/// program or one directory above it, where the tests of a build find it.
#[must_use]
pub fn runner_beside_current_exe() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("FFRTMP_RUNNER").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let own = std::env::current_exe().ok()?;
    own.ancestors().skip(1).take(2).map(|folder| folder.join("ffrtmp-runner")).find(|runner| runner.is_file())
}

/// The runner of the live engine: the program that `FFRTMP_LIVE_RUNNER` names, else
/// `ffrtmp-runner-gstreamer` beside the other runner.
#[must_use]
pub fn live_runner_beside_current_exe() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("FFRTMP_LIVE_RUNNER").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let beside = runner_beside_current_exe()?.with_file_name("ffrtmp-runner-gstreamer");
    beside.is_file().then_some(beside)
}
