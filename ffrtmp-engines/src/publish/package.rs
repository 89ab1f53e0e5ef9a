//! Outputs of several files: playlists with segments, ladders, stills.
//!
//! They are written into a hidden directory beside the target, with the names that they will have.
//! Publishing moves them out, the primary file last, so that whoever finds it finds all of them. What
//! they replace goes into the hidden directory and, if a later step fails, back again.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ffrtmp_core::error::Result;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use tempfile::{Builder, TempDir};

use super::existing::{self, Origin};
use super::{Published, PublishedFile, check_target, hidden_prefix, not_writable, place_of, refused};

#[cfg(test)]
mod tests;

/// End of the names of hidden directories.
const SUFFIX: &str = ".parts";
/// Holds what was replaced, where a file system cannot exchange names.
const REPLACED: &str = ".replaced";

/// A place for an output of several files that nobody sees yet. Dropped without
/// [`StagedPackage::commit`] it is removed; what a killed process left is removed by the next one
/// with the same target.
#[derive(Debug)]
pub struct StagedPackage {
    target: PathBuf,
    directory: PathBuf,
    name: OsString,
    origin: Option<Origin>,
    staging: TempDir,
    shown: Shown,
    // Locked while it is in use.
    _lock: File,
}

impl StagedPackage {
    /// Checks that the target can be written and makes a hidden directory, for this user only, in
    /// the target's own. The source, where it is a file, is never replaced.
    ///
    /// # Errors
    /// As [`Staged::new`](super::Staged::new); `output_is_input`.
    pub fn new(target: &Path, source: Option<&Path>) -> Result<Self> {
        let (directory, name) = place_of(target)?;
        let origin = source.and_then(Origin::of);
        if let Some(origin) = &origin {
            origin.spare(target)?;
        }
        let refuse = |error| refused(target, error);
        let prefix = hidden_prefix(name);
        sweep(&directory, &prefix).map_err(refuse)?;
        let mut builder = Builder::new();
        builder.prefix(&prefix).suffix(SUFFIX).rand_bytes(8).permissions(fs::Permissions::from_mode(0o700));
        loop {
            let staging = builder.tempdir_in(&directory).map_err(refuse)?;
            // Someone who sweeps may have been quicker.
            if let Some(lock) = lock(staging.path()).map_err(refuse)? {
                let name = name.to_owned();
                let (target, shown) = (target.to_owned(), Shown::default());
                return Ok(Self { target, directory, name, origin, staging, shown, _lock: lock });
            }
        }
    }

