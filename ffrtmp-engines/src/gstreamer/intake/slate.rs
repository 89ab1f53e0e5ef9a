//! What outputs get while the source is away: its last picture and silence, at a constant rate. And what
//! stands in for a kind that was announced and does not come: silence, a black picture.

use ffrtmp_core::units::FrameRate;
use gstreamer as gst;
use gstreamer_audio as gst_audio;
use gstreamer_video as gst_video;

use super::basin::Shape;
use crate::gstreamer::media::{Raw, TrackKind};

const SECOND: u64 = 1_000_000_000;
/// Length of a piece of silence.
const SILENCE: u64 = SECOND / 50;
/// Rate of pictures of a source that does not tell its own.
const USUAL_RATE: u64 = 25;
/// Rates of pictures that may be announced.
const RATES: std::ops::RangeInclusive<f64> = 1.0..=240.0;
/// Longest side of a picture that stands in for others.
const LONGEST_SIDE: u32 = 8_192;

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
            TrackKind::Audio => self.silence(at, SILENCE)?,
        };
        Some((Raw { kind, sample }, length))
    }

    /// Silence of this length in the form of that sound.
    pub(super) fn silence_like(&self, sound: &Raw, at: u64, length: u64) -> Option<Raw> {
        let like = Self { sound: sound.sample.caps_owned(), picture: None };
        Some(Raw { kind: TrackKind::Audio, sample: like.silence(at, length)?.0 })
    }

    /// Has silence stand in for sound; its caps.
    pub(super) fn stand_in_for_sound(&mut self) -> gst::Caps {
        let caps = gst::Caps::builder("audio/x-raw").field("format", "S16LE").field("layout", "interleaved");
        let caps = caps.field("rate", 48_000_i32).field("channels", 2_i32).build();
        self.sound = Some(caps.clone());
        caps
    }

    /// Has a black picture of this shape stand in for pictures; its caps, unless it can be none.
    pub(super) fn stand_in_for_pictures(&mut self, shape: Shape) -> Option<gst::Caps> {
        let Shape { width, height, millihertz } = shape;
        if !(2..=LONGEST_SIDE).contains(&width) || !(2..=LONGEST_SIDE).contains(&height) {
            return None;
        }
        let rate = FrameRate::new(millihertz, 1_000).ok().filter(|rate| RATES.contains(&rate.as_f64()));
        let rate = rate.unwrap_or(FrameRate::whole(USUAL_RATE as u32));
        let fps = gst::Fraction::new(rate.num.cast_signed(), rate.den.cast_signed());
        let info = gst_video::VideoInfo::builder(gst_video::VideoFormat::I420, width, height).fps(fps).build().ok()?;
        let mut data = vec![128_u8; info.size()];
        data.get_mut(..*info.offset().get(1)?)?.fill(16);
        let caps = info.to_caps().ok()?;
        self.picture = Some(sample(&caps, &gst::Buffer::from_mut_slice(data)));
        Some(caps)
    }

    fn still(&self, at: u64) -> Option<(gst::Sample, u64)> {
        let last = self.picture.as_ref()?;
        let length = frame_length(last.caps()?);
        let mut buffer = last.buffer_owned()?;
        stamp(&mut buffer, at, length);
        Some((sample(&last.caps_owned()?, &buffer), length))
    }

    fn silence(&self, at: u64, length: u64) -> Option<(gst::Sample, u64)> {
        let caps = self.sound.as_ref()?;
        let info = gst_audio::AudioInfo::from_caps(caps).ok()?;
        let samples = usize::try_from(u64::from(info.rate()) * length / SECOND).ok()?;
        // Both formats that come out of an intake have zeros for silence.
        let mut buffer = gst::Buffer::from_mut_slice(vec![0_u8; samples * info.bpf() as usize]);
        stamp(&mut buffer, at, length);
        Some((sample(caps, &buffer), length))
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
