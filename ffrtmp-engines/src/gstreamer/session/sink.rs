//! Where encoded media leaves a pipeline: running times instead of the encoder's own.

use std::sync::{Arc, Mutex, PoisonError};

use ffrtmp_core::error::Result;
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app as gst_app;

use super::super::media::Encoded;
use super::shared::Shared;
use crate::gstreamer::elements;

/// Least distance of the decoding times of a track, where what the encoder says lies before the
/// beginning.
const LEAST_STEP: gst::ClockTime = gst::ClockTime::from_useconds(100);

/// What a track is of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Of {
    Pictures,
    Sound {
        /// How much earlier it belongs than the encoder says.
        delay: gst::ClockTime,
    },
}

/// Makes the sink of a track. `caps` is what it takes.
pub(super) fn make(caps: &gst::Caps, shared: &Arc<Shared>, track: usize, kind: Of) -> Result<gst::Element> {
    let element = elements::make("appsink")?;
    element.set_property("caps", caps);
    element.set_property("sync", false);
    element.set_property("async", false);
    element.set_property("qos", false);
    element.set_property("enable-last-sample", false);
    let Some(sink) = element.dynamic_cast_ref::<gst_app::AppSink>() else { return Ok(element) };
    let (samples, end) = (Arc::clone(shared), Arc::clone(shared));
    let times = Mutex::new(Times::default());
    sink.set_callbacks(
        gst_app::AppSinkCallbacks::builder()
            .new_sample(move |sink| {
                let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
                if let Some((encoded, is_new)) = take(&sample, &samples, track, kind, &times) {
                    (samples.taker)(encoded, sample.caps().filter(|_| is_new));
                }
                Ok(gst::FlowSuccess::Ok)
            })
            .eos(move |_| end.end_track(track))
            .build(),
    );
    Ok(element)
}

fn take(
    sample: &gst::Sample,
    shared: &Shared,
    track: usize,
    kind: Of,
    times: &Mutex<Times>,
) -> Option<(Encoded, bool)> {
    let mut buffer = sample.buffer_owned()?;
    let segment = sample.segment()?.downcast_ref::<gst::ClockTime>()?;
    let own = Own {
        pts: buffer.pts().and_then(|time| segment.to_running_time_full(time)),
        dts: buffer.dts().and_then(|time| segment.to_running_time_full(time)),
    };
    let own = match kind {
        Of::Pictures => own,
        Of::Sound { delay } => own.earlier(delay)?,
    };
    let (pts, dts) = times.lock().unwrap_or_else(PoisonError::into_inner).running(own)?;
    let data = buffer.make_mut();
    data.set_pts(pts);
    data.set_dts(dts);
    let inside = match kind {
        Of::Pictures => shared.arrival(pts).map(|arrived| arrived.elapsed()),
        Of::Sound { .. } => None,
    };
    let is_new = shared.note(track, sample.caps()?, inside);
    Some((Encoded { track, buffer }, is_new))
}

/// Times as the encoder gives them, negative where it needs room before the beginning.
#[derive(Clone, Copy)]
struct Own {
    pts: Option<gst::Signed<gst::ClockTime>>,
    dts: Option<gst::Signed<gst::ClockTime>>,
}

impl Own {
    /// `None` for what lies before the beginning then: an encoder's own samples, which nobody gave it.
    fn earlier(self, delay: gst::ClockTime) -> Option<Self> {
        let shifted = |time: gst::Signed<gst::ClockTime>| time.checked_sub_unsigned(delay);
        let own = Self { pts: self.pts.and_then(shifted), dts: self.dts.and_then(shifted) };
        (delay.is_zero() || own.pts.or(own.dts).and_then(positive).is_some()).then_some(own)
    }
}

/// Decoding times that grow and never lie before the beginning or behind the showing.
#[derive(Default)]
struct Times {
    last: Option<gst::ClockTime>,
}

impl Times {
    fn running(&mut self, own: Own) -> Option<(gst::ClockTime, gst::ClockTime)> {
        let pts = own.pts.or(own.dts).and_then(positive).unwrap_or(gst::ClockTime::ZERO);
        own.pts.or(own.dts)?;
        let wanted = own.dts.map_or(Some(pts), positive).unwrap_or(gst::ClockTime::ZERO);
        let least = self.last.map_or(gst::ClockTime::ZERO, |last| last + LEAST_STEP);
        let dts = wanted.max(least).min(pts.max(least));
        self.last = Some(dts);
        Some((pts.max(dts), dts))
    }
}

fn positive(time: gst::Signed<gst::ClockTime>) -> Option<gst::ClockTime> {
    time.positive()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(time: i64) -> gst::Signed<gst::ClockTime> {
        let size = gst::ClockTime::from_mseconds(time.unsigned_abs());
        if time < 0 { gst::Signed::Negative(size) } else { gst::Signed::Positive(size) }
    }

    #[test]
    fn sound_goes_back_to_where_it_belongs() {
        let own = |pts| Own { pts: Some(ms(pts)), dts: None };
        let delay = gst::ClockTime::from_mseconds(21);
        let times = [0, 21, 42].map(|pts| own(pts).earlier(delay).and_then(|own| own.pts.and_then(positive)));
        assert_eq!(times, [None, Some(gst::ClockTime::ZERO), Some(delay)]);
        assert!(own(-5).earlier(gst::ClockTime::ZERO).is_some());
    }

    #[test]
    fn decoding_times_grow_from_zero() {
        let mut times = Times::default();
        let mut shown = Vec::new();
        for (pts, dts) in [(0, Some(-80)), (160, Some(-40)), (80, Some(0)), (40, Some(40)), (320, None)] {
            let own = Own { pts: Some(ms(pts)), dts: dts.map(ms) };
            let (pts, dts) = times.running(own).unwrap();
            assert!(dts <= pts, "{dts} {pts}");
            shown.push((pts.useconds(), dts.useconds()));
        }
        assert_eq!(shown, [(0, 0), (160_000, 100), (80_000, 200), (40_000, 40_000), (320_000, 320_000)]);
        assert!(times.running(Own { pts: None, dts: None }).is_none());
    }
}
