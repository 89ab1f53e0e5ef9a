//! Outputs appear whole or not at all.
//!
//! An attempt writes to a hidden name beside the target; [`Staged::commit`] makes it durable and
//! renames it. What the name says about the format does not matter here: the plan decides. An output
//! of several files is a [`StagedPackage`].

mod existing;
mod package;

use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::job::JobReport;
use ffrtmp_core::media::Container;
use ffrtmp_core::plan::OutputRequest;
use tempfile::{Builder, TempPath};

use self::existing::Origin;
pub use self::package::StagedPackage;

/// Longest piece of the target's name in the hidden one, in bytes; file systems stop at 255.
const MAX_NAME: usize = 128;

/// Parts of an output that may have the same number.
const MAX_PARTS: u32 = 1000;

/// A place for an output that nobody sees yet. Dropped without [`Staged::commit`] it is removed.
#[derive(Debug)]
pub struct Staged {
    target: PathBuf,
    directory: PathBuf,
    temporary: TempPath,
}

/// An output that is visible and durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// What was published beside it.
    pub others: Vec<PublishedFile>,
}

/// A file that came with an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedFile {
    /// Where it is.
    pub path: PathBuf,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// A place for the output of a job: one file, or several that belong together.
#[derive(Debug)]
pub enum Staging {
    /// One file.
    File(Staged),
    /// A directory with the primary file and what lies beside it.
    Package(StagedPackage),
}

impl Staging {
    /// A place for what is asked for. The source, where it is a file, is never replaced.
    ///
    /// # Errors
    /// As [`Staged::new`]; `output_not_writable` also where the directory of a manifest would replace
    /// one that is no package of the same name; `output_is_input`.
    pub fn new(target: &Path, request: &OutputRequest, source: Option<&Path>) -> Result<Self> {
        if !request.may_be_package() {
            let staged = Staged::new(target)?;
            source.and_then(Origin::of).map_or(Ok(()), |origin| origin.spare(target))?;
            return Ok(Self::File(staged));
        }
        let package = StagedPackage::new(target, source)?;
        if request.parameters.container.or(request.container).is_some_and(Container::is_segmented) {
            package.check_segments()?;
        }
        Ok(Self::Package(package))
    }

    /// Where to write the primary file.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        match self {
            Self::File(staged) => staged.path().to_owned(),
            Self::Package(staged) => staged.path(),
        }
    }

    /// The report of an engine that wrote here, with the names that the files will have.
    #[must_use]
    pub fn named(&self, mut report: JobReport) -> JobReport {
        if let Self::File(staged) = self {
            let (hidden, own) = (staged.path().file_name(), staged.target.file_name());
            for file in report.files.iter_mut().filter(|file| Some(OsStr::new(&file.path)) == hidden) {
                file.path = own.unwrap_or_default().to_string_lossy().into_owned();
            }
        }
        report
    }

    /// The hidden file or directory that is left if this process is killed.
    #[must_use]
    pub fn hidden(&self) -> PathBuf {
        match self {
            Self::File(staged) => staged.path().to_owned(),
            Self::Package(staged) => staged.directory().to_owned(),
        }
    }

    /// Lets others look at a package while it is being made: the target, and the directory of its name,
    /// lead into the hidden directory until [`Staging::commit`] or the end of the attempt. A single file
    /// stays hidden.
    ///
    /// # Errors
    /// `output_not_writable`, `storage`.
    pub fn show(&mut self) -> Result<()> {
        match self {
            Self::File(_) => Ok(()),
            Self::Package(staged) => staged.show(),
        }
    }

    /// Makes everything durable and visible, the primary file last.
    ///
    /// # Errors
    /// As [`Staged::commit`] and [`StagedPackage::commit`].
    pub fn commit(self) -> Result<Published> {
        match self {
            Self::File(staged) => staged.commit(),
            Self::Package(staged) => staged.commit(),
        }
    }

    /// Whether something was written to the primary file.
    #[must_use]
    pub fn has_content(&self) -> bool {
        fs::metadata(self.path()).is_ok_and(|facts| facts.is_file() && facts.len() > 0)
    }

    /// Makes durable and visible what is only a part of the output: beside the target, with `number` in
    /// front of the extension. Nothing is replaced; where the name is taken, it gets another one.
    ///
    /// # Errors
    /// As [`Staging::commit`].
    pub fn commit_part(self, number: u32) -> Result<Published> {
        match self {
            Self::File(staged) => staged.commit_part(number),
            Self::Package(mut staged) => {
                staged.become_part(number)?;
                staged.commit()
            }
        }
    }
}

