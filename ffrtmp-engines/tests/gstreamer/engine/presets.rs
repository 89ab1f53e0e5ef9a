//! A preset that goes down where encoding cannot keep up, and up again where it can.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ffrtmp_core::live::LiveEventKind;

use super::attempt::{Attempt, live};
use crate::scripted::{Begins, Script, Scripted, film};
use crate::servers;

const PATIENCE: Duration = Duration::from_secs(240);
/// Seconds of the clip, which has a key frame every four of them.
const CLIP: u32 = 20;
const GROUP: u32 = 4;

/// Far more is asked of the encoder than one thread can do, until the source gives nothing but its key
/// frames. The recording, made by several encoders in turn, decodes as a whole.
#[test]
fn the_preset_goes_down_under_load_and_up_after_it() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = servers::clip_in_groups(scratch.path(), "320x180", CLIP, GROUP);
    let flv = scratch.path().join("clip.flv");
    servers::succeed(servers::ffmpeg().arg("-i").arg(&clip).args(["-c", "copy"]).arg(&flv), PATIENCE);
    let is_calm = Arc::new(AtomicBool::new(false));
    let calm = Arc::clone(&is_calm);
    let may = move |said: &[u8]| !calm.load(Ordering::Relaxed) || !is_between_keys(said);
    let server = Scripted::filtered(Begins::Playing, over_and_over(&std::fs::read(&flv).unwrap()), may);
    let mut task = live(&server.url(), scratch.path().join("out.mp4"));
    task.request.scenario = "1080p-h264".parse().unwrap();
    task.request.parameters.preset = Some("veryslow".to_owned());
    task.bounds.threads = 1;
    let rules = &mut task.live.as_mut().unwrap().rules;
    (rules.adapt, rules.slow, rules.queue) = (true, Duration::from_secs(2), PATIENCE);
    let attempt = Attempt::start(task);
    attempt.await_event(LiveEventKind::PresetDown, PATIENCE);
    is_calm.store(true, Ordering::Relaxed);
    attempt.await_event(LiveEventKind::PresetUp, PATIENCE);
    // The encoder is exchanged at a key frame.
    let frames = attempt.frames();
    attempt.await_frames(frames + 2, PATIENCE);
    attempt.control.finish();
    let (report, output) = attempt.end();
    let report = report.unwrap();
    assert!(report.live.as_ref().is_some_and(|live| live.preset_changes >= 2), "{report:?}");
    assert_eq!(servers::decoded(&output), report.frames, "not all of the recording decodes");
}

/// Whether a message of a film is a picture that others must come before.
fn is_between_keys(said: &[u8]) -> bool {
    said.get(7) == Some(&9) && said.get(12).is_some_and(|format| format >> 4 == 2)
}

/// A film for longer than anybody waits.
fn over_and_over(flv: &[u8]) -> Script {
    let rounds = PATIENCE.as_secs() as u32 * 3 / CLIP;
    let round = |number: u32| {
        let later = number * CLIP * 1000;
        let at = Duration::from_millis(later.into());
        film(flv, later).into_iter().map(move |(due, said)| (due + at, said))
    };
    (0..rounds).flat_map(round).collect()
}
