//! Which streams of one kind are worked on.

use super::{Code, Deserialize, Error, FromStr, Result, Serialize, fmt};

/// Which streams of one kind are worked on: `default`, `all`, `none`, or a list of indices in the
/// container and languages, such as `1,eng`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Selection {
    /// The best video stream, every audio stream, every text subtitle.
    #[default]
    Default,
    /// Every stream.
    All,
    /// No stream.
    None,
    /// These, in the order of the container.
    Some(Vec<Pick>),
}

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pick {
    /// Index in the container.
    Index(usize),
    /// Language tag.
    Language(String),
}

impl Selection {
    /// Whether a stream is named in a list; `None` if this is no list.
    #[must_use]
    pub fn names(&self, index: usize, language: Option<&str>) -> Option<bool> {
        let Self::Some(picks) = self else { return None };
        Some(picks.iter().any(|pick| match pick {
            Pick::Index(own) => *own == index,
            Pick::Language(own) => language.is_some_and(|language| language.eq_ignore_ascii_case(own)),
        }))
    }
}

impl FromStr for Selection {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text.trim().to_ascii_lowercase().as_str() {
            "default" | "best" => Ok(Self::Default),
            "all" => Ok(Self::All),
            "none" => Ok(Self::None),
            list => list.split(',').map(|pick| pick.trim().parse()).collect::<Result<_>>().map(Self::Some),
        }
    }
}

impl FromStr for Pick {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        if !text.is_empty() && text.len() <= 4 && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return text.parse().map(Self::Index).map_err(|_| unknown(text));
        }
        let is_language = (2..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphabetic() || b == b'-');
        if is_language { Ok(Self::Language(text.to_owned())) } else { Err(unknown(text)) }
    }
}

fn unknown(text: &str) -> Error {
    let shown: String = text.chars().take(40).collect();
    Error::new(Code::InvalidField, format!("{shown:?} names no stream"))
        .hint("give default, all, none, or a list of stream indices and languages such as 1,eng")
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::All => f.write_str("all"),
            Self::None => f.write_str("none"),
            Self::Some(picks) => {
                for (place, pick) in picks.iter().enumerate() {
                    let comma = if place > 0 { "," } else { "" };
                    match pick {
                        Pick::Index(index) => write!(f, "{comma}{index}")?,
                        Pick::Language(language) => write!(f, "{comma}{language}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl Serialize for Selection {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Selection {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation() {
        for (text, shown) in [("Default", "default"), ("ALL", "all"), ("none", "none"), ("1, ENG,0", "1,eng,0")] {
            assert_eq!(text.parse::<Selection>().unwrap().to_string(), shown);
        }
        for bad in ["", ",", "1,", "x", "12345", "../..", "eng;rm"] {
            assert!(bad.parse::<Selection>().is_err(), "{bad}");
        }
        let list: Selection = "2,deu".parse().unwrap();
        assert_eq!(list.names(2, None), Some(true));
        assert_eq!(list.names(1, Some("DEU")), Some(true));
        assert_eq!(list.names(1, Some("eng")), Some(false));
        assert_eq!(Selection::All.names(1, None), None);
    }
}
