//! The work directory of an agent: its identity, its lock, a directory for each attempt that stages
//! its input, and what a crash left behind.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::id::{Fence, JobId, NodeId};
use rustix::fs::{FlockOperation, flock};

use super::journal::{Journal, Left, Note, PartOf};

/// A locked work directory.
#[derive(Debug)]
pub(super) struct WorkDir {
    root: PathBuf,
    node: NodeId,
    journal: Arc<Journal>,
    _lock: File,
}

impl WorkDir {
    /// Opens, or makes, a work directory for this process alone.
    ///
    /// # Errors
    /// `invalid_config` naming `work-dir` if another agent uses it; `storage` if it cannot be
    /// made or written.
    pub(super) fn open(root: &Path) -> Result<Self> {
        fs::create_dir_all(root).map_err(|error| broken(root, error))?;
        let root = root.canonicalize().map_err(|error| broken(root, error))?;
        let path = root.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| broken(&path, error))?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| in_use(&root))?;
        let node = identity(&root.join("node-id"))?;
        for part in ["attempts", "outputs"] {
            fs::create_dir_all(root.join(part)).map_err(|error| broken(&root, error))?;
        }
        remove_leftovers(&root)?;
        let journal = journal_of(&root);
        let journal = Journal::start(&journal).map_err(|error| broken(&journal, error))?;
        Ok(Self { root, node, journal, _lock: lock })
    }

    /// Opens the first of `BASE`, `BASE-2`, `BASE-3` … that no other agent uses.
    ///
    /// # Errors
    /// As [`WorkDir::open`], after 64 tries.
    pub(super) fn open_free(base: &Path) -> Result<Self> {
        let numbered =
            |n: u32| if n == 1 { base.to_path_buf() } else { PathBuf::from(format!("{}-{n}", base.display())) };
        for n in 1..64 {
            match Self::open(&numbered(n)) {
                Err(error) if error.code() == Code::InvalidConfig => {}
                other => return other,
            }
        }
        Err(in_use(base))
    }

    /// The identity kept here.
    #[must_use]
    pub(super) fn node(&self) -> NodeId {
        self.node
    }

    /// The directory itself.
    #[must_use]
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Where outputs go that have no place of their own.
    #[must_use]
    pub(super) fn outputs(&self) -> PathBuf {
        self.root.join("outputs")
    }

    /// A fresh directory for an attempt, removed when the value is dropped.
    ///
    /// # Errors
    /// `storage`, or `disk_full`.
    pub(super) fn attempt(&self, job: JobId, fence: Fence) -> Result<AttemptDir> {
        let path = self.root.join("attempts").join(format!("{job}-{fence}"));
        fs::create_dir_all(&path).map_err(|error| broken(&path, error))?;
        Ok(AttemptDir(path))
    }

    /// Notes a hidden output until the value is dropped: the next life removes it if this one does
    /// not, or publishes it as the part of an output that it may be.
    ///
    /// # Errors
    /// `storage`, or `disk_full`.
    pub(super) fn note(&self, hidden: &Path, part_of: Option<PartOf>) -> Result<Note> {
        self.journal.note(hidden, part_of).map_err(|error| broken(&journal_of(&self.root), error))
    }
}

fn journal_of(root: &Path) -> PathBuf {
    root.join("attempts.log")
}

/// Removes what attempts of an earlier life left: their directories and their hidden outputs. What was
/// recorded live is nowhere else and becomes a part.
fn remove_leftovers(root: &Path) -> Result<()> {
    let attempts = root.join("attempts");
    for entry in fs::read_dir(&attempts).map_err(|error| broken(&attempts, error))? {
        drop(AttemptDir(entry.map_err(|error| broken(&attempts, error))?.path()));
    }
    let journal = journal_of(root);
    let left = Journal::left(&journal).map_err(|error| broken(&journal, error))?;
    for Left { hidden, part_of } in left.into_iter().filter(|left| is_hidden(&left.hidden)) {
        if let Some(part_of) = part_of {
            rescue(&hidden, &part_of);
        }
        match remove_hidden(&hidden) {
            Ok(()) => tracing::info!(path = %hidden.display(), "removed the unfinished output of a lost attempt"),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %hidden.display(), %error, "cannot remove the unfinished output of a lost attempt");
            }
        }
    }
    Ok(())
}

fn rescue(hidden: &Path, part_of: &PartOf) {
    match ffrtmp_engines::publish::rescue_part(hidden, &part_of.output, part_of.number) {
        Ok(Some(published)) => {
            tracing::info!(path = %published.path.display(), "published what a lost attempt had recorded");
        }
        Ok(None) => {}
        Err(error) => {
            tracing::warn!(path = %hidden.display(), %error, "cannot publish what a lost attempt had recorded");
        }
    }
}

