//! Refusals: what the argument parser says, in the one shape that all errors have.

use std::error::Error as _;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use ffrtmp::core::error::nearest;
use ffrtmp::core::{Code, Error, Result};

use super::Parsed;
use crate::console;

/// Prints what was asked for (help, version), or makes an error of the refusal.
pub(super) fn of(refusal: &clap::Error) -> Result<Parsed, Error> {
    match refusal.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            Ok(Parsed::Shown(console::shown(refusal.print(), ExitCode::SUCCESS)))
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            Ok(Parsed::Shown(console::shown(refusal.print(), ExitCode::from(Code::InvalidField.exit_code()))))
        }
        _ => Err(error(refusal)),
    }
}

fn error(refusal: &clap::Error) -> Error {
    if let Some(own) = refusal.source().and_then(|source| source.downcast_ref::<Error>()) {
        return Error::new(own.code(), own.message()).field(flag(refusal)).hint(own.hint_text());
    }
    match refusal.kind() {
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => invalid_value(refusal),
        ErrorKind::UnknownArgument => {
            unknown(refusal, "unknown flag", ContextKind::InvalidArg, ContextKind::SuggestedArg)
        }
        ErrorKind::InvalidSubcommand => {
            unknown(refusal, "unknown command", ContextKind::InvalidSubcommand, ContextKind::SuggestedSubcommand)
        }
        ErrorKind::MissingRequiredArgument => missing(refusal),
        _ => Error::new(Code::InvalidField, first_line(refusal)).hint(usage(refusal)),
    }
}

fn invalid_value(refusal: &clap::Error) -> Error {
    let flag = flag(refusal);
    let value = text(refusal, ContextKind::InvalidValue).unwrap_or_default();
    if value.is_empty() {
        return Error::new(Code::InvalidField, "a value is missing").field(flag).hint(usage(refusal));
    }
    let known = texts(refusal, ContextKind::ValidValue).join(", ");
    let hint = match (flag.as_str(), text(refusal, ContextKind::SuggestedValue)) {
        ("--output", None) => "it is the format: table or json, and of config recommend also yaml or bash; the file \
             that a job writes is --out"
            .to_owned(),
        (_, Some(near)) => format!("did you mean {near}? known: {known}"),
        (_, None) if known.is_empty() => usage(refusal),
        (_, None) => format!("known: {known}"),
    };
    let why = refusal.source().map(|source| format!(": {source}")).unwrap_or_default();
    Error::new(Code::InvalidField, format!("{value:?} is not accepted{why}")).field(flag).hint(hint)
}

fn unknown(refusal: &clap::Error, what: &str, word: ContextKind, near: ContextKind) -> Error {
    let word = text(refusal, word).unwrap_or_default();
    if refusal.kind() == ErrorKind::UnknownArgument && !word.starts_with('-') {
        return one_too_many(refusal, &word);
    }
    let hint = match texts(refusal, near).into_iter().find(|near| is_near(&word, near)) {
        Some(near) => format!("did you mean {near}?"),
        None => help(refusal),
    };
    Error::new(Code::UnknownField, format!("{what} {word:?}")).hint(hint)
}

/// Whether a suggestion of the parser, which is generous, is what was meant: a slip away, or what
/// was typed is its beginning.
fn is_near(typed: &str, suggested: &str) -> bool {
    let (typed, suggested) = (typed.trim_start_matches('-'), suggested.trim_start_matches('-'));
    (typed.len() > 2 && suggested.starts_with(typed)) || nearest(typed, [suggested]).is_some()
}

/// A word that stands where no flag takes one.
fn one_too_many(refusal: &clap::Error, word: &str) -> Error {
    let usage = usage(refusal);
    let hint = if usage.contains("<IN>") { format!("one file at a time; {usage}") } else { usage };
    Error::new(Code::InvalidField, format!("{word:?} is one word too many")).hint(hint)
}

fn missing(refusal: &clap::Error) -> Error {
    let names = texts(refusal, ContextKind::InvalidArg);
    let is = if names.len() == 1 { "is" } else { "are" };
    Error::new(Code::InvalidField, format!("{} {is} required", names.join(", "))).hint(usage(refusal))
}

/// The flag at fault, without its value: `--bitrate` or `<IN>`.
fn flag(refusal: &clap::Error) -> String {
    let argument = texts(refusal, ContextKind::InvalidArg).into_iter().next().unwrap_or_default();
    let name = argument.split([' ', '=']).next().unwrap_or_default();
    name.trim_matches(['<', '>', '[', ']']).to_owned()
}

fn text(refusal: &clap::Error, kind: ContextKind) -> Option<String> {
    texts(refusal, kind).into_iter().next()
}

fn texts(refusal: &clap::Error, kind: ContextKind) -> Vec<String> {
    match refusal.get(kind) {
        Some(ContextValue::String(text)) => vec![text.clone()],
        Some(ContextValue::Strings(texts)) => texts.clone(),
        Some(ContextValue::StyledStr(text)) => vec![text.to_string()],
        _ => Vec::new(),
    }
}

fn usage(refusal: &clap::Error) -> String {
    let usage = text(refusal, ContextKind::Usage).unwrap_or_default();
    let line = usage.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    match line.trim_start_matches("Usage:").trim() {
        "" => "see `ffrtmp --help`".to_owned(),
        usage => format!("usage: {usage}"),
    }
}

/// Where everything that is known stands. The parser's usage is of no use with an unknown flag: it
/// holds the suggestion.
fn help(refusal: &clap::Error) -> String {
    let usage = usage(refusal);
    let is_name = |word: &&str| word.starts_with(|letter: char| letter.is_ascii_lowercase());
    let names: Vec<_> = usage.trim_start_matches("usage: ").split(' ').take_while(is_name).collect();
    match names.first() {
        Some(&"ffrtmp") => format!("see `{} --help`", names.join(" ")),
        _ => usage,
    }
}

fn first_line(refusal: &clap::Error) -> String {
    let rendered = refusal.to_string();
    let line = rendered.lines().next().unwrap_or_default();
    line.trim_start_matches("error: ").trim_end_matches('.').to_owned()
}
