//! What an attempt leaves behind when it fails: nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Removes the files and directories of an attempt unless they are kept.
pub(super) struct Remains(Mutex<Vec<Remain>>);

enum Remain {
    /// Where an attempt writes, whatever may have been there before.
    File(PathBuf),
    /// What an attempt has made itself, with all that is in it.
    Directory(PathBuf),
}

impl Remains {
    pub(super) fn of(output: &Path) -> Self {
        Self(Mutex::new(vec![Remain::File(output.to_path_buf())]))
    }

    /// Another file that the attempt makes.
    pub(super) fn add(&self, path: &Path) {
        self.push(Remain::File(path.to_path_buf()));
    }

    /// A directory that the attempt has made; it was not there before.
    pub(super) fn add_directory(&self, path: PathBuf) {
        self.push(Remain::Directory(path));
    }

    fn push(&self, remain: Remain) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(remain);
    }

    pub(super) fn keep(self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        for remain in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            let (Remain::File(path) | Remain::Directory(path)) = &remain;
            if let Err(error) = remain.remove() {
                tracing::warn!(path = %path.display(), %error, "the remains of a failed attempt could not be removed");
            }
        }
    }
}

impl Remain {
    /// Only what we made: a device or directory that was named by mistake stays.
    fn remove(&self) -> std::io::Result<()> {
        match self {
            Self::File(path) if fs::symlink_metadata(path).is_ok_and(|is| is.is_file()) => fs::remove_file(path),
            Self::Directory(path) if fs::symlink_metadata(path).is_ok_and(|is| is.is_dir()) => fs::remove_dir_all(path),
            _ => Ok(()),
        }
    }
}
