//! The live engine in children of the real `ffrtmp-runner-gstreamer`, confined.

#![cfg(feature = "gstreamer")]
#![allow(clippy::print_stdout, reason = "measured times are for whoever reads the test's output")]

#[path = "../../../ffrtmp-engines/tests/gstreamer/servers.rs"]
mod servers;

use std::ffi::OsString;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use ffrtmp_core::conformance::engine::{self, Subject};
use ffrtmp_core::engine::{Control, Engine, Observer, Progress, Source, Task};
use ffrtmp_core::job::EngineName;
use ffrtmp_core::live::{Endpoint, LiveEvent, LiveEventKind, LiveTask};
use ffrtmp_engines::isolated::IsolatedEngine;

fn isolated() -> IsolatedEngine {
    let args = ["--sandbox", "on"].map(OsString::from).to_vec();
    IsolatedEngine::named(env!("CARGO_BIN_EXE_ffrtmp-runner-gstreamer").into(), args, EngineName::Gstreamer)
}

#[test]
fn isolated_gstreamer_conforms() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let subject = Subject {
        engine: Arc::new(isolated()),
        scratch: scratch.path().into(),
        fifo: None,
        quick: "144p10-h264",
        long: ("1080p30-h264", 600.0),
        cancel_within: Duration::from_secs(2),
    };
    println!("isolated gstreamer: {:?}", engine::run(&subject));
}

struct Ear(Sender<LiveEvent>);

impl Observer for Ear {
    fn progress(&self, _: Progress) {}

    fn log(&self, level: &str, text: &str) {
        println!("{level}: {text}");
    }

    fn event(&self, event: &LiveEvent) {
        println!("{}: {}", event.kind.as_str(), event.text);
        // A test that has ended hears no more.
        drop(self.0.send(event.clone()));
    }
}

/// Every layer of the sandbox but the network's is on, and media flows from a server to a server and
/// into a recording.
#[test]
fn a_confined_child_pulls_and_pushes() {
    let server = servers::RtmpServer::start();
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let clip = servers::clip(scratch.path(), "640x360", 20);
    let _publisher = servers::publish(&clip, "flv", &server.url("in"));
    servers::until("the publisher is there", Duration::from_secs(30), || server.statistics().contains("<publishing/>"));
    let endpoint = |key: &str| Endpoint::parse(&server.url(key), "input").expect("an endpoint");
    let scenario = "240p-h264".parse().expect("a scenario");
    let mut task = Task::new(Source::Live(endpoint("in")), scratch.path().join("out.mp4"), scenario);
    task.live = Some(LiveTask { push: vec![endpoint("out")], record: true, ..LiveTask::default() });
    let engine = isolated();
    println!("{:?}", engine.try_capabilities().map(|it| &it.sandbox));
    let (ear, heard) = channel();
    let control = Control::default();
    let begun = Instant::now();
    let running = std::thread::spawn({
        let control = control.clone();
        move || engine.run(&task, &control, &Ear(ear))
    });
    let started = heard.iter().take_while(|_| begun.elapsed() < Duration::from_secs(30));
    let first = started.filter(|event| event.kind == LiveEventKind::OutputStarted).take(2).count();
    println!("both outputs after {:?}", begun.elapsed());
    assert_eq!(first, 2, "an output did not start");
    std::thread::sleep(Duration::from_secs(2));
    control.finish();
    let report = running.join().expect("no panic").expect("a report");
    assert!(report.frames > 25, "{report:?}");
    println!("{:?} {:?}", report.live, report.sandbox_off);
    assert!(report.sandbox_off.iter().all(|layer| layer.starts_with("network")), "{:?}", report.sandbox_off);
}
