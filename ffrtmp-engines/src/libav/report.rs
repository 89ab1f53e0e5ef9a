//! What an attempt measured.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{JobReport, OutputFile, RenditionReport};
use ffrtmp_core::media::StreamKind;
use ffrtmp_core::plan::Plan;

use super::fault::file_failed;
use super::limit::Limit;
use super::mux::Lane;
use super::notes::Notes;
use super::outputs::Written;
use super::session::Made;
use super::sys::{Measured, Parts, Usage};
use super::verify::Verified;

/// Describes the output; wall and CPU time follow in [`add_usage`].
pub(super) fn describe(
    plan: &Plan,
    written: &[Written],
    verified: &[Verified],
    stills: &[PathBuf],
    made: Made,
    notes: &mut Notes<'_>,
    limit: &Limit,
) -> Result<JobReport> {
    let Made { encoders, input_bytes } = made;
    let mut files = Vec::new();
    let directory = written.first().and_then(|sink| sink.primary.parent());
    for path in written.iter().flat_map(|sink| &sink.files).chain(stills) {
        let known = verified.iter().find(|verified| verified.path == *path);
        let measured = known.map_or_else(|| digest(path, limit), |verified| Ok(verified.measured.clone()));
        let Measured { size_bytes, hash } = measured?;
        let relative = directory.and_then(|directory| path.strip_prefix(directory).ok()).unwrap_or(path);
        files.push(OutputFile { path: relative.to_string_lossy().into_owned(), size_bytes, hash });
    }
    let lanes = || written.iter().flat_map(|sink| &sink.lanes);
    let video = lanes().find(|lane| lane.is_video());
    let filled = || lanes().filter(|lane| lane.packets > 0 && lane.kind != StreamKind::Subtitle);
    let first = filled().map(|lane| lane.first.max(0.0)).fold(f64::INFINITY, f64::min);
    let duration_seconds = (filled().map(|lane| lane.end).fold(0.0, f64::max) - first).max(0.0);
    let bit_rate = |bytes: u64| if duration_seconds > 0.0 { (bytes as f64 * 8.0 / duration_seconds) as u64 } else { 0 };
    let output_bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
    // A manifest is not the media.
    let primary = files.first().map_or(0, |file| file.size_bytes);
    let size_bytes = if plan.container.is_segmented() { output_bytes } else { primary };
    notes.info(&format!("verified {output_bytes} bytes, {duration_seconds:.3} s"));
    let renditions = renditions(plan, written, &encoders);
    Ok(JobReport {
        size_bytes,
        output_bytes,
        duration_seconds,
        frames: video.map_or(0, |lane| lane.packets),
        input_bytes,
        hash: files.first().map(|file| file.hash.clone()),
        video_encoder: encoders.first().cloned(),
        video_codec: video.map(|lane| lane.codec.clone()),
        resolution: plan.renditions().first().map(|plan| plan.size.to_string()),
        bit_rate: bit_rate(size_bytes),
        warnings: notes.take_warnings(),
        files,
        renditions,
        ..JobReport::default()
    })
}

/// Average bit rate of a stream over its own length.
fn rate_of(lane: &Lane) -> u64 {
    let seconds = lane.end - lane.first.max(0.0);
    if seconds > 0.0 { (lane.bytes as f64 * 8.0 / seconds) as u64 } else { 0 }
}

/// What became of every rendition.
fn renditions(plan: &Plan, written: &[Written], encoders: &[String]) -> Vec<RenditionReport> {
    let planned = plan.renditions();
    let lanes = written.iter().flat_map(|sink| &sink.lanes).filter(|lane| lane.is_video());
    let each = planned.iter().zip(encoders).zip(lanes).map(|((planned, encoder), lane)| RenditionReport {
        name: planned.name.clone(),
        resolution: planned.size.to_string(),
        video_encoder: encoder.clone(),
        frames: lane.packets,
        bit_rate: rate_of(lane),
    });
    each.collect()
}

/// Adds time and memory. Both are of the whole process, so they are exact only where it does
/// nothing else: in the isolated engine, which measures its child itself.
pub(crate) fn add_usage(report: &mut JobReport, elapsed: Duration, before: Usage) {
    let after = Usage::now();
    let wall = elapsed.as_secs_f64().max(1e-6);
    report.wall_seconds = wall;
    report.fps = report.frames as f64 / wall;
    report.speed = report.duration_seconds / wall;
    report.cpu_seconds = (after.cpu_seconds - before.cpu_seconds).max(0.0);
    report.peak_memory_bytes = after.peak_memory_bytes;
}

/// Size and hash of a file.
fn digest(path: &Path, limit: &Limit) -> Result<Measured> {
    limit.control.checkpoint()?;
    let file = File::open(path).map_err(file_failed)?;
    let length = file.metadata().map_err(file_failed)?.len();
    let mut measured = Parts::hashed([(file, length)]).measure().map_err(file_failed)?;
    measured.pop().ok_or_else(|| Error::new(Code::Storage, "the output cannot be read back").field("output"))
}
