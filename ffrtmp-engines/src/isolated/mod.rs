//! Any engine in a child process: a crash, a hang or a hunger for memory ends one attempt, not the
//! agent.
//!
//! One child serves one request. [`IsolatedEngine`] starts `ffrtmp-runner`, sends it the task as a
//! frame of JSON, passes orders down and progress up, and reaps it; [`serve`] is what the runner
//! does. A warm child waits in reserve, its libraries loaded, so that a task does not wait for a
//! process to start.
//!
//! | file | subject |
//! |---|---|
//! | `child.rs`, `sys.rs` | makes, signals and reaps one process |
//! | `nursery.rs` | the warm child in reserve |
//! | `attempt.rs` | watches one request from the parent's side |
//! | `serve.rs` | answers it on the child's side |
//! | `wire.rs` | what the two say |
//!
//! What is not here: the engines themselves, and limits on the processor, which are the governor's.

mod attempt;
mod child;
#[doc(hidden)]
pub mod fault;
mod nursery;
mod serve;
mod sys;
mod wire;

use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use ffrtmp_core::engine::{Control, Engine, EngineCapabilities, MediaBounds, Observer, Source, Task, Unobserved};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::{ProcessLimits, ResourceGovernor};
use ffrtmp_core::job::{EngineName, JobReport, ResourceLimits};
use ffrtmp_core::media::MediaInfo;
use ffrtmp_core::plan::Plan;
use ffrtmp_core::policy::limits::DEFAULT_NICE;

use attempt::{Answered, Bounds};
use child::Recipe;
use nursery::{Nursery, Reserve};
pub use serve::serve;
use wire::{Answer, ToChild};

/// Time on top of [`MediaBounds::max_probe`] in which a probing child must have ended.
const PROBE_GRACE: Duration = Duration::from_secs(2);
/// Most memory of a probing child: a description needs little, whatever the file claims to be.
const PROBE_MEMORY: u64 = 512 << 20;
/// Time for the test encodes behind [`Engine::capabilities`].
const CAPABILITIES_TIME: Duration = Duration::from_secs(60);

/// Runs every request of another engine in a child process of its own.
///
/// The child lives in its own session and process group, with priority 10, without core dumps,
/// without the parent's descriptors and without its environment but for a few names. It ends when
/// the parent ends. Clones share the warm child and may be used at once from many threads.
///
/// # Measures
/// `cpu_seconds` of a report is what the kernel counted for the whole child, its start included;
/// `peak_memory_bytes` its largest resident memory.
///
/// # Errors
/// Those of the engine, and `engine_unavailable` if the runner is missing, does not start or has
/// another version; `attempt_crashed`, `killed` and `memory_exceeded` for a child that ended
/// without an answer.
#[derive(Clone)]
pub struct IsolatedEngine {
    shared: Arc<Shared>,
    limits: ResourceLimits,
    governor: Option<Arc<dyn ResourceGovernor>>,
}

struct Shared {
    name: EngineName,
    nursery: Nursery,
    capabilities: OnceLock<EngineCapabilities>,
}

impl IsolatedEngine {
    /// An engine whose children run this program, such as the one of
    /// [`runner_beside_current_exe`], with these arguments. Starts no process yet.
    #[must_use]
    pub fn new(program: PathBuf, args: Vec<OsString>) -> Self {
        Self::with(program, args, EngineName::Ffmpeg, Reserve::Warm)
    }

    /// The same for a runner that carries another engine than libav.
    #[must_use]
    pub fn named(program: PathBuf, args: Vec<OsString>, name: EngineName) -> Self {
        Self::with(program, args, name, Reserve::Warm)
    }

    /// The same without a warm child, for a program that runs one task and ends.
    #[must_use]
    pub fn cold(program: PathBuf, args: Vec<OsString>) -> Self {
        Self::with(program, args, EngineName::Ffmpeg, Reserve::None)
    }

    fn with(program: PathBuf, args: Vec<OsString>, name: EngineName, reserve: Reserve) -> Self {
        let program = std::path::absolute(&program).unwrap_or(program);
        let recipe = Recipe { program, args, nice: DEFAULT_NICE };
        let shared = Shared { name, nursery: Nursery::new(recipe, reserve), capabilities: OnceLock::new() };
        Self { shared: Arc::new(shared), limits: ResourceLimits::default(), governor: None }
    }

    /// The same engine under the limits of one job. Memory is watched here; a child above it is
    /// killed. The warm child is shared.
    #[must_use]
    pub fn under(&self, limits: &ResourceLimits) -> Self {
        Self { limits: *limits, ..self.clone() }
    }

