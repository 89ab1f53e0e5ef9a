//! Words that look like a size, a rate or a codec but are none: refused, with the nearest word
//! that is one.
//!
//! A word looks like one when it
//! - starts with a size (`1080pp`, `720p3000`, `4khdr`), is digits with a unit (`8k`, `1081p`,
//!   `1080i`, `1920x1080`, `60fps`, `5m`), or holds the height of a size (`p1080`, `hd720`);
//! - starts like a codec (`h26…`, `x26…`, `vp…`, `av…` with digits), is `hevc` mistyped, or is the
//!   name of a codec that no scenario can ask for (`prores`, `aac`);
//! - is a bare number that a size name or a rate is missing from: `1080`, or `60` beside a size or
//!   codec without a rate. Other bare numbers are labels.

use super::words::{WordKind, of_kind, split_size};
use super::{Scenario, size_and_rate};
use crate::error::{Code, Error, Result, nearest};
use crate::units::{FrameRate, RESOLUTION_NAMES};

/// Refuses a word that only looks as if it meant something.
pub(super) fn refuse(word: &str) -> Result<()> {
    if let Some((size, _)) = split_size(word) {
        return Err(unknown(word, longest_valid_start(word).or(Some(size)), RATE_HINT));
    }
    if let Some((_, instead, hint)) = OTHER_NAMES.iter().find(|(name, _, _)| *name == word) {
        return Err(unknown(word, *instead, hint));
    }
    if let Some(hint) = looks_like_rate(word) {
        return Err(unknown(word, None, hint));
    }
    if looks_like_size(word) {
        return Err(unknown(word, nearest_size(word), SIZE_HINT));
    }
    if looks_like_codec(word) {
        return Err(unknown(word, nearest_codec(word), CODEC_HINT));
    }
    Ok(())
}

/// Refuses bare numbers that a size or a rate is missing from, once the whole scenario is known.
pub(super) fn refuse_bare_numbers(scenario: &Scenario) -> Result<()> {
    for word in scenario.words.iter().filter(|word| word.bytes().all(|b| b.is_ascii_digit())) {
        let rate = word.parse::<FrameRate>().is_ok_and(|fps| fps.as_f64() >= SLOWEST_USUAL_RATE);
        if rate && scenario.fps.is_none() && scenario.names_output() {
            let instead = scenario.size.map(|size| format!("{size}{word}"));
            return Err(unknown(word, instead.as_deref(), FPS_HINT));
        }
    }
    Ok(())
}

/// Bare numbers below this count things; from here on they may be meant as frames per second.
const SLOWEST_USUAL_RATE: f64 = 12.0;

const RATE_HINT: &str = "a size may be followed by a rate of 1 to 240 frames per second, such as 1080p30; \
    `ffrtmp scenarios` prints the grammar";
const SIZE_HINT: &str = "sizes are 4K, 2160p, 1440p, 1080p, 720p, 576p, 480p, 360p, 240p and 144p; \
    other sizes go into the parameter resolution, such as 1920x800";
const CODEC_HINT: &str = "codecs are h264, h265, hevc, vp8, vp9 and av1; `ffrtmp scenarios` prints the grammar";
const AUDIO_HINT: &str = "an audio codec goes into the parameter audio_codec";
const FPS_HINT: &str = "a rate stands behind the size, such as 1080p60, or goes into the parameter fps";
const BITRATE_HINT: &str = "a bit rate goes into the parameter bitrate, such as 5M";

