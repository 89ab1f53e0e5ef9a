//! Outputs of several files: playlists with segments, ladders, stills.
//!
//! They are written into a hidden directory beside the target, with the names that they will have.
//! Publishing moves them out, the primary file last, so that whoever finds it finds all of them. What
//! they replace goes into the hidden directory and, if a later step fails, back again.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ffrtmp_core::error::Result;
use rustix::fs::{CWD, FlockOperation, RenameFlags, flock, renameat_with};
use tempfile::{Builder, TempDir};

use super::{Published, PublishedFile, check_target, hidden_prefix, not_writable, place_of, refused};

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
    staging: TempDir,
    // Locked while it is in use.
    _lock: File,
}

impl StagedPackage {
    /// Checks that the target can be written and makes a hidden directory, for this user only, in
    /// the target's own.
    ///
    /// # Errors
    /// As [`Staged::new`](super::Staged::new).
    pub fn new(target: &Path) -> Result<Self> {
        let (directory, name) = place_of(target)?;
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
                return Ok(Self { target: target.to_owned(), directory, name, staging, _lock: lock });
            }
        }
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
    /// that exist are replaced as a whole.
    ///
    /// # Errors
    /// `disk_full`, `storage`; `output_not_writable` where something of another kind, or a symbolic
    /// link, has the name of a file or directory of the package. Everything is then as it was before.
    pub fn commit(self) -> Result<Published> {
        let refuse = |error| refused(&self.target, error);
        let mut files = Vec::new();
        sync(self.staging.path(), Path::new(""), &mut files).map_err(refuse)?;
        check_target(&self.target)?;
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
            Ok(there) if there.is_symlink() => Err(not_writable(&to, "is a symbolic link")),
            Ok(there) if is_directory && !there.is_dir() => Err(not_writable(&to, "is not a directory")),
            Ok(there) if !is_directory && !there.is_file() => Err(not_writable(&to, "is not a regular file")),
            Ok(_) => self.exchange(name).map_err(refuse),
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
        (self.package.staging.path().join(name), self.package.directory.join(name))
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

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use ffrtmp_core::error::Code;

    use super::*;

    /// Every file below a directory with its content, hidden ones too.
    fn tree(root: &Path) -> Vec<(String, String)> {
        let mut files = Vec::new();
        sync(root, Path::new(""), &mut files).unwrap();
        let content = |path: &Path| fs::read_to_string(root.join(path)).unwrap();
        files.iter().map(|file| (file.path.display().to_string(), content(&file.path))).collect()
    }

    fn files(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|(path, content)| ((*path).to_owned(), (*content).to_owned())).collect()
    }

    fn fill(package: &StagedPackage, list: &[(&str, &str)]) {
        for (path, content) in list {
            let path = package.path().with_file_name("").join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    const NEW: &[(&str, &str)] = &[("720p/1.ts", "a"), ("720p/2.ts", "bc"), ("film.m3u8", "list"), ("poster.jpg", "p")];
    const OLD: &[(&str, &str)] =
        &[("720p/1.ts", "old"), ("720p/9.ts", "old"), ("film.m3u8", "old"), ("poster.jpg", "old")];

    #[test]
    fn a_package_appears_whole_and_replaces_an_older_one() {
        let root = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let package = StagedPackage::new(&root.path().join("film.m3u8")).unwrap();
            let hidden = package.path().parent().unwrap().metadata().unwrap();
            assert_eq!(hidden.permissions().mode() & 0o777, 0o700);
            fill(&package, NEW);
            let published = package.commit().unwrap();
            assert_eq!((published.path, published.size_bytes), (root.path().join("film.m3u8"), 4));
            let others: Vec<_> = published.others.iter().map(|file| (file.path.clone(), file.size_bytes)).collect();
            let beside = |name: &str, size| (root.path().join(name), size);
            assert_eq!(others, [beside("720p/1.ts", 1), beside("720p/2.ts", 2), beside("poster.jpg", 1)]);
            assert_eq!(tree(root.path()), files(NEW));
            // The second time there is something to replace.
            for (path, content) in OLD {
                fs::write(root.path().join(path), content).unwrap();
            }
        }
    }

    #[test]
    fn what_cannot_be_published_changes_nothing() {
        type Obstacle = fn(&Path);
        let obstacles: [(&str, Obstacle); 4] = [
            ("a link for a file", |root| {
                fs::remove_file(root.join("poster.jpg")).unwrap();
                symlink("film.m3u8", root.join("poster.jpg")).unwrap();
            }),
            ("a directory for a file", |root| {
                fs::remove_file(root.join("poster.jpg")).unwrap();
                fs::create_dir(root.join("poster.jpg")).unwrap();
            }),
            ("a file for a directory", |root| {
                fs::remove_dir_all(root.join("720p")).unwrap();
                fs::write(root.join("720p"), "file").unwrap();
            }),
            ("a directory for the primary", |root| {
                fs::remove_file(root.join("film.m3u8")).unwrap();
                fs::create_dir(root.join("film.m3u8")).unwrap();
            }),
        ];
        for (what, obstacle) in obstacles {
            let root = tempfile::tempdir().unwrap();
            let package = StagedPackage::new(&root.path().join("film.m3u8")).unwrap();
            fill(&package, NEW);
            fs::create_dir(root.path().join("720p")).unwrap();
            for (path, content) in OLD {
                fs::write(root.path().join(path), content).unwrap();
            }
            obstacle(root.path());
            let names = || {
                let entries = fs::read_dir(root.path()).unwrap().map(|entry| entry.unwrap());
                let mut names: Vec<_> = entries.map(|entry| (entry.file_name(), entry.file_type().unwrap())).collect();
                names.retain(|(name, _)| !name.as_encoded_bytes().starts_with(b"."));
                names.sort_by(|one, other| one.0.cmp(&other.0));
                names
            };
            let before = names();
            assert_eq!(package.commit().unwrap_err().code(), Code::OutputNotWritable, "{what}");
            assert_eq!(names(), before, "{what}");
            if root.path().join("720p").is_dir() {
                assert_eq!(tree(&root.path().join("720p")), files(&[("1.ts", "old"), ("9.ts", "old")]), "{what}");
            }
            assert_eq!(fs::read_dir(root.path()).unwrap().count(), before.len(), "{what}");
        }
    }

    #[test]
    fn a_package_without_its_primary_file_is_not_published() {
        let root = tempfile::tempdir().unwrap();
        let package = StagedPackage::new(&root.path().join("film.m3u8")).unwrap();
        fill(&package, &[("720p/1.ts", "a")]);
        package.commit().unwrap_err();
        assert!(tree(root.path()).is_empty());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_process_left_is_swept_by_the_next() {
        let root = tempfile::tempdir().unwrap();
        let target = root.path().join("film.m3u8");
        let alive = StagedPackage::new(&target).unwrap();
        let killed = root.path().join(".film.m3u8.abcdefgh.parts");
        fs::create_dir(&killed).unwrap();
        fs::write(killed.join("1.ts"), "half").unwrap();
        let other = root.path().join(".film.m3u8.notours");
        fs::create_dir(&other).unwrap();
        let next = StagedPackage::new(&target).unwrap();
        assert!(!killed.exists() && other.exists() && alive.path().parent().unwrap().exists());
        drop((alive, next));
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1);
    }
}