/// What stands behind the stem of the name of a part: the number, and another one for each that is
/// taken.
fn marks(number: u32) -> impl Iterator<Item = String> {
    std::iter::once(format!(".{number}")).chain((2..=MAX_PARTS).map(move |more| format!(".{number}-{more}")))
}

/// A name with a mark behind its stem.
fn marked(name: &OsStr, mark: &str) -> OsString {
    let name = Path::new(name);
    let mut marked = name.file_stem().unwrap_or_default().to_owned();
    marked.push(mark);
    if let Some(extension) = name.extension() {
        marked.push(".");
        marked.push(extension);
    }
    marked
}

impl Staged {
    /// Checks that the target can be written and takes a hidden name in its directory. An existing
    /// regular file at the target stays as it is until [`Staged::commit`] replaces it.
    ///
    /// # Errors
    /// `output_directory_missing`; `output_not_writable` for a target that is a directory, a device,
    /// a FIFO or a symbolic link to one, or in a directory without write permission; `disk_full`.
    pub fn new(target: &Path) -> Result<Self> {
        let (directory, name) = place_of(target)?;
        let temporary = Builder::new()
            .prefix(&hidden_prefix(name))
            .suffix(".part")
            .rand_bytes(8)
            .permissions(permissions(target))
            .tempfile_in(&directory)
            .map_err(|error| refused(target, error))?
            .into_temp_path();
        Ok(Self { target: target.to_owned(), directory, temporary })
    }

    /// Where to write. The file exists and is empty.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.temporary
    }

    /// Makes the output durable and puts it in the target's place, atomically.
    ///
    /// # Errors
    /// `disk_full`, `storage`, `output_not_writable`; the target is then as it was before.
    pub fn commit(self) -> Result<Published> {
        let size_bytes = self.sync()?;
        let Self { target, directory, temporary } = self;
        // It may have become a directory or a device meanwhile.
        check_target(&target)?;
        temporary.persist(&target).map_err(|error| refused(&target, error.error))?;
        File::open(&directory).and_then(|directory| directory.sync_all()).map_err(|error| refused(&target, error))?;
        Ok(Published { path: target, size_bytes, others: Vec::new() })
    }

    /// As [`Staging::commit_part`].
    fn commit_part(self, number: u32) -> Result<Published> {
        let size_bytes = self.sync()?;
        let Self { target, directory, mut temporary } = self;
        let refuse = |error| refused(&target, error);
        for mark in marks(number) {
            let path = target.with_file_name(marked(target.file_name().unwrap_or_default(), &mark));
            match temporary.persist_noclobber(&path) {
                Ok(()) => {
                    File::open(&directory).and_then(|directory| directory.sync_all()).map_err(refuse)?;
                    return Ok(Published { path, size_bytes, others: Vec::new() });
                }
                Err(taken) if taken.error.kind() == ErrorKind::AlreadyExists => temporary = taken.path,
                Err(failed) => return Err(refuse(failed.error)),
            }
        }
        Err(too_many_parts(&target))
    }

    /// Makes what was written durable; its size in bytes.
    fn sync(&self) -> Result<u64> {
        let refuse = |error| refused(&self.target, error);
        let file = File::open(&self.temporary).map_err(refuse)?;
        file.sync_all().map_err(refuse)?;
        Ok(file.metadata().map_err(refuse)?.len())
    }
}

