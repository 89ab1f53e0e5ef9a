//! One attempt, from the claim to the finish: stage → run → confirm → publish → report.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ffrtmp_core::clock::{Clock, Timestamp};
use ffrtmp_core::engine::{Control, Observer, Progress};
use ffrtmp_core::error::{Code, Disposition, Error, JobError, Result};
use ffrtmp_core::governor::Usage;
use ffrtmp_core::id::{Fence, JobId, NodeId};
use ffrtmp_core::job::{Job, JobReport, Queue, Stage, StageTime};
use ffrtmp_core::live::is_live;
use ffrtmp_core::policy::limits;
use ffrtmp_core::protocol::{
    AttemptStatus, DirectiveKind, ErrorText, FinishRequest, LogLine, LogText, ResultStatus, StartRequest,
};
use ffrtmp_core::trace::SpanName;
use tokio::time::Instant;
use tracing::Span;
use tracing::field::Empty;

use super::Shared;
use super::workshop::Workpiece;
use crate::traces::{Part, spans_of_attempt};

/// Log lines kept until the next report.
const MAX_PENDING_LINES: usize = 2000;

/// What the heartbeat and the directives need to know of an attempt under way.
pub(super) struct Attempt {
    pub(super) job: JobId,
    pub(super) fence: Fence,
    pub(super) control: Control,
    /// Around everything that is done for it.
    pub(super) span: Span,
    /// Whether it goes on until it is told to stop.
    pub(super) is_live: bool,
    /// Whether it has to keep up with time.
    in_real_time: bool,
    /// When it came to this node.
    begun: Instant,
    begun_at: Timestamp,
    parts: Mutex<Vec<Part>>,
    /// What it has used, for when it makes no output.
    used: Mutex<Option<JobReport>>,
    ordered_to_stop: AtomicBool,
    handed_back: AtomicBool,
    timed_out: AtomicBool,
    said: Mutex<Said>,
    clock: Arc<dyn Clock>,
}

#[derive(Default)]
struct Said {
    progress: Option<f64>,
    speed: Option<f64>,
    /// Lines that the master has.
    kept: u64,
    /// Lines that it is not known to have.
    lines: Vec<LogLine>,
    renewed: Option<Instant>,
    confirmed: Option<Instant>,
}

impl Attempt {
    pub(super) fn new(job: &Job, node: NodeId, clock: Arc<dyn Clock>) -> Self {
        Self {
            span: span(job, node),
            job: job.id,
            fence: job.fence,
            control: Control::default(),
            is_live: is_live(job.input.as_deref(), job.output.as_deref(), &job.parameters),
            in_real_time: job.queue == Queue::Live,
            begun: Instant::now(),
            begun_at: clock.now(),
            parts: Mutex::default(),
            used: Mutex::default(),
            ordered_to_stop: AtomicBool::new(false),
            handed_back: AtomicBool::new(false),
            timed_out: AtomicBool::new(false),
            said: Mutex::new(Said { renewed: Some(Instant::now()), ..Said::default() }),
            clock,
        }
    }

    /// Whether the engine has begun with it.
    fn has_worked(&self) -> bool {
        self.parts().iter().any(|part| part.name == SpanName::Transcode)
    }

    /// What to say of it in the next report. Log lines are said until the master has answered.
    pub(super) fn status(&self) -> AttemptStatus {
        let said = self.said();
        AttemptStatus {
            job_id: self.job,
            fence: self.fence,
            progress: said.progress,
            logs: said.lines.clone(),
            logs_from: Some(said.kept),
        }
    }

    /// The master took a heartbeat with this status that was sent at `sent`.
    pub(super) fn renewed(&self, sent: Instant, status: &AttemptStatus) {
        let mut said = self.said();
        said.renewed = Some(sent);
        said.confirmed = Some(sent);
        said.lines.drain(..status.logs.len());
        said.kept += status.logs.len() as u64;
    }

