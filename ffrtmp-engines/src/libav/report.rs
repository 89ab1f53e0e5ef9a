//! What an attempt measured.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use ffrtmp_core::error::Result;
use ffrtmp_core::job::JobReport;
use ffrtmp_core::plan::{Plan, VideoPlan};
use sha2::{Digest, Sha256};

use super::fault::file_failed;
use super::meter::Meter;
use super::mux::Lane;
use super::notes::Notes;
use super::session::Limit;
use super::sys::Usage;

/// Describes the output; wall and CPU time follow in [`add_usage`].
pub(super) fn describe(
    plan: &Plan,
    lanes: &[Lane],
    output: &Path,
    encoder: Option<String>,
    input_bytes: u64,
    notes: Notes<'_>,
    limit: &Limit<'_>,
) -> Result<JobReport> {
    let (hash, size_bytes) = digest(output, limit)?;
    let video = lanes.iter().find(|lane| lane.is_video);
    let filled = || lanes.iter().filter(|lane| lane.packets > 0);
    let first = filled().map(|lane| lane.first.max(0.0)).fold(f64::INFINITY, f64::min);
    let duration_seconds = (filled().map(|lane| lane.end).fold(0.0, f64::max) - first).max(0.0);
    notes.info(&format!("verified {size_bytes} bytes, {duration_seconds:.3} s"));
    Ok(JobReport {
        size_bytes,
        output_bytes: size_bytes,
        duration_seconds,
        frames: video.map_or(0, |lane| lane.packets),
        input_bytes,
        hash: Some(hash),
        video_encoder: encoder,
        video_codec: video.map(|lane| lane.codec.clone()),
        resolution: match &plan.video {
            Some(VideoPlan::Encode(plan)) => Some(plan.size.to_string()),
            _ => None,
        },
        bit_rate: if duration_seconds > 0.0 { (size_bytes as f64 * 8.0 / duration_seconds) as u64 } else { 0 },
        warnings: notes.into_warnings(),
        ..JobReport::default()
    })
}

/// Adds time and memory. Both are of the whole process, so they are exact only where it does
/// nothing else: in the isolated engine, which measures its child itself.
pub(super) fn add_usage(report: &mut JobReport, meter: &Meter, before: Usage) {
    let after = Usage::now();
    let wall = meter.elapsed().as_secs_f64().max(1e-6);
    report.wall_seconds = wall;
    report.fps = report.frames as f64 / wall;
    report.speed = report.duration_seconds / wall;
    report.cpu_seconds = (after.cpu_seconds - before.cpu_seconds).max(0.0);
    report.peak_memory_bytes = after.peak_memory_bytes;
}

fn digest(path: &Path, limit: &Limit<'_>) -> Result<(String, u64)> {
    let mut file = File::open(path).map_err(file_failed)?;
    let mut buffer = vec![0; 1 << 18];
    let (mut digest, mut size) = (Sha256::new(), 0);
    loop {
        limit.control.checkpoint()?;
        match file.read(&mut buffer).map_err(file_failed)? {
            0 => return Ok((format!("sha256:{:x}", digest.finalize()), size)),
            count => {
                digest.update(&buffer[..count]);
                size += count as u64;
            }
        }
    }
}
