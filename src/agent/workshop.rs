//! Where the work of an attempt is done: [`Workshop`], and the one of this machine.
//!
//! The agent decides when an attempt begins, stops, confirms its lease and reports; a workshop
//! touches files, engines and remote inputs. What an attempt is, is in `attempt`.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::thread::available_parallelism;

use async_trait::async_trait;
use ffrtmp_core::engine::{Control, Engine, MediaBounds, Observer, Source, Task};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::governor::{Demand, Reservation, ResourceGovernor};
use ffrtmp_core::id::NodeId;
use ffrtmp_core::job::{EngineName, Job, JobReport, Parameters, ResourceLimits};
use ffrtmp_core::location::Scheme;
use ffrtmp_core::media::{Container, Target, VideoCodec};
use ffrtmp_core::node::{Capabilities, Registration, Requirements};
use ffrtmp_core::plan::OutputRequest;
use ffrtmp_core::policy::limits;
use ffrtmp_core::scenario::Scenario;
use ffrtmp_engines::publish::Staging;
use tracing::Span;

use super::journal::{Note, PartOf};
use super::live::Live;
use super::places::Places;
use super::workdir::{AttemptDir, WorkDir};
use super::{AgentOptions, download};

/// What an agent works with. An agent has one and asks it for one [`Workpiece`] per attempt.
///
/// # Contract
/// - `node` and `root` never change.
/// - Nothing that a piece makes is visible before [`Workpiece::publish`].
#[async_trait]
pub trait Workshop: Send + Sync + 'static {
    /// The identity of the node.
    fn node(&self) -> NodeId;

    /// The directory whose disk the governor watches.
    fn root(&self) -> &Path;

    /// What works here, proven by trying; may block the first time.
    fn capabilities(&self) -> Capabilities;

    /// What the machine is and can do. The agent adds its id, name, labels and slots.
    ///
    /// # Errors
    /// `internal` if the machine cannot be described.
    async fn describe(&self) -> Result<Registration>;

    /// Sets aside what an attempt that begins as one of `running` takes of the machine, stages its
    /// input and makes a place for its output.
    ///
    /// # Errors
    /// Those of an attempt: `no_room`, `input_*`, `output_*`, `engine_unavailable`, `network`,
    /// `canceled` …
    ///
    /// # Cancel safety
    /// What was made for a dropped call is removed.
    async fn prepare(&self, job: &Job, control: &Control, running: usize) -> Result<Box<dyn Workpiece>>;
}

/// The work of one attempt. Dropped without [`Workpiece::publish`] it leaves nothing.
#[async_trait]
pub trait Workpiece: Send {
    /// Does the work, obeying `control`; `output_uri` of the report stays empty.
    ///
    /// # Errors
    /// As [`Engine::run`]; `attempt_crashed`.
    async fn run(&mut self, control: Control, observer: Arc<dyn Observer>) -> Result<JobReport>;

    /// The graphics processor that is set aside for it.
    fn gpu(&self) -> Option<u32> {
        None
    }

    /// Makes the output visible and durable and says where it is.
    ///
    /// # Errors
    /// As [`Staging::commit`].
    async fn publish(self: Box<Self>) -> Result<String>;

    /// Makes visible and durable what a live attempt recorded before it went wrong, and says where it is;
    /// `None` if there is nothing. With the number of the attempt it is a part, beside what others
    /// publish; without, it takes the place of the output.
    ///
    /// # Errors
    /// As [`Staging::commit`].
    async fn leave(self: Box<Self>, part: Option<u32>) -> Result<Option<String>> {
        let _ = part;
        Ok(None)
    }
}

/// The work directory, the allowed places and the engines of this machine.
pub(super) struct LocalWorkshop {
    engines: HashMap<EngineName, Arc<dyn Engine>>,
    governor: Arc<dyn ResourceGovernor>,
    work: WorkDir,
    places: Arc<Places>,
    generate_input: bool,
    cpu_limit_percent: Option<u32>,
    min_free_disk_percent: u8,
    media_host: String,
}

