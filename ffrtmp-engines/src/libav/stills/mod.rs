//! Still pictures from a decode that happens anyway: poster, thumbnails, and a sprite sheet with
//! its WebVTT index.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | which rendition each still is taken from |
//! | `tap.rs` | sees the pictures of a rendition go by and knows which are wanted |
//! | `poster.rs`, `thumbnails.rs`, `sprite.rs` | when each kind wants a picture, and what it makes of it |
//! | `print.rs` | from a frame to a JPEG |
//! | `files.rs` | names next to the primary output, and the bytes they may take |
//!
//! The tap looks at filtered pictures: upright, deinterlaced, in the output's range and colours. A
//! picture costs nothing but a reference until it turns out to be one that is shown at a wanted
//! time. What is not here: decoding, and the choice of what is wanted (`ffrtmp_core::encoding`).

mod files;
mod poster;
mod print;
mod sprite;
mod tap;
mod thumbnails;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ffrtmp_core::encoding::Stills;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::VideoEncode;
use ffrtmp_core::units::Ratio;

use super::limit::Limit;
use super::sys::Frame;
use files::{Allowance, Files};
use tap::Tap;

/// Takes stills out of the pictures of all renditions; clones are the same taps. Before they are
/// opened, and where no still is wanted, they let everything pass.
#[derive(Clone, Default)]
pub(super) struct Taps(Arc<Mutex<Vec<(Place, Tap)>>>);

/// Where a tap is.
struct Place {
    rendition: usize,
    aspect: Ratio,
}

impl Taps {
    /// Opens them. Each still is taken from the smallest rendition that need not be enlarged for it; the poster
    /// is as large as the largest. `renditions` begin with that one. Nothing is written for a plan
    /// that wants no stills.
    ///
    /// `expected` is the length of the source in seconds, where it tells one. Thumbnails are as
    /// evenly spread without it, at the cost of more pictures taken than kept.
    ///
    /// # Errors
    /// `invalid_field` for more pictures than a sprite may have.
    pub(super) fn open(
        &self,
        stills: &Stills,
        renditions: &[VideoEncode],
        expected: Option<f64>,
        primary: &Path,
        limit: &Limit,
    ) -> Result<()> {
        let shapes: Vec<_> = renditions.iter().map(|plan| (plan.size.width, plan.sample_aspect_ratio)).collect();
        self.open_on(stills, &shapes, expected, primary, limit)
    }

    /// The same for pictures of these widths in pixels of these shapes.
    fn open_on(
        &self,
        stills: &Stills,
        shapes: &[(u32, Ratio)],
        expected: Option<f64>,
        primary: &Path,
        limit: &Limit,
    ) -> Result<()> {
        let cheapest = |wanted: u32| {
            let has_width = |(width, aspect): &(u32, Ratio)| square(*width, *aspect) >= wanted;
            shapes.iter().rposition(has_width).unwrap_or(0)
        };
        let thumbnails = cheapest(thumbnails::width(stills.thumbnail_width));
        let sprite = cheapest(sprite::width(stills.sprite_width));
        let allowance = Allowance::new(limit.bounds.max_output_bytes);
        let mut taps = Vec::new();
        for (rendition, (_, aspect)) in shapes.iter().enumerate() {
            let part = Stills {
                poster: stills.poster.filter(|_| rendition == 0),
                thumbnails: stills.thumbnails.filter(|_| rendition == thumbnails),
                sprite_interval: stills.sprite_interval.filter(|_| rendition == sprite),
                ..*stills
            };
            if !part.is_empty() {
                let files = Files::beside(primary, allowance.clone());
                let tap = Tap::new(&part, expected, files, limit)?;
                taps.push((Place { rendition, aspect: *aspect }, tap));
            }
        }
        *self.lock() = taps;
        Ok(())
    }

    /// Sees the next picture of a rendition, which is in memory, with its time in the output.
    /// Pictures come in the order in which they are shown; one that does not is left out, and so is
    /// one after the cut. It costs nothing where nobody wants it.
    ///
    /// # Errors
    /// `disk_full`, `disk_quota_exceeded` and others of writing, where a sheet became full;
    /// `encode_failed`; `canceled`.
    pub(super) fn see(&self, rendition: usize, frame: &Frame, seconds: f64) -> Result<()> {
        match self.lock().iter_mut().find(|(place, _)| place.rendition == rendition) {
            Some((place, tap)) if tap.wants() => tap.take(frame, seconds, place.aspect),
            _ => Ok(()),
        }
    }

    /// Writes what was not written yet and says what there is. `end` is when the last picture's
    /// showing ends, in seconds. Without any picture there are no files. When this is never called,
    /// or fails, what was written is removed.
    ///
    /// # Errors
    /// As [`Self::see`].
    pub(super) fn finish(&self, end: f64) -> Result<Vec<PathBuf>> {
        let taps = std::mem::take(&mut *self.lock());
        let finished = taps.into_iter().map(|(_, tap)| tap.finish(end)).collect::<Result<Vec<Files>>>()?;
        Ok(finished.into_iter().flat_map(Files::keep).collect())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Place, Tap)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Width with square pixels.
fn square(width: u32, aspect: Ratio) -> u32 {
    let Ratio { num, den } = aspect;
    let stretch = if num > 0 && den > 0 { f64::from(num) / f64::from(den) } else { 1.0 };
    (f64::from(width) * stretch).round().clamp(1.0, f64::from(MAX_SIDE)) as u32
}

/// Pixels across and down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Size {
    width: u32,
    height: u32,
}

/// Longest side of a picture here; JPEG ends at 65,535.
const MAX_SIDE: u32 = 16_000;

fn invalid(field: &str, what: String, hint: &str) -> Error {
    Error::new(Code::InvalidField, what).field(format!("stills.{field}")).hint(hint.to_owned())
}
