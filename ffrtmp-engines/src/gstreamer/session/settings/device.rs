//! Encoders that run on a device. Their elements differ from one version of GStreamer to the next,
//! so that only what nothing works without is insisted on.

use ffrtmp_core::error::Result;

use super::rate::{Hold, kbps};
use super::{Preset, Properties, Setting};

/// Quality of devices counts like that of H.264, to 51.
fn quantizer(crf: f64) -> f64 {
    crf.round().clamp(1.0, 51.0)
}

pub(super) fn nvidia(to: &mut Properties, setting: &Setting<'_>) -> Result<()> {
    let preset = Preset::parse(setting.plan.preset.as_deref(), setting.pace)?.faster(setting.faster);
    // Before 1.24 there is no `p1` to `p7`.
    to.set_if_known("preset", if setting.is_live() { "low-latency-hq" } else { "hq" });
    to.set_if_known("preset", format!("p{}", preset.device()));
    if setting.is_live() {
        to.set_if_known("zerolatency", true);
        to.set_if_known("tune", "ultra-low-latency");
        to.set_if_known("bframes", 0);
        to.set_if_known("b-frames", 0);
        to.set_if_known("rc-lookahead", 0);
    }
    to.set_if_known("strict-gop", setting.keys_are_asked_for());
    to.set("gop-size", setting.key_distance());
    match Hold::of(setting.plan) {
        Hold::Quality(crf, cap) => {
            to.set("rc-mode", "vbr");
            to.set_if_known("const-quality", crf);
            to.set("bitrate", 0);
            to.set_if_known("max-bitrate", cap.map_or(0, |cap| kbps(cap.max_rate)));
        }
        Hold::Average(rate, cap) => {
            to.set("rc-mode", "vbr");
            to.set("bitrate", kbps(rate));
            to.set_if_known("max-bitrate", kbps(cap.max_rate));
            to.set_if_known("vbv-buffer-size", kbps(cap.buffer));
        }
        Hold::Constant(rate, cap) => {
            to.set("rc-mode", "cbr");
            to.set("bitrate", kbps(rate));
            to.set_if_known("vbv-buffer-size", kbps(cap.buffer));
        }
    }
    Ok(())
}

pub(super) fn quick_sync(to: &mut Properties, setting: &Setting<'_>) -> Result<()> {
    let preset = Preset::parse(setting.plan.preset.as_deref(), setting.pace)?.faster(setting.faster);
    // 1 is best and 7 is fastest.
    to.set_if_known("target-usage", 8 - preset.device());
    to.set("gop-size", setting.key_distance());
    if setting.is_live() {
        to.set_if_known("low-latency", true);
        to.set_if_known("b-frames", 0);
    }
    match Hold::of(setting.plan) {
        Hold::Quality(crf, _) => {
            to.set("rate-control", "cqp");
            to.set_if_known("qp-i", quantizer(crf));
            to.set_if_known("qp-p", quantizer(crf));
        }
        Hold::Average(rate, cap) => {
            to.set("rate-control", "vbr");
            to.set("bitrate", kbps(rate));
            to.set_if_known("max-bitrate", kbps(cap.max_rate));
        }
        Hold::Constant(rate, _) => {
            to.set("rate-control", "cbr");
            to.set("bitrate", kbps(rate));
        }
    }
    Ok(())
}

pub(super) fn va(to: &mut Properties, setting: &Setting<'_>) -> Result<()> {
    let preset = Preset::parse(setting.plan.preset.as_deref(), setting.pace)?.faster(setting.faster);
    to.set_if_known("target-usage", 8 - preset.device());
    // It counts no further.
    to.set("key-int-max", setting.key_distance().min(1024));
    if setting.is_live() {
        to.set_if_known("b-frames", 0);
    }
    match Hold::of(setting.plan) {
        Hold::Quality(crf, _) => {
            to.set("rate-control", "cqp");
            to.set_if_known("qpi", quantizer(crf));
            to.set_if_known("qpp", quantizer(crf));
        }
        Hold::Average(rate, cap) => {
            to.set("rate-control", "vbr");
            // The rate is the most, of which the average is a part.
            to.set("bitrate", kbps(cap.max_rate));
            to.set_if_known("target-percentage", (rate.bps() * 100 / cap.max_rate.bps().max(1)).clamp(50, 100));
            to.set_if_known("cpb-size", kbps(cap.buffer));
        }
        Hold::Constant(rate, cap) => {
            to.set("rate-control", "cbr");
            to.set("bitrate", kbps(rate));
            to.set_if_known("cpb-size", kbps(cap.buffer));
        }
    }
    Ok(())
}

pub(super) fn vaapi(to: &mut Properties, setting: &Setting<'_>) -> Result<()> {
    let preset = Preset::parse(setting.plan.preset.as_deref(), setting.pace)?.faster(setting.faster);
    to.set_if_known("quality-level", 8 - preset.device());
    to.set("keyframe-period", setting.key_distance());
    if setting.is_live() {
        to.set_if_known("max-bframes", 0);
        to.set_if_known("tune", "low-power");
    }
    match Hold::of(setting.plan) {
        Hold::Quality(crf, _) => {
            to.set("rate-control", "cqp");
            to.set_if_known("init-qp", quantizer(crf));
        }
        Hold::Average(rate, _) => {
            to.set("rate-control", "vbr");
            to.set("bitrate", kbps(rate));
        }
        Hold::Constant(rate, _) => {
            to.set("rate-control", "cbr");
            to.set("bitrate", kbps(rate));
        }
    }
    Ok(())
}