impl LocalWorkshop {
    /// Opens the work directory.
    ///
    /// # Errors
    /// As [`WorkDir::open`] and [`Places::new`].
    pub(super) fn open(
        engines: Vec<Arc<dyn Engine>>,
        governor: Arc<dyn ResourceGovernor>,
        options: &AgentOptions,
    ) -> Result<Self> {
        let work = match &options.work_dir {
            Some(dir) => WorkDir::open(dir)?,
            None => WorkDir::open_free(&default_work_dir())?,
        };
        let places = Arc::new(Places::new(&allowed(options, &work)?, &options.allow_hosts)?);
        let engines = engines.into_iter().map(|engine| (engine.name(), engine)).collect();
        Ok(Self {
            engines,
            governor,
            work,
            places,
            generate_input: options.generate_input,
            cpu_limit_percent: options.cpu_limit_percent,
            min_free_disk_percent: options.min_free_disk_percent,
            media_host: options.media_host.clone(),
        })
    }

    fn engine(&self, name: EngineName) -> Result<Arc<dyn Engine>> {
        self.engines.get(&name).cloned().ok_or_else(|| {
            Error::new(Code::EngineUnavailable, format!("the engine {name} is not on this node")).field("engine")
        })
    }

    async fn stage(&self, job: &Job, live: &Live, control: &Control) -> Result<Staged> {
        if let Some(endpoint) = &live.source {
            return Ok(Staged::nothing(Source::Live(endpoint.clone())));
        }
        let Some(input) = &job.input else {
            if !self.generate_input {
                return Err(Error::new(Code::InputNotFound, "the job has no input and this agent generates none")
                    .field("input")
                    .hint("give the job an input, or start the agent with --generate-input true"));
            }
            return Ok(Staged::nothing(Source::Generated(OutputRequest::for_job(job)?.generated_length())));
        };
        match Scheme::of_input(input)? {
            Scheme::File => Ok(Staged::nothing(Source::File(self.places.input(input)?))),
            Scheme::Http => {
                let dir = self.work.attempt(job.id, job.fence)?;
                let path = dir.path().join("input");
                let bytes = download::fetch(input, &path, self.room(job), &self.places, control).await?;
                Ok(Staged { source: Source::File(path), bytes, dir: Some(dir) })
            }
            streaming => Err(no_engine_for(streaming, "input", "give a file path, http:// or https://")),
        }
    }

    /// A place for a file. One that is made live, by the attempt of this number, is watched while it
    /// grows, and outlives the agent.
    fn file(&self, target: PathBuf, request: &OutputRequest, source: &Source, live: Option<u32>) -> Result<Place> {
        let origin = match source {
            Source::File(path) => Some(path.as_path()),
            Source::Generated(_) | Source::Live(_) => None,
        };
        if origin == Some(target.as_path()) {
            return Err(Error::new(Code::OutputIsInput, "the output is the input")
                .field("output")
                .hint("name another file"));
        }
        let mut staged = Staging::new(&target, request, origin)?;
        let is_file = matches!(staged, Staging::File(_));
        let part_of = live.filter(|_| is_file).map(|number| PartOf { number, output: target.clone() });
        let note = self.work.note(&staged.hidden(), part_of)?;
        if live.is_some() {
            staged.show()?;
        }
        Ok(Place::Staged { target, staged, note })
    }

    fn room(&self, job: &Job) -> download::Room {
        download::Room { max_bytes: disk_limit(job), min_free_percent: self.min_free_disk_percent }
    }

    fn limits(&self, job: &Job) -> ResourceLimits {
        ResourceLimits {
            max_cpu_percent: job.resource_limits.max_cpu_percent.or(self.cpu_limit_percent),
            ..job.resource_limits
        }
    }

    /// What the attempt will take. The disk is the one that its output fills.
    fn reserve(&self, job: &Job, limits: &ResourceLimits, target: Option<&Path>) -> Result<Reservation> {
        let work_dir = target.and_then(Path::parent).filter(|dir| dir.is_dir()).unwrap_or(self.work.root());
        self.governor.reserve(&Demand { limits, gpu: Requirements::of(job)?.gpu, work_dir })
    }

