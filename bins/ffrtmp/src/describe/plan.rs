//! What would be made.

use comfy_table::Table;
use ffrtmp::core::plan::{AudioPlan, Plan, RateControl, VideoEncode, VideoPlan};

use super::quantity::bit_rate;
use crate::console::Console;

/// The plan as facts.
pub(crate) fn facts(plan: &Plan, console: &Console) -> Table {
    let mut table = console.facts();
    let mut fact = |name: &str, value: String| {
        table.add_row(vec![console.heading(name), value.into()]);
    };
    fact("container", plan.container.to_string());
    fact("video", video(plan.video.as_ref()));
    fact("audio", audio(plan.audio.as_ref()));
    if let Some(duration) = plan.duration {
        fact("duration", format!("{duration} s at most"));
    }
    table
}

/// The video part in one line.
pub(crate) fn video(plan: Option<&VideoPlan>) -> String {
    match plan {
        None => "none: the source has none".into(),
        Some(VideoPlan::Copy) => "passed through".into(),
        Some(VideoPlan::Encode(encode)) => encoded(encode),
    }
}

fn encoded(encode: &VideoEncode) -> String {
    let fps = encode.fps.map_or("source timing".to_owned(), |fps| format!("{fps} fps"));
    let rate = match encode.rate {
        RateControl::Quality(crf) => format!("quality {crf}"),
        RateControl::Average(bitrate) => bit_rate(bitrate.bps()),
    };
    let aspect = encode.sample_aspect_ratio;
    let shape =
        if aspect.num == aspect.den { String::new() } else { format!(", pixels {}:{}", aspect.num, aspect.den) };
    let preset = encode.preset.as_ref().map(|preset| format!(", preset {preset}")).unwrap_or_default();
    format!("{} {}{shape}, {fps}, {rate}{preset}", encode.codec, encode.size)
}

fn audio(plan: Option<&AudioPlan>) -> String {
    match plan {
        None => "none: the source has none".into(),
        Some(AudioPlan::Copy) => "every track passed through".into(),
        Some(AudioPlan::Encode { codec, bitrate }) => {
            format!("every track as {codec}, {} for stereo", bit_rate(bitrate.bps()))
        }
    }
}