/// Publishes what a process that was killed had recorded under a hidden name, as
/// [`Staging::commit_part`] does; `None` where nothing is there. What cannot be published is removed.
///
/// # Errors
/// As [`Staging::commit`].
pub fn rescue_part(hidden: &Path, target: &Path, number: u32) -> Result<Option<Published>> {
    if !fs::symlink_metadata(hidden).is_ok_and(|facts| facts.is_file() && facts.len() > 0) {
        return Ok(None);
    }
    let temporary = TempPath::try_from_path(hidden).map_err(|error| refused(target, error))?;
    let (directory, _) = place_of(target)?;
    Staged { target: target.to_owned(), directory, temporary }.commit_part(number).map(Some)
}

fn too_many_parts(target: &Path) -> Error {
    not_writable(target, "has too many parts beside it")
}

/// Directory and name of a target that may be written.
fn place_of(target: &Path) -> Result<(PathBuf, &OsStr)> {
    let Some(name) = target.file_name() else {
        return Err(not_writable(target, "names no file"));
    };
    let directory = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    check_directory(&directory)?;
    check_target(target)?;
    Ok((directory, name))
}

/// `.NAME.` of the target, cut to a length that every file system takes.
fn hidden_prefix(name: &OsStr) -> OsString {
    let name = name.to_string_lossy();
    let mut end = name.len().min(MAX_NAME);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    OsString::from(format!(".{}.", &name[..end]))
}

/// What a new file of this process would get: temporary files are private otherwise.
fn permissions(target: &Path) -> fs::Permissions {
    use std::os::unix::fs::PermissionsExt;
    let existing = fs::metadata(target).map(|metadata| metadata.permissions().mode() & 0o777);
    fs::Permissions::from_mode(existing.unwrap_or(0o666))
}

fn check_directory(directory: &Path) -> Result<()> {
    let missing = |what: &str| {
        Error::new(Code::OutputDirectoryMissing, format!("{} {what}", directory.display())).field("output")
    };
    match fs::metadata(directory) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(missing("is not a directory")),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Err(missing("does not exist"))
        }
        Err(error) => Err(refused(directory, error)),
    }
}

fn check_target(target: &Path) -> Result<()> {
    match fs::symlink_metadata(target) {
        Ok(metadata) if metadata.is_file() => check_writable(target),
        Ok(metadata) if metadata.is_dir() => Err(not_writable(target, "is a directory")),
        Ok(metadata) if metadata.is_symlink() => Err(not_writable(target, "is a symbolic link")),
        Ok(_) => Err(not_writable(target, "is not a regular file")),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refused(target, error)),
    }
}

/// A file that its owner protected shall not be replaced by way of its directory.
fn check_writable(target: &Path) -> Result<()> {
    OpenOptions::new().write(true).open(target).map(drop).map_err(|error| refused(target, error))
}

fn not_writable(target: &Path, what: &str) -> Error {
    Error::new(Code::OutputNotWritable, format!("{} {what}", target.display())).field("output")
}

