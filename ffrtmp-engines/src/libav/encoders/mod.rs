//! Which encoders make a codec, and what a plan means to each of them.
//!
//! | file | subject |
//! |---|---|
//! | `speed.rs` | presets, threads, tiles |
//! | `rate.rs` | quality, bit rate, buffers, passes |
//! | `gop.rs` | key frames |
//! | `options.rs` | the options that a job may set, by encoder |
//! | `depth.rs` | bits per component and pixel formats |
//! | `audio.rs` | what audio encoders take |
//!
//! What is not here: which of them work on this machine (`capabilities.rs`) and running them
//! (`stage.rs`, `audio.rs`).

mod audio;
mod depth;
mod gop;
mod options;
mod rate;
mod speed;

use std::path::Path;

use ffrtmp_core::encoding::VideoEncoder;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::VideoCodec;
use ffrtmp_core::plan::VideoEncode;

use super::hdr::HdrMetadata;

pub(super) use audio::{Sound, audio_encoder, audio_formats, same_speakers};
pub(super) use depth::depth;
pub(super) use gop::{KeyFrames, key_frames};

/// Encoders of a codec, the preferred one first: devices, then software.
pub(super) const fn candidates(codec: VideoCodec) -> &'static [VideoEncoder] {
    use VideoEncoder as E;
    match codec {
        VideoCodec::H264 => &[E::H264Nvenc, E::H264Qsv, E::H264Vaapi, E::X264],
        VideoCodec::H265 => &[E::HevcNvenc, E::HevcQsv, E::HevcVaapi, E::X265],
        VideoCodec::Vp8 => &[E::Vpx],
        VideoCodec::Vp9 => &[E::Vpx9],
        VideoCodec::Av1 => &[E::Av1Nvenc, E::Av1Qsv, E::Av1Vaapi, E::SvtAv1, E::Aom, E::Rav1e],
    }
}

/// What an encoder is, as far as settings differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    X264,
    X265,
    Vpx8,
    Vpx9,
    Svt,
    Aom,
    Rav1e,
    Nvenc,
    Qsv,
    Vaapi,
}

impl Family {
    pub(super) fn of(encoder: &str) -> Self {
        match encoder {
            "libx264" => Self::X264,
            "libx265" => Self::X265,
            "libvpx" => Self::Vpx8,
            "libvpx-vp9" => Self::Vpx9,
            "libsvtav1" => Self::Svt,
            "libaom-av1" => Self::Aom,
            "librav1e" => Self::Rav1e,
            name if name.ends_with("_nvenc") => Self::Nvenc,
            name if name.ends_with("_qsv") => Self::Qsv,
            _ => Self::Vaapi,
        }
    }

    /// The option that takes the encoder's own parameters, as a list of `key=value`.
    const fn parameters(self) -> &'static str {
        match self {
            Self::X264 => "x264-params",
            Self::X265 => "x265-params",
            Self::Svt => "svtav1-params",
            Self::Aom => "aom-params",
            Self::Rav1e => "rav1e-params",
            Self::Vpx8 | Self::Vpx9 | Self::Nvenc | Self::Qsv | Self::Vaapi => "",
        }
    }
}

