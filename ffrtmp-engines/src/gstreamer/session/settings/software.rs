//! Encoders that run on the processor.

use ffrtmp_core::encoding::Tune;
use ffrtmp_core::error::{Code, Error, Result};

use super::rate::{Hold, buffer_ms, kbps};
use super::{Preset, Properties, Setting};

/// Pixels from which a picture is worth cutting into columns, one more for each.
const TILE_WIDTH: u32 = 512;

pub(super) fn x264(to: &mut Properties, setting: &Setting<'_>) -> Result<()> {
    let Setting { plan, threads, .. } = *setting;
    let preset = Preset::parse(plan.preset.as_deref(), setting.pace)?.faster(setting.faster);
    to.set("speed-preset", preset.word());
    match (setting.is_live(), plan.options.tune) {
        (true, None | Some(Tune::ZeroLatency)) => to.set("tune", "zerolatency"),
        (true, Some(Tune::FastDecode)) => to.set("tune", "zerolatency+fastdecode"),
        (true, Some(Tune::StillImage)) => to.set("tune", "zerolatency+stillimage"),
        (live, Some(Tune::Film | Tune::Animation | Tune::Grain | Tune::Psnr | Tune::Ssim)) => {
            if live {
                to.set("tune", "zerolatency");
            }
            let word = plan.options.tune.map_or("none", Tune::as_str);
            to.set("psy-tune", word);
        }
        (false, Some(tune)) => to.set("tune", tune.as_str()),
        (false, None) => {}
    }
    if setting.is_live() {
        // One picture at a time on all threads, rather than a picture on each, of which the last
        // would wait for all before it.
        to.parameter("sliced-threads", u8::from(threads != 1));
    }
    to.set("threads", threads);
    match Hold::of(plan) {
        Hold::Quality(crf, cap) => {
            to.set("pass", "qual");
            to.set("quantizer", crf.round().min(50.0));
            to.set("vbv-buf-capacity", cap.map_or(0, |cap| buffer_ms(cap.buffer, cap.max_rate)));
            if let Some(cap) = cap {
                to.set("bitrate", kbps(cap.max_rate));
            }
        }
        // The element bounds bursts by the rate itself; the buffer is what is left for them.
        Hold::Average(rate, cap) | Hold::Constant(rate, cap) => {
            to.set("pass", "cbr");
            to.set("bitrate", kbps(rate));
            to.set("vbv-buf-capacity", buffer_ms(cap.buffer, rate));
        }
    }
    if let Hold::Constant(..) = Hold::of(plan) {
        to.parameter("nal-hrd", "cbr");
    }
    keys_of_x26x(to, setting);
    options_of_x26x(to, setting);
    // What asks for access units finds them by their length, and by start codes without these.
    to.set("aud", false);
    Ok(())
}

pub(super) fn x265(to: &mut Properties, setting: &Setting<'_>) -> Result<()> {
    let Setting { plan, threads, .. } = *setting;
    let preset = Preset::parse(plan.preset.as_deref(), setting.pace)?.faster(setting.faster);
    to.set("speed-preset", preset.word());
    let tune = match (setting.is_live(), plan.options.tune) {
        (true, _) | (false, Some(Tune::ZeroLatency)) => "zerolatency",
        (false, Some(Tune::Psnr)) => "psnr",
        (false, Some(Tune::Ssim)) => "ssim",
        (false, Some(Tune::Grain)) => "grain",
        (false, Some(Tune::FastDecode)) => "fastdecode",
        (false, Some(Tune::Animation)) => "animation",
        (false, Some(Tune::Film | Tune::StillImage)) => {
            return Err(no_option("tune", "x265 has no such tune", "leave out tune"));
        }
        (false, None) => "0",
    };
    to.set("tune", tune);
    to.set("log-level", "none");
    if setting.is_live() {
        to.parameter("frame-threads", 1);
        to.parameter("bframes", 0);
        to.parameter("rc-lookahead", 0);
    }
    if threads > 0 {
        to.parameter("pools", threads);
    }
    match Hold::of(plan) {
        Hold::Quality(crf, cap) => {
            to.parameter("crf", crf);
            if let Some(cap) = cap {
                to.parameter("vbv-maxrate", kbps(cap.max_rate));
                to.parameter("vbv-bufsize", kbps(cap.buffer));
            }
        }
        Hold::Average(rate, cap) | Hold::Constant(rate, cap) => {
            to.set("bitrate", kbps(rate));
            to.parameter("vbv-maxrate", kbps(cap.max_rate));
            to.parameter("vbv-bufsize", kbps(cap.buffer));
        }
    }
    if let Hold::Constant(..) = Hold::of(plan) {
        to.parameter("strict-cbr", 1);
    }
    to.parameter("open-gop", 0);
    keys_of_x26x(to, setting);
    options_of_x26x(to, setting);
    Ok(())
}