    pub(super) fn obey(&self, directive: DirectiveKind) {
        match directive {
            DirectiveKind::Cancel => {
                self.ordered_to_stop.store(true, Ordering::Release);
                // Recordings are completed; who does not end in time is broken off.
                if self.is_live { self.control.finish() } else { self.control.cancel() }
            }
            DirectiveKind::Pause => self.control.pause(),
            DirectiveKind::Resume => self.control.resume(),
        }
    }

    /// Stops it to give the job back.
    pub(super) fn hand_back(&self) {
        self.handed_back.store(true, Ordering::Release);
        // As for a cancel.
        if self.is_live { self.control.finish() } else { self.control.cancel() }
    }

    /// Why a live attempt that ended well was not to end yet.
    fn cut_short(&self) -> Option<Error> {
        let is_cut = self.handed_back.load(Ordering::Acquire) || self.timed_out.load(Ordering::Acquire);
        (self.is_live && is_cut).then(|| Error::new(Code::Canceled, "the attempt was told to end"))
    }

    fn time_to_finish(&self) -> Duration {
        if self.handed_back.load(Ordering::Acquire) { HAND_OVER } else { FINISH }
    }

    /// Says why it ended without an output; there is always room for this line.
    fn last_words(&self, status: ResultStatus, error: &JobError) {
        let (level, text) = last_words(status, error);
        let line = LogLine { at: self.clock.now(), level: level.to_owned(), text };
        self.said().lines.push(line);
    }

    /// The master said that the lease held at `asked`, or later.
    fn confirmed(&self, asked: Instant) {
        self.said().confirmed = Some(asked);
    }

    fn is_confirmed(&self) -> bool {
        self.said().confirmed.is_some_and(|at| at.elapsed() < FRESH)
    }

    fn lease_age(&self) -> Duration {
        self.said().renewed.map_or(Duration::MAX, |at| at.elapsed())
    }

    /// Does a part of the work and notes how long it took, also where it fails.
    async fn timed<T>(&self, name: SpanName, work: impl Future<Output = Result<T>>) -> Result<T> {
        let offset = self.begun.elapsed();
        let done = work.await;
        let part = Part::new(name, offset, self.begun.elapsed() - offset, done.as_ref().err());
        self.parts().push(part);
        done
    }

    fn parts(&self) -> std::sync::MutexGuard<'_, Vec<Part>> {
        self.parts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The parts that the agent timed, and what the engine says of its own.
    fn stages(&self, engine: &[StageTime]) -> Vec<StageTime> {
        let mut stages = Vec::with_capacity(engine.len() + 2);
        for part in &*self.parts() {
            match part.name {
                SpanName::Stage => stages.push(StageTime::new(Stage::StageIn, part.offset, part.length)),
                SpanName::Publish => stages.push(StageTime::new(Stage::Publish, part.offset, part.length)),
                _ => stages.extend(engine.iter().map(|stage| stage.later(part.offset))),
            }
        }
        stages
    }

    /// Notes what an engine counted that ended well; what follows may still go wrong.
    fn has_used(&self, report: &JobReport) {
        let JobReport { cpu_seconds, peak_memory_bytes, energy_joules, energy_source, gpu, .. } = *report;
        let used = JobReport {
            cpu_seconds,
            peak_memory_bytes,
            energy_joules,
            energy_source,
            gpu,
            stages: report.stages.clone(),
            ..JobReport::default()
        };
        *self.used.lock().unwrap_or_else(PoisonError::into_inner) = Some(used);
    }

    /// What it has used without making an output, if that was counted.
    fn spent(&self) -> Option<JobReport> {
        let used = self.used.lock().unwrap_or_else(PoisonError::into_inner).take()?;
        let stages = self.stages(&used.stages);
        Some(JobReport { wall_seconds: self.begun.elapsed().as_secs_f64(), stages, ..used })
    }

    /// Notes the graphics processor that was set aside for it.
    fn has_held(&self, gpu: Option<u32>) {
        if let Some(used) = &mut *self.used.lock().unwrap_or_else(PoisonError::into_inner) {
            used.gpu = used.gpu.or(gpu);
        }
    }

