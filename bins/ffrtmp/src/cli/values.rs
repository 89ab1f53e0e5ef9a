//! Values of flags: parsers that name what they accept, in errors, help and completions alike.

use std::ffi::OsStr;
use std::str::FromStr;

use clap::builder::{PossibleValue, TypedValueParser};
use clap::{Arg, Command, ValueEnum};
use ffrtmp::core::{Code, Error, Result};

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
