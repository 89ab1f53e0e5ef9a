//! The file of a database: what it must be like before it is opened, and whether the master still
//! works on the file that its name stands for.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ffrtmp_core::{Code, Error, Result};

/// A file under its one name.
#[derive(Clone, Debug)]
pub(super) struct Home {
    path: PathBuf,
    device: u64,
    inode: u64,
}

impl Home {
    /// The file at `path`, which has one name and may be written.
    ///
    /// # Errors
    /// `storage` naming the file and the cure.
    pub(super) fn of(path: &Path) -> Result<Self> {
        let file = fs::metadata(path).map_err(|error| refusal(path, "cannot be opened").source(error))?;
        if file.permissions().readonly() {
            return Err(read_only(path));
        }
        // The log of SQLite stands beside one name: by another name the file would be opened without it.
        if file.nlink() > 1 {
            let names = format!("is one file under {} names", file.nlink());
            return Err(refusal(path, &names).hint("remove its other names, or name another file with --db FILE"));
        }
        Ok(Self { path: path.to_owned(), device: file.dev(), inode: file.ino() })
    }

    /// Whether the name still stands for the file that was opened.
    pub(super) fn is_ours(&self) -> bool {
        match fs::metadata(&self.path) {
            Ok(file) => self.is(&file),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    fn is(&self, file: &Metadata) -> bool {
        (self.device, self.inode) == (file.dev(), file.ino())
    }
}

/// The file cannot be written by this user.
pub(super) fn read_only(path: &Path) -> Error {
    refusal(path, "is read-only")
        .hint("give this user write permission on the file and its directory, or name another with --db FILE")
}

fn refusal(path: &Path, why: &str) -> Error {
    Error::new(Code::Storage, format!("{} {why}", path.display())).operation("sqlite.open")
}
