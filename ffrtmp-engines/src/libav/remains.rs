//! What an attempt leaves behind when it fails: nothing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Removes the files and directories of an attempt unless they are kept.
pub(super) struct Remains(Mutex<Vec<PathBuf>>);

impl Remains {
    pub(super) fn of(output: &Path) -> Self {
        Self(Mutex::new(vec![output.to_path_buf()]))
    }

    /// Another file or directory that the attempt makes.
    pub(super) fn add(&self, path: &Path) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(path.to_path_buf());
    }

    pub(super) fn keep(self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        for path in self.0.get_mut().unwrap_or_else(PoisonError::into_inner).drain(..) {
            if let Err(error) = remove(&path) {
                tracing::warn!(path = %path.display(), %error, "the remains of a failed attempt could not be removed");
            }
        }
    }
}

/// Only what we made: a device that was named by mistake stays.
fn remove(path: &Path) -> std::io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => fs::remove_file(path),
        Ok(_) | Err(_) => Ok(()),
    }
}
