//! Names next to the primary output, and the bytes that they may take.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ffrtmp_core::error::{Code, Error, Result};

use crate::libav::fault::file_failed;

/// Bytes that may still be written, shared by all who write.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Option<Arc<AtomicU64>>);

impl Allowance {
    /// `None` is unbounded.
    pub(super) fn new(bytes: Option<u64>) -> Self {
        Self(bytes.map(|bytes| Arc::new(AtomicU64::new(bytes))))
    }

    fn spend(&self, bytes: u64) -> Result<()> {
        let Some(left) = &self.0 else { return Ok(()) };
        let spent = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(bytes));
        spent.map(drop).map_err(|_| {
            Error::new(Code::DiskQuotaExceeded, "the output grew beyond its size limit").field("max_disk_mb")
        })
    }
}

/// Files whose names begin like the primary output's; they go again unless they are kept.
pub(super) struct Files {
    directory: PathBuf,
    stem: OsString,
    allowance: Allowance,
    made: Vec<PathBuf>,
}

impl Files {
    pub(super) fn beside(primary: &Path, allowance: Allowance) -> Self {
        Self {
            directory: primary.parent().map(Path::to_owned).unwrap_or_default(),
            stem: primary.file_stem().map(ToOwned::to_owned).unwrap_or_default(),
            allowance,
            made: Vec::new(),
        }
    }

    /// The name with this ending.
    pub(super) fn name(&self, ending: &str) -> OsString {
        let mut name = self.stem.clone();
        name.push("_");
        name.push(ending);
        name
    }

    /// Makes a new file.
    pub(super) fn write(&mut self, ending: &str, content: &[u8]) -> Result<()> {
        self.allowance.spend(content.len() as u64)?;
        let path = self.directory.join(self.name(ending));
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path).map_err(file_failed)?;
        self.made.push(path);
        file.write_all(content).map_err(file_failed)
    }

    /// Keeps them, and says where they are.
    pub(super) fn keep(mut self) -> Vec<PathBuf> {
        std::mem::take(&mut self.made)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        for path in self.made.drain(..) {
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "a still of a failed attempt could not be removed");
            }
        }
    }
}
