//! A section of a YAML file whose every key is known: what is unknown or of another kind is refused
//! with the place and the cure.

use std::path::Path;

use ffrtmp_core::error::{Code, Error, Result, nearest};
use serde_json::{Map, Value};

use super::unique;

/// Keys and values at one place of a file.
pub(super) struct Section {
    /// The file, and the keys that lead here.
    place: String,
    values: Map<String, Value>,
    asked: Vec<String>,
}

impl Section {
    /// The whole of a file.
    pub(super) fn of_file(path: &Path) -> Result<Self> {
        Self::of_file_like(path, "docs/supervision.md shows one")
    }

    /// The same, with where to find an example.
    pub(super) fn of_file_like(path: &Path, example: &str) -> Result<Self> {
        let place = format!("{}: ", path.display());
        let refused = |message: &str, hint: &str| {
            Error::new(Code::InvalidConfig, message).field(path.display().to_string()).hint(hint.to_owned())
        };
        let cure = "give a YAML file, or create it";
        let unread = |error: std::io::Error| refused("it cannot be read", cure).source(error);
        if !std::fs::metadata(path).map_err(unread)?.is_file() {
            return Err(refused("it is no file", cure));
        }
        let text = std::fs::read_to_string(path).map_err(unread)?;
        let values = unique::parse(&text)
            .map_err(|why| refused(&format!("it is not YAML of the form `key: value`: {why}"), example))?;
        Ok(Self { place, values, asked: Vec::new() })
    }

    /// Whether a key is there with a value.
    pub(super) fn has(&self, key: &str) -> bool {
        self.values.get(key).is_some_and(|value| !value.is_null())
    }

    /// A text, or a number as one.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>> {
        self.take(key).map(|value| plain(&value).ok_or_else(|| self.wrong(key, "give a text, such as 10s"))).transpose()
    }

    /// A list of texts or numbers; empty if it is not there.
    pub(super) fn texts(&mut self, key: &str) -> Result<Vec<String>> {
        let Some(value) = self.take(key) else { return Ok(Vec::new()) };
        let list = value.as_array().and_then(|list| list.iter().map(plain).collect());
        list.ok_or_else(|| self.wrong(key, "give a list, such as [a, b]"))
    }

    /// A whole number that fits.
    pub(super) fn number<N: TryFrom<i64>>(&mut self, key: &str) -> Result<Option<N>> {
        let fits = |value: Value| value.as_i64().and_then(|number| N::try_from(number).ok());
        self.take(key)
            .map(|value| fits(value).ok_or_else(|| self.wrong(key, "give a whole number, such as 200")))
            .transpose()
    }

    /// A section below.
    pub(super) fn section(&mut self, key: &str) -> Result<Option<Self>> {
        self.take(key).map(|value| self.below(key, value)).transpose()
    }

    /// The sections below a key, by names that are free.
    pub(super) fn sections(&mut self, key: &str) -> Result<Vec<(String, Self)>> {
        let Some(outer) = self.section(key)? else { return Ok(Vec::new()) };
        let values = outer.values.clone();
        values.into_iter().map(|(name, value)| Ok((name.clone(), outer.below(&name, value)?))).collect()
    }

    fn below(&self, key: &str, value: Value) -> Result<Self> {
        match value {
            Value::Object(values) => Ok(Self { place: format!("{}{key}.", self.place), values, asked: Vec::new() }),
            _ => Err(self.wrong(key, "give lines of the form `key: value` below it")),
        }
    }

    /// Refuses what nobody asked for.
    pub(super) fn finish(self) -> Result<()> {
        let Some(unknown) = self.values.keys().next() else { return Ok(()) };
        let known = self.asked.iter().map(String::as_str);
        let near = nearest(unknown, known).map(|near| format!("did you mean {near}? ")).unwrap_or_default();
        let hint = format!("{near}known: {}", self.asked.join(", "));
        Err(Error::new(Code::InvalidConfig, "unknown key").field(format!("{}{unknown}", self.place)).hint(hint))
    }

    /// An error about a key.
    pub(super) fn wrong(&self, key: &str, hint: &str) -> Error {
        Error::new(Code::InvalidConfig, "the value cannot be used")
            .field(format!("{}{key}", self.place))
            .hint(hint.to_owned())
    }

    fn take(&mut self, key: &str) -> Option<Value> {
        self.asked.push(key.to_owned());
        self.values.remove(key).filter(|value| !value.is_null())
    }
}

fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