/// Whether it is a name of our own making.
fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with('.') && (name.ends_with(".part") || name.ends_with(".parts"))
}

/// Removes a hidden file, or the hidden directory of an output of several files.
fn remove_hidden(staged: &Path) -> std::io::Result<()> {
    // The measurements of an encode in two passes lie beside it.
    let mut passes = staged.as_os_str().to_owned();
    passes.push(".passes");
    if fs::symlink_metadata(&passes).is_ok_and(|metadata| metadata.is_dir()) {
        fs::remove_dir_all(&passes)?;
    }
    if fs::symlink_metadata(staged)?.is_dir() { fs::remove_dir_all(staged) } else { fs::remove_file(staged) }
}

/// The directory of one attempt.
#[derive(Debug)]
pub(super) struct AttemptDir(PathBuf);

impl AttemptDir {
    /// The directory itself.
    #[must_use]
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for AttemptDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(path = %self.0.display(), %error, "cannot remove an attempt's directory");
        }
    }
}

fn identity(path: &Path) -> Result<NodeId> {
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| {
            Error::new(Code::InvalidConfig, format!("{} does not hold a node id", path.display()))
                .hint("remove the file; the agent then registers as a new node")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let node = NodeId::random();
            let mut file = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(path)
                .map_err(|error| broken(path, error))?;
            writeln!(file, "{node}").and_then(|()| file.sync_all()).map_err(|error| broken(path, error))?;
            Ok(node)
        }
        Err(error) => Err(broken(path, error)),
    }
}

fn in_use(root: &Path) -> Error {
    Error::new(Code::InvalidConfig, format!("another agent uses {}", root.display()))
        .field("work-dir")
        .hint("give each agent its own --work-dir")
}

fn broken(path: &Path, error: std::io::Error) -> Error {
    let code = match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::DiskFull,
        _ => Code::Storage,
    };
    Error::new(code, format!("cannot use {}", path.display())).field("work-dir").source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_stays_and_a_second_agent_is_refused() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("agent");
        let first = WorkDir::open(&root).unwrap();
        let second = WorkDir::open(&root).unwrap_err();
        assert_eq!((second.code(), second.field_name()), (Code::InvalidConfig, Some("work-dir")));
        let other = WorkDir::open_free(&root).unwrap();
        assert_ne!(first.node(), other.node());
        let node = first.node();
        drop(first);
        assert_eq!(WorkDir::open(&root).unwrap().node(), node);
    }

    #[test]
    fn leftovers_of_a_crash_are_removed() {
        let base = tempfile::tempdir().unwrap();
        let root = base.path().join("agent");
        let dir = WorkDir::open(&root).unwrap();
        let staged = base.path().join(".out.mp4.x.part");
        let foreign = base.path().join("precious.mp4");
        for (n, path) in [&staged, &foreign].into_iter().enumerate() {
            fs::write(path, "x").unwrap();
            let attempt = dir.attempt(JobId::from_u128(n as u128), Fence(1)).unwrap();
            fs::write(attempt.path().join("input"), "half").unwrap();
            std::mem::forget((attempt, dir.note(path, None).unwrap()));
        }
        drop(dir);
        let dir = WorkDir::open(&root).unwrap();
        assert!(!staged.exists());
        assert!(foreign.exists(), "only temporary names of our own making are removed");
        assert_eq!(fs::read_dir(dir.root().join("attempts")).unwrap().count(), 0);
    }

    #[test]
    fn recordings_of_a_crash_become_parts() {
        let base = tempfile::tempdir().unwrap();
        let base = base.path().canonicalize().unwrap();
        let (root, output) = (base.join("agent"), base.join("match.mp4"));
        let dir = WorkDir::open(&root).unwrap();
        for (name, content) in
            [(".match.mp4.a.part", "media"), (".match.mp4.b.part", ""), (".match.mp4.c.part", "more")]
        {
            let hidden = base.join(name);
            fs::write(&hidden, content).unwrap();
            let part_of = Some(PartOf { number: 2, output: output.clone() });
            std::mem::forget(dir.note(&hidden, part_of).unwrap());
        }
        drop(dir);
        drop(WorkDir::open(&root).unwrap());
        let mut names: Vec<_> = fs::read_dir(&base).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["agent", "match.2-2.mp4", "match.2.mp4"]);
        assert_eq!(fs::read_to_string(base.join("match.2.mp4")).unwrap(), "media");
    }
}
