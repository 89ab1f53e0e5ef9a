//! Sources and outputs that go away, come back, change, or were never there.

use std::path::Path;
use std::time::{Duration, Instant};

use ffrtmp_core::error::Code;
use ffrtmp_core::live::{LiveEventKind, LiveRules};

use super::attempt::{Attempt, live, quick};
use crate::http::FileServer;
use crate::servers::{self, RtmpServer, packets, publish};

const PATIENCE: Duration = Duration::from_secs(60);

/// A publisher dies and comes back; the output is one stream whose times never go back, and the
/// pictures are where the clock was.
#[test]
fn a_publisher_that_returns_is_taken_up_again() {
    let server = RtmpServer::start();
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let first = publish(&clip, "flv", &server.url("in"));
    let mut task = live(&server.url("in"), scratch.path().join("out.mkv"));
    task.live.as_mut().unwrap().push = vec![super::attempt::endpoint(&server.url("out"))];
    let attempt = Attempt::start(task);
    attempt.await_frames(50, PATIENCE);
    let goes = Instant::now();
    drop(first);
    attempt.await_event(LiveEventKind::SourceLost, PATIENCE);
    let _second = publish(&clip, "flv", &server.url("in"));
    attempt.await_event(LiveEventKind::SourceBack, PATIENCE);
    let before = attempt.frames();
    attempt.await_frames(before + 50, PATIENCE);
    let (since_start, since_then) = (attempt.began().elapsed().as_secs_f64(), goes.elapsed().as_secs_f64());
    attempt.control.finish();
    let (report, output) = attempt.end();
    let report = report.unwrap();
    let measured = report.live.as_deref().unwrap();
    assert_eq!(measured.source_losses, 1, "{measured:?}");
    assert!(measured.source_away_seconds > 0.0 && measured.first_output_ms.is_some(), "{measured:?}");
    let length = grows(&output);
    assert!(length > since_then - 4.0 && length < since_start + 2.0, "{length} s of {since_then} to {since_start} s");
    assert!(!server.published("out").is_empty(), "nothing was sent");
}

/// While the source is away the slate goes on at the source's rate.
#[test]
fn a_slate_fills_the_gap() {
    let server = RtmpServer::start();
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let publisher = publish(&clip, "flv", &server.url("in"));
    let mut task = live(&server.url("in"), scratch.path().join("out.mkv"));
    task.live.as_mut().unwrap().rules.slate = true;
    let attempt = Attempt::start(task);
    attempt.await_frames(50, PATIENCE);
    drop(publisher);
    attempt.await_event(LiveEventKind::SourceLost, PATIENCE);
    let before = attempt.frames();
    attempt.await_frames(before + 75, PATIENCE);
    attempt.control.finish();
    let (report, output) = attempt.end();
    report.unwrap();
    let times = video_times(&output);
    let widest = times.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(widest < 0.2, "a hole of {widest} s");
}

#[test]
fn silence_ends_as_timeout() {
    let server = RtmpServer::start();
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let publisher = publish(&clip, "flv", &server.url("in"));
    let mut task = live(&server.url("in"), scratch.path().join("out.mp4"));
    task.live.as_mut().unwrap().rules.stall = Duration::from_secs(4);
    let attempt = Attempt::start(task);
    attempt.await_frames(25, PATIENCE);
    drop(publisher);
    let (report, output) = attempt.end();
    let error = report.unwrap_err();
    assert_eq!(error.code(), Code::Timeout, "{error}");
    assert!(!error.to_string().contains("/in"), "the key is shown: {error}");
    assert!(servers::decoded(&output) >= 25, "what was recorded until then is whole");
}

