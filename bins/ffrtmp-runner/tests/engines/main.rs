//! Engines under the conformance suite, in process and in children of the real `ffrtmp-runner`,
//! and what becomes of children that go wrong.

#![allow(clippy::print_stdout, reason = "measured times are for whoever reads the test's output")]

mod canaries;
mod confined;
mod conformance;
mod endurance;
mod faults;
mod overhead;
mod processes;
mod reserve;
mod survival;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use ffrtmp_core::engine::{Source, Task};
use ffrtmp_core::job::EngineName;
use ffrtmp_core::units::Seconds;
use ffrtmp_engines::isolated::IsolatedEngine;
use ffrtmp_engines::synthetic::Behaviour;

/// The runner of this build.
fn runner() -> PathBuf {
    env!("CARGO_BIN_EXE_ffrtmp-runner").into()
}

fn isolated_synthetic(behaviour: &Behaviour) -> IsolatedEngine {
    let behaviour = serde_json::to_string(behaviour).expect("a behaviour is JSON");
    isolated(&["--synthetic", &behaviour])
}

fn isolated(args: &[&str]) -> IsolatedEngine {
    IsolatedEngine::named(runner(), args.iter().map(OsString::from).collect(), EngineName::Synthetic)
}

fn generated(folder: &Path, name: &str, scenario: &str, seconds: f64) -> Task {
    let length = Seconds::try_from(seconds).expect("a span");
    Task::new(Source::Generated(length), folder.join(name), scenario.parse().expect("a scenario"))
}
