//! Playlists of HTTP Live Streaming (RFC 8216 and its successor draft-pantos-hls-rfc8216bis). Pure
//! functions from what was written to text.

use std::fmt::Write as _;

use super::Segments;
use super::names::quotable;
use super::rendition::{Content, Rendition, Span, bandwidth, key_bandwidth, target_duration};
use super::track::HEADER;

pub(super) const PLAYLIST: &str = "index.m3u8";
pub(super) const KEYS: &str = "iframes.m3u8";
const SUBTITLES: &str = "subtitles";

/// Which part of a stream a playlist names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Extent {
    /// Number of the first segment, which is the first of the rendition's.
    pub(super) first: usize,
    /// EXT-X-PLAYLIST-TYPE, if nothing that was named is ever taken away.
    pub(super) kind: Option<&'static str>,
    pub(super) is_ended: bool,
}

impl Extent {
    /// All there is.
    const WHOLE: Self = Self { first: 0, kind: Some("VOD"), is_ended: true };
}

/// The playlist of one rendition. All renditions name the same target duration.
pub(super) fn media(rendition: &Rendition, format: Segments, target: u64) -> String {
    list(rendition, format, target, &Extent::WHOLE)
}

/// The same for a stream of which there is more to come, or was more.
pub(super) fn list(rendition: &Rendition, format: Segments, target: u64, extent: &Extent) -> String {
    let (version, name): (u32, &dyn Fn(usize) -> String) = match (&rendition.content, format) {
        (Content::Text, _) => (3, &|index| text_segment(index)),
        (_, Segments::Cmaf) => (6, &|index| format.segment_name(index)),
        (_, Segments::MpegTs) => (3, &|index| format.segment_name(index)),
    };
    let mut text = head(version, target, extent);
    if rendition.is_video() {
        text.push_str("#EXT-X-INDEPENDENT-SEGMENTS\n");
    }
    if version == 6 {
        let _ = writeln!(text, "#EXT-X-MAP:URI=\"{HEADER}\"");
    }
    for (index, span) in rendition.segments.iter().enumerate() {
        let _ = writeln!(text, "#EXTINF:{:.6},\n{}", span.seconds(), name(extent.first + index));
    }
    if extent.is_ended {
        text.push_str("#EXT-X-ENDLIST\n");
    }
    text
}

/// The playlist of key pictures of one rendition, as ranges of its segments.
pub(super) fn keys(rendition: &Rendition, format: Segments) -> String {
    let spans = rendition.key_spans();
    let mut text = head(if format == Segments::Cmaf { 5 } else { 4 }, target_duration(&spans), &Extent::WHOLE);
    text.push_str("#EXT-X-I-FRAMES-ONLY\n");
    if format == Segments::Cmaf {
        let _ = writeln!(text, "#EXT-X-MAP:URI=\"{HEADER}\"");
    }
    for (key, span) in rendition.keys().iter().zip(&spans) {
        let name = format.segment_name(key.segment);
        let _ =
            writeln!(text, "#EXTINF:{:.6},\n#EXT-X-BYTERANGE:{}@{}\n{name}", span.seconds(), key.length, key.offset);
    }
    text.push_str("#EXT-X-ENDLIST\n");
    text
}