fn keys_of_x26x(to: &mut Properties, setting: &Setting<'_>) {
    to.set("key-int-max", setting.key_distance());
    if setting.keys_are_asked_for() {
        to.parameter("scenecut", 0);
    }
}

fn options_of_x26x(to: &mut Properties, setting: &Setting<'_>) {
    let options = &setting.plan.options;
    if !setting.is_live() {
        options.b_frames.iter().for_each(|count| to.parameter("bframes", count));
        options.lookahead.iter().for_each(|frames| to.parameter("rc-lookahead", frames));
    }
    options.references.iter().for_each(|count| to.parameter("ref", count));
    options.aq_mode.iter().for_each(|mode| to.parameter("aq-mode", mode));
    options.aq_strength.iter().for_each(|strength| to.parameter("aq-strength", strength));
}

pub(super) fn openh264(to: &mut Properties, setting: &Setting<'_>) -> Result<()> {
    let plan = setting.plan;
    let preset = Preset::parse(plan.preset.as_deref(), setting.pace)?.faster(setting.faster);
    to.set("complexity", preset.of_three());
    to.set("multi-thread", setting.threads);
    to.set("gop-size", setting.key_distance());
    to.set("scene-change-detection", !setting.keys_are_asked_for());
    to.set("enable-frame-skip", false);
    match Hold::of(plan) {
        Hold::Quality(crf, _) => {
            to.set("rate-control", "quality");
            to.set("qp-max", (crf + 4.0).round().min(51.0));
            to.set("qp-min", (crf - 4.0).round().max(0.0));
        }
        Hold::Average(rate, cap) | Hold::Constant(rate, cap) => {
            to.set("rate-control", "bitrate");
            to.set("bitrate", rate.bps());
            to.set("max-bitrate", cap.max_rate.bps());
        }
    }
    Ok(())
}

/// VP8 and VP9.
pub(super) fn vpx(to: &mut Properties, setting: &Setting<'_>) -> Result<()> {
    let plan = setting.plan;
    let live = setting.is_live();
    let preset = Preset::parse(plan.preset.as_deref(), setting.pace)?.faster(setting.faster);
    to.set("cpu-used", preset.vpx(live));
    to.set("deadline", if live { 1 } else { 1_000_000 });
    to.set("lag-in-frames", if live { 0 } else { plan.options.lookahead.unwrap_or(25).min(25) });
    to.set("auto-alt-ref", !live);
    to.set("threads", setting.threads.min(64));
    // Only one of the two knows rows and columns.
    to.set_if_known("row-mt", setting.threads != 1);
    to.set_if_known("tile-columns", plan.options.tile_columns.map_or_else(|| columns(plan.size.width), u32::from));
    to.set_if_known("tile-rows", plan.options.tile_rows.unwrap_or(0).min(2));
    to.set_if_known("frame-parallel-decoding", false);
    to.set("keyframe-max-dist", setting.key_distance());
    to.set("keyframe-mode", if setting.keys_are_asked_for() { "disabled" } else { "auto" });
    match Hold::of(plan) {
        Hold::Quality(crf, cap) => {
            to.set("end-usage", "cq");
            to.set("cq-level", crf.round());
            let most = cap.map_or(plan.size.pixels().saturating_mul(30), |cap| cap.max_rate.bps());
            to.set("target-bitrate", most.min(i32::MAX.unsigned_abs().into()));
        }
        Hold::Average(rate, cap) | Hold::Constant(rate, cap) => {
            let constant = live || matches!(Hold::of(plan), Hold::Constant(..));
            to.set("end-usage", if constant { "cbr" } else { "vbr" });
            to.set("target-bitrate", rate.bps());
            let buffer = buffer_ms(cap.buffer, rate);
            to.set("buffer-size", buffer);
            to.set("buffer-initial-size", buffer / 2);
            to.set("buffer-optimal-size", buffer * 2 / 3);
        }
    }
    Ok(())
}

