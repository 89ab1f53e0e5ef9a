//! The tap on decoded clips, against what the `ffmpeg` program makes of the same files.

use std::path::{Path, PathBuf};
use std::process::Command;

use ffrtmp_core::engine::{Control, MediaBounds};
use ffrtmp_core::units::Seconds;
use tempfile::TempDir;

use super::*;
use crate::libav::probe;
use crate::libav::sys::{AvError, Decoder, Packet};

/// A directory with a clip in it.
struct Bench {
    directory: TempDir,
    clip: PathBuf,
}

impl Bench {
    /// Makes a clip; `None`, with a line, where `ffmpeg` is not installed.
    fn clip(name: &str, arguments: &str) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let clip = directory.path().join(name);
        let made = Command::new("ffmpeg")
            .args(["-nostdin", "-v", "error"])
            .args(arguments.split_whitespace())
            .arg(&clip)
            .status();
        let Ok(status) = made else {
            eprintln!("skipped: ffmpeg is not installed");
            return None;
        };
        assert!(status.success(), "ffmpeg {arguments}");
        Some(Self { directory, clip })
    }

    /// Sends every decoded picture before `end` through a tap.
    fn take(&self, stills: &Stills, expected: Option<f64>, end: f64, allowance: Option<u64>) -> Result<Vec<Made>> {
        let primary = self.directory.path().join("my movie.mp4");
        let mut tap = StillsTap::new(stills, expected, &primary, Allowance::new(allowance))?;
        let (mut input, _) = probe::open(&self.clip, &MediaBounds::default(), &Control::default()).unwrap();
        let stream = input.streams().find(|stream| stream.is_video()).unwrap();
        let (index, base) = (stream.index(), stream.time_base());
        let (num, den) = stream.sample_aspect_ratio().unwrap_or((1, 1));
        let mut decoder = Decoder::open(stream, 1, MediaBounds::default().max_pixels).unwrap();
        let (mut packet, mut frame) = (Packet::new(), Frame::new());
        loop {
            let more = input.read(&mut packet).is_ok();
            if more && packet.stream() != index {
                continue;
            }
            decoder.send(more.then_some(&packet)).unwrap();
            while decoder.receive(&mut frame).is_ok() {
                let seconds = base.seconds(frame.best_effort_pts().unwrap());
                if seconds < end && tap.wants() {
                    tap.take(&frame, seconds, Ratio { num, den })?;
                }
            }
            if !more {
                return tap.finish(end);
            }
        }
    }

    fn path(&self, ending: &str) -> PathBuf {
        self.directory.path().join(format!("my movie_{ending}"))
    }

    /// The picture that is shown at a time, scaled.
    fn reference(&self, seconds: f64, size: (usize, usize)) -> Vec<u8> {
        let (width, height) = size;
        let filter = format!("scale={width}:{height},format=rgb24");
        let seek = format!("{seconds:.3}");
        rgb(&["-ss", &seek, "-i", self.clip.to_str().unwrap(), "-vf", &filter, "-frames:v", "1"], size)
    }
}

/// Pixels of a part of a picture file.
fn part(path: &Path, (x, y): (usize, usize), size: (usize, usize)) -> Vec<u8> {
    let crop = format!("crop={}:{}:{x}:{y}", size.0, size.1);
    rgb(&["-i", path.to_str().unwrap(), "-vf", &crop], size)
}

fn whole(path: &Path, size: (usize, usize)) -> Vec<u8> {
    rgb(&["-i", path.to_str().unwrap()], size)
}

