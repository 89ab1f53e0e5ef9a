//! A job, and lists of them.

use std::collections::BTreeMap;

use comfy_table::{Cell, Color, Table};
use ffrtmp::core::clock::Timestamp;
use ffrtmp::core::cost::{JobCost, Spent};
use ffrtmp::core::encoding::Chunking;
use ffrtmp::core::error::JobError;
use ffrtmp::core::id::TenantId;
use ffrtmp::core::job::{
    Attempt, AttemptOutcome, ChunkReport, EnergySource, Job, JobReport, JobView, OutputFile, RenditionReport,
    StateTransition,
};

use super::quantity::{age, bit_rate, bytes, now, short, span};
use crate::console::{Console, one_line};

/// One row per job.
pub(crate) fn list(jobs: &[JobView], console: &Console) -> Table {
    let mut table = console.columns(&["#", "id", "state", "done", "scenario", "queue", "priority", "node", "age"]);
    for JobView { job, .. } in jobs {
        table.add_row(vec![
            Cell::new(job.sequence_number),
            Cell::new(short(job.id)),
            console.state(job.state),
            Cell::new(format!("{:.0}%", job.progress)),
            Cell::new(or_dash(&job.scenario)),
            Cell::new(job.queue),
            Cell::new(job.priority),
            Cell::new(job.node_name.as_deref().map_or("-".into(), one_line)),
            Cell::new(age(job.created_at)),
        ]);
    }
    table
}

/// Everything about a job.
pub(crate) fn facts(job: &Job, console: &Console) -> Table {
    let mut table = console.facts();
    for (name, value) in [
        ("id", job.id.to_string()),
        ("number", job.sequence_number.to_string()),
        ("scenario", or_dash(&job.scenario)),
        ("input", job.input.as_deref().map_or("generated".into(), one_line)),
        ("output", job.output.as_deref().map_or("kept by the agent".into(), one_line)),
    ] {
        table.add_row(vec![console.heading(name), value.into()]);
    }
    table.add_row(vec![console.heading("state"), console.state(job.state)]);
    for (name, value) in standing(job) {
        table.add_row(vec![console.heading(name), value.into()]);
    }
    for (name, value) in job.result.iter().flat_map(|report| measured(report, job.parameters.chunks)) {
        table.add_row(vec![console.heading(name), value.into()]);
    }
    if let Some(spent) = &job.spent {
        table.add_row(vec![console.heading("spent in vain"), self::spent(spent).into()]);
    }
    table
}

/// Everything about a job that has ended, except what went wrong.
pub(crate) fn outcome(job: &Job, console: &Console) -> Table {
    facts(&Job { error: None, ..job.clone() }, console)
}

fn standing(job: &Job) -> Vec<(&'static str, String)> {
    let mut facts = vec![
        ("progress", format!("{:.1}%", job.progress)),
        ("queue", format!("{}, priority {}, for {}", job.queue, job.priority, job.classification)),
        ("engine", engine(job)),
        ("attempt", format!("{} of at most {}", job.attempt, u64::from(job.max_retries) + 1)),
        ("created", format!("{} ({} ago)", job.created_at, age(job.created_at))),
    ];
    facts.extend((job.tenant != TenantId::single()).then(|| ("tenant", job.tenant.to_string())));
    let node = job.node_name.as_deref().map(one_line).or_else(|| job.node_id.map(|id| id.to_string()));
    facts.extend(node.map(|node| ("node", node)));
    facts.extend(job.started_at.map(|at| ("started", at.to_string())));
    facts.extend(job.completed_at.map(|at| ("ended", at.to_string())));
    facts.extend(job.deadline.map(|at| ("deadline", deadline(at))));
    facts.extend(job.waiting_reason.as_deref().map(|reason| ("waits because", one_line(reason))));
    if let Some(error) = &job.error {
        facts.push(("error", format!("{} ({})", one_line(&error.message), error.code)));
        facts.push(("hint", one_line(&error.hint)));
    }
    if !job.labels.is_empty() {
        let labels: Vec<_> = job.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        facts.push(("labels", one_line(&labels.join(" "))));
    }
    facts
}

/// When a result is wanted, and how long that is from now.
pub(crate) fn deadline(at: Timestamp) -> String {
    let left = at.since(now());
    if left.is_zero() { format!("{at} (over)") } else { format!("{at} (in {})", span(left.as_secs_f64())) }
}

