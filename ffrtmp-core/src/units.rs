//! Quantities as types: bit rates, picture sizes, frame rates, quality factors, energy.
//!
//! Every type reads the notation that people use (`5M`, `1080p`, `29.97`) and shows it again. In
//! JSON a bit rate and a size are texts; a frame rate is a number or a text such as `30000/1001`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Code, Error};

fn invalid(what: &'static str, text: &str, hint: &'static str) -> Error {
    Error::new(Code::InvalidField, format!("{text:?} is not a {what}")).field(what).hint(hint)
}

/// Serialises through `Display` and reads back through `FromStr`, accepting a bare number too.
macro_rules! text_serde {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                NumberOrText::deserialize(deserializer)?.text().parse().map_err(de::Error::custom)
            }
        }
    };
}

#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Integer(u64),
    Number(f64),
    Text(String),
}

impl NumberOrText {
    fn text(self) -> String {
        match self {
            Self::Integer(number) => number.to_string(),
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

/// Bits per second, from 1 kb/s to 1 Gb/s. Written `800k`, `5M`, `2.5M`, or as plain bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bitrate(u64);

impl Bitrate {
    /// The smallest bit rate accepted.
    pub const MIN: Self = Self(1_000);
    /// The largest bit rate accepted.
    pub const MAX: Self = Self(1_000_000_000);

    /// From bits per second.
    ///
    /// # Errors
    /// `invalid_field` outside [`Bitrate::MIN`]`..=`[`Bitrate::MAX`].
    pub fn from_bps(bps: u64) -> Result<Self, Error> {
        if (Self::MIN.0..=Self::MAX.0).contains(&bps) {
            Ok(Self(bps))
        } else {
            Err(invalid("bitrate", &bps.to_string(), "give 1k to 1000M bits per second, such as 5M or 800k"))
        }
    }

    /// From kilobits (1000 bits) per second, clamped to the accepted range.
    #[must_use]
    pub fn from_kbps(kbps: u64) -> Self {
        Self(kbps.saturating_mul(1000).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// This rate times `numerator / denominator`, clamped to the accepted range.
    #[must_use]
    pub fn scaled(self, numerator: u64, denominator: u64) -> Self {
        Self((self.0.saturating_mul(numerator) / denominator.max(1)).clamp(Self::MIN.0, Self::MAX.0))
    }

    /// Bits per second.
    #[must_use]
    pub const fn bps(self) -> u64 {
        self.0
    }
}

impl FromStr for Bitrate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        const HINT: &str = "give 1k to 1000M bits per second, such as 5M or 800k";
        let trimmed = text.trim();
        let lower = trimmed.to_ascii_lowercase();
        let number = lower.strip_suffix("bps").or_else(|| lower.strip_suffix("bit/s")).unwrap_or(&lower);
        let (number, factor) = match number.as_bytes().last() {
            Some(b'k') => (&number[..number.len() - 1], 1e3),
            Some(b'm') => (&number[..number.len() - 1], 1e6),
            Some(b'g') => (&number[..number.len() - 1], 1e9),
            _ => (number, 1.0),
        };
        let plain = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let value: f64 = plain.then(|| number.parse().ok()).flatten().ok_or_else(|| invalid("bitrate", text, HINT))?;
        let bps = value * factor;
        if !(Self::MIN.0 as f64..=Self::MAX.0 as f64).contains(&bps) {
            return Err(invalid("bitrate", text, HINT));
        }
        Ok(Self(bps.round() as u64))
    }
}

impl fmt::Display for Bitrate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            bps if bps % 1_000_000 == 0 => write!(f, "{}M", bps / 1_000_000),
            bps if bps % 1_000 == 0 => write!(f, "{}k", bps / 1_000),
            bps => write!(f, "{bps}"),
        }
    }
}

text_serde!(Bitrate);

/// A picture size in pixels, 16×16 to 16384×16384. Written `1920x1080` or by name: `1080p`, `4K`.
///
/// A name gives the height of a 16:9 picture and stands for a bound, not for a shape: see
/// [`crate::plan`] for how a source of another shape is fitted into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Resolution {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

/// Resolution names of the scenario grammar with their 16:9 sizes.
pub const RESOLUTION_NAMES: &[(&str, Resolution)] = &[
    ("4k", Resolution { width: 3840, height: 2160 }),
    ("2160p", Resolution { width: 3840, height: 2160 }),
    ("1440p", Resolution { width: 2560, height: 1440 }),
    ("1080p", Resolution { width: 1920, height: 1080 }),
    ("720p", Resolution { width: 1280, height: 720 }),
    ("576p", Resolution { width: 1024, height: 576 }),
    ("480p", Resolution { width: 854, height: 480 }),
    ("360p", Resolution { width: 640, height: 360 }),
    ("240p", Resolution { width: 426, height: 240 }),
    ("144p", Resolution { width: 256, height: 144 }),
];

