//! Pushes to servers that come and go.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ffrtmp_core::error::Code;
use ffrtmp_core::live::{LiveEventKind, LiveRules};
use gstreamer as gst;
use gstreamer::prelude::*;

use super::reels::{AAC, RATE, Reel, x264};
use super::servers::{self, REFUSED, RtmpServer, until};
use super::{Heard, Output, Target, endpoint, push, rules};
use crate::gstreamer::elements::make;
use crate::gstreamer::media::Clock;
use crate::gstreamer::output::line::Shared;
use crate::gstreamer::output::pipeline::{Pipeline, feed};

const SOON: Duration = Duration::from_secs(20);

#[test]
fn every_picture_arrives_as_it_was_sent() {
    let server = RtmpServer::start();
    let reel = Reel::plain(6);
    let heard = Heard::default();
    let output = push(&server.url("whole"), &reel, &LiveRules { queue: Duration::from_secs(60), ..rules() }, &heard);
    reel.pour(&output);
    let state = output.finish(SOON).unwrap();
    assert_eq!((state.dropped_groups, state.losses), (0, 0), "{:?}", heard.all());
    assert!(state.first_byte_at.is_some() && state.bytes > 10_000, "{state:?}");
    assert_eq!(heard.count(LiveEventKind::OutputStarted), 1);

    let files = server.published("whole");
    let packets = servers::packets(&files[0], None);
    let pictures: Vec<_> = packets.iter().filter(|packet| packet.is_video).collect();
    assert_eq!(pictures.len(), 150);
    let sent: Vec<bool> = reel.pictures().map(|picture| picture.is_key()).collect();
    assert_eq!(pictures.iter().map(|picture| picture.is_key).collect::<Vec<_>>(), sent);
    for (place, picture) in pictures.iter().enumerate() {
        let wanted = pictures[0].pts + place as f64 / RATE as f64;
        assert!((picture.pts - wanted).abs() < 0.0015, "{place}: {picture:?}");
    }
    assert_eq!(packets.len() - pictures.len(), reel.samples.len() - 150, "sound");
    assert_eq!(servers::decoded(&files[0]), 150);
}

#[test]
fn a_server_that_restarts_gets_the_stream_again_from_a_key_frame() {
    let mut server = RtmpServer::start();
    let reel = Reel::plain(4);
    let heard = Heard::default();
    let output = push(&server.url("back"), &reel, &rules(), &heard);
    let (mut killed, mut back) = (false, None);
    reel.play(&output, |seconds| {
        if seconds > 2.5 && !killed {
            server.kill();
            killed = true;
        }
        if killed && seconds > 4.5 && !server.is_running() {
            server.begin();
        }
        if back.is_none() && heard.count(LiveEventKind::OutputBack) > 0 {
            back = Some(seconds);
        }
        back.map_or(seconds < 60.0, |at| seconds < at + 3.0)
    });
    let state = output.finish(SOON).unwrap();
    assert_eq!(state.losses, 1, "{:?}", heard.all());
    assert!(heard.count(LiveEventKind::OutputLost) >= 1 && heard.count(LiveEventKind::OutputBack) == 1);
    assert!(state.dropped_groups >= 1 && state.dropped_frames >= 1, "{state:?}");
    let files = server.published("back");
    assert_eq!(files.len(), 2, "{files:?}");
    let packets = servers::packets(&files[1], None);
    let first = packets.iter().find(|packet| packet.is_video).unwrap();
    assert!(first.is_key, "{first:?}");
    let count = servers::decoded(&files[1]);
    assert!(count >= 45, "{count} pictures from a key frame on");
}

