//! What callers push and get, in plain words.

use std::fmt;
use std::ops::Deref;
use std::time::Duration;

use ffrtmp_core::encoding::{EncoderOptions, Hardware, VideoEncoder};
use ffrtmp_core::media::{AudioCodec, VideoCodec};
use ffrtmp_core::plan::{Gop, RateControl, Vbv, VideoEncode, rate};
use ffrtmp_core::units::{Bitrate, FrameRate, Ratio, Resolution, Seconds};
use gstreamer as gst;

use super::super::StreamFormat;

/// Pictures that will be pushed.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Pictures {
    /// As pixels.
    Raw {
        /// How they lie in memory.
        format: PixelFormat,
        /// Their size.
        size: Resolution,
        /// How many there are in a second, where that is known: rate control counts on it.
        fps: Option<FrameRate>,
    },
    /// As samples of a codec, decoded here.
    Coded {
        /// The codec.
        codec: VideoCodec,
        /// How the parts of a sample are delimited.
        format: StreamFormat,
        /// Parameters of the codec that are not in the samples: `avcC`, `hvcC`, `av1C`.
        config: Option<Vec<u8>>,
        /// How many there are in a second, where that is known.
        fps: Option<FrameRate>,
    },
}

/// How pixels lie in memory: rows without padding, except that those of a plane begin at multiples
/// of four bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PixelFormat {
    /// Three planes, 8 bits, 4:2:0.
    I420,
    /// Two planes, 8 bits, 4:2:0: what cameras give.
    Nv12,
    /// One plane, 8 bits, 4:2:2: what older cameras give.
    Yuy2,
    /// Three planes, 10 bits, 4:2:0.
    I42010,
    /// One plane, 8 bits: red, green, blue, alpha.
    Rgba,
    /// One plane, 8 bits: blue, green, red, alpha.
    Bgra,
}

impl PixelFormat {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::I420 => "I420",
            Self::Nv12 => "NV12",
            Self::Yuy2 => "YUY2",
            Self::I42010 => "I420_10LE",
            Self::Rgba => "RGBA",
            Self::Bgra => "BGRA",
        }
    }
}

/// Sound that will be pushed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sound {
    /// As samples of every channel in turn.
    Raw {
        /// What one of them is.
        format: SampleFormat,
        /// How many each channel has in a second.
        rate: u32,
        /// Channels: 1 or 2.
        channels: u16,
    },
    /// As samples of a codec, decoded here.
    Coded {
        /// The codec.
        codec: AudioCodec,
        /// How the parts of a stream are delimited.
        format: StreamFormat,
        /// Parameters of the codec that are not in the samples: an `AudioSpecificConfig`.
        config: Option<Vec<u8>>,
        /// Samples per second of each channel.
        rate: u32,
        /// Channels.
        channels: u16,
    },
}

/// What a sample of sound is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SampleFormat {
    /// A signed integer of 16 bits, little endian.
    S16,
    /// A floating point number of 32 bits, little endian.
    F32,
}

impl SampleFormat {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::S16 => "S16LE",
            Self::F32 => "F32LE",
        }
    }
}

/// A picture or a piece of sound on its way in. Times count from the beginning of the session.
#[derive(Debug)]
pub struct Frame {
    pub(super) buffer: gst::Buffer,
}

impl Frame {
    /// Data that is shown at a time. It is not copied.
    pub fn new(data: impl AsRef<[u8]> + Send + 'static, pts: Duration) -> Self {
        let mut buffer = gst::Buffer::from_slice(data);
        buffer.make_mut().set_pts(time(pts));
        Self { buffer }
    }

    /// The time at which a sample of a codec with reordered pictures is decoded.
    #[must_use]
    pub fn dts(mut self, dts: Duration) -> Self {
        self.buffer.make_mut().set_dts(time(dts));
        self
    }

    /// For how long it is shown or heard.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Self {
        self.buffer.make_mut().set_duration(time(duration));
        self
    }
}

fn time(time: Duration) -> Option<gst::ClockTime> {
    gst::ClockTime::try_from(time).ok()
}

/// An encoded picture or piece of sound. Times count from the beginning of the session.
#[derive(Debug)]
pub struct Sample {
    /// Index of its track in [`super::LiveOutput::tracks`].
    pub track: usize,
    /// The data.
    pub data: Data,
    /// When it is shown.
    pub pts: Duration,
    /// When it is decoded.
    pub dts: Duration,
    /// For how long it is shown, where that is known.
    pub duration: Option<Duration>,
    /// Whether decoding can begin here.
    pub is_key: bool,
    /// Parameters of the codec, where they are new with this sample: `avcC`, `hvcC`, `av1C`, an
    /// `AudioSpecificConfig`. Streams of bytes have them inside.
    pub config: Option<Vec<u8>>,
}

