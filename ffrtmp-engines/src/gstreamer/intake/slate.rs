//! What outputs get while the source is away: its last picture and silence, at a constant rate.

use ffrtmp_core::units::FrameRate;
use gstreamer as gst;
use gstreamer_audio as gst_audio;
use gstreamer_video as gst_video;

use crate::gstreamer::media::{Raw, TrackKind};

const SECOND: u64 = 1_000_000_000;
/// Length of a piece of silence.
const SILENCE: u64 = SECOND / 50;
/// Rate of pictures of a source that does not tell its own.
const USUAL_RATE: u64 = 25;

/// The last of what the source sent.
#[derive(Debug, Default)]
pub(super) struct Slate {
    picture: Option<gst::Sample>,
    sound: Option<gst::Caps>,
}

impl Slate {
    /// Remembers what could be shown again.
    pub(super) fn remember(&mut self, raw: &Raw) {
        match raw.kind {
            TrackKind::Video => self.picture = Some(raw.sample.clone()),
            TrackKind::Audio => self.sound = raw.sample.caps_owned(),
        }
    }

    /// A piece that begins at this running time, and its length; `None` if the source had nothing of
    /// this kind.
    pub(super) fn piece(&self, kind: TrackKind, at: u64) -> Option<(Raw, u64)> {
        let (sample, length) = match kind {
            TrackKind::Video => self.still(at)?,
            TrackKind::Audio => self.silence(at)?,
        };
        Some((Raw { kind, sample }, length))
    }

    fn still(&self, at: u64) -> Option<(gst::Sample, u64)> {
        let last = self.picture.as_ref()?;
        let length = frame_length(last.caps()?);
        let mut buffer = last.buffer_owned()?;
        stamp(&mut buffer, at, length);
        Some((sample(&last.caps_owned()?, &buffer), length))
    }

    fn silence(&self, at: u64) -> Option<(gst::Sample, u64)> {
        let caps = self.sound.as_ref()?;
        let info = gst_audio::AudioInfo::from_caps(caps).ok()?;
        let samples = usize::try_from(u64::from(info.rate()) * SILENCE / SECOND).ok()?;
        // Both formats that come out of an intake have zeros for silence.
        let mut buffer = gst::Buffer::from_mut_slice(vec![0_u8; samples * info.bpf() as usize]);
        stamp(&mut buffer, at, SILENCE);
        Some((sample(caps, &buffer), SILENCE))
    }
}

/// Length of a picture in nanoseconds.
pub(super) fn frame_length(caps: &gst::CapsRef) -> u64 {
    let rate = gst_video::VideoInfo::from_caps(caps).ok().and_then(|info| {
        let (num, den) = (u32::try_from(info.fps().numer()).ok()?, u32::try_from(info.fps().denom()).ok()?);
        FrameRate::new(num, den).ok()
    });
    rate.map_or(SECOND / USUAL_RATE, |rate| u64::from(rate.den) * SECOND / u64::from(rate.num.max(1)))
}

/// Gives a buffer its times; the data is shared.
pub(super) fn stamp(buffer: &mut gst::Buffer, at: u64, length: u64) {
    let buffer = buffer.make_mut();
    buffer.set_pts(gst::ClockTime::from_nseconds(at));
    buffer.set_dts(gst::ClockTime::NONE);
    buffer.set_duration((length > 0).then(|| gst::ClockTime::from_nseconds(length)));
}

/// A sample whose times are running times.
pub(super) fn sample(caps: &gst::Caps, buffer: &gst::Buffer) -> gst::Sample {
    let segment = gst::FormattedSegment::<gst::ClockTime>::new();
    gst::Sample::builder().caps(caps).buffer(buffer).segment(&segment).build()
}
