//! Quality, bit rate, buffers and passes.
//!
//! Quality below a cap is VBV for x264 and x265, "constrained quality" for libvpx, and a maximal bit
//! rate for SVT-AV1; libaom's bursts go to several times what it was told, and rav1e knows no cap.
//! Rates of SVT-AV1 and rav1e are averages without a buffer model: a cap that was asked for is
//! refused there, and so is a constant rate, which SVT-AV1 holds in name only.

use ffrtmp_core::encoding::VideoEncoder;
use ffrtmp_core::error::{Code, Error, Result};
use ffrtmp_core::media::VideoCodec;
use ffrtmp_core::plan::{RateControl, Vbv, VideoEncode};
use ffrtmp_core::units::Bitrate;

use super::{Family, Pass, Settings, refused};

/// Quantiser steps of rav1e per step of the scale that the other AV1 encoders have.
const RAV1E_STEPS: f64 = 255.0 / 63.0;

/// How far SVT-AV1 may go beyond a cap for a while, in per cent. With its own 50, whole files come out
/// a sixth beyond it.
const SVT_OVERSHOOT: u32 = 25;

impl Family {
    /// Whether a quality can be given a cap.
    const fn caps_quality(self) -> bool {
        !matches!(self, Self::Aom | Self::Rav1e)
    }

    /// Whether an average can be given a cap.
    const fn caps_average(self) -> bool {
        !matches!(self, Self::Svt | Self::Rav1e)
    }

    const fn holds_constant(self) -> bool {
        !matches!(self, Self::Svt | Self::Rav1e)
    }

    /// rav1e would, but libav hands out nothing of what its first pass measured.
    const fn looks_twice(self) -> bool {
        matches!(self, Self::X264 | Self::X265 | Self::Vpx8 | Self::Vpx9 | Self::Aom)
    }
}

impl Settings<'_> {
    pub(super) fn rate(&mut self, plan: &VideoEncode) -> Result<()> {
        match plan.rate {
            RateControl::Quality { crf, cap } => {
                let crf = crf.value();
                let limit = if matches!(plan.codec, VideoCodec::H264 | VideoCodec::H265) { 51.0 } else { 63.0 };
                if crf > limit {
                    return Err(Error::new(Code::InvalidField, format!("{crf} is too large for {}", plan.codec))
                        .field("parameters.crf")
                        .hint(format!("give 0 (best) to {limit}")));
                }
                if cap.is_some() {
                    self.need("max_bitrate", "cannot cap a quality", Family::caps_quality)?;
                }
                self.quality(crf, cap, plan.size.pixels());
            }
            RateControl::Average { bitrate, cap, .. } => {
                if !is_usual(bitrate, cap) {
                    self.need("max_bitrate", "cannot cap an average", Family::caps_average)?;
                }
                self.average(bitrate, cap);
            }
            RateControl::Constant { bitrate, buffer } => {
                self.need("rate_mode", "cannot hold a constant rate", Family::holds_constant)?;
                self.constant(bitrate, buffer);
            }
        }
        Ok(())
    }

    /// What differs between the first pass and the second.
    pub(super) fn pass(&mut self, plan: &VideoEncode, pass: Pass<'_>) -> Result<()> {
        if matches!(plan.rate, RateControl::Average { two_pass: true, .. }) {
            self.need("two_pass", "cannot encode in two passes", Family::looks_twice)?;
        }
        let (number, file) = match pass {
            Pass::Single => return Ok(()),
            Pass::First(file) => (1, file),
            Pass::Second(file) => (2, file),
        };
        let Some(file) = file.to_str() else {
            return Err(Error::new(Code::EncodeFailed, "the path of the two-pass statistics is not UTF-8")
                .field("output")
                .hint("name the output with UTF-8"));
        };
        match self.family {
            Family::X265 => {
                self.parameter("pass", number);
                self.parameter("stats", file);
            }
            Family::X264 => {
                self.flags.push_str(&format!("+pass{number}"));
                self.set("passlogfile", file);
            }
            _ => self.flags.push_str(&format!("+pass{number}")),
        }
        Ok(())
    }

    fn need(&self, parameter: &str, cannot: &str, able: impl Fn(Family) -> bool) -> Result<()> {
        if able(self.family) {
            return Ok(());
        }
        let message = format!("{} {cannot}", self.encoder);
        Err(refused(parameter, message, |encoder: VideoEncoder| able(Family::of(encoder.as_str()))))
    }

    fn quality(&mut self, crf: f64, cap: Option<Vbv>, pixels: u64) {
        let whole = crf.round();
        match self.family {
            Family::X264 | Family::X265 => self.set("crf", crf),
            Family::Vpx8 => {
                // VP8 knows quality only below a rate, so without a cap it is too high to matter.
                self.set("crf", whole.max(4.0));
                self.set("b", cap.map_or(pixels * 30, |cap| cap.max_rate.bps()));
            }
            Family::Vpx9 | Family::Aom => {
                self.set("crf", whole);
                self.set("b", cap.map_or(0, |cap| cap.max_rate.bps()));
            }
            Family::Svt => self.set("crf", whole),
            Family::Rav1e => self.set("qp", (crf * RAV1E_STEPS).round()),
            Family::Nvenc => {
                self.set("rc", "vbr");
                self.set("cq", crf);
                self.set("b", 0);
            }
            Family::Qsv => self.set("global_quality", whole.max(1.0)),
            Family::Vaapi => {
                self.set("rc_mode", if cap.is_some() { "QVBR" } else { "CQP" });
                self.set("global_quality", whole.max(1.0));
            }
        }
        let Some(cap) = cap else { return };
        self.buffer(cap);
        match self.family {
            Family::Qsv | Family::Vaapi => self.set("b", cap.max_rate.bps() * 2 / 3),
            Family::Svt => self.parameter("mbr-overshoot-pct", SVT_OVERSHOOT),
            _ => {}
        }
    }

    fn average(&mut self, bitrate: Bitrate, cap: Vbv) {
        self.set("b", bitrate.bps());
        match self.family {
            Family::Nvenc => self.set("rc", "vbr"),
            Family::Vaapi => self.set("rc_mode", "VBR"),
            _ => {}
        }
        if self.family.caps_average() {
            self.buffer(cap);
        }
    }

    fn constant(&mut self, bitrate: Bitrate, buffer: Bitrate) {
        self.set("b", bitrate.bps());
        self.buffer(Vbv { max_rate: bitrate, buffer });
        match self.family {
            Family::X264 => self.set("nal-hrd", "cbr"),
            Family::X265 => self.parameter("strict-cbr", 1),
            Family::Vpx8 | Family::Vpx9 | Family::Aom => self.set("minrate", bitrate.bps()),
            Family::Nvenc => self.set("rc", "cbr"),
            Family::Vaapi => self.set("rc_mode", "CBR"),
            Family::Svt | Family::Rav1e | Family::Qsv => {}
        }
    }

    fn buffer(&mut self, cap: Vbv) {
        self.set("maxrate", cap.max_rate.bps());
        self.set("bufsize", cap.buffer.bps());
    }
}

/// Whether this is the cap that a plan gives every average that was asked for without one: it may
/// be left out where an encoder has none.
fn is_usual(bitrate: Bitrate, cap: Vbv) -> bool {
    cap.max_rate == bitrate.scaled(3, 2)
}
