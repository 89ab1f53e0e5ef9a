//! Turns out of display matrices, and a short look at a file against a long one.

use std::cell::Cell;
use std::path::PathBuf;
use std::process::Command;

use ffrtmp_core::engine::{Engine, Source, Task, Unobserved};
use ffrtmp_core::job::Parameters;
use ffrtmp_core::media::{Container, Target, VideoCodec};
use ffrtmp_core::plan::OutputRequest;

use ffrtmp_core::units::Seconds;

use super::super::LibavEngine;
use super::*;

thread_local! {
    static SEARCHES: Cell<bool> = const { Cell::new(false) };
}

/// What opening a file finds out on this thread.
pub(super) fn all_facts() -> Facts {
    if SEARCHES.get() { Facts::Searched } else { Facts::All }
}

/// Does something with libav's own analysis of every file that is opened.
fn searching<T>(work: impl FnOnce() -> T) -> T {
    SEARCHES.set(true);
    let result = work();
    SEARCHES.set(false);
    result
}

const ONE: i32 = 1 << 16;

#[test]
fn display_matrices_become_turns() {
    let matrix = |a, b, c, d| Orientation::from_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30]);
    assert_eq!(matrix(ONE, 0, 0, ONE), Orientation::default());
    assert_eq!(matrix(0, ONE, -ONE, 0), Orientation { degrees: 90, mirrored: false });
    assert_eq!(matrix(-ONE, 0, 0, -ONE), Orientation { degrees: 180, mirrored: false });
    assert_eq!(matrix(0, -ONE, ONE, 0), Orientation { degrees: 270, mirrored: false });
    assert_eq!(matrix(ONE, 0, 0, -ONE), Orientation { degrees: 0, mirrored: true });
    assert_eq!(matrix(0, 0, 0, 0), Orientation::default());
    // Clockwise by any angle, also where a pixel is twice as wide as high, and almost by a quarter.
    let turned = |degrees: f64, width: f64| {
        let (sin, cos) = degrees.to_radians().sin_cos();
        let [a, b, c, d] = [cos * width, sin, -sin * width, cos].map(|number| (number * f64::from(ONE)) as i32);
        matrix(a, b, c, d)
    };
    for (degrees, is, askew) in [(45.0, 45, true), (300.0, 300, true), (-2.0, 358, true), (90.7, 90, false)] {
        for width in [1.0, 2.0] {
            let orientation = turned(degrees, width);
            assert_eq!(orientation, Orientation { degrees: is, mirrored: false }, "{degrees} {width}");
            assert_eq!((orientation.is_askew(), orientation.is_sideways()), (askew, is == 90), "{degrees}");
        }
    }
    assert_eq!(turned(359.5, 1.0), Orientation::default());
}

