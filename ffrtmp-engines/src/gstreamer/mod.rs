//! Live media by GStreamer: a source becomes raw media in one pipeline, is encoded in a second, and
//! each output packs and sends it in a pipeline of its own, so that none of them can stop another.
//!
//! - [`elements`]: the elements that are used, what works of them here, and the package of each.
//! - [`media`]: what passes between the pipelines.
//! - `intake`: from a source to raw media with continuous time, through losses of the source.
//! - [`session`]: from raw or encoded media of a caller to encoded media; public as `LiveSession`.
//! - `output`: from encoded media to a server, a playlist or a recording, through losses of it.
//! - `engine`: an attempt: composes these, keeps the rules of live work, measures.

mod complaints;
pub mod elements;
mod engine;
mod intake;
pub mod media;
mod output;
mod secrets;
pub mod session;

pub use engine::GstreamerEngine;

/// Loads GStreamer into this process; calling it again does nothing.
///
/// # Errors
/// `engine_unavailable` if the libraries cannot be used.
pub fn init() -> ffrtmp_core::Result<()> {
    use ffrtmp_core::error::{Code, Error};
    gstreamer::init().map_err(|error| {
        Error::new(Code::EngineUnavailable, "GStreamer cannot start")
            .hint("install libgstreamer1.0-0 and the plugin packages that `ffrtmp doctor` names")
            .source(error)
    })?;
    secrets::watch_debug_output();
    Ok(())
}

/// Elements of sources that are loaded ahead, besides those of [`elements`].
const SOURCES: [&str; 14] = [
    "avdec_aac",
    "avdec_h264",
    "filesrc",
    "flvdemux",
    "matroskademux",
    "multiqueue",
    "qtdemux",
    "rtmp2src",
    "rtspsrc",
    "srtsrc",
    "tsdemux",
    "typefind",
    "udpsrc",
    "videoflip",
];

/// Loads GStreamer and the plugins that attempts need, for a process that copies itself for each of
/// them. Starts no thread and touches no device.
///
/// # Errors
/// As [`init`].
pub fn preload() -> ffrtmp_core::Result<()> {
    use gstreamer::prelude::*;
    init()?;
    complaints::listen();
    for element in elements::in_software().chain(SOURCES) {
        // One that is missing is missed by the attempt that needs it.
        if let Some(factory) = gstreamer::ElementFactory::find(element)
            && let Err(error) = factory.load()
        {
            tracing::warn!(element, %error, "an element cannot be loaded");
        }
    }
    Ok(())
}
