//! The tables of `docs/media.md`, made of the rules that plans are made by.
//!
//! `FFRTMP_GOLDEN=write cargo test -p ffrtmp-core tables` writes them into the page.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::json;

use super::golden::film;
use super::{picture, request, sound, stream};
use crate::media::{AudioCodec, Container, MediaInfo, StreamInfo, StreamKind, SubtitleCodec, VideoCodec};
use crate::plan::{Plan, subtitles};

/// Codecs of pictures by libav's names, as they are met in the wild.
const PICTURES: &[&str] =
    &["h264", "hevc", "vp8", "vp9", "av1", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "prores", "theora"];
/// Codecs of sound.
const SOUND: &[&str] =
    &["aac", "mp3", "mp2", "ac3", "eac3", "opus", "vorbis", "flac", "alac", "dts", "truehd", "pcm_s16le"];
/// Codecs of subtitles.
const SUBTITLES: &[&str] =
    &["subrip", "ass", "webvtt", "mov_text", "dvb_subtitle", "dvb_teletext", "hdmv_pgs_subtitle", "dvd_subtitle"];

#[test]
fn the_page_tells_what_containers_carry() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/media.md");
    let page = fs::read_to_string(&path).expect("the page");
    let told = [("encoded", encoded()), ("copied", copied()), ("besides", besides())]
        .iter()
        .fold(page.clone(), |page, (name, table)| replaced(&page, name, table));
    if std::env::var_os("FFRTMP_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&path, &told).expect("the page can be written");
        return;
    }
    assert!(told == page, "docs/media.md tells something else: {}", difference(&page, &told));
}

/// What can be made for each container.
fn encoded() -> String {
    let mut table = row(&["container", "extension", "video", "audio", "text subtitles"]);
    for container in Container::ALL {
        let video = taken(VideoCodec::ALL, |codec| container.carries_video(*codec), container.default_video().as_ref());
        let audio = taken(AudioCodec::ALL, |codec| container.carries_audio(*codec), Some(&container.default_audio()));
        let text = taken(SubtitleCodec::ALL, |codec| subtitles::carries(*container, *codec), None);
        table += &line(&[container.as_str(), &format!(".{}", container.extension()), &video, &audio, &text]);
    }
    table
}

/// What passes through unchanged.
fn copied() -> String {
    let mut table = row(&["container", "video", "audio", "subtitles"]);
    for container in Container::ALL {
        let video = taken(PICTURES, |codec| passes(*container, "codec", &of_pictures(codec)), None);
        let audio = taken(SOUND, |codec| passes(*container, "audio_codec", &of_sound(codec)), None);
        let text = taken(SUBTITLES, |codec| subtitles::may_copy(codec, *container), None);
        table += &line(&[container.as_str(), &video, &audio, &text]);
    }
    table
}

/// What goes along of a film with two languages, a cover and a font.
fn besides() -> String {
    let mut table = row(&["container", "audio tracks", "cover art", "attachments", "files"]);
    for container in Container::ALL {
        let plan = resolve(*container, json!({}), &film()).expect("a plan");
        let tracks = if plan.audio.len() > 1 { "all" } else { "one" };
        let kept = |streams: &[usize]| if streams.is_empty() { "–" } else { "kept" };
        let files = if container.is_segmented() { "manifest and directory" } else { "one" };
        let cells = [container.as_str(), tracks, kept(&plan.cover_art), kept(&plan.attachments), files];
        table += &line(&cells);
    }
    table
}

fn resolve(container: Container, parameters: serde_json::Value, source: &MediaInfo) -> crate::error::Result<Plan> {
    let mut request = request("", "", parameters);
    request.container = Some(container);
    Plan::resolve(&request, Some(source))
}

fn passes(container: Container, field: &str, source: &MediaInfo) -> bool {
    resolve(container, json!({ field: "copy" }), source).is_ok()
}

fn of_pictures(codec: &str) -> MediaInfo {
    let mut info = picture(640, 360, (1, 1), 0);
    info.streams[0].codec = codec.to_owned();
    info
}

fn of_sound(codec: &str) -> MediaInfo {
    let other = StreamInfo { index: 0, ..stream(0, StreamKind::Data, "bin_data", None) };
    MediaInfo { streams: vec![other, sound(codec)], ..MediaInfo::default() }
}

/// Names that are carried, the default one first and bold.
fn taken<T: std::fmt::Display + PartialEq>(all: &[T], carried: impl Fn(&T) -> bool, default: Option<&T>) -> String {
    let first = all.iter().filter(|one| Some(*one) == default).map(|one| format!("**{one}**"));
    let rest = all.iter().filter(|one| Some(*one) != default && carried(one)).map(T::to_string);
    let names: Vec<_> = first.chain(rest).collect();
    if names.is_empty() { "–".to_owned() } else { names.join(", ") }
}

fn row(cells: &[&str]) -> String {
    format!("{}|{}\n", line(cells), "---|".repeat(cells.len()))
}

fn line(cells: &[&str]) -> String {
    let mut line = "|".to_owned();
    for cell in cells {
        let _ = write!(line, " {cell} |");
    }
    line + "\n"
}

/// The page with a table in the place of the one that stands behind its mark.
fn replaced(page: &str, name: &str, table: &str) -> String {
    let mark = format!("<!-- table: {name} -->\n");
    let (before, rest) = page.split_once(&mark).unwrap_or_else(|| panic!("docs/media.md has no mark {mark}"));
    let after = rest.trim_start_matches('\n');
    let after: String = after.split_inclusive('\n').skip_while(|line| line.starts_with('|')).collect();
    format!("{before}{mark}{table}\n{}", after.trim_start_matches('\n'))
}

fn difference(page: &str, told: &str) -> String {
    let differs = page.lines().zip(told.lines()).find(|(one, other)| one != other);
    differs.map_or_else(|| "its length".to_owned(), |(one, other)| format!("{one:?} instead of {other:?}"))
}
