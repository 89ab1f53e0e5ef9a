//! Runs the built program as a person would, in surroundings of its own.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use ffrtmp::core::engine::{Control, Engine as _, MediaBounds, Source, Task, Unobserved};
use ffrtmp::core::plan::OutputRequest;
use ffrtmp::engines::IsolatedEngine;
use tempfile::TempDir;

/// An empty home and working directory.
pub(crate) struct Desk {
    pub(crate) home: TempDir,
    pub(crate) dir: TempDir,
}

/// What the program said and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Self { home: tempfile::tempdir().unwrap(), dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        std::fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// Names of everything in the working directory.
    pub(crate) fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.dir.path()).unwrap();
        let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ffrtmp"));
        command.args(args).current_dir(self.dir.path()).env("HOME", self.home.path()).env("FFRTMP_RUNNER", runner());
        for name in ["MASTER_URL", "MASTER_API_KEY", "FFMPEG_RTMP_API_KEY", "NO_COLOR"] {
            command.env_remove(name);
        }
        command.stdin(Stdio::null());
        command
    }

    pub(crate) fn run(&self, args: &[&str]) -> Said {
        said(self.command(args).output().unwrap())
    }

    /// Runs it and reads its output as JSON.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let said = self.run(&[&["--output", "json"], args].concat());
        assert_eq!(said.code, 0, "{args:?}: {}", said.err);
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", said.out))
    }
}

pub(crate) fn said(output: Output) -> Said {
    Said {
        code: output.status.code().unwrap_or(-1),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The runner of this build; built now if nothing did so yet.
pub(crate) fn runner() -> &'static Path {
    static RUNNER: OnceLock<PathBuf> = OnceLock::new();
    RUNNER.get_or_init(|| {
        let own = Path::new(env!("CARGO_BIN_EXE_ffrtmp"));
        let runner = own.with_file_name("ffrtmp-runner");
        if !runner.is_file() {
            let profile = if own.parent().unwrap().ends_with("release") { "release" } else { "dev" };
            let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
            let args = ["build", "-p", "ffrtmp-runner", "--profile", profile];
            let built = Command::new(cargo).args(args).status().unwrap();
            assert!(built.success() && runner.is_file(), "ffrtmp-runner cannot be built");
        }
        runner
    })
}

/// A generated clip: moving pattern, tone, 30 frames per second.
pub(crate) fn clip(output: &Path, scenario: &str, seconds: f64) {
    let request = OutputRequest { scenario: scenario.parse().unwrap(), ..OutputRequest::default() };
    let task = Task {
        source: Source::Generated(seconds.try_into().unwrap()),
        output: output.to_owned(),
        request: OutputRequest { container: Some("mp4".parse().unwrap()), ..request },
        bounds: MediaBounds::default(),
        live: None,
    };
    let engine = IsolatedEngine::cold(runner().to_owned(), Vec::new());
    let report = engine.run(&task, &Control::default(), &Unobserved).unwrap();
    assert!(output.exists(), "{report:?}");
}