/// Columns as a power of two.
fn columns(width: u32) -> u32 {
    (width / TILE_WIDTH).max(1).ilog2().min(4)
}

pub(super) fn aom(to: &mut Properties, setting: &Setting<'_>) -> Result<()> {
    let plan = setting.plan;
    let live = setting.is_live();
    let preset = Preset::parse(plan.preset.as_deref(), setting.pace)?.faster(setting.faster);
    to.set_if_known("usage-profile", if live { "realtime" } else { "good-quality" });
    to.set("cpu-used", preset.aom(live));
    to.set_if_known("lag-in-frames", if live { 0 } else { plan.options.lookahead.unwrap_or(25).min(48) });
    to.set("threads", setting.threads);
    to.set("row-mt", setting.threads != 1);
    to.set("tile-columns", plan.options.tile_columns.map_or_else(|| columns(plan.size.width), u32::from));
    to.set("tile-rows", plan.options.tile_rows.unwrap_or(0));
    to.set_if_known("keyframe-max-dist", setting.key_distance());
    // With "disabled" it is deaf to requests as well.
    to.set_if_known("keyframe-mode", "auto");
    to.set("min-quantizer", 0);
    to.set("max-quantizer", 63);
    match Hold::of(plan) {
        Hold::Quality(crf, _) => {
            // The element has no level of quality: this one it may not leave.
            to.set("end-usage", "q");
            to.set("min-quantizer", crf.round());
            to.set("max-quantizer", crf.round());
        }
        Hold::Average(rate, cap) | Hold::Constant(rate, cap) => {
            let constant = live || matches!(Hold::of(plan), Hold::Constant(..));
            to.set("end-usage", if constant { "cbr" } else { "vbr" });
            to.set("target-bitrate", kbps(rate));
            let buffer = buffer_ms(cap.buffer, rate);
            to.set("buf-sz", buffer);
            to.set("buf-initial-sz", buffer / 2);
            to.set("buf-optimal-sz", buffer * 2 / 3);
        }
    }
    Ok(())
}

pub(super) fn svt(to: &mut Properties, setting: &Setting<'_>) -> Result<()> {
    let plan = setting.plan;
    let preset = Preset::parse(plan.preset.as_deref(), setting.pace)?.faster(setting.faster);
    to.set("preset", preset.svt());
    to.set("intra-period-length", setting.key_distance());
    to.set_if_known("intra-refresh-type", "IDR");
    if setting.is_live() {
        to.parameter("pred-struct", 1);
        to.parameter("lookahead", 0);
    }
    if setting.threads > 0 {
        to.set_if_known("logical-processors", setting.threads);
    }
    match Hold::of(plan) {
        Hold::Quality(crf, cap) => {
            to.set("crf", crf.round());
            to.set_if_known("maximum-bitrate", cap.map_or(0, |cap| kbps(cap.max_rate)));
        }
        Hold::Average(rate, _) | Hold::Constant(rate, _) => {
            to.set("target-bitrate", kbps(rate));
            to.parameter("rc", if setting.is_live() { 2 } else { 1 });
        }
    }
    Ok(())
}

pub(super) fn rav1e(to: &mut Properties, setting: &Setting<'_>) -> Result<()> {
    let plan = setting.plan;
    let preset = Preset::parse(plan.preset.as_deref(), setting.pace)?.faster(setting.faster);
    to.set("speed-preset", preset.rav1e());
    to.set("low-latency", setting.is_live());
    to.set("max-key-frame-interval", setting.key_distance());
    to.set("threads", setting.threads);
    match Hold::of(plan) {
        // Its quantizer counts to 255.
        Hold::Quality(crf, _) => to.set("quantizer", (crf * 4.0).round().min(255.0)),
        Hold::Average(rate, _) | Hold::Constant(rate, _) => to.set("bitrate", rate.bps()),
    }
    Ok(())
}

fn no_option(name: &str, message: &str, hint: &str) -> Error {
    Error::new(Code::InvalidField, message).field(format!("parameters.encoder_options.{name}")).hint(hint)
}
