//! What a high-dynamic-range picture says about the screen it was graded on and its own light
//! (SMPTE ST 2086, CTA-861.3), in the notations of the encoders.
//!
//! Where a source keeps it is `probe.rs` and `video.rs`; which encoder takes which notation is in
//! `encoders/`.

use std::fmt;
use std::str::FromStr;

use ffrtmp_core::error::{Code, Error, Result};

/// Static metadata of a picture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct HdrMetadata {
    /// The screen on which it was graded.
    pub(super) mastering: Option<Mastering>,
    /// How bright it gets.
    pub(super) light: Option<ContentLight>,
}

impl HdrMetadata {
    /// Whether nothing is known.
    pub(super) fn is_empty(&self) -> bool {
        self.mastering.is_none() && self.light.is_none()
    }
}

/// Colours and brightness of a mastering display.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mastering {
    /// CIE 1931 x and y of red, green and blue.
    pub(super) primaries: [(Fraction, Fraction); 3],
    /// CIE 1931 x and y of white.
    pub(super) white: (Fraction, Fraction),
    /// Brightest white in candela per square metre.
    pub(super) max_luminance: Fraction,
    /// Darkest black in candela per square metre.
    pub(super) min_luminance: Fraction,
}

/// Brightness of the content in candela per square metre.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ContentLight {
    /// Of the brightest pixel: MaxCLL.
    pub(super) max_cll: u16,
    /// Of the brightest frame on average: MaxFALL.
    pub(super) max_fall: u16,
}

/// A number that is not negative, as a fraction with a denominator above zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fraction {
    num: i32,
    den: i32,
}

/// Steps of a chromaticity coordinate in H.265's message: 0.00002.
const CHROMATICITY: i32 = 50_000;
/// Steps of a luminance in H.265's message: 0.0001 candela per square metre.
const LUMINANCE: i32 = 10_000;
/// The brightest screen that the message can name.
const MAX_LUMINANCE: i32 = i32::MAX / LUMINANCE;

impl Fraction {
    /// A fraction out of a foreign file; `None` for what is negative or divides by zero.
    pub(super) const fn new(num: i32, den: i32) -> Option<Self> {
        if num >= 0 && den > 0 { Some(Self { num, den }) } else { None }
    }

    /// The number in steps of `1 / steps`, to the nearest.
    pub(super) fn steps(self, steps: i32) -> i64 {
        let (num, den) = (i64::from(self.num) * i64::from(steps), i64::from(self.den));
        (num + den / 2) / den
    }

    pub(super) fn value(self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }
}

impl Mastering {
    /// The same, where it is one that a screen can have: coordinates up to 1, a white that is
    /// brighter than black. Files say the strangest things.
    pub(super) fn sane(self) -> Option<Self> {
        let coordinates = self.primaries.iter().chain([&self.white]).flat_map(|(x, y)| [*x, *y]);
        let inside = coordinates.into_iter().all(|coordinate| (0.0..=1.0).contains(&coordinate.value()));
        let white = (1.0..=f64::from(MAX_LUMINANCE)).contains(&self.max_luminance.value());
        (inside && white && self.min_luminance.value() < self.max_luminance.value()).then_some(self)
    }

    /// In whole steps, as x264 and x265 take it: `G(13250,34500)B(…)R(…)WP(…)L(10000000,1)`.
    pub(super) fn in_steps(&self) -> String {
        self.notation(
            |coordinate| coordinate.steps(CHROMATICITY).to_string(),
            |light| light.steps(LUMINANCE).to_string(),
        )
    }

    /// In decimals, as SVT-AV1 takes it: `G(0.265,0.69)B(…)R(…)WP(…)L(1000,0.0001)`.
    pub(super) fn in_decimals(&self) -> String {
        let decimals = |number: Fraction| format!("{:.5}", number.value());
        self.notation(decimals, decimals)
    }

