//! Which encoders make a codec, and what a plan means to each of them.

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::{AudioCodec, VideoCodec};
use ffrtmp_core::plan::{RateControl, VideoEncode};

/// Encoders of a codec, the preferred one first.
pub(super) const fn candidates(codec: VideoCodec) -> &'static [&'static str] {
    match codec {
        VideoCodec::H264 => &["h264_nvenc", "h264_qsv", "h264_vaapi", "libx264"],
        VideoCodec::H265 => &["hevc_nvenc", "hevc_qsv", "hevc_vaapi", "libx265"],
        VideoCodec::Vp8 => &["libvpx"],
        VideoCodec::Vp9 => &["libvpx-vp9"],
        VideoCodec::Av1 => &["av1_nvenc", "av1_qsv", "av1_vaapi", "libsvtav1", "libaom-av1"],
    }
}

/// The encoder of an audio codec.
pub(super) const fn audio_encoder(codec: AudioCodec) -> &'static str {
    match codec {
        AudioCodec::Aac => "aac",
        AudioCodec::Opus => "libopus",
        AudioCodec::Mp3 => "libmp3lame",
        AudioCodec::Flac => "flac",
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
            name if name.ends_with("_nvenc") => Self::Nvenc,
            name if name.ends_with("_qsv") => Self::Qsv,
            _ => Self::Vaapi,
        }
    }

    /// Pixel format in memory for 8 or 10 bits.
    pub(super) const fn pixel_format(self, ten_bit: bool) -> &'static str {
        match (self, ten_bit) {
            (Self::Nvenc | Self::Qsv | Self::Vaapi, true) => "p010le",
            (Self::Qsv | Self::Vaapi, false) => "nv12",
            (_, true) => "yuv420p10le",
            (_, false) => "yuv420p",
        }
    }

    /// Whether 10 bits survive. H.264 stays at 8: hardly a player decodes more.
    pub(super) const fn takes_ten_bit(self, codec: VideoCodec) -> bool {
        !matches!((self, codec), (_, VideoCodec::H264 | VideoCodec::Vp8))
    }
}

/// Words of x264, fastest first.
const WORDS: &[&str] =
    &["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];
/// `cpu-used` of libvpx and libaom for each of them; 6 and more need the real-time mode.
const CPU_USED: [u8; 10] = [8, 7, 6, 5, 5, 4, 3, 2, 1, 0];
/// Presets of SVT-AV1 for each of them.
const SVT_PRESETS: [u8; 10] = [12, 11, 10, 9, 9, 8, 6, 5, 4, 3];
const MEDIUM: usize = 5;

/// A preset as a person gave it.
#[derive(Clone, Copy, Debug)]
enum Preset {
    Word(usize),
    Number(u8),
}

impl Preset {
    fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else { return Ok(Self::Word(MEDIUM)) };
        let lower = text.to_ascii_lowercase();
        if let Some(index) = WORDS.iter().position(|word| *word == lower) {
            return Ok(Self::Word(index));
        }
        let digits = !lower.is_empty() && lower.len() <= 2 && lower.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| lower.parse().ok()).flatten().map(Self::Number).ok_or_else(|| {
            Error::new(Code::InvalidField, format!("unknown preset {text:?}")).field("preset").hint(format!(
                "give one of {}, or a number (0 to 13 for AV1, 0 to 8 for VP8 and VP9)",
                WORDS.join(", ")
            ))
        })
    }

    fn word(self) -> &'static str {
        match self {
            Self::Word(index) => WORDS[index],
            Self::Number(number) => WORDS[usize::from(number).min(WORDS.len() - 1)],
        }
    }

    fn number(self, of_words: &[u8; 10], max: u8) -> u8 {
        match self {
            Self::Word(index) => of_words[index],
            Self::Number(number) => number.min(max),
        }
    }
}

/// Settings of one encoder, as pairs of option and value.
///
/// # Errors
/// `invalid_field` for a preset or quality that the encoder has not.
pub(super) fn settings(
    encoder: &str,
    plan: &VideoEncode,
    fps: (i32, i32),
    threads: usize,
) -> Result<Vec<(String, String)>> {
    let family = Family::of(encoder);
    let preset = Preset::parse(plan.preset.as_deref())?;
    let mut settings = Settings(Vec::new());
    settings.speed(family, preset, plan.size.width, threads);
    settings.rate(family, plan)?;
    settings.set("g", key_interval(fps));
    Ok(settings.0)
}

/// A key frame at least every ten seconds, and at most 250 frames apart as x264 has it.
fn key_interval((num, den): (i32, i32)) -> i64 {
    (i64::from(num) * 10 / i64::from(den.max(1))).clamp(10, 250)
}

struct Settings(Vec<(String, String)>);

impl Settings {
    fn set(&mut self, key: &str, value: impl ToString) {
        self.0.push((key.to_owned(), value.to_string()));
    }

