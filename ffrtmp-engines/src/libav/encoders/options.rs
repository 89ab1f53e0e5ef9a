//! The options of encoders that a job may set: for each of them where it goes and its range.
//!
//! What is not in these tables cannot be set, and what an encoder has not is refused by name.

use ffrtmp_core::encoding::{EncoderOptions, Profile, Tune, VideoEncoder};
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::VideoCodec;

use super::{Family, Settings, refused};

/// An option with a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numeric {
    BFrames,
    References,
    Lookahead,
    AqMode,
    AqStrength,
    TileColumns,
    TileRows,
    FilmGrain,
}

/// Where a value goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// To an option of libav.
    Option(&'static str),
    /// To a parameter of the encoder itself.
    Parameter(&'static str),
    /// To an option of libav that counts what was given as a power of two.
    Power(&'static str),
}

impl Numeric {
    const fn name(self) -> &'static str {
        match self {
            Self::BFrames => "b_frames",
            Self::References => "references",
            Self::Lookahead => "lookahead",
            Self::AqMode => "aq_mode",
            Self::AqStrength => "aq_strength",
            Self::TileColumns => "tile_columns",
            Self::TileRows => "tile_rows",
            Self::FilmGrain => "film_grain",
        }
    }

    /// Where an encoder takes it and the largest value that it takes.
    const fn place(self, family: Family) -> Option<(Place, f64)> {
        use Family as F;
        use Place::{Option as Own, Parameter, Power};
        Some(match (self, family) {
            (Self::BFrames, F::X264 | F::X265) => (Own("bf"), 16.0),
            (Self::BFrames, F::Nvenc | F::Qsv | F::Vaapi) => (Own("bf"), 4.0),
            (Self::References, F::X264 | F::X265 | F::Nvenc | F::Qsv) => (Own("refs"), 16.0),
            (Self::Lookahead, F::X264) => (Own("rc-lookahead"), 250.0),
            (Self::Lookahead, F::X265) => (Parameter("rc-lookahead"), 250.0),
            (Self::Lookahead, F::Vpx8 | F::Vpx9) => (Own("lag-in-frames"), 25.0),
            (Self::Lookahead, F::Aom) => (Own("lag-in-frames"), 48.0),
            (Self::Lookahead, F::Svt) => (Parameter("lookahead"), 120.0),
            (Self::Lookahead, F::Nvenc) => (Own("rc-lookahead"), 32.0),
            (Self::Lookahead, F::Qsv) => (Own("look_ahead_depth"), 100.0),
            (Self::AqMode, F::X264) => (Own("aq-mode"), 3.0),
            (Self::AqMode, F::X265) => (Parameter("aq-mode"), 4.0),
            (Self::AqMode, F::Vpx9) => (Own("aq-mode"), 4.0),
            (Self::AqMode, F::Aom) => (Own("aq-mode"), 3.0),
            (Self::AqMode, F::Svt) => (Parameter("aq-mode"), 2.0),
            (Self::AqMode, F::Nvenc) => (Own("spatial-aq"), 1.0),
            (Self::AqStrength, F::X264) => (Own("aq-strength"), 3.0),
            (Self::AqStrength, F::X265) => (Parameter("aq-strength"), 3.0),
            (Self::TileColumns, F::Vpx9 | F::Aom) => (Own("tile-columns"), 6.0),
            (Self::TileColumns, F::Svt) => (Parameter("tile-columns"), 4.0),
            (Self::TileColumns, F::Rav1e) => (Power("tile-columns"), 6.0),
            (Self::TileRows, F::Vpx9) => (Own("tile-rows"), 2.0),
            (Self::TileRows, F::Aom) => (Own("tile-rows"), 6.0),
            (Self::TileRows, F::Svt) => (Parameter("tile-rows"), 6.0),
            (Self::TileRows, F::Rav1e) => (Power("tile-rows"), 6.0),
            (Self::FilmGrain, F::Svt) => (Parameter("film-grain"), 50.0),
            (Self::FilmGrain, F::Aom) => (Own("denoise-noise-level"), 50.0),
            _ => return None,
        })
    }
}

/// What an encoder calls a tuning.
const fn tune(family: Family, tune: Tune) -> Option<(Place, &'static str)> {
    use Family as F;
    use Place::{Option as Own, Parameter};
    Some(match (family, tune) {
        (F::X264, Tune::Film) => (Own("tune"), "film"),
        (F::X264, Tune::StillImage) => (Own("tune"), "stillimage"),
        (F::X264 | F::X265, Tune::Animation) => (Own("tune"), "animation"),
        (F::X264 | F::X265, Tune::Grain) => (Own("tune"), "grain"),
        (F::X264 | F::X265, Tune::FastDecode) => (Own("tune"), "fastdecode"),
        (F::X264 | F::X265, Tune::ZeroLatency) => (Own("tune"), "zerolatency"),
        (F::X264 | F::X265 | F::Vpx8 | F::Vpx9 | F::Aom, Tune::Psnr) => (Own("tune"), "psnr"),
        (F::X264 | F::X265 | F::Vpx8 | F::Vpx9 | F::Aom, Tune::Ssim) => (Own("tune"), "ssim"),
        (F::Vpx9, Tune::Film) => (Own("tune-content"), "film"),
        (F::Svt, Tune::Film) => (Parameter("tune"), "0"),
        (F::Svt, Tune::Psnr) => (Parameter("tune"), "1"),
        (F::Svt, Tune::FastDecode) => (Parameter("fast-decode"), "1"),
        (F::Rav1e, Tune::Psnr) => (Parameter("tune"), "Psnr"),
        (F::Nvenc, Tune::ZeroLatency) => (Own("tune"), "ull"),
        _ => return None,
    })
}

/// What an encoder calls a profile; an empty name where the pixel format says it all.
const fn profile(family: Family, codec: VideoCodec, profile: Profile) -> Option<&'static str> {
    use Family as F;
    Some(match (family, codec, profile) {
        (F::Vaapi, VideoCodec::H264, Profile::Baseline) => "constrained_baseline",
        (F::X264 | F::Nvenc | F::Qsv, VideoCodec::H264, Profile::Baseline) => "baseline",
        (_, VideoCodec::H264 | VideoCodec::H265, Profile::Main) => "main",
        (_, VideoCodec::H264, Profile::High) => "high",
        (F::X264, VideoCodec::H264, Profile::High10) => "high10",
        (_, VideoCodec::H265, Profile::Main10) => "main10",
        (_, VideoCodec::Av1, Profile::Main) => "",
        (_, VideoCodec::Vp9, Profile::Profile0 | Profile::Profile2) => "",
        _ => return None,
    })
}

