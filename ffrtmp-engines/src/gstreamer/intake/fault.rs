//! What the elements of a source say when they fail, as errors of ours without its secrets.

use ffrtmp_core::error::{Code, Error};
use ffrtmp_core::live::Endpoint;
use gstreamer as gst;
use gstreamer::prelude::*;

use crate::gstreamer::secrets::scrub;

/// The error behind a message of a source's pipeline; `None` for one that says nothing of the kind.
pub(super) fn of_message(message: &gst::Message, endpoint: Option<&Endpoint>) -> Option<Error> {
    let gst::MessageView::Error(said) = message.view() else { return None };
    let (cause, detail) = (said.error(), said.debug().unwrap_or_default());
    let words = scrub(&format!("{}: {}", cause.message(), last_line(&detail)));
    let (code, what, hint) = judged(&cause, &detail, endpoint.is_some());
    tracing::debug!(element = message.src().map(|it| it.name().to_string()), %words, "the source failed");
    let place = endpoint.map_or_else(|| "the input".to_owned(), ToString::to_string);
    let error = Error::new(code, format!("{place} {what} ({})", words.trim_end_matches([':', ' ', '.'])));
    Some(match hint {
        Some(hint) => error.field("input").hint(hint),
        None => error.field("input"),
    })
}

/// Whether another try can help.
pub(super) fn may_pass(error: &Error) -> bool {
    matches!(error.code(), Code::Network | Code::InputNotFound)
}

fn judged(cause: &gst::glib::Error, detail: &str, is_remote: bool) -> (Code, &'static str, Option<&'static str>) {
    let said = |words: &[&str]| {
        let all = format!("{} {detail}", cause.message()).to_ascii_lowercase();
        words.iter().any(|word| all.contains(word))
    };
    if said(&["text/html", "text/plain", "application/json", "application/xml"]) {
        let hint = "give the address of the media or of its playlist, not of the page that shows it";
        return (Code::InputInvalid, "sends a text instead of media", Some(hint));
    }
    if said(&["could not resolve", "error resolving", "name or service not known", "not known"]) {
        return (Code::Network, "cannot be found: its host has no address", Some("check the host name"));
    }
    if said(&["refused", "unreachable", "timed out", "timeout", "no route", "connection reset", "broken pipe"])
        || said(&["setup failure"])
    {
        return (Code::Network, "cannot be reached", Some("check address and port, and that the server runs"));
    }
    if let Some(error) = cause.kind::<gst::ResourceError>() {
        return match error {
            gst::ResourceError::NotAuthorized => {
                (Code::InputUnreadable, "refuses the key", Some("check the stream key, user and password"))
            }
            gst::ResourceError::NotFound => {
                (Code::InputNotFound, "has no such stream", Some("check the path and the stream key"))
            }
            _ => (Code::Network, "broke off", None),
        };
    }
    match cause.kind::<gst::StreamError>() {
        Some(gst::StreamError::CodecNotFound) => {
            (Code::InputUnsupported, "has a codec that nothing here decodes", None)
        }
        Some(gst::StreamError::TypeNotFound | gst::StreamError::WrongType) => {
            (Code::InputInvalid, "sends no media that is known here", None)
        }
        // What only says that an element before it has failed.
        Some(gst::StreamError::Failed) if is_remote => (Code::Network, "broke off", None),
        Some(_) => (Code::InputInvalid, "sends damaged media", None),
        None if cause.matches(gst::CoreError::MissingPlugin) => {
            (Code::InputUnsupported, "needs a plugin that is missing", Some("`ffrtmp doctor` names the package"))
        }
        None => (Code::Network, "broke off", None),
    }
}

/// Debug texts begin with the place in the source code.
fn last_line(detail: &str) -> &str {
    detail.lines().last().unwrap_or_default().trim()
}
