//! What the kernel tells about the machine: one file per subject, each with a parser of text and a
//! reader that takes the [`Root`] below which `/proc` and `/sys` lie.
//!
//! A reader gives `None` where the machine does not tell.

pub mod cgroup;
pub mod cpu;
pub mod disk;
pub mod energy;
pub mod memory;
pub mod network;
pub mod pressure;
pub mod process;
pub mod sampler;
pub mod thermal;

use std::fs;
use std::path::{Path, PathBuf};

/// The directory below which `/proc`, `/sys` and `/dev` lie; `/` but in tests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Default for Root {
    fn default() -> Self {
        Self(PathBuf::from("/"))
    }
}

impl Root {
    /// Another directory.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_owned())
    }

    /// A path below it; `inside` has no leading slash.
    #[must_use]
    pub fn path(&self, inside: &str) -> PathBuf {
        self.0.join(inside)
    }

    /// The text of a file, if it can be read.
    #[must_use]
    pub fn text(&self, inside: &str) -> Option<String> {
        fs::read_to_string(self.path(inside)).ok()
    }

    /// A file that holds one number.
    pub(crate) fn number<N: std::str::FromStr>(&self, inside: &str) -> Option<N> {
        self.text(inside)?.trim().parse().ok()
    }

    /// Names in a directory, sorted.
    pub(crate) fn names(&self, inside: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(inside)).into_iter().flatten().flatten();
        let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }
}
