//! One file to another, in this process or in a child, with no master.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffrtmp_core::engine::{Control, Engine, MediaBounds, Observer, Source, Task, Unobserved};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{JobReport, Parameters};
use ffrtmp_core::media::Container;
use ffrtmp_core::plan::{OutputRequest, Plan};
use ffrtmp_core::scenario::Scenario;
use ffrtmp_engines::publish::Staging;

/// A transcode that can be planned, run, watched and stopped.
///
/// ```no_run
/// # fn main() -> ffrtmp::Result<()> {
/// let report = ffrtmp::Transcode::new("in.mov", "out.mp4").scenario("720p30-h264".parse()?).run()?;
/// println!("{} frames at {:.1}x", report.frames, report.speed);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Transcode {
    input: PathBuf,
    output: PathBuf,
    scenario: Scenario,
    parameters: Parameters,
    bounds: MediaBounds,
    control: Control,
    engine: Option<Arc<dyn Engine>>,
}

impl Transcode {
    /// From one file to another. Without more, the source's size and rate are kept and the
    /// output's extension decides the codecs.
    #[must_use]
    pub fn new(input: impl Into<PathBuf>, output: impl Into<PathBuf>) -> Self {
        Self {
            input: input.into(),
            output: output.into(),
            scenario: Scenario::default(),
            parameters: Parameters::default(),
            bounds: MediaBounds::default(),
            control: Control::default(),
            engine: None,
        }
    }

    /// What to make.
    #[must_use]
    pub fn scenario(mut self, scenario: Scenario) -> Self {
        self.scenario = scenario;
        self
    }

    /// Wishes that win over the scenario.
    #[must_use]
    pub fn parameters(mut self, parameters: Parameters) -> Self {
        self.parameters = parameters;
        self
    }

    /// Bounds on what is read and written.
    #[must_use]
    pub fn bounds(mut self, bounds: MediaBounds) -> Self {
        self.bounds = bounds;
        self
    }

    /// Stops or freezes it from another thread.
    #[must_use]
    pub fn control(mut self, control: Control) -> Self {
        self.control = control;
        self
    }

    /// The engine; in-process libav by default.
    #[must_use]
    pub fn engine(mut self, engine: Arc<dyn Engine>) -> Self {
        self.engine = Some(engine);
        self
    }

    /// Works out what would be done, without doing it.
    ///
    /// # Errors
    /// `input_*`, `container_mismatch`, `invalid_field`.
    pub fn plan(&self) -> Result<Plan> {
        self.chosen_engine()?.plan(&self.task(self.output.clone())?)
    }

    /// Does it. Blocks; the output appears whole, verified, or not at all.
    ///
    /// # Errors
    /// What [`Engine::run`] refuses; `output_directory_missing`, `output_not_writable`, `output_is_input`.
    pub fn run(&self) -> Result<JobReport> {
        self.run_observed(&Unobserved)
    }

    /// The same, telling how far it is.
    ///
    /// # Errors
    /// As [`Transcode::run`].
    pub fn run_observed(&self, observer: &dyn Observer) -> Result<JobReport> {
        let engine = self.chosen_engine()?;
        self.refuse_same_file()?;
        let mut task = self.task(PathBuf::new())?;
        let staged = Staging::new(&self.output, &task.request, Some(&self.input))?;
        task.output = staged.path();
        let report = staged.named(engine.run(&task, &self.control, observer)?);
        staged.commit()?;
        Ok(JobReport { output_uri: Some(self.output.display().to_string()), ..report })
    }

    fn task(&self, output: PathBuf) -> Result<Task> {
        let name = self.output.to_string_lossy();
        if self.parameters.container.is_none() {
            Container::of_output(&name)?;
        }
        Ok(Task {
            source: Source::File(self.input.clone()),
            output,
            request: OutputRequest::for_output(self.scenario.clone(), self.parameters.clone(), Some(&name)),
            bounds: self.bounds,
            live: None,
        })
    }

    fn chosen_engine(&self) -> Result<Arc<dyn Engine>> {
        match &self.engine {
            Some(engine) => Ok(Arc::clone(engine)),
            None => Ok(Arc::new(ffrtmp_engines::LibavEngine::new()?)),
        }
    }

    fn refuse_same_file(&self) -> Result<()> {
        let real = |path: &Path| path.canonicalize().ok();
        if real(&self.input).is_some_and(|input| Some(input) == real(&self.output)) {
            return Err(Error::new(Code::OutputIsInput, "the output is the input")
                .field("output")
                .hint("name another file"));
        }
        Ok(())
    }
}