    /// Checks before any work is done that the directory of a manifest can be published.
    pub(super) fn check_segments(&self) -> Result<()> {
        let mut directory = self.target.with_extension("");
        if directory == self.target {
            directory.as_mut_os_string().push("_files");
        }
        match fs::symlink_metadata(&directory) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(refused(&directory, error)),
            Ok(there) => self.check_replaced(&directory, &there, true),
        }
    }

    /// Checks that what has the name of a file or directory of the package may go.
    fn check_replaced(&self, there: &Path, metadata: &Metadata, is_directory: bool) -> Result<()> {
        if metadata.is_symlink() {
            return Err(not_writable(there, "is a symbolic link"));
        }
        match is_directory {
            true if !metadata.is_dir() => return Err(not_writable(there, "is not a directory")),
            false if !metadata.is_file() => return Err(not_writable(there, "is not a regular file")),
            _ => {}
        }
        if let Some(origin) = &self.origin {
            origin.spare(there)?;
        }
        if is_directory { existing::check_directory(there, &self.name) } else { Ok(()) }
    }

    /// Lets others look at the target and the directory of its name while they are being made.
    pub(super) fn show(&mut self) -> Result<()> {
        let refuse = |error| refused(&self.target, error);
        self.check_segments()?;
        fs::set_permissions(self.staging.path(), fs::Permissions::from_mode(0o755)).map_err(refuse)?;
        let hidden = self.staging.path().file_name().unwrap_or_default();
        let stem = Path::new(&self.name).with_extension("").into_os_string();
        for name in [self.name.clone(), stem] {
            self.shown.link(&Path::new(hidden).join(&name), &self.directory.join(&name)).map_err(refuse)?;
        }
        Ok(())
    }

    /// The hidden directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.staging.path()
    }

    /// Where to write the primary file. Everything else goes beside it, at the top or in directories.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        self.staging.path().join(&self.name)
    }

    /// Makes all files durable and moves them beside the target, the primary one last. Directories
    /// of an earlier package of this name are replaced as a whole.
    ///
    /// # Errors
    /// `disk_full`, `storage`; `output_not_writable` where something of another kind, a symbolic link
    /// or a directory that is no such package has the name of a file or directory of this one;
    /// `output_is_input` where that is the source or holds it. Everything is then as it was before.
    pub fn commit(mut self) -> Result<Published> {
        self.shown.hide();
        let refuse = |error| refused(&self.target, error);
        self.mark().map_err(refuse)?;
        let mut files = Vec::new();
        sync(self.staging.path(), Path::new(""), &mut files).map_err(refuse)?;
        files.retain(|file| !existing::is_mark(&file.path));
        check_target(&self.target)?;
        if let Some(origin) = &self.origin {
            origin.spare(&self.target)?;
        }
        let mut moves = Moves::new(&self);
        moves.all()?;
        fs::rename(self.path(), &self.target).map_err(refuse)?;
        moves.done.clear();
        File::open(&self.directory).and_then(|directory| directory.sync_all()).map_err(refuse)?;
        let (primary, others): (Vec<_>, Vec<_>) =
            files.into_iter().partition(|file| file.path == Path::new(&self.name));
        let beside = |file: PublishedFile| PublishedFile { path: self.directory.join(file.path), ..file };
        Ok(Published {
            path: self.target.clone(),
            size_bytes: primary.first().map_or(0, |file| file.size_bytes),
            others: others.into_iter().map(beside).collect(),
        })
    }

    /// Takes names that are free for everything in it, with a number behind the stem, and has the primary
    /// file lead to them.
    pub(super) fn become_part(&mut self, number: u32) -> Result<()> {
        self.shown.hide();
        let refuse = |error| refused(&self.target, error);
        let stem = Path::new(&self.name).file_stem().unwrap_or_default().to_owned();
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(self.staging.path()).map_err(refuse)? {
            let name = entry.map_err(refuse)?.file_name();
            names.extend(name.as_bytes().starts_with(stem.as_bytes()).then_some(name));
        }
        let own = |name: &OsString, mark: &str| {
            let (stem, rest) = name.as_bytes().split_at(stem.len());
            OsString::from_vec([stem, mark.as_bytes(), rest].concat())
        };
        let is_free = |mark: &String| {
            names.iter().all(|name| fs::symlink_metadata(self.directory.join(own(name, mark))).is_err())
        };
        let mark = super::marks(number).find(is_free).ok_or_else(|| super::too_many_parts(&self.target))?;
        for name in &names {
            let place = |name: &OsString| self.staging.path().join(name);
            fs::rename(place(name), place(&own(name, &mark))).map_err(refuse)?;
        }
        self.name = own(&self.name, &mark);
        self.target = self.directory.join(&self.name);
        lead(&self.path(), &mark).map_err(|error| refused(&self.target, error))
    }

    fn mark(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.staging.path())? {
            let entry = entry?;
            if entry.file_type()?.is_dir() {
                existing::mark(&entry.path(), &self.name)?;
            }
        }
        Ok(())
    }
}

/// Puts a mark behind the directory that a playlist leads to. What is no playlist leads nowhere.
fn lead(playlist: &Path, mark: &str) -> io::Result<()> {
    const ATTRIBUTE: &str = "URI=\"";
    if playlist.extension().is_none_or(|extension| extension != "m3u8") {
        return Ok(());
    }
    let moved = |uri: &str| match uri.split_once('/') {
        Some((directory, rest)) => format!("{directory}{mark}/{rest}"),
        None => uri.to_owned(),
    };
    let line = |line: &str| match line.split_once(ATTRIBUTE) {
        Some((before, uri)) if line.starts_with('#') => format!("{before}{ATTRIBUTE}{}\n", moved(uri)),
        _ if line.starts_with('#') => format!("{line}\n"),
        _ => format!("{}\n", moved(line)),
    };
    let text: String = fs::read_to_string(playlist)?.lines().map(line).collect();
    fs::write(playlist, text)
}

/// Names that lead into the hidden directory. Dropped, they go.
#[derive(Debug, Default)]
struct Shown(Vec<PathBuf>);

impl Shown {
    /// What is there and is no such link is an earlier output: it stays until it is replaced.
    fn link(&mut self, to: &Path, at: &Path) -> io::Result<()> {
        match fs::read_link(at) {
            // Left by one that was killed.
            Ok(old) if old.components().count() == 2 && old.components().next().is_some_and(is_hidden) => {
                fs::remove_file(at)?;
            }
            _ => {}
        }
        match std::os::unix::fs::symlink(to, at) {
            Ok(()) => self.0.push(at.to_owned()),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn hide(&mut self) {
        for link in self.0.drain(..) {
            if let Err(error) = fs::remove_file(&link) {
                tracing::warn!(path = %link.display(), %error, "cannot remove the name of an unfinished output");
            }
        }
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.hide();
    }
}

fn is_hidden(part: std::path::Component<'_>) -> bool {
    part.as_os_str().to_str().is_some_and(|name| name.starts_with('.') && name.ends_with(SUFFIX))
}

/// Entries on their way out; what was moved goes back unless it is told to stay.
struct Moves<'a> {
    package: &'a StagedPackage,
    done: Vec<(OsString, Replaced)>,
}

/// What was at a name before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Replaced {
    Nothing,
    /// It has the name of the new one in the hidden directory.
    Exchanged,
    /// It is kept apart.
    Aside,
}

