//! The `Sandbox` trait: what a process that reads foreign media may still do.

use std::path::PathBuf;

use crate::error::Result;
use crate::node::Safeguard;

/// What one attempt may touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reach {
    /// Files and directories that it reads.
    pub read: Vec<PathBuf>,
    /// Files and directories that it writes; a directory with everything in it.
    pub write: Vec<PathBuf>,
    /// Whether it may open connections: only live work does.
    pub network: bool,
    /// Whether it drives graphics processors.
    pub gpu: bool,
    /// Bytes of the largest file that it writes.
    pub max_file_bytes: Option<u64>,
    /// Bytes of address space.
    pub max_memory_bytes: Option<u64>,
}

/// Takes away from the calling process what its work does not need.
///
/// # Contract
/// - Called once, in a process of its own that has a single thread and has read no foreign byte.
/// - Names every layer once, on or off with the reason. A layer that the kernel does not have is
///   off; the others hold without it.
/// - What it took away cannot be taken back, also not by children.
pub trait Sandbox: Send + Sync {
    /// Confines the calling process for the rest of its life.
    ///
    /// # Errors
    /// `engine_unavailable` naming the layer that is required and cannot be had.
    fn confine(&self, reach: &Reach) -> Result<Vec<Safeguard>>;
}

/// No sandbox at all, for embedders that confine by themselves.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unconfined;

impl Sandbox for Unconfined {
    fn confine(&self, _: &Reach) -> Result<Vec<Safeguard>> {
        Ok(Vec::new())
    }
}
