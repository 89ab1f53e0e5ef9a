//! Presets, threads and tiles.

use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::plan::{RateControl, VideoEncode};

use super::{Family, Pass, Settings};

/// Words of x264, fastest first.
const WORDS: &[&str] =
    &["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];
const MEDIUM: usize = 5;
/// `cpu-used` of libvpx and libaom for each of them.
const CPU_USED: [u8; 10] = [8, 7, 6, 5, 5, 4, 3, 2, 1, 0];
/// Presets of SVT-AV1 for each of them.
const SVT_PRESETS: [u8; 10] = [12, 11, 10, 9, 9, 8, 6, 5, 4, 3];
/// Speeds of rav1e for each of them.
const RAV1E_SPEEDS: [u8; 10] = [10, 9, 8, 7, 7, 6, 5, 4, 3, 2];
/// Presets of NVENC for each of them.
const NVENC_PRESETS: [u8; 10] = [1, 1, 2, 3, 3, 4, 5, 6, 7, 7];
/// Quality levels of VA-API for each of them.
const VAAPI_LEVELS: [u8; 10] = [7, 7, 6, 5, 5, 4, 3, 2, 1, 1];
/// Words of Quick Sync for each of them.
const QSV_WORDS: [&str; 10] =
    ["veryfast", "veryfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "veryslow"];
/// The fastest `cpu-used` of libvpx and libaom before their real-time modes.
const VPX_GOOD: u8 = 5;
const AOM_GOOD: u8 = 6;
/// SVT-AV1 2 and later count levels of parallelism up to this instead of processors.
const SVT_LEVELS: usize = 6;

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
            Error::new(Code::InvalidField, format!("unknown preset {text:?}")).field("parameters.preset").hint(format!(
                "give one of {}, or a number (0 to 13 for AV1, 0 to 8 for VP8 and VP9)",
                WORDS.join(", ")
            ))
        })
    }

    /// Place among the words.
    fn place(self) -> usize {
        match self {
            Self::Word(index) => index,
            Self::Number(number) => usize::from(number).min(WORDS.len() - 1),
        }
    }

    fn number(self, of_words: &[u8; 10], max: u8) -> u8 {
        match self {
            Self::Word(index) => of_words[index],
            Self::Number(number) => number.min(max),
        }
    }
}

/// Instructions of x264 that make the same bytes from the same pictures at any width.
const REPEATABLE: &str = "MMX2,SSE2Fast,SSSE3,SSE4.2,AVX,FMA3,BMI2,AVX2";

/// Whether x264 lets memory that nobody wrote decide: with AVX-512 it reads rows to the next
/// multiple of 128 pixels. Chunks must not depend on who encodes them.
#[cfg(target_arch = "x86_64")]
fn is_left_to_chance(width: u32) -> bool {
    !width.is_multiple_of(128) && std::arch::is_x86_feature_detected!("avx512f")
}

#[cfg(not(target_arch = "x86_64"))]
const fn is_left_to_chance(_: u32) -> bool {
    false
}

impl Settings<'_> {
    pub(super) fn speed(&mut self, plan: &VideoEncode, threads: usize, pass: Pass<'_>) -> Result<()> {
        let preset = Preset::parse(plan.preset.as_deref())?;
        let width = plan.size.width;
        self.threads(threads, width);
        match self.family {
            Family::X264 | Family::X265 => self.set("preset", WORDS[preset.place()]),
            Family::Vpx8 | Family::Vpx9 => self.vpx_speed(preset.number(&CPU_USED, 8), plan, pass),
            Family::Aom => self.aom_speed(preset.number(&CPU_USED, 8), plan, pass),
            Family::Svt => self.set("preset", preset.number(&SVT_PRESETS, 13)),
            Family::Rav1e => {
                self.set("speed", preset.number(&RAV1E_SPEEDS, 10));
                self.set("tile-columns", 1 << wide_tiles(width));
            }
            Family::Nvenc => self.set("preset", format!("p{}", preset.number(&NVENC_PRESETS, 7).max(1))),
            Family::Qsv => self.set("preset", QSV_WORDS[preset.place()]),
            Family::Vaapi => self.set("compression_level", preset.number(&VAAPI_LEVELS, 7)),
        }
        Ok(())
    }

    fn threads(&mut self, threads: usize, width: u32) {
        match self.family {
            Family::Svt if threads > 0 => self.parameter("lp", svt_parallelism(threads)),
            // x265 counts frames in flight with what libav calls threads; its own are a pool.
            Family::X265 if threads == 1 => {
                self.set("threads", 1);
                self.parameter("pools", "none");
            }
            Family::X265 if threads > 1 => {
                self.set("threads", "auto");
                self.parameter("pools", threads);
            }
            Family::Svt | Family::Nvenc | Family::Qsv | Family::Vaapi => {}
            _ if threads > 0 => self.set("threads", threads),
            _ => self.set("threads", "auto"),
        }
        match self.family {
            Family::X264 if threads == 1 => {
                self.parameter("lookahead-threads", 1);
                if is_left_to_chance(width) {
                    self.parameter("asm", REPEATABLE);
                }
            }
            Family::X265 => self.parameter("log-level", "none"),
            _ => {}
        }
    }

    /// Only its real-time mode keeps to a buffer.
    fn aom_speed(&mut self, speed: u8, plan: &VideoEncode, pass: Pass<'_>) {
        let constant = matches!(plan.rate, RateControl::Constant { .. });
        let good = pass != Pass::Single || (speed <= AOM_GOOD && !constant);
        self.set("usage", if good { "good" } else { "realtime" });
        self.set("cpu-used", if good { speed.min(AOM_GOOD) } else { speed.max(AOM_GOOD) });
        self.set("row-mt", 1);
        self.set("tile-columns", wide_tiles(plan.size.width));
    }

    fn vpx_speed(&mut self, speed: u8, plan: &VideoEncode, pass: Pass<'_>) {
        // A real-time encoder measures nothing, so two passes are never real-time.
        let good = pass != Pass::Single || speed <= VPX_GOOD;
        self.set("deadline", if good { "good" } else { "realtime" });
        let speed = i32::from(if good { speed.min(VPX_GOOD) } else { speed });
        // In real time VP8 takes a positive speed as leave to go by the clock, and makes other
        // bytes each time.
        self.set("cpu-used", if self.family == Family::Vpx8 && !good { -speed } else { speed });
        if self.family == Family::Vpx8 {
            // Invisible packets of their own would have no frame to take their time from.
            self.set("auto-alt-ref", 0);
            return;
        }
        self.set("row-mt", 1);
        self.set("tile-columns", tile_columns(plan.size.width));
        if !good || matches!(plan.rate, RateControl::Constant { .. }) {
            self.set("lag-in-frames", 0);
        } else {
            self.set("lag-in-frames", 25);
            self.set("auto-alt-ref", 1);
        }
    }
}

/// Columns that VP9 may encode at once, as a power of two; each is at least 256 pixels wide.
fn tile_columns(width: u32) -> u32 {
    (width / 256).max(1).ilog2().min(4)
}

/// Columns of AV1 as a power of two, where they cost hardly any bits: at least 512 pixels wide.
fn wide_tiles(width: u32) -> u32 {
    (width / 512).max(1).ilog2().min(4)
}

fn svt_parallelism(threads: usize) -> usize {
    if cfg!(feature = "ffmpeg_7_0") { threads.min(SVT_LEVELS) } else { threads }
}
