//! The poster: one picture in full size.

use ffrtmp_core::error::Result;
use ffrtmp_core::units::Moment;

use super::files::Files;
use super::print::Printer;
use super::tap::Shown;

/// Wants the picture that is shown at its time, or else the last one.
pub(super) struct Poster {
    due: Option<f64>,
}

impl Poster {
    pub(super) fn at(time: Moment) -> Self {
        Self { due: Some(time.value()) }
    }

    pub(super) fn due(&self) -> Option<f64> {
        self.due
    }

    pub(super) fn take(&mut self, shown: &Shown, files: &mut Files) -> Result<()> {
        self.due = None;
        files.write("poster.jpg", &Printer::default().print(&shown.frame, shown.display())?)
    }

    pub(super) fn finish(mut self, last: &Shown, files: &mut Files) -> Result<()> {
        if self.due.is_some() { self.take(last, files) } else { Ok(()) }
    }
}
