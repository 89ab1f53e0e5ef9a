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
        let (mut last, strict, mut events) = (-1, i64::from(name.ends_with("mp4")), 0);
        let mut deliver = |output: &mut Output, packet: &mut Packet, base: TimeBase| {
            packet.rescale(base, output.time_base(lane));
            packet.set_stream(lane);
            // As the `ffmpeg` program mends times that go back.
            let pts = packet.pts().unwrap().max(last + strict);
            packet.set_times(Some(pts), Some(pts), packet.duration());
            last = pts;
            events += 1;
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
        (path, [events, track.damaged()])
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
    let text = String::from_utf8(output.stdout).unwrap();
    // Programs of a transport stream leave empty lines behind.
    let packets: Vec<_> =
        text.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_digit())).map(str::to_owned).collect();
    assert!(!packets.is_empty(), "{}: {text}", path.display());
    packets
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
    texts(4.0)
}

/// Texts of which one, that lies before another at 3 s, ends at a time.
fn texts(end: f64) -> String {
    srt(&[
        (0.5, 1.5, STYLED),
        (2.0, end, "overlap A"),
        (3.0, 5.0, "overlap B"),
        (5.0, 6.0, "back to back"),
        (6.5, 6.5, "no time at all"),
        (7.001, 7.333, "odd times"),
    ])
}

#[test]
fn text_becomes_what_ffmpeg_makes_of_it() {
    become_what_ffmpeg_makes(
        &everyday(),
        &[
            (SubtitleCodec::Srt, "subrip", "mkv"),
            (SubtitleCodec::Ass, "ass", "mkv"),
            (SubtitleCodec::WebVtt, "webvtt", "mkv"),
            (SubtitleCodec::WebVtt, "webvtt", "webm"),
        ],
    );
    // Where texts overlap there, ffmpeg cuts the first.
    become_what_ffmpeg_makes(&texts(3.0), &[(SubtitleCodec::MovText, "mov_text", "mp4")]);
}

fn become_what_ffmpeg_makes(text: &str, targets: &[(SubtitleCodec, &str, &str)]) {
    let Some(bench) = Bench::new() else { return };
    bench.write("a.srt", text);
    let sources = [
        bench.clip("a.srt", "subrip", 8, "subrip.mkv"),
        bench.clip("a.srt", "ass", 8, "ass.mkv"),
        bench.clip("a.srt", "mov_text", 8, "mov_text.mp4"),
        bench.clip("a.srt", "webvtt", 8, "webvtt.mkv"),
        bench.clip("a.srt", "text", 8, "text.mkv"),
    ];
    for source in &sources {
        for &(codec, name, extension) in targets {
            let maps = if extension == "webm" { "-map 0:s" } else { "-map 0:v -c:v copy -map 0:s" };
            let wanted =
                bench.ffmpeg(&format!("-i {} {maps} -c:s {name}", source.display()), &format!("w.{extension}"));
            let (made, counts) = bench.convert(source, Target::Encode(codec), None, &format!("m.{extension}"));
            let what = format!("{} to {name} in {extension}", source.display());
            // ffmpeg leaves characters as they are that are markup in WebVTT: all but the styled text,
            // which has some, is alike.
            let masked = usize::from(codec == SubtitleCodec::WebVtt);
            assert_eq!(packets(&made)[masked..], packets(&wanted)[masked..], "{what}");
            if masked == 0 {
                assert_eq!(shown(&made), shown(&wanted), "{what}");
            }
            assert_eq!(counts, [6, 0], "{what}");
        }
    }
}

