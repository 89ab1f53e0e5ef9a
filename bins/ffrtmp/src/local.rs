//! Media work on this machine without a master.
//!
//! The engine runs in a child, `ffrtmp-runner`, as it does under an agent: a hostile file can
//! crash or stall the child but not this program, and commands that touch no media never load a
//! codec library (those alone cost 40 ms at start).

use std::path::{Path, PathBuf};

use ffrtmp::core::engine::{Engine, MediaBounds, Source};
use ffrtmp::core::media::MediaInfo;
use ffrtmp::core::{Code, Error, Result};
use ffrtmp::engines::IsolatedEngine;
use ffrtmp::engines::isolated;

/// An engine for one piece of work.
///
/// # Errors
/// `engine_unavailable` if `ffrtmp-runner` is not found.
pub(crate) fn engine() -> Result<IsolatedEngine> {
    runner().map(|program| IsolatedEngine::cold(program, Vec::new()))
}

/// An engine for many: it keeps a child in reserve.
///
/// # Errors
/// As [`engine`].
pub(crate) fn warm_engine() -> Result<IsolatedEngine> {
    runner().map(|program| IsolatedEngine::new(program, Vec::new()))
}

/// Where the runner is: `FFRTMP_RUNNER`, else beside this program, else on the `PATH`.
fn runner() -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut installed = std::env::split_paths(&path).map(|directory| directory.join("ffrtmp-runner"));
    match isolated::runner_beside_current_exe() {
        Some(runner) if runner.is_file() => Ok(runner),
        Some(named) => Err(no_runner(&format!("{} is no file", named.display())).field("FFRTMP_RUNNER")),
        None => installed
            .find(|candidate| candidate.is_file())
            .ok_or_else(|| no_runner("ffrtmp-runner is neither beside ffrtmp nor on the PATH")),
    }
}

fn no_runner(what: &str) -> Error {
    Error::new(Code::EngineUnavailable, what)
        .hint("install ffrtmp-runner beside ffrtmp (`cargo build` makes both), or name it in FFRTMP_RUNNER")
}

/// Looks at a file that a person named before anything is started for it.
///
/// # Errors
/// `input_not_found`, `input_unreadable` for a directory, a special file or one without
/// permission, `input_invalid` for an empty one.
pub(crate) fn source(path: &Path, field: &str) -> Result<Source> {
    let shown = path.display();
    if is_url(path) && !path.exists() {
        let error = Error::new(Code::UnsupportedScheme, format!("{shown} is a URL, and this command reads files"));
        return Err(error
            .field(field)
            .hint(format!("let an agent fetch it: ffrtmp jobs submit --scenario transcode --input {shown}")));
    }
    let facts = std::fs::metadata(path).map_err(|error| {
        let absent = matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory);
        let (code, what, cure) = match absent {
            true => (Code::InputNotFound, "does not exist", "check the path"),
            false => (Code::InputUnreadable, "cannot be opened", "make it a file that you may read"),
        };
        Error::new(code, format!("{shown} {what}")).field(field).hint(cure)
    })?;
    if !facts.is_file() {
        let what = if facts.is_dir() { "is a directory" } else { "is no regular file" };
        return Err(Error::new(Code::InputUnreadable, format!("{shown} {what}"))
            .field(field)
            .hint("give a media file"));
    }
    if let Err(error) = std::fs::File::open(path) {
        let error = Error::new(Code::InputUnreadable, format!("{shown} cannot be opened")).source(error);
        return Err(error.field(field).hint("make it a file that you may read"));
    }
    if facts.len() == 0 {
        let hint = "it holds 0 bytes: fetch or export it again";
        return Err(Error::new(Code::InputInvalid, format!("{shown} is empty")).field(field).hint(hint));
    }
    Ok(Source::File(path.to_owned()))
}

/// Whether this names a place by a scheme.
pub(crate) fn is_url(path: &Path) -> bool {
    path.to_string_lossy().split_once("://").is_some_and(|(scheme, _)| {
        !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    })
}

/// Describes a file; errors name the field that it came from.
///
/// # Errors
/// As [`source`] and [`Engine::probe`].
pub(crate) fn probe(engine: &dyn Engine, path: &Path, field: &str) -> Result<MediaInfo> {
    let source = source(path, field)?;
    engine.probe(&source, &MediaBounds::default()).map_err(|error| named(error, field, path))
}

/// Says which file an error is about, unless it does so itself.
pub(crate) fn named(error: Error, field: &str, path: &Path) -> Error {
    let about_input = matches!(
        error.code(),
        Code::InputInvalid | Code::InputUnsupported | Code::InputTooLarge | Code::InputUnreadable | Code::InputNotFound
    );
    if !about_input {
        return error;
    }
    let shown = path.display().to_string();
    let message = match error.message().contains(&shown) {
        true => error.message().to_owned(),
        false => format!("{shown}: {}", error.message()),
    };
    let again = Error::new(error.code(), message).field(field).hint(error.hint_text());
    match std::error::Error::source(&error).map(ToString::to_string) {
        Some(source) => again.source(source),
        None => again,
    }
}