/// The playlist that names all others; `directory` is how it refers to where they are.
pub(super) fn multivariant(renditions: &[Rendition], format: Segments, directory: &str, target: u64) -> String {
    let version = if format == Segments::Cmaf { 6 } else { 4 };
    let mut text = format!("#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let groups = Groups::of(renditions);
    let has_text = renditions.iter().any(|rendition| matches!(rendition.content, Content::Text));
    for group in &groups.0 {
        for (place, audio) in group.members.iter().enumerate() {
            text.push_str(&alternative("AUDIO", &group.id, audio, place, &group.members, directory));
        }
    }
    let texts: Vec<&Rendition> = renditions.iter().filter(|each| matches!(each.content, Content::Text)).collect();
    for (place, each) in texts.iter().enumerate() {
        text.push_str(&alternative("SUBTITLES", SUBTITLES, each, place, &texts, directory));
    }
    for video in renditions.iter().filter(|rendition| rendition.is_video()) {
        if groups.0.is_empty() {
            text.push_str(&variant(video, None, has_text, directory, target));
        }
        for group in &groups.0 {
            text.push_str(&variant(video, Some(group), has_text, directory, target));
        }
    }
    if !renditions.iter().any(Rendition::is_video) {
        for group in &groups.0 {
            text.push_str(&variant(group.members[0], Some(group), has_text, directory, target));
        }
    }
    for video in renditions.iter().filter(|rendition| !rendition.keys().is_empty()) {
        text.push_str(&key_variant(video, directory));
    }
    text
}

/// Name of a segment of WebVTT.
pub(super) fn text_segment(index: usize) -> String {
    format!("seg_{:05}.vtt", index + 1)
}

fn head(version: u32, target: u64, extent: &Extent) -> String {
    let first = extent.first;
    let mut text =
        format!("#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-MEDIA-SEQUENCE:{first}\n");
    if let Some(kind) = extent.kind {
        let _ = writeln!(text, "#EXT-X-PLAYLIST-TYPE:{kind}");
    }
    text
}

/// Sound by codec: a player chooses among variants by their codecs, and in a group by language.
struct Groups<'a>(Vec<Group<'a>>);

struct Group<'a> {
    id: String,
    members: Vec<&'a Rendition>,
}

impl<'a> Groups<'a> {
    fn of(renditions: &'a [Rendition]) -> Self {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for audio in renditions.iter().filter(|rendition| rendition.is_audio()) {
            match groups.iter_mut().find(|group| group.members[0].codec == audio.codec) {
                Some(group) => group.members.push(audio),
                None => groups.push(Group { id: format!("audio_{}", groups.len() + 1), members: vec![audio] }),
            }
        }
        if let [only] = &mut groups[..] {
            "audio".clone_into(&mut only.id);
        }
        Self(groups)
    }
}

fn alternative(
    kind: &str,
    group: &str,
    rendition: &Rendition,
    place: usize,
    members: &[&Rendition],
    directory: &str,
) -> String {
    // One at most is the default: the first that says so, and of sound else the first.
    let default = members.iter().position(|member| member.label.is_default);
    let is_default = default.or((kind == "AUDIO").then_some(0)) == Some(place);
    let mut text = format!("#EXT-X-MEDIA:TYPE={kind},GROUP-ID=\"{group}\",NAME=\"{}\"", name(place, members));
    if let Some(language) = &rendition.label.language {
        let _ = write!(text, ",LANGUAGE=\"{language}\"");
    }
    let _ = write!(text, ",DEFAULT={},AUTOSELECT=YES", if is_default { "YES" } else { "NO" });
    if kind == "SUBTITLES" && rendition.label.is_forced {
        text.push_str(",FORCED=YES");
    }
    if let Some(characteristics) = rendition.label.characteristics {
        let _ = write!(text, ",CHARACTERISTICS=\"{characteristics}\"");
    }
    if let Content::Audio { channels, .. } = rendition.content
        && channels > 0
    {
        let _ = write!(text, ",CHANNELS=\"{channels}\"");
    }
    let _ = writeln!(text, ",URI=\"{directory}/{}/{PLAYLIST}\"", rendition.name);
    text
}

/// What a person chooses by; all names of a group differ.
fn name(place: usize, members: &[&Rendition]) -> String {
    let wish = |rendition: &Rendition| {
        let title = rendition.label.title.as_deref().map(quotable).filter(|title| !title.is_empty());
        title.or_else(|| rendition.label.language.clone()).unwrap_or_else(|| rendition.name.clone())
    };
    let wished = wish(members[place]);
    let is_taken = members.iter().enumerate().any(|(other, member)| other != place && wish(member) == wished);
    // Names of directories differ, and the number keeps this apart from other wishes.
    if is_taken { format!("{wished} ({})", members[place].name) } else { wished }
}

