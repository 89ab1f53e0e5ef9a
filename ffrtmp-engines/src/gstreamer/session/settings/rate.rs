//! Quality and bit rate.

use ffrtmp_core::plan::{RateControl, Vbv, VideoEncode};
use ffrtmp_core::units::Bitrate;
use gstreamer as gst;
use gstreamer::prelude::*;

use super::super::super::elements::{Family, VideoElement};

/// What an encoder holds, in the words that all of them share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Hold {
    /// A quality, within this bound if there is one.
    Quality(f64, Option<Vbv>),
    /// A rate on average over the buffer.
    Average(Bitrate, Vbv),
    /// A rate at every moment.
    Constant(Bitrate, Vbv),
}

impl Hold {
    pub(super) fn of(plan: &VideoEncode) -> Self {
        match plan.rate {
            RateControl::Quality { crf, cap } => Self::Quality(crf.value(), cap),
            RateControl::Average { bitrate, cap, .. } => Self::Average(bitrate, cap),
            RateControl::Constant { bitrate, buffer } => Self::Constant(bitrate, Vbv { max_rate: bitrate, buffer }),
        }
    }
}

/// Milliseconds that the buffer holds at a rate.
pub(super) fn buffer_ms(buffer: Bitrate, rate: Bitrate) -> u64 {
    (buffer.bps() * 1000 / rate.bps().max(1)).clamp(100, 10_000)
}

pub(super) const fn kbps(rate: Bitrate) -> u64 {
    rate.bps().div_ceil(1000)
}

/// The plan with another rate: bounds keep their proportion. A quality becomes an average.
pub(in super::super) fn with_rate(plan: &VideoEncode, wanted: Bitrate) -> VideoEncode {
    let rate = match plan.rate {
        RateControl::Quality { .. } => RateControl::Average {
            bitrate: wanted,
            cap: Vbv { max_rate: wanted.scaled(3, 2), buffer: wanted.scaled(2, 1) },
            two_pass: false,
        },
        RateControl::Average { bitrate, cap, two_pass } => RateControl::Average {
            bitrate: wanted,
            cap: Vbv {
                max_rate: cap.max_rate.scaled(wanted.bps(), bitrate.bps()),
                buffer: cap.buffer.scaled(wanted.bps(), bitrate.bps()),
            },
            two_pass,
        },
        RateControl::Constant { bitrate, buffer } => {
            RateControl::Constant { bitrate: wanted, buffer: buffer.scaled(wanted.bps(), bitrate.bps()) }
        }
    };
    VideoEncode { rate, ..plan.clone() }
}

/// Gives a running encoder another rate; says whether it can. One that holds a quality cannot, nor
/// can those that do not look at the property again.
pub(in super::super) fn change_rate(
    element: &gst::Element,
    what: VideoElement,
    plan: &VideoEncode,
    rate: Bitrate,
) -> bool {
    if matches!(plan.rate, RateControl::Quality { .. }) {
        return false;
    }
    let (name, value) = match what.family {
        Family::X264 => ("bitrate", kbps(rate)),
        Family::Vp8 | Family::Vp9 => ("target-bitrate", rate.bps()),
        _ => return false,
    };
    let Some(known) = element.find_property(name) else { return false };
    let Ok(value) = gst::glib::Value::deserialize(&value.to_string(), known.value_type()) else { return false };
    element.set_property(name, value);
    true
}