/// What is made for the comparison: a name, and arguments after a moving picture and a tone.
const FILES: &[(&str, &str)] = &[
    ("plain.mp4", "-c:v libx264 -c:a aac"),
    ("baseline.mp4", "-c:v libx264 -profile:v baseline -c:a aac"),
    ("pyramid.mp4", "-c:v libx264 -bf 5 -b_strategy 0 -c:a aac -movflags +faststart"),
    ("open.mp4", "-c:v libx264 -x264-params open-gop=1:keyint=10 -c:a aac"),
    ("fields.mp4", "-c:v libx264 -flags +ildct+ilme -x264-params tff=1 -an"),
    ("deep.mp4", "-c:v libx264 -pix_fmt yuv422p10le -c:a aac -ac 6"),
    (
        "colours.mp4",
        "-c:v libx264 -colorspace bt2020nc -color_trc smpte2084 -color_primaries bt2020 -color_range pc -an",
    ),
    ("turned.mp4", "-c:v libx264 -metadata:s:v:0 rotate=90 -c:a aac"),
    ("shape.mp4", "-c:v libx264 -vf setsar=16/11 -c:a aac"),
    ("slow.mp4", "-c:v libx264 -r 1/2 -an"),
    ("late.mp4", "-itsoffset 0.7 -i s.wav -map 0:v -map 2:a -c:v libx264 -c:a aac"),
    ("hevc.mp4", "-c:v libx265 -x265-params log-level=none -pix_fmt yuv420p10le -tag:v hvc1 -c:a aac"),
    ("hev1.mp4", "-c:v libx265 -x265-params log-level=none:bframes=4 -c:a libopus"),
    ("vp9.mp4", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -c:a libopus"),
    ("av1.mp4", "-c:v libsvtav1 -preset 12 -c:a flac -strict -2"),
    ("mpeg4.mp4", "-c:v mpeg4 -bf 2 -c:a libmp3lame"),
    ("mpeg2.mp4", "-c:v mpeg2video -bf 2 -c:a mp2"),
    ("sound.m4a", "-vn -c:a aac"),
    ("lossless.m4a", "-vn -c:a alac"),
    ("ac3.mp4", "-c:v libx264 -c:a ac3"),
    ("eac3.mp4", "-vn -c:a eac3"),
    ("prores.mov", "-c:v prores_ks -c:a pcm_s16le"),
    ("jpeg.mov", "-c:v mjpeg -pix_fmt yuvj420p -c:a pcm_s24be"),
    ("rle.mov", "-c:v qtrle -pix_fmt rgb24 -an"),
    ("png.mov", "-c:v png -an"),
    ("dnx.mov", "-c:v dnxhd -profile:v dnxhr_lb -pix_fmt yuv422p -an"),
    ("raw.mov", "-c:v rawvideo -pix_fmt uyvy422 -c:a pcm_mulaw"),
    ("fragments.mp4", "-c:v libx264 -c:a aac -movflags +frag_keyframe+empty_moov"),
    ("vp8.webm", "-c:v libvpx -deadline realtime -cpu-used 8 -c:a libvorbis"),
    ("vp9.webm", "-c:v libvpx-vp9 -deadline realtime -cpu-used 8 -pix_fmt yuv420p -c:a libopus"),
    ("alpha.webm", "-c:v libvpx -auto-alt-ref 0 -pix_fmt yuva420p -deadline realtime -cpu-used 8 -an"),
    ("av1.webm", "-c:v libsvtav1 -preset 12 -c:a libopus"),
    ("sound.webm", "-vn -c:a libopus"),
    ("h264.mkv", "-c:v libx264 -c:a flac"),
    ("mpeg4.mkv", "-c:v mpeg4 -bf 2 -c:a ac3"),
    ("h264.ts", "-c:v libx264 -c:a aac"),
    ("h264.flv", "-c:v libx264 -c:a aac"),
    ("mpeg4.avi", "-c:v mpeg4 -c:a libmp3lame"),
];

/// What became of a file: words and bytes.
#[derive(Debug)]
struct Seen {
    words: std::result::Result<String, String>,
    bytes: Vec<u8>,
}

impl Seen {
    /// A Matroska file has random names inside, always of the same length.
    fn matches(&self, other: &Self) -> bool {
        let is_random = self.bytes.starts_with(b"\x1a\x45\xdf\xa3");
        let is_same = if is_random { self.bytes.len() == other.bytes.len() } else { self.bytes == other.bytes };
        is_same && self.words == other.words
    }
}

/// What an engine says of a file, and what it makes of it: as it is, and encoded anew.
fn treated(engine: &LibavEngine, input: &Path, directory: &Path) -> [Seen; 4] {
    let bounds = MediaBounds { threads: 1, ..MediaBounds::default() };
    let source = Source::File(input.to_owned());
    let output = directory.join("made");
    let made = |codec: Option<Target<VideoCodec>>, container| {
        let audio_codec = codec.map(|_| Target::Copy);
        let preset = codec.is_none().then(|| "ultrafast".to_owned());
        let duration = codec.is_none().then(|| Seconds::try_from(0.5).unwrap());
        let parameters =
            Parameters { duration, codec, audio_codec, container: Some(container), preset, ..Parameters::default() };
        let request = OutputRequest { parameters, ..OutputRequest::default() };
        let task = Task { source: source.clone(), output: output.clone(), request, bounds, live: None };
        let report = engine.run(&task, &Control::default(), &Unobserved);
        let words = report.map(|report| format!("{} frames, {:?}", report.frames, report.warnings));
        Seen { words: words.map_err(|error| error.to_string()), bytes: std::fs::read(&output).unwrap_or_default() }
    };
    let probed = engine.probe(&source, &bounds).map(|info| format!("{info:#?}"));
    [
        Seen { words: probed.map_err(|error| error.to_string()), bytes: Vec::new() },
        made(Some(Target::Copy), Container::Mkv),
        made(Some(Target::Copy), Container::Mp4),
        made(None, Container::Mp4),
    ]
}

/// The real clips, and what `ffmpeg` makes of a picture and a tone.
fn inputs(directory: &Path) -> Vec<PathBuf> {
    let ffmpeg = |arguments: String| {
        let mut command = Command::new("ffmpeg");
        command.args(["-nostdin", "-v", "error", "-y"]).args(arguments.split_whitespace()).current_dir(directory);
        command.output().is_ok_and(|output| output.status.success())
    };
    ffmpeg("-f lavfi -i testsrc2=s=192x108:r=25:d=0.8 -c:v ffv1 v.mkv".to_owned());
    ffmpeg("-f lavfi -i sine=d=0.8:r=48000 -ac 2 s.wav".to_owned());
    let mut inputs = Vec::new();
    for (name, arguments) in FILES {
        if ffmpeg(format!("-i v.mkv -i s.wav {arguments} {name}")) {
            inputs.push(directory.join(name));
        } else {
            eprintln!("skipped: ffmpeg makes no {name} here");
        }
    }
    let clips = std::env::var_os("FFRTMP_MEDIA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/media"), PathBuf::from);
    let clips = std::fs::read_dir(clips).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    inputs.extend(clips.filter(|path| path.extension().is_some_and(|kind| kind == "mp4" || kind == "webm")));
    inputs
}

