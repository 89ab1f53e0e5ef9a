//! Key frames. Groups of pictures are closed everywhere.

use ffrtmp_core::plan::{Gop, RateControl, VideoEncode};

use super::{Family, Settings};

/// Most seconds and frames between key frames when nothing else is asked for.
const FREE_SECONDS: f64 = 10.0;
const FREE_FRAMES: i64 = 250;
/// Frames between key frames that no stream needs more of.
const MOST_FRAMES: i64 = 100_000;
/// How much faster than its nominal rate a stream may be for a while without a key frame too many.
const BURST: i64 = 4;

/// Who decides where key frames are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum KeyFrames {
    /// The encoder.
    Encoder,
    /// Whoever sends the frames, by their picture type. The encoder adds none.
    Sender,
    /// The encoder, at every so many frames and nowhere else: it does not hear the sender. Times
    /// are kept as far as the frame rate is constant; scene cuts get none.
    Count(i64),
}

/// Who decides about the key frames of this encoder under this plan.
pub(in super::super) fn key_frames(encoder: &str, plan: &VideoEncode, fps: (i32, i32)) -> KeyFrames {
    match plan.gop {
        Gop::Free | Gop::AtMost(_) => KeyFrames::Encoder,
        Gop::Fixed(_) | Gop::FixedAndCuts(_) if hears_sender(Family::of(encoder), plan) => KeyFrames::Sender,
        Gop::Fixed(interval) | Gop::FixedAndCuts(interval) => KeyFrames::Count(frames(interval.value(), fps)),
    }
}

/// SVT-AV1 takes key frames from outside only while it holds a quality; libaom answers one with
/// two; rav1e has no way to ask.
fn hears_sender(family: Family, plan: &VideoEncode) -> bool {
    match family {
        Family::Svt => matches!(plan.rate, RateControl::Quality { .. }),
        Family::Aom | Family::Rav1e => false,
        _ => true,
    }
}

impl Settings<'_> {
    pub(super) fn gop(&mut self, plan: &VideoEncode, fps: (i32, i32)) {
        self.close();
        match (key_frames(self.encoder, plan, fps), plan.gop) {
            (KeyFrames::Count(frames), _) => {
                self.set("g", frames);
                self.set("keyint_min", frames);
            }
            (_, Gop::Free) => self.set("g", frames(FREE_SECONDS, fps).min(FREE_FRAMES)),
            (_, Gop::AtMost(most)) => self.set("g", frames(most.value(), fps)),
            (_, Gop::Fixed(interval) | Gop::FixedAndCuts(interval)) => {
                self.listen((frames(interval.value(), fps) * BURST).max(FREE_FRAMES));
            }
        }
    }

    fn close(&mut self) {
        self.flags.push_str("+cgop");
        match self.family {
            Family::X265 => self.parameter("open-gop", 0),
            Family::Svt => self.parameter("irefresh-type", 2),
            _ => {}
        }
    }

    /// Leaves key frames to the sender, with a bound that is never met.
    fn listen(&mut self, bound: i64) {
        self.set("g", bound);
        match self.family {
            Family::X264 => {
                self.set("forced-idr", 1);
                self.set("sc_threshold", 0);
            }
            Family::X265 => {
                self.set("forced-idr", 1);
                self.parameter("scenecut", 0);
            }
            // Equal bounds mean that libvpx looks for none itself.
            Family::Vpx8 | Family::Vpx9 => self.set("keyint_min", bound),
            Family::Svt => self.parameter("enable-force-key-frames", 1),
            Family::Nvenc => {
                self.set("forced-idr", 1);
                self.set("no-scenecut", 1);
            }
            Family::Qsv => self.set("forced_idr", 1),
            Family::Aom | Family::Rav1e | Family::Vaapi => {}
        }
    }
}

fn frames(seconds: f64, (num, den): (i32, i32)) -> i64 {
    let frames = (seconds * f64::from(num) / f64::from(den.max(1))).round();
    (frames as i64).clamp(1, MOST_FRAMES)
}
