//! What a plan means to each encoder element, as pairs of property and value.
//!
//! | file | subject |
//! |---|---|
//! | `speed.rs` | presets in x264 words, threads, tiles |
//! | `rate.rs` | quality, bit rate, buffers; changing the rate while it runs |
//! | `software.rs`, `device.rs` | the rest, encoder by encoder |
//!
//! Which element is taken is decided in [`crate::gstreamer::elements`].

mod device;
mod rate;
mod software;
mod speed;

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::{Gop, VideoEncode};
use ffrtmp_core::units::FrameRate;
use gstreamer as gst;
use gstreamer::prelude::*;

use super::Pace;
use crate::gstreamer::elements::{Family, VideoElement};

pub(super) use rate::{change_rate, with_rate};
pub(super) use speed::Preset;

/// Most seconds between key frames when nothing else is asked for.
const FREE_SECONDS: f64 = 10.0;
/// Frames between key frames that no stream ever needs more of.
const NEVER: i64 = 100_000;
/// Frames per second of a source that does not tell its own.
const USUAL_FPS: f64 = 25.0;

/// What an encoder is to do, beyond the plan.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting<'a> {
    pub(super) plan: &'a VideoEncode,
    pub(super) pace: Pace,
    pub(super) fps: Option<FrameRate>,
    pub(super) threads: usize,
    /// Steps from the plan's preset towards the fastest.
    pub(super) faster: usize,
}

impl Setting<'_> {
    /// Whether key frames come only when they are asked for.
    pub(super) const fn keys_are_asked_for(&self) -> bool {
        matches!(self.plan.gop, Gop::Fixed(_) | Gop::FixedAndCuts(_))
    }

    /// Most frames between two key frames.
    fn key_distance(&self) -> i64 {
        let fps = self.fps.map_or(USUAL_FPS, FrameRate::as_f64);
        let seconds = match self.plan.gop {
            Gop::Free => FREE_SECONDS,
            Gop::AtMost(most) => most.value(),
            Gop::Fixed(_) | Gop::FixedAndCuts(_) => return NEVER,
        };
        ((seconds * fps).round() as i64).clamp(1, NEVER)
    }

    fn is_live(&self) -> bool {
        self.pace == Pace::Live
    }
}

/// Properties in the making.
#[derive(Debug, Default)]
struct Properties {
    list: Vec<Property>,
    /// Parameters of the encoder itself, in one property.
    parameters: Vec<String>,
}

#[derive(Debug)]
struct Property {
    name: &'static str,
    value: String,
    /// Whether versions of the element that lack it are none that can be used.
    needed: bool,
}

impl Properties {
    fn set(&mut self, name: &'static str, value: impl ToString) {
        self.put(name, value, true);
    }

    /// For what only some versions of an element have.
    fn set_if_known(&mut self, name: &'static str, value: impl ToString) {
        self.put(name, value, false);
    }

    fn put(&mut self, name: &'static str, value: impl ToString, needed: bool) {
        self.list.push(Property { name, value: value.to_string(), needed });
    }

    fn parameter(&mut self, name: &str, value: impl ToString) {
        self.parameters.push(format!("{name}={}", value.to_string()));
    }
}

/// Sets an encoder up.
///
/// # Errors
/// `invalid_field` for a preset or an option that the encoder has not, `codec_unavailable` for an
/// element that is too old.
pub(super) fn apply(element: &gst::Element, what: VideoElement, setting: &Setting<'_>) -> Result<()> {
    let mut properties = Properties::default();
    match what.family {
        Family::X264 => software::x264(&mut properties, setting)?,
        Family::X265 => software::x265(&mut properties, setting)?,
        Family::OpenH264 => software::openh264(&mut properties, setting)?,
        Family::Vp8 | Family::Vp9 => software::vpx(&mut properties, setting)?,
        Family::Aom => software::aom(&mut properties, setting)?,
        Family::Svt => software::svt(&mut properties, setting)?,
        Family::Rav1e => software::rav1e(&mut properties, setting)?,
        Family::Nvidia => device::nvidia(&mut properties, setting)?,
        Family::QuickSync => device::quick_sync(&mut properties, setting)?,
        Family::Va => device::va(&mut properties, setting)?,
        Family::Vaapi => device::vaapi(&mut properties, setting)?,
    }
    if !properties.parameters.is_empty() {
        let name = if what.family == Family::Svt { "parameters-string" } else { "option-string" };
        properties.set(name, properties.parameters.join(":"));
    }
    properties.list.iter().try_for_each(|property| set(element, property))
}

/// Unlike the setters of GStreamer this refuses what the element does not know.
fn set(element: &gst::Element, property: &Property) -> Result<()> {
    let Property { name, value, needed } = property;
    let Some(known) = element.find_property(name) else {
        return if *needed { Err(too_old(element, name)) } else { Ok(()) };
    };
    match gst::glib::Value::deserialize(value, known.value_type()) {
        Ok(value) => {
            element.set_property(name, value);
            Ok(())
        }
        Err(_) if *needed => Err(too_old(element, name)),
        Err(_) => Ok(()),
    }
}

fn too_old(element: &gst::Element, name: &str) -> Error {
    let kind = element.factory().map_or_else(|| "the encoder".to_owned(), |factory| factory.name().to_string());
    Error::new(Code::CodecUnavailable, format!("this version of {kind} cannot set {name}"))
        .hint("install GStreamer 1.22 or later")
}