fn refused(target: &Path, error: io::Error) -> Error {
    let code = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Code::DiskFull,
        ErrorKind::PermissionDenied
        | ErrorKind::ReadOnlyFilesystem
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::IsADirectory => Code::OutputNotWritable,
        ErrorKind::NotFound => Code::OutputDirectoryMissing,
        _ => Code::Storage,
    };
    Error::new(code, format!("{} cannot be written", target.display())).field("output").source(error)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn an_output_is_invisible_until_it_is_committed() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("clip.mp4");
        fs::write(&target, "old").unwrap();
        let staged = Staged::new(&target).unwrap();
        fs::write(staged.path(), "new and longer").unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"old");
        let published = staged.commit().unwrap();
        assert_eq!(published, Published { path: target.clone(), size_bytes: 14, others: Vec::new() });
        assert_eq!(fs::read(&target).unwrap(), b"new and longer");
        assert_eq!(names(directory.path()), ["clip.mp4"]);
    }

    #[test]
    fn a_dropped_attempt_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let staged = Staged::new(&directory.path().join("clip.mp4")).unwrap();
        fs::write(staged.path(), "half").unwrap();
        let hidden = names(directory.path());
        assert!(hidden.len() == 1 && hidden[0].starts_with(".clip.mp4."), "{hidden:?}");
        drop(staged);
        assert!(names(directory.path()).is_empty());
    }

    #[test]
    fn parts_lie_beside_the_target_and_replace_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("clip.mp4"), "whole").unwrap();
        for name in ["clip.2.mp4", "clip.2-2.mp4", "clip.2-3.mp4"] {
            let staging = Staging::File(Staged::new(&path("clip.mp4")).unwrap());
            assert!(!staging.has_content());
            fs::write(staging.path(), name).unwrap();
            assert!(staging.has_content());
            assert_eq!(staging.commit_part(2).unwrap().path, path(name));
        }
        assert_eq!(fs::read_to_string(path("clip.mp4")).unwrap(), "whole");
        assert_eq!(fs::read_to_string(path("clip.2.mp4")).unwrap(), "clip.2.mp4");
    }

    #[test]
    fn the_part_of_a_package_leads_to_its_own_segments() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("a film.3"), "somebody's").unwrap();
        let mut staging = Staging::Package(StagedPackage::new(&path("a film.m3u8"), None).unwrap());
        staging.show().unwrap();
        fs::create_dir_all(staging.path().with_extension("").join("1080p")).unwrap();
        let text = "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"a%20film/audio/index.m3u8\"\na%20film/1080p/index.m3u8\n";
        fs::write(staging.path(), text).unwrap();
        let published = staging.commit_part(3).unwrap();
        assert_eq!(published.path, path("a film.3-2.m3u8"));
        assert!(path("a film.3-2/1080p").is_dir());
        assert_eq!(
            fs::read_to_string(published.path).unwrap(),
            text.replace("a%20film/", "a%20film.3-2/"),
            "in every line"
        );
        let mut left = names(directory.path());
        left.sort();
        assert_eq!(left, ["a film.3", "a film.3-2", "a film.3-2.m3u8"]);
    }

    #[test]
    fn long_and_strange_names_are_taken() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["ä".repeat(127), "-i;%d\n\u{202e}🎬".to_owned(), "x".repeat(255)] {
            let target = directory.path().join(&name);
            let staged = Staged::new(&target).unwrap();
            fs::write(staged.path(), "x").unwrap();
            assert_eq!(staged.commit().unwrap().path, target);
        }
    }

    #[test]
    fn bad_targets_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        fs::write(path("file"), "x").unwrap();
        symlink("/dev/null", path("link")).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, path("fifo"), rustix::fs::Mode::RWXU).unwrap();
        for (target, code) in [
            (path("missing/clip.mp4"), Code::OutputDirectoryMissing),
            (path("file/clip.mp4"), Code::OutputDirectoryMissing),
            (directory.path().to_owned(), Code::OutputNotWritable),
            (path("link"), Code::OutputNotWritable),
            (path("fifo"), Code::OutputNotWritable),
            (path(&"x".repeat(300)), Code::OutputNotWritable),
            (PathBuf::from("/"), Code::OutputNotWritable),
            (PathBuf::from("/dev/null"), Code::OutputNotWritable),
            (PathBuf::from("/proc/clip.mp4"), Code::OutputDirectoryMissing),
        ] {
            let error = Staged::new(&target).unwrap_err();
            assert_eq!((error.code(), error.field_name()), (code, Some("output")), "{target:?}: {error}");
        }
    }
}
