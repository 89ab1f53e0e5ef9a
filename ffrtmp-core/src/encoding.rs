//! The vocabulary of encoding wishes: ladders, stills, stream selection, rate and picture options.
//!
//! What they mean for a given source is worked out in [`crate::plan`]; what an encoder makes of
//! them is the engine's business.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error, Result};
use crate::media::named_enum;
use crate::units::{Bitrate, Crf, Moment, PictureSize, Seconds};

mod ladder;
mod selection;

pub use ladder::{Auto, Ladder, Rendition};
pub use selection::{Pick, Selection};

named_enum!(
    /// An encoder of pictures, for those who want a particular one.
    VideoEncoder, "encoder" {
        /// x264: H.264.
        X264 "libx264" | "x264",
        /// NVIDIA: H.264.
        H264Nvenc "h264_nvenc",
        /// Intel Quick Sync: H.264.
        H264Qsv "h264_qsv",
        /// VA-API: H.264.
        H264Vaapi "h264_vaapi",
        /// x265: H.265.
        X265 "libx265" | "x265",
        /// NVIDIA: H.265.
        HevcNvenc "hevc_nvenc",
        /// Intel Quick Sync: H.265.
        HevcQsv "hevc_qsv",
        /// VA-API: H.265.
        HevcVaapi "hevc_vaapi",
        /// libvpx: VP8.
        Vpx "libvpx",
        /// libvpx: VP9.
        Vpx9 "libvpx-vp9",
        /// SVT-AV1.
        SvtAv1 "libsvtav1" | "svt-av1",
        /// libaom: AV1.
        Aom "libaom-av1" | "libaom",
        /// rav1e: AV1.
        Rav1e "librav1e" | "rav1e",
        /// NVIDIA: AV1.
        Av1Nvenc "av1_nvenc",
        /// Intel Quick Sync: AV1.
        Av1Qsv "av1_qsv",
        /// VA-API: AV1.
        Av1Vaapi "av1_vaapi",
    }
);

impl VideoEncoder {
    /// What it makes.
    #[must_use]
    pub const fn codec(self) -> crate::media::VideoCodec {
        use crate::media::VideoCodec;
        match self {
            Self::X264 | Self::H264Nvenc | Self::H264Qsv | Self::H264Vaapi => VideoCodec::H264,
            Self::X265 | Self::HevcNvenc | Self::HevcQsv | Self::HevcVaapi => VideoCodec::H265,
            Self::Vpx => VideoCodec::Vp8,
            Self::Vpx9 => VideoCodec::Vp9,
            Self::SvtAv1 | Self::Aom | Self::Rav1e | Self::Av1Nvenc | Self::Av1Qsv | Self::Av1Vaapi => VideoCodec::Av1,
        }
    }

    /// Whether it runs on a device of its own.
    #[must_use]
    pub const fn is_hardware(self) -> bool {
        !matches!(self, Self::X264 | Self::X265 | Self::Vpx | Self::Vpx9 | Self::SvtAv1 | Self::Aom | Self::Rav1e)
    }
}

named_enum!(
    /// How a wanted bit rate is held.
    RateMode, "rate_mode" {
        /// On average over the whole output.
        Vbr "vbr" | "abr",
        /// Within the buffer at every moment, with filler where the encoder can.
        Cbr "cbr",
    }
);

named_enum!(
    /// What to do with interlaced pictures.
    Deinterlace, "deinterlace" {
        /// One picture per frame where the source says that it is interlaced.
        Auto "auto",
        /// Leave the lines as they are.
        Off "off" | "none",
        /// One picture per frame.
        Frame "frame",
        /// One picture per field: twice the rate.
        Field "field" | "double",
    }
);

named_enum!(
    /// How high dynamic range becomes standard range.
    ToneMap, "tone_map" {
        /// Keep the range of the source.
        Off "off" | "none",
        /// Hable's filmic curve: keeps highlights, darkens a little.
        Hable "hable" | "sdr",
        /// Möbius: keeps colours in range as they are.
        Mobius "mobius",
        /// Reinhard: keeps the overall brightness.
        Reinhard "reinhard",
    }
);

named_enum!(
    /// What decides when pictures are shown.
    Timing, "timing" {
        /// The source's own times.
        Source "source" | "vfr",
        /// A constant rate.
        Constant "constant" | "cfr",
    }
);