fn rgb(arguments: &[&str], (width, height): (usize, usize)) -> Vec<u8> {
    let output = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error"])
        .args(arguments)
        .args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .unwrap();
    assert_eq!(output.stdout.len(), width * height * 3, "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn means(pixels: &[u8]) -> [f64; 3] {
    [0, 1, 2].map(|channel| {
        let values = pixels.iter().skip(channel).step_by(3);
        values.map(|value| f64::from(*value)).sum::<f64>() / (pixels.len() / 3) as f64
    })
}

fn difference(one: &[u8], other: &[u8]) -> f64 {
    assert_eq!(one.len(), other.len());
    one.iter().zip(other).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / one.len() as f64
}

fn assert_same(made: &[u8], reference: &[u8], what: &str) {
    for (made, reference) in means(made).into_iter().zip(means(reference)) {
        assert!((made - reference).abs() <= 2.0, "{what}: mean {made} instead of {reference}");
    }
    let difference = difference(made, reference);
    assert!(difference < 8.0, "{what}: {difference} levels off");
}

fn seconds(value: f64) -> Option<Seconds> {
    Some(Seconds::try_from(value).unwrap())
}

fn names(made: &[Made]) -> Vec<String> {
    made.iter().map(|made| made.path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Times and parts of an index: start, end, sheet, x, y, width, height.
fn cues(path: &Path) -> Vec<(f64, f64, String, [usize; 4])> {
    let text = std::fs::read_to_string(path).unwrap();
    let mut blocks = text.split("\n\n");
    assert_eq!(blocks.next(), Some("WEBVTT"));
    blocks.map(|block| cue(block).unwrap_or_else(|| panic!("no cue: {block:?}"))).collect()
}

fn cue(block: &str) -> Option<(f64, f64, String, [usize; 4])> {
    let (times, target) = block.trim_end().split_once('\n')?;
    let (start, end) = times.split_once(" --> ")?;
    let (sheet, part) = target.split_once("#xywh=")?;
    let numbers: Vec<usize> = part.split(',').map(|number| number.parse().ok()).collect::<Option<_>>()?;
    Some((clock(start)?, clock(end)?, sheet.to_owned(), numbers.try_into().ok()?))
}

fn clock(text: &str) -> Option<f64> {
    text.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}

/// The right pictures in the right colours, whatever the source's depth, range and matrix.
#[test]
fn pictures_are_those_of_their_times() {
    let cases = [
        ("plain.mp4", "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -qp 12"),
        (
            "hd.mkv",
            "-vf scale=out_color_matrix=bt709:out_range=tv,format=yuv420p -colorspace bt709 -color_primaries bt709 \
             -color_trc bt709 -color_range tv -c:v libx264 -preset ultrafast -qp 12",
        ),
        ("deep.mkv", "-pix_fmt yuv420p10le -c:v libx264 -preset ultrafast -qp 12"),
        ("full.mkv", "-vf scale=out_range=pc,format=yuvj420p -c:v libx264 -preset ultrafast -qp 12"),
        ("rgb.mkv", "-pix_fmt bgr0 -c:v ffv1"),
    ];
    for (name, encode) in cases {
        let source = "-f lavfi -i testsrc2=size=638x358:rate=25:duration=6";
        let Some(bench) = Bench::clip(name, &format!("{source} {encode}")) else { return };
        let stills = Stills {
            poster: seconds(2.0),
            thumbnails: Some(3),
            thumbnail_width: Some(255),
            sprite_interval: seconds(0.8),
            sprite_columns: Some(3),
            ..Stills::default()
        };
        let made = bench.take(&stills, Some(6.0), 6.0, None).unwrap();
        let endings =
            ["poster", "thumb_01", "thumb_02", "thumb_03", "sprite"].map(|ending| format!("my movie_{ending}.jpg"));
        assert_eq!(names(&made), [&endings[..], &["my movie_sprite.vtt".to_owned()]].concat());
        for made in &made {
            assert_eq!(std::fs::metadata(&made.path).unwrap().len(), made.bytes);
        }
        let poster = whole(&bench.path("poster.jpg"), (638, 358));
        assert_same(&poster, &bench.reference(2.0, (638, 358)), name);
        for neighbour in [1.96, 2.04] {
            let other = difference(&poster, &bench.reference(neighbour, (638, 358)));
            assert!(difference(&poster, &bench.reference(2.0, (638, 358))) < 0.8 * other, "{name}: {neighbour}");
        }
        for (ending, time) in [("thumb_01.jpg", 1.0), ("thumb_02.jpg", 3.0), ("thumb_03.jpg", 5.0)] {
            assert_same(&whole(&bench.path(ending), (255, 143)), &bench.reference(time, (255, 143)), ending);
        }
        let cues = cues(&bench.path("sprite.vtt"));
        assert_eq!(cues.len(), 8);
        for (index, (start, end, sheet, [x, y, width, height])) in cues.into_iter().enumerate() {
            assert_eq!(sheet, "my%20movie_sprite.jpg");
            assert_eq!(start, (index as f64 * 800.0).round() / 1000.0);
            assert_eq!(end, (f64::min(index as f64 * 800.0 + 800.0, 6000.0)).round() / 1000.0);
            assert_eq!([x, y, width, height], [index % 3 * 160, index / 3 * 90, 160, 90]);
            let tile = part(&bench.path("sprite.jpg"), (x, y), (width, height));
            assert_same(&tile, &bench.reference(start, (160, 90)), &format!("{name}: picture at {start}"));
        }
        let free = part(&bench.path("sprite.jpg"), (320, 180), (160, 90));
        assert!(means(&free).into_iter().all(|mean| mean < 3.0), "{name}: {:?}", means(&free));
    }
}
