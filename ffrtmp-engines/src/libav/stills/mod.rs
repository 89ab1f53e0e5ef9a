//! Still pictures from a decode that happens anyway: poster, thumbnails, and a sprite sheet with
//! its WebVTT index.
//!
//! | file | subject |
//! |---|---|
//! | `mod.rs` | the tap: sees the pictures of a rendition go by and knows which are wanted |
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
mod thumbnails;

#[cfg(test)]
mod tests;

use std::path::Path;

use ffrtmp_core::encoding::Stills;
use ffrtmp_core::engine::Control;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::units::Ratio;

use super::limit::Limit;
use super::sys::Frame;
pub(super) use files::Made;
use files::{Allowance, Files};
use poster::Poster;
use sprite::Sprite;
use thumbnails::Thumbnails;

/// Containers round times to milliseconds: a picture that comes this much late counts as shown.
const ROUNDING: f64 = 0.000_5;

/// Takes stills out of the pictures of one rendition.
pub(super) struct StillsTap {
    poster: Option<Poster>,
    thumbnails: Option<Thumbnails>,
    sprite: Option<Sprite>,
    /// Pictures from this time on are not part of the output.
    cut: f64,
    /// The latest picture: it is shown until the next one comes.
    shown: Option<Shown>,
    files: Files,
    control: Control,
}

/// A picture and when its showing began.
struct Shown {
    frame: Frame,
    seconds: f64,
    aspect: Ratio,
}

impl StillsTap {
    /// Taps for renditions with these display widths, the largest first: each still is taken from
    /// the smallest rendition that need not be enlarged for it. The poster is as large as the
    /// largest. Gives the number of the rendition with each tap.
    ///
    /// `expected` is the length of the source in seconds, where it tells one. Thumbnails are as
    /// evenly spread without it, at the cost of more pictures taken than kept.
    ///
    /// # Errors
    /// `invalid_field` for more pictures than a sprite may have.
    pub(super) fn for_renditions(
        stills: &Stills,
        expected: Option<f64>,
        primary: &Path,
        limit: &Limit,
        widths: &[u32],
    ) -> Result<Vec<(usize, Self)>> {
        let cheapest = |wanted: u32| widths.iter().rposition(|width| *width >= wanted).unwrap_or(0);
        let thumbnails = cheapest(thumbnails::width(stills.thumbnail_width));
        let sprite = cheapest(sprite::width(stills.sprite_width));
        let allowance = Allowance::new(limit.bounds.max_output_bytes);
        let mut taps = Vec::new();
        for rendition in 0..widths.len() {
            let part = Stills {
                poster: stills.poster.filter(|_| rendition == 0),
                thumbnails: stills.thumbnails.filter(|_| rendition == thumbnails),
                sprite_interval: stills.sprite_interval.filter(|_| rendition == sprite),
                ..*stills
            };
            if !part.is_empty() {
                let files = Files::beside(primary, allowance.clone());
                taps.push((rendition, Self::new(&part, expected, files, limit)?));
            }
        }
        Ok(taps)
    }

    fn new(stills: &Stills, expected: Option<f64>, files: Files, limit: &Limit) -> Result<Self> {
        let cut = limit.seconds.unwrap_or(f64::INFINITY);
        let expected = expected.filter(|seconds| seconds.is_finite() && *seconds > 0.0);
        let expected = expected.map(|seconds| seconds.min(cut));
        let sprite = stills.sprite_interval.map(|interval| Sprite::new(stills, interval, expected));
        Ok(Self {
            poster: stills.poster.map(Poster::at),
            thumbnails: stills.thumbnails.map(|count| Thumbnails::new(count, stills.thumbnail_width, expected)),
            sprite: sprite.transpose()?,
            shown: None,
            cut,
            files,
            control: limit.control.clone(),
        })
    }

    /// Whether there is anything left to take.
    pub(super) fn wants(&self) -> bool {
        self.dues().into_iter().any(|due| due.is_some())
    }

    /// Sees the next picture, which is in memory, with its time in the output and the shape of its
    /// pixels. Pictures come in the order in which they are shown; one that does not is left out, and
    /// so is one after the cut.
    ///
    /// # Errors
    /// `disk_full`, `disk_quota_exceeded` and others of writing, where a sheet became full;
    /// `encode_failed`; `canceled`.
    pub(super) fn take(&mut self, frame: &Frame, seconds: f64, aspect: Ratio) -> Result<()> {
        if seconds >= self.cut {
            return Ok(());
        }
        if let Some(shown) = self.shown.take() {
            if seconds <= shown.seconds {
                self.shown = Some(shown);
                return Ok(());
            }
            self.serve(&shown, seconds)?;
        }
        self.shown = Some(Shown { frame: frame.reference()?, seconds, aspect });
        Ok(())
    }

    /// Writes what was not written yet. `end` is when the last picture's showing ends, in seconds.
    /// Without any picture there are no files.
    ///
    /// # Errors
    /// As [`Self::take`].
    pub(super) fn finish(mut self, end: f64) -> Result<Vec<Made>> {
        let Some(shown) = self.shown.take() else { return Ok(Vec::new()) };
        let end = end.min(self.cut).max(shown.seconds + 2.0 * ROUNDING);
        self.serve(&shown, end)?;
        if let Some(poster) = self.poster {
            poster.finish(&shown, &mut self.files)?;
        }
        if let Some(thumbnails) = self.thumbnails {
            thumbnails.finish(&shown, end, &mut self.files)?;
        }
        if let Some(sprite) = self.sprite {
            sprite.finish(end, &mut self.files)?;
        }
        Ok(self.files.made())
    }

    fn dues(&self) -> [Option<f64>; 3] {
        [
            self.poster.as_ref().and_then(Poster::due),
            self.thumbnails.as_ref().map(Thumbnails::due),
            self.sprite.as_ref().map(Sprite::due),
        ]
    }

    /// Gives a picture to all that want one at a time when it is shown, which is before `until`.
    fn serve(&mut self, shown: &Shown, until: f64) -> Result<()> {
        let until = until - ROUNDING;
        if let Some(poster) = self.poster.as_mut().filter(|poster| poster.due().is_some_and(|due| due < until)) {
            poster.take(shown, &mut self.files)?;
        }
        if let Some(thumbnails) = &mut self.thumbnails {
            while thumbnails.due() < until {
                thumbnails.take(shown)?;
            }
        }
        if let Some(sprite) = &mut self.sprite {
            while sprite.due() < until {
                self.control.checkpoint()?;
                sprite.take(shown, &mut self.files)?;
            }
        }
        Ok(())
    }
}

impl Shown {
    /// Size with square pixels: the height stays.
    fn display(&self) -> Size {
        let (width, height) = (self.frame.width().max(1) as u32, self.frame.height().max(1) as u32);
        let Ratio { num, den } = self.aspect;
        let stretch = if num > 0 && den > 0 { f64::from(num) / f64::from(den) } else { 1.0 };
        Size { width: (f64::from(width) * stretch).round().clamp(1.0, f64::from(MAX_SIDE)) as u32, height }
    }

    /// Size at a width, never larger than it is.
    fn fitted(&self, width: u32) -> Size {
        let Size { width: full, height } = self.display();
        let width = width.clamp(1, full);
        Size { width, height: (f64::from(height) * f64::from(width) / f64::from(full)).round().max(1.0) as u32 }
    }
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