    /// The same engine with every child of a task put under a governor before the task begins.
    #[must_use]
    pub fn governed(&self, governor: Arc<dyn ResourceGovernor>) -> Self {
        Self { governor: Some(governor), ..self.clone() }
    }

    /// Has a warm child started, so that the first task need not wait. Returns at once.
    pub fn warm(&self) {
        self.shared.nursery.warm();
    }

    /// What works here, or why nothing does; [`Engine::capabilities`] can only be empty then.
    ///
    /// # Errors
    /// As in the description of the type.
    pub fn try_capabilities(&self) -> Result<&EngineCapabilities> {
        if let Some(known) = self.shared.capabilities.get() {
            return Ok(known);
        }
        let time = (CAPABILITIES_TIME, Code::EngineUnavailable);
        let found = match self.ask_quietly(&ToChild::Capabilities, time)? {
            Answer::Capabilities(found) => found,
            other => return Err(wrong_answer(&other)),
        };
        Ok(self.shared.capabilities.get_or_init(|| found))
    }

    fn ask_quietly(&self, request: &ToChild, time: (Duration, Code)) -> Result<Answer> {
        let memory = (!matches!(request, ToChild::Capabilities)).then_some(PROBE_MEMORY);
        let bounds = Bounds { memory, time: Some(time) };
        let child = self.shared.nursery.take()?;
        attempt::ask(child, request, bounds, &Control::default(), &Unobserved).map(|answered| answered.answer)
    }

    fn attempt(&self, task: &Task, control: &Control, observer: &dyn Observer) -> Result<JobReport> {
        control.checkpoint()?;
        let child = self.shared.nursery.take()?;
        let governed =
            self.governor.as_ref().map(|governor| governor.govern(child.pid(), &ProcessLimits::from(&self.limits)));
        let _governed = governed.transpose()?;
        let memory = self.limits.max_memory_mb.and_then(|mb| mb.checked_mul(1 << 20));
        let bounds = Bounds { memory, time: None };
        let answered = attempt::ask(child, &ToChild::Run(task.into()), bounds, control, observer)?;
        report(answered)
    }
}

/// The child's report with what only its parent can measure.
fn report(answered: Answered) -> Result<JobReport> {
    let Answered { answer, cpu, peak_memory_bytes, warning } = answered;
    let Answer::Report(mut report) = answer else { return Err(wrong_answer(&answer)) };
    report.cpu_seconds = cpu.as_secs_f64();
    report.peak_memory_bytes = report.peak_memory_bytes.max(peak_memory_bytes);
    report.warnings.extend(warning);
    Ok(report)
}

fn probe_time(bounds: &MediaBounds) -> (Duration, Code) {
    (bounds.max_probe + PROBE_GRACE, Code::InputInvalid)
}

fn wrong_answer(answer: &Answer) -> Error {
    let kind = match answer {
        Answer::Capabilities(_) => "capabilities",
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
            sandbox: Vec::new(),
        };
        self.try_capabilities().unwrap_or_else(|error| {
            tracing::error!(%error, hint = error.hint_text(), "the runner cannot say what works here");
            &NONE
        })
    }

    fn probe(&self, source: &Source, bounds: &MediaBounds) -> Result<MediaInfo> {
        match self.ask_quietly(&ToChild::Probe(source.into(), *bounds), probe_time(bounds))? {
            Answer::Media(info) => Ok(info),
            other => Err(wrong_answer(&other)),
        }
    }

    fn plan(&self, task: &Task) -> Result<Plan> {
        match self.ask_quietly(&ToChild::Plan(task.into()), probe_time(&task.bounds))? {
            Answer::Plan(plan) => Ok(plan),
            other => Err(wrong_answer(&other)),
        }
    }

    fn run(&self, task: &Task, control: &Control, observer: &dyn Observer) -> Result<JobReport> {
        self.attempt(task, control, observer).inspect_err(|_| remove_output(task))
    }

    fn limited(&self, limits: &ResourceLimits, governor: &Arc<dyn ResourceGovernor>) -> Option<Arc<dyn Engine>> {
        Some(Arc::new(self.under(limits).governed(Arc::clone(governor))))
    }
}

/// Removes what a failed attempt left, unless the output was the source itself.
fn remove_output(task: &Task) {
    let same = |source: &Path| match (fs::metadata(source), fs::metadata(&task.output)) {
        (Ok(source), Ok(output)) => (source.dev(), source.ino()) == (output.dev(), output.ino()),
        _ => false,
    };
    if matches!(&task.source, Source::File(source) if same(source)) {
        return;
    }
    match fs::remove_file(&task.output) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            tracing::warn!(output = %task.output.display(), %error, "cannot remove the output of a failed attempt");
        }
        _ => {}
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
