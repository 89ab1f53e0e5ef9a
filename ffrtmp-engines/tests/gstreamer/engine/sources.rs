//! Every kind of source with media in it, and the awkward moments to join one.

use std::path::Path;
use std::time::Duration;

use super::attempt::{Attempt, live};
use crate::rtsp::RtspServer;
use crate::servers::{self, RtmpServer, packets, publish, until};

const PATIENCE: Duration = Duration::from_secs(60);

/// Joined between two key frames that are far apart, the source gives sound at once and its picture
/// much later: the output has both, from the same moment on.
#[test]
fn a_picture_that_waits_for_its_key_frame_is_waited_for() {
    let server = RtmpServer::start();
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip_in_groups(scratch.path(), "320x180", 24, 12);
    let _publisher = publish(&clip, "flv", &server.url("in"));
    until("the source is published", PATIENCE, || !server.published("in").is_empty());
    let attempt = Attempt::start(live(&server.url("in"), scratch.path().join("out.mkv")));
    attempt.await_frames(50, PATIENCE);
    attempt.control.finish();
    let (report, output) = attempt.end();
    let report = report.unwrap();
    assert!(report.frames >= 50, "{report:?}");
    begins_with_both(&output);
}

#[test]
fn rtsp_gives_pictures_and_sound() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let server = RtspServer::start(&clip);
    let attempt = Attempt::start(live(&server.url(), scratch.path().join("out.mkv")));
    attempt.await_frames(50, PATIENCE);
    attempt.control.finish();
    let (report, output) = attempt.end();
    report.unwrap();
    begins_with_both(&output);
}

fn begins_with_both(output: &Path) {
    let packets = packets(output, None);
    let first = |is_video| {
        let times = packets.iter().filter(|it| it.is_video == is_video).map(|it| it.pts);
        times.fold(f64::INFINITY, f64::min)
    };
    let (video, audio) = (first(true), first(false));
    assert!((video - audio).abs() < 0.2, "pictures begin at {video} s, sound at {audio} s");
}
