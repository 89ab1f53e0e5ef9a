//! Limits on what foreign bytes reach, and outputs that nothing could play.

use std::fs;
use std::time::{Duration, Instant};

use ffrtmp_core::engine::{Control, Engine, MediaBounds, Source, Task, Unobserved};
use ffrtmp_core::error::{Code, Error};
use ffrtmp_core::job::{JobReport, Parameters};
use ffrtmp_core::media::{Container, Target};
use ffrtmp_core::plan::OutputRequest;

use crate::workbench::{Bench, ENGINE};

fn copied(bench: &Bench, input: &str, container: Container) -> Result<JobReport, Error> {
    let parameters = Parameters {
        codec: Some(Target::Copy),
        audio_codec: Some(Target::Copy),
        container: Some(container),
        ..Parameters::default()
    };
    let request = OutputRequest { parameters, ..OutputRequest::default() };
    let source = Source::File(bench.path(input));
    let task = Task { source, output: bench.path("copied"), request, bounds: MediaBounds::default(), live: None };
    ENGINE.run(&task, &Control::default(), &Unobserved)
}

/// Matroska does not say how deep the colours of QuickTime RLE are: nothing could decode it there.
#[test]
fn a_copy_that_nothing_decodes_is_refused() {
    let bench = Bench::new();
    let made = "-f lavfi -i testsrc2=s=96x64:d=0.4 -c:v qtrle -pix_fmt rgb24";
    if bench.ffmpeg("rle.mov", made).is_none() {
        return;
    }
    let error = copied(&bench, "rle.mov", Container::Mkv).unwrap_err();
    assert!(matches!(error.code(), Code::VerifyFailed | Code::ContainerMismatch), "{error}");
    assert!(error.hint_text().contains("codec"), "{error}");
    assert!(!bench.path("copied").exists());
}

/// A codec of games is known to the libraries, but nothing here may open it.
#[test]
fn a_decoder_that_is_not_named_stays_closed() {
    let bench = Bench::new();
    let made = "-f lavfi -i testsrc2=s=96x64:d=0.4 -c:v sgi";
    if bench.ffmpeg("sgi.mkv", made).is_none() {
        return;
    }
    let output = bench.path("made");
    let request = OutputRequest::default();
    let source = Source::File(bench.path("sgi.mkv"));
    let task = Task { source, output: output.clone(), request, bounds: MediaBounds::default(), live: None };
    let error = ENGINE.run(&task, &Control::default(), &Unobserved).unwrap_err();
    assert!(matches!(error.code(), Code::InputUnsupported), "{error}");
    assert!(!output.exists());
}

/// A few bytes that ask for a table of four thousand million samples.
#[test]
fn a_header_that_asks_for_gigabytes_gets_an_error() {
    let bench = Bench::new();
    if bench.ffmpeg("small.mp4", "-f lavfi -i sine=d=0.3 -c:a pcm_s16le -f mov").is_none() {
        return;
    }
    let mut bytes = fs::read(bench.path("small.mp4")).unwrap();
    let table = bytes.windows(4).position(|name| name == b"stsz").unwrap();
    bytes[table + 12..table + 16].copy_from_slice(&u32::MAX.to_be_bytes());
    fs::write(bench.path("huge.mp4"), &bytes).unwrap();
    let before = peak();
    let started = Instant::now();
    let source = Source::File(bench.path("huge.mp4"));
    let probed = ENGINE.probe(&source, &MediaBounds::default());
    assert!(started.elapsed() < Duration::from_secs(10));
    assert!(probed.is_err() || probed.is_ok_and(|info| info.streams.len() == 1));
    assert!(peak() - before < 512 << 10, "{} KiB", peak() - before);
}

/// Peak memory of this process in KiB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
