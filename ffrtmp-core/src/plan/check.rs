//! Wishes that contradict each other, found before any source is looked at.

use super::{OutputRequest, carriage, rate};
use crate::error::{Code, Error, Result};
use crate::media::{Target, VideoCodec};
use crate::units::PictureSize;

/// Preset words, fastest first.
pub(super) const PRESETS: &[&str] =
    &["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];

impl OutputRequest {
    /// Refuses wishes that no source can fulfil.
    ///
    /// # Errors
    /// `invalid_field` or `container_mismatch`, naming the field.
    pub fn check(&self) -> Result<()> {
        self.check_rate_wishes()?;
        self.check_size()?;
        match self.video_codec() {
            Target::Copy => self.check_copy()?,
            Target::Encode(codec) => self.check_encode(codec)?,
        }
        if self.parameters.audio_codec == Some(Target::Copy) && self.parameters.audio_bitrate.is_some() {
            return Err(contradiction(
                "audio_bitrate",
                "a copied track keeps its bit rate",
                "leave out audio_bitrate, or name an audio codec",
            ));
        }
        match self.named_container() {
            Some(_) => carriage::choose(self, None).map(|_| ()),
            None => Ok(()),
        }
    }

    fn check_rate_wishes(&self) -> Result<()> {
        if self.parameters.crf.is_some() && self.parameters.bitrate.is_some() {
            return Err(contradiction(
                "crf",
                "crf and bitrate exclude each other",
                "keep crf for a quality or bitrate for a size",
            ));
        }
        Ok(())
    }

    fn check_size(&self) -> Result<()> {
        match self.parameters.resolution {
            Some(PictureSize::Exact(size)) if size.width % 2 != 0 || size.height % 2 != 0 => {
                let even = |side: u32| (side + 1) & !1;
                let hint = format!("4:2:0 pictures have even sides: give {}x{}", even(size.width), even(size.height));
                Err(contradiction("resolution", &format!("{size} has an odd side"), &hint))
            }
            _ => Ok(()),
        }
    }

    fn check_copy(&self) -> Result<()> {
        let parameters = &self.parameters;
        let wishes = [
            ("resolution", parameters.resolution.is_some() || self.scenario.size.is_some()),
            ("fps", parameters.fps.is_some() || self.scenario.fps.is_some()),
            ("bitrate", parameters.bitrate.is_some()),
            ("crf", parameters.crf.is_some()),
            ("preset", parameters.preset.is_some()),
        ];
        match wishes.iter().find(|(_, wished)| *wished) {
            Some((wish, _)) => Err(contradiction(
                "codec",
                &format!("copy passes the stream through and cannot change its {wish}"),
                &format!("leave out {wish}, or name a codec such as h264"),
            )),
            None => Ok(()),
        }
    }

    /// Refuses to copy what is not there.
    pub(super) fn check_generated(&self) -> Result<()> {
        let copied = [
            ("codec", self.parameters.codec == Some(Target::Copy)),
            ("audio_codec", self.parameters.audio_codec == Some(Target::Copy)),
        ];
        match copied.iter().find(|(_, copy)| *copy) {
            Some((field, _)) => {
                Err(contradiction(field, "a generated input has nothing to copy", "give an input, or name a codec"))
            }
            None => Ok(()),
        }
    }

    fn check_encode(&self, codec: VideoCodec) -> Result<()> {
        if let Some(crf) = self.parameters.crf.filter(|crf| crf.value() > rate::worst_quality(codec)) {
            let worst = rate::worst_quality(codec);
            let hint = format!("give 0 (best) to {worst}; {} is the default", rate::default_quality(codec));
            return Err(contradiction("crf", &format!("{crf} is beyond the scale of {codec}"), &hint));
        }
        match &self.parameters.preset {
            Some(preset) => check_preset(codec, preset),
            None => Ok(()),
        }
    }
}

fn check_preset(codec: VideoCodec, preset: &str) -> Result<()> {
    let slowest_to_fastest = match codec {
        VideoCodec::H264 | VideoCodec::H265 => None,
        VideoCodec::Vp8 | VideoCodec::Vp9 => Some(8),
        VideoCodec::Av1 => Some(13),
    };
    let digits = !preset.is_empty() && preset.len() <= 2 && preset.bytes().all(|b| b.is_ascii_digit());
    let number = digits.then(|| preset.parse::<u8>().ok()).flatten();
    let word = PRESETS.contains(&preset.to_ascii_lowercase().as_str());
    if word || number.zip(slowest_to_fastest).is_some_and(|(number, most)| number <= most) {
        return Ok(());
    }
    let numbers = slowest_to_fastest.map(|most| format!(", or 0 (slowest) to {most}")).unwrap_or_default();
    let shown: String = preset.chars().take(40).collect();
    let hint = format!("give one of {}{numbers}", PRESETS.join(", "));
    Err(contradiction("preset", &format!("{shown:?} is not a preset of {codec}"), &hint))
}

/// An error about one of the parameters.
fn contradiction(parameter: &str, message: &str, hint: &str) -> Error {
    Error::new(Code::InvalidField, message).field(format!("parameters.{parameter}")).hint(hint)
}
