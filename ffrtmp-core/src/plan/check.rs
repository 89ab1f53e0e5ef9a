//! Wishes that contradict each other, found before any source is looked at.

use super::{OutputRequest, carriage, rate, subtitles};
use crate::encoding::{Deinterlace, Ladder, RateMode, Timing, ToneMap};
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
        self.check_picture_wishes()?;
        self.check_options()?;
        match self.video_codec() {
            Some(Target::Copy) => self.check_copy()?,
            Some(Target::Encode(codec)) => self.check_encode(codec)?,
            None => self.check_sound_only()?,
        }
        self.check_lost_wishes()?;
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

    /// Wishes about pictures that go to a container of sound would be lost in silence.
    fn check_sound_only(&self) -> Result<()> {
        let parameters = &self.parameters;
        let wishes = [
            ("codec", parameters.codec.is_some() || self.scenario.codec.is_some()),
            ("resolution", parameters.resolution.is_some() || self.scenario.size.is_some()),
            ("bitrate", parameters.bitrate.is_some()),
            ("crf", parameters.crf.is_some()),
            ("ladder", parameters.ladder.is_some()),
            ("encoder", parameters.encoder.is_some()),
            ("stills", !parameters.stills.is_empty()),
        ];
        match wishes.iter().find(|(_, wished)| *wished) {
            Some((wish, _)) => Err(contradiction(
                wish,
                "the output holds sound only",
                "leave it out, or name the output .mp4, .mkv, .webm or .ts; audio_bitrate is the rate of the sound",
            )),
            None => Ok(()),
        }
    }

    fn check_picture_wishes(&self) -> Result<()> {
        let parameters = &self.parameters;
        if let Some(depth) = parameters.bit_depth.filter(|depth| !matches!(depth, 8 | 10)) {
            return Err(contradiction("bit_depth", &format!("{depth} bits per component"), "give 8 or 10"));
        }
        if parameters.audio_sample_rate.is_some_and(|rate| !(8_000..=192_000).contains(&rate)) {
            return Err(contradiction("audio_sample_rate", "out of range", "give 8000 to 192000 samples per second"));
        }
        let interval = parameters.keyframe_interval.map(|seconds| seconds.value());
        if interval.is_some_and(|seconds| !(0.1..=60.0).contains(&seconds)) {
            return Err(contradiction("keyframe_interval", "out of range", "give 0.1 to 60 seconds"));
        }
        let segment = parameters.segment_duration.map(|seconds| seconds.value());
        if segment.is_some_and(|seconds| !(0.5..=60.0).contains(&seconds)) {
            return Err(contradiction("segment_duration", "out of range", "give 0.5 to 60 seconds"));
        }
        if let Some(ladder) = &parameters.ladder {
            ladder.check()?;
        }
        self.check_subtitles()?;
        self.check_stills()
    }

    /// A text codec that is named is wanted; the container must have it.
    fn check_subtitles(&self) -> Result<()> {
        let Some((Target::Encode(codec), container)) = self.parameters.subtitle_codec.zip(self.named_container())
        else {
            return Ok(());
        };
        if subtitles::carries(container, codec) {
            return Ok(());
        }
        Err(Error::new(Code::ContainerMismatch, format!("{container} cannot carry subtitles as {codec}"))
            .field("parameters.subtitle_codec")
            .hint("leave it out for the container's own form, or name the output .mkv"))
    }

    fn check_stills(&self) -> Result<()> {
        let stills = &self.parameters.stills;
        for (name, value, most) in [
            ("thumbnails", stills.thumbnails, 1000),
            ("thumbnail_width", stills.thumbnail_width, 4096),
            ("sprite_width", stills.sprite_width, 1024),
            ("sprite_columns", stills.sprite_columns, 100),
        ] {
            let least = if name.ends_with("width") { 16 } else { 1 };
            if value.is_some_and(|value| !(least..=most).contains(&value)) {
                return Err(contradiction(
                    &format!("stills.{name}"),
                    "out of range",
                    &format!("give {least} to {most}"),
                ));
            }
        }
        Ok(())
    }

    fn check_size(&self) -> Result<()> {
        let rungs = match &self.parameters.ladder {
            Some(Ladder::Renditions(rungs)) => rungs.as_slice(),
            _ => &[],
        };
        let sizes = rungs.iter().map(|rung| ("ladder", rung.resolution));
        for (field, size) in sizes.chain([("resolution", self.parameters.resolution)]) {
            if let Some(PictureSize::Exact(size)) = size
                && (size.width % 2 != 0 || size.height % 2 != 0)
            {
                let even = |side: u32| (side + 1) & !1;
                let hint = format!("4:2:0 pictures have even sides: give {}x{}", even(size.width), even(size.height));
                return Err(contradiction(field, &format!("{size} has an odd side"), &hint));
            }
        }
        Ok(())
    }

    fn check_copy(&self) -> Result<()> {
        let parameters = &self.parameters;
        let wishes = [
            ("resolution", parameters.resolution.is_some() || self.scenario.size.is_some()),
            ("fps", parameters.fps.is_some() || self.scenario.fps.is_some()),
            ("bitrate", parameters.bitrate.is_some()),
            ("crf", parameters.crf.is_some()),
            ("preset", parameters.preset.is_some()),
            ("ladder", parameters.ladder.is_some()),
            ("encoder", parameters.encoder.is_some()),
            ("max_bitrate", parameters.max_bitrate.is_some()),
            ("keyframe_interval", parameters.keyframe_interval.is_some()),
            ("bit_depth", parameters.bit_depth.is_some()),
            ("tone_map", parameters.tone_map.is_some_and(|map| map != ToneMap::Off)),
            ("deinterlace", matches!(parameters.deinterlace, Some(Deinterlace::Frame | Deinterlace::Field))),
            ("timing", parameters.timing == Some(Timing::Constant)),
            ("encoder_options", !parameters.encoder_options.is_empty()),
            ("stills", !parameters.stills.is_empty()),
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
            Some((field, _)) => Err(nothing_to_copy(field)),
            None => Ok(()),
        }
    }

    fn check_encode(&self, codec: VideoCodec) -> Result<()> {
        if let Some(encoder) = self.parameters.encoder.filter(|encoder| encoder.codec() != codec) {
            let what = format!("{encoder} makes {}, not {codec}", encoder.codec());
            return Err(contradiction(
                "encoder",
                &what,
                &format!("leave it out, or ask for codec {}", encoder.codec()),
            ));
        }
        if self.parameters.bit_depth == Some(10) && codec == VideoCodec::Vp8 {
            return Err(contradiction("bit_depth", "vp8 has 8 bits only", "ask for vp9, h265 or av1"));
        }
        let parameters = &self.parameters;
        if parameters.two_pass == Some(true) && parameters.bitrate.is_none() && parameters.ladder.is_none() {
            return Err(contradiction("two_pass", "two passes need a rate to hold", "give bitrate as well"));
        }
        if parameters.rate_mode == Some(RateMode::Cbr) && parameters.crf.is_some() {
            return Err(contradiction("rate_mode", "a constant rate has no crf", "give bitrate instead of crf"));
        }
        let rungs = match &self.parameters.ladder {
            Some(Ladder::Renditions(rungs)) => rungs.as_slice(),
            _ => &[],
        };
        let qualities = rungs.iter().map(|rung| ("ladder", rung.crf)).chain([("crf", self.parameters.crf)]);
        for (field, crf) in qualities.filter_map(|(field, crf)| Some((field, crf?))) {
            let worst = rate::worst_quality(codec);
            if crf.value() > worst {
                let hint = format!("give 0 (best) to {worst}; {} is the default", rate::default_quality(codec));
                return Err(contradiction(field, &format!("{crf} is beyond the scale of {codec}"), &hint));
            }
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

pub(super) fn nothing_to_copy(field: &str) -> Error {
    contradiction(field, "a generated input has nothing to copy", "give an input, or name a codec")
}

/// An error about one of the parameters.
pub(super) fn contradiction(parameter: &str, message: &str, hint: &str) -> Error {
    Error::new(Code::InvalidField, message).field(format!("parameters.{parameter}")).hint(hint)
}
