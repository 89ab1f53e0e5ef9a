//! A workshop without files: the work takes simulated time, ends as the job's labels say, and
//! publishing is a line in the witness's book.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ffrtmp::agent::{Workpiece, Workshop};
use ffrtmp::core::engine::{Control, Observer, Progress};
use ffrtmp::core::id::{Fence, JobId, NodeId};
use ffrtmp::core::job::{EngineName, Job, JobReport};
use ffrtmp::core::node::{Capabilities, Registration};
use ffrtmp::{Code, Error, Result};

use crate::chance::Chance;
use crate::process::Process;
use crate::world::World;

/// Between two looks at the orders.
const SLICE: Duration = Duration::from_millis(250);

/// How an attempt at a job goes, as its label `fate` says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Fine,
    /// So many attempts fail for a reason that passes.
    FailsAtFirst(u32),
    /// The media is bad.
    Terminal,
    /// Every attempt fails for a reason that should pass.
    Poison,
    /// Works on for ever.
    Endless,
}

impl Fate {
    pub(crate) fn label(self) -> String {
        match self {
            Self::Fine => "fine".into(),
            Self::FailsAtFirst(n) => format!("fails-{n}"),
            Self::Terminal => "terminal".into(),
            Self::Poison => "poison".into(),
            Self::Endless => "endless".into(),
        }
    }

    fn of(job: &Job) -> Self {
        match job.labels.get("fate").map(String::as_str) {
            Some("terminal") => Self::Terminal,
            Some("poison") => Self::Poison,
            Some("endless") => Self::Endless,
            Some(text) => {
                text.strip_prefix("fails-").and_then(|n| n.parse().ok()).map_or(Self::Fine, Self::FailsAtFirst)
            }
            None => Self::Fine,
        }
    }

    fn failure(self, attempt: u32) -> Option<Code> {
        match self {
            Self::FailsAtFirst(n) if attempt <= n => Some(Code::DiskFull),
            Self::Terminal => Some(Code::InputInvalid),
            Self::Poison => Some(Code::Killed),
            _ => None,
        }
    }
}

/// The workshop of one life of an agent.
pub(crate) struct Shop {
    pub world: Arc<World>,
    pub node: NodeId,
    pub process: Arc<Process>,
    pub chance: Arc<Chance>,
}

#[async_trait]
impl Workshop for Shop {
    fn node(&self) -> NodeId {
        self.node
    }

    fn root(&self) -> &Path {
        Path::new("/")
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { engines: vec![EngineName::Ffmpeg, EngineName::Gstreamer], ..Capabilities::default() }
    }

    async fn describe(&self) -> Result<Registration> {
        Ok(Registration { capabilities: self.capabilities(), ..Registration::default() })
    }

    async fn prepare(&self, job: &Job, _: &Control, _: usize) -> Result<Box<dyn Workpiece>> {
        self.process.step().await;
        tokio::time::sleep(self.chance.ms(0, 150)).await;
        self.process.step().await;
        if self.chance.hits(10) && !self.world.weather.is_calm() {
            return Err(Error::new(Code::Network, "the input does not come"));
        }
        let work = job.labels.get("work").and_then(|text| text.parse().ok()).unwrap_or(100);
        Ok(Box::new(Piece {
            world: Arc::clone(&self.world),
            process: Arc::clone(&self.process),
            chance: Arc::clone(&self.chance),
            job: job.id,
            fence: job.fence,
            attempt: job.attempt,
            fate: Fate::of(job),
            work: Duration::from_millis(work),
            freezes: AtomicU64::new(0),
        }))
    }
}

struct Piece {
    world: Arc<World>,
    process: Arc<Process>,
    chance: Arc<Chance>,
    job: JobId,
    fence: Fence,
    attempt: u32,
    fate: Fate,
    work: Duration,
    /// How often the process had been stopped when the work was done.
    freezes: AtomicU64,
}

#[async_trait]
impl Workpiece for Piece {
    async fn run(&mut self, control: Control, observer: Arc<dyn Observer>) -> Result<JobReport> {
        let mut done = Duration::ZERO;
        loop {
            self.process.step().await;
            if control.is_canceled() {
                return Err(Error::new(Code::Canceled, "the attempt was canceled"));
            }
            if done >= self.work / 2
                && let Some(code) = self.fate.failure(self.attempt)
            {
                return Err(Error::new(code, "as its label says"));
            }
            if done >= self.work && self.fate != Fate::Endless {
                self.freezes.store(self.process.freezes(), Ordering::Release);
                return Ok(JobReport::default());
            }
            let percent = 100.0 * done.as_secs_f64() / self.work.as_secs_f64().max(0.001);
            observer.progress(Progress { percent: Some(percent), ..Progress::default() });
            let slice = SLICE.min(self.work.saturating_sub(done).max(Duration::from_millis(20)));
            tokio::time::sleep(slice).await;
            if !control.is_paused() {
                done += slice;
            }
        }
    }

    async fn publish(self: Box<Self>) -> Result<String> {
        self.process.step().await;
        if self.chance.hits(5) && !self.world.weather.is_calm() {
            return Err(Error::new(Code::DiskFull, "no room for the output"));
        }
        if self.chance.hits(10) && !self.world.weather.is_calm() {
            self.world.trace.note(format_args!("an agent dies before it publishes {}", self.job));
            self.process.kill();
            self.process.step().await;
        }
        let excused = self.process.freezes() != self.freezes.load(Ordering::Acquire);
        self.world.witness.published(self.job, self.fence, excused);
        if self.chance.hits(10) && !self.world.weather.is_calm() {
            self.world.trace.note(format_args!("an agent dies after it published {}", self.job));
            self.process.kill();
        }
        self.process.step().await;
        Ok(format!("memory:{}", self.job))
    }
}
