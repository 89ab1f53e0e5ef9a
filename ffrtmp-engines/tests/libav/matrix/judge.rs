//! The rules for transcodes.

use std::path::Path;
use std::process::Command;

use ffrtmp_core::job::JobReport;
use ffrtmp_core::media::Container;

use super::cases::{Case, Quirk};
use super::seen::{Seen, Shown, Stream};

/// What the pictures of an output must be like those of the source, unless the row says otherwise.
const SIMILAR: f64 = 0.93;
/// Most that a presentation time may be off, in seconds: Matroska rounds to milliseconds, twice.
const ROUNDING: f64 = 0.001_6;
/// Most that a length may be off, in seconds, beyond a frame of sound.
const SLACK: f64 = 0.012;

/// What is not as it should be.
pub(super) fn faults(case: &Case, source: &Seen, output: &Seen, report: &JobReport) -> Vec<String> {
    let judge = Judge { case, source, output };
    let mut faults = Vec::new();
    faults.extend(judge.streams());
    faults.extend(judge.picture(report));
    faults.extend(judge.sound());
    faults.extend(judge.length(report));
    faults.extend(judge.words());
    faults
}

struct Judge<'a> {
    case: &'a Case,
    source: &'a Seen,
    output: &'a Seen,
}

impl Judge<'_> {
    fn streams(&self) -> Vec<String> {
        let count = |seen: &Seen, kind| seen.of_type(kind).len();
        let text = self.source.of_type("subtitle").into_iter().filter(|stream| is_text(stream)).count();
        let wanted = [
            ("video", usize::from(self.source.video().is_some())),
            ("audio", count(self.source, "audio")),
            ("subtitle", text),
        ];
        let mut faults: Vec<String> = wanted
            .iter()
            .filter(|(kind, wanted)| count(self.output, kind) != *wanted)
            .map(|(kind, wanted)| format!("{} {kind} streams instead of {wanted}", count(self.output, kind)))
            .collect();
        if self.output.covers() != self.source.covers() {
            faults.push(format!("{} covers instead of {}", self.output.covers(), self.source.covers()));
        }
        faults
    }

    fn picture(&self, report: &JobReport) -> Vec<String> {
        let (Some(was), Some(is)) = (self.source.video(), self.output.video()) else { return Vec::new() };
        let mut faults = Vec::new();
        let (old, new) = (self.source.frames(was), self.output.frames(is));
        let wanted = old.len();
        if new.len() != wanted || report.frames != wanted as u64 {
            faults.push(format!("{} pictures, reported {}, instead of {wanted}", new.len(), report.frames));
        } else if self.case.has(&Quirk::OtherTimes) {
            let is_later = |pair: &[Shown]| pair[0].at.zip(pair[1].at).is_some_and(|(one, other)| one < other);
            if !new.windows(2).all(is_later) {
                faults.push("pictures are shown out of order".to_owned());
            }
        } else {
            faults.extend(wrong_time(&old, &new));
        }
        let aspects = (was.display_aspect(), is.display_aspect());
        let pixel = 2.0 / f64::from(is.width.min(is.height));
        if (aspects.0 / aspects.1 - 1.0).abs() > pixel {
            faults.push(format!("display aspect {:.3} instead of {:.3}", aspects.1, aspects.0));
        }
        if is.rotation().is_some_and(|degrees| degrees != 0.0) {
            faults.push("turned for display".to_owned());
        }
        if !is_rgb(was) {
            faults.extend(wrong_color(was, is));
        }
        faults
    }

    fn sound(&self) -> Vec<String> {
        let pairs = self.source.of_type("audio").into_iter().zip(self.output.of_type("audio"));
        pairs.flat_map(|(was, is)| self.track(was, is)).collect()
    }

    fn track(&self, was: &Stream, is: &Stream) -> Vec<String> {
        let mut faults = Vec::new();
        let what = format!("track {}", was.index);
        if was.channels != is.channels {
            faults.push(format!("{what} has {:?} channels instead of {:?}", is.channels, was.channels));
        }
        let (old, new) = (self.source.frames(was), self.output.frames(is));
        // Encoders fill their last frame, and not every container says what comes before the first.
        let frame = longest(&old) + longest(&new);
        let (Some(old), Some(new)) = (Span::of(&old), Span::of(&new)) else {
            if old.is_empty() != new.is_empty() {
                faults.push(format!("{what} has {} frames, the source {}", new.len(), old.len()));
            }
            return faults;
        };
        if self.case.has(&Quirk::OtherTimes) {
            return faults;
        }
        if (old.length() - new.length()).abs() > frame + SLACK {
            faults.push(format!("{what} lasts {:.4} s instead of {:.4} s", new.length(), old.length()));
        }
        if let (Some(old_start), Some(new_start)) = (self.first(self.source), self.first(self.output)) {
            let (was, is) = (old.start - old_start, new.start - new_start);
            if (was - is).abs() > frame + ROUNDING {
                faults.push(format!("{what} begins {is:.4} s from the picture instead of {was:.4} s"));
            }
        }
        faults
    }

    /// When the first picture is shown.
    fn first(&self, seen: &Seen) -> Option<f64> {
        seen.frames(seen.video()?).first()?.at
    }

    fn length(&self, report: &JobReport) -> Vec<String> {
        let spans = |seen: &Seen| {
            let kept = seen.video().into_iter().chain(seen.of_type("audio"));
            kept.filter_map(|stream| Span::of(&seen.frames(stream))).reduce(Span::around)
        };
        let wanted = self.case.seconds().or_else(|| Some(spans(self.source)?.length()));
        let (Some(wanted), Some(new)) = (wanted, spans(self.output)) else {
            return vec!["holds nothing".to_owned()];
        };
        let sound = self.output.of_type("audio").into_iter().map(|stream| longest(&self.output.frames(stream)));
        let tolerance = 0.06 + sound.fold(0.0, f64::max);
        let mut faults = Vec::new();
        for (what, seconds) in [
            ("lasts", Some(new.length())),
            ("says that it lasts", self.output.format.duration),
            ("is reported to last", Some(report.duration_seconds)),
        ] {
            if seconds.is_none_or(|seconds| (seconds - wanted).abs() > tolerance) {
                faults.push(format!("{what} {seconds:?} s instead of {wanted:.4} s"));
            }
        }
        if !(-0.1..0.1).contains(&new.start) {
            faults.push(format!("begins at {:.3} s", new.start));
        }
        faults
    }

    fn words(&self) -> Vec<String> {
        let mut faults = Vec::new();
        for kind in ["audio", "subtitle"] {
            for (was, is) in self.source.of_type(kind).into_iter().zip(self.output.of_type(kind)) {
                let language = |stream: &Stream| stream.tag("language").filter(|tag| *tag != "und").map(str::to_owned);
                if language(was) != language(is) {
                    faults.push(format!(
                        "stream {} is in {:?} instead of {:?}",
                        was.index,
                        language(is),
                        language(was)
                    ));
                }
                for flag in ["default", "forced", "hearing_impaired"] {
                    if self.case.into() == Container::Mkv && was.disposition.get(flag) != is.disposition.get(flag) {
                        faults.push(format!("stream {} is not as {flag} as it was", was.index));
                    }
                }
            }
        }
        let title = |seen: &Seen| seen.format.tags.get("title").cloned();
        if title(self.source) != title(self.output) {
            faults.push(format!("the title is {:?} instead of {:?}", title(self.output), title(self.source)));
        }
        let chapters = |seen: &Seen| -> Vec<(i64, Option<String>)> {
            let chapters = seen.chapters.iter();
            let time = |at: Option<f64>| (at.unwrap_or(-1.0) * 100.0).round() as i64;
            chapters.map(|chapter| (time(chapter.start_time), chapter.tags.get("title").cloned())).collect()
        };
        if chapters(self.source) != chapters(self.output) {
            faults.push(format!("chapters {:?} instead of {:?}", chapters(self.output), chapters(self.source)));
        }
        faults
    }
}

