//! Where inputs come from and outputs go to: local paths and URIs of a few schemes. Whether an
//! agent may touch the place is the agent's decision; here is only what a request may say.

use crate::error::{Code, Error, Result, nearest};

/// Longest path or URI accepted, in bytes.
pub const MAX_LENGTH: usize = 4096;

/// How a place is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// A path, or a `file:` URI of this host.
    File,
    /// HTTP or HTTPS.
    Http,
    /// RTMP or RTMPS.
    Rtmp,
    /// RTSP.
    Rtsp,
    /// SRT.
    Srt,
    /// An MPEG transport stream in UDP packets.
    Udp,
}

/// Scheme names of URIs and what they stand for.
const SCHEMES: &[(&str, Scheme)] = &[
    ("file", Scheme::File),
    ("http", Scheme::Http),
    ("https", Scheme::Http),
    ("rtmp", Scheme::Rtmp),
    ("rtmps", Scheme::Rtmp),
    ("rtsp", Scheme::Rtsp),
    ("srt", Scheme::Srt),
    ("udp", Scheme::Udp),
];

impl Scheme {
    /// Reads an input: a path, or a URI of any scheme here.
    ///
    /// # Errors
    /// `invalid_field` naming `input`, `unsupported_scheme`.
    pub fn of_input(text: &str) -> Result<Self> {
        read(text, "input")
    }

    /// Reads an output: a path, `file:`, or a streaming endpoint.
    ///
    /// # Errors
    /// `invalid_field` naming `output`, `unsupported_scheme`.
    pub fn of_output(text: &str) -> Result<Self> {
        match read(text, "output")? {
            Self::Http => {
                Err(unsupported("output", "http", "outputs go to a path, file://, rtmp://, rtsp://, srt:// or udp://"))
            }
            scheme => Ok(scheme),
        }
    }

    /// Whether media flows in real time: RTMP, RTSP, SRT, UDP.
    #[must_use]
    pub const fn is_streaming(self) -> bool {
        matches!(self, Self::Rtmp | Self::Rtsp | Self::Srt | Self::Udp)
    }

    /// Name for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Http => "HTTP",
            Self::Rtmp => "RTMP",
            Self::Rtsp => "RTSP",
            Self::Srt => "SRT",
            Self::Udp => "UDP",
        }
    }
}

fn read(text: &str, field: &'static str) -> Result<Scheme> {
    check_text(text, field)?;
    let Some((name, rest)) = split_scheme(text) else {
        return Ok(Scheme::File);
    };
    let lower = name.to_ascii_lowercase();
    let Some((_, scheme)) = SCHEMES.iter().find(|(known, _)| *known == lower) else {
        let known = SCHEMES.iter().map(|(known, _)| *known);
        let hint = match nearest(&lower, known.clone()) {
            Some(near) => format!("did you mean {near}://?"),
            None => format!(
                "known: {}; a file with a colon in its name is ./{}",
                known.collect::<Vec<_>>().join(", "),
                "NAME"
            ),
        };
        return Err(unsupported(field, &lower, &hint));
    };
    check_authority(*scheme, rest, field)?;
    Ok(*scheme)
}

/// Scheme and rest of a URI; `None` for a path. One letter is no scheme, nor is anything that has
/// a slash before its colon.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (name, rest) = text.split_once(':')?;
    let scheme = name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'));
    scheme.then_some((name, rest))
}

fn check_authority(scheme: Scheme, rest: &str, field: &'static str) -> Result<()> {
    let authority = rest.strip_prefix("//").map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match (scheme, authority) {
        (Scheme::File, None) if rest.starts_with('/') => Ok(()),
        (Scheme::File, Some("" | "localhost")) if rest.len() > 2 => Ok(()),
        (Scheme::File, _) => {
            Err(invalid(field, "a file: URI names a file of this host", "write file:///path/to/file, or just the path"))
        }
        (_, Some(host)) if !host.rsplit('@').next().unwrap_or_default().is_empty() => Ok(()),
        _ => Err(invalid(field, "the URI has no host", "write SCHEME://HOST/PATH")),
    }
}

fn check_text(text: &str, field: &'static str) -> Result<()> {
    if text.is_empty() {
        return Err(invalid(field, "is empty", "give a path or URI, or leave the field out"));
    }
    if text.len() > MAX_LENGTH {
        return Err(invalid(field, &format!("is {} bytes long", text.len()), "give at most 4096 bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid(field, "has a control character", "give a path or URI without NUL, newlines and the like"));
    }
    Ok(())
}

fn invalid(field: &'static str, message: &str, hint: &str) -> Error {
    Error::new(Code::InvalidField, message).field(field).hint(hint)
}

fn unsupported(field: &'static str, scheme: &str, hint: &str) -> Error {
    let shown: String = scheme.chars().take(40).collect();
    Error::new(Code::UnsupportedScheme, format!("no engine can use the scheme {shown:?} here")).field(field).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_that_a_request_may_name() {
        for (text, scheme) in [
            ("/a/b.mp4", Scheme::File),
            ("b.mp4", Scheme::File),
            ("-i", Scheme::File),
            ("a b;rm -rf %d é.mp4", Scheme::File),
            ("./a:b.mp4", Scheme::File),
            ("dir/http://x", Scheme::File),
            ("file:///a/b.mp4", Scheme::File),
            ("HTTPS://host/a.mp4", Scheme::Http),
            ("http://[::1]:80/a", Scheme::Http),
            ("rtmps://u:p@host/live/k", Scheme::Rtmp),
            ("rtsp://h", Scheme::Rtsp),
            ("srt://h:9000?mode=caller", Scheme::Srt),
        ] {
            assert_eq!(Scheme::of_input(text).unwrap(), scheme, "{text}");
        }
        assert_eq!(Scheme::of_output("rtmp://h/live/1").unwrap(), Scheme::Rtmp);
    }

    #[test]
    fn places_that_a_request_may_not_name() {
        let long = "a".repeat(MAX_LENGTH + 1);
        for (text, code) in [
            ("", Code::InvalidField),
            ("a\0b", Code::InvalidField),
            ("a\nb", Code::InvalidField),
            (long.as_str(), Code::InvalidField),
            ("http:///a", Code::InvalidField),
            ("http:a", Code::InvalidField),
            ("rtmp://user@/live", Code::InvalidField),
            ("file://host/a", Code::InvalidField),
            ("file:", Code::InvalidField),
            ("ftp://h/a", Code::UnsupportedScheme),
            ("concat:a|b", Code::UnsupportedScheme),
            ("pipe:0", Code::UnsupportedScheme),
            ("data:text/plain,x", Code::UnsupportedScheme),
            ("gopher://h", Code::UnsupportedScheme),
            ("s3://bucket/key", Code::UnsupportedScheme),
        ] {
            let error = Scheme::of_input(text).unwrap_err();
            assert_eq!((error.code(), error.field_name()), (code, Some("input")), "{text:.40}: {error}");
        }
        assert_eq!(Scheme::of_output("https://h/a.mp4").unwrap_err().code(), Code::UnsupportedScheme);
        assert!(Scheme::of_input("htps://h/a").unwrap_err().hint_text().contains("https"));
    }
}