fn engine(job: &Job) -> String {
    match (job.engine_used, &job.engine_reason) {
        (Some(used), Some(reason)) => format!("{used}: {}", one_line(reason)),
        (Some(used), None) => used.to_string(),
        (None, _) => job.engine.to_string(),
    }
}

/// What an attempt measured, as facts.
pub(crate) fn measured(report: &JobReport, chunks: Option<Chunking>) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    facts.extend(report.output_uri.as_deref().map(|uri| ("result", one_line(uri))));
    let picture: Vec<_> = report.video_codec.iter().chain(&report.resolution).map(String::as_str).collect();
    if !picture.is_empty() {
        facts.push(("video", one_line(&picture.join(" "))));
    }
    facts.push(("size", size(report)));
    let frames = if report.frames == 0 { String::new() } else { format!(", {} frames", report.frames) };
    facts.push(("length", format!("{}{frames}", span(report.duration_seconds))));
    let fps = if report.frames == 0 { String::new() } else { format!("{:.1} fps, ", report.fps) };
    let (wall, cpu) = (span(report.wall_seconds), span(report.cpu_seconds));
    facts.push(("took", format!("{wall}, {fps}{:.2}x, CPU {cpu}", report.speed)));
    facts.push(("peak memory", bytes(report.peak_memory_bytes)));
    if let Some(energy) = report.energy_joules {
        let how = report.energy_source.map_or("source not told", EnergySource::as_str);
        facts.push(("energy", format!("{:.1} J ({how})", energy.0)));
    }
    facts.extend(report.cost.as_deref().map(|cost| ("cost", self::cost(cost))));
    let throttled = report.throttled_seconds.filter(|seconds| *seconds > 0.0);
    facts
        .extend(throttled.map(|seconds| ("throttled", format!("for {} by its limit on the processor", span(seconds)))));
    facts.extend(report.gpu.map(|index| ("gpu", index.to_string())));
    if !report.sandbox_off.is_empty() {
        facts.push(("sandbox", one_line(&format!("without {}", report.sandbox_off.join(", ")))));
    }
    facts.extend(outputs(report, chunks));
    facts.extend(report.hash.as_deref().map(|hash| ("hash", one_line(hash))));
    facts.extend(report.warnings.iter().map(|warning| ("warning", one_line(warning))));
    facts
}

/// What it cost, and what for where that is several things.
fn cost(cost: &JobCost) -> String {
    let parts: Vec<_> = cost.parts().into_iter().filter(|(_, amount)| *amount > 0.0).collect();
    let parts: Vec<_> = parts.iter().map(|(name, amount)| format!("{name} {}", money(*amount))).collect();
    let total = format!("{} {}", money(cost.total), cost.currency);
    let without = if cost.energy.is_none() { ", energy not known" } else { "" };
    match parts.len() {
        0 | 1 => format!("{total}{without}"),
        _ => format!("{total} ({}{without})", parts.join(", ")),
    }
}

/// What attempts took that made no output.
fn spent(spent: &Spent) -> String {
    let attempts = if spent.attempts == 1 { "1 attempt".to_owned() } else { format!("{} attempts", spent.attempts) };
    let mut parts = vec![format!("CPU {}", span(spent.cpu_seconds))];
    parts.extend(spent.energy_joules.map(|energy| format!("{:.1} J", energy.0)));
    parts.extend(spent.cost.as_ref().map(|cost| format!("{} {}", money(cost.total), cost.currency)));
    format!("{attempts}: {}", parts.join(", "))
}

/// An amount with as many digits as it takes to tell it from nothing.
fn money(amount: f64) -> String {
    let digits =
        if amount >= 100.0 || amount == 0.0 { 2 } else { (3.0 - amount.log10().floor()).clamp(2.0, 9.0) as usize };
    format!("{amount:.digits$}")
}

/// Size and rate of an output; of all its files where there are several.
pub(crate) fn size(report: &JobReport) -> String {
    match report.files.len() {
        0 | 1 => format!("{}, {}", bytes(report.size_bytes), bit_rate(report.bit_rate)),
        count => format!("{} in {count} files", bytes(report.files.iter().map(|file| file.size_bytes).sum())),
    }
}

