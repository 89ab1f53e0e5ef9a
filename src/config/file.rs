//! Flags that a file gives: `--config FILE`, in YAML or JSON, by the names of the flags. The
//! environment and the command line have the last word.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use ffrtmp_core::error::{Code, Error, Result, nearest};
use figment::Figment;
use figment::providers::{Format as _, Yaml};
use figment::value::{Dict, Value};

/// The flag that names a file, and its variable.
const FLAG: &str = "config";
const VARIABLE: &str = "FFRTMP_CONFIG";
/// What `ffrtmp config recommend` says besides settings.
const REMARKS: &[&str] = &["environment", "reasons"];

/// The file that these words or the environment name, for a command that takes one.
pub(crate) fn named(command: &Command, words: impl Iterator<Item = OsString>) -> Option<PathBuf> {
    command.get_arguments().find(|known| known.get_id() == FLAG)?;
    let mut words = words;
    while let Some(word) = words.next() {
        if word == "--config" {
            return words.next().map(PathBuf::from);
        }
        if let Some(path) = word.to_str().and_then(|word| word.strip_prefix("--config=")) {
            return Some(path.into());
        }
    }
    std::env::var_os(VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// A command whose defaults are those of a file, where it has some.
///
/// # Errors
/// `invalid_config` naming the file and the key: it cannot be read, the key is no flag, the value is
/// none of the flag's.
pub(crate) fn applied(command: Command, path: &Path) -> Result<Command> {
    let entries: Dict = Figment::from(Yaml::file_exact(path)).extract().map_err(|error| {
        let at = if error.path.is_empty() { String::new() } else { format!(": {}", error.path.join(".")) };
        wrong(path, format!("{}{at}: {}", path.display(), error.kind)).hint("it is YAML or JSON, one flag per key")
    })?;
    entries.into_iter().filter(|(key, _)| !REMARKS.contains(&key.as_str())).try_fold(
        command,
        |command, (key, value)| {
            let values = texts(&value).ok_or_else(|| {
                wrong(path, format!("{}: {key}: not a value of a flag", path.display()))
                    .hint("give a text, a number, true or false, or a list of them")
            })?;
            with_default(command, path, &key, values)
        },
    )
}

fn with_default(command: Command, path: &Path, key: &str, values: Vec<String>) -> Result<Command> {
    let flag = key.replace('_', "-");
    let known = || command.get_arguments().filter_map(clap::Arg::get_long).filter(|long| *long != FLAG);
    if !known().any(|long| long == flag) {
        let hint = nearest(&flag, known()).map(|near| format!("did you mean {}?", near.replace('-', "_")));
        return Err(wrong(path, format!("{}: unknown key {key:?}", path.display()))
            .hint(hint.unwrap_or_else(|| "keys are the flags of --help, with _ for -".into())));
    }
    check(&command, path, key, &flag, &values)?;
    let id = command.get_arguments().find(|known| known.get_long() == Some(&flag)).map(|known| known.get_id().clone());
    let Some(id) = id else { return Ok(command) };
    // A command keeps its defaults for the life of the program; the file is read once.
    let values: Vec<&'static str> = values.into_iter().map(|value| &*value.leak()).collect();
    Ok(command.mut_arg(id, |arg| arg.default_values(values)))
}

/// Tries the values as if they stood on the command line.
fn check(command: &Command, path: &Path, key: &str, flag: &str, values: &[String]) -> Result<()> {
    let words = values.iter().map(|value| format!("--{flag}={value}"));
    let words = std::iter::once(command.get_name().to_owned()).chain(words);
    let Err(refusal) = command.clone().try_get_matches_from(words) else { return Ok(()) };
    let concerns = matches!(refusal.get(ContextKind::InvalidArg), Some(ContextValue::String(arg)) if arg.starts_with(&format!("--{flag}")));
    // What else the command lacks, other words may give.
    if refusal.kind() == ErrorKind::MissingRequiredArgument || !concerns {
        return Ok(());
    }
    let (message, tip) = crate::program::one_line(&refusal.to_string());
    let hint = tip.or_else(|| crate::program::known_values(&refusal));
    Err(wrong(path, format!("{}: {key}: {message}", path.display()))
        .hint(hint.unwrap_or_else(|| format!("see --{flag} in --help"))))
}

fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(_, text) => Some(vec![text.clone()]),
        Value::Bool(_, truth) => Some(vec![truth.to_string()]),
        Value::Num(_, number) => Some(vec![
            number
                .to_u128()
                .map(|n| n.to_string())
                .or_else(|| number.to_i128().map(|n| n.to_string()))
                .or_else(|| number.to_f64().map(|n| n.to_string()))?,
        ]),
        Value::Array(_, items) => {
            items.iter().map(|item| texts(item).filter(|texts| texts.len() == 1)?.pop()).collect()
        }
        _ => None,
    }
}

fn wrong(path: &Path, message: String) -> Error {
    Error::new(Code::InvalidConfig, message).field(format!("--{FLAG} {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use clap::{CommandFactory, FromArgMatches, Parser};

    use super::*;
    use crate::config::AgentArgs;

    #[derive(Parser)]
    #[command(name = "agent")]
    struct Cli {
        #[command(flatten)]
        args: AgentArgs,
    }

    fn read(text: &str, words: &[&str]) -> Result<AgentArgs> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.yaml");
        fs::write(&path, text).unwrap();
        let command = applied(Cli::command(), &path)?;
        let matches = command.try_get_matches_from([&["agent"], words].concat()).unwrap();
        Ok(Cli::from_arg_matches(&matches).unwrap().args)
    }

    #[test]
    fn a_file_gives_defaults_and_flags_win() {
        let text =
            "max_concurrent_jobs: 3\npoll_interval: 5s\nallow-path: [/a, /b]\nreasons: {x: y}\ngenerate_input: false\n";
        let args = read(text, &["--poll-interval", "7s"]).unwrap();
        assert_eq!((args.max_concurrent_jobs, args.poll_interval.as_secs(), args.generate_input), (Some(3), 7, false));
        assert_eq!(args.allow_path, ["/a", "/b"].map(PathBuf::from));
        assert_eq!(
            read(r#"{"max_concurrent_jobs": 2, "environment": "staging"}"#, &[]).unwrap().max_concurrent_jobs,
            Some(2)
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, words) in [
            ("max_concurent_jobs: 3", &["unknown key \"max_concurent_jobs\"", "max_concurrent_jobs?"][..]),
            ("max_concurrent_jobs: 0", &["max_concurrent_jobs", "1..=1024"]),
            ("cgroups: maybe", &["cgroups", "auto"]),
            ("cpu_limit_percent: -5", &["cpu_limit_percent"]),
            ("max_concurrent_jobs: {a: b}", &["max_concurrent_jobs", "list"]),
            ("- a\n- b", &["agent.yaml"]),
            ("a: [", &["agent.yaml"]),
        ] {
            let error = read(text, &[]).err().unwrap_or_else(|| panic!("{text} was taken"));
            let said = format!("{error} {}", error.hint_text());
            assert_eq!(error.code(), Code::InvalidConfig, "{text}");
            assert!(words.iter().all(|word| said.contains(word)), "{text}: {said}");
        }
    }

    #[test]
    fn the_file_is_found_among_the_words() {
        let command = Cli::command();
        for (words, found) in [
            (&["agent", "--config", "a.yaml"][..], Some("a.yaml")),
            (&["agent", "--name", "x", "--config=b"], Some("b")),
            (&["agent"], None),
        ] {
            let words = words.iter().map(OsString::from);
            assert_eq!(named(&command, words), found.map(PathBuf::from));
        }
    }
}