    /// The file to write; `None` for an output that is only sent.
    fn target(&self, job: &Job, live: &Live, request: &OutputRequest) -> Result<Option<PathBuf>> {
        match (&live.file, &live.task) {
            (Some(file), _) => self.places.output(file).map(Some),
            (None, Some(task)) if !task.record => Ok(None),
            (None, _) => {
                let name = format!("{}.{}", job.id, own_container(request).extension());
                Ok(Some(self.work.outputs().join(name)))
            }
        }
    }
}

#[async_trait]
impl Workshop for LocalWorkshop {
    fn node(&self) -> NodeId {
        self.work.node()
    }

    fn root(&self) -> &Path {
        self.work.root()
    }

    fn capabilities(&self) -> Capabilities {
        capabilities(&self.engines, &*self.governor)
    }

    async fn describe(&self) -> Result<Registration> {
        let (engines, governor) = (self.engines.clone(), Arc::clone(&self.governor));
        let describe = move || {
            let facts = ffrtmp_governor::HostFacts::detect();
            Registration {
                node_type: facts.node_type,
                cpu_threads: facts.cpu_threads,
                cpu_model: facts.cpu_model,
                has_gpu: !facts.gpus.is_empty(),
                gpu_type: facts.gpus.first().map(|gpu| gpu.name.clone()).unwrap_or_default(),
                gpus: facts.gpus,
                ram_total_bytes: facts.ram_total_bytes,
                capabilities: capabilities(&engines, &*governor),
                ..Registration::default()
            }
        };
        tokio::task::spawn_blocking(describe)
            .await
            .map_err(|error| Error::new(Code::Internal, "cannot describe this machine").source(error))
    }

    async fn prepare(&self, job: &Job, control: &Control, running: usize) -> Result<Box<dyn Workpiece>> {
        let name = job.engine_used.unwrap_or(EngineName::Ffmpeg);
        let engine = self.engine(name)?;
        let limits = self.limits(job);
        let engine = engine.limited(&limits, &self.governor).unwrap_or(engine);
        let live = Live::of(job, name, &self.media_host)?;
        live.check(&self.places).await?;
        let request = own_request(job, &live)?;
        let target = self.target(job, &live, &request)?;
        let reservation = self.reserve(job, &limits, target.as_deref())?;
        let Staged { source, bytes, dir } = self.stage(job, &live, control).await?;
        let place = match target {
            Some(target) => self.file(target, &request, &source, live.task.as_ref().map(|_| job.attempt))?,
            None => Place::nowhere(&live, self.work.attempt(job.id, job.fence)?),
        };
        let bounds = MediaBounds {
            max_output_bytes: Some(disk_limit(job).saturating_sub(bytes)),
            min_free_disk_percent: self.min_free_disk_percent,
            threads: threads(*CORES, running),
            gpu: reservation.gpu(),
            ..MediaBounds::default()
        };
        let task = Task { source, output: place.path(), request, bounds, live: live.task };
        Ok(Box::new(LocalPiece { engine, task, place, dir, reservation }))
    }
}

/// Where an attempt writes.
enum Place {
    /// To a name that nobody sees until it is published. What is staged goes before the note of it.
    Staged { target: PathBuf, staged: Staging, note: Note },
    /// To no file; only to these endpoints.
    Nowhere { endpoints: String, dir: AttemptDir },
}

impl Place {
    fn nowhere(live: &Live, dir: AttemptDir) -> Self {
        let endpoints: Vec<_> = live.task.iter().flat_map(|task| &task.push).map(ToString::to_string).collect();
        Self::Nowhere { endpoints: endpoints.join(" "), dir }
    }

    fn path(&self) -> PathBuf {
        match self {
            Self::Staged { staged, .. } => staged.path(),
            Self::Nowhere { dir, .. } => dir.path().join("output"),
        }
    }

    fn named(&self, report: JobReport) -> JobReport {
        match self {
            Self::Staged { staged, .. } => staged.named(report),
            Self::Nowhere { .. } => report,
        }
    }