fn variant(rendition: &Rendition, group: Option<&Group<'_>>, has_text: bool, directory: &str, target: u64) -> String {
    let own = bandwidth(&rendition.segments, target as f64);
    let others = group.map(|group| &group.members).into_iter().flatten().filter(|other| other.name != rendition.name);
    let sound = others.map(|audio| bandwidth(&audio.segments, target as f64)).collect::<Vec<_>>();
    // Of the sound a player takes one; a variant of sound alone is itself what it takes.
    let is_sound = rendition.is_audio();
    let extra = |of: fn(&super::rendition::Bandwidth) -> u64| sound.iter().map(of).max().unwrap_or(0);
    let sum = |own: u64, extra: u64| if is_sound { own.max(extra) } else { own + extra };
    let mut text = format!(
        "#EXT-X-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={}",
        sum(own.peak, extra(|each| each.peak)).max(1),
        sum(own.average, extra(|each| each.average)).max(1)
    );
    let sound_codec = group.filter(|_| !is_sound).map(|group| group.members[0].codec.clone());
    let codecs: Option<Vec<String>> = [Some(rendition.codec.clone()), sound_codec].into_iter().flatten().collect();
    // A list that leaves something out would be wrong.
    if let Some(codecs) = codecs {
        let _ = write!(text, ",CODECS=\"{}\"", codecs.join(","));
    }
    text.push_str(&picture(rendition, true));
    if let Some(group) = group {
        let _ = write!(text, ",AUDIO=\"{}\"", group.id);
    }
    if has_text {
        let _ = write!(text, ",SUBTITLES=\"{SUBTITLES}\"");
    }
    if rendition.is_video() {
        text.push_str(",CLOSED-CAPTIONS=NONE");
    }
    let _ = writeln!(text, "\n{directory}/{}/{PLAYLIST}", rendition.name);
    text
}

fn key_variant(rendition: &Rendition, directory: &str) -> String {
    let rate = key_bandwidth(&rendition.key_spans());
    let mut text =
        format!("#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH={},AVERAGE-BANDWIDTH={}", rate.peak.max(1), rate.average.max(1));
    if let Some(codec) = &rendition.codec {
        let _ = write!(text, ",CODECS=\"{codec}\"");
    }
    text.push_str(&picture(rendition, false));
    let _ = writeln!(text, ",URI=\"{directory}/{}/{KEYS}\"", rendition.name);
    text
}

fn picture(rendition: &Rendition, moves: bool) -> String {
    let Content::Video { display: (width, height), frame_rate, range, .. } = &rendition.content else {
        return String::new();
    };
    let mut text = format!(",RESOLUTION={width}x{height}");
    if moves && *frame_rate > 0.0 {
        let _ = write!(text, ",FRAME-RATE={frame_rate:.3}");
    }
    let _ = write!(text, ",VIDEO-RANGE={}", range.as_str());
    text
}

