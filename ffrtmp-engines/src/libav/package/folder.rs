//! The files of a package: created new, never through a link, and counted against one ledger.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use ffrtmp_core::error::{Code, Error, Result};
use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, renameat, unlinkat};
use rustix::io::Errno;

use crate::libav::fault::file_failed;

/// Where a package lies: the manifest, and the directory with all the rest next to it.
#[derive(Debug)]
pub(super) struct Place {
    /// Directory of the manifest.
    root: OwnedFd,
    root_path: PathBuf,
    manifest: OsString,
    directory: OsString,
    /// Whether the directory is ours to remove: made by us, and the package is not finished.
    unfinished: bool,
    /// Whether the manifest is there already, since the package grows.
    announced: bool,
}

/// All files so far and their bytes, and how many bytes there may be.
#[derive(Debug)]
pub(super) struct Ledger {
    files: Vec<PathBuf>,
    written: u64,
    limit: Option<u64>,
}

impl Ledger {
    pub(super) fn new(limit: Option<u64>) -> Self {
        Self { files: Vec::new(), written: 0, limit }
    }

    pub(super) fn written(&self) -> u64 {
        self.written
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// Bytes that are gone again.
    #[cfg(feature = "gstreamer")]
    fn release(&mut self, bytes: u64) {
        self.written = self.written.saturating_sub(bytes);
    }

    fn spend(&mut self, bytes: usize) -> Result<()> {
        let written = self.written.saturating_add(bytes as u64);
        if self.limit.is_some_and(|limit| written > limit) {
            let what = "the output grew beyond its size limit";
            return Err(Error::new(Code::DiskQuotaExceeded, what).field("max_disk_mb"));
        }
        self.written = written;
        Ok(())
    }
}

impl Place {
    /// Makes the directory. It has the manifest's name without its extension.
    pub(super) fn make(manifest: &Path) -> Result<Self> {
        let unnamed = || Error::new(Code::InvalidField, "the output names no file").field("output");
        let name = manifest.file_name().ok_or_else(unnamed)?.to_owned();
        let mut directory = manifest.file_stem().ok_or_else(unnamed)?.to_owned();
        if directory == name {
            directory.push("_files");
        }
        let root_path = manifest.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // The directory of the output is the caller's choice, links included.
        let root = openat(CWD, root_path, OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::RDONLY, Mode::empty());
        let root = root.map_err(|error| file_failed(error.into()))?;
        mkdirat(&root, &directory, Mode::from_raw_mode(0o777)).map_err(|error| match error {
            Errno::EXIST => exists(&directory),
            error => file_failed(error.into()),
        })?;
        Ok(Self {
            root,
            root_path: root_path.to_owned(),
            manifest: name,
            directory,
            unfinished: true,
            announced: false,
        })
    }

    pub(super) fn directory(&self) -> PathBuf {
        self.root_path.join(&self.directory)
    }

    /// How the manifest refers to the directory: its name as part of a URI.
    pub(super) fn reference(&self) -> String {
        uri(self.directory.as_encoded_bytes())
    }

    pub(super) fn manifest(&self) -> PathBuf {
        self.root_path.join(&self.manifest)
    }

    /// The directory, to be filled.
    pub(super) fn open(&self) -> Result<Folder> {
        Folder::open(&self.root, &self.directory, self.directory())
    }

    /// Replaces the manifest, of which there were `before` bytes, by a newer one.
    #[cfg(feature = "gstreamer")]
    pub(super) fn renew(&mut self, text: &str, before: u64, ledger: &mut Ledger) -> Result<()> {
        let root = Folder { directory: self.root.try_clone().map_err(file_failed)?, path: self.root_path.clone() };
        root.put(&self.manifest, text, ledger)?;
        self.announced = true;
        ledger.release(before);
        Ok(())
    }

    /// Everything is there, and stays.
    #[cfg(feature = "gstreamer")]
    pub(super) fn complete(&mut self) {
        self.unfinished = false;
    }

    /// Writes the manifest and ends the package.
    pub(super) fn publish(&mut self, text: &str, ledger: &mut Ledger) -> Result<()> {
        let root = Folder { directory: self.root.try_clone().map_err(file_failed)?, path: self.root_path.clone() };
        root.replace(&self.manifest, text, ledger)?;
        self.unfinished = false;
        Ok(())
    }
}

fn exists(directory: &OsStr) -> Error {
    let what = format!("the directory of the package, {}, exists already", directory.display());
    Error::new(Code::OutputNotWritable, what).field("output").hint("remove it, or name the manifest differently")
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.unfinished
            && self.announced
            && let Err(error) = unlinkat(&self.root, &self.manifest, AtFlags::empty())
        {
            tracing::warn!(path = %self.manifest().display(), %error, "an unfinished playlist could not be removed");
        }
        if self.unfinished
            && let Err(error) = fs::remove_dir_all(self.directory())
        {
            tracing::warn!(path = %self.directory().display(), %error, "an unfinished package could not be removed");
        }
    }
}

/// A directory of a package.
#[derive(Debug)]
pub(super) struct Folder {
    directory: OwnedFd,
    path: PathBuf,
}