named_enum!(
    /// The speakers of an audio track.
    Channels, "audio_channels" {
        /// As many as the source has.
        Source "source",
        /// One.
        Mono "mono" | "1",
        /// Two.
        Stereo "stereo" | "2",
        /// Five and one.
        Surround51 "5.1" | "6",
        /// Seven and one.
        Surround71 "7.1" | "8",
    }
);

named_enum!(
    /// Whether the pictures are encoded in chunks side by side.
    Chunking, "chunks" {
        /// Where that is faster.
        Auto "auto",
        /// Never.
        Off "off",
        /// Wherever the source can be cut.
        On "on",
    }
);

named_enum!(
    /// Whether encoders on devices are used.
    Hardware, "hardware" {
        /// Where one works, else software, with the reason in the report.
        Auto "auto",
        /// Never.
        Off "off",
        /// Only; the job fails where none works.
        Require "require",
    }
);

named_enum!(
    /// What the segments of a package are.
    SegmentKind, "segment_type" {
        /// Fragmented MP4 that follows CMAF.
        Fmp4 "fmp4" | "cmaf",
        /// MPEG transport stream.
        Ts "ts" | "mpegts",
    }
);

named_enum!(
    /// What an encoder is tuned for.
    Tune, "tune" {
        /// Camera pictures.
        Film "film",
        /// Drawn pictures.
        Animation "animation",
        /// Film grain is kept.
        Grain "grain",
        /// Slides.
        StillImage "stillimage",
        /// Weak players.
        FastDecode "fastdecode",
        /// No look-ahead.
        ZeroLatency "zerolatency",
        /// Best PSNR.
        Psnr "psnr",
        /// Best SSIM.
        Ssim "ssim",
    }
);

named_enum!(
    /// A subset of a codec that players promise to decode.
    Profile, "profile" {
        /// H.264 for the weakest players.
        Baseline "baseline",
        /// H.264, H.265, AV1.
        Main "main",
        /// H.264.
        High "high",
        /// H.264 with 10 bits.
        High10 "high10",
        /// H.265 with 10 bits.
        Main10 "main10",
        /// VP9 with 8 bits.
        Profile0 "0",
        /// VP9 with 10 bits.
        Profile2 "2",
    }
);

/// Options of encoders that may be set; everything else about an encoder is decided by the engine.
/// An option that the encoder has not is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct EncoderOptions {
    /// What to tune for: x264, x265, libvpx, SVT-AV1 and libaom know some each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tune: Option<Tune>,
    /// Codec profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// Codec level, such as 4.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<f64>,
    /// Most consecutive B-frames: 0 to 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub b_frames: Option<u8>,
    /// Reference frames: 1 to 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub references: Option<u8>,
    /// Frames that rate control looks ahead: 0 to 250.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookahead: Option<u16>,
    /// Adaptive quantisation mode of the encoder: 0 to 4.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aq_mode: Option<u8>,
    /// Its strength: 0 to 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub aq_strength: Option<f64>,
    /// Tile columns as a power of two (VP9, AV1): 0 to 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tile_columns: Option<u8>,
    /// Tile rows as a power of two (VP9, AV1): 0 to 6.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tile_rows: Option<u8>,
    /// Film grain synthesis (SVT-AV1, libaom): 0 to 50.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub film_grain: Option<u8>,
}

/// Still pictures to take from the same decode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Stills {
    /// Time of the poster in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poster: Option<Moment>,
    /// Number of thumbnails, spread evenly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnails: Option<u32>,
    /// Width of a thumbnail in pixels; 320 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thumbnail_width: Option<u32>,
    /// Seconds between the pictures of the sprite sheet, which comes with a WebVTT index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sprite_interval: Option<Seconds>,
    /// Width of a picture of the sprite sheet; 160 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sprite_width: Option<u32>,
    /// Pictures in a row of the sprite sheet; 10 by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sprite_columns: Option<u32>,
}

impl Stills {
    /// Whether nothing is to be taken.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.poster.is_none() && self.thumbnails.is_none() && self.sprite_interval.is_none()
    }
}

impl EncoderOptions {
    /// Whether nothing is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}
