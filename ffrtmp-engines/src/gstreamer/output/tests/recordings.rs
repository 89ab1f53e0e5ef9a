//! Recordings: completed, and cut off.

use std::path::Path;
use std::time::Duration;

use ffrtmp_core::error::Code;
use ffrtmp_core::live::LiveRules;
use ffrtmp_core::media::Container;

use super::reels::{AAC, Reel, x264};
use super::servers;
use super::{Heard, Output, Target, rules};
use crate::gstreamer::media::Clock;

const SOON: Duration = Duration::from_secs(60);

fn record(reel: &Reel, path: &Path, container: Container, grows: bool, limit: Option<u64>) -> Output {
    let target = Target::Record { path: path.to_owned(), container, grows, limit };
    let patient = LiveRules { queue: Duration::from_secs(60), ..rules() };
    Output::start(target, reel.numbered(), &patient, Clock::start(), Heard::default().events()).unwrap()
}

#[test]
fn a_finished_recording_holds_everything() {
    let directory = tempfile::tempdir().unwrap();
    let h264 = || Reel::of(5, &x264("bframes=2"), AAC);
    let vp9 = || Reel::of(5, "vp9enc deadline=1 cpu-used=8 keyframe-max-dist=25 ! vp9parse", "opusenc ! opusparse");
    for (name, container, grows, reel) in [
        ("a.mp4", Container::Mp4, false, h264()),
        ("b.mp4", Container::Mp4, true, h264()),
        ("a.mkv", Container::Mkv, true, h264()),
        ("a.ts", Container::MpegTs, true, h264()),
        ("a.webm", Container::Webm, true, vp9()),
    ] {
        let path = directory.path().join(name);
        let output = record(&reel, &path, container, grows, None);
        reel.pour(&output);
        let state = output.finish(SOON).unwrap();
        assert!(state.first_byte_at.is_some() && state.losses == 0, "{name}: {state:?}");
        assert_eq!(servers::decoded(&path), 125, "{name}");
        let packets = servers::packets(&path, None);
        let sound = packets.iter().filter(|packet| !packet.is_video).count();
        assert!(sound.abs_diff(reel.samples.len() - 125) <= 2, "{name}: {sound} pieces of sound");
        if container == Container::Mp4 {
            let kinds = boxes(&std::fs::read(&path).unwrap());
            assert!(kinds.contains(&"moov".to_owned()), "{kinds:?}");
            assert_eq!(kinds.contains(&"moof".to_owned()), grows, "{kinds:?}");
        }
    }
}

/// An encoder that takes the place of another has headers of its own, of another length; the recording is
/// whole, and everything in it decodes.
#[test]
fn another_preset_in_the_middle_leaves_a_recording_whole() {
    let directory = tempfile::tempdir().unwrap();
    let reel = Reel::of_presets(6);
    for (name, container, grows) in [
        ("grows.mp4", Container::Mp4, true),
        ("a.mp4", Container::Mp4, false),
        ("a.mkv", Container::Mkv, true),
        ("a.ts", Container::MpegTs, true),
    ] {
        let path = directory.path().join(name);
        let output = record(&reel, &path, container, grows, None);
        reel.pour(&output);
        output.finish(SOON).unwrap();
        let last = last_box(&std::fs::read(&path).unwrap());
        assert!(name != "grows.mp4" || last == 0, "{name}: a box goes on {last} bytes behind the end");
        assert_eq!(servers::decoded(&path), 150, "{name}");
        let end = servers::packets(&path, None).iter().map(|packet| packet.pts).fold(0.0, f64::max);
        assert!(end > 5.5, "{name} ends at {end} s");
    }
}

/// By how many bytes the boxes of an MP4 miss its end.
fn last_box(mut bytes: &[u8]) -> usize {
    while let Some((head, _)) = bytes.split_first_chunk::<4>() {
        let length = u32::from_be_bytes(*head) as usize;
        match bytes.get(length.max(8)..) {
            Some(rest) => bytes = rest,
            None => return length.max(8) - bytes.len(),
        }
    }
    bytes.len()
}

/// Kinds of the outermost boxes of an MP4.
fn boxes(mut bytes: &[u8]) -> Vec<String> {
    let mut kinds = Vec::new();
    while let Some((head, _)) = bytes.split_first_chunk::<16>() {
        let short = u32::from_be_bytes(head[..4].try_into().unwrap());
        let long = u64::from_be_bytes(head[8..].try_into().unwrap());
        let length = if short == 1 { usize::try_from(long).unwrap() } else { short as usize };
        kinds.push(String::from_utf8_lossy(&head[4..8]).into_owned());
        bytes = bytes.get(length.max(8)..).unwrap_or_default();
    }
    kinds
}

#[test]
fn a_recording_that_is_cut_off_keeps_what_was_written() {
    let directory = tempfile::tempdir().unwrap();
    // A still picture and silence too: samples of the same size come after each other.
    for (name, container, reel) in [
        ("a.mp4", Container::Mp4, Reel::plain(10)),
        ("still.mp4", Container::Mp4, Reel::still(10)),
        ("a.mkv", Container::Mkv, Reel::plain(10)),
        ("a.ts", Container::MpegTs, Reel::plain(10)),
    ] {
        let path = directory.path().join(name);
        let output = record(&reel, &path, container, true, None);
        reel.pour(&output);
        servers::until("it is begun", SOON, || output.state().bytes > 10_000);
        // As crashes would leave it, one after the other: each can be read, and the last before its end has
        // most of it.
        let left = directory.path().join(format!("left-{name}"));
        servers::until(&format!("most of {name} is in the file"), SOON, || {
            std::fs::copy(&path, &left).unwrap();
            let packets = servers::packets(&left, None);
            let pictures = packets.iter().filter(|packet| packet.is_video).count();
            pictures >= 100 && packets.len() - pictures >= 150
        });
    }
}

#[test]
fn a_recording_ends_at_its_limit_and_where_it_cannot_be_written() {
    let directory = tempfile::tempdir().unwrap();
    let reel = Reel::plain(10);
    for (place, limit, code) in
        [("a.mp4", Some(100_000), Code::DiskQuotaExceeded), ("none/a.mp4", None, Code::OutputDirectoryMissing)]
    {
        let path = directory.path().join(place);
        let output = record(&reel, &path, Container::Mp4, true, limit);
        reel.pour(&output);
        assert_eq!(output.finish(SOON).unwrap_err().code(), code, "{place}");
    }
}