    /// Seconds of output per second, once it makes some, and whether it has to keep up with time.
    pub(super) fn pace(&self) -> Option<(f64, bool)> {
        Some((self.said().speed?, self.is_live || self.in_real_time))
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
        said.speed = Some(progress.speed).filter(|speed| *speed > 0.0).or(said.speed);
    }

    fn used(&self, usage: &Usage) {
        let (energy_joules, energy_source) = usage.energy.unzip();
        self.has_used(&JobReport {
            cpu_seconds: usage.cpu.as_secs_f64(),
            peak_memory_bytes: usage.peak_memory_bytes,
            energy_joules,
            energy_source,
            ..JobReport::default()
        });
    }

    fn log(&self, level: &str, text: &str) {
        let at: Timestamp = self.clock.now();
        let mut said = self.said();
        if said.lines.len() < MAX_PENDING_LINES {
            said.lines.push(LogLine { at, level: level.to_owned(), text: text.to_owned() });
        }
    }
}

/// Around everything that is done for an attempt, so that every line says whose it is. It is there at
/// every level of the log.
pub(super) fn span(job: &Job, node: NodeId) -> Span {
    let span = tracing::error_span!(
        "attempt", job = %job.id, attempt = job.attempt, node = %node, tenant = %job.tenant, trace = Empty
    );
    if let Some(trace) = job.trace {
        span.record("trace", trace.trace_id());
    }
    span
}

/// How an attempt ended: what was told to the master, and what was measured if it took that.
pub(super) struct Ended {
    pub(super) status: ResultStatus,
    pub(super) report: Option<JobReport>,
    /// What was used without an output.
    pub(super) spent: Option<JobReport>,
    pub(super) failure: Option<Code>,
}

/// Runs a claimed job to its end and reports it.
pub(super) async fn run(shared: Arc<Shared>, job: Job, attempt: Arc<Attempt>) -> Ended {
    let asked = Instant::now();
    let begun = shared
        .retrying("start", || shared.transport.start(job.id, StartRequest { node_id: shared.node(), fence: job.fence }))
        .await;
    if let Err(error) = begun {
        tracing::warn!(%error, "the attempt is over before it began");
        return Ended { status: ResultStatus::Canceled, report: None, spent: None, failure: None };
    }
    attempt.confirmed(asked);
    let outcome = work(&shared, &job, &attempt).await;
    let ended = report(&shared, &job, &attempt, outcome).await;
    trace(&shared, &job, &attempt, &ended);
    ended
}

/// Tells the trace of the job what its attempt did, if it has one.
fn trace(shared: &Shared, job: &Job, attempt: &Attempt, ended: &Ended) {
    let Some(taker) = &shared.spans else { return };
    let times = (attempt.begun_at, shared.clock.now());
    let end = (ended.status, ended.report.as_ref());
    for span in spans_of_attempt(job, shared.node(), times, &attempt.parts(), end) {
        taker.take(span);
    }
}

async fn work(shared: &Arc<Shared>, job: &Job, attempt: &Arc<Attempt>) -> Result<JobReport> {
    let limit = time_limit(job, attempt.is_live);
    let running = shared.attempts().len();
    let begun = Instant::now();
    let prepare = async {
        let prepared = tokio::time::timeout(limit, shared.workshop.prepare(job, &attempt.control, running)).await;
        prepared.map_err(|_| too_long(limit).field("input"))?
    };
    let mut piece = attempt.timed(SpanName::Stage, prepare).await?;
    let run = run_limited(limit.saturating_sub(begun.elapsed()), attempt, &mut *piece);
    let ran = attempt.timed(SpanName::Transcode, run).await.inspect(|report| attempt.has_used(report));
    attempt.has_held(piece.gpu());
    let report = match ran.and_then(|report| attempt.cut_short().map_or(Ok(report), Err)) {
        Ok(report) => report,
        Err(error) => {
            leave(shared, job, attempt, piece, &error).await;
            return Err(error);
        }
    };
    confirm(shared, attempt).await?;
    let output_uri = attempt.timed(SpanName::Publish, piece.publish()).await?;
    Ok(JobReport { output_uri: Some(output_uri), stages: attempt.stages(&report.stages), ..report })
}

