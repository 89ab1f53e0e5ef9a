//! From a library's number to an error that says who acts next.

use ffrtmp_core::error::{Code, Error};

use super::sys::log::Collector;
use super::sys::{AvError, Output, WriteFault};

/// An error with the library's last own words, where it said any.
pub(super) fn failed(code: Code, what: impl Into<String>, error: AvError) -> Error {
    let mut message = what.into();
    if let Some(line) = Collector::last_error() {
        message = format!("{message} ({line})");
    }
    Error::new(code, message).source(error)
}

/// Why a muxer failed: the disk, a limit, or the muxer itself.
pub(super) fn write_failed(output: &Output, what: &str, error: AvError) -> Error {
    match output.fault() {
        Some(WriteFault::OverLimit) => over_limit(),
        Some(WriteFault::File(error)) => file_failed(error),
        None => failed(Code::EncodeFailed, what, error),
    }
}

/// More bytes than the output may have.
pub(super) fn over_limit() -> Error {
    Error::new(Code::DiskQuotaExceeded, "the output grew beyond its size limit").field("max_disk_mb")
}

/// Why the output file refused bytes.
pub(super) fn file_failed(error: std::io::Error) -> Error {
    use std::io::ErrorKind;
    let (code, what) = match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => (Code::DiskFull, "the disk is full"),
        ErrorKind::NotFound => (Code::OutputDirectoryMissing, "the directory of the output does not exist"),
        ErrorKind::PermissionDenied | ErrorKind::IsADirectory | ErrorKind::ReadOnlyFilesystem => {
            (Code::OutputNotWritable, "the output cannot be written")
        }
        _ => (Code::Storage, "the output cannot be written"),
    };
    Error::new(code, what).field("output").source(error)
}