/// What can never work is said at once, or after the time for a connection; nothing hangs.
#[test]
fn sources_that_cannot_be_are_told_apart() {
    let garbage = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = garbage.local_addr().unwrap().port();
    std::thread::spawn(move || {
        use std::io::Write;
        // Until the test program ends; a client that is gone is no matter.
        for mut client in garbage.incoming().flatten() {
            let _ = client.write_all(&[0x55; 100_000]);
        }
    });
    let scratch = tempfile::tempdir().unwrap();
    std::fs::write(scratch.path().join("page"), "<!DOCTYPE html><html><body>Not here</body></html>").unwrap();
    let site = FileServer::start(scratch.path());
    for (name, url, codes) in [
        ("page", site.url("page"), vec![Code::InputInvalid]),
        ("nothing", site.url("nothing.m3u8"), vec![Code::InputNotFound]),
        ("garbage", format!("rtmp://127.0.0.1:{port}/live/key"), vec![Code::Network, Code::InputInvalid]),
        ("refused", format!("rtmp://127.0.0.1:{}/live/key", servers::free_port()), vec![Code::Network]),
        ("nohost", "rtmp://no-such-host.invalid/live/key".to_owned(), vec![Code::Network]),
        ("http", format!("http://127.0.0.1:{}/a.m3u8", servers::free_port()), vec![Code::Network]),
        ("srt", format!("srt://127.0.0.1:{}", servers::free_port()), vec![Code::Network, Code::Timeout]),
        ("rtsp", format!("rtsp://127.0.0.1:{}/x", servers::free_port()), vec![Code::Network]),
    ] {
        let mut task = live(&url, scratch.path().join(format!("{name}.mp4")));
        let rules =
            LiveRules { connect: Duration::from_secs(2), stall: Duration::from_secs(6), ..LiveRules::default() };
        task.live.as_mut().unwrap().rules = rules;
        let begun = Instant::now();
        let (report, output) = Attempt::start(task).end();
        let error = report.unwrap_err();
        assert!(codes.contains(&error.code()), "{name}: {}: {error}", error.code());
        assert!(!error.to_string().contains("live/key"), "{name}: the key is shown: {error}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{name}: after {:?}", begun.elapsed());
        assert!(!output.exists(), "{name}");
    }
}

#[test]
fn a_cancel_ends_a_live_attempt_at_once() {
    let scratch = tempfile::tempdir().unwrap();
    let port = servers::free_port();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let _publisher = publish(&clip, "mpegts", &format!("udp://127.0.0.1:{port}?pkt_size=1316"));
    let attempt = Attempt::start(live(&format!("udp://127.0.0.1:{port}"), scratch.path().join("out.mp4")));
    attempt.await_frames(25, PATIENCE);
    attempt.control.cancel();
    let asked = Instant::now();
    let (report, output) = attempt.end();
    assert_eq!(report.unwrap_err().code(), Code::Canceled);
    assert!(asked.elapsed() < Duration::from_secs(2), "{:?}", asked.elapsed());
    eprintln!("a live cancel took {:?}", asked.elapsed());
    assert!(!output.exists());
}

/// A file in a live task is read at the pace of the clock, and ends by itself; a length ends it too.
#[test]
fn a_file_keeps_to_the_clock() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let mut task = live("udp://127.0.0.1:1", scratch.path().join("out.mp4"));
    task.source = ffrtmp_core::engine::Source::File(clip);
    task.request.parameters.duration = Some(ffrtmp_core::units::Seconds::try_from(3.0).unwrap());
    let attempt = Attempt::start(task);
    let begun = Instant::now();
    let (report, _) = attempt.end();
    let report = report.unwrap();
    assert!((report.duration_seconds - 3.0).abs() < 0.15, "{report:?}");
    assert!(begun.elapsed() > Duration::from_millis(2_800), "{:?}", begun.elapsed());
    let mut fast = quick(scratch.path().join("fast.mp4"));
    fast.source = ffrtmp_core::engine::Source::File(scratch.path().join("out.mp4"));
    let (report, _) = Attempt::start(fast).end();
    assert_eq!(report.unwrap().frames, 75);
}

/// Times of the pictures of a file, which must grow; the length in seconds.
fn grows(file: &Path) -> f64 {
    let times = video_times(file);
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "times go back");
    times[times.len() - 1] - times[0]
}

fn video_times(file: &Path) -> Vec<f64> {
    let mut times: Vec<f64> = packets(file, None).iter().filter(|it| it.is_video).map(|it| it.pts).collect();
    assert!(times.len() > 2, "hardly a picture");
    times.sort_by(f64::total_cmp);
    times
}