pub(super) fn is_text(stream: &Stream) -> bool {
    matches!(stream.codec_name.as_str(), "subrip" | "ass" | "webvtt" | "mov_text" | "text")
}

fn is_rgb(stream: &Stream) -> bool {
    let format = stream.pix_fmt.as_deref().unwrap_or_default();
    ["rgb", "bgr", "gbr", "pal8", "argb", "abgr"].iter().any(|name| format.contains(name))
}

/// The first picture that is shown at another time than that of the source, counted from the first.
fn wrong_time(old: &[Shown], new: &[Shown]) -> Option<String> {
    let since = |frames: &[Shown]| -> Option<Vec<f64>> {
        let times: Option<Vec<f64>> = frames.iter().map(|frame| frame.at).collect();
        times.map(|times| times.iter().map(|time| time - times[0]).collect())
    };
    let Some(was) = since(old) else { return Some("the source has no times".to_owned()) };
    let Some(is) = since(new) else { return Some("some pictures have no time".to_owned()) };
    let place = was.iter().zip(&is).position(|(was, is)| (was - is).abs() > ROUNDING)?;
    Some(format!("picture {place} is shown at {:.4} s instead of {:.4} s", is[place], was[place]))
}

fn wrong_color(was: &Stream, is: &Stream) -> Vec<String> {
    let tags = |stream: &Stream| {
        // Codecs that are not told mean limited range.
        let range = stream.color_range.clone().unwrap_or_else(|| "tv".to_owned());
        let others = [&stream.color_space, &stream.color_transfer, &stream.color_primaries].map(Clone::clone);
        let [matrix, transfer, primaries] = others;
        [Some(range), matrix, transfer, primaries]
    };
    let names = ["range", "matrix", "transfer", "primaries"];
    let compared = names.into_iter().zip(tags(was).into_iter().zip(tags(is)));
    let told = |tag: &String| tag != "unknown" && tag != "reserved";
    compared
        .filter(|(_, (was, is))| was.as_ref().is_some_and(told) && was != is)
        .map(|(name, (was, is))| format!("the {name} is {is:?} instead of {was:?}"))
        .collect()
}