#[test]
fn texts_that_overlap_are_shown_together_in_mp4() {
    let Some(bench) = Bench::new() else { return };
    let texts = [(2.0, 4.0, "<i>A"), (3.0, 5.0, "B, b"), (3.0, 3.5, "C"), (5.0, 5.5, "D"), (7.0, 9.0, "E")];
    bench.write("a.srt", &srt(&texts));
    let wanted = srt(&[
        (2.0, 3.0, "<i>A</i>"),
        (3.0, 3.5, "<i>A</i>\nB, b\nC"),
        (3.5, 4.0, "<i>A</i>\nB, b"),
        (4.0, 5.0, "B, b"),
        (5.0, 5.5, "D"),
        (7.0, 8.2, "E"),
    ]);
    for codec in ["subrip", "ass", "webvtt"] {
        let source = bench.clip("a.srt", codec, 9, "in.mkv");
        let (made, counts) = bench.convert(&source, Target::Encode(SubtitleCodec::MovText), Some(8.2), "m.mp4");
        assert_eq!(shown(&made).replace('\r', ""), wanted, "{codec}");
        assert_eq!(counts, [6, 0], "{codec}");
    }
}

#[test]
fn events_out_of_order_and_damaged_ones_fare_as_with_ffmpeg() {
    let Some(bench) = Bench::new() else { return };
    bench.write("a.srt", &everyday());
    let source = bench.clip("a.srt", "subrip", 8, "plain.mkv");
    let mut bytes = fs::read(&source).unwrap();
    let block = |bytes: &[u8], words: &str| bytes.windows(words.len()).position(|w| w == words.as_bytes()).unwrap();
    // The block of the third event: track, time within the cluster, flags, text.
    let at = block(&bytes, "overlap B") - 3;
    let time = i16::from_be_bytes([bytes[at], bytes[at + 1]]) - 1800;
    bytes[at..at + 2].copy_from_slice(&time.to_be_bytes());
    let at = block(&bytes, "back to back");
    bytes[at] = 0xff;
    let at = block(&bytes, "odd times");
    bytes[at + 3] = 0;
    fs::write(bench.path("odd.mkv"), bytes).unwrap();
    for (codec, name, extension) in [
        (SubtitleCodec::MovText, "mov_text", "mp4"),
        (SubtitleCodec::Ass, "ass", "mkv"),
        (SubtitleCodec::Srt, "subrip", "mkv"),
    ] {
        let maps = format!("-i odd.mkv -map 0:v -c:v copy -map 0:s -c:s {name} -xerror -loglevel fatal");
        let wanted = bench.ffmpeg(&maps.replace(" -xerror", ""), &format!("w.{extension}"));
        let (made, counts) =
            bench.convert(&bench.path("odd.mkv"), Target::Encode(codec), None, &format!("m.{extension}"));
        // One that comes late is shown with the text before which it should have come.
        if codec == SubtitleCodec::MovText {
            let shown = shown(&made).replace('\r', "");
            assert!(shown.contains("00:00:02,000 --> 00:00:03,200\noverlap A\noverlap B\n"), "{shown}");
        } else {
            assert_eq!(packets(&made), packets(&wanted), "{name}");
        }
        assert!(shown(&made).contains("overlap B") && shown(&made).contains("odd"), "{name}: {}", shown(&made));
        assert_eq!(counts, [5, 1], "{name}");
    }
}

#[test]
fn a_long_silence_in_mp4_moves_no_text() {
    let Some(bench) = Bench::new() else { return };
    let text = srt(&[(0.5, 1.5, "before"), (3000.0, 3002.0, "after"), (9000.0, 9001.0, "last")]);
    bench.write("a.srt", &text);
    bench.ffmpeg("-f lavfi -i testsrc2=s=16x16:r=1/100:d=9100 -i a.srt -map 0 -map 1 -c:v mpeg4 -c:s copy", "in.mkv");
    let (made, _) = bench.convert(&bench.path("in.mkv"), Target::Encode(SubtitleCodec::MovText), None, "m.mp4");
    assert_eq!(shown(&made), text);
    // Copied on, the silence comes in packets of its own.
    let (again, _) = bench.convert(&made, Target::Copy, None, "again.mp4");
    assert_eq!(shown(&again), text);
}