/// Which look at the pictures this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pass<'a> {
    /// The only one.
    Single,
    /// The one that measures. x264 and x265 write the file and neighbours of its name; the others
    /// give the text that [`super::sys::Encoder::stats`] returns after they ended.
    First(&'a Path),
    /// The one that encodes, with the file of the first, or with its text given to
    /// [`super::sys::Encoder::second_pass`].
    Second(&'a Path),
}

/// Settings of one encoder, as pairs of option and value. `threads` 0 leaves their number to the
/// encoder; 1 makes no thread beside the caller's, as far as the encoder can.
///
/// # Errors
/// `invalid_field` for what the encoder has not: its preset, quality, kind of rate control, option.
pub(super) fn settings(
    encoder: &str,
    plan: &VideoEncode,
    fps: (i32, i32),
    threads: usize,
    pass: Pass<'_>,
    hdr: &HdrMetadata,
) -> Result<Vec<(String, String)>> {
    let mut settings = Settings::of(encoder);
    settings.speed(plan, threads, pass)?;
    settings.rate(plan)?;
    settings.pass(plan, pass)?;
    settings.gop(plan, fps);
    settings.options(&plan.options)?;
    settings.hdr(hdr);
    Ok(settings.into_pairs())
}

/// The setting that makes an encoder use this graphics processor. The others find theirs by the
/// device that their frames come from.
pub(super) fn device(encoder: &str, gpu: Option<u32>) -> Option<(String, String)> {
    let gpu = gpu.filter(|_| Family::of(encoder) == Family::Nvenc)?;
    Some(("gpu".to_owned(), gpu.to_string()))
}

/// Settings in the making.
struct Settings<'a> {
    encoder: &'a str,
    family: Family,
    options: Vec<(String, String)>,
    /// Parameters of the encoder itself.
    parameters: Vec<(&'static str, String)>,
    flags: String,
}

impl<'a> Settings<'a> {
    fn of(encoder: &'a str) -> Self {
        let family = Family::of(encoder);
        Self { encoder, family, options: Vec::new(), parameters: Vec::new(), flags: String::new() }
    }

    /// Sets an option; a later value replaces an earlier one.
    fn set(&mut self, key: &str, value: impl ToString) {
        self.options.retain(|(other, _)| other != key);
        self.options.push((key.to_owned(), value.to_string()));
    }

    /// Sets a parameter of the encoder itself; a later value replaces an earlier one.
    fn parameter(&mut self, key: &'static str, value: impl ToString) {
        self.parameters.retain(|(other, _)| *other != key);
        self.parameters.push((key, value.to_string()));
    }

    /// Where the picture was graded, for those who take it before the first frame. The others read
    /// it from the frames, or leave it to the container.
    fn hdr(&mut self, hdr: &HdrMetadata) {
        let (screen, light) = match self.family {
            Family::X264 => ("mastering-display", "cll"),
            Family::X265 => ("master-display", "max-cll"),
            Family::Svt => ("mastering-display", "content-light"),
            _ => return,
        };
        if let Some(mastering) = &hdr.mastering {
            let decimals = self.family == Family::Svt;
            self.parameter(screen, if decimals { mastering.in_decimals() } else { mastering.in_steps() });
        }
        if let Some(levels) = hdr.light {
            self.parameter(light, levels);
        }
        if self.family == Family::X265 && !hdr.is_empty() {
            self.parameter("hdr10", 1);
        }
    }

    fn into_pairs(mut self) -> Vec<(String, String)> {
        if !self.flags.is_empty() {
            self.options.push(("flags".to_owned(), self.flags));
        }
        if !self.parameters.is_empty() {
            let list: Vec<String> =
                self.parameters.iter().map(|(key, value)| format!("{key}={}", escaped(value))).collect();
            self.options.push((self.family.parameters().to_owned(), list.join(":")));
        }
        self.options
    }
}

/// A value in a list of libav, where `:` separates and `\` and `'` quote.
fn escaped(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for letter in value.chars() {
        if matches!(letter, ':' | '\\' | '\'' | ' ') {
            text.push('\\');
        }
        text.push(letter);
    }
    text
}

/// An error about a parameter that this encoder cannot fulfil, with those that can.
fn refused(parameter: &str, message: String, able: impl Fn(VideoEncoder) -> bool) -> Error {
    let able: Vec<&str> =
        VideoEncoder::ALL.iter().filter(|encoder| able(**encoder)).map(|encoder| encoder.as_str()).collect();
    let error = Error::new(Code::InvalidField, message).field(format!("parameters.{parameter}"));
    if able.is_empty() { error } else { error.hint(format!("{} can; or leave it out", able.join(", "))) }
}

#[cfg(test)]
mod encodes;
#[cfg(test)]
mod tests;
