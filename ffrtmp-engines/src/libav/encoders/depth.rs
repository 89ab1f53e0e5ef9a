//! Bits per component, and the pixel formats that hold them.

use ffrtmp_core::encoding::Profile;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::VideoCodec;
use ffrtmp_core::plan::VideoEncode;

use super::{Family, refused};

impl Family {
    /// Pixel format in memory for 8 or 10 bits.
    pub(in super::super) const fn pixel_format(self, ten_bit: bool) -> &'static str {
        match (self, ten_bit) {
            (Self::Nvenc | Self::Qsv | Self::Vaapi, true) => "p010le",
            (Self::Qsv | Self::Vaapi, false) => "nv12",
            (_, true) => "yuv420p10le",
            (_, false) => "yuv420p",
        }
    }

    /// Whether 10 bits of a source survive without being asked for. H.264 stays at 8: hardly a
    /// player decodes more.
    pub(in super::super) const fn takes_ten_bit(self, codec: VideoCodec) -> bool {
        self.makes_ten_bit(codec) && !matches!(codec, VideoCodec::H264)
    }

    /// Whether it can make 10 bits of a codec.
    const fn makes_ten_bit(self, codec: VideoCodec) -> bool {
        match codec {
            VideoCodec::H264 => matches!(self, Self::X264),
            VideoCodec::Vp8 => false,
            VideoCodec::H265 | VideoCodec::Vp9 | VideoCodec::Av1 => true,
        }
    }
}

/// Bits per component that an encoder makes under a plan: what was asked for, by number or by
/// profile, else what the source has.
///
/// # Errors
/// `invalid_field` for bits that the encoder or the profile has not.
pub(in super::super) fn depth(encoder: &str, plan: &VideoEncode, source: i32) -> Result<u8> {
    let family = Family::of(encoder);
    let profile = plan.options.profile.and_then(|profile| profile_depth(plan.codec, profile));
    if let Some((bits, asked)) = profile.zip(plan.bit_depth).filter(|(bits, asked)| bits != asked) {
        return Err(Error::new(Code::InvalidField, format!("this profile has {bits} bits, not {asked}"))
            .field("parameters.encoder_options.profile")
            .hint("leave out profile or bit_depth: either follows from the other"));
    }
    let wanted = plan.bit_depth.or(profile);
    if wanted == Some(10) && !family.makes_ten_bit(plan.codec) {
        return Err(refused("bit_depth", format!("{encoder} has 8 bits only"), |encoder| {
            Family::of(encoder.as_str()).makes_ten_bit(encoder.codec())
        }));
    }
    let kept = source > 8 && family.takes_ten_bit(plan.codec);
    Ok(wanted.unwrap_or(if kept { 10 } else { 8 }))
}

/// Bits of a profile; `None` where it has both.
const fn profile_depth(codec: VideoCodec, profile: Profile) -> Option<u8> {
    match (codec, profile) {
        (VideoCodec::Av1, _) => None,
        (_, Profile::High10 | Profile::Main10 | Profile::Profile2) => Some(10),
        (_, Profile::Baseline | Profile::Main | Profile::High | Profile::Profile0) => Some(8),
    }
}