/// Bytes of a sample, as the encoder wrote them.
pub struct Data(pub(super) gst::MappedBuffer<gst::buffer::Readable>);

impl Deref for Data {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_slice()
    }
}

impl AsRef<[u8]> for Data {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl fmt::Debug for Data {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Data({} bytes)", self.len())
    }
}

/// One output of the pictures.
#[derive(Clone, Debug)]
pub struct Rendition(pub(super) VideoEncode);

/// Seconds between key frames when nothing else is asked for.
const KEY_SECONDS: f64 = 2.0;
const USUAL_FPS: f64 = 30.0;

impl Rendition {
    /// A codec at a size; the rate is the usual one for both, the preset `veryfast`, a key frame
    /// comes every two seconds.
    ///
    /// # Errors
    /// `invalid_field` for a size with an odd side.
    pub fn new(codec: VideoCodec, size: Resolution) -> ffrtmp_core::Result<Self> {
        use ffrtmp_core::error::{Code, Error};
        if !size.width.is_multiple_of(2) || !size.height.is_multiple_of(2) {
            return Err(Error::new(Code::InvalidField, format!("{size} has an odd side"))
                .field("size")
                .hint("encoders take even sizes"));
        }
        let bitrate = rate::table(codec, size, USUAL_FPS);
        let plan = VideoEncode {
            name: format!("{}p", size.height),
            codec,
            encoder: None,
            hardware: Hardware::Auto,
            size,
            sample_aspect_ratio: Ratio { num: 1, den: 1 },
            fps: None,
            bit_depth: None,
            rate: average(bitrate),
            preset: None,
            gop: Gop::Fixed(Seconds::try_from(KEY_SECONDS)?),
            options: EncoderOptions::default(),
        };
        Ok(Self(plan))
    }

    /// Its name in reports.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.0.name = name.into();
        self
    }

    /// Bits per second.
    #[must_use]
    pub fn bitrate(mut self, bitrate: Bitrate) -> Self {
        self.0.rate = average(bitrate);
        self
    }

    /// A constant number of pictures per second, whatever is pushed.
    #[must_use]
    pub fn fps(mut self, fps: FrameRate) -> Self {
        self.0.fps = Some(fps);
        self
    }

    /// A key frame at every multiple of this time. Without it decoding can begin at the start only.
    #[must_use]
    pub fn key_frames_every(mut self, interval: Seconds) -> Self {
        self.0.gop = Gop::Fixed(interval);
        self
    }

    /// Speed against quality, in the words of x264.
    #[must_use]
    pub fn preset(mut self, preset: impl Into<String>) -> Self {
        self.0.preset = Some(preset.into());
        self
    }

    /// Whether encoders on devices are used.
    #[must_use]
    pub fn hardware(mut self, hardware: Hardware) -> Self {
        self.0.hardware = hardware;
        self
    }

    /// A particular encoder.
    #[must_use]
    pub fn encoder(mut self, encoder: VideoEncoder) -> Self {
        self.0.encoder = Some(encoder);
        self
    }
}

impl From<VideoEncode> for Rendition {
    /// All of a plan's wishes.
    fn from(plan: VideoEncode) -> Self {
        Self(plan)
    }
}

/// A rate whose bursts a second of it holds.
fn average(bitrate: Bitrate) -> RateControl {
    RateControl::Average { bitrate, cap: Vbv { max_rate: bitrate, buffer: bitrate }, two_pass: false }
}

/// A track of the output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrackInfo {
    /// Name of the rendition; of the sound `audio`.
    pub name: String,
    /// Its codec as a MIME type of GStreamer, such as `video/x-h264`.
    pub codec: String,
    /// Parameters of the codec: `avcC`, `hvcC`, `av1C`, an `AudioSpecificConfig`.
    pub config: Option<Vec<u8>>,
}

/// Parameters of the codec in caps.
pub(super) fn config(caps: &gst::CapsRef) -> Option<Vec<u8>> {
    let data = caps.structure(0)?.get::<gst::Buffer>("codec_data").ok()?;
    Some(data.map_readable().ok()?.to_vec())
}