impl Resolution {
    /// A size in pixels.
    ///
    /// # Errors
    /// `invalid_field` outside 16..=16384 on either side.
    pub fn new(width: u32, height: u32) -> Result<Self, Error> {
        if (16..=16384).contains(&width) && (16..=16384).contains(&height) {
            Ok(Self { width, height })
        } else {
            Err(invalid(
                "resolution",
                &format!("{width}x{height}"),
                "give 16x16 to 16384x16384, or a name such as 1080p",
            ))
        }
    }

    /// Pixels in the picture.
    #[must_use]
    pub const fn pixels(self) -> u64 {
        self.width as u64 * self.height as u64
    }

    /// The same size turned by 90 degrees.
    #[must_use]
    pub const fn turned(self) -> Self {
        Self { width: self.height, height: self.width }
    }
}

impl FromStr for Resolution {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let lower = text.trim().to_ascii_lowercase();
        if let Some((_, size)) = RESOLUTION_NAMES.iter().find(|(name, _)| *name == lower) {
            return Ok(*size);
        }
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse().ok()).flatten();
        lower
            .split_once('x')
            .and_then(|(width, height)| Some((digits(width)?, digits(height)?)))
            .ok_or_else(|| invalid("resolution", text, "give WIDTHxHEIGHT, or a name such as 1080p or 4K"))
            .and_then(|(width, height)| Self::new(width, height))
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

text_serde!(Resolution);

/// What a request says about the picture size.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PictureSize {
    /// A name such as `1080p`: the picture is fitted into this box (turned for an upright source)
    /// and keeps its shape.
    Bound(Resolution),
    /// `WIDTHxHEIGHT`: exactly these pixels; the sample aspect ratio keeps the shape.
    Exact(Resolution),
}

impl PictureSize {
    /// The box or the exact size.
    #[must_use]
    pub const fn resolution(self) -> Resolution {
        match self {
            Self::Bound(size) | Self::Exact(size) => size,
        }
    }
}

impl FromStr for PictureSize {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = !text.to_ascii_lowercase().contains('x');
        let size = text.parse()?;
        Ok(if named { Self::Bound(size) } else { Self::Exact(size) })
    }
}

impl fmt::Display for PictureSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(size) => size.fmt(f),
            Self::Bound(size) => match RESOLUTION_NAMES.iter().find(|(_, named)| named == size) {
                Some((name, _)) => f.write_str(name),
                None => size.fmt(f),
            },
        }
    }
}

text_serde!(PictureSize);

/// Frames per second as an exact ratio, 1 to 240. `29.97`, `23.976`, `59.94` and `119.88` mean the
/// NTSC ratios with denominator 1001.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FrameRate {
    /// Frames …
    pub num: u32,
    /// … per this many seconds.
    pub den: u32,
}

impl FrameRate {
    /// An exact ratio in lowest terms.
    ///
    /// # Errors
    /// `invalid_field` below 1 or above 240 frames per second.
    pub fn new(num: u32, den: u32) -> Result<Self, Error> {
        if den == 0 || num < den || u64::from(num) > 240 * u64::from(den) {
            return Err(invalid("fps", &format!("{num}/{den}"), "give 1 to 240 frames per second"));
        }
        let divisor = gcd(num, den);
        Ok(Self { num: num / divisor, den: den / divisor })
    }

    /// A whole number of frames per second, clamped to 1..=240.
    #[must_use]
    pub fn whole(fps: u32) -> Self {
        Self { num: fps.clamp(1, 240), den: 1 }
    }

    /// Frames per second as a number, for display and estimates.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl FromStr for FrameRate {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = || invalid("fps", text, "give 1 to 240 frames per second, such as 30, 29.97 or 30000/1001");
        let text = text.trim();
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit()).then(|| part.parse::<u32>().ok()).flatten();
        if let Some((num, den)) = text.split_once('/') {
            return Self::new(digits(num).ok_or_else(wrong)?, digits(den).ok_or_else(wrong)?).map_err(|_| wrong());
        }
        if let Some(fps) = digits(text) {
            return Self::new(fps, 1).map_err(|_| wrong());
        }
        let plain = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let fps: f64 = plain.then(|| text.parse().ok()).flatten().ok_or_else(wrong)?;
        if !(1.0..=240.0).contains(&fps) {
            return Err(wrong());
        }
        let ntsc = (fps.ceil() * 1000.0 / 1001.0 - fps).abs() < 0.005;
        if ntsc { Self::new(fps.ceil() as u32 * 1000, 1001) } else { Self::new((fps * 1000.0).round() as u32, 1000) }
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.den == 1 { write!(f, "{}", self.num) } else { write!(f, "{}/{}", self.num, self.den) }
    }
}

impl Serialize for FrameRate {
    /// A whole rate is a JSON integer, any other a JSON number.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.den == 1 { serializer.serialize_u32(self.num) } else { serializer.serialize_f64(self.as_f64()) }
    }
}

