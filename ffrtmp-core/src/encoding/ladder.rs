//! Several renditions of one source.

use super::{Bitrate, Code, Crf, Deserialize, Error, FromStr, PictureSize, Result, Serialize, fmt};

/// Most renditions of one job.
const MAX_RENDITIONS: usize = 16;

/// The renditions of one job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Ladder {
    /// `auto`: 1080p, 720p, 480p and 360p as far as the source reaches.
    Auto(Auto),
    /// These.
    Renditions(Vec<Rendition>),
}

/// The word `auto`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auto {
    /// Let the plan choose.
    Auto,
}

/// One rendition: a size, and a quality or rate of its own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Rendition {
    /// Name, which becomes part of file names; the size by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Picture size; the source's by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resolution: Option<PictureSize>,
    /// Average bit rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bitrate: Option<Bitrate>,
    /// Bound on the bit rate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bitrate: Option<Bitrate>,
    /// Constant quality.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crf: Option<Crf>,
}

impl Ladder {
    /// Checks number and names.
    ///
    /// # Errors
    /// `invalid_field` naming `ladder`.
    pub fn check(&self) -> Result<()> {
        let Self::Renditions(renditions) = self else { return Ok(()) };
        if renditions.is_empty() || renditions.len() > MAX_RENDITIONS {
            return Err(wrong(format!("{} renditions", renditions.len())));
        }
        for rendition in renditions {
            if rendition.crf.is_some() && rendition.bitrate.is_some() {
                return Err(wrong("a rendition has either a crf or a bitrate".to_owned()));
            }
            if let Some(name) = rendition.name.as_ref().filter(|name| !is_name(name)) {
                return Err(wrong(format!("{:?} is no name", name.chars().take(40).collect::<String>())));
            }
        }
        Ok(())
    }
}

/// Names become parts of file names.
fn is_name(name: &str) -> bool {
    (1..=32).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
}

fn wrong(what: String) -> Error {
    Error::new(Code::InvalidField, what).field("parameters.ladder").hint(format!(
        "give auto, or 1 to {MAX_RENDITIONS} renditions such as 1080p:5M,720p:3M,480p; names are letters, digits, - and _"
    ))
}

impl FromStr for Ladder {
    type Err = Error;

    /// `auto`, or renditions such as `1080p:5M,720p:crf24,480p`.
    fn from_str(text: &str) -> Result<Self> {
        if text.eq_ignore_ascii_case("auto") {
            return Ok(Self::Auto(Auto::Auto));
        }
        let ladder = Self::Renditions(text.split(',').map(|part| part.trim().parse()).collect::<Result<_>>()?);
        ladder.check()?;
        Ok(ladder)
    }
}

impl FromStr for Rendition {
    type Err = Error;

    /// `SIZE`, `SIZE:BITRATE` or `SIZE:crfN`.
    fn from_str(text: &str) -> Result<Self> {
        let (size, rate) = text.split_once(':').map_or((text, None), |(size, rate)| (size, Some(rate)));
        let mut rendition = Self { resolution: Some(size.parse()?), ..Self::default() };
        match rate.map(|rate| (rate, rate.strip_prefix("crf"))) {
            None => {}
            Some((_, Some(crf))) => rendition.crf = Some(crf.parse()?),
            Some((rate, None)) => rendition.bitrate = Some(rate.parse()?),
        }
        Ok(rendition)
    }
}

impl fmt::Display for Rendition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.resolution {
            Some(size) => write!(f, "{size}")?,
            None => f.write_str("source")?,
        }
        match (self.bitrate, self.crf) {
            (Some(bitrate), _) => write!(f, ":{bitrate}"),
            (_, Some(crf)) => write!(f, ":crf{crf}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notation() {
        let Ladder::Renditions(found) = "1080p:5M, 720p:crf24,640x360".parse().unwrap() else { panic!("a list") };
        let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["1080p:5M", "720p:crf24", "640x360"]);
        assert_eq!(serde_json::to_value("auto".parse::<Ladder>().unwrap()).unwrap(), "auto");
        for bad in ["", "big", "720p:", "720p:crf99", "720p,,480p"] {
            assert!(bad.parse::<Ladder>().is_err(), "{bad}");
        }
        let evil = Ladder::Renditions(vec![Rendition { name: Some("../x".into()), ..Rendition::default() }]);
        assert_eq!(evil.check().unwrap_err().field_name(), Some("parameters.ladder"));
    }
}
