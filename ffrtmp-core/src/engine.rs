//! The `Engine` trait: what turns media into other media.

use std::fmt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::governor::{ResourceGovernor, Usage};
use crate::job::{EngineName, JobReport, ResourceLimits};
use crate::live::{Endpoint, LiveEvent, LiveTask};
use crate::media::{MediaInfo, VideoCodec};
use crate::node::Safeguard;
use crate::plan::{OutputRequest, Plan};
use crate::scenario::Scenario;
use crate::units::Seconds;

/// Where an attempt reads from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A local regular file, already staged and allowed.
    File(PathBuf),
    /// A moving test picture and a tone of this length; size and rate come from the plan.
    Generated(Seconds),
    /// Media that flows from a place on the network.
    Live(Endpoint),
}

impl Source {
    /// The error of an engine that reads no live source.
    #[must_use]
    pub fn refused_live(endpoint: &Endpoint) -> Error {
        Error::new(Code::InputUnsupported, format!("{endpoint} is live, and this engine reads files"))
            .field("input")
            .hint("live inputs need the engine gstreamer")
    }
}

/// One piece of work for an engine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Where it reads from.
    pub source: Source,
    /// The file it writes: a temporary name that the caller publishes afterwards.
    pub output: PathBuf,
    /// What to make.
    pub request: OutputRequest,
    /// Bounds on what is read.
    pub bounds: MediaBounds,
    /// What makes it live; `None` reads as fast as it can and writes one output.
    pub live: Option<LiveTask>,
}

/// Bounds on foreign media, so that a hostile file costs little.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediaBounds {
    /// Pixels of a picture.
    pub max_pixels: u64,
    /// Streams of a file.
    pub max_streams: usize,
    /// Length of the media.
    pub max_duration: Duration,
    /// Time that probing may take.
    pub max_probe: Duration,
    /// Bytes that the output may take; `None` is unbounded.
    pub max_output_bytes: Option<u64>,
    /// Percent of the output's file system that must stay free; 0 lets it fill up.
    #[serde(default)]
    pub min_free_disk_percent: u8,
    /// Threads that codecs may use; 0 lets them choose.
    pub threads: usize,
    /// Graphics processor for encoders that use one, by its index; `None` lets them choose.
    #[serde(default)]
    pub gpu: Option<u32>,
}

impl Default for MediaBounds {
    /// 8192×8192 pixels, 100 streams, 48 hours, 10 s of probing, any output size up to a full disk,
    /// any threads.
    fn default() -> Self {
        Self {
            max_pixels: 8192 * 8192,
            max_streams: 100,
            max_duration: Duration::from_secs(48 * 3600),
            max_probe: Duration::from_secs(10),
            max_output_bytes: None,
            min_free_disk_percent: 0,
            threads: 0,
            gpu: None,
        }
    }
}

/// What an engine can do on this machine, proven by trying.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineCapabilities {
    /// Encoders by codec that passed a test encode, the preferred one first.
    pub video_encoders: Vec<(VideoCodec, Vec<String>)>,
    /// Audio encoders that passed a test encode.
    pub audio_encoders: Vec<String>,
    /// Versions of the libraries behind it, for people.
    pub versions: Vec<String>,
    /// Parts that it works with and that are not installed, each with the package that brings it.
    #[serde(default)]
    pub missing: Vec<(String, String)>,
    /// Layers of the sandbox around an attempt, on or off and why; empty without one.
    #[serde(default)]
    pub sandbox: Vec<Safeguard>,
}

/// How far an attempt is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Percent done, 0 to 100, if the length is known.
    pub percent: Option<f64>,
    /// Video frames encoded so far.
    pub frames: u64,
    /// Seconds of output made so far.
    pub out_seconds: f64,
    /// Seconds of output made per second of wall time.
    pub speed: f64,
    /// Bytes written so far.
    pub out_bytes: u64,
}

/// Tells what happens in an attempt.
pub trait Observer: Send + Sync {
    /// How far it is; called at least every 500 ms while it runs.
    fn progress(&self, progress: Progress);
    /// A line for the job's log.
    fn log(&self, level: &str, text: &str);
    /// What an attempt has used that ends with an error; said once, where it is counted.
    fn used(&self, usage: &Usage) {
        let _ = usage;
    }
    /// Something that happened to a live attempt; by default a line of the log.
    fn event(&self, event: &LiveEvent) {
        self.log(event.kind.level(), &format!("{}: {}", event.kind.as_str(), event.text));
    }
}

/// An observer that looks away.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unobserved;

impl Observer for Unobserved {
    fn progress(&self, _: Progress) {}
    fn log(&self, _: &str, _: &str) {}
}

/// Stops, freezes and thaws an attempt from outside; clones act on the same attempt.
#[derive(Clone, Default)]
pub struct Control(Arc<ControlState>);

#[derive(Default)]
struct ControlState {
    orders: AtomicU8,
    changed: Condvar,
    lock: Mutex<()>,
}

const CANCEL: u8 = 1;
const PAUSE: u8 = 2;
const FINISH: u8 = 4;

