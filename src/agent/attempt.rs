//! One attempt, from the claim to the finish: stage → run → confirm → publish → report.

use std::num::NonZero;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use ffrtmp_core::clock::{Clock, Timestamp};
use ffrtmp_core::engine::{Control, Engine, MediaBounds, Observer, Progress, Source, Task};
use ffrtmp_core::error::{Code, Error, JobError, Result};
use ffrtmp_core::id::{Fence, JobId};
use ffrtmp_core::job::{EngineName, Job, JobReport};
use ffrtmp_core::location::Scheme;
use ffrtmp_core::media::{Container, Target, VideoCodec};
use ffrtmp_core::plan::OutputRequest;
use ffrtmp_core::policy::limits;
use ffrtmp_core::protocol::{
    AttemptStatus, DirectiveKind, ErrorText, FinishRequest, LogLine, LogText, ResultStatus, StartRequest,
};
use ffrtmp_engines::publish::Staging;

use super::workdir::AttemptDir;
use super::{Shared, download};

/// Log lines kept until the next report.
const MAX_PENDING_LINES: usize = 2000;

/// What the heartbeat and the directives need to know of an attempt under way.
pub(super) struct Attempt {
    pub(super) job: JobId,
    pub(super) fence: Fence,
    pub(super) control: Control,
    ordered_to_stop: AtomicBool,
    handed_back: AtomicBool,
    timed_out: AtomicBool,
    said: Mutex<Said>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Said {
    progress: Option<f64>,
    lines: Vec<LogLine>,
    renewed: Option<Instant>,
}

impl Attempt {
    pub(super) fn new(job: &Job, clock: Arc<dyn Clock>) -> Self {
        Self {
            job: job.id,
            fence: job.fence,
            control: Control::default(),
            ordered_to_stop: AtomicBool::new(false),
            handed_back: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            said: Mutex::new(Said { renewed: Some(Instant::now()), ..Said::default() }),
            clock,
        }
    }

    /// What to say of it in the next heartbeat; log lines are handed over.
    pub(super) fn status(&self) -> AttemptStatus {
        let mut said = self.said();
        AttemptStatus {
            job_id: self.job,
            fence: self.fence,
            progress: said.progress,
            logs: std::mem::take(&mut said.lines),
        }
    }

    /// The heartbeat with these lines was lost: they come first in the next one.
    pub(super) fn take_back(&self, lines: Vec<LogLine>) {
        let mut said = self.said();
        let newer = std::mem::replace(&mut said.lines, lines);
        said.lines.extend(newer);
    }

    /// The master took the heartbeat that was sent at `sent`.
    pub(super) fn renewed(&self, sent: Instant) {
        self.said().renewed = Some(sent);
    }

    pub(super) fn obey(&self, directive: DirectiveKind) {
        match directive {
            DirectiveKind::Cancel => {
                self.ordered_to_stop.store(true, Ordering::Release);
                self.control.cancel();
            }
            DirectiveKind::Pause => self.control.pause(),
            DirectiveKind::Resume => self.control.resume(),
        }
    }

    /// Stops it to give the job back.
    pub(super) fn hand_back(&self) {
        self.handed_back.store(true, Ordering::Release);
        self.control.cancel();
    }

    /// Says why it ended without an output; there is always room for this line.
    fn last_words(&self, status: ResultStatus, error: &JobError) {
        let (level, text) = last_words(status, error);
        let line = LogLine { at: self.clock.now(), level: level.to_owned(), text };
        self.said().lines.push(line);
    }

    fn lease_age(&self) -> Duration {
        self.said().renewed.map_or(Duration::MAX, |at| at.elapsed())
    }

