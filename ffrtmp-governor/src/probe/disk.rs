//! Room on the file system of a directory.

use std::path::Path;

use ffrtmp_core::error::{Code, Error, Result};

/// A file system's room in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    /// What this user may still write.
    pub available: u64,
    /// Its size.
    pub total: u64,
}

impl Disk {
    /// Percent that is available; a file system without a size counts as full.
    #[must_use]
    pub fn free_percent(&self) -> f64 {
        if self.total == 0 { 0.0 } else { 100.0 * self.available as f64 / self.total as f64 }
    }
}

/// Room on the file system of `folder`.
///
/// # Errors
/// `storage` if the directory does not exist or cannot be asked.
pub fn read(folder: &Path) -> Result<Disk> {
    let stat = rustix::fs::statvfs(folder).map_err(|error| {
        Error::new(Code::Storage, format!("cannot ask the file system of {}", folder.display()))
            .operation("governor.disk")
            .source(error)
    })?;
    let total = stat.f_blocks.saturating_mul(stat.f_frsize);
    Ok(Disk { available: stat.f_bavail.saturating_mul(stat.f_frsize).min(total), total })
}
