//! The tap on one rendition: sees its pictures go by and knows which are shown at a wanted time.

use ffrtmp_core::encoding::Stills;
use ffrtmp_core::engine::Control;
use ffrtmp_core::error::Result;
use ffrtmp_core::units::Ratio;

use super::files::Files;
use super::poster::Poster;
use super::sprite::Sprite;
use super::thumbnails::Thumbnails;
use super::{Size, square};
use crate::libav::limit::Limit;
use crate::libav::sys::Frame;

/// Containers round times to milliseconds: a picture that comes this much late counts as shown.
const ROUNDING: f64 = 0.000_5;

/// Takes stills out of the pictures of one rendition.
pub(super) struct Tap {
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
pub(super) struct Shown {
    pub(super) frame: Frame,
    pub(super) seconds: f64,
    aspect: Ratio,
}

impl Tap {
    pub(super) fn new(stills: &Stills, expected: Option<f64>, files: Files, limit: &Limit) -> Result<Self> {
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
    pub(super) fn finish(mut self, end: f64) -> Result<Files> {
        let Some(shown) = self.shown.take() else { return Ok(self.files) };
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
        Ok(self.files)
    }

    /// When each kind wants its next picture.
    pub(super) fn dues(&self) -> [Option<f64>; 3] {
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
    pub(super) fn display(&self) -> Size {
        let (width, height) = (self.frame.width().max(1) as u32, self.frame.height().max(1) as u32);
        Size { width: square(width, self.aspect), height }
    }

    /// Size at a width, never larger than it is.
    pub(super) fn fitted(&self, width: u32) -> Size {
        let Size { width: full, height } = self.display();
        let width = width.clamp(1, full);
        Size { width, height: (f64::from(height) * f64::from(width) / f64::from(full)).round().max(1.0) as u32 }
    }
}
