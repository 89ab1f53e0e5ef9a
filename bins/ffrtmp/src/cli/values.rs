//! Values of flags: parsers that name what they accept, in errors, help and completions alike.

use std::ffi::OsStr;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command, ValueEnum};
use ffrtmp::core::clock::Timestamp;
use ffrtmp::core::units::Crf;
use ffrtmp::core::{Code, Error, Result};

use crate::describe::quantity::now;

/// The shape of the output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned text for people
    #[default]
    Table,
    /// JSON for programs
    Json,
    /// Plain text
    #[value(hide = true)]
    Text,
    /// YAML (`config recommend`)
    #[value(hide = true)]
    Yaml,
    /// Shell variables (`config recommend`)
    #[value(hide = true)]
    Bash,
}

/// Parses by `FromStr` and lists the known names.
#[derive(Debug)]
pub(crate) struct Named<T: 'static> {
    known: &'static [T],
    name: fn(T) -> &'static str,
}

impl<T> Named<T> {
    /// A parser of a type with these values.
    pub(crate) const fn of(known: &'static [T], name: fn(T) -> &'static str) -> Self {
        Self { known, name }
    }
}

impl<T> Clone for Named<T> {
    fn clone(&self) -> Self {
        Self { known: self.known, name: self.name }
    }
}

impl<T> TypedValueParser for Named<T>
where
    T: FromStr<Err = Error> + Copy + Send + Sync + 'static,
{
    type Value = T;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        TypedValueParser::parse_ref(&parse::<T>, command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(self.known.iter().map(|value| PossibleValue::new((self.name)(*value)))))
    }
}

/// Parses by `FromStr`; the error keeps its code, field and hint.
pub(crate) fn parse<T: FromStr<Err = Error>>(text: &str) -> Result<T> {
    text.parse()
}

/// A number of seconds: `900`, or with a unit, `90s`, `15m`, `2h`.
pub(crate) fn whole_seconds(text: &str) -> Result<u64> {
    let wrong = || {
        Error::new(Code::InvalidField, format!("{text:?} is not a time limit"))
            .field("timeout")
            .hint("give a positive number of seconds, or one with a unit: 900, 90s, 15m, 2h")
    };
    let (number, unit) = match text.as_bytes().last() {
        Some(b's') => (&text[..text.len() - 1], 1),
        Some(b'm') => (&text[..text.len() - 1], 60),
        Some(b'h') => (&text[..text.len() - 1], 3600),
        _ => (text, 1),
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let seconds: u64 = digits.then(|| number.parse().ok()).flatten().ok_or_else(wrong)?;
    seconds.checked_mul(unit).filter(|seconds| *seconds > 0).ok_or_else(wrong)
}

/// A point in time: RFC 3339, or so long from now as `+90s`, `+15m`, `+2h`, `+3d`.
pub(crate) fn moment(text: &str) -> Result<Timestamp> {
    let wrong = || {
        Error::new(Code::InvalidField, format!("{text:?} is not a time"))
            .hint("give RFC 3339, such as 2026-01-31T12:00:00Z, or a time from now, such as +90s, +15m, +2h or +3d")
    };
    let Some(ahead) = text.strip_prefix('+') else { return text.parse().map_err(|_| wrong()) };
    let unit = match ahead.as_bytes().last() {
        Some(b's') => 1,
        Some(b'm') => 60,
        Some(b'h') => 3600,
        Some(b'd') => 86_400,
        _ => return Err(wrong()),
    };
    let digits = &ahead[..ahead.len() - 1];
    let number: u64 =
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok()).flatten().ok_or_else(wrong)?;
    // What the clock cannot show cannot be asked for.
    let seconds = number.checked_mul(unit).filter(|seconds| *seconds <= MOST_AHEAD).ok_or_else(wrong)?;
    Ok(now() + Duration::from_secs(seconds))
}

/// A thousand years, in seconds.
const MOST_AHEAD: u64 = 1000 * 365 * 86_400;

/// Seconds as a number, or as a clock shows them: `90`, `2.5`, `01:30`, `1:02:03.5`.
pub(crate) fn seconds<T: FromStr<Err = Error>>(text: &str) -> Result<T> {
    const CLOCK: &str = "[HH:]MM:SS";
    if !text.contains(':') {
        return text.parse().map_err(|error: Error| {
            let hint = format!("{}, or {CLOCK}", error.hint_text());
            error.hint(hint)
        });
    }
    let plain = on_clock(text.trim()).ok_or_else(|| {
        Error::new(Code::InvalidField, format!("{text:?} is not a time"))
            .hint(format!("give seconds, such as 10 or 2.5, or {CLOCK}, such as 01:30 or 1:02:03.5"))
    })?;
    plain.parse()
}

/// `[HH:]MM:SS[.f]` as a decimal number of seconds; all but the first part go to 59.
fn on_clock(text: &str) -> Option<String> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<_> = whole.split(':').collect();
    if !(2..=3).contains(&parts.len()) || !is_number(fraction) {
        return None;
    }
    let mut seconds = 0_u64;
    for (position, part) in parts.iter().enumerate() {
        let number: u64 = is_number(part).then(|| part.parse().ok()).flatten()?;
        if position > 0 && number > 59 {
            return None;
        }
        seconds = seconds.checked_mul(60)?.checked_add(number)?;
    }
    Some(format!("{seconds}.{fraction}"))
}

/// A constant quality.
pub(crate) fn quality(text: &str) -> Result<Crf> {
    text.parse().map_err(|error: Error| {
        let told = Error::new(error.code(), format!("{text:?} is not a quality from 0 to 63"));
        told.hint(error.hint_text())
    })
}

/// A label: `KEY=VALUE`.
pub(crate) fn label(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::new(Code::InvalidField, format!("{text:?} is not a label"))
            .field("label")
            .hint("give KEY=VALUE, such as team=news")),
    }
}

/// An option with its value.
pub(crate) fn pair(text: &str) -> Result<(String, String)> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !value.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(Error::new(Code::InvalidField, format!("{text:?} is not an option with a value"))
            .hint("give KEY=VALUE, such as tune=film")),
    }
}

/// A positive whole number that fits.
pub(crate) fn positive<T: TryFrom<u64>>(text: &str) -> Result<T> {
    let number = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse::<u64>().ok()).flatten();
    number.filter(|number| *number > 0).and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
        Error::new(Code::InvalidField, format!("{text:?} is not a positive whole number"))
            .hint("give a positive whole number, such as 200")
    })
}