    fn publish(self) -> Result<String> {
        match self {
            Self::Staged { target, staged, note } => {
                staged.commit()?;
                drop(note);
                Ok(target.display().to_string())
            }
            Self::Nowhere { endpoints, .. } => Ok(endpoints),
        }
    }

    fn leave(self, part: Option<u32>) -> Result<Option<String>> {
        let Self::Staged { staged, note, .. } = self else { return Ok(None) };
        if !staged.has_content() {
            return Ok(None);
        }
        let published = match part {
            Some(number) => staged.commit_part(number)?,
            None => staged.commit()?,
        };
        drop(note);
        Ok(Some(published.path.display().to_string()))
    }
}

/// What an attempt reads, and what was fetched for it.
struct Staged {
    source: Source,
    bytes: u64,
    dir: Option<AttemptDir>,
}

impl Staged {
    fn nothing(source: Source) -> Self {
        Self { source, bytes: 0, dir: None }
    }
}

/// An attempt on this machine.
struct LocalPiece {
    engine: Arc<dyn Engine>,
    task: Task,
    place: Place,
    dir: Option<AttemptDir>,
    /// Held until nothing of the attempt is left.
    reservation: Reservation,
}

#[async_trait]
impl Workpiece for LocalPiece {
    async fn run(&mut self, control: Control, observer: Arc<dyn Observer>) -> Result<JobReport> {
        let (engine, task) = (Arc::clone(&self.engine), self.task.clone());
        if let Some(warning) = self.reservation.warning() {
            observer.log("warn", warning);
        }
        let span = Span::current();
        let worked = tokio::task::spawn_blocking(move || span.in_scope(|| engine.run(&task, &control, &*observer)));
        let mut report = self.place.named(worked.await.map_err(lost_thread)??);
        report.gpu = report.gpu.or(self.reservation.gpu());
        report.warnings.extend(self.reservation.warning().map(str::to_owned));
        Ok(report)
    }

    fn gpu(&self) -> Option<u32> {
        self.reservation.gpu()
    }

    async fn publish(self: Box<Self>) -> Result<String> {
        let Self { place, dir, reservation, .. } = *self;
        let span = Span::current();
        let published = tokio::task::spawn_blocking(move || {
            let published = span.in_scope(|| place.publish());
            drop((dir, reservation));
            published
        });
        published.await.map_err(lost_thread)?
    }

    async fn leave(self: Box<Self>, part: Option<u32>) -> Result<Option<String>> {
        let Self { task, place, dir, reservation, .. } = *self;
        let left = tokio::task::spawn_blocking(move || {
            let left = if task.live.is_some() { place.leave(part) } else { Ok(None) };
            drop((dir, reservation));
            left
        });
        left.await.map_err(lost_thread)?
    }
}

fn capabilities(engines: &HashMap<EngineName, Arc<dyn Engine>>, governor: &dyn ResourceGovernor) -> Capabilities {
    let known: Vec<_> = engines.values().map(|engine| engine.capabilities()).collect();
    let works = known.iter().flat_map(|one| &one.video_encoders).filter(|(_, encoders)| !encoders.is_empty());
    let mut names: Vec<_> = engines.keys().copied().collect();
    names.sort_unstable();
    // Two engines may have the same.
    let codecs: BTreeSet<_> = works.clone().map(|(codec, _)| *codec).collect();
    let encoders: BTreeSet<_> = works.flat_map(|(_, encoders)| encoders.iter().cloned()).collect();
    Capabilities {
        engines: names,
        video_codecs: Some(codecs.into_iter().collect()),
        encoders: encoders.into_iter().collect(),
        enforced_limits: governor.enforced().iter().map(|limit| limit.as_str().to_owned()).collect(),
        limits: governor.limits(),
        sandbox: known.iter().map(|one| &one.sandbox).find(|layers| !layers.is_empty()).cloned().unwrap_or_default(),
    }
}

fn allowed(options: &AgentOptions, work: &WorkDir) -> Result<Vec<PathBuf>> {
    let mut roots = options.allow_paths.clone();
    if roots.is_empty() {
        let here = std::env::current_dir().map_err(|error| {
            Error::new(Code::InvalidConfig, "cannot read the current directory").field("allow-path").source(error)
        })?;
        roots.push(here);
    }
    roots.push(work.outputs());
    Ok(roots)
}

