//! Sound stays where its pictures are.

use std::path::Path;
use std::time::Duration;

use ffrtmp_core::engine::Source;
use ffrtmp_core::live::LiveEventKind;

use super::attempt::{Attempt, live};
use crate::scripted::{Begins, Scripted, film};
use crate::servers;

/// A white picture and a beep begin at the same moment, and still do so behind the encoders: to a
/// quarter of a frame of AAC, whose encoder adds one.
#[test]
fn a_beep_comes_with_its_flash() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = scratch.path().join("flash.mkv");
    flash(&clip, 2, 4, "pcm_s16le");
    for name in ["out.ts", "out.mp4"] {
        let mut task = live("udp://127.0.0.1:1", scratch.path().join(name));
        task.source = Source::File(clip.clone());
        task.request.container = name.ends_with("ts").then_some(ffrtmp_core::media::Container::MpegTs);
        let (report, output) = Attempt::start(task).end();
        report.unwrap();
        let flash = told(&output, "blackdetect=d=0.2:pix_th=0.3", "-vf", "black_end:");
        let beep = told(&output, "silencedetect=n=-30dB:d=0.2", "-af", "silence_end: ");
        assert!((flash - beep).abs() < 0.006, "{name}: the flash is at {flash} s, the beep at {beep} s");
    }
}

/// The times of RTMP have 32 bits; that they wrap does not show.
#[test]
fn times_that_wrap_leave_a_beep_with_its_flash() {
    let scratch = tempfile::tempdir().unwrap();
    let clip = scratch.path().join("flash.flv");
    flash(&clip, 6, 9, "aac");
    let wraps_after = 4_000;
    let server =
        Scripted::start(Begins::Playing, film(&std::fs::read(&clip).unwrap(), 0_u32.wrapping_sub(wraps_after)));
    let attempt = Attempt::start(live(&server.url(), scratch.path().join("out.mkv")));
    attempt.await_event(LiveEventKind::SourceLost, Duration::from_secs(60));
    attempt.control.finish();
    let (report, output) = attempt.end();
    assert!(report.unwrap().frames > 150, "pictures were lost");
    let flash = told(&output, "blackdetect=d=0.2:pix_th=0.3", "-vf", "black_end:");
    let beep = told(&output, "silencedetect=n=-30dB:d=0.2", "-af", "silence_end: ");
    // The encoder of the clip blurs the beginning of the beep by a part of its frame.
    assert!((flash - beep).abs() < 0.025, "the flash is at {flash} s, the beep at {beep} s");
}

/// A clip that becomes white and beeps after so many seconds.
fn flash(clip: &Path, after: u32, seconds: u32, sound: &str) {
    let mut command = servers::ffmpeg();
    command.args(["-y", "-f", "lavfi", "-i", &format!("color=black:size=320x180:rate=25:duration={seconds}")]);
    let beep = format!("aevalsrc='gte(t,{after})*sin(6000*t)':s=48000:c=stereo:d={seconds}");
    command.args(["-f", "lavfi", "-i", &beep]);
    let white = format!("drawbox=color=white:t=fill:enable='gte(t,{after})'");
    command.args(["-vf", &white, "-pix_fmt", "yuv420p"]);
    command.args(["-c:v", "libx264", "-bf", "0", "-g", "25", "-c:a", sound]).arg(clip);
    servers::succeed(&mut command, Duration::from_secs(60));
}

/// What a filter of ffmpeg finds, in seconds of the file's own times.
pub(super) fn told(file: &Path, filter: &str, option: &str, word: &str) -> f64 {
    let mut command = std::process::Command::new("ffmpeg");
    command.args(["-hide_banner", "-v", "info", "-nostdin", "-copyts", "-i"]).arg(file);
    command.args([option, filter, "-f", "null", "-"]);
    let output = servers::succeed(&mut command, Duration::from_secs(60));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    let found = text.split_once(word).map(|(_, rest)| rest.split([' ', '\n', '|']).next().unwrap_or_default());
    found.and_then(|number| number.trim().parse().ok()).unwrap_or_else(|| panic!("{word}: {text}"))
}
