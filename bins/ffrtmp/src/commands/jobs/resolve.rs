//! `ffrtmp jobs submit --dry-run`: what a request resolves to, worked out here with the rules that
//! the master and the agent use. Nothing is sent.

use std::path::Path;

use ffrtmp::core::id::JobId;
use ffrtmp::core::job::{Job, JobRequest};
use ffrtmp::core::media::MediaInfo;
use ffrtmp::core::plan::{OutputRequest, Plan};
use ffrtmp::core::{Result, request};
use serde_json::{Value, json};

use crate::console::Console;
use crate::describe;
use crate::describe::quantity::now;
use crate::stop::Done;

/// Retries of a master that was not told otherwise.
const DEFAULT_RETRIES: u32 = 3;

/// What one request comes to.
struct Resolved {
    job: Job,
    plan: Plan,
    /// Where the open parts come from.
    source: &'static str,
}

pub(super) fn dry_run(requests: &[JobRequest], console: &Console) -> Done {
    let resolved = requests.iter().map(resolve).collect::<Result<Vec<_>>>()?;
    if console.is_json() {
        return match resolved.as_slice() {
            [one] => console.json(&json(one)),
            many => console.json(&json!({ "jobs": many.iter().map(json).collect::<Vec<_>>(), "count": many.len() })),
        };
    }
    for (index, one) in resolved.iter().enumerate() {
        if index > 0 {
            console.line("")?;
        }
        show(one, console)?;
    }
    Ok(())
}

fn resolve(request: &JobRequest) -> Result<Resolved> {
    let job = request::prepare(request.clone(), JobId::from_u128(0), DEFAULT_RETRIES, now())?.job;
    let (info, source) = probe(request.input.as_deref())?;
    let plan = Plan::resolve(&OutputRequest::for_job(&job)?, info.as_ref())?;
    Ok(Resolved { job, plan, source })
}

/// Describes the input where it is a file on this machine.
fn probe(input: Option<&str>) -> Result<(Option<MediaInfo>, &'static str)> {
    let Some(input) = input else { return Ok((None, "a generated input")) };
    let path = Path::new(input.strip_prefix("file://").unwrap_or(input));
    if input.contains("://") && !input.starts_with("file://") || !path.exists() {
        return Ok((None, "no source at hand: the input is not on this machine"));
    }
    let info = crate::local::probe(&crate::local::engine()?, path, "--input")?;
    Ok((Some(info), "the input, probed here"))
}

fn show(resolved: &Resolved, console: &Console) -> Done {
    let Resolved { job, plan, source } = resolved;
    let limits = &job.resource_limits;
    let mut table = describe::plan::facts(plan, console);
    let engine = match (job.engine_used, &job.engine_reason) {
        (Some(engine), Some(reason)) => format!("{engine}: {reason}"),
        _ => job.engine.to_string(),
    };
    let cpu = limits.max_cpu_percent.map_or("all cores".to_owned(), |percent| format!("{percent} % CPU"));
    let limits = format!(
        "{cpu}, {} MB memory, {} MB disk, {} s",
        limits.max_memory_mb.unwrap_or_default(),
        limits.max_disk_mb.unwrap_or_default(),
        limits.timeout_sec.unwrap_or_default(),
    );
    for (name, value) in [
        ("scenario", job.scenario.clone()),
        ("open parts from", (*source).to_owned()),
        ("queue", format!("{}, priority {}, for {}", job.queue, job.priority, job.classification)),
        ("engine", engine),
        ("limits", limits),
        ("retries", job.max_retries.to_string()),
    ] {
        table.add_row(vec![console.heading(name), value.into()]);
    }
    if let Some(deadline) = job.deadline {
        table.add_row(vec![console.heading("deadline"), describe::job::deadline(deadline).into()]);
    }
    console.table(&table)
}

fn json(resolved: &Resolved) -> Value {
    let Resolved { job, plan, source } = resolved;
    json!({
        "scenario": job.scenario,
        "input": job.input,
        "output": job.output,
        "plan": plan,
        "open_parts_from": source,
        "queue": job.queue,
        "priority": job.priority,
        "classification": job.classification,
        "engine": job.engine_used,
        "engine_reason": job.engine_reason,
        "resource_limits": job.resource_limits,
        "max_retries": job.max_retries,
        "deadline": job.deadline,
        "labels": job.labels,
    })
}
