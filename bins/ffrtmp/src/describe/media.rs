//! A probed file.

use comfy_table::Table;
use ffrtmp::core::media::{AudioInfo, HdrInfo, MediaInfo, StreamInfo, VideoInfo};

use super::quantity::{bit_rate, bytes, span};
use crate::console::{Console, one_line};

/// Container facts.
pub(crate) fn facts(info: &MediaInfo, console: &Console) -> Table {
    let mut table = console.facts();
    let mut fact = |name: &str, value: String| {
        table.add_row(vec![console.heading(name), value.into()]);
    };
    fact("format", info.format.clone());
    fact("duration", info.duration_seconds.map_or("unknown".into(), span));
    fact("size", bytes(info.size_bytes));
    if let Some(bps) = info.bit_rate {
        fact("bit rate", bit_rate(bps));
    }
    if info.chapters > 0 {
        fact("chapters", info.chapters.to_string());
    }
    for (name, value) in &info.tags {
        fact(&one_line(name), one_line(value));
    }
    table
}

/// One row per stream.
pub(crate) fn streams(info: &MediaInfo, console: &Console) -> Table {
    let mut table = console.columns(&["#", "kind", "codec", "what", "duration", "frames", "bit rate", "language"]);
    for stream in &info.streams {
        table.add_row([
            stream.index.to_string(),
            stream.kind.to_string(),
            codec(stream),
            what(stream),
            stream.duration_seconds.map_or("-".into(), span),
            stream.frames.map_or("-".into(), |frames| frames.to_string()),
            stream.bit_rate.map_or("-".into(), bit_rate),
            stream.language.as_deref().map_or("-".into(), one_line),
        ]);
    }
    table
}

fn codec(stream: &StreamInfo) -> String {
    match &stream.profile {
        Some(profile) => format!("{} ({profile})", stream.codec),
        None => stream.codec.clone(),
    }
}

fn what(stream: &StreamInfo) -> String {
    let facts = facts_of(stream);
    let words: Vec<_> = Some(facts).into_iter().filter(|facts| !facts.is_empty()).chain(purpose(stream)).collect();
    if words.is_empty() { "-".into() } else { words.join(", ") }
}

fn facts_of(stream: &StreamInfo) -> String {
    match (&stream.video, &stream.audio) {
        (Some(video), _) => picture(video),
        (_, Some(audio)) => sound(audio),
        _ => String::new(),
    }
}

/// What the container says about the purpose of a stream.
fn purpose(stream: &StreamInfo) -> Vec<String> {
    let default = stream.default.then(|| "default".to_owned());
    let title = stream.title.as_deref().map(|title| format!("“{}”", one_line(title)));
    default.into_iter().chain(stream.dispositions.iter().map(|word| word.replace('_', " "))).chain(title).collect()
}

fn picture(video: &VideoInfo) -> String {
    let mut words = vec![format!("{}x{}", video.width, video.height)];
    words.extend(video.frame_rate.map(|rate| format!("{:.5} fps", rate.as_f64()).replace(".00000", "")));
    words.extend(video.pixel_format.clone());
    let aspect = video.sample_aspect_ratio;
    if aspect.num != aspect.den {
        words.push(format!("pixels {}:{}", aspect.num, aspect.den));
    }
    if video.rotation != 0 {
        words.push(format!("turned {}°", video.rotation));
    }
    if video.field_order != "progressive" && !video.field_order.is_empty() {
        words.push(video.field_order.clone());
    }
    words.extend(video.color_space.clone());
    words.extend(video.hdr.as_ref().map(range));
    if video.cover_art {
        words.push("cover art".into());
    }
    words.join(" ")
}

fn range(hdr: &HdrInfo) -> String {
    let peak = hdr.mastering_max.map(|peak| format!("mastered at {peak:.0} cd/m²"));
    let light = hdr.max_cll.zip(hdr.max_fall).map(|(pixel, frame)| format!("light {pixel}/{frame}"));
    let known: Vec<_> = peak.into_iter().chain(light).collect();
    if known.is_empty() { hdr.format.clone() } else { format!("{} ({})", hdr.format, known.join(", ")) }
}

fn sound(audio: &AudioInfo) -> String {
    let layout = audio.layout.clone().unwrap_or_else(|| format!("{} channels", audio.channels));
    format!("{} Hz {layout}", audio.sample_rate)
}