/// What was made of the pictures and which files came out, as facts: renditions and files where
/// there are several, chunks where there are some or were asked for.
pub(crate) fn outputs(report: &JobReport, wish: Option<Chunking>) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if report.renditions.len() > 1 {
        facts.extend(report.renditions.iter().map(|rendition| ("rendition", one_line(&self::rendition(rendition)))));
    }
    let told = |chunking: &&ChunkReport| chunking.chunks > 1 || wish == Some(Chunking::On);
    facts.extend(report.chunking.as_ref().filter(told).map(|chunking| ("chunks", one_line(&chunks(chunking)))));
    if report.files.len() > 1 {
        facts.extend(files(&report.files).into_iter().map(|line| ("files", one_line(&line))));
    }
    facts
}

fn rendition(rendition: &RenditionReport) -> String {
    let RenditionReport { name, resolution, video_encoder, frames, bit_rate: rate } = rendition;
    format!("{name}: {resolution}, {video_encoder}, {frames} frames, {}", bit_rate(*rate))
}

fn chunks(report: &ChunkReport) -> String {
    match report.chunks {
        0 | 1 => format!("none: {}", report.reason),
        chunks => format!("{chunks} by {} encoders: {}", report.workers, report.reason),
    }
}

/// Files by name, and those of a directory by their number.
fn files(files: &[OutputFile]) -> Vec<String> {
    let mut lines = Vec::new();
    let mut directories = BTreeMap::<&str, (usize, u64)>::new();
    for file in files {
        match file.path.rsplit_once('/') {
            None => lines.push(format!("{} ({})", file.path, bytes(file.size_bytes))),
            Some((directory, _)) => {
                let (count, size) = directories.entry(directory).or_default();
                *count += 1;
                *size += file.size_bytes;
            }
        }
    }
    lines.extend(directories.into_iter().map(|(directory, (count, size))| {
        let plural = if count == 1 { "" } else { "s" };
        format!("{directory}/: {count} file{plural} ({})", bytes(size))
    }));
    lines
}

/// One row per attempt. A row of a very long story is left out with those before it.
pub(crate) fn attempts(attempts: &[Attempt], console: &Console) -> Table {
    let mut table = console.columns(&["attempt", "node", "given", "began", "ended", "outcome", "error"]);
    for attempt in attempts {
        let time = |at: Option<Timestamp>| at.map_or("-".to_owned(), |at| at.to_string());
        let said = |error: &JobError| format!("{} ({})", one_line(&error.message), error.code);
        table.add_row(vec![
            Cell::new(attempt.number),
            Cell::new(one_line(&attempt.node_name)),
            Cell::new(attempt.assigned_at),
            Cell::new(time(attempt.started_at)),
            Cell::new(time(attempt.ended_at)),
            outcome_of(attempt, console),
            Cell::new(attempt.error.as_ref().map_or("-".to_owned(), said)),
        ]);
    }
    table
}

fn outcome_of(attempt: &Attempt, console: &Console) -> Cell {
    let Some(outcome) = attempt.outcome else { return console.tinted("under way", Color::Cyan) };
    let color = match outcome {
        AttemptOutcome::Completed => Color::Green,
        AttemptOutcome::Failed => Color::Red,
        AttemptOutcome::Released | AttemptOutcome::Canceled => Color::Yellow,
    };
    console.tinted(outcome, color)
}

/// One row per change of state.
pub(crate) fn events(events: &[StateTransition], console: &Console) -> Table {
    let mut table = console.columns(&["at", "from", "to", "reason"]);
    for event in events {
        table.add_row(vec![
            Cell::new(event.at),
            Cell::new(event.from),
            console.state(event.to),
            Cell::new(one_line(&event.reason)),
        ]);
    }
    table
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { one_line(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_told_with_what_they_were_for() {
        let free = JobCost { energy: Some(0.0), ..JobCost::default() };
        for (cost, told) in [
            (free, "0.00 USD"),
            (JobCost { total: 0.0123456, energy: Some(0.0123456), ..free }, "0.01235 USD"),
            (JobCost { total: 0.5, infrastructure: 0.5, energy: None, ..free }, "0.5000 USD, energy not known"),
            (
                JobCost { total: 123.4567, cpu: 123.45, energy: Some(0.0067), ..free },
                "123.46 USD (cpu 123.45, energy 0.006700)",
            ),
        ] {
            assert_eq!(super::cost(&cost), told);
        }
    }
}
