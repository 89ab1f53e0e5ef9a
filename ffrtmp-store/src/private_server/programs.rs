//! The PostgreSQL programs of this machine.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use ffrtmp_core::{Code, Error, Result};

use super::{BIN_VARIABLE, broken};

/// Where `initdb`, `postgres` and `psql` are.
#[derive(Clone, Debug)]
pub(super) struct Programs(pub(super) PathBuf);

impl Programs {
    pub(super) fn find() -> Result<Self> {
        if let Some(named) = std::env::var_os(BIN_VARIABLE) {
            let named = PathBuf::from(named);
            return Self::at(&named).ok_or_else(|| {
                Error::new(Code::InvalidConfig, format!("{} has no initdb, postgres and psql", named.display()))
                    .field(BIN_VARIABLE)
            });
        }
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).chain(packaged(Path::new("/usr/lib/postgresql"))).find_map(|dir| Self::at(&dir)).ok_or_else(
            || {
                Error::new(Code::Unavailable, "no PostgreSQL server is installed here").hint(format!(
                    "install the package `postgresql` (scripts/setup.sh does), or name the directory of initdb with {BIN_VARIABLE}"
                ))
            },
        )
    }

    fn at(dir: &Path) -> Option<Self> {
        let whole = ["initdb", "postgres", "psql"].iter().all(|program| dir.join(program).is_file());
        whole.then(|| Self(dir.to_owned()))
    }

    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.0.join(program));
        // Variables of the person who runs this (PGHOST, PGDATA, PGSERVICE, …) mean another server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C");
        command
    }
}

/// The directories of Debian's packages, newest version first.
fn packaged(root: &Path) -> impl Iterator<Item = PathBuf> {
    let mut versions: Vec<(u32, PathBuf)> = fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path().join("bin"))))
        .collect();
    versions.sort_unstable();
    versions.into_iter().rev().map(|(_, path)| path)
}

/// Runs a program to its end and returns what it wrote.
pub(super) fn finished(command: &mut Command, code: Code) -> Result<String> {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default().to_string_lossy().into_owned();
    let Output { status, stdout, stderr } =
        command.stdin(Stdio::null()).output().map_err(|error| broken("cannot run a PostgreSQL program", error))?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).trim_end().to_owned());
    }
    let ended = status.signal().map_or_else(|| status.to_string(), |signal| format!("ended by signal {signal}"));
    Err(Error::new(code, format!("{program} failed ({ended}): {}", String::from_utf8_lossy(&stderr).trim_end())))
}
