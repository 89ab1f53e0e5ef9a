//! The pictures of a source and the filters that make those of every rendition out of them.
//!
//! A source is decoded once. The head graph makes the pictures of the largest rendition: fields
//! into pictures, constant rate, size, upright, dynamic range, pixel format. Every further
//! rendition is scaled from the one above it, so that each scale reads few pixels. All renditions
//! have the same colours: what they are is decided here, in [`color`].
//!
//! Pushing frames through the graphs is `rungs.rs`; the notation of the graphs is in [`filters`],
//! scene cuts in [`cuts`].

mod color;
mod cuts;
mod filters;

use ffrtmp_core::units::{FrameRate, Ratio, Resolution};

use super::hdr::HdrMetadata;
use super::probe::{self, Orientation};
use super::sys::{Color, Frame, StreamView, TimeBase};

pub(super) use cuts::Cuts;
pub(super) use filters::Filters;

/// Frame rate of a source that does not say.
pub(super) const UNKNOWN_RATE: (i32, i32) = (25, 1);

/// The pictures of a source before anything is done to them.
#[derive(Clone, Debug)]
pub(super) struct Picture {
    pub(super) shape: Shape,
    /// Unit of the times of the frames that will be pushed.
    pub(super) base: TimeBase,
    pub(super) rate: Option<FrameRate>,
    aspect: (i32, i32),
    orientation: Orientation,
    color: Color,
    interlaced: bool,
    /// Whether it has a layer that says how transparent it is, which is not decoded.
    veiled: bool,
    hdr: HdrMetadata,
}

/// What a graph is built for; another shape in mid-stream needs another graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) pixel_format: String,
}

/// Pictures of one rendition as they lie in memory for its encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Pixels {
    pub(super) size: Resolution,
    pub(super) aspect: Ratio,
    pub(super) format: &'static str,
}

impl Picture {
    /// What the container and the analysis of a stream say; `None` where nothing in it could be
    /// decoded.
    pub(super) fn of(stream: StreamView<'_>) -> Option<Self> {
        let (width, height) = stream.size();
        let (width, height) = (i32::try_from(width).ok()?, i32::try_from(height).ok()?);
        let pixel_format = stream.pixel_format().filter(|_| width > 0 && height > 0)?;
        Some(Self {
            shape: Shape { width, height, pixel_format },
            base: stream.time_base(),
            rate: probe::frame_rate(stream),
            aspect: stream.sample_aspect_ratio().unwrap_or((1, 1)),
            orientation: Orientation::of(stream),
            color: stream.color().sane(),
            interlaced: stream.is_interlaced(),
            veiled: probe::is_veiled(stream),
            hdr: stream.hdr(),
        })
    }
}

impl Shape {
    fn of(frame: &Frame) -> Self {
        Self { width: frame.width(), height: frame.height(), pixel_format: frame.pixel_format().unwrap_or_default() }
    }
}