    fn notation(&self, color: impl Fn(Fraction) -> String, light: impl Fn(Fraction) -> String) -> String {
        let point = |(x, y): (Fraction, Fraction)| format!("({},{})", color(x), color(y));
        let [red, green, blue] = self.primaries.map(point);
        let white = point(self.white);
        format!("G{green}B{blue}R{red}WP{white}L({},{})", light(self.max_luminance), light(self.min_luminance))
    }
}

impl FromStr for Mastering {
    type Err = Error;

    /// Reads the notation in whole steps.
    fn from_str(text: &str) -> Result<Self> {
        let mut rest = text;
        let mut pair = |name: &str, steps: (i32, i32)| {
            let (inside, after) = rest.strip_prefix(name)?.strip_prefix('(')?.split_once(')')?;
            let (one, other) = inside.split_once(',')?;
            rest = after;
            Some((Fraction::new(one.parse().ok()?, steps.0)?, Fraction::new(other.parse().ok()?, steps.1)?))
        };
        let color = (CHROMATICITY, CHROMATICITY);
        let mut read = || {
            let (green, blue, red) = (pair("G", color)?, pair("B", color)?, pair("R", color)?);
            let (white, light) = (pair("WP", color)?, pair("L", (LUMINANCE, LUMINANCE))?);
            let primaries = [red, green, blue];
            Self { primaries, white, max_luminance: light.0, min_luminance: light.1 }.sane()
        };
        read().filter(|_| rest.is_empty()).ok_or_else(|| {
            Error::new(Code::InvalidField, format!("{text:?} is no mastering display"))
                .hint("give G(x,y)B(x,y)R(x,y)WP(x,y)L(max,min) in steps of 0.00002 and 0.0001 cd/m²")
        })
    }
}

impl fmt::Display for ContentLight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{}", self.max_cll, self.max_fall)
    }
}

impl FromStr for ContentLight {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let read = || {
            let (max_cll, max_fall) = text.split_once(',')?;
            Some(Self { max_cll: max_cll.parse().ok()?, max_fall: max_fall.parse().ok()? })
        };
        read().ok_or_else(|| {
            Error::new(Code::InvalidField, format!("{text:?} is no light level")).hint("give MaxCLL,MaxFALL in cd/m²")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BT2020: &str = "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,1)";

    #[test]
    fn a_screen_survives_its_notations() {
        let screen: Mastering = BT2020.parse().unwrap();
        assert_eq!(screen.in_steps(), BT2020);
        let decimals = "G(0.17000,0.79700)B(0.13100,0.04600)R(0.70800,0.29200)WP(0.31270,0.32900)L(1000.00000,0.00010)";
        assert_eq!(screen.in_decimals(), decimals);
        // Other denominators, as MP4 and Matroska have them, come to the same steps.
        let third = Fraction::new(1, 3).unwrap();
        assert_eq!((third.steps(CHROMATICITY), third.steps(LUMINANCE)), (16667, 3333));
    }

    #[test]
    fn what_no_screen_is_like_is_refused() {
        for bad in [
            "",
            "G(1,2)",
            "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(1,10000000)",
            "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,50001)L(10000000,1)",
            "G(8500,39850)B(6550,-1)R(35400,14600)WP(15635,16450)L(10000000,1)",
            "G(8500,39850)B(6550,2300)R(35400,14600)WP(15635,16450)L(10000000,1):crf=1",
        ] {
            assert!(bad.parse::<Mastering>().is_err(), "{bad}");
        }
        assert_eq!((Fraction::new(1, 0), Fraction::new(-1, 2)), (None, None));
    }

    #[test]
    fn light_levels_are_two_numbers() {
        let light: ContentLight = "1000,400".parse().unwrap();
        assert_eq!((light.max_cll, light.max_fall, light.to_string().as_str()), (1000, 400, "1000,400"));
        for bad in ["", "1000", "1000,", "1000,400,1", "-1,2", "70000,1"] {
            assert!(bad.parse::<ContentLight>().is_err(), "{bad}");
        }
    }
}
