//! Subtitles against what the `ffmpeg` program makes of the same file, packet by packet.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use ffrtmp_core::engine::{Control, MediaBounds};
use tempfile::TempDir;

use super::super::probe;
use super::super::sys::{Guard, Input};
use super::super::timeline::Timeline;
use super::*;

/// A directory with files made by `ffmpeg`.
struct Bench(TempDir);

impl Bench {
    /// `None`, with a line, where `ffmpeg` is not installed.
    fn new() -> Option<Self> {
        if Command::new("ffmpeg").arg("-version").output().is_err() {
            eprintln!("skipped: ffmpeg is not installed");
            return None;
        }
        Some(Self(tempfile::tempdir().unwrap()))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    fn ffmpeg(&self, arguments: &str, name: &str) -> PathBuf {
        let command = format!("-nostdin -v error -y {arguments} {name}");
        let made = Command::new("ffmpeg").args(command.split_whitespace()).current_dir(self.0.path()).output().unwrap();
        assert!(made.status.success(), "{command}: {}", String::from_utf8_lossy(&made.stderr));
        self.path(name)
    }

    /// A clip of some seconds with subtitles out of a text file.
    fn clip(&self, text: &str, codec: &str, seconds: u32, name: &str) -> PathBuf {
        let pictures = format!("-f lavfi -i testsrc2=s=64x48:r=5:d={seconds}");
        self.ffmpeg(&format!("{pictures} -i {text} -map 0 -map 1 -c:v mpeg4 -c:s {codec}"), name)
    }

    /// Copies the pictures and treats the subtitles.
    fn convert(
        &self,
        input: &Path,
        target: Target<SubtitleCodec>,
        cut: Option<f64>,
        name: &str,
    ) -> (PathBuf, [u64; 2]) {
        let bounds = MediaBounds::default();
        let (mut input, _) = probe::open(input, &bounds, &Control::default()).unwrap();
        let path = self.path(name);
        let mut output = Output::new(
            match name.rsplit_once('.').unwrap().1 {
                "mp4" => "mp4",
                "mkv" => "matroska",
                "webm" => "webm",
                "ts" => "mpegts",
                other => panic!("{other}"),
            },
            File::create(&path).unwrap(),
            &path,
            Guard::new(Control::default()),
            None,
        )
        .unwrap();
        let (kept, subtitles) = chosen(&input, name);
        let source = input.stream(subtitles).unwrap();
        let mut track = SubtitleTrack::open(source, target, Window::new(cut, bounds.max_duration)).unwrap();
        for stream in &kept {
            output.add_copied(input.stream(*stream).unwrap()).unwrap();
        }
        let lane = track.add_to(&mut output, source).unwrap();
        output.start(&[("movflags", "+faststart")]).unwrap();
        let mut timeline = Timeline::new(&input, &(0..input.len()).collect::<Vec<_>>());
        let mut last = 0;
        let mut deliver = |output: &mut Output, packet: &mut Packet, base: TimeBase| {
            packet.rescale(base, output.time_base(lane));
            packet.set_stream(lane);
            let pts = packet.pts().unwrap().max(last);
            packet.set_times(Some(pts), Some(pts), packet.duration());
            last = pts;
            output.write(packet).unwrap();
            Ok(())
        };
        let mut packet = Packet::new();
        while input.read(&mut packet).is_ok() {
            let base = input.stream(packet.stream()).unwrap().time_base();
            timeline.place(&mut packet, base);
            if packet.stream() == subtitles {
                track.packet(&mut packet, &mut |packet, base| deliver(&mut output, packet, base)).unwrap();
            } else if let Some(lane) = kept.iter().position(|stream| *stream == packet.stream()) {
                packet.rescale(base, output.time_base(lane));
                packet.set_stream(lane);
                output.write(&mut packet).unwrap();
            }
        }
        track.finish(&mut |packet, base| deliver(&mut output, packet, base)).unwrap();
        output.finish().unwrap();
        (path, [track.events(), track.damaged()])
    }
}

fn chosen(input: &Input, name: &str) -> (Vec<usize>, usize) {
    let kept = input.streams().filter(|stream| stream.is_video() && !name.ends_with("webm"));
    let subtitles = input.streams().find(|stream| stream.is_subtitle()).unwrap().index();
    (kept.map(|stream| stream.index()).collect(), subtitles)
}

/// Time, length and hash of every packet of the subtitles, by `ffprobe`.
fn packets(path: &Path) -> Vec<String> {
    let entries = "packet=pts_time,duration_time,data_hash";
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "s", "-show_data_hash", "adler32", "-show_packets"])
        .args(["-show_entries", entries, "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).filter(|line| !line.is_empty()).collect()
}

/// What a player would show, as SubRip.
fn shown(path: &Path) -> String {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:s:0", "-f", "srt", "-"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn srt(events: &[(f64, f64, &str)]) -> String {
    let clock = |seconds: f64| {
        let millis = (seconds * 1000.0).round() as u64;
        let (hours, minutes) = (millis / 3_600_000, millis / 60_000 % 60);
        format!("{hours:02}:{minutes:02}:{:02},{:03}", millis / 1000 % 60, millis % 1000)
    };
    events.iter().enumerate().fold(String::new(), |mut text, (number, (start, end, words))| {
        write!(text, "{}\n{} --> {}\n{words}\n\n", number + 1, clock(*start), clock(*end)).unwrap();
        text
    })
}

const STYLED: &str = "<b>Bold</b> <i>and</i> <font color=\"#ff0000\">red</font> & a < b\nsecond line äöü 字幕 🎬";

fn everyday() -> String {
    srt(&[
        (0.5, 1.5, STYLED),
        (2.0, 4.0, "overlap A"),
        (3.0, 5.0, "overlap B"),
        (5.0, 6.0, "back to back"),
        (6.5, 6.5, "no time at all"),
        (7.001, 7.333, "odd times"),
    ])
}

#[test]
fn text_becomes_what_ffmpeg_makes_of_it() {
    let Some(bench) = Bench::new() else { return };
    bench.write("a.srt", &everyday());
    let sources = [
        bench.clip("a.srt", "subrip", 8, "subrip.mkv"),
        bench.clip("a.srt", "ass", 8, "ass.mkv"),
        bench.clip("a.srt", "mov_text", 8, "mov_text.mp4"),
        bench.clip("a.srt", "webvtt", 8, "webvtt.mkv"),
        bench.clip("a.srt", "text", 8, "text.mkv"),
    ];
    let targets = [
        (SubtitleCodec::MovText, "mov_text", "mp4"),
        (SubtitleCodec::Srt, "subrip", "mkv"),
        (SubtitleCodec::Ass, "ass", "mkv"),
        (SubtitleCodec::WebVtt, "webvtt", "mkv"),
        (SubtitleCodec::WebVtt, "webvtt", "webm"),
    ];
    for source in &sources {
        for (codec, name, extension) in targets {
            let maps = if extension == "webm" { "-map 0:s" } else { "-map 0:v -c:v copy -map 0:s" };
            let wanted =
                bench.ffmpeg(&format!("-i {} {maps} -c:s {name}", source.display()), &format!("w.{extension}"));
            let (made, counts) = bench.convert(source, Target::Encode(codec), None, &format!("m.{extension}"));
            let what = format!("{} to {name} in {extension}", source.display());
            assert_eq!(packets(&made), packets(&wanted), "{what}");
            assert_eq!(shown(&made), shown(&wanted), "{what}");
            assert_eq!(counts, [6, 0], "{what}");
        }
    }
}
