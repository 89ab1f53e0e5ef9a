//! Every kind of source with media in it, and the awkward moments to join one.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::time::{Duration, Instant};

use ffrtmp_core::live::LiveEventKind;

use super::attempt::{Attempt, live};
use crate::http::FileServer;
use crate::rtsp::RtspServer;
use crate::servers::{self, Packet, RtmpServer, Running, packets, publish, until};

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

#[test]
fn srt_gives_pictures_and_sound() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let url = format!("srt://127.0.0.1:{}", servers::free_port());
    let _publisher = publish(&clip, "mpegts", &format!("{url}?mode=listener"));
    let attempt = Attempt::start(live(&url, scratch.path().join("out.mkv")));
    attempt.await_frames(50, PATIENCE);
    attempt.control.finish();
    let (report, output) = attempt.end();
    report.unwrap();
    begins_with_both(&output);
}

/// The server of a playlist that still grows is gone and comes back.
#[test]
fn a_playlist_is_taken_up_again() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let playlist = scratch.path().join("live.m3u8");
    let mut packager = servers::ffmpeg();
    packager.args(["-re", "-stream_loop", "-1", "-i"]).arg(&clip).args(["-c", "copy", "-f", "hls", "-hls_time", "1"]);
    let _packager = Running::start(packager.args(["-hls_list_size", "6"]).arg(&playlist));
    until("there are segments", PATIENCE, || fs::read_to_string(&playlist).is_ok_and(|it| it.contains("live3.ts")));
    let mut server = FileServer::start(scratch.path());
    let attempt = Attempt::start(live(&server.url("live.m3u8"), scratch.path().join("out.mkv")));
    attempt.await_frames(25, PATIENCE);
    server.stop();
    attempt.await_event(LiveEventKind::SourceLost, PATIENCE);
    server.begin();
    attempt.await_event(LiveEventKind::SourceBack, PATIENCE);
    let before = attempt.frames();
    attempt.await_frames(before + 25, PATIENCE);
    attempt.control.finish();
    let (report, output) = attempt.end();
    assert_eq!(report.unwrap().live.unwrap().source_losses, 1);
    let times = times(&packets(&output, None), true);
    assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "times go back");
}

/// Far more is asked of the encoder than it can do: pictures are dropped and counted, the sound is whole.
#[test]
fn an_encoder_that_is_too_slow_leaves_the_sound_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let port = servers::free_port();
    let _publisher = publish(&clip, "mpegts", &format!("udp://127.0.0.1:{port}?pkt_size=1316"));
    let mut task = live(&format!("udp://127.0.0.1:{port}"), scratch.path().join("out.mkv"));
    task.request.scenario = "2160p-h264".parse().unwrap();
    task.request.parameters.preset = Some("veryslow".to_owned());
    let attempt = Attempt::start(task);
    attempt.await_event(LiveEventKind::Dropped, PATIENCE * 2);
    let frames = attempt.frames();
    attempt.await_frames(frames + 5, PATIENCE * 2);
    let told: Vec<_> = attempt.events().into_iter().filter(|event| event.kind == LiveEventKind::Dropped).collect();
    attempt.control.finish();
    let (report, output) = attempt.end();
    let measured = report.unwrap().live.unwrap();
    assert!(measured.dropped_frames > 0, "{measured:?}");
    let mut of_source = told.iter().filter(|event| event.text.contains("of the source"));
    let sums = of_source.all(|event| event.text.contains(" and 0 pieces of sound"));
    assert!(sums, "the sound was dropped as well: {told:?}");
    let sound = times(&packets(&output, None), false);
    let widest = sound.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(widest < 0.1, "a hole of {widest} s in the sound");
}

/// A transport stream whose times jump by a minute every five seconds: hardly a picture is lost, and
/// pictures and sound stay as even as they were, from the first second on.
#[test]
fn jumps_of_a_transport_stream_do_not_show() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 20);
    let mut stream = Vec::new();
    for part in 0..4 {
        let path = scratch.path().join(format!("part{part}.ts"));
        let (begin, shift) = ((part * 5).to_string(), (part * 65).to_string());
        let mut command = servers::ffmpeg();
        command.args(["-ss", &begin, "-t", "5", "-i"]).arg(&clip);
        command.args(["-c", "copy", "-output_ts_offset", &shift, "-f", "mpegts"]).arg(&path);
        servers::succeed(&mut command, PATIENCE);
        stream.extend(fs::read(path).unwrap());
    }
    let port = servers::free_port();
    let attempt = Attempt::start(live(&format!("udp://127.0.0.1:{port}"), scratch.path().join("out.mkv")));
    send_evenly(&stream, port, Duration::from_secs(20));
    attempt.await_event(LiveEventKind::SourceLost, PATIENCE);
    attempt.control.finish();
    let (report, output) = attempt.end();
    report.unwrap();
    let packets = packets(&output, None);
    let (video, audio) = (times(&packets, true), times(&packets, false));
    let steps = video.windows(2).map(|pair| pair[1] - pair[0]).collect::<Vec<_>>();
    let narrow = steps.iter().filter(|step| **step < 0.03).count();
    let widest = steps.iter().copied().fold(0.0, f64::max);
    assert!(video.len() > 450, "{} of 500 pictures", video.len());
    assert!(narrow <= 6 && widest < 0.7, "{narrow} steps are too short, the widest is {widest} s: {steps:?}");
    let ends = [&video, &audio].map(|times| times[times.len() - 1]);
    assert!((ends[0] - ends[1]).abs() < 0.4, "they end at {ends:?}");
}

/// Sends a stream in its own time, as far as its bytes tell.
fn send_evenly(stream: &[u8], port: u16, length: Duration) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagrams: Vec<_> = stream.chunks(1316).collect();
    let begun = Instant::now();
    for (index, datagram) in datagrams.iter().enumerate() {
        let due = length.mul_f64(index as f64 / datagrams.len() as f64);
        // The pace is what is asked for here; nothing is waited for.
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        // Nobody listens in the beginning.
        let _ = socket.send_to(datagram, ("127.0.0.1", port));
    }
}

fn times(packets: &[Packet], is_video: bool) -> Vec<f64> {
    let mut times: Vec<_> = packets.iter().filter(|it| it.is_video == is_video).map(|it| it.pts).collect();
    assert!(times.len() > 2, "hardly any media");
    times.sort_by(f64::total_cmp);
    times
}

fn begins_with_both(output: &Path) {
    let packets = packets(output, None);
    let (video, audio) = (times(&packets, true)[0], times(&packets, false)[0]);
    assert!((video - audio).abs() < 0.2, "pictures begin at {video} s, sound at {audio} s");
}
