//! Bounds on what nodes say: a broken or hostile one must not fill the master's memory. Words are
//! cut, with a mark; numbers that cannot be are refused.

use crate::error::{Code, Error, JobError, Result};
use crate::job::JobReport;
use crate::node::{Registration, Telemetry};
use crate::protocol::LogLine;
use crate::store::MAX_LOG_LINES;

/// Bytes of an error message.
pub(super) const MAX_MESSAGE: usize = 4 << 10;
const MAX_LINE: usize = 8 << 10;
const MAX_WORD: usize = 1 << 10;
const MAX_WARNINGS: usize = 100;
const MAX_STAGES: usize = 32;
const MAX_OTHER: usize = 64 << 10;
const MAX_LIST: usize = 256;
const MAX_CORES: usize = 4096;
/// More attempts than any node runs.
const MAX_ATTEMPTS: usize = 1024;

/// At most this many bytes of a text, cut between characters.
pub(super) fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max));
        text.push('…');
    }
    text
}

/// An error as a node says it; the disposition follows from the code.
pub(super) fn error(said: JobError) -> JobError {
    JobError {
        code: said.code,
        disposition: said.code.disposition(),
        message: cut(said.message, MAX_MESSAGE),
        hint: cut(said.hint, MAX_MESSAGE),
    }
}

/// The newest lines, each cut.
pub(super) fn lines(mut lines: Vec<LogLine>) -> Vec<LogLine> {
    lines.drain(..lines.len().saturating_sub(MAX_LOG_LINES));
    for line in &mut lines {
        line.text = cut(std::mem::take(&mut line.text), MAX_LINE);
        line.level = cut(std::mem::take(&mut line.level), 16);
    }
    lines
}

/// A report with its words cut.
///
/// # Errors
/// `invalid_field` naming a measure that is negative or not a number, or `metrics` if measures
/// that this version does not name take too much room.
pub(super) fn report(mut report: JobReport) -> Result<JobReport> {
    measures(&report)?;
    let words = [
        &mut report.output_uri,
        &mut report.hash,
        &mut report.video_encoder,
        &mut report.video_codec,
        &mut report.resolution,
    ];
    for word in words {
        *word = word.take().map(|word| cut(word, 2 * MAX_MESSAGE));
    }
    for words in [&mut report.warnings, &mut report.sandbox_off] {
        words.truncate(MAX_WARNINGS);
        words.iter_mut().for_each(|word| *word = cut(std::mem::take(word), MAX_WORD));
    }
    Ok(report)
}

/// Refuses a report with a measure that cannot be.
///
/// # Errors
/// As [`report()`].
pub(super) fn measures(report: &JobReport) -> Result<()> {
    let measures = [
        ("duration_seconds", report.duration_seconds),
        ("fps", report.fps),
        ("speed", report.speed),
        ("wall_seconds", report.wall_seconds),
        ("cpu_seconds", report.cpu_seconds),
        ("energy_joules", report.energy_joules.map_or(0.0, |joules| joules.0)),
        ("throttled_seconds", report.throttled_seconds.unwrap_or_default()),
    ];
    let live = report.live.iter().flat_map(|live| {
        let optional = |value: Option<f64>| value.unwrap_or_default();
        [
            ("live.added_latency_ms_p50", optional(live.added_latency_ms_p50)),
            ("live.added_latency_ms_p95", optional(live.added_latency_ms_p95)),
            ("live.first_output_ms", optional(live.first_output_ms)),
            ("live.slowest_speed", optional(live.slowest_speed)),
            ("live.source_away_seconds", live.source_away_seconds),
        ]
    });
    let stages = report
        .stages
        .iter()
        .flat_map(|stage| [("stages.offset_seconds", stage.offset_seconds), ("stages.seconds", stage.seconds)]);
    // The master's own cost takes its place, but what cannot be one is told.
    let cost = report.cost.iter().flat_map(|cost| {
        let [cpu, gpu, energy, storage, egress, infrastructure] = cost.parts().map(|(_, amount)| amount);
        [
            ("cost.total", cost.total),
            ("cost.cpu", cpu),
            ("cost.gpu", gpu),
            ("cost.energy", energy),
            ("cost.storage", storage),
            ("cost.egress", egress),
            ("cost.infrastructure", infrastructure),
        ]
    });
    for (name, value) in measures.into_iter().chain(live).chain(stages).chain(cost) {
        if !value.is_finite() || value < 0.0 {
            return Err(Error::new(Code::InvalidField, format!("{value} cannot be measured"))
                .field(format!("metrics.{name}"))
                .hint("give a number that is 0 or more, or leave it out"));
        }
    }
    if report.stages.len() > MAX_STAGES {
        return Err(Error::new(Code::InvalidField, format!("{} stages", report.stages.len()))
            .field("metrics.stages")
            .hint(format!("give at most {MAX_STAGES}")));
    }
    let other = serde_json::to_vec(&report.other).map_or(usize::MAX, |json| json.len());
    if other > MAX_OTHER {
        return Err(Error::new(Code::InvalidField, format!("{other} bytes of measures without a name here"))
            .field("metrics")
            .hint(format!("give at most {MAX_OTHER} bytes")));
    }
    Ok(())
}

