//! What was made: recordings are read back, then everything is described.

use std::path::Path;

use ffrtmp_core::engine::{Control, Observer, Task};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::{JobReport, OutputFile, RenditionReport};
use ffrtmp_core::live::LiveReport;
use ffrtmp_core::media::StreamKind;
use ffrtmp_core::plan::Plan;

use super::outlets::{Ended, Recording};
use super::tally::{Tally, seconds};
use crate::gstreamer::media::TrackKind;
use crate::gstreamer::output::OutputState;
use crate::libav::readback::{self, Written};

/// What a report is made of.
pub(super) struct Made<'a> {
    pub(super) task: &'a Task,
    pub(super) plan: &'a Plan,
    pub(super) kinds: &'a [TrackKind],
    pub(super) ended: &'a Ended,
    /// Encoder of each rendition.
    pub(super) encoders: Vec<String>,
    pub(super) audio_codec: Option<&'static str>,
    pub(super) input_bytes: u64,
    pub(super) live: Option<LiveReport>,
    pub(super) warnings: Vec<String>,
}

impl Made<'_> {
    /// Checks the recordings and describes all.
    ///
    /// # Errors
    /// `verify_failed`, `canceled`, `storage`.
    pub(super) fn report(self, control: &Control, observer: &dyn Observer) -> Result<JobReport> {
        let files = self.files(control, observer)?;
        let tallies = &self.ended.tallies;
        let starts = tallies.iter().filter_map(|tally| tally.first);
        let first = starts.min().unwrap_or(0);
        let end = tallies.iter().map(|tally| tally.end).max().unwrap_or(0);
        let duration_seconds = seconds(end.saturating_sub(first));
        let output_bytes: u64 = files.iter().map(|file| file.size_bytes).sum();
        let sent: u64 = self.ended.pushes.iter().map(|state| state.bytes).sum();
        let size_bytes = files.first().map_or(sent, |file| file.size_bytes);
        let renditions = self.renditions();
        let has_pictures = self.kinds.first() == Some(&TrackKind::Video);
        Ok(JobReport {
            size_bytes,
            output_bytes: output_bytes + sent,
            duration_seconds,
            frames: if has_pictures { tallies.first().map_or(0, |tally| tally.packets) } else { 0 },
            input_bytes: self.input_bytes,
            hash: files.first().map(|file| file.hash.clone()),
            video_encoder: self.encoders.first().cloned(),
            video_codec: self.plan.renditions().first().map(|plan| plan.codec.as_str().to_owned()),
            resolution: self.plan.renditions().first().map(|plan| plan.size.to_string()),
            bit_rate: if duration_seconds > 0.0 { (size_bytes as f64 * 8.0 / duration_seconds) as u64 } else { 0 },
            files,
            renditions,
            live: self.live.map(Box::new),
            warnings: self.warnings,
            ..JobReport::default()
        })
    }

    fn files(&self, control: &Control, observer: &dyn Observer) -> Result<Vec<OutputFile>> {
        let directory = self.task.output.parent();
        let mut files = Vec::new();
        for (recording, state) in &self.ended.recordings {
            let path = &recording.path;
            if recording.is_package {
                files.extend(package_files(path)?);
                continue;
            }
            let (size_bytes, hash) = self.check(recording, state, control, observer)?;
            let relative = directory.and_then(|directory| path.strip_prefix(directory).ok()).unwrap_or(path);
            files.push(OutputFile { path: relative.to_string_lossy().into_owned(), size_bytes, hash });
        }
        Ok(files)
    }

    /// Reads a recording back: against what was written, or, where groups were dropped on the way, as
    /// a file that plays.
    fn check(
        &self,
        recording: &Recording,
        state: &OutputState,
        control: &Control,
        observer: &dyn Observer,
    ) -> Result<(u64, String)> {
        let (path, bounds) = (&recording.path, &self.task.bounds);
        if state.dropped_groups > 0 {
            plays(path, self.task, control)?;
            return readback::measure(path);
        }
        let written: Vec<Written> = recording.tracks.iter().filter_map(|track| self.written(*track)).collect();
        readback::verify(path, self.plan.container, &written, bounds, control, observer)
    }

    fn written(&self, track: usize) -> Option<Written> {
        let tally = self.ended.tallies.get(track).filter(|tally| tally.packets > 0)?;
        let rendition = self.plan.renditions().get(track);
        let (kind, codec, size) = match (self.kinds.get(track)?, rendition) {
            (TrackKind::Video, Some(plan)) => {
                (StreamKind::Video, plan.codec.as_str(), Some((plan.size.width, plan.size.height)))
            }
            _ => (StreamKind::Audio, self.audio_codec?, None),
        };
        let Tally { packets, first, end, longest, .. } = *tally;
        let (first, end, longest) = (seconds(first.unwrap_or(0)), seconds(end), seconds(longest));
        Some(Written { kind, codec: codec.to_owned(), size, packets, first, end, longest })
    }

    fn renditions(&self) -> Vec<RenditionReport> {
        let planned = self.plan.renditions().iter().zip(&self.encoders).zip(&self.ended.tallies);
        let each = planned.map(|((plan, encoder), tally)| RenditionReport {
            name: plan.name.clone(),
            resolution: plan.size.to_string(),
            video_encoder: encoder.clone(),
            frames: tally.packets,
            bit_rate: if tally.seconds() > 0.0 { (tally.bytes as f64 * 8.0 / tally.seconds()) as u64 } else { 0 },
        });
        each.collect()
    }
}

/// Every file of a package, the playlist that names all others first.
fn package_files(playlist: &Path) -> Result<Vec<OutputFile>> {
    let unreadable = |error: std::io::Error| {
        Error::new(Code::Storage, "the package cannot be read back").field("output").source(error)
    };
    let root = playlist.parent().unwrap_or(Path::new("."));
    let mut paths = vec![playlist.to_owned()];
    let mut left = vec![playlist.with_extension("")];
    while let Some(directory) = left.pop() {
        for entry in std::fs::read_dir(&directory).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_dir() { left.push(path) } else { paths.push(path) }
        }
    }
    paths[1..].sort();
    let file = |path: &std::path::PathBuf| {
        let (size_bytes, hash) = readback::measure(path)?;
        let relative = path.strip_prefix(root).unwrap_or(path).to_string_lossy().into_owned();
        Ok(OutputFile { path: relative, size_bytes, hash })
    };
    paths.iter().map(file).collect()
}

/// Whether a recording is media that a player reads.
fn plays(path: &Path, task: &Task, control: &Control) -> Result<()> {
    let info = readback::describe(path, &task.bounds, control)
        .map_err(|error| Error::new(Code::VerifyFailed, "the recording cannot be read back").source(error))?;
    let has_media = info.best_video().is_some() || info.audio().next().is_some();
    if has_media { Ok(()) } else { Err(Error::new(Code::VerifyFailed, "the recording has no media")) }
}