/// Whoever looks at a few packets must not see anything else than who analyses at length.
#[test]
fn a_short_look_sees_what_a_long_one_sees() {
    let engine = LibavEngine::new().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let mut different = Vec::new();
    for input in inputs(directory.path()) {
        let short = treated(&engine, &input, directory.path());
        let long = searching(|| treated(&engine, &input, directory.path()));
        for ((short, long), what) in short.iter().zip(&long).zip(["probe", "copy to mkv", "copy to mp4", "encode"]) {
            if !short.matches(long) {
                different.push(format!("{what} of {}: {}", input.display(), difference(&short.words, &long.words)));
            }
        }
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// What begins late is looked for without reading the rest, and found where it is.
#[test]
fn only_streams_that_are_there_are_waited_for() {
    const MEGABYTE: usize = 1 << 20;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("in");
    let make = |sound: &str, format: &str| {
        let arguments = format!("-nostdin -v error -y -f lavfi -i testsrc2=s=1280x720:r=25:d=1.6 {sound}");
        let mut command = Command::new("ffmpeg");
        command.args(format!("{arguments} -c:v mpeg2video -q:v 1 -g 1 -c:a mp2 -f {format}").split_whitespace());
        let made = command.arg(&path).output().ok()?;
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        std::fs::read(&path).ok()
    };
    for (format, late) in [("mpegts", false), ("mpegts", true), ("vob", false), ("vob", true)] {
        let (Some(seen), Some(both)) = (make("", format), make("-f lavfi -i sine=d=1.6", format)) else { return };
        // The table of a transport stream lists its sound, whether it comes or not.
        let seen = if format == "mpegts" { without(&both, 0x101) } else { seen };
        let count = 16 * MEGABYTE / seen.len() + 1;
        let before = seen.repeat(count);
        let middle = if late { &both[..] } else { &[] };
        std::fs::write(&path, [&before, middle, &before].concat()).unwrap();
        let (input, size) = open(&path, &MediaBounds::default(), &Control::default()).unwrap();
        let heard = input.streams().filter(|stream| stream.is_audio() && stream.sample_rate() > 0).count();
        assert_eq!(heard, usize::from(late), "{format}");
        let (read, enough) = (input.bytes_read(), if late { before.len() } else { 0 } + 8 * MEGABYTE);
        assert!(read < enough as u64, "{format} {late}: {read} of {size} bytes were read");
    }
}

/// A transport stream less the packets of one stream.
fn without(stream: &[u8], pid: u16) -> Vec<u8> {
    let is_other = |packet: &&[u8]| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) != pid;
    stream.chunks_exact(188).filter(is_other).flatten().copied().collect()
}

/// The lines in which two texts differ.
fn difference(short: &std::result::Result<String, String>, long: &std::result::Result<String, String>) -> String {
    let (Ok(short), Ok(long)) = (short, long) else { return format!("{short:?} instead of {long:?}") };
    let lines = short.lines().zip(long.lines()).filter(|(short, long)| short != long);
    lines.map(|(short, long)| format!("{} instead of {}", short.trim(), long.trim())).collect::<Vec<_>>().join("; ")
}
