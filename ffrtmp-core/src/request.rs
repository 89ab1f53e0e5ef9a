//! From foreign JSON to a job: every field is checked, and an unknown one is refused with the
//! nearest known name.
//!
//! `parse` reads the shape; [`prepare`] checks what the values mean together, fills in defaults
//! and chooses the engine. Requests that were not JSON (command line, embedders) start at
//! [`prepare`].

use std::collections::{BTreeMap, BTreeSet};

use crate::clock::Timestamp;
use crate::error::{Code, Error, Result};
use crate::id::{Fence, JobId};
use crate::job::StateTransition;
use crate::job::{
    Classification, EngineChoice, EngineName, Job, JobRequest, JobState, Priority, Queue, ResourceLimits,
};
use crate::live::{self, Destination, Endpoint};
use crate::location::Scheme;
use crate::media::Container;
use crate::node::Requirements;
use crate::plan::{OutputRequest, Plan};
use crate::policy::{engine, limits};
use crate::scenario::Scenario;
use crate::units::FrameRate;

mod json;

pub use json::parse;

/// Most labels of a job.
pub const MAX_LABELS: usize = 64;
/// Longest key of a label, in bytes.
pub const MAX_LABEL_KEY: usize = 64;
/// Longest value of a label, in bytes.
pub const MAX_LABEL_VALUE: usize = 256;
/// Most jobs that a job may wait for.
pub const MAX_DEPENDENCIES: usize = 100;
/// Most retries of a job.
pub const MAX_RETRIES: u32 = 100;

/// Labels that start so ask for a label of the node; see [`Requirements::of`].
const NODE_LABEL: &str = "node.";

/// A job ready to be stored: defaults filled in, engine chosen, in state `queued` or `waiting`.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// The job.
    pub job: Job,
    /// What it needs of a node.
    pub requirements: Requirements,
    /// The engine that may run it where no node has the first one.
    pub fallback: Option<EngineName>,
}

impl Prepared {
    /// For a fleet without the chosen engine: takes the one that may stand in, if there is one,
    /// and says so in the job. Returns whether there was one.
    pub fn fall_back(&mut self) -> bool {
        let Some(engine) = self.fallback.take() else {
            return false;
        };
        let wanted = std::mem::replace(&mut self.requirements.engine, engine);
        let why = self.job.engine_reason.take().unwrap_or_default();
        self.job.engine_reason = Some(format!("{engine}, because no node has {wanted}, which was preferred: {why}"));
        self.job.engine_used = Some(engine);
        true
    }
}

/// Checks a request and makes a job of it.
///
/// # Errors
/// As [`parse`], and `container_mismatch` for codecs and containers that do not go together.
pub fn prepare(request: JobRequest, id: JobId, default_max_retries: u32, now: Timestamp) -> Result<Prepared> {
    let scenario: Scenario = request.scenario.parse()?;
    let resource_limits = limits_for(&scenario, &request);
    check_places(&request)?;
    check_labels(&request.labels)?;
    check_dependencies(&request.depends_on, id)?;
    check_confidence(request.confidence.as_deref())?;
    check_limits(&request.resource_limits)?;
    let max_retries = request.max_retries.unwrap_or(default_max_retries);
    check_range("max_retries", Some(u64::from(max_retries)), 0..=u64::from(MAX_RETRIES), "retries")?;
    check_output(&request, &scenario)?;

    let queue = request.queue.unwrap_or(if scenario.is_live_hint() { Queue::Live } else { Queue::Default });
    let asked = request.engine.unwrap_or(EngineChoice::Auto);
    let destination = Destination::of(request.output.as_deref(), &request.parameters, id, "localhost")?;
    let output = destination.push.as_ref().map(Endpoint::reveal).or(destination.file.as_deref());
    let chosen = engine::choose(asked, queue, &scenario, request.input.as_deref(), output);
    let state = if request.depends_on.is_empty() { JobState::Queued } else { JobState::Waiting };
    let job = Job {
        id,
        sequence_number: 0,
        tenant: request.tenant.unwrap_or_default(),
        state,
        classification: request.classification.or(scenario.classification()).unwrap_or(Classification::Production),
        scenario: request.scenario,
        input: request.input,
        output: request.output,
        confidence: request.confidence,
        engine: asked,
        engine_used: Some(chosen.engine),
        engine_reason: Some(chosen.reason),
        queue,
        priority: request.priority.unwrap_or(Priority::Medium),
        parameters: Box::new(request.parameters),
        resource_limits,
        max_retries,
        depends_on: request.depends_on,
        labels: request.labels,
        deadline: request.deadline,
        trace: request.traceparent,
        node_id: None,
        node_name: None,
        attempt: 0,
        fence: Fence::default(),
        retry_count: 0,
        progress: 0.0,
        created_at: now,
        queued_at: (state == JobState::Queued).then_some(now),
        started_at: None,
        last_activity_at: None,
        completed_at: None,
        lease_expires_at: None,
        retry_at: None,
        error: None,
        failure_reason: None,
        waiting_reason: None,
        result: None,
        spent: None,
        sla: None,
        attempts: Vec::new(),
        state_transitions: vec![StateTransition { from: state, to: state, at: now, reason: "submitted".into() }],
    };
    Ok(Prepared { requirements: Requirements::of(&job)?, job, fallback: chosen.fallback })
}

