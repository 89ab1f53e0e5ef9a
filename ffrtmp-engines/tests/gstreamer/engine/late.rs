//! Kinds that are announced and come late.

use std::path::Path;
use std::time::Duration;

use ffrtmp_core::live::LiveEventKind;

use super::attempt::{Attempt, live};
use super::sync::told;
use crate::scripted::{Begins, Scripted, film};
use crate::servers::{self, RtmpServer, Running, packets};

const PATIENCE: Duration = Duration::from_secs(60);
/// When the sound of the publisher begins, in seconds.
const LATE: u32 = 9;

/// A publisher announces sound and sends it much later than its pictures: the output has silence
/// until then, and the sound where its pictures are.
#[test]
fn sound_that_comes_late_joins() {
    let server = RtmpServer::start();
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let mut publisher = servers::ffmpeg();
    publisher.args(["-re", "-i"]).arg(&clip).args(["-re", "-itsoffset", &LATE.to_string(), "-i"]).arg(&clip);
    publisher.args(["-map", "0:v", "-map", "1:a", "-c", "copy", "-f", "flv", &server.url("in")]);
    let _publisher = Running::start(&mut publisher);
    joins(&server.url("in"), scratch.path());
}

/// The same where not even the headers of the codec come before, so that the demuxer has settled for
/// pictures alone.
#[test]
fn sound_without_headers_joins_by_a_new_connection() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 30);
    let flv = scratch.path().join("clip.flv");
    servers::succeed(servers::ffmpeg().arg("-i").arg(&clip).args(["-c", "copy"]).arg(&flv), PATIENCE);
    let mut script = film(&std::fs::read(&flv).unwrap(), 0);
    let is_sound = |said: &[u8]| said.get(7) == Some(&8);
    // Connected anew, it begins from the beginning; then the sound is there at once.
    let late = script.iter().filter(|(due, said)| !is_sound(said) || due.as_secs() >= u64::from(LATE));
    let first = late.cloned().collect();
    script.retain(|(due, _)| due.as_secs() < 25);
    let server = Scripted::in_turn(Begins::Playing, vec![first, script]);
    joins(&server.url(), scratch.path());
}

fn joins(url: &str, scratch: &Path) {
    let attempt = Attempt::start(live(url, scratch.join("out.mkv")));
    let said = |words: &str| attempt.events().iter().any(|event| event.text.contains(words));
    servers::until("the silence is told", PATIENCE, || said("it is silent until"));
    servers::until("the sound is told", PATIENCE, || said("the source sends sound now"));
    let frames = attempt.frames();
    attempt.await_frames(frames + 75, PATIENCE);
    attempt.control.finish();
    let losses = attempt.events().iter().filter(|event| event.kind == LiveEventKind::SourceLost).count();
    let (report, output) = attempt.end();
    report.unwrap();
    assert_eq!(losses, 0, "nothing was lost");
    let packets = packets(&output, None);
    let [pictures, sounds] = [true, false].map(|is_video| {
        let mut times: Vec<_> = packets.iter().filter(|it| it.is_video == is_video).map(|it| it.pts).collect();
        times.sort_by(f64::total_cmp);
        times
    });
    assert!((pictures[0] - sounds[0]).abs() < 0.2, "pictures begin at {} s, sound at {} s", pictures[0], sounds[0]);
    let widest = sounds.windows(2).map(|pair| pair[1] - pair[0]).fold(0.0, f64::max);
    assert!(widest < 1.5, "a hole of {widest} s in the sound");
    let heard = told(&output, "silencedetect=n=-40dB:d=0.5", "-af", "silence_end: ");
    assert!(heard > pictures[0] + 0.5 && heard < pictures[pictures.len() - 1] - 1.0, "heard from {heard} s on");
}