impl Control {
    /// Orders it to stop. Cannot be taken back.
    pub fn cancel(&self) {
        self.set(|orders| orders | CANCEL);
    }

    /// Orders a live attempt to end well: recordings are completed and the report is made. Any other
    /// attempt ends by itself and takes no notice. Cannot be taken back.
    pub fn finish(&self) {
        self.set(|orders| orders | FINISH);
    }

    /// Orders it to freeze.
    pub fn pause(&self) {
        self.set(|orders| orders | PAUSE);
    }

    /// Orders it to go on.
    pub fn resume(&self) {
        self.set(|orders| orders & !PAUSE);
    }

    /// Whether it shall stop.
    #[must_use]
    pub fn is_canceled(&self) -> bool {
        self.0.orders.load(Ordering::Acquire) & CANCEL != 0
    }

    /// Whether it shall end well.
    #[must_use]
    pub fn is_finishing(&self) -> bool {
        self.0.orders.load(Ordering::Acquire) & FINISH != 0
    }

    /// Whether it shall stand still.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.0.orders.load(Ordering::Acquire) & PAUSE != 0
    }

    /// Blocks while paused; an engine calls it between packets or frames.
    ///
    /// # Errors
    /// `canceled` once it shall stop.
    pub fn checkpoint(&self) -> Result<()> {
        if self.0.orders.load(Ordering::Acquire) == 0 {
            return Ok(());
        }
        let mut guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        while self.is_paused() && !self.is_canceled() {
            guard = self.0.changed.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        if self.is_canceled() { Err(Error::new(Code::Canceled, "the attempt was canceled")) } else { Ok(()) }
    }

    /// Blocks until the orders change or the time is over; for engines that watch a child.
    pub fn wait(&self, timeout: Duration) {
        let guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.changed.wait_timeout(guard, timeout));
    }

    fn set(&self, change: impl Fn(u8) -> u8) {
        let _guard = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let orders = change(self.0.orders.load(Ordering::Acquire));
        self.0.orders.store(orders, Ordering::Release);
        self.0.changed.notify_all();
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("canceled", &self.is_canceled()).field("paused", &self.is_paused()).finish()
    }
}

/// Turns media into other media.
///
/// # Contract
/// - `probe`, `plan` and `run` block the calling thread; async callers use a blocking thread.
/// - `run` probes, plans, encodes to `task.output`, and verifies what it wrote: readable, the
///   streams of the plan, duration and frame count as encoded. On any error it removes
///   `task.output`; only what a live attempt recorded stays, as whole as it can be made, unless that
///   was canceled without being told to finish before. Every thread and child that it started has ended when it returns; only the
///   teardown of a codec that blocks may go on, on a thread that ends before the engine is dropped.
/// - It reads nothing but `task.source` and writes nothing but `task.output`.
/// - Between frames it calls [`Control::checkpoint`]; it stops within 200 ms of a cancel.
/// - Foreign bytes never panic or crash it; an implementation that cannot promise that runs in a
///   child process.
///
/// # Errors
/// `input_*` for the source, `codec_unavailable`, `container_mismatch`, `encode_failed`,
/// `verify_failed`, `disk_full`, `canceled`.
pub trait Engine: Send + Sync + 'static {
    /// Which engine it is.
    fn name(&self) -> EngineName;

    /// What works on this machine. May take seconds the first time; remembered afterwards.
    fn capabilities(&self) -> &EngineCapabilities;

    /// What it has found out by trying devices, in words that only another copy of the same engine on
    /// the same machine understands; `None` if there is nothing to pass on.
    fn findings(&self) -> Option<String> {
        None
    }

    /// Takes over what another copy has found out, instead of trying it again. Words that it does
    /// not understand change nothing.
    fn learn(&self, findings: &str) {
        let _ = findings;
    }

    /// Describes a file.
    fn probe(&self, source: &Source, bounds: &MediaBounds) -> Result<MediaInfo>;

    /// Works out what `run` would do, without doing it.
    fn plan(&self, task: &Task) -> Result<Plan> {
        let info = match &task.source {
            Source::File(_) => Some(self.probe(&task.source, &task.bounds)?),
            Source::Generated(_) => None,
            Source::Live(endpoint) => return Err(Source::refused_live(endpoint)),
        };
        Plan::resolve(&task.request, info.as_ref())
    }

    /// Does the work and returns what was measured; `output_uri` stays empty.
    fn run(&self, task: &Task, control: &Control, observer: &dyn Observer) -> Result<JobReport>;

    /// The same engine with every attempt under these limits and this governor; `None` for an
    /// engine that has no process of its own to limit.
    fn limited(&self, limits: &ResourceLimits, governor: &Arc<dyn ResourceGovernor>) -> Option<Arc<dyn Engine>> {
        let _ = (limits, governor);
        None
    }
}

impl Task {
    /// A task for a scenario with no wishes besides, for examples and tests.
    #[must_use]
    pub fn new(source: Source, output: PathBuf, scenario: Scenario) -> Self {
        Self {
            source,
            output,
            request: OutputRequest { scenario, ..OutputRequest::default() },
            bounds: MediaBounds::default(),
            live: None,
        }
    }
}
