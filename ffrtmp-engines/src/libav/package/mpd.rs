//! The manifest of MPEG-DASH (ISO/IEC 23009-1) for segments that are all there: static, with a
//! timeline of segments for each representation. Pure functions from what was written to text.

use std::fmt::Write as _;

use super::names::quotable;
use super::rendition::{Bandwidth, Content, Range, Rendition, Span, bandwidth};
use super::track::HEADER;

/// Presentation of a whole package; `directory` is how the manifest refers to where segments are,
/// with a slash at the end if it is not empty.
pub(super) fn manifest(renditions: &[Rendition], title: Option<&str>, directory: &str, target: u64) -> String {
    let length = renditions.iter().map(Rendition::end).fold(0.0, f64::max);
    let mut text = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        text,
        "<MPD xmlns=\"urn:mpeg:dash:schema:mpd:2011\" type=\"static\" \
         profiles=\"urn:mpeg:dash:profile:isoff-live:2011,urn:mpeg:dash:profile:cmaf:2019\" \
         mediaPresentationDuration=\"PT{length:.6}S\" maxSegmentDuration=\"PT{target}S\" minBufferTime=\"PT{target}S\">"
    );
    if let Some(title) = title.map(quotable).filter(|title| !title.is_empty()) {
        let _ = writeln!(text, "  <ProgramInformation><Title>{}</Title></ProgramInformation>", escaped(&title));
    }
    let _ = writeln!(text, "  <Period id=\"0\" start=\"PT0S\">");
    let sound = main_sound(renditions);
    for (id, set) in sets(renditions).into_iter().enumerate() {
        let role = role(set[0], sound);
        text.push_str(&adaptation_set(id, &set, role, directory, target));
    }
    text.push_str("  </Period>\n</MPD>\n");
    text
}

/// Renditions that a player may switch between: pictures of one codec and range. Every track of
/// sound and of text is a set of its own.
fn sets(renditions: &[Rendition]) -> Vec<Vec<&Rendition>> {
    let mut sets: Vec<Vec<&Rendition>> = Vec::new();
    for rendition in renditions {
        let family = |of: &Rendition| match &of.content {
            Content::Video { range, .. } => Some((codec_family(of).to_owned(), *range)),
            _ => None,
        };
        let own = family(rendition);
        match sets.iter_mut().find(|set| own.is_some() && family(set[0]) == own) {
            Some(set) => set.push(rendition),
            None => sets.push(vec![rendition]),
        }
    }
    sets
}

/// The sound that plays unless another is chosen: the default one, else the first.
fn main_sound(renditions: &[Rendition]) -> Option<&Rendition> {
    let mut sounds = renditions.iter().filter(|each| matches!(each.content, Content::Audio { .. }));
    sounds.clone().find(|sound| sound.label.is_default).or_else(|| sounds.next())
}

/// By the scheme of roles of ISO/IEC 23009-1.
fn role(rendition: &Rendition, sound: Option<&Rendition>) -> &'static str {
    match rendition.content {
        Content::Video { .. } => "main",
        Content::Audio { .. } if sound.is_some_and(|sound| std::ptr::eq(sound, rendition)) => "main",
        Content::Audio { .. } => "alternate",
        Content::Text => "subtitle",
    }
}

fn codec_family(rendition: &Rendition) -> &str {
    rendition.codec.as_deref().and_then(|codec| codec.split('.').next()).unwrap_or_default()
}

fn adaptation_set(id: usize, set: &[&Rendition], role: &str, directory: &str, target: u64) -> String {
    let first = set[0];
    let mut text = format!("    <AdaptationSet id=\"{id}\"");
    if let Some(language) = &first.label.language {
        let _ = write!(text, " lang=\"{}\"", escaped(language));
    }
    match &first.content {
        Content::Video { .. } => {
            let aligned = " contentType=\"video\" mimeType=\"video/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\"";
            text.push_str(aligned);
            let largest = |of: fn(&(u32, u32)) -> u32| {
                set.iter().filter_map(|each| size(each)).map(|size| of(&size)).max().unwrap_or(0)
            };
            let _ =
                writeln!(text, " maxWidth=\"{}\" maxHeight=\"{}\">", largest(|size| size.0), largest(|size| size.1));
        }
        Content::Audio { .. } => {
            text.push_str(
                " contentType=\"audio\" mimeType=\"audio/mp4\" segmentAlignment=\"true\" startWithSAP=\"1\">\n",
            );
        }
        Content::Text => text.push_str(" contentType=\"text\" mimeType=\"text/vtt\">\n"),
    }
    let _ = writeln!(text, "      <Role schemeIdUri=\"urn:mpeg:dash:role:2011\" value=\"{role}\"/>");
    if let Some(title) = first.label.title.as_deref().map(quotable).filter(|title| !title.is_empty()) {
        let _ = writeln!(text, "      <Label>{}</Label>", escaped(&title));
    }
    if let Content::Video { range, .. } = &first.content {
        text.push_str(&transfer(*range));
    }
    for rendition in set {
        text.push_str(&representation(rendition, directory, target));
    }
    text.push_str("    </AdaptationSet>\n");
    text
}

fn size(rendition: &Rendition) -> Option<(u32, u32)> {
    match rendition.content {
        Content::Video { size, .. } => Some(size),
        _ => None,
    }
}

/// Code points of ITU-T H.273 for what is not the usual.
fn transfer(range: Range) -> String {
    let value = match range {
        Range::Sdr => return String::new(),
        Range::Pq => 16,
        Range::Hlg => 18,
    };
    let scheme = "urn:mpeg:mpegB:cicp:TransferCharacteristics";
    format!("      <EssentialProperty schemeIdUri=\"{scheme}\" value=\"{value}\"/>\n")
}