/// Publishes what a live attempt recorded before it went wrong. Where another may follow it is a part,
/// with the number of the attempt in its name.
async fn leave(shared: &Shared, job: &Job, attempt: &Attempt, piece: Box<dyn Workpiece>, error: &Error) {
    if !attempt.is_live {
        return;
    }
    let is_handed_back = attempt.handed_back.load(Ordering::Acquire);
    let is_last = !is_handed_back && error.disposition() == Disposition::Terminal;
    let is_part = !is_last || confirm(shared, attempt).await.is_err();
    match piece.leave(is_part.then_some(job.attempt)).await {
        Ok(Some(path)) => attempt.log("info", &format!("what was recorded until then is {path}")),
        Ok(None) => {}
        Err(error) => attempt.log("warn", &format!("what was recorded cannot be published: {error}")),
    }
}

/// Live work has a limit only where it was given one.
fn time_limit(job: &Job, is_live: bool) -> Duration {
    match job.resource_limits.timeout_sec {
        None if is_live => Duration::MAX,
        limit => Duration::from_secs(limit.unwrap_or(limits::DEFAULT_TIMEOUT_SEC)),
    }
}

fn too_long(limit: Duration) -> Error {
    Error::new(Code::Timeout, format!("the job ran longer than its time limit of {} s", limit.as_secs()))
}

/// How long a live attempt may take to end well.
const FINISH: Duration = Duration::from_secs(5);
/// The same for one that another node waits to go on with.
const HAND_OVER: Duration = Duration::from_secs(3);

/// Runs the engine under the job's time limit; time spent frozen does not count.
async fn run_limited(limit: Duration, attempt: &Arc<Attempt>, piece: &mut dyn Workpiece) -> Result<JobReport> {
    let mut worker = piece.run(attempt.control.clone(), attempt.clone());
    let mut left = limit;
    let mut finishing = Duration::ZERO;
    let step = Duration::from_millis(200);
    loop {
        let begun = Instant::now();
        tokio::select! {
            biased;
            ended = &mut worker => return ended,
            () = tokio::time::sleep(step.min(left)) => {}
        }
        if !attempt.control.is_paused() {
            left = left.saturating_sub(begun.elapsed());
        }
        if attempt.control.is_finishing() {
            finishing += begun.elapsed();
            if finishing >= attempt.time_to_finish() {
                attempt.control.cancel();
            }
        }
        if left.is_zero() && !attempt.timed_out.swap(true, Ordering::AcqRel) {
            if attempt.is_live {
                attempt.control.finish();
            } else {
                attempt.control.cancel();
            }
            left = step;
        } else if left.is_zero() {
            left = step;
        }
    }
}

/// So long a word of the master on an attempt is taken for its present one: no longer than another
/// would be on its way over a slow line.
const FRESH: Duration = Duration::from_millis(100);

/// Makes sure that the attempt is still this node's before anything becomes visible: the master said
/// so just now, says so when it is asked, or cannot be reached and renewed the lease recently.
async fn confirm(shared: &Shared, attempt: &Attempt) -> Result<()> {
    if attempt.is_confirmed() && attempt.lease_age() < shared.lease() / 2 && !attempt.control.is_canceled() {
        return Ok(());
    }
    let mut wait = Duration::from_secs(1);
    loop {
        let answered = shared.beat().await;
        if attempt.control.is_canceled() {
            return Err(Error::new(Code::Canceled, "the attempt was canceled before its output was published"));
        }
        // Also after an answer: it may have been long on its way, and say nothing of the present.
        if attempt.lease_age() < shared.lease() / 2 {
            return Ok(());
        }
        if let Err(error) = answered {
            tracing::warn!(%error, "waiting for the master before publishing");
        }
        tokio::select! {
            biased;
            () = shared.force.cancelled() => return Err(Error::new(Code::Canceled, "the agent stops")),
            () = tokio::time::sleep(wait) => {}
        }
        wait = (wait * 2).min(Duration::from_secs(30));
    }
}