    fn said(&self) -> std::sync::MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Attempt {
    fn progress(&self, progress: Progress) {
        let mut said = self.said();
        // 100 is for the published output.
        said.progress = progress.percent.map(|percent| percent.min(99.9)).or(said.progress);
    }

    fn log(&self, level: &str, text: &str) {
        let at: Timestamp = self.clock.now();
        let mut said = self.said();
        if said.lines.len() < MAX_PENDING_LINES {
            said.lines.push(LogLine { at, level: level.to_owned(), text: text.to_owned() });
        }
    }
}

/// How an attempt ended: what was told to the master, and what was measured if it took that.
pub(super) struct Ended {
    pub(super) status: ResultStatus,
    pub(super) report: Option<JobReport>,
}

/// Runs a claimed job to its end and reports it.
pub(super) async fn run(shared: Arc<Shared>, job: Job, attempt: Arc<Attempt>) -> Ended {
    let begun = shared
        .retrying("start", || shared.transport.start(job.id, StartRequest { node_id: shared.node(), fence: job.fence }))
        .await;
    if let Err(error) = begun {
        tracing::warn!(job = %job.id, %error, "the attempt is over before it began");
        return Ended { status: ResultStatus::Canceled, report: None };
    }
    let outcome = work(&shared, &job, &attempt).await;
    report(&shared, &job, &attempt, outcome).await
}

async fn work(shared: &Arc<Shared>, job: &Job, attempt: &Arc<Attempt>) -> Result<JobReport> {
    let engine = shared.engine(job.engine_used.unwrap_or(EngineName::Ffmpeg))?;
    let engine = engine.limited(&job.resource_limits, &shared.governor).unwrap_or(engine);
    let dir = shared.work.attempt(job.id, job.fence)?;
    let limit = time_limit(job);
    let begun = Instant::now();
    let staged = tokio::time::timeout(limit, stage(shared, job, attempt, &dir)).await;
    let (source, staged_bytes) = staged.map_err(|_| too_long(limit).field("input"))??;
    let request = own_request(job)?;
    let target = target(shared, job, &request)?;
    if matches!(&source, Source::File(input) if *input == target) {
        return Err(Error::new(Code::OutputIsInput, "the output is the input")
            .field("output")
            .hint("name another file"));
    }
    let origin = match &source {
        Source::File(path) => Some(path.as_path()),
        Source::Generated(_) => None,
    };
    let staged = Staging::new(&target, &request, origin)?;
    dir.note_output(&staged.hidden())?;
    let threads = threads(available_parallelism().map_or(1, NonZero::get), shared.attempts().len());
    let task = Task { source, output: staged.path(), request, bounds: bounds(job, staged_bytes, threads) };
    let report = run_limited(limit.saturating_sub(begun.elapsed()), attempt, engine, task).await?;
    confirm(shared, attempt).await?;
    let published = tokio::task::spawn_blocking(move || staged.commit()).await.map_err(lost_thread)??;
    drop(published);
    drop(dir);
    Ok(JobReport { output_uri: Some(target.display().to_string()), ..report })
}

async fn stage(shared: &Arc<Shared>, job: &Job, attempt: &Arc<Attempt>, dir: &AttemptDir) -> Result<(Source, u64)> {
    let Some(input) = &job.input else {
        if !shared.options.generate_input {
            return Err(Error::new(Code::InputNotFound, "the job has no input and this agent generates none")
                .field("input")
                .hint("give the job an input, or start the agent with --generate-input true"));
        }
        return Ok((Source::Generated(OutputRequest::for_job(job)?.generated_length()), 0));
    };
    match Scheme::of_input(input)? {
        Scheme::File => Ok((Source::File(shared.places.input(input)?), 0)),
        Scheme::Http => {
            let path = dir.path().join("input");
            let bytes = download::fetch(input, &path, disk_limit(job), &shared.places, &attempt.control).await?;
            Ok((Source::File(path), bytes))
        }
        streaming => Err(no_engine_for(streaming, "input", "give a file path, http:// or https://")),
    }
}

fn no_engine_for(scheme: Scheme, field: &'static str, hint: &'static str) -> Error {
    let message = format!("{} needs an engine that this node does not have", scheme.as_str());
    Error::new(Code::EngineUnavailable, message).field(field).hint(hint)
}

fn target(shared: &Shared, job: &Job, request: &OutputRequest) -> Result<PathBuf> {
    match &job.output {
        Some(output) => match Scheme::of_output(output)? {
            Scheme::File => shared.places.output(output),
            streaming => Err(no_engine_for(streaming, "output", "give a file path")),
        },
        None => Ok(shared.work.outputs().join(format!("{}.{}", job.id, own_container(request).extension()))),
    }
}

/// What the job asks for. Where it does not name its output, the agent does, and says so in the
/// request: the file is what its name says.
fn own_request(job: &Job) -> Result<OutputRequest> {
    let mut request = OutputRequest::for_job(job)?;
    if job.output.is_none() {
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

fn bounds(job: &Job, staged_bytes: u64, threads: usize) -> MediaBounds {
    let left = disk_limit(job).saturating_sub(staged_bytes);
    MediaBounds { max_output_bytes: Some(left), threads, ..MediaBounds::default() }
}

/// Threads for the codecs of an attempt that begins as one of `running`: its share of the cores,
/// since threads that wait for each other cost both. 0 lets the codecs of one that is alone choose.
fn threads(cores: usize, running: usize) -> usize {
    if running < 2 { 0 } else { (cores / running).max(1) }
}

fn time_limit(job: &Job) -> Duration {
    Duration::from_secs(job.resource_limits.timeout_sec.unwrap_or(limits::DEFAULT_TIMEOUT_SEC))
}

fn too_long(limit: Duration) -> Error {
    Error::new(Code::Timeout, format!("the job ran longer than its time limit of {} s", limit.as_secs()))
}

/// Runs the engine on a thread of its own under the job's time limit; time spent frozen does not
/// count.
async fn run_limited(
    limit: Duration,
    attempt: &Arc<Attempt>,
    engine: Arc<dyn Engine>,
    task: Task,
) -> Result<JobReport> {
    let worker = {
        let attempt = Arc::clone(attempt);
        tokio::task::spawn_blocking(move || engine.run(&task, &attempt.control, &*attempt))
    };
    tokio::pin!(worker);
    let mut left = limit;
    let step = Duration::from_millis(200);
    loop {
        let begun = Instant::now();
        tokio::select! {
            ended = &mut worker => return ended.map_err(lost_thread)?,
            () = tokio::time::sleep(step.min(left)) => {}
        }
        if !attempt.control.is_paused() {
            left = left.saturating_sub(begun.elapsed());
        }
        if left.is_zero() && !attempt.timed_out.swap(true, Ordering::AcqRel) {
            attempt.control.cancel();
            left = step;
        } else if left.is_zero() {
            left = step;
        }
    }
}

/// Makes sure that the attempt is still this node's before anything becomes visible: the lease was
/// renewed recently, or the master says so now.
async fn confirm(shared: &Shared, attempt: &Attempt) -> Result<()> {
    let mut wait = Duration::from_secs(1);
    loop {
        let answered = shared.beat().await;
        if attempt.control.is_canceled() {
            return Err(Error::new(Code::Canceled, "the attempt was canceled before its output was published"));
        }
        match answered {
            Ok(()) => return Ok(()),
            Err(_) if attempt.lease_age() < shared.lease() / 2 => return Ok(()),
            Err(error) => tracing::warn!(job = %attempt.job, %error, "waiting for the master before publishing"),
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = shared.force.cancelled() => return Err(Error::new(Code::Canceled, "the agent stops")),
        }
        wait = (wait * 2).min(Duration::from_secs(30));
    }
}

async fn report(shared: &Shared, job: &Job, attempt: &Attempt, outcome: Result<JobReport>) -> Ended {
    let (status, metrics, error) = match outcome {
        Ok(report) => (ResultStatus::Completed, Some(report), None),
        Err(error) => failure(attempt, &error),
    };
    if let Some(error) = &error {
        attempt.last_words(status, error);
        tracing::warn!(job = %job.id, fence = %job.fence, %status, code = %error.code, message = %error.message, "attempt ended without an output");
    }
    let request = FinishRequest {
        job_id: job.id,
        node_id: shared.node(),
        fence: job.fence,
        status,
        metrics: metrics.clone(),
        error: error.map(ErrorText::Typed),
        logs: Some(LogText::Lines(attempt.status().logs)),
        completed_at: Some(shared.clock.now()),
    };
    let report = match shared.retrying("finish", || shared.transport.finish(request.clone())).await {
        Ok(job) => {
            if let Some(verdict) = &job.sla {
                shared.metrics.judged(verdict);
            }
            metrics
        }
        Err(error) => {
            tracing::warn!(job = %job.id, fence = %job.fence, %error, "the master does not take the result");
            None
        }
    };
    Ended { status, report }
}

/// The level and the text of the last line of an attempt without an output. What was told to stop
/// has not gone wrong.
fn last_words(status: ResultStatus, error: &JobError) -> (&'static str, String) {
    let JobError { code, message, hint, .. } = error;
    let is_stop = status != ResultStatus::Failed || *code == Code::Timeout;
    let cure = if hint.is_empty() { String::new() } else { format!("; hint: {hint}") };
    (if is_stop { "info" } else { "error" }, format!("{message} ({code}){cure}"))
}

fn failure(attempt: &Attempt, error: &Error) -> (ResultStatus, Option<JobReport>, Option<JobError>) {
    let is_stop = matches!(error.code(), Code::Canceled);
    let error = match () {
        () if attempt.timed_out.load(Ordering::Acquire) => {
            Error::new(Code::Timeout, "the job ran longer than its time limit").field("timeout_sec")
        }
        () if is_stop && attempt.ordered_to_stop.load(Ordering::Acquire) => {
            return (ResultStatus::Canceled, None, Some(error.into()));
        }
        () if is_stop && attempt.handed_back.load(Ordering::Acquire) => {
            let stopping = Error::new(Code::Killed, "the agent stops");
            return (ResultStatus::Released, None, Some((&stopping).into()));
        }
        () => return (ResultStatus::Failed, None, Some(error.into())),
    };
    (ResultStatus::Failed, None, Some((&error).into()))
}

fn lost_thread(error: tokio::task::JoinError) -> Error {
    Error::new(Code::AttemptCrashed, "the attempt's thread panicked").source(error)
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::job::Parameters;
    use ffrtmp_core::plan::Plan;

    use super::*;

    #[test]
    fn the_last_words_say_what_happened_and_what_to_do() {
        for (status, code, level) in [
            (ResultStatus::Failed, Code::InputInvalid, "error"),
            (ResultStatus::Failed, Code::Timeout, "info"),
            (ResultStatus::Canceled, Code::Canceled, "info"),
            (ResultStatus::Released, Code::Killed, "info"),
        ] {
            let error = JobError::from(&Error::new(code, "this happened").hint("do that"));
            let text = format!("this happened ({code}); hint: do that");
            assert_eq!(last_words(status, &error), (level, text), "{status} {code}");
        }
    }

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