/// The limits of a job: defaults filled in, with the memory that its picture size needs.
fn limits_for(scenario: &Scenario, request: &JobRequest) -> ResourceLimits {
    let size = request.parameters.resolution.or(scenario.size);
    let fps = request.parameters.fps.or(scenario.fps).unwrap_or(FrameRate::whole(30));
    let limits = match size {
        Some(size) => limits::with_defaults_for(request.resource_limits, size.resolution(), fps),
        None => limits::with_defaults(request.resource_limits),
    };
    // Live work ends when it is told to.
    let is_live = live::is_live(request.input.as_deref(), request.output.as_deref(), &request.parameters);
    if is_live { ResourceLimits { timeout_sec: request.resource_limits.timeout_sec, ..limits } } else { limits }
}

/// Everything that can be said about the output before the input is known; all of it, where the
/// input is generated.
fn check_output(request: &JobRequest, scenario: &Scenario) -> Result<()> {
    let path =
        request.output.as_deref().filter(|text| Scheme::of_output(text).is_ok_and(|scheme| scheme == Scheme::File));
    if let (Some(path), None) = (path, request.parameters.container) {
        Container::of_output(path)?;
    }
    let output = OutputRequest::for_output(scenario.clone(), request.parameters.clone(), path);
    match request.input {
        Some(_) => output.check(),
        None => Plan::resolve(&output, None).map(drop),
    }
}

fn check_places(request: &JobRequest) -> Result<()> {
    let input = request.input.as_deref().map(Scheme::of_input).transpose()?;
    let output = request.output.as_deref().map(Scheme::of_output).transpose()?;
    if input == Some(Scheme::File) && output == Some(Scheme::File) && request.input == request.output {
        return Err(Error::new(Code::OutputIsInput, "is the input")
            .field("output")
            .hint("give the output another name"));
    }
    Ok(())
}

fn check_labels(labels: &BTreeMap<String, String>) -> Result<()> {
    if labels.len() > MAX_LABELS {
        return Err(invalid("labels", &format!("has {} labels", labels.len()), "give at most 64"));
    }
    for (key, value) in labels {
        if key.is_empty() || key.len() > MAX_LABEL_KEY || key.chars().any(char::is_control) {
            return Err(invalid(
                "labels",
                "has a key that cannot be one",
                "give keys of 1 to 64 bytes, no control characters",
            ));
        }
        if value.len() > MAX_LABEL_VALUE || value.contains('\0') {
            return Err(invalid(
                &format!("labels.{key}"),
                "has a value that cannot be one",
                "give at most 256 bytes, no NUL",
            ));
        }
        if key == NODE_LABEL {
            return Err(invalid("labels", "has the label \"node.\" without a name", "write node.NAME"));
        }
    }
    Ok(())
}

fn check_dependencies(dependencies: &[JobId], own: JobId) -> Result<()> {
    if dependencies.len() > MAX_DEPENDENCIES {
        return Err(invalid("depends_on", &format!("names {} jobs", dependencies.len()), "name at most 100"));
    }
    let distinct: BTreeSet<_> = dependencies.iter().collect();
    if distinct.len() < dependencies.len() {
        return Err(invalid("depends_on", "names a job twice", "name each job once"));
    }
    if distinct.contains(&own) {
        return Err(invalid("depends_on", "names the job itself", "name jobs that exist already"));
    }
    Ok(())
}

fn check_confidence(confidence: Option<&str>) -> Result<()> {
    match confidence {
        None | Some("auto" | "high" | "medium" | "low") => Ok(()),
        Some(_) => Err(invalid("confidence", "is not a known word", "give auto, high, medium or low")),
    }
}

fn check_limits(limits: &ResourceLimits) -> Result<()> {
    let cpu = limits.max_cpu_percent.map(u64::from);
    check_range("resource_limits.max_cpu_percent", cpu, 1..=100_000, "percent of one core")?;
    check_range("resource_limits.max_memory_mb", limits.max_memory_mb, 16..=16_000_000, "megabytes")?;
    check_range("resource_limits.max_disk_mb", limits.max_disk_mb, 1..=1_000_000_000, "megabytes")?;
    check_range("resource_limits.timeout_sec", limits.timeout_sec, 1..=604_800, "seconds")
}

fn check_range(field: &str, value: Option<u64>, range: std::ops::RangeInclusive<u64>, unit: &str) -> Result<()> {
    match value {
        Some(value) if !range.contains(&value) => {
            Err(invalid(field, &format!("is {value}"), &format!("give {} to {} {unit}", range.start(), range.end())))
        }
        _ => Ok(()),
    }
}

fn invalid(field: &str, message: &str, hint: &str) -> Error {
    Error::new(Code::InvalidField, message).field(field).hint(hint)
}

#[cfg(test)]
mod tests;
