//! What a request may touch, and the place for what an attempt writes, made before anything foreign
//! is read: a confined child makes no names of its own beside the output.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use ffrtmp_core::encoding::Hardware;
use ffrtmp_core::engine::{Control, Source, Task};
use ffrtmp_core::sandbox::Reach;

/// What a task may touch; `memory` is the most that it may use, in bytes.
pub(super) fn of_task(task: &Task, memory: Option<u64>) -> Reach {
    Reach {
        write: writes(task),
        network: matches!(task.source, Source::Live(_)) || task.live.as_ref().is_some_and(|live| !live.push.is_empty()),
        gpu: task.request.parameters.hardware != Some(Hardware::Off) && has_gpu(),
        max_file_bytes: task.bounds.max_output_bytes,
        ..of_source(&task.source, memory)
    }
}

/// What may be touched by a look at a source.
pub(super) fn of_source(source: &Source, memory: Option<u64>) -> Reach {
    let read = match source {
        Source::File(path) => vec![path.clone()],
        Source::Generated(_) | Source::Live(_) => Vec::new(),
    };
    let network = matches!(source, Source::Live(_));
    Reach { read, network, max_memory_bytes: memory, ..Reach::default() }
}

/// What may be touched by test encodes.
pub(super) fn of_trial() -> Reach {
    Reach { gpu: has_gpu(), ..Reach::default() }
}

/// Whether there is a device that an encoder might drive.
fn has_gpu() -> bool {
    ["/dev/dri", "/dev/nvidiactl", "/dev/kfd"].iter().any(|device| Path::new(device).exists())
}

/// Files and directories that a task writes and that exist.
pub(super) fn writes(task: &Task) -> Vec<PathBuf> {
    let places = match task.output.parent() {
        // Several files, with names that the engine chooses; the directory is the attempt's own.
        Some(directory) if task.request.may_be_package() => vec![directory.to_owned()],
        _ => vec![task.output.clone(), scratch_beside(&task.output)],
    };
    places.into_iter().filter(|place| fs::symlink_metadata(place).is_ok()).collect()
}

/// The directory for what an encode in two passes or in chunks puts aside.
pub(super) fn scratch_beside(output: &Path) -> PathBuf {
    let mut path = output.as_os_str().to_owned();
    path.push(".passes");
    path.into()
}

/// The output and the directory beside it. Dropped, the directory goes, and so does the output
/// unless it was [kept](Place::keep).
#[derive(Debug)]
pub(super) struct Place<'a> {
    task: &'a Task,
    scratch: Option<PathBuf>,
    kept: bool,
}

impl<'a> Place<'a> {
    /// Makes what is missing of both. What cannot be made is for the engine to find out, which knows
    /// how to say it.
    pub(super) fn make(task: &'a Task) -> Self {
        // Only a file that was not there is made, and never through a link.
        let _ = OpenOptions::new().write(true).create_new(true).open(&task.output);
        let scratch = (!task.request.may_be_package()).then(|| scratch_beside(&task.output));
        let scratch = scratch.filter(|path| DirBuilder::new().mode(0o700).create(path).is_ok());
        Self { task, scratch, kept: false }
    }

    /// Keeps the output.
    pub(super) fn keep(mut self) {
        self.kept = true;
    }

    /// Keeps what a live attempt recorded before it went wrong, unless it was told to stop at once.
    pub(super) fn keep_recording(mut self, control: &Control) {
        let is_wanted = control.is_finishing() || !control.is_canceled();
        let has_media = || fs::metadata(&self.task.output).is_ok_and(|facts| facts.len() > 0);
        self.kept = self.task.live.is_some() && is_wanted && has_media();
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(scratch) = &self.scratch {
            complain(scratch, fs::remove_dir_all(scratch));
        }
        let output = &self.task.output;
        // A device or directory that was named by mistake stays.
        let is_file = || fs::symlink_metadata(output).is_ok_and(|it| it.is_file());
        if !self.kept && is_file() && !is_source(self.task) {
            complain(output, fs::remove_file(output));
        }
    }
}

/// Whether the output is the source itself, which no failure removes.
fn is_source(task: &Task) -> bool {
    let same = |source: &Path| match (fs::metadata(source), fs::metadata(&task.output)) {
        (Ok(source), Ok(output)) => (source.dev(), source.ino()) == (output.dev(), output.ino()),
        _ => false,
    };
    matches!(&task.source, Source::File(source) if same(source))
}

fn complain(path: &Path, removed: std::io::Result<()>) {
    match removed {
        Err(error) if !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            tracing::warn!(path = %path.display(), %error, "cannot remove what an attempt left");
        }
        _ => {}
    }
}