fn default_work_dir() -> PathBuf {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    state.or(home).unwrap_or_else(std::env::temp_dir).join("ffrtmp").join("agent")
}

fn no_engine_for(scheme: Scheme, field: &'static str, hint: &'static str) -> Error {
    let message = format!("{} needs an engine that this node does not have", scheme.as_str());
    Error::new(Code::EngineUnavailable, message).field(field).hint(hint)
}

/// What the job asks for. Where it does not name its output, the agent does, and says so in the
/// request: the file is what its name says.
fn own_request(job: &Job, live: &Live) -> Result<OutputRequest> {
    let scenario = if job.scenario.is_empty() { Scenario::default() } else { job.scenario.parse()? };
    let mut request = OutputRequest::for_output(scenario, Parameters::clone(&job.parameters), live.file.as_deref());
    // The key is in the endpoint, and nothing else needs it.
    request.parameters.stream_key = None;
    if live.file.is_none() {
        request.container = Some(own_container(&request));
    }
    Ok(request)
}

/// The container of an output without a name: Matroska carries whatever is copied.
fn own_container(request: &OutputRequest) -> Container {
    let wishes = &request.parameters;
    let copies = wishes.codec == Some(Target::Copy) || wishes.audio_codec == Some(Target::Copy);
    let asked = match wishes.codec {
        Some(Target::Encode(codec)) => Some(codec),
        _ => request.scenario.codec,
    };
    match (wishes.container, asked) {
        (Some(container), _) => container,
        _ if copies => Container::Mkv,
        (None, Some(VideoCodec::Vp8 | VideoCodec::Vp9)) => Container::Webm,
        _ => Container::Mp4,
    }
}

fn disk_limit(job: &Job) -> u64 {
    job.resource_limits.max_disk_mb.unwrap_or(limits::DEFAULT_DISK_MB).saturating_mul(1 << 20)
}

/// Cores of this machine. Asking takes a walk through the files of the control groups.
static CORES: LazyLock<usize> = LazyLock::new(|| available_parallelism().map_or(1, NonZero::get));

/// Threads for the codecs of an attempt that begins as one of `running`: its share of the cores,
/// since threads that wait for each other cost both. 0 lets the codecs of one that is alone choose.
fn threads(cores: usize, running: usize) -> usize {
    if running < 2 { 0 } else { (cores / running).max(1) }
}

fn lost_thread(error: tokio::task::JoinError) -> Error {
    Error::new(Code::AttemptCrashed, "the attempt's thread panicked").source(error)
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::plan::Plan;

    use super::*;

    #[test]
    fn attempts_share_the_cores() {
        for (cores, running, share) in [(2, 0, 0), (2, 1, 0), (2, 2, 1), (8, 3, 2), (64, 4, 16), (2, 5, 1)] {
            assert_eq!(threads(cores, running), share, "{running} on {cores}");
        }
    }

    #[test]
    fn an_output_that_the_agent_names_is_what_its_name_says() {
        for (scenario, codec, audio, container) in [
            ("720p30-h264", None, None, Container::Mp4),
            ("720p30-vp9", None, None, Container::Webm),
            ("720p30-av1", None, None, Container::Mp4),
            ("720p30-h264", Some("vp8"), None, Container::Webm),
            ("transcode", Some("copy"), None, Container::Mkv),
            ("720p30-vp9", None, Some("copy"), Container::Mkv),
        ] {
            let parameters = Parameters {
                codec: codec.map(|codec| codec.parse().unwrap()),
                audio_codec: audio.map(|codec| codec.parse().unwrap()),
                ..Parameters::default()
            };
            let request = OutputRequest { scenario: scenario.parse().unwrap(), parameters, container: None };
            assert_eq!(own_container(&request), container, "{scenario} {codec:?} {audio:?}");
            if codec != Some("copy") && audio.is_none() {
                assert_eq!(Plan::resolve(&request, None).unwrap().container, container, "as the plan chooses it");
            }
        }
    }
}