/// Names of sizes and codecs that the grammar does not have, with what may be meant.
const OTHER_NAMES: &[(&str, Option<&str>, &str)] = &[
    ("uhd", Some("4k"), SIZE_HINT),
    ("qhd", Some("1440p"), SIZE_HINT),
    ("fhd", Some("1080p"), SIZE_HINT),
    ("fullhd", Some("1080p"), SIZE_HINT),
    ("avc1", Some("h264"), CODEC_HINT),
    ("hvc1", Some("hevc"), CODEC_HINT),
    ("hev1", Some("hevc"), CODEC_HINT),
    ("vvc", None, CODEC_HINT),
    ("mpeg2", None, CODEC_HINT),
    ("mpeg4", None, CODEC_HINT),
    ("mjpeg", None, CODEC_HINT),
    ("prores", None, CODEC_HINT),
    ("dnxhd", None, CODEC_HINT),
    ("ffv1", None, CODEC_HINT),
    ("theora", None, CODEC_HINT),
    ("divx", None, CODEC_HINT),
    ("xvid", None, CODEC_HINT),
    ("wmv", None, CODEC_HINT),
    ("aac", None, AUDIO_HINT),
    ("mp3", None, AUDIO_HINT),
    ("ac3", None, AUDIO_HINT),
    ("eac3", None, AUDIO_HINT),
    ("opus", None, AUDIO_HINT),
    ("vorbis", None, AUDIO_HINT),
    ("flac", None, AUDIO_HINT),
];

/// The longest start of the word that is a size with or without a rate.
fn longest_valid_start(word: &str) -> Option<&str> {
    (1..=word.len()).rev().filter_map(|end| word.get(..end)).find(|start| size_and_rate(start).is_some())
}

fn looks_like_rate(word: &str) -> Option<&'static str> {
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.');
    if unit.len() == word.len() {
        return None;
    }
    match unit {
        "fps" | "hz" => Some(FPS_HINT),
        "m" | "mbps" | "mbit" | "kbps" | "kbit" | "bps" => Some(BITRATE_HINT),
        _ => None,
    }
}

fn looks_like_size(word: &str) -> bool {
    let unit = word.trim_start_matches(|c: char| c.is_ascii_digit());
    let counted = unit.len() < word.len();
    let with_unit = counted && unit.starts_with(['p', 'i', 'k']) && !unit[1..].contains(|c: char| !"pik".contains(c));
    let by_sides = counted && unit.strip_prefix('x').is_some_and(all_digits);
    let mistyped = word.len() > 3 && one_edit_from(word, WordKind::Size);
    with_unit || by_sides || mistyped || holds_height(word)
}

/// Whether the word is the height of a size, bare or with letters that people put around it.
fn holds_height(word: &str) -> bool {
    let digits = word.trim_matches(|c: char| c.is_ascii_alphabetic());
    let letters = word.replace(digits, "");
    height_name(digits).is_some() && ["", "p", "px", "hd", "fhd", "uhd"].contains(&letters.as_str())
}

fn height_name(digits: &str) -> Option<&'static str> {
    RESOLUTION_NAMES.iter().map(|(name, _)| *name).find(|name| name.strip_suffix('p') == Some(digits))
}

fn nearest_size(word: &str) -> Option<&'static str> {
    word.split(|c: char| !c.is_ascii_digit()).find_map(height_name).or_else(|| nearest(word, of_kind(WordKind::Size)))
}

fn nearest_codec(word: &str) -> Option<&'static str> {
    of_kind(WordKind::Codec).min_by_key(|codec| strsim::damerau_levenshtein(word, codec))
}

fn looks_like_codec(word: &str) -> bool {
    let numbered = |prefix: &str| {
        word.strip_prefix(prefix)
            .is_some_and(|rest| rest.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit()))
    };
    let family = ["h", "x"].iter().any(|prefix| {
        word.strip_prefix(prefix).is_some_and(|rest| rest.trim_start_matches(['.', '_']).starts_with("26"))
    });
    family || numbered("vp") || numbered("av") || word == "h2" || one_edit_from(word, WordKind::Codec)
}

/// Whether the word is a known one of four or more letters with one slip of the finger. Shorter
/// ones have too many neighbours that are honest labels.
fn one_edit_from(word: &str, kind: WordKind) -> bool {
    of_kind(kind).filter(|known| known.len() > 3).any(|known| strsim::damerau_levenshtein(word, known) == 1)
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

fn unknown(word: &str, instead: Option<&str>, hint: &str) -> Error {
    let message = match instead {
        Some(instead) => format!("unknown scenario word {word:?}; did you mean {instead}?"),
        None => format!("unknown scenario word {word:?}"),
    };
    Error::new(Code::UnknownScenario, message).field("scenario").hint(hint)
}
