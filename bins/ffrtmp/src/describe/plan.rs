//! What would be made.

use comfy_table::Table;
use ffrtmp::core::encoding::{Channels, Chunking, Deinterlace, Stills, ToneMap};
use ffrtmp::core::media::Target;
use ffrtmp::core::plan::{
    AudioEncode, AudioPlan, AudioWork, Gop, PicturePlan, Plan, RateControl, SubtitlePlan, Vbv, VideoEncode, VideoPlan,
};

use super::quantity::bit_rate;
use crate::console::Console;

/// The plan as facts.
pub(crate) fn facts(plan: &Plan, console: &Console) -> Table {
    let mut table = console.facts();
    let mut fact = |name: &str, value: String| {
        table.add_row(vec![console.heading(name), value.into()]);
    };
    fact("container", plan.container.to_string());
    if let Some(segments) = plan.segments {
        fact("segments", format!("{} of {} s", segments.kind, segments.duration));
    }
    for line in video(plan.video.as_ref()) {
        fact("video", line);
    }
    if plan.audio.is_empty() {
        fact("audio", "none".into());
    }
    for track in &plan.audio {
        fact("audio", audio(track));
    }
    for track in &plan.subtitles {
        fact("subtitles", subtitles(track));
    }
    for (name, streams) in [("cover art", &plan.cover_art), ("attachment", &plan.attachments)] {
        for stream in streams {
            fact(name, format!("stream {stream}"));
        }
    }
    if !plan.stills.is_empty() {
        fact("stills", stills(&plan.stills));
    }
    if plan.chunks != Chunking::Auto {
        fact("chunks", plan.chunks.to_string());
    }
    if let Some(duration) = plan.duration {
        fact("duration", format!("{duration} s at most"));
    }
    for left_out in &plan.left_out {
        fact("left out", format!("stream {}: {}", left_out.stream, left_out.reason));
    }
    table
}

/// The video part, a line for each rendition.
pub(crate) fn video(plan: Option<&VideoPlan>) -> Vec<String> {
    match plan {
        None => vec!["none".into()],
        Some(VideoPlan::Copy(stream)) => vec![format!("stream {stream} passed through")],
        Some(VideoPlan::Encode(pictures)) => {
            pictures.renditions.iter().map(|encode| encoded(pictures, encode)).collect()
        }
    }
}

fn encoded(pictures: &PicturePlan, encode: &VideoEncode) -> String {
    let mut parts = vec![
        format!("{} {}", encode.codec, encode.size),
        encode.fps.map_or("source timing".to_owned(), |fps| format!("{fps} fps")),
        rate(&encode.rate),
    ];
    let aspect = encode.sample_aspect_ratio;
    if aspect.num != aspect.den {
        parts.push(format!("pixels {}:{}", aspect.num, aspect.den));
    }
    parts.extend(encode.preset.as_ref().map(|preset| format!("preset {preset}")));
    parts.extend(encode.encoder.map(|encoder| format!("encoder {encoder}")));
    parts.extend(encode.bit_depth.map(|depth| format!("{depth} bits")));
    match encode.gop {
        Gop::Free => {}
        Gop::AtMost(seconds) => parts.push(format!("key frames at most {seconds} s apart")),
        Gop::Fixed(seconds) => parts.push(format!("key frames every {seconds} s")),
        Gop::FixedAndCuts(seconds) => parts.push(format!("key frames every {seconds} s and at scene cuts")),
    }
    if !matches!(pictures.deinterlace, Deinterlace::Auto) {
        parts.push(format!("deinterlace {}", pictures.deinterlace));
    }
    if pictures.tone_map != ToneMap::Off {
        parts.push(format!("tone map {}", pictures.tone_map));
    }
    parts.join(", ")
}

fn rate(rate: &RateControl) -> String {
    match rate {
        RateControl::Quality { crf, cap: None } => format!("quality {crf}"),
        RateControl::Quality { crf, cap: Some(Vbv { max_rate, .. }) } => {
            format!("quality {crf} below {}", bit_rate(max_rate.bps()))
        }
        RateControl::Average { bitrate, two_pass, .. } => {
            format!("{}{}", bit_rate(bitrate.bps()), if *two_pass { " in two passes" } else { "" })
        }
        RateControl::Constant { bitrate, .. } => format!("{} constant", bit_rate(bitrate.bps())),
    }
}

fn audio(track: &AudioPlan) -> String {
    let stream = track.stream.map_or_else(|| "generated tone".to_owned(), |stream| format!("stream {stream}"));
    match track.work {
        AudioWork::Copy => format!("{stream} passed through"),
        AudioWork::Encode(AudioEncode { codec, bitrate, channels, sample_rate }) => {
            let layout = if channels == Channels::Source { String::new() } else { format!(", {channels}") };
            let samples = sample_rate.map(|rate| format!(", {rate} Hz")).unwrap_or_default();
            format!("{stream} as {codec}, {} for stereo{layout}{samples}", bit_rate(bitrate.bps()))
        }
    }
}

fn subtitles(track: &SubtitlePlan) -> String {
    match track.codec {
        Target::Copy => format!("stream {} passed through", track.stream),
        Target::Encode(codec) => format!("stream {} as {codec}", track.stream),
    }
}

fn stills(stills: &Stills) -> String {
    let poster = stills.poster.map(|at| format!("poster at {at} s"));
    let thumbnails = stills.thumbnails.map(|count| format!("{count} thumbnails"));
    let sprite = stills.sprite_interval.map(|every| format!("sprite sheet with a picture every {every} s"));
    [poster, thumbnails, sprite].into_iter().flatten().collect::<Vec<_>>().join(", ")
}
