//! Every engine that this build has, under the suite of the trait.

use std::sync::Arc;
use std::time::Duration;

use ffrtmp_core::conformance::engine::{self, Subject};
use ffrtmp_core::engine::Engine;
use ffrtmp_engines::isolated::IsolatedEngine;
use ffrtmp_engines::libav::LibavEngine;
use ffrtmp_engines::synthetic::{Behaviour, SyntheticEngine};

use crate::{isolated_synthetic, runner};

/// The suite needs engines that take their time over the long task and hurry over the quick one.
fn judge(name: &str, engine: impl Engine, long: (&'static str, f64)) {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let fifo = scratch.path().join("fifo");
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR)
        .expect("a named pipe");
    let subject = Subject {
        engine: Arc::new(engine),
        scratch: scratch.path().into(),
        fifo: Some(fifo),
        quick: "144p10-h264",
        long,
        cancel_within: Duration::from_secs(2),
    };
    let measured = engine::run(&subject);
    println!("{name}: {measured:?}");
}

fn steady() -> Behaviour {
    Behaviour { speed: Some(20.0), failure: None }
}

#[test]
fn synthetic() {
    judge("synthetic", SyntheticEngine::new(steady()), ("144p10-h264", 1200.0));
}

#[test]
fn isolated_synthetic_conforms() {
    judge("isolated synthetic", isolated_synthetic(&steady()), ("144p10-h264", 1200.0));
}

/// Ten minutes of it take minutes on any machine; no test waits for its end.
const HEAVY: (&str, f64) = ("1080p30-h264", 600.0);

#[test]
fn libav() {
    judge("libav", LibavEngine::new().expect("the libraries load"), HEAVY);
}

#[test]
fn isolated_libav() {
    judge("isolated libav", IsolatedEngine::new(runner(), Vec::new()), HEAVY);
}
