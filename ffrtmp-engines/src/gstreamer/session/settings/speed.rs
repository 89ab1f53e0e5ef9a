//! Presets in x264 words, for every encoder.

use ffrtmp_core::error::{Code, Error, Result};

use super::super::Pace;

/// Words of x264, fastest first.
const WORDS: [&str; 10] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];
const MEDIUM: usize = 5;
/// What keeps up with a camera on a small machine.
const VERYFAST: usize = 2;
/// `cpu-used` of libvpx: from 5 on these are its real-time modes.
const VPX_LIVE: [u8; 10] = [8, 8, 7, 7, 6, 6, 5, 5, 5, 5];
const VPX_CALM: [u8; 10] = [5, 5, 5, 5, 4, 4, 3, 2, 1, 0];
/// `cpu-used` of libaom: its real-time modes go from 5 to 10.
const AOM_LIVE: [u8; 10] = [10, 10, 9, 9, 8, 8, 7, 7, 6, 5];
const AOM_CALM: [u8; 10] = [6, 6, 6, 5, 5, 4, 3, 2, 1, 0];
/// Presets of SVT-AV1.
const SVT: [u8; 10] = [12, 11, 10, 9, 9, 8, 6, 5, 4, 3];
/// Speeds of rav1e.
const RAV1E: [u8; 10] = [10, 9, 8, 7, 7, 6, 5, 4, 3, 2];
/// Levels of NVIDIA, Quick Sync and VA-API, of 7: 1 is the fastest here.
const DEVICE: [u8; 10] = [1, 1, 2, 3, 3, 4, 5, 6, 7, 7];

/// Speed against quality, as a place among the words of x264.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Preset(usize);

impl Preset {
    /// Reads a word, or a number of the encoder's own scale of 0 to 13 where a greater one is faster
    /// for AV1 and VP9. Without one it is `veryfast` for live work and `medium` else.
    ///
    /// # Errors
    /// `invalid_field`.
    pub(in super::super) fn parse(text: Option<&str>, pace: Pace) -> Result<Self> {
        let Some(text) = text else {
            return Ok(Self(if pace == Pace::Live { VERYFAST } else { MEDIUM }));
        };
        let lower = text.to_ascii_lowercase();
        if let Some(place) = WORDS.iter().position(|word| *word == lower) {
            return Ok(Self(place));
        }
        let digits = !lower.is_empty() && lower.len() <= 2 && lower.bytes().all(|byte| byte.is_ascii_digit());
        let number: Option<usize> = digits.then(|| lower.parse().ok()).flatten();
        number.map(|number| Self((WORDS.len() - 1).saturating_sub(number))).ok_or_else(|| {
            Error::new(Code::InvalidField, format!("unknown preset {text:?}"))
                .field("parameters.preset")
                .hint(format!("give one of {}, or a number", WORDS.join(", ")))
        })
    }

    /// So many steps faster, as far as there are.
    pub(in super::super) const fn faster(self, steps: usize) -> Self {
        Self(self.0.saturating_sub(steps))
    }

    /// Steps that are left to the fastest.
    pub(in super::super) const fn steps_left(self) -> usize {
        self.0
    }

    pub(in super::super) const fn word(self) -> &'static str {
        WORDS[self.0]
    }

    pub(super) const fn vpx(self, live: bool) -> u8 {
        if live { VPX_LIVE[self.0] } else { VPX_CALM[self.0] }
    }

    pub(super) const fn aom(self, live: bool) -> u8 {
        if live { AOM_LIVE[self.0] } else { AOM_CALM[self.0] }
    }

    pub(super) const fn svt(self) -> u8 {
        SVT[self.0]
    }

    pub(super) const fn rav1e(self) -> u8 {
        RAV1E[self.0]
    }

    /// 1 (fastest) to 7 (best).
    pub(super) const fn device(self) -> u8 {
        DEVICE[self.0]
    }

    /// x264 has no use for its slowest presets where a picture is due every 40 ms, but who asks for
    /// them gets them.
    pub(super) const fn of_three(self) -> u8 {
        match self.0 {
            0..=3 => 0,
            4..=6 => 1,
            _ => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_numbers_and_steps() {
        for (text, pace, word) in [
            (None, Pace::Live, "veryfast"),
            (None, Pace::Calm, "medium"),
            (Some("Slow"), Pace::Live, "slow"),
            (Some("8"), Pace::Live, "superfast"),
            (Some("13"), Pace::Live, "ultrafast"),
        ] {
            assert_eq!(Preset::parse(text, pace).unwrap().word(), word, "{text:?}");
        }
        let preset = Preset::parse(Some("medium"), Pace::Live).unwrap();
        assert_eq!((preset.faster(2).word(), preset.faster(99).word()), ("faster", "ultrafast"));
        for bad in ["", "quick", "-1", "100"] {
            assert_eq!(Preset::parse(Some(bad), Pace::Live).unwrap_err().field_name(), Some("parameters.preset"));
        }
    }
}