/// How an encoder takes a level.
const fn level(family: Family) -> Option<Place> {
    match family {
        Family::X264 | Family::Vpx9 | Family::Nvenc | Family::Vaapi => Some(Place::Option("level")),
        Family::X265 => Some(Place::Parameter("level-idc")),
        _ => None,
    }
}

/// The codec that an encoder makes, by its name.
fn codec(encoder: &str) -> Option<VideoCodec> {
    encoder.parse::<VideoEncoder>().ok().map(VideoEncoder::codec)
}

impl Settings<'_> {
    pub(super) fn options(&mut self, options: &EncoderOptions) -> Result<()> {
        let EncoderOptions {
            tune,
            profile,
            level,
            b_frames,
            references,
            lookahead,
            aq_mode,
            aq_strength,
            tile_columns,
            tile_rows,
            film_grain,
        } = *options;
        self.tune(tune)?;
        self.profile(profile, b_frames)?;
        self.level(level)?;
        for (option, value) in [
            (Numeric::BFrames, b_frames.map(f64::from)),
            (Numeric::References, references.map(f64::from)),
            (Numeric::Lookahead, lookahead.map(f64::from)),
            (Numeric::AqMode, aq_mode.map(f64::from)),
            (Numeric::AqStrength, aq_strength),
            (Numeric::TileColumns, tile_columns.map(f64::from)),
            (Numeric::TileRows, tile_rows.map(f64::from)),
            (Numeric::FilmGrain, film_grain.map(f64::from)),
        ] {
            if let Some(value) = value {
                self.number(option, value)?;
            }
        }
        Ok(())
    }

    fn number(&mut self, option: Numeric, value: f64) -> Result<()> {
        let Some((place, most)) = option.place(self.family) else {
            return Err(self.unknown(option.name(), |family, _| option.place(family).is_some()));
        };
        if !(0.0..=most).contains(&value) {
            return Err(Error::new(Code::InvalidField, format!("{value} is out of range for {}", self.encoder))
                .field(format!("parameters.encoder_options.{}", option.name()))
                .hint(format!("give 0 to {most}")));
        }
        match place {
            // An alternate reference is built from what is ahead.
            Place::Option("lag-in-frames") if value == 0.0 => {
                self.set("lag-in-frames", 0);
                self.set("auto-alt-ref", 0);
            }
            Place::Option("look_ahead_depth") => {
                self.set("look_ahead", u8::from(value > 0.0));
                self.set("look_ahead_depth", value);
            }
            place => self.put(place, value),
        }
        Ok(())
    }

    fn put(&mut self, place: Place, value: impl ToString) {
        match place {
            Place::Option(key) => self.set(key, value),
            Place::Parameter(key) => self.parameter(key, value),
            Place::Power(key) => {
                let power: u32 = value.to_string().parse().unwrap_or(0);
                self.set(key, 1u32 << power.min(6));
            }
        }
    }

    fn tune(&mut self, wanted: Option<Tune>) -> Result<()> {
        let Some(wanted) = wanted else { return Ok(()) };
        let Some((place, name)) = tune(self.family, wanted) else {
            return Err(self.unknown_value("tune", wanted.as_str(), |family, _| tune(family, wanted).is_some()));
        };
        self.put(place, name);
        Ok(())
    }

    fn profile(&mut self, wanted: Option<Profile>, b_frames: Option<u8>) -> Result<()> {
        let Some(wanted) = wanted else { return Ok(()) };
        let fits = |family: Family, codec: VideoCodec| profile(family, codec, wanted);
        let Some(name) = codec(self.encoder).and_then(|codec| fits(self.family, codec)) else {
            let able = |family: Family, codec: VideoCodec| fits(family, codec).is_some();
            return Err(self.unknown_value("profile", wanted.as_str(), able));
        };
        if wanted == Profile::Baseline && b_frames.is_some_and(|frames| frames > 0) {
            return Err(Error::new(Code::InvalidField, "the baseline profile has no B-frames")
                .field("parameters.encoder_options.b_frames")
                .hint("give 0, or ask for profile main or high"));
        }
        if !name.is_empty() {
            self.set("profile", name);
        }
        Ok(())
    }

    fn level(&mut self, wanted: Option<f64>) -> Result<()> {
        let Some(wanted) = wanted else { return Ok(()) };
        let Some(place) = level(self.family) else {
            return Err(self.unknown("level", |family, _| level(family).is_some()));
        };
        self.put(place, wanted);
        Ok(())
    }

    fn unknown(&self, option: &str, able: impl Fn(Family, VideoCodec) -> bool) -> Error {
        self.lacks(option, format!("{} has no {option}", self.encoder), able)
    }

    fn unknown_value(&self, option: &str, value: &str, able: impl Fn(Family, VideoCodec) -> bool) -> Error {
        self.lacks(option, format!("{} has no {option} {value}", self.encoder), able)
    }

    fn lacks(&self, option: &str, message: String, able: impl Fn(Family, VideoCodec) -> bool) -> Error {
        refused(&format!("encoder_options.{option}"), message, |encoder| {
            able(Family::of(encoder.as_str()), encoder.codec())
        })
    }
}
