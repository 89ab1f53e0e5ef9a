//! What a pipeline says of its faults, in the words of [`Error`].

use ffrtmp_core::error::{Code, Error};
use gstreamer as gst;
use gstreamer::prelude::*;

/// The error of a message.
pub(super) fn of(message: &gst::message::Error) -> Error {
    let told = message.error();
    let who = message.src().map_or_else(String::new, |source| format!("{}: ", kind(source)));
    let code = match (told.kind::<gst::CoreError>(), told.kind::<gst::StreamError>()) {
        (Some(gst::CoreError::MissingPlugin), _) | (_, Some(gst::StreamError::CodecNotFound)) => Code::CodecUnavailable,
        (_, Some(gst::StreamError::Decode | gst::StreamError::Demux | gst::StreamError::WrongType)) => {
            Code::InputInvalid
        }
        (_, Some(gst::StreamError::Format | gst::StreamError::TypeNotFound)) => Code::InputUnsupported,
        _ => Code::EncodeFailed,
    };
    let detail = message.debug().map_or_else(String::new, |debug| debug.to_string());
    // The first line says where in GStreamer's source it was found.
    let reason = detail.lines().skip(1).last().unwrap_or_default().trim();
    let text = told.message().trim_end_matches('.');
    Error::new(code, if reason.is_empty() { format!("{who}{text}") } else { format!("{who}{text} ({reason})") })
}

/// The kind of element, rather than its number.
fn kind(source: &gst::Object) -> String {
    let factory = source.downcast_ref::<gst::Element>().and_then(ElementExt::factory);
    factory.map_or_else(|| source.name().to_string(), |factory| factory.name().to_string())
}
