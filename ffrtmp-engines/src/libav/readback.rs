//! Files that another engine of this crate reads or has written, seen with the libraries of FFmpeg.

use std::path::{Path, PathBuf};

use ffrtmp_core::engine::{Control, MediaBounds, Observer};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{Container, MediaInfo, StreamKind};
use ffrtmp_core::plan::Plan;

use super::notes::Notes;
use super::probe;
pub(crate) use super::report::add_usage;
pub(crate) use super::sys::Usage;
use super::sys::log::Collector;
use super::sys::{Measured, Parts};
use super::verify::{self, Expected, ExpectedLane, Origin, Output};

/// What was written along one stream of a file; times in seconds.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) kind: StreamKind,
    /// Name of the codec, ours or libav's.
    pub(crate) codec: String,
    pub(crate) size: Option<(u32, u32)>,
    pub(crate) packets: u64,
    pub(crate) first: f64,
    pub(crate) end: f64,
    /// Length of the longest packet.
    pub(crate) longest: f64,
}

/// Describes a file, as [`super::LibavEngine`] does.
pub(crate) fn describe(path: &Path, bounds: &MediaBounds, control: &Control) -> Result<MediaInfo> {
    let _lines = Collector::start();
    let (input, size) = probe::open(path, bounds, control)?;
    Ok(probe::describe(&input, size))
}

/// Reads a file back and compares it with what was written; its size and hash.
///
/// # Errors
/// `verify_failed`, `canceled`.
pub(crate) fn verify(
    path: &Path,
    container: Container,
    written: &[Written],
    bounds: &MediaBounds,
    control: &Control,
    observer: &dyn Observer,
) -> Result<(u64, String)> {
    let _lines = Collector::start();
    let lanes = written.iter().map(lane).collect();
    let output = Output { parts: vec![path.to_owned()], expected: Expected { container, lanes } };
    let mut notes = Notes::new(observer);
    let mut verified = verify::check_all(&[output], bounds, control, &mut notes)?;
    let measured = verified.pop().ok_or_else(|| Error::new(Code::Internal, "nothing was verified"))?.measured;
    Ok((measured.size_bytes, measured.hash))
}

/// The file of each rendition, as [`super::LibavEngine`] names them.
pub(crate) fn files(output: &Path, plan: &Plan) -> Vec<PathBuf> {
    super::names::renditions(output, plan.renditions())
}

/// Size and hash of a file.
pub(crate) fn measure(path: &Path) -> Result<(u64, String)> {
    let unreadable = |error: std::io::Error| {
        Error::new(Code::Storage, "the output cannot be read back").field("output").source(error)
    };
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let mut measured = Parts::hashed([(file, length)])
        .measure()
        .map_err(|error| Error::new(Code::Storage, "the output cannot be read back").field("output").source(error))?;
    let Measured { size_bytes, hash } =
        measured.pop().ok_or_else(|| Error::new(Code::Internal, "nothing was measured"))?;
    Ok((size_bytes, hash))
}

fn lane(written: &Written) -> ExpectedLane {
    ExpectedLane {
        codec: written.codec.clone(),
        kind: written.kind,
        origin: Origin::Encoded,
        source: None,
        size: written.size,
        packets: written.packets,
        first: written.first,
        end: written.end,
        longest: written.longest,
    }
}
