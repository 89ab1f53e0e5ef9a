//! Whole attempts in the sandbox: all that an engine puts aside has its place, and what is off is said.

use std::fs;

use ffrtmp_core::engine::{Control, Engine, Source, Task, Unobserved};
use ffrtmp_core::error::Code;
use ffrtmp_core::units::{Bitrate, Crf};
use ffrtmp_engines::isolated::IsolatedEngine;

use crate::{generated, isolated, runner};

fn names(folder: &std::path::Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("scratch").flatten();
    let mut names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn two_passes_chunks_and_packages_have_their_places() {
    let engine = IsolatedEngine::new(runner(), Vec::new());
    let run = |task: &Task| engine.run(task, &Control::default(), &Unobserved).expect("a run");
    let folder = tempfile::tempdir().expect("a scratch directory");
    // Two passes, with what x265 writes into files of its own.
    let mut first = generated(folder.path(), "first.mkv", "360p30-h265", 2.0);
    first.request.parameters.bitrate = Some(Bitrate::from_kbps(30_000));
    first.request.parameters.two_pass = Some(true);
    first.request.parameters.preset = Some("ultrafast".into());
    let report = run(&first);
    assert!(report.frames == 60 && report.warnings.is_empty(), "{report:?}");
    // Chunks of more than waits in memory.
    let mut source = generated(folder.path(), "source.mkv", "720p30-h264", 20.0);
    source.request.parameters.preset = Some("ultrafast".into());
    run(&source);
    let mut chunked = Task::new(
        Source::File(source.output),
        folder.path().join("chunked.mkv"),
        "720p30-h264".parse().expect("a scenario"),
    );
    chunked.request.parameters.crf = Some(Crf::try_from(4.0).expect("a factor"));
    chunked.request.parameters.preset = Some("ultrafast".into());
    chunked.request.parameters.chunks = Some("on".parse().expect("a word"));
    let report = run(&chunked);
    assert!(report.chunking.as_ref().is_some_and(|chunking| chunking.chunks > 1), "{report:?}");
    assert_eq!(names(folder.path()), ["chunked.mkv", "first.mkv", "source.mkv"]);
    // Many files, in a directory of their own.
    let package = folder.path().join("package");
    fs::create_dir(&package).expect("scratch is writable");
    let mut segmented = generated(&package, "index.m3u8", "144p10-h264", 8.0);
    segmented.request.parameters.container = Some("hls".parse().expect("a container"));
    run(&segmented);
    assert!(names(&package).len() > 1, "{:?}", names(&package));
}

#[test]
fn layers_are_said_by_capabilities_and_reports() {
    let folder = tempfile::tempdir().expect("a scratch directory");
    let task = generated(folder.path(), "out.mp4", "144p10-h264", 1.0);
    let engine = isolated(&["--synthetic", "{}", "--without", "seccomp"]);
    let layers = &engine.try_capabilities().expect("capabilities").sandbox;
    let off: Vec<_> = layers.iter().filter(|layer| !layer.on).map(|layer| layer.name.as_str()).collect();
    assert!(off.contains(&"seccomp") && layers.len() > off.len(), "{layers:?}");
    let report = engine.run(&task, &Control::default(), &Unobserved).expect("a run");
    let said = |name: &str| report.sandbox_off.iter().any(|layer| layer.starts_with(&format!("{name}: ")));
    assert!(off.iter().all(|name| said(name)), "{off:?} in {:?}", report.sandbox_off);
    assert_eq!(report.sandbox_off.len(), off.len(), "{:?}", report.sandbox_off);
}

#[test]
fn a_layer_that_is_required_is_there_or_nothing_runs() {
    let folder = tempfile::tempdir().expect("a scratch directory");
    let task = generated(folder.path(), "out.mp4", "144p10-h264", 1.0);
    match isolated(&["--synthetic", "{}", "--sandbox", "require"]).run(&task, &Control::default(), &Unobserved) {
        Ok(report) => assert!(report.sandbox_off.is_empty(), "{:?}", report.sandbox_off),
        Err(error) => assert_eq!((error.code(), error.field_name()), (Code::EngineUnavailable, Some("sandbox"))),
    }
}
