//! The size of the output picture and the shape of its pixels.
//!
//! Everything works on the display shape of the source: its coded size, turned as its rotation
//! says, with its pixels as wide as its sample aspect ratio says.

use crate::error::{Code, Error, Result};
use crate::media::VideoInfo;
use crate::units::{PictureSize, Ratio, Resolution};

const SQUARE: Ratio = Ratio { num: 1, den: 1 };
/// Picture of a generated input when nothing else is asked for.
const GENERATED: Resolution = Resolution { width: 1280, height: 720 };
/// Smallest side that every encoder takes.
const MIN_SIDE: u32 = 16;
/// Largest number in a sample aspect ratio that every bitstream can write.
const MAX_RATIO_TERM: u64 = 65_535;

/// The output's size and pixel shape.
///
/// # Errors
/// `input_unsupported` for a source that is too small or too large to keep its size.
pub(super) fn fit(wish: Option<PictureSize>, source: Option<&VideoInfo>) -> Result<(Resolution, Ratio)> {
    let Some(shape) = source.map(Shape::of) else {
        return Ok((wish.map_or(GENERATED, PictureSize::resolution), SQUARE));
    };
    match wish {
        Some(PictureSize::Bound(bound)) => Ok(shape.in_box(bound)),
        Some(PictureSize::Exact(size)) => Ok((size, shape.pixels_of(size))),
        None => shape.kept(),
    }
}

/// What a viewer sees of the source.
struct Shape {
    /// Pixels, upright.
    size: Resolution,
    /// Shape of a pixel, upright.
    pixel: Ratio,
}

impl Shape {
    fn of(video: &VideoInfo) -> Self {
        let size = Resolution { width: video.width, height: video.height };
        let pixel = believable(video.sample_aspect_ratio);
        match video.rotation % 180 {
            90 => Self { size: size.turned(), pixel: Ratio { num: pixel.den, den: pixel.num } },
            _ => Self { size, pixel },
        }
    }

    /// Width in square pixels, at the source's height.
    fn display_width(&self) -> f64 {
        f64::from(self.size.width) * f64::from(self.pixel.num) / f64::from(self.pixel.den)
    }

    /// The largest picture of this shape in the box, with square pixels. The box lies or stands
    /// as the picture does.
    fn in_box(&self, bound: Resolution) -> (Resolution, Ratio) {
        let (width, height) = (self.display_width(), f64::from(self.size.height));
        let bound = if height > width { bound.turned() } else { bound };
        let scale = (f64::from(bound.width) / width).min(f64::from(bound.height) / height);
        let size = Resolution { width: even(width * scale), height: even(height * scale) };
        let clamped = Resolution { width: size.width.max(MIN_SIDE), height: size.height.max(MIN_SIDE) };
        (clamped, if clamped == size { SQUARE } else { self.pixels_of(clamped) })
    }

    /// The pixel shape with which a picture of this size keeps the display shape; square where the
    /// difference is less than a pixel.
    fn pixels_of(&self, size: Resolution) -> Ratio {
        let num = u64::from(self.size.width) * self.pixel.num.unsigned_abs() as u64 * u64::from(size.height);
        let den = u64::from(self.size.height) * self.pixel.den.unsigned_abs() as u64 * u64::from(size.width);
        let off = (num as f64 / den as f64 - 1.0).abs() * f64::from(size.width.max(size.height));
        if off < 1.0 { SQUARE } else { approximate(num, den) }
    }

    /// The same pixels, less an odd row or column that chroma subsampling cannot carry.
    fn kept(&self) -> Result<(Resolution, Ratio)> {
        let size = Resolution { width: self.size.width & !1, height: self.size.height & !1 };
        let Resolution { width, height } = self.size;
        if Resolution::new(size.width, size.height).is_ok() {
            return Ok((size, self.pixel));
        }
        Err(Error::new(
            Code::InputUnsupported,
            format!("the picture of {width}x{height} is outside 16x16 to 16384x16384"),
        )
        .field("input")
        .hint("ask for a size, such as 144p or 1080p"))
    }
}

/// The nearest even number of pixels.
fn even(pixels: f64) -> u32 {
    (pixels / 2.0).round() as u32 * 2
}

/// A ratio between 1:10 and 10:1; anything else is a damaged header and means square pixels.
fn believable(ratio: Ratio) -> Ratio {
    let (num, den) = (i64::from(ratio.num), i64::from(ratio.den));
    if num > 0 && den > 0 && num <= 10 * den && den <= 10 * num { ratio } else { SQUARE }
}

/// The fraction in lowest terms, or the nearest one whose terms fit: a convergent of its
/// continued fraction.
fn approximate(num: u64, den: u64) -> Ratio {
    let (mut before, mut last) = ((0, 1), (1, 0));
    let (mut a, mut b) = (num, den);
    while b != 0 {
        let digit = a / b;
        let next = (digit.saturating_mul(last.0) + before.0, digit.saturating_mul(last.1) + before.1);
        if next.0 > MAX_RATIO_TERM || next.1 > MAX_RATIO_TERM {
            break;
        }
        (before, last) = (last, next);
        (a, b) = (b, a % b);
    }
    let term = |value: u64| i32::try_from(value.max(1)).unwrap_or(1);
    Ratio { num: term(last.0), den: term(last.1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_keep_their_value_within_the_terms_that_fit() {
        for (num, den, expected) in
            [(128, 117, (128, 117)), (4096, 2048, (2, 1)), (1_000_003, 1_000_000, (1, 1)), (333_333, 1_000_000, (1, 3))]
        {
            let ratio = approximate(num, den);
            assert_eq!((ratio.num, ratio.den), expected, "{num}:{den}");
        }
    }
}
