//! The scenario grammar: `[word-…]RESOLUTION[FPS][-CODEC][-word…]`, parsed once into a
//! [`Scenario`]. What a scenario leaves open is filled in by [`crate::plan`]; `docs/scenarios.md`
//! is the page for people.
//!
//! A word that looks like a size, a rate or a codec but is none is an error, never a label: a
//! scenario must not silently make something else than it seems to name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Code, Error, Result};
use crate::job::Classification;
use crate::media::VideoCodec;
use crate::units::{FrameRate, PictureSize};

mod lookalike;
mod words;

pub use words::{EXAMPLES, GRAMMAR, WORDS, Word, WordKind};

/// Longest scenario accepted, in bytes.
pub const MAX_LENGTH: usize = 128;

/// What a scenario says. The default says nothing and leaves everything open.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scenario {
    /// The text as it was given.
    text: String,
    /// Picture size, always a named bound.
    pub size: Option<PictureSize>,
    /// Frames per second.
    pub fps: Option<FrameRate>,
    /// Video codec.
    pub codec: Option<VideoCodec>,
    /// The other words, lower case, in their order.
    pub words: Vec<String>,
}

impl Scenario {
    /// The text as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether one of the words is `word`.
    #[must_use]
    pub fn has_word(&self, word: &str) -> bool {
        self.words.iter().any(|own| own == word)
    }

    /// What the first of `test`, `debug` and `benchmark` among the words says the job is for. A
    /// number behind the word does not matter: `test1` is a test.
    #[must_use]
    pub fn classification(&self) -> Option<Classification> {
        self.words.iter().find_map(|word| match word.trim_end_matches(|c: char| c.is_ascii_digit()) {
            "test" => Some(Classification::Test),
            "debug" => Some(Classification::Debug),
            "benchmark" => Some(Classification::Benchmark),
            _ => None,
        })
    }

    /// Whether `live`, `rtmp` or `stream` hints the live queue and the GStreamer engine.
    #[must_use]
    pub fn is_live_hint(&self) -> bool {
        ["live", "rtmp", "stream"].iter().any(|hint| self.has_word(hint))
    }

    /// Whether it says anything about the picture: a size, a rate or a codec.
    #[must_use]
    pub fn names_output(&self) -> bool {
        self.size.is_some() || self.fps.is_some() || self.codec.is_some()
    }

    fn take(&mut self, word: &str) -> Result<()> {
        if let Some((size, fps)) = size_and_rate(word) {
            return self.take_size(size, fps);
        }
        if let Ok(codec) = word.parse() {
            return match self.codec.replace(codec) {
                Some(first) => Err(twice("codecs", first, codec)),
                None => Ok(()),
            };
        }
        lookalike::refuse(word)?;
        self.words.push(word.to_owned());
        Ok(())
    }

    fn take_size(&mut self, size: PictureSize, fps: Option<FrameRate>) -> Result<()> {
        if let Some(first) = self.size.replace(size) {
            return Err(twice("sizes", first, size));
        }
        self.fps = fps;
        Ok(())
    }
}

/// A word that is a size with or without a rate: `1080p`, `1080p30`, `4k23.976`.
fn size_and_rate(word: &str) -> Option<(PictureSize, Option<FrameRate>)> {
    let (name, rate) = words::split_size(word)?;
    let size = name.parse().ok()?;
    if rate.is_empty() {
        return Some((size, None));
    }
    let plain = rate.starts_with(|c: char| matches!(c, '1'..='9')) && rate.ends_with(|c: char| c.is_ascii_digit());
    let fps = plain.then(|| rate.parse().ok()).flatten()?;
    Some((size, Some(fps)))
}

impl FromStr for Scenario {
    type Err = Error;

    /// Reads a scenario; letters may be of either case.
    ///
    /// # Errors
    /// `unknown_scenario` for a word that looks like a size, rate or codec but is none, with the
    /// nearest known one; `invalid_field` for an empty text, a foreign character, an empty word,
    /// two sizes or two codecs. All name the field `scenario`.
    fn from_str(text: &str) -> Result<Self> {
        check_text(text)?;
        let lower = text.to_ascii_lowercase();
        let mut scenario = Self { text: text.to_owned(), ..Self::default() };
        for word in lower.split('-') {
            if word.is_empty() {
                return Err(invalid(
                    format!("{text:?} has an empty word"),
                    "put one '-' between words, none at the ends",
                ));
            }
            scenario.take(word)?;
        }
        lookalike::refuse_bare_numbers(&scenario)?;
        Ok(scenario)
    }
}

fn check_text(text: &str) -> Result<()> {
    if text.is_empty() {
        return Err(invalid("is empty", "give one such as 720p30-h264; `ffrtmp scenarios` prints the grammar"));
    }
    if text.len() > MAX_LENGTH {
        let message = format!("is {} bytes long, more than {MAX_LENGTH}", text.len());
        return Err(invalid(message, "shorten it; labels belong into `labels`"));
    }
    match text.chars().find(|c| !c.is_ascii_alphanumeric() && !matches!(c, '-' | '_' | '.')) {
        Some(foreign) => Err(invalid(
            format!("{text:?} has the character {foreign:?}"),
            "use letters, digits, '-', '_' and '.'; `ffrtmp scenarios` prints the grammar",
        )),
        None => Ok(()),
    }
}

fn twice(what: &str, first: impl fmt::Display, second: impl fmt::Display) -> Error {
    invalid(format!("names two {what}, {first} and {second}"), "keep one; submit a job for each output")
}

fn invalid(message: impl Into<String>, hint: &str) -> Error {
    Error::new(Code::InvalidField, message).field("scenario").hint(hint)
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Scenario {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for Scenario {
    /// An empty text is the scenario that leaves everything open.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match String::deserialize(deserializer)?.as_str() {
            "" => Ok(Self::default()),
            text => text.parse().map_err(de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests;
