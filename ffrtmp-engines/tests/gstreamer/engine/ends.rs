//! How live attempts end that could not deliver, or are told to stop.

use std::fs;
use std::path::Path;
use std::time::Duration;

use ffrtmp_core::engine::{Source, Task};
use ffrtmp_core::error::Code;
use ffrtmp_core::live::LiveRules;
use ffrtmp_core::units::Seconds;

use super::attempt::{Attempt, endpoint, live};
use crate::servers::{self, REFUSED, RtmpServer, publish};

const PATIENCE: Duration = Duration::from_secs(60);

/// A task that sends two seconds of a clip somewhere.
fn sends(clip: &Path, url: &str, output: &Path, record: bool) -> Task {
    let mut task = live("udp://127.0.0.1:1", output.to_owned());
    task.source = Source::File(clip.to_owned());
    task.request.parameters.duration = Some(Seconds::try_from(2.0).unwrap());
    let live = task.live.as_mut().unwrap();
    (live.push, live.record) = (vec![endpoint(url)], record);
    live.rules = LiveRules { connect: Duration::from_secs(2), ..LiveRules::default() };
    task
}

/// Nothing of an attempt is complete if nobody got anything; where it was recorded, it says what is
/// missing.
#[test]
fn what_reached_nobody_is_not_complete() {
    let server = RtmpServer::start();
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 6);
    let absent = format!("rtmp://127.0.0.1:{}/live/key", servers::free_port());
    for (name, url, code) in [
        ("absent", absent.clone(), Code::Network),
        ("refused", server.url(REFUSED), Code::OutputNotWritable),
        ("keyless", server.url("").trim_end_matches('/').to_owned(), Code::InvalidField),
        ("caller", format!("srt://127.0.0.1:{}", servers::free_port()), Code::Network),
        ("listener", format!("srt://127.0.0.1:{}?mode=listener", servers::free_port()), Code::Network),
    ] {
        let (report, _) = Attempt::start(sends(&clip, &url, &scratch.path().join(name), false)).end();
        let error = report.unwrap_err();
        assert_eq!((error.code(), error.field_name()), (code, Some("output")), "{name}: {error}");
        assert!(!error.to_string().contains("/key"), "{name}: {error}");
    }
    let path = scratch.path().join("kept.mp4");
    let (report, output) = Attempt::start(sends(&clip, &absent, &path, true)).end();
    let report = report.unwrap();
    assert_eq!(report.live.as_ref().map(|live| live.outputs_unreached), Some(1), "{report:?}");
    assert!(report.warnings.iter().any(|warning| warning.contains("cannot be reached")), "{:?}", report.warnings);
    assert_eq!(servers::decoded(&output), 50);
}

/// Told to stop at once in the middle of its good end, it leaves what it has.
#[test]
fn a_recording_survives_an_end_that_is_cut_short() {
    let server = RtmpServer::start();
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let _publisher = publish(&clip, "flv", &server.url("in"));
    let recording = scratch.path().join("out.mp4");
    let attempt = Attempt::start(live(&server.url("in"), recording.clone()));
    let fragments = || fs::read(&recording).map_or(0, |it| it.windows(4).filter(|window| window == b"moof").count());
    servers::until("fragments of both tracks are written", PATIENCE, || fragments() > 5);
    attempt.control.finish();
    attempt.control.cancel();
    let (report, output) = attempt.end();
    assert_eq!(report.unwrap_err().code(), Code::Canceled);
    let recorded = servers::packets(&output, None).into_iter().filter(|packet| packet.is_video).count();
    assert!(recorded >= 75, "{recorded} pictures were recorded until then");
}
