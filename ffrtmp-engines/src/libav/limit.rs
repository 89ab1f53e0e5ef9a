//! What every stage of an attempt obeys.

use std::sync::Arc;

use ffrtmp_core::engine::{Control, MediaBounds};
use ffrtmp_core::error::Result;

use super::meter::Meter;
use super::probe::too_large;

/// Bounds, orders and the counters to fill; clones belong to the same attempt.
#[derive(Clone)]
pub(super) struct Limit {
    /// Where the wanted pictures begin in seconds, if others come before them.
    pub(super) from: Option<f64>,
    /// Length of the output in seconds, if it is cut.
    pub(super) seconds: Option<f64>,
    pub(super) bounds: MediaBounds,
    pub(super) control: Control,
    pub(super) meter: Arc<Meter>,
}

impl Limit {
    /// Refuses media that goes on and on.
    pub(super) fn check(&self, seconds: f64) -> Result<()> {
        let max = self.bounds.max_duration.as_secs_f64();
        if seconds <= max { Ok(()) } else { Err(too_large(format!("the media goes on after {max} s"))) }
    }
}
