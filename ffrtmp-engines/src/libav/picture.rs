//! The pictures of a source and the filters that make those of every rendition out of them.
//!
//! A source is decoded once. The head graph makes the pictures of the largest rendition: fields
//! into pictures, constant rate, size, upright, dynamic range, pixel format. Every further
//! rendition is scaled from the one above it, so that each scale reads few pixels. All renditions
//! have the same colours: what they are is decided here, in [`color`].
//!
//! Pushing frames through the graphs is `video.rs`; the notation of the graphs is in [`filters`],
//! scene cuts in [`cuts`], what only the first decoded picture tells in [`peek`].

mod color;
mod cuts;
mod filters;
mod peek;

use ffrtmp_core::units::{FrameRate, Ratio, Resolution};

use super::hdr::HdrMetadata;
use super::probe::{self, Orientation};
use super::sys::{Color, Frame, StreamView, TimeBase};

pub(super) use cuts::Cuts;
pub(super) use filters::Filters;
pub(super) use peek::{First, first};

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
    hdr: HdrMetadata,
}

/// What a graph is built for; another shape in mid-stream needs another graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) width: i32,
    pub(super) height: i32,
    pub(super) pixel_format: String,
}

/// What comes out for one rendition: pictures in memory for its encoder.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Rung {
    pub(super) size: Resolution,
    pub(super) aspect: Ratio,
    pub(super) pixel_format: &'static str,
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
            hdr: stream.hdr(),
        })
    }

    /// Takes over what the first picture knows better than the container.
    #[must_use]
    pub(super) fn with(mut self, first: &First) -> Self {
        let tag = |own: i32, of_picture: i32, unknown: i32| if own == unknown { of_picture } else { own };
        self.color = Color {
            range: tag(self.color.range, first.color.range, 0),
            primaries: tag(self.color.primaries, first.color.primaries, Color::UNSPECIFIED),
            transfer: tag(self.color.transfer, first.color.transfer, Color::UNSPECIFIED),
            matrix: tag(self.color.matrix, first.color.matrix, Color::UNSPECIFIED),
        };
        self.hdr.mastering = self.hdr.mastering.or(first.hdr.mastering);
        self.hdr.light = self.hdr.light.or(first.hdr.light);
        self.interlaced |= first.interlaced;
        self
    }
}

impl Shape {
    fn of(frame: &Frame) -> Self {
        Self { width: frame.width(), height: frame.height(), pixel_format: frame.pixel_format().unwrap_or_default() }
    }
}