fn representation(rendition: &Rendition, directory: &str, target: u64) -> String {
    let Bandwidth { peak, average } = bandwidth(&rendition.segments, target as f64);
    let mut text =
        format!("      <Representation id=\"{}\" bandwidth=\"{}\"", rendition.name, peak.max(average).max(1));
    if let Some(codec) = &rendition.codec {
        let _ = write!(text, " codecs=\"{codec}\"");
    }
    match &rendition.content {
        Content::Video { size: (width, height), display, frame_rate, .. } => {
            let _ =
                write!(text, " width=\"{width}\" height=\"{height}\" sar=\"{}\"", shape((*width, *height), *display));
            if let Some(rate) = fraction(*frame_rate) {
                let _ = write!(text, " frameRate=\"{rate}\"");
            }
            text.push_str(">\n");
        }
        Content::Audio { channels, sample_rate } => {
            let _ = writeln!(text, " audioSamplingRate=\"{sample_rate}\">");
            let scheme = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011";
            if *channels > 0 {
                let _ = writeln!(
                    text,
                    "        <AudioChannelConfiguration schemeIdUri=\"{scheme}\" value=\"{channels}\"/>"
                );
            }
        }
        Content::Text => {
            let whole = super::text::WHOLE;
            let _ = writeln!(text, ">\n        <BaseURL>{directory}{}/{whole}</BaseURL>", rendition.name);
            text.push_str("      </Representation>\n");
            return text;
        }
    }
    text.push_str(&timeline(rendition, directory));
    text.push_str("      </Representation>\n");
    text
}

/// The shape of a pixel, from what is coded and what is shown of it.
fn shape(size: (u32, u32), display: (u32, u32)) -> String {
    let (num, den) = (u64::from(display.0) * u64::from(size.1), u64::from(display.1) * u64::from(size.0));
    let (mut large, mut small) = (num, den);
    while small > 0 {
        (large, small) = (small, large % small);
    }
    let ratio = num.checked_div(large).zip(den.checked_div(large));
    ratio.map_or_else(|| "1:1".to_owned(), |(num, den)| format!("{num}:{den}"))
}

/// Segments with their times in ticks; equal lengths that follow each other are counted.
fn timeline(rendition: &Rendition, directory: &str) -> String {
    let timescale = rendition.timescale;
    let path = format!("{directory}{}", rendition.name);
    let mut text = format!(
        "        <SegmentTemplate timescale=\"{timescale}\" startNumber=\"1\" initialization=\"{path}/{HEADER}\" \
         media=\"{path}/seg_$Number%05d$.m4s\">\n          <SegmentTimeline>\n"
    );
    let ticks = |seconds: f64| (seconds * f64::from(timescale)).round() as i64;
    let mut runs: Vec<(i64, i64, usize)> = Vec::new();
    for Span { start, end, .. } in &rendition.segments {
        let (start, length) = (ticks(*start), ticks(*end) - ticks(*start));
        match runs.last_mut() {
            Some((first, each, repeats)) if *each == length && *first + *each * (*repeats as i64 + 1) == start => {
                *repeats += 1;
            }
            _ => runs.push((start, length, 0)),
        }
    }
    for (start, length, repeats) in runs {
        let _ = write!(text, "            <S t=\"{start}\" d=\"{length}\"");
        if repeats > 0 {
            let _ = write!(text, " r=\"{repeats}\"");
        }
        text.push_str("/>\n");
    }
    text.push_str("          </SegmentTimeline>\n        </SegmentTemplate>\n");
    text
}

/// A frame rate as a whole number or a fraction over 1001.
fn fraction(rate: f64) -> Option<String> {
    if !(0.0..1e6).contains(&rate) || rate == 0.0 {
        return None;
    }
    if (rate - rate.round()).abs() < 1e-3 {
        return Some(format!("{}", rate.round()));
    }
    let over = (rate * 1001.0 / 1000.0).round() * 1000.0;
    if (over / 1001.0 - rate).abs() < 1e-3 {
        return Some(format!("{over}/1001"));
    }
    Some(format!("{}/1000", (rate * 1000.0).round()))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::super::rendition::Label;
    use super::*;

    fn audio(name: &str, is_default: bool) -> Rendition {
        Rendition {
            name: name.to_owned(),
            content: Content::Audio { channels: 2, sample_rate: 48_000 },
            codec: None,
            label: Label { is_default, ..Label::default() },
            segments: Vec::new(),
            timescale: 48_000,
        }
    }

    #[test]
    fn one_sound_is_the_main_one() {
        for (defaults, wanted) in [
            ([false, false], ["main", "alternate"]),
            ([false, true], ["alternate", "main"]),
            ([true, true], ["main", "alternate"]),
        ] {
            let renditions = [audio("first", defaults[0]), audio("second", defaults[1])];
            let text = manifest(&renditions, None, "", 4);
            let roles = text.lines().filter(|line| line.contains("<Role "));
            let values: Vec<_> = roles.filter_map(|line| line.split("value=\"").nth(1)?.split('"').next()).collect();
            assert_eq!(values, wanted, "{defaults:?}");
        }
    }

    #[test]
    fn frame_rates_are_whole_or_fractions() {
        for (rate, text) in [
            (25.0, Some("25")),
            (30000.0 / 1001.0, Some("30000/1001")),
            (24000.0 / 1001.0, Some("24000/1001")),
            (12.345, Some("12345/1000")),
            (0.0, None),
            (f64::NAN, None),
        ] {
            assert_eq!(fraction(rate).as_deref(), text);
        }
    }
}