#[test]
fn a_server_that_reads_nothing_costs_whole_groups() {
    let server = RtmpServer::start();
    // Enough to fill the buffers of the connection in a second or two.
    let reel = Reel::heavy(4);
    let heard = Heard::default();
    let slow = LiveRules { queue: Duration::from_secs(2), connect: Duration::from_secs(60), ..rules() };
    let output = push(&server.url("slow"), &reel, &slow, &heard);
    let (mut frozen, mut thawed) = (false, None);
    reel.play(&output, |seconds| {
        if seconds > 1.0 && !frozen {
            server.freeze();
            frozen = true;
        }
        if thawed.is_none() && output.state().dropped_groups >= 3 {
            server.thaw();
            thawed = Some(seconds);
        }
        thawed.map_or(seconds < 60.0, |at| seconds < at + 3.0)
    });
    let state = output.finish(SOON).unwrap();
    assert!(thawed.is_some(), "nothing was dropped: {state:?}");
    assert_eq!((state.losses, state.dropped_frames), (0, state.dropped_groups * RATE), "whole groups: {state:?}");
    assert!(heard.count(LiveEventKind::Dropped) >= 1, "{:?}", heard.all());
    let packets = servers::packets(&server.published("slow")[0], None);
    let pictures: Vec<_> = packets.iter().filter(|packet| packet.is_video).collect();
    for pair in pictures.windows(2) {
        assert!(pair[1].pts - pair[0].pts < 0.06 || pair[1].is_key, "a gap before {:?}", pair[1]);
    }
}

#[test]
fn a_refusal_and_an_absent_server_are_told_without_the_key() {
    let server = RtmpServer::start();
    let absent = format!("rtmp://127.0.0.1:{}/live/k3y-of-nobody", servers::free_port());
    let refused = server.url(&format!("{REFUSED}-k3y"));
    let unknown = "rtmp://no-such-host.invalid/live/k3y-of-nobody".to_owned();
    let reel = Reel::plain(1);
    for (uri, code) in [(absent, Code::Network), (refused, Code::OutputNotWritable), (unknown, Code::Network)] {
        let heard = Heard::default();
        let short = LiveRules { stall: Duration::from_secs(1), ..rules() };
        let output = push(&uri, &reel, &short, &heard);
        reel.pour(&output);
        until(&format!("the output to {uri} fails"), SOON, || output.state().failed.is_some());
        let error = output.state().failed.unwrap();
        let told = format!("{error} {:?}", heard.all());
        assert_eq!(error.code(), code, "{error:?}");
        assert!(!told.contains("k3y") && told.contains("rtmp://"), "{told}");
        assert!(heard.count(LiveEventKind::OutputLost) >= 2, "it was tried again: {told}");
        assert_eq!(heard.count(LiveEventKind::OutputStarted), 0, "{told}");
        let begun = Instant::now();
        drop(output);
        assert!(begun.elapsed() < Duration::from_secs(2), "it ends at once");
    }
}

#[test]
fn what_a_target_cannot_carry_is_refused_at_once() {
    let vp9 = Reel::of(1, "vp9enc deadline=1 cpu-used=8 ! vp9parse", "opusenc ! opusparse");
    for (uri, code, hint) in [
        ("rtmp://h/live/key", Code::ContainerMismatch, "RTMP carries H.264, AAC"),
        ("srt://h:9000", Code::ContainerMismatch, "MPEG-TS carries H.264, H.265, AAC, MP3, Opus"),
        ("https://h/a.m3u8", Code::UnsupportedScheme, "give rtmp://, rtmps://, srt://, rtsp:// or udp://"),
    ] {
        let target = Target::Push(endpoint(uri));
        let error = Output::start(target, vp9.numbered(), &rules(), Clock::start(), Heard::default().events());
        let error = error.unwrap_err();
        assert_eq!((error.code(), error.hint_text()), (code, hint), "{uri}");
    }
}

