//! The live engine in children of the real `ffrtmp-runner-gstreamer`, confined.

#![cfg(feature = "gstreamer")]
#![allow(clippy::print_stdout, reason = "measured times are for whoever reads the test's output")]

#[path = "../../../ffrtmp-engines/tests/gstreamer/scripted.rs"]
mod scripted;
#[path = "../../../ffrtmp-engines/tests/gstreamer/servers.rs"]
mod servers;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::{Duration, Instant};

use ffrtmp_core::conformance::engine::{self, Subject};
use ffrtmp_core::engine::{Control, Engine, Observer, Progress, Source, Task};
use ffrtmp_core::error::Code;
use ffrtmp_core::job::EngineName;
use ffrtmp_core::live::{Endpoint, LiveEvent, LiveEventKind, LiveRules, LiveTask};
use ffrtmp_engines::isolated::IsolatedEngine;
use scripted::{Begins, Scripted, message, noise};

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

/// A server that shakes hands and then talks nonsense is a source that is no good: the child lives and
/// says so within the limits of time.
#[test]
fn nonsense_after_the_handshake_is_an_error_and_no_crash() {
    use Begins::{AfterHandshake, Playing};
    let header = |size: [u8; 3], kind: u8| [&[4, 0, 0, 0][..], &size, &[kind, 1, 0, 0, 0]].concat();
    let mut table = vec![
        ("a letter", AfterHandshake, vec![0x55; 100_000]),
        ("zeros", AfterHandshake, vec![0; 100_000]),
        ("ones", AfterHandshake, vec![0xff; 100_000]),
        ("a page", AfterHandshake, b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".repeat(1000)),
        ("chunks of nothing", AfterHandshake, message(2, 1, 0, &[0; 4])),
        ("chunks without end", AfterHandshake, message(2, 1, 0, &[0x7f, 0xff, 0xff, 0xff])),
        ("a message that shrinks", Playing, [header([0, 4, 0], 9), vec![7; 128], header([0, 0, 9], 9)].concat()),
        ("a message that grows", Playing, [header([0, 0, 200], 9), vec![7; 128], header([9, 0, 9], 9)].concat()),
        ("a description", Playing, message(4, 18, 1, &noise(1, 4_000))),
        ("tags within a tag", Playing, message(4, 22, 1, &noise(2, 4_000))),
    ];
    for seed in 1..5 {
        table.push(("noise", AfterHandshake, noise(seed, 200_000)));
        table.push(("noise while playing", Playing, noise(seed, 200_000)));
        let tags = [8, 9]
            .map(|kind| message(4, kind, 1, &[&[if kind == 8 { 0xaf } else { 0x17 }], &*noise(seed, 900)].concat()));
        table.push(("noise in tags", Playing, tags.concat().repeat(100)));
    }
    let (engine, scratch) = (isolated(), tempfile::tempdir().expect("a scratch directory"));
    std::thread::scope(|scope| {
        for part in table.chunks(3) {
            let (engine, scratch) = (&engine, scratch.path());
            scope.spawn(move || {
                part.iter().for_each(|(name, begins, bytes)| hears(engine, scratch, name, *begins, bytes));
            });
        }
    });
}

fn hears(engine: &IsolatedEngine, scratch: &Path, name: &str, begins: Begins, bytes: &[u8]) {
    let server = Scripted::saying(begins, bytes.to_vec());
    let source = Source::Live(Endpoint::parse(&server.url(), "input").expect("an endpoint"));
    let output = tempfile::Builder::new().tempdir_in(scratch).expect("a directory").keep().join("out.mp4");
    let mut task = Task::new(source, output, "240p-h264".parse().expect("a scenario"));
    let rules = LiveRules { connect: Duration::from_secs(5), stall: Duration::from_secs(30), ..LiveRules::default() };
    task.live = Some(LiveTask { record: true, rules, ..LiveTask::default() });
    let begun = Instant::now();
    let error = engine.run(&task, &Control::default(), &Ear(channel().0)).expect_err("no media");
    println!("{name}: {} {error} after {:?}", error.code(), begun.elapsed());
    let codes = [Code::Network, Code::InputInvalid, Code::InputUnsupported, Code::Timeout, Code::InputNotFound];
    assert!(codes.contains(&error.code()), "{name}: {}: {error}", error.code());
    assert!(!name.starts_with("noise while") || error.code() == Code::InputInvalid, "{name}: {error}");
    assert!(!task.output.exists(), "{name}");
}
