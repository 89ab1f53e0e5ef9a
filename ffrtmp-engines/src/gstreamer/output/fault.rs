//! What the elements of an output say when they fail, as errors of ours.

use ffrtmp_core::error::{Code, Error};
use gstreamer as gst;

use crate::gstreamer::secrets::scrub;

/// The error behind a message; `name` is what the output is called.
pub(super) fn of(said: &gst::message::Error, name: &str) -> Error {
    let (cause, detail) = (said.error(), said.debug().unwrap_or_default());
    let words = scrub(cause.message().trim_end_matches(['.', ' ']));
    tracing::debug!(output = name, %words, detail = %scrub(&detail), "an output failed");
    let (code, what, hint) = judged(&cause, &detail);
    Error::new(code, format!("{name} {what} ({words})")).field("output").hint(hint)
}

fn judged(cause: &gst::glib::Error, detail: &str) -> (Code, &'static str, &'static str) {
    const UNREACHABLE: (Code, &str, &str) =
        (Code::Network, "cannot be reached", "check address and port, and that the server runs");
    let said = |words: &[&str]| {
        let all = format!("{} {detail}", cause.message()).to_ascii_lowercase();
        words.iter().any(|word| all.contains(word))
    };
    if cause.matches(gst::ResourceError::NoSpaceLeft) {
        return (Code::DiskFull, "cannot be written: the disk is full", "free some space; the job is tried again");
    }
    if let Some(gst::ResourceError::OpenWrite | gst::ResourceError::NotFound) = cause.kind::<gst::ResourceError>()
        && said(&["for writing"])
    {
        return match said(&["no such file"]) {
            true => (Code::OutputDirectoryMissing, "has no directory", "create the directory first"),
            false => (Code::OutputNotWritable, "cannot be written", "give a place that this user may write"),
        };
    }
    // A server that refuses a key says so, or just closes the connection.
    if said(&["badname", "denied", "'publish' cmd failed", "not authorized", "rejected"]) {
        return (Code::OutputNotWritable, "refuses the stream key", "check the stream key, user and password");
    }
    if said(&["tls", "certificate"]) {
        return (Code::Tls, "is not trusted", "the server needs a certificate that this machine trusts");
    }
    if said(&["refused", "unreachable", "timed out", "resolv", "no route"]) {
        return UNREACHABLE;
    }
    if let Some(gst::ResourceError::NotAuthorized) = cause.kind::<gst::ResourceError>() {
        return (Code::OutputNotWritable, "refuses the stream key", "check the stream key, user and password");
    }
    match cause.kind::<gst::StreamError>() {
        Some(_) => (Code::EncodeFailed, "cannot be packed", "the log has the library's own words"),
        None => (Code::Network, "broke off", "it is tried again; look at the server's own log"),
    }
}