fn longest(frames: &[Shown]) -> f64 {
    frames.iter().filter_map(|frame| frame.length).fold(0.0, f64::max)
}

/// When a stream is to be seen or heard.
#[derive(Clone, Copy, Debug)]
struct Span {
    start: f64,
    end: f64,
}

impl Span {
    /// Frames without a time follow the one before; without a length they last as long as it.
    fn of(frames: &[Shown]) -> Option<Self> {
        let start = frames.iter().filter_map(|frame| frame.at).reduce(f64::min)?;
        let (mut end, mut at, mut length) = (start, start, 0.0);
        for frame in frames {
            let next = frame.at.unwrap_or(at + length);
            length = frame.length.filter(|length| *length > 0.0).unwrap_or(next - at);
            at = next;
            end = end.max(at + length);
        }
        Some(Self { start, end })
    }

    fn around(self, other: Self) -> Self {
        Self { start: self.start.min(other.start), end: self.end.max(other.end) }
    }

    fn length(self) -> f64 {
        self.end - self.start
    }
}

/// Compares every picture with that of the source, upright and at the size of the output.
///
/// # Errors
/// What is different.
pub(super) fn pictures(
    case: &Case,
    (input, source): (&Path, &Seen),
    (output, seen): (&Path, &Seen),
) -> Result<(), String> {
    let (Some(was), Some(is)) = (source.video(), seen.video()) else { return Ok(()) };
    let matrix = is.color_space.as_deref().filter(|name| is_rgb(was) && *name != "unknown").unwrap_or("auto");
    let matrix = match matrix {
        "bt709" => ":out_color_matrix=bt709",
        "auto" => "",
        _ => ":out_color_matrix=bt601",
    };
    let size = format!("scale={}:{}:flags=bicubic", is.width, is.height);
    let count = "format=yuv420p,setsar=1,settb=1/1000,setpts=N";
    let graph = format!(
        "[0:{}]{}{size}{matrix},{count}[a];[1:{}]{size},{count}[b];[a][b]ssim=stats_file=-",
        was.index,
        case.reference(),
        is.index
    );
    let run = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-threads", "1", "-i"])
        .arg(input)
        .args(["-threads", "1", "-i"])
        .arg(output)
        .args(["-filter_complex", &graph, "-vsync", "passthrough", "-f", "null", "-"])
        .output()
        .map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(&run.stdout);
    let similar: Vec<f64> =
        text.lines().filter_map(|line| line.split_once("Y:")?.1.split(' ').next()?.parse().ok()).collect();
    let worst = similar.iter().copied().fold(1.0, f64::min);
    if similar.is_empty() {
        return Err(format!("the pictures cannot be compared: {}", String::from_utf8_lossy(&run.stderr)));
    }
    let limit = case.similar().unwrap_or(SIMILAR);
    if worst < limit {
        let all: Vec<String> = similar.iter().map(|value| format!("{value:.2}")).collect();
        return Err(format!("SSIM is {worst:.3}, less than {limit}: {}", all.join(" ")));
    }
    Ok(())
}