#[test]
fn a_cut_ends_what_is_shown() {
    let Some(bench) = Bench::new() else { return };
    bench.write("a.srt", &everyday());
    let source = bench.clip("a.srt", "subrip", 8, "in.mkv");
    let wanted = srt(&[(0.5, 1.5, "Bold"), (2.0, 3.2, "overlap A"), (3.0, 3.2, "overlap B")]);
    let times = |text: &str| text.lines().filter(|line| line.contains("-->")).map(str::to_owned).collect::<Vec<_>>();
    for target in [Target::Copy, Target::Encode(SubtitleCodec::Ass)] {
        let (made, counts) = bench.convert(&source, target, Some(3.2), "m.mkv");
        assert_eq!(times(&shown(&made)), times(&wanted), "{target}");
        assert_eq!(counts, [3, 0], "{target}");
    }
}

#[test]
fn hostile_text_costs_little() {
    let Some(bench) = Bench::new() else { return };
    let long = "<b>x</b> ".repeat(MAX_TEXT / 9 + 1);
    let wide = "y".repeat(70_000);
    let mut events = vec![(0.5, 1.0, long.as_str()), (1.5, 2.0, wide.as_str())];
    let many: Vec<String> = (0..100_000).map(|number| format!("event {number}")).collect();
    events.extend(many.iter().zip(0_u32..).map(|(words, n)| (3.0 + f64::from(n) / 1e5, 4.0, words.as_str())));
    bench.write("a.srt", &srt(&events));
    let source = bench.clip("a.srt", "copy", 5, "in.mkv");
    let started = std::time::Instant::now();
    for (codec, name, damaged) in
        [(SubtitleCodec::MovText, "m.mp4", 2), (SubtitleCodec::Ass, "m.mkv", 1), (SubtitleCodec::WebVtt, "m.webm", 1)]
    {
        let (_, counts) = bench.convert(&source, Target::Encode(codec), None, name);
        assert_eq!(counts[1], damaged, "{codec}");
        // MPEG-4 has one for each moment.
        let wanted = if codec == SubtitleCodec::MovText { 1000..=1200 } else { 100_002 - damaged..=100_002 - damaged };
        assert!(wanted.contains(&counts[0]), "{codec}: {counts:?}");
    }
    assert!(started.elapsed().as_secs() < 30, "{:?}", started.elapsed());
}

#[test]
fn pictures_pass_through() {
    let Some(bench) = Bench::new() else { return };
    fs::write(bench.path("a.sup"), blu_ray()).unwrap();
    let pictures = "-f lavfi -i testsrc2=s=64x48:r=5:d=6 -fix_sub_duration -i a.sup -map 0 -map 1 -c:v mpeg2video";
    let cases = [
        ("copy", "in.mkv", "m.mkv"),
        ("dvdsub", "in.mkv", "m.mkv"),
        ("dvbsub", "in.ts", "m.ts"),
        ("dvbsub", "in.ts", "m.mkv"),
    ];
    for (codec, source, name) in cases {
        let source = bench.ffmpeg(&format!("{pictures} -c:s {codec}"), source);
        let wanted = bench.ffmpeg(&format!("-i {} -map 0 -c copy", source.display()), &format!("w{name}"));
        let (made, counts) = bench.convert(&source, Target::Copy, None, name);
        assert_eq!(since_first(&made), since_first(&wanted), "{codec} to {name}");
        assert!(counts[0] >= 2 && counts[1] == 0, "{codec} to {name}: {counts:?}");
        let (made, wanted) = (extradata(&made), extradata(&wanted));
        assert_eq!(made, wanted, "{codec} to {name}");
    }
}

/// Packets with their times from the first on: where zero is, is not the track's business.
fn since_first(path: &Path) -> Vec<(i64, String)> {
    let micros = |line: &String| (line.split(',').next().unwrap().parse::<f64>().unwrap() * 1e3).round() as i64;
    let packets = packets(path);
    packets
        .iter()
        .map(|line| (micros(line) - micros(&packets[0]), line.rsplit(',').next().unwrap().to_owned()))
        .collect()
}