/// A registration with its words cut.
///
/// # Errors
/// `invalid_field` naming a list that is too long.
pub(super) fn registration(mut said: Registration) -> Result<Registration> {
    let lists = [
        ("gpus", said.gpus.len()),
        ("labels", said.labels.len()),
        ("capabilities.encoders", said.capabilities.encoders.len()),
        ("capabilities.engines", said.capabilities.engines.len()),
        ("capabilities.enforced_limits", said.capabilities.enforced_limits.len()),
        ("capabilities.limits", said.capabilities.limits.len()),
        ("capabilities.sandbox", said.capabilities.sandbox.len()),
        ("capabilities.video_codecs", said.capabilities.video_codecs.as_ref().map_or(0, Vec::len)),
    ];
    for (name, length) in lists {
        if length > MAX_LIST {
            return Err(Error::new(Code::InvalidField, format!("{length} entries"))
                .field(name)
                .hint(format!("give at most {MAX_LIST}")));
        }
    }
    let word = |text: &mut String| *text = cut(std::mem::take(text), MAX_WORD);
    [&mut said.node_type, &mut said.cpu_model, &mut said.gpu_type].into_iter().for_each(word);
    said.address.iter_mut().chain(said.version.iter_mut()).for_each(word);
    said.gpus.iter_mut().flat_map(|gpu| [&mut gpu.name, &mut gpu.vendor, &mut gpu.driver, &mut gpu.pci]).for_each(word);
    let guards = said.capabilities.limits.iter_mut().chain(&mut said.capabilities.sandbox);
    guards.flat_map(|guard| [&mut guard.name, &mut guard.detail]).for_each(word);
    said.capabilities.encoders.iter_mut().chain(&mut said.capabilities.enforced_limits).for_each(word);
    said.labels = said.labels.into_iter().map(|(key, value)| (cut(key, MAX_WORD), cut(value, MAX_WORD))).collect();
    Ok(said)
}

/// What a node says of its machine, with its words cut and its lists short.
pub(super) fn telemetry(mut said: Telemetry) -> Telemetry {
    said.core_percents.truncate(MAX_CORES);
    said.gpus.truncate(MAX_LIST);
    said.gpus.iter_mut().for_each(|gpu| gpu.lost = gpu.lost.take().map(|why| cut(why, MAX_WORD)));
    said.held_back = said.held_back.map(|why| cut(why, MAX_WORD));
    said
}

/// Refuses a heartbeat for more attempts than any node runs.
pub(super) fn attempts(count: usize) -> Result<()> {
    if count <= MAX_ATTEMPTS {
        return Ok(());
    }
    Err(Error::new(Code::InvalidField, format!("{count} attempts"))
        .field("attempts")
        .hint(format!("give at most {MAX_ATTEMPTS}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Stage, StageTime};

    #[test]
    fn words_are_cut_between_characters_and_numbers_are_checked() {
        assert_eq!(cut("äää".into(), 3), "ä…");
        let long = JobReport { hash: Some("x".repeat(1 << 20)), ..JobReport::default() };
        assert!(report(long).unwrap().hash.unwrap().len() < 10_000);
        for wrong in [-1.0, f64::NAN, f64::INFINITY] {
            let error = report(JobReport { wall_seconds: wrong, ..JobReport::default() }).unwrap_err();
            assert_eq!(error.field_name(), Some("metrics.wall_seconds"));
        }
        let stage = StageTime { name: Stage::Encode, offset_seconds: 0.0, seconds: f64::NAN };
        for (stages, field) in [(vec![stage], "metrics.stages.seconds"), (vec![stage; 33], "metrics.stages")] {
            let stages = if stages.len() > 1 {
                stages.iter().map(|it| StageTime { seconds: 1.0, ..*it }).collect()
            } else {
                stages
            };
            let error = report(JobReport { stages, ..JobReport::default() }).unwrap_err();
            assert_eq!(error.field_name(), Some(field));
        }
        let many = Registration { gpus: vec![Default::default(); 300], ..Registration::default() };
        assert_eq!(registration(many).unwrap_err().field_name(), Some("gpus"));
    }
}