/// The target duration that all playlists of sound and pictures share.
pub(super) fn common_target(renditions: &[Rendition]) -> u64 {
    let timed = renditions.iter().filter(|rendition| !matches!(rendition.content, Content::Text));
    target_duration(timed.flat_map(|rendition| &rendition.segments).collect::<Vec<&Span>>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::libav::package::rendition::{Key, Label, Range};

    fn spans(count: usize, seconds: f64, bytes: u64) -> Vec<Span> {
        let span = |place: usize| {
            let start = place as f64 * seconds;
            Span { start, end: start + seconds, bytes }
        };
        (0..count).map(span).collect()
    }

    fn video() -> Rendition {
        let key = |segment: usize| Key { segment, start: segment as f64 * 4.0, offset: 24, length: 1000 };
        let content = Content::Video {
            size: (1440, 1080),
            display: (1920, 1080),
            frame_rate: 30000.0 / 1001.0,
            range: Range::Hlg,
            keys: (0..2).map(key).collect(),
        };
        let (name, codec) = ("1080p".to_owned(), Some("avc1.640028".to_owned()));
        Rendition { name, content, codec, label: Label::default(), segments: spans(2, 4.0, 500_000), timescale: 90_000 }
    }

    fn audio(name: &str, title: &str, language: Option<&str>) -> Rendition {
        let language = language.map(str::to_owned);
        let label = Label { language, title: Some(title.to_owned()), ..Label::default() };
        let content = Content::Audio { channels: 6, sample_rate: 48_000 };
        let (name, codec) = (name.to_owned(), Some("mp4a.40.2".to_owned()));
        Rendition { name, content, codec, label, segments: spans(2, 4.0, 64_000), timescale: 48_000 }
    }

    #[test]
    fn the_multivariant_playlist_names_everything() {
        let renditions =
            [video(), audio("audio_en", "Stereo\"\n#EXT-X-ENDLIST", Some("en")), audio("audio_de", "", Some("de"))];
        let text = multivariant(&renditions, Segments::Cmaf, "film", 4);
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            [
                "#EXTM3U",
                "#EXT-X-VERSION:6",
                "#EXT-X-INDEPENDENT-SEGMENTS",
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"Stereo' #EXT-X-ENDLIST\",LANGUAGE=\"en\",DEFAULT=YES,\
                 AUTOSELECT=YES,CHANNELS=\"6\",URI=\"film/audio_en/index.m3u8\"",
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"audio\",NAME=\"de\",LANGUAGE=\"de\",DEFAULT=NO,AUTOSELECT=YES,\
                 CHANNELS=\"6\",URI=\"film/audio_de/index.m3u8\"",
                "#EXT-X-STREAM-INF:BANDWIDTH=1128000,AVERAGE-BANDWIDTH=1128000,CODECS=\"avc1.640028,mp4a.40.2\",\
                 RESOLUTION=1920x1080,FRAME-RATE=29.970,VIDEO-RANGE=HLG,AUDIO=\"audio\",CLOSED-CAPTIONS=NONE",
                "film/1080p/index.m3u8",
                "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=2000,AVERAGE-BANDWIDTH=2000,CODECS=\"avc1.640028\",\
                 RESOLUTION=1920x1080,VIDEO-RANGE=HLG,URI=\"film/1080p/iframes.m3u8\"",
            ]
        );
    }

    #[test]
    fn names_of_a_group_differ() {
        let same = [audio("audio_en", "Stereo", Some("en")), audio("audio_en_2", "Stereo", Some("en"))];
        let text = multivariant(&same, Segments::Cmaf, "film", 4);
        assert!(text.contains("NAME=\"Stereo (audio_en)\"") && text.contains("NAME=\"Stereo (audio_en_2)\""), "{text}");
    }

    #[test]
    fn a_playlist_that_grows_names_what_is_there() {
        let sliding = list(&video(), Segments::MpegTs, 4, &Extent { first: 7, kind: None, is_ended: false });
        assert_eq!(
            sliding.lines().collect::<Vec<_>>(),
            [
                "#EXTM3U",
                "#EXT-X-VERSION:3",
                "#EXT-X-TARGETDURATION:4",
                "#EXT-X-MEDIA-SEQUENCE:7",
                "#EXT-X-INDEPENDENT-SEGMENTS",
                "#EXTINF:4.000000,",
                "seg_00008.ts",
                "#EXTINF:4.000000,",
                "seg_00009.ts",
            ]
        );
        let event = list(&video(), Segments::Cmaf, 4, &Extent { first: 0, kind: Some("EVENT"), is_ended: true });
        assert!(event.contains("#EXT-X-PLAYLIST-TYPE:EVENT\n") && event.ends_with("#EXT-X-ENDLIST\n"), "{event}");
    }

    #[test]
    fn versions_are_those_of_what_is_used() {
        let video = video();
        let version = |text: &str| text.lines().nth(1).unwrap().to_owned();
        assert_eq!(version(&media(&video, Segments::Cmaf, 4)), "#EXT-X-VERSION:6");
        assert_eq!(version(&media(&video, Segments::MpegTs, 4)), "#EXT-X-VERSION:3");
        assert_eq!(version(&keys(&video, Segments::Cmaf)), "#EXT-X-VERSION:5");
        assert_eq!(version(&keys(&video, Segments::MpegTs)), "#EXT-X-VERSION:4");
        assert!(keys(&video, Segments::MpegTs).contains("#EXTINF:4.000000,\n#EXT-X-BYTERANGE:1000@24\nseg_00001.ts\n"));
    }
}
