//! One file's pictures in chunks side by side.
//!
//! At sizes where encoders gain little from threads, several encoders of one thread each on
//! different chunks gain everything. A chunk is decoded, filtered and encoded by itself; the packets
//! of all chunks in order are the video of the output, beside sound that was never divided.
//!
//! | file | subject |
//! |---|---|
//! | `scan.rs`, `cut.rs` | where the pictures are, without decoding; where they are divided |
//! | `decide.rs` | whether dividing is right, and faster |
//! | `encode.rs`, `part.rs` | one chunk from the source to a sealed file of packets |
//! | `window.rs`, `run.rs` | chunks side by side on this machine, written in order |
//! | `stitch.rs`, `bucket.rs` | many parts become one stream; the decoder's buffer across them |
//! | `plan.rs`, `library.rs` | the same in steps, for several machines |
//!
//! Where the boundaries are depends on the source and the plan only, so the bytes of the output do
//! not depend on how many workers there were, nor on which machine made which chunk, as long as the
//! encoder is the same.

mod bucket;
mod cut;
mod decide;
mod encode;
mod library;
mod part;
mod plan;
mod run;
mod scan;
mod stitch;
mod window;

pub(super) use bucket::fullness;
pub use cut::Entry;
pub(super) use library::not_divided;
pub use plan::{Chunk, ChunkDone, ChunkPlan};
pub(super) use run::{Division, Feed};
pub(super) use stitch::Relay;

/// What fits, or why something does not.
pub(super) type Fit<T> = Result<T, String>;