impl<'a> Moves<'a> {
    fn new(package: &'a StagedPackage) -> Self {
        Self { package, done: Vec::new() }
    }

    fn all(&mut self) -> Result<()> {
        let refuse = |error| refused(&self.package.target, error);
        let mut names: Vec<OsString> = Vec::new();
        for entry in fs::read_dir(self.package.staging.path()).map_err(refuse)? {
            names.push(entry.map_err(refuse)?.file_name());
        }
        names.sort();
        for name in names.into_iter().filter(|name| *name != self.package.name) {
            let replaced = self.place(&name)?;
            self.done.push((name, replaced));
        }
        Ok(())
    }

    fn place(&self, name: &OsString) -> Result<Replaced> {
        let (from, to) = self.ends(name);
        let refuse = |error| refused(&to, error);
        let is_directory = fs::symlink_metadata(&from).map_err(refuse)?.is_dir();
        match fs::symlink_metadata(&to) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                fs::rename(&from, &to).map(|()| Replaced::Nothing).map_err(refuse)
            }
            Err(error) => Err(refuse(error)),
            Ok(there) => {
                self.package.check_replaced(&to, &there, is_directory)?;
                self.exchange(name).map_err(refuse)
            }
        }
    }

    fn exchange(&self, name: &OsString) -> io::Result<Replaced> {
        let (from, to) = self.ends(name);
        match renameat_with(CWD, &from, CWD, &to, RenameFlags::EXCHANGE) {
            Ok(()) => return Ok(Replaced::Exchanged),
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS | rustix::io::Errno::OPNOTSUPP) => {}
            Err(error) => return Err(error.into()),
        }
        let aside = self.aside(name);
        fs::create_dir_all(self.package.staging.path().join(REPLACED))?;
        fs::rename(&to, &aside)?;
        fs::rename(&from, &to).inspect_err(|_| give_back(&aside, &to))?;
        Ok(Replaced::Aside)
    }

    fn ends(&self, name: &OsString) -> (PathBuf, PathBuf) {
        (self.package.staging.path().join(name), self.package.target.with_file_name(name))
    }

    fn aside(&self, name: &OsString) -> PathBuf {
        self.package.staging.path().join(REPLACED).join(name)
    }

    fn undo(&self, name: &OsString, replaced: Replaced) {
        let (from, to) = self.ends(name);
        match replaced {
            Replaced::Exchanged => {
                if let Err(error) = renameat_with(CWD, &from, CWD, &to, RenameFlags::EXCHANGE) {
                    tracing::error!(path = %to.display(), %error, "what an output replaced could not be put back");
                }
            }
            Replaced::Nothing => give_back(&to, &from),
            Replaced::Aside => {
                give_back(&to, &from);
                give_back(&self.aside(name), &to);
            }
        }
    }
}

impl Drop for Moves<'_> {
    fn drop(&mut self) {
        for (name, replaced) in self.done.iter().rev() {
            self.undo(name, *replaced);
        }
    }
}

fn give_back(from: &Path, to: &Path) {
    if let Err(error) = fs::rename(from, to) {
        tracing::error!(path = %to.display(), %error, "what an output moved could not be put back");
    }
}

/// Makes a tree durable and lists its files. Links and devices have no place in it.
fn sync(root: &Path, below: &Path, files: &mut Vec<PublishedFile>) -> io::Result<()> {
    let directory = root.join(below);
    for entry in fs::read_dir(&directory)? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync(root, &path, files)?;
        } else if kind.is_file() {
            let file = File::open(entry.path())?;
            file.sync_all()?;
            files.push(PublishedFile { path, size_bytes: file.metadata()?.len() });
        } else {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a package holds files and directories only"));
        }
    }
    files.sort_by(|one, other| one.path.cmp(&other.path));
    File::open(directory)?.sync_all()
}

/// Locks a directory, unless someone else has it or removed it.
fn lock(directory: &Path) -> io::Result<Option<File>> {
    let file = match File::open(directory) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(fs::exists(directory)?.then_some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes what killed processes left for the same target: nobody holds its lock.
fn sweep(directory: &Path, prefix: &OsString) -> io::Result<()> {
    let prefix = prefix.as_encoded_bytes();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let random = name.as_encoded_bytes().strip_prefix(prefix).and_then(|rest| rest.strip_suffix(SUFFIX.as_bytes()));
        let is_ours = random.is_some_and(|random| random.len() == 8) && entry.file_type()?.is_dir();
        if is_ours && let Some(_lock) = lock(&entry.path())? {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