impl<'de> Deserialize<'de> for FrameRate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        NumberOrText::deserialize(deserializer)?.text().parse().map_err(de::Error::custom)
    }
}

/// Constant rate factor: the quality scale of the encoder in use, 0 (best) to 63; x264 and x265
/// stop at 51.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Crf(f64);

impl Crf {
    /// The factor as a number.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Crf {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self, Error> {
        if (0.0..=63.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(invalid("crf", &value.to_string(), "give 0 (best) to 63, 51 for H.264 and H.265"))
        }
    }
}

impl From<Crf> for f64 {
    fn from(crf: Crf) -> Self {
        crf.0
    }
}

impl FromStr for Crf {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        text.trim().parse::<f64>().map_err(|_| invalid("crf", text, "give 0 (best) to 63"))?.try_into()
    }
}

impl fmt::Display for Crf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Energy in joules (watt seconds).
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Joules(pub f64);

/// A span of media time in seconds, from 1 ms to 366 days.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Seconds(f64);

impl Seconds {
    /// The span as a number of seconds.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Seconds {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self, Error> {
        if (0.001..=366.0 * 86400.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(invalid("duration", &value.to_string(), "give a positive number of seconds, 0.001 to 31622400"))
        }
    }
}

impl FromStr for Seconds {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let number = text.strip_suffix('s').unwrap_or(text);
        number.parse::<f64>().map_err(|_| invalid("duration", text, "give seconds, such as 10 or 2.5"))?.try_into()
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Seconds {
    /// A whole number of seconds is a JSON integer.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 { serializer.serialize_u64(self.0 as u64) } else { serializer.serialize_f64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Number(f64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Number(value) => value.try_into(),
            Raw::Text(text) => text.parse(),
        }
        .map_err(de::Error::custom)
    }
}

/// A time in the output, in seconds from its beginning; 0 is the first picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
pub struct Moment(f64);

impl Moment {
    /// Seconds from the beginning.
    #[must_use]
    pub const fn value(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Moment {
    type Error = Error;

    fn try_from(value: f64) -> Result<Self, Error> {
        if (0.0..=366.0 * 86400.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(invalid("time", &value.to_string(), "give seconds from the beginning, 0 to 31622400"))
        }
    }
}

impl FromStr for Moment {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        let number = text.strip_suffix('s').unwrap_or(text);
        number.parse::<f64>().map_err(|_| invalid("time", text, "give seconds, such as 0 or 2.5"))?.try_into()
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.fract() == 0.0 { serializer.serialize_u64(self.0 as u64) } else { serializer.serialize_f64(self.0) }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        f64::deserialize(deserializer)?.try_into().map_err(de::Error::custom)
    }
}

/// An exact fraction, for time bases and sample aspect ratios.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Ratio {
    /// Numerator.
    pub num: i32,
    /// Denominator, never zero in a valid ratio.
    pub den: i32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bitrates() {
        for (text, bps) in
            [("5M", 5_000_000), ("5000k", 5_000_000), ("2.5M", 2_500_000), ("800K", 800_000), ("64000", 64_000)]
        {
            assert_eq!(text.parse::<Bitrate>().unwrap().bps(), bps, "{text}");
        }
        for bad in ["", "M", "-5M", "5X", "1e9", "0", "999", "2G", "NaN", "inf", "5 M"] {
            assert!(bad.parse::<Bitrate>().is_err(), "{bad:?}");
        }
        assert_eq!("5000k".parse::<Bitrate>().unwrap().to_string(), "5M");
        assert_eq!(serde_json::from_str::<Bitrate>("2000000").unwrap().to_string(), "2M");
    }

    #[test]
    fn resolutions() {
        assert_eq!("4K".parse::<Resolution>().unwrap().to_string(), "3840x2160");
        assert_eq!("640x272".parse::<Resolution>().unwrap().pixels(), 640 * 272);
        for bad in ["", "x", "0x0", "1080", "99999x2", "-1x5", "1080pp", "+64x+64"] {
            assert!(bad.parse::<Resolution>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn frame_rates() {
        for (text, num, den) in [
            ("30", 30, 1),
            ("29.97", 30000, 1001),
            ("23.976", 24000, 1001),
            ("12.5", 25, 2),
            ("60000/1001", 60000, 1001),
        ] {
            assert_eq!(text.parse::<FrameRate>().unwrap(), FrameRate { num, den }, "{text}");
        }
        for bad in ["0", "241", "-5", "abc", "1/0", "0.5", "NaN", "+30"] {
            assert!(bad.parse::<FrameRate>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn seconds_are_positive() {
        assert!(serde_json::from_str::<Seconds>("-5").is_err());
        assert!(serde_json::from_str::<Seconds>("0").is_err());
        assert_eq!(serde_json::to_string(&serde_json::from_str::<Seconds>("\"300\"").unwrap()).unwrap(), "300");
    }
}