#[test]
fn a_transport_stream_reaches_readers_by_srt_and_udp() {
    let reel = Reel::of(4, &x264("bframes=2"), AAC);
    let directory = tempfile::tempdir().unwrap();
    let port = servers::free_port();
    let (srt, udp) = (format!("srt://127.0.0.1:{port}?passphrase=0123456789secret"), format!("udp://127.0.0.1:{port}"));
    for (name, ours, theirs) in [
        ("caller", srt.clone(), format!("{srt}&mode=listener&timeout=20000000")),
        ("udp", udp.clone(), format!("{udp}?timeout=20000000")),
    ] {
        let file = directory.path().join(format!("{name}.ts"));
        let mut reader = servers::receive(&[], &theirs, 3.0, &file);
        let heard = Heard::default();
        let output = push(&ours, &reel, &rules(), &heard);
        reel.play(&output, |seconds| seconds < 40.0 && !reader.has_ended());
        let state = output.finish(SOON).unwrap();
        assert!(!format!("{:?}", heard.all()).contains("secret"));
        assert!(heard.count(LiveEventKind::OutputStarted) == 1, "{name}: {state:?} {:?}", heard.all());
        let pictures = servers::packets(&file, None).into_iter().filter(|packet| packet.is_video).count();
        assert!(pictures >= 50, "{name}: {pictures} pictures");
    }
}

/// Two of the tests above once more, each in a process of its own that has GStreamer tell everything.
#[test]
fn debugging_output_shows_no_key() {
    for (name, key) in [
        ("a_refusal_and_an_absent_server_are_told_without_the_key", "k3y"),
        ("a_transport_stream_reaches_readers_by_srt_and_udp", "0123456789secret"),
    ] {
        let mut again = Command::new(std::env::current_exe().unwrap());
        again.args(["--nocapture", "--exact", &format!("gstreamer::output::tests::pushes::{name}")]);
        let output = servers::succeed(again.env("GST_DEBUG", "*:5"), Duration::from_secs(120));
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(told.len() > 100_000, "{name} told nothing: {told}");
        assert!(!told.contains(key), "{name}: {:?}", told.lines().find(|line| line.contains(key)));
    }
}

/// A server that others read from sends to nobody until one is there.
#[test]
fn a_listener_counts_what_somebody_takes() {
    let directory = tempfile::tempdir().unwrap();
    let port = servers::free_port();
    let reel = Reel::plain(4);
    let heard = Heard::default();
    let rules = LiveRules { connect: Duration::from_secs(1), ..rules() };
    let output = push(&format!("srt://127.0.0.1:{port}?mode=listener"), &reel, &rules, &heard);
    reel.play(&output, |seconds| seconds < 3.0);
    let state = output.state();
    assert!(state.first_byte_at.is_none() && state.bytes == 0, "{state:?}");
    assert!(heard.all().is_empty(), "nobody is late: {:?}", heard.all());
    let kept = directory.path().join("kept.ts");
    let url = format!("srt://127.0.0.1:{port}");
    let mut reader = servers::receive(&["-f", "mpegts"], &url, 2.0, &kept);
    let given = reel.play(&output, |seconds| !reader.has_ended() && seconds < 60.0);
    assert!(servers::packets(&kept, None).len() > 50, "after {given} s: {:?}", heard.all());
    let state = output.finish(SOON).unwrap();
    assert!(state.bytes > 1000 && state.fault.is_none(), "{state:?}");
    assert_eq!(heard.count(LiveEventKind::OutputStarted), 1);
}

/// Some sinks have no pad until they are asked for one.
#[test]
fn what_passes_into_pads_that_were_asked_for_counts() {
    let reel = Reel::plain(1);
    let shared =
        Arc::new(Shared::new(&reel.tracks, &rules(), Clock::start(), Heard::default().events(), "it".to_owned()));
    let (pipeline, funnel) = (gst::Pipeline::new(), make("funnel").unwrap());
    let end = make("fakesink").unwrap();
    let feed = feed(&reel.tracks[0].caps, &shared);
    pipeline.add_many([feed.upcast_ref(), &funnel, &end]).unwrap();
    gst::Element::link_many([feed.upcast_ref(), &funnel, &end]).unwrap();
    let pipeline = Pipeline::start(pipeline, vec![feed], &funnel, &shared).unwrap();
    reel.pictures().for_each(|picture| pipeline.push(0, picture.buffer.clone()).unwrap());
    until("pictures pass", SOON, || pipeline.bytes() > 0);
}