impl Folder {
    fn open(parent: &OwnedFd, name: impl rustix::path::Arg, path: PathBuf) -> Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
        let directory = openat(parent, name, flags, Mode::empty()).map_err(|error| file_failed(error.into()))?;
        Ok(Self { directory, path })
    }

    /// Makes a directory in it.
    pub(super) fn make(&self, name: &str) -> Result<Self> {
        mkdirat(&self.directory, name, Mode::from_raw_mode(0o777)).map_err(|error| file_failed(error.into()))?;
        Self::open(&self.directory, name, self.path.join(name))
    }

    /// Begins a file that must not exist yet.
    pub(super) fn create(&self, name: &str, ledger: &mut Ledger) -> Result<Piece> {
        let piece = self.begin(name)?;
        ledger.files.push(self.path.join(name));
        Ok(piece)
    }

    fn begin(&self, name: &str) -> Result<Piece> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = openat(&self.directory, name, flags, Mode::from_raw_mode(0o666));
        Ok(Piece { file: File::from(file.map_err(|error| file_failed(error.into()))?), length: 0 })
    }

    /// Writes a whole file.
    pub(super) fn write(&self, name: &str, bytes: &[u8], ledger: &mut Ledger) -> Result<()> {
        self.create(name, ledger)?.append(bytes, ledger)
    }

    /// Writes a whole file that appears at once under its name.
    pub(super) fn replace(&self, name: &OsStr, text: &str, ledger: &mut Ledger) -> Result<()> {
        self.put(name, text, ledger)?;
        ledger.files.push(self.path.join(name));
        Ok(())
    }

    /// Replaces a file, of which there were `before` bytes, by a newer one.
    #[cfg(feature = "gstreamer")]
    pub(super) fn renew(&self, name: &OsStr, text: &str, before: u64, ledger: &mut Ledger) -> Result<()> {
        if before == 0 {
            return self.replace(name, text, ledger);
        }
        self.put(name, text, ledger)?;
        ledger.release(before);
        Ok(())
    }

    /// Removes a file of so many bytes.
    #[cfg(feature = "gstreamer")]
    pub(super) fn remove(&self, name: &str, bytes: u64, ledger: &mut Ledger) -> Result<()> {
        unlinkat(&self.directory, name, AtFlags::empty()).map_err(|error| file_failed(error.into()))?;
        let path = self.path.join(name);
        ledger.files.retain(|file| *file != path);
        ledger.release(bytes);
        Ok(())
    }

    fn put(&self, name: &OsStr, text: &str, ledger: &mut Ledger) -> Result<()> {
        const PART: &str = ".manifest.part";
        self.begin(PART)?.append(text.as_bytes(), ledger)?;
        let moved = renameat(&self.directory, PART, &self.directory, name);
        moved.map_err(|error| file_failed(error.into()))
    }
}

/// A file being written.
#[derive(Debug)]
pub(super) struct Piece {
    file: File,
    length: u64,
}

impl Piece {
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    pub(super) fn append(&mut self, bytes: &[u8], ledger: &mut Ledger) -> Result<()> {
        ledger.spend(bytes.len())?;
        self.file.write_all(bytes).map_err(file_failed)?;
        self.length += bytes.len() as u64;
        Ok(())
    }
}

/// A name as one part of the path of a URI (RFC 3986, unreserved characters as they are).
pub(super) fn uri(name: &[u8]) -> String {
    let part = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => char::from(*byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    name.iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn an_unfinished_package_leaves_nothing() {
        let bench = tempfile::tempdir().unwrap();
        let manifest = bench.path().join("a film #1.m3u8");
        let mut ledger = Ledger::new(Some(10));
        let place = Place::make(&manifest).unwrap();
        assert_eq!(place.reference(), "a%20film%20%231");
        let folder = place.open().unwrap().make("720p").unwrap();
        folder.write("init.mp4", b"12345678", &mut ledger).unwrap();
        assert!(bench.path().join("a film #1/720p/init.mp4").is_file());
        let error = folder.write("seg.m4s", b"123", &mut ledger).unwrap_err();
        assert_eq!(error.code(), Code::DiskQuotaExceeded);
        drop(place);
        assert_eq!(fs::read_dir(bench.path()).unwrap().count(), 0);
    }

    #[test]
    fn nothing_is_written_through_a_link_or_over_a_file() {
        let bench = tempfile::tempdir().unwrap();
        let victim = bench.path().join("victim");
        fs::write(&victim, "kept").unwrap();
        let mut place = Place::make(&bench.path().join("film.m3u8")).unwrap();
        let folder = place.open().unwrap();
        symlink(&victim, place.directory().join("init.mp4")).unwrap();
        assert!(folder.create("init.mp4", &mut Ledger::new(None)).is_err());
        symlink(bench.path(), place.directory().join("away")).unwrap();
        assert!(Folder::open(&folder.directory, "away", PathBuf::new()).is_err());
        symlink(&victim, bench.path().join("film.m3u8")).unwrap();
        place.publish("#EXTM3U", &mut Ledger::new(None)).unwrap();
        assert_eq!(fs::read_to_string(&victim).unwrap(), "kept");
        assert_eq!(fs::read_to_string(bench.path().join("film.m3u8")).unwrap(), "#EXTM3U");
        let error = Place::make(&bench.path().join("film.m3u8")).unwrap_err();
        assert_eq!(error.code(), Code::OutputNotWritable, "the directory is somebody's");
    }
}