fn extradata(path: &Path) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", "s", "-show_data_hash", "adler32", "-of", "csv=p=0"])
        .args(["-show_entries", "stream=codec_name,width,height,extradata_hash"])
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// Two pictures of a Blu-ray disc, each shown for a second.
fn blu_ray() -> Vec<u8> {
    const SHOW: [&[u8]; 5] = [
        &[0x16, 0, 64, 0, 48, 0x10, 0, 0, 0x80, 0, 0, 1, 0, 0, 0, 0, 0, 4, 0, 4],
        &[0x17, 1, 0, 0, 4, 0, 4, 0, 8, 0, 2],
        &[0x14, 0, 0, 1, 200, 128, 128, 255],
        &[0x15, 0, 0, 0, 0xc0, 0, 0, 24, 0, 8, 0, 2, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0],
        &[0x80],
    ];
    const CLEAR: [&[u8]; 3] =
        [&[0x16, 0, 64, 0, 48, 0x10, 0, 0, 0, 0, 0, 0], &[0x17, 1, 0, 0, 4, 0, 4, 0, 8, 0, 2], &[0x80]];
    let mut bytes = Vec::new();
    for (time, segments) in [(1_u32, &SHOW[..]), (2, &CLEAR[..]), (3, &SHOW[..]), (4, &CLEAR[..])] {
        for segment in segments {
            bytes.extend(b"PG");
            bytes.extend((time * 90_000).to_be_bytes());
            bytes.extend([0; 4]);
            bytes.push(segment[0]);
            bytes.extend((segment.len() as u16 - 1).to_be_bytes());
            bytes.extend(&segment[1..]);
        }
    }
    bytes
}

#[test]
fn captions_of_a_quicktime_track_become_text() {
    let Some(bench) = Bench::new() else { return };
    // Placeholders of the size of the captions that are put in their place.
    let places = ["a".repeat(24), "b".repeat(24)];
    bench.write("a.srt", &srt(&[(1.0, 1.2, &places[0]), (3.0, 3.2, &places[1])]));
    let source = bench.clip("a.srt", "mov_text", 6, "in.mp4");
    let mut bytes = fs::read(&source).unwrap();
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|w| w == what).unwrap();
    let entry = find(&bytes, b"tx3g");
    bytes[entry..entry + 4].copy_from_slice(b"c608");
    // Load, address the row twice each; the word; show.
    for (place, word) in places.iter().zip([[0xc8, 0xe5, 0xec, 0xec, 0xef, 0x80], [0xc8, 0x61, 0xec, 0xec, 0xef, 0x80]])
    {
        let at = find(&bytes, place.as_bytes()) - 2;
        let caption: Vec<u8> = [
            &[0, 0, 0, 26][..],
            b"cdat",
            &[0x94, 0x20, 0x94, 0x20, 0x94, 0x70, 0x94, 0x70],
            &word,
            &[0x94, 0x2f, 0x94, 0x2f],
        ]
        .concat();
        bytes[at..at + 26].copy_from_slice(&caption);
    }
    fs::write(bench.path("c608.mp4"), bytes).unwrap();
    let (made, counts) = bench.convert(&bench.path("c608.mp4"), Target::Encode(SubtitleCodec::MovText), None, "m.mp4");
    let shown = shown(&made);
    assert!(shown.contains("00:00:01,000 --> 00:00:03,000\n") && shown.contains("00:00:03,000 --> "), "{shown}");
    assert!(shown.contains("Hello") && shown.contains("Hallo"), "{shown}");
    let wanted = bench.ffmpeg("-i c608.mp4 -map 0:v -c:v copy -map 0:s -c:s mov_text", "w.mp4");
    assert_eq!(packets(&made), packets(&wanted));
    assert_eq!(counts, [2, 0]);
}