async fn report(shared: &Shared, job: &Job, attempt: &Attempt, outcome: Result<JobReport>) -> Ended {
    let (status, metrics, error) = match outcome {
        Ok(report) => (ResultStatus::Completed, Some(report), None),
        Err(error) => {
            let crowded = is_turned_away(shared, attempt, error.code());
            if error.code() == Code::NoRoom {
                shared.does_not_fit(&error);
            }
            failure(attempt, &error, crowded)
        }
    };
    if let Some(error) = &error {
        attempt.last_words(status, error);
        tracing::warn!(fence = %job.fence, %status, code = %error.code, error = error.message, "attempt ended without an output");
    }
    let failure = error.as_ref().filter(|_| status == ResultStatus::Failed).map(|error| error.code);
    let spent = error.as_ref().and_then(|_| attempt.spent());
    let AttemptStatus { logs, logs_from, .. } = attempt.status();
    let request = FinishRequest {
        job_id: job.id,
        node_id: shared.node(),
        fence: job.fence,
        status,
        metrics: metrics.clone().or_else(|| spent.clone()),
        error: error.map(ErrorText::Typed),
        logs: Some(LogText::Lines(logs)),
        logs_from,
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
            tracing::warn!(fence = %job.fence, %error, "the master does not take the result");
            None
        }
    };
    Ended { status, report, spent, failure }
}

/// Whether an attempt failed for what is no fault of its own: others left it no room, or the machine is
/// under pressure and takes no job before that is over, so that this one does not come back at once.
fn is_turned_away(shared: &Shared, attempt: &Attempt, code: Code) -> bool {
    match code {
        Code::NoRoom => shared.attempts().len() > 1 || shared.is_pressed(),
        Code::DiskFull => !attempt.has_worked() && shared.is_pressed(),
        _ => false,
    }
}

/// Gives back a job that never began here.
pub(super) fn release_of(job: &Job, node_id: NodeId) -> FinishRequest {
    FinishRequest {
        job_id: job.id,
        node_id,
        fence: job.fence,
        status: ResultStatus::Released,
        metrics: None,
        error: Some(ErrorText::Typed((&stopping()).into())),
        logs: None,
        logs_from: None,
        completed_at: None,
    }
}

/// Why a node gives a job back that it could have gone on with.
fn stopping() -> Error {
    Error::new(Code::Killed, "the agent stops").hint("nothing to do: another node takes the job, or this one later")
}

/// The level and the text of the last line of an attempt without an output. What was told to stop
/// has not gone wrong.
fn last_words(status: ResultStatus, error: &JobError) -> (&'static str, String) {
    let JobError { code, message, hint, .. } = error;
    let is_stop = status != ResultStatus::Failed || *code == Code::Timeout;
    let cure = if hint.is_empty() { String::new() } else { format!("; hint: {hint}") };
    (if is_stop { "info" } else { "error" }, format!("{message} ({code}){cure}"))
}

/// What to say of an attempt without an output. One that was turned away goes back unharmed; one that
/// does not fit although it is alone on a machine that takes others is tried again later, and not for
/// ever.
fn failure(attempt: &Attempt, error: &Error, crowded: bool) -> (ResultStatus, Option<JobReport>, Option<JobError>) {
    let is_stop = matches!(error.code(), Code::Canceled);
    let error = match () {
        () if attempt.timed_out.load(Ordering::Acquire) => {
            Error::new(Code::Timeout, "the job ran longer than its time limit").field("timeout_sec")
        }
        // A live attempt ends well where it can; what it says when it cannot does not change the order.
        () if (is_stop || attempt.is_live) && attempt.ordered_to_stop.load(Ordering::Acquire) => {
            return (ResultStatus::Canceled, None, Some(error.into()));
        }
        () if (is_stop || attempt.is_live) && attempt.handed_back.load(Ordering::Acquire) => {
            return (ResultStatus::Released, None, Some((&stopping()).into()));
        }
        () if crowded => return (ResultStatus::Released, None, Some(error.into())),
        () => return (ResultStatus::Failed, None, Some(error.into())),
    };
    (ResultStatus::Failed, None, Some((&error).into()))
}

#[cfg(test)]
mod tests {
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
}
