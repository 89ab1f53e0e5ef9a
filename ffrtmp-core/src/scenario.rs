//! The scenario grammar: `[word-…]RESOLUTION[FPS][-CODEC][-word…]`, parsed once into a
//! [`Scenario`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::error::{Error, Result};
use crate::media::VideoCodec;
use crate::units::{FrameRate, PictureSize};

/// What a scenario says.
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
}

impl FromStr for Scenario {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(Self { text: text.to_owned(), ..Self::default() })
    }
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
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
