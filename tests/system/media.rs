//! The judge of outputs, independent of the product: `ffprobe` describes, `ffmpeg` decodes. And
//! where inputs come from: real clips where there are some, else made by `ffmpeg`.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// What `ffprobe` sees in a file, every frame decoded.
#[derive(Debug)]
pub(crate) struct Seen {
    /// Length of the whole file in seconds.
    pub(crate) duration: f64,
    pub(crate) picture: Picture,
    /// Channels of every audio stream.
    pub(crate) audio: Vec<u64>,
}

/// The video stream.
#[derive(Debug)]
pub(crate) struct Picture {
    pub(crate) codec: String,
    pub(crate) width: u64,
    pub(crate) height: u64,
    /// Width by height as displayed, rotation aside.
    pub(crate) aspect: f64,
    pub(crate) fps: f64,
    pub(crate) frames: u64,
    /// Clockwise turn that a player must make, in degrees.
    pub(crate) rotation: i64,
}

/// Describes a media file.
pub(crate) fn look(path: &Path) -> Seen {
    let mut ffprobe = Command::new("ffprobe");
    ffprobe.args(["-v", "error", "-count_frames", "-show_streams", "-show_format", "-of", "json"]).arg(path);
    let probed: Value = serde_json::from_slice(&run(ffprobe)).expect("JSON");
    let streams = probed["streams"].as_array().expect("streams");
    let of_kind = |kind: &'static str| streams.iter().filter(move |stream| stream["codec_type"] == kind);
    let video = of_kind("video").next().unwrap_or_else(|| panic!("no video in {}", path.display()));
    Seen {
        duration: number(&probed["format"]["duration"]),
        picture: picture(video),
        audio: of_kind("audio").map(|audio| audio["channels"].as_u64().expect("channels")).collect(),
    }
}

fn picture(video: &Value) -> Picture {
    let side = |name: &str| video[name].as_u64().expect("a side");
    let (width, height) = (side("width"), side("height"));
    let pixel = video["sample_aspect_ratio"].as_str().and_then(|text| ratio(text, ':')).filter(|ratio| *ratio > 0.0);
    let matrices = video["side_data_list"].as_array().into_iter().flatten();
    Picture {
        codec: video["codec_name"].as_str().expect("a codec").to_owned(),
        width,
        height,
        aspect: width as f64 / height as f64 * pixel.unwrap_or(1.0),
        fps: video["avg_frame_rate"].as_str().and_then(|text| ratio(text, '/')).expect("a rate"),
        frames: number(&video["nb_read_frames"]) as u64,
        rotation: matrices.filter_map(|data| data["rotation"].as_i64()).sum::<i64>().rem_euclid(360),
    }
}

fn ratio(text: &str, between: char) -> Option<f64> {
    let (num, den) = text.split_once(between)?;
    Some(num.parse::<f64>().ok()? / den.parse::<f64>().ok()?)
}

fn number(value: &Value) -> f64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("no number: {value}"))
}

/// The first picture as a player shows it, in gray, scaled to a size.
pub(crate) fn first_picture(path: &Path, width: u64, height: u64) -> Vec<u8> {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-i"]).arg(path);
    ffmpeg.args(["-frames:v", "1", "-vf", &format!("scale={width}:{height},format=gray"), "-f", "rawvideo", "-"]);
    run(ffmpeg)
}

/// Mean difference of two pictures, 0 to 255.
pub(crate) fn difference(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    let sum: u64 = one.iter().zip(other).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    sum as f64 / one.len() as f64
}

/// Makes a file with `ffmpeg`; `args` stand between the program and the path.
pub(crate) fn make(path: &Path, args: &[&str]) {
    run(making(path, args));
}

/// The same, telling whether this version of `ffmpeg` knows how.
pub(crate) fn can_make(path: &Path, args: &[&str]) -> bool {
    making(path, args).output().is_ok_and(|output| output.status.success())
}

fn making(path: &Path, args: &[&str]) -> Command {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-y"]).args(args).arg(path);
    ffmpeg
}

/// A moving picture with a tone: 25 frames a second, H.264 with AAC.
pub(crate) fn make_clip(path: &Path, size: &str, seconds: f64) {
    let picture = format!("testsrc2=size={size}:rate=25:duration={seconds}");
    let tone = format!("sine=frequency=440:duration={seconds}");
    let codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"];
    make(path, &[&["-f", "lavfi", "-i", &picture, "-f", "lavfi", "-i", &tone][..], &codecs[..]].concat());
}

fn run(mut command: Command) -> Vec<u8> {
    let output = command.output().unwrap_or_else(|error| {
        panic!("{:?}: {error}: the tests judge media with ffmpeg; scripts/setup.sh installs it", command.get_program())
    });
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Real clips, if there are any: `FFRTMP_MEDIA`, or `shared/media` beside the repository.
pub(crate) fn clips() -> Vec<PathBuf> {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/media");
    let dir = std::env::var_os("FFRTMP_MEDIA").map_or(beside, PathBuf::from);
    let entries = std::fs::read_dir(&dir).into_iter().flatten();
    let mut clips: Vec<_> = entries
        .filter_map(|entry| entry.ok()?.path().canonicalize().ok())
        .filter(|path| path.extension().is_some_and(|extension| extension != "md"))
        .collect();
    clips.sort();
    if clips.is_empty() {
        eprintln!("skipped: no real clips in {} (FFRTMP_MEDIA names another directory)", dir.display());
    }
    clips
}
