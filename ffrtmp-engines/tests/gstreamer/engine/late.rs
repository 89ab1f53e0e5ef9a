//! Kinds that are announced and come late.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::attempt::{Attempt, live};
use super::sync::told;
use crate::scripted::{Begins, Scripted, film};
use crate::servers::{self, packets};

const PATIENCE: Duration = Duration::from_secs(60);
/// Pictures after which the demuxer has settled for what it has: after eight seconds.
const SETTLED: u64 = 200;

/// Whether a message of a film is sound, and whether that is the header of its codec.
fn sound(said: &[u8]) -> (bool, bool) {
    (said.get(7) == Some(&8), said.get(13) == Some(&0))
}

/// A publisher announces sound and sends it when the demuxer has long settled for pictures alone: the
/// output has silence until then, and the sound where its pictures are.
#[test]
fn sound_that_comes_late_joins() {
    joins(|said| sound(said) == (true, true));
}

/// The same where not even the headers of the codec come before.
#[test]
fn sound_without_headers_joins() {
    joins(|_| false);
}

/// Has sound come late, but for what may come before.
fn joins(comes_before: impl Fn(&[u8]) -> bool + Send + 'static) {
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip(scratch.path(), "320x180", 60);
    let flv = scratch.path().join("clip.flv");
    servers::succeed(servers::ffmpeg().arg("-i").arg(&clip).args(["-c", "copy"]).arg(&flv), PATIENCE);
    let has_sound = Arc::new(AtomicBool::new(false));
    let comes = Arc::clone(&has_sound);
    let may = move |said: &[u8]| !sound(said).0 || comes_before(said) || comes.load(Ordering::Relaxed);
    let server = Scripted::filtered(Begins::Playing, film(&std::fs::read(&flv).unwrap(), 0), may);
    let attempt = Attempt::start(live(&server.url(), scratch.path().join("out.mkv")));
    let said = |words: &str| attempt.events().iter().any(|event| event.text.contains(words));
    servers::until("the silence is told", PATIENCE, || said("it is silent until"));
    attempt.await_frames(SETTLED, PATIENCE);
    has_sound.store(true, Ordering::Relaxed);
    servers::until("the sound is told", PATIENCE, || said("the source sends sound now"));
    let frames = attempt.frames();
    attempt.await_frames(frames + 75, PATIENCE);
    attempt.control.finish();
    let events = attempt.events();
    let renewals = events.iter().filter(|event| event.text.contains("connected anew")).count();
    assert_eq!(renewals, 1, "{events:?}");
    let (report, output) = attempt.end();
    report.unwrap();
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
