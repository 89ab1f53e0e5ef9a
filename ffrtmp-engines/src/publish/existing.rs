//! What an output of several files finds in its place, and what of it may go: a file of the same
//! name, a directory of an earlier run, an empty one; never the source, never what others made.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ffrtmp_core::error::{Code, Error, Result};

use super::{not_writable, refused};

/// In every directory of a package: the name of the file that it belongs to.
const MARKER: &str = ".ffrtmp-package";

/// The source of an output.
#[derive(Debug)]
pub(super) struct Origin {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Origin {
    /// None where there is nothing: to say so is up to who reads it.
    pub(super) fn of(source: &Path) -> Option<Self> {
        let path = source.canonicalize().ok()?;
        let metadata = fs::metadata(&path).ok()?;
        Some(Self { path, device: metadata.dev(), inode: metadata.ino() })
    }

    /// Checks that replacing this name would not cost the source.
    ///
    /// # Errors
    /// `output_is_input` for the source, by whatever name, and for a directory that holds it.
    pub(super) fn spare(&self, there: &Path) -> Result<()> {
        let metadata = match fs::metadata(there) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            metadata => metadata.map_err(|error| refused(there, error))?,
        };
        let real = there.canonicalize().map_err(|error| refused(there, error))?;
        if self.is(&metadata) || self.path == real {
            return Err(is_input(there, "is the input"));
        }
        if self.path.starts_with(&real) {
            return Err(is_input(there, "holds the input"));
        }
        Ok(())
    }

    fn is(&self, metadata: &Metadata) -> bool {
        (self.device, self.inode) == (metadata.dev(), metadata.ino())
    }
}

fn is_input(there: &Path, what: &str) -> Error {
    Error::new(Code::OutputIsInput, format!("{} {what}", there.display()))
        .field("output")
        .hint("name the output otherwise, or write it to another directory")
}

/// Says in a directory of a package which file it belongs to.
pub(super) fn mark(directory: &Path, primary: &OsStr) -> io::Result<()> {
    File::create_new(directory.join(MARKER))?.write_all(&mark_of(primary))
}

/// Whether this path, from the root of a package, is no part of what was asked for.
pub(super) fn is_mark(path: &Path) -> bool {
    path.components().count() == 2 && path.ends_with(MARKER)
}

/// Checks that a directory came from an earlier package with this primary file, or is empty.
///
/// # Errors
/// `output_not_writable` otherwise.
pub(super) fn check_directory(directory: &Path, primary: &OsStr) -> Result<()> {
    let refuse = |error| refused(directory, error);
    if has_mark(directory, primary).map_err(refuse)? || fs::read_dir(directory).map_err(refuse)?.next().is_none() {
        return Ok(());
    }
    let primary = primary.display();
    Err(not_writable(directory, &format!("is not a package of {primary}"))
        .hint("name the output otherwise, or remove the directory"))
}

fn has_mark(directory: &Path, primary: &OsStr) -> io::Result<bool> {
    let path = directory.join(MARKER);
    let wanted = mark_of(primary);
    match fs::symlink_metadata(&path) {
        // The length spares reading what somebody else put there.
        Ok(there) if there.is_file() && there.len() == wanted.len() as u64 => Ok(fs::read(&path)? == wanted),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(false),
    }
}

fn mark_of(primary: &OsStr) -> Vec<u8> {
    [primary.as_bytes(), b"\n"].concat()
}