    fn speed(&mut self, family: Family, preset: Preset, width: u32, threads: usize) {
        match family {
            Family::Svt | Family::X265 => {}
            _ if threads > 0 => self.set("threads", threads),
            _ => self.set("threads", "auto"),
        }
        match family {
            Family::X264 => self.set("preset", preset.word()),
            Family::X265 => {
                self.set("preset", preset.word());
                let pools = if threads > 0 { format!(":pools={threads}") } else { String::new() };
                self.set("x265-params", format!("log-level=none{pools}"));
            }
            Family::Vpx8 => {
                self.vpx_speed(preset.number(&CPU_USED, 8));
                // Invisible packets of their own would have no frame to take their time from.
                self.set("auto-alt-ref", 0);
            }
            Family::Vpx9 => {
                self.vpx_speed(preset.number(&CPU_USED, 8));
                self.set("row-mt", 1);
                self.set("tile-columns", tile_columns(width));
            }
            Family::Aom => {
                let speed = preset.number(&CPU_USED, 8);
                self.set("usage", if speed > 5 { "realtime" } else { "good" });
                self.set("cpu-used", speed);
                self.set("row-mt", 1);
            }
            Family::Svt => {
                self.set("preset", preset.number(&SVT_PRESETS, 13));
                if threads > 0 {
                    self.set("svtav1-params", format!("lp={threads}"));
                }
            }
            Family::Nvenc => self.set("preset", "p4"),
            Family::Qsv => self.set("preset", "medium"),
            Family::Vaapi => {}
        }
    }

    fn vpx_speed(&mut self, speed: u8) {
        self.set("deadline", if speed > 5 { "realtime" } else { "good" });
        self.set("cpu-used", speed);
        self.set("lag-in-frames", if speed > 5 { 0 } else { 16 });
    }

    fn rate(&mut self, family: Family, plan: &VideoEncode) -> Result<()> {
        match plan.rate {
            RateControl::Average { bitrate, .. } | RateControl::Constant { bitrate, .. } => {
                let rate = bitrate.bps();
                self.set("b", rate);
                // Bounds on bursts, so that players with small buffers keep up. SVT-AV1 takes them
                // only with constant quality.
                if family != Family::Svt {
                    self.set("maxrate", rate * 3 / 2);
                    self.set("bufsize", rate * 2);
                }
            }
            RateControl::Quality { crf, .. } => {
                let crf = crf.value();
                let limit = if matches!(plan.codec, VideoCodec::H264 | VideoCodec::H265) { 51.0 } else { 63.0 };
                if crf > limit {
                    return Err(Error::new(Code::InvalidField, format!("{crf} is too large for {}", plan.codec))
                        .field("crf")
                        .hint(format!("give 0 (best) to {limit}")));
                }
                self.quality(family, crf, plan.size.pixels());
            }
        }
        Ok(())
    }

    fn quality(&mut self, family: Family, crf: f64, pixels: u64) {
        match family {
            Family::X264 | Family::X265 => self.set("crf", crf),
            Family::Vpx8 => {
                // VP8 knows quality only below a rate, so the rate is made too high to matter.
                self.set("crf", crf.round().max(4.0));
                self.set("b", pixels * 30);
            }
            Family::Vpx9 | Family::Aom => {
                self.set("crf", crf.round());
                self.set("b", 0);
            }
            Family::Svt => self.set("crf", crf.round()),
            Family::Nvenc => {
                self.set("rc", "vbr");
                self.set("cq", crf);
                self.set("b", 0);
            }
            Family::Qsv => self.set("global_quality", crf.round()),
            Family::Vaapi => {
                self.set("rc_mode", "CQP");
                self.set("global_quality", crf.round());
            }
        }
    }
}

/// Columns that VP9 may encode at once, as a power of two; each is at least 256 pixels wide.
fn tile_columns(width: u32) -> u32 {
    (width / 256).max(1).ilog2().min(4)
}

#[cfg(test)]
mod tests {
    use ffrtmp_core::encoding::{EncoderOptions, Hardware};
    use ffrtmp_core::plan::Gop;
    use ffrtmp_core::units::{Crf, Ratio, Resolution};

    use super::*;

    fn plan(preset: Option<&str>, crf: f64) -> VideoEncode {
        VideoEncode {
            name: String::new(),
            encoder: None,
            hardware: Hardware::Auto,
            bit_depth: None,
            gop: Gop::Free,
            options: EncoderOptions::default(),
            codec: VideoCodec::H264,
            size: Resolution { width: 640, height: 360 },
            sample_aspect_ratio: Ratio { num: 1, den: 1 },
            fps: None,
            rate: RateControl::Quality { crf: Crf::try_from(crf).unwrap(), cap: None },
            preset: preset.map(str::to_owned),
        }
    }

    #[test]
    fn words_mean_the_same_everywhere() {
        let value = |encoder: &str, preset: &str, key: &str| {
            let settings = settings(encoder, &plan(Some(preset), 20.0), (25, 1), 0).unwrap();
            settings.into_iter().find(|(name, _)| name == key).map(|(_, value)| value)
        };
        assert_eq!(value("libx264", "Veryfast", "preset").as_deref(), Some("veryfast"));
        assert_eq!(value("libvpx-vp9", "ultrafast", "cpu-used").as_deref(), Some("8"));
        assert_eq!(value("libvpx-vp9", "3", "cpu-used").as_deref(), Some("3"));
        assert_eq!(value("libsvtav1", "12", "preset").as_deref(), Some("12"));
        assert_eq!(value("libx264", "medium", "g").as_deref(), Some("250"));
    }

    #[test]
    fn unknown_presets_and_qualities_are_refused() {
        for bad in ["", "quick", "-1", "1000", "fast:crf=1"] {
            let error = settings("libx264", &plan(Some(bad), 20.0), (25, 1), 0).unwrap_err();
            assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("preset")), "{bad}");
        }
        assert_eq!(settings("libx264", &plan(None, 60.0), (25, 1), 0).unwrap_err().field_name(), Some("crf"));
    }
}
