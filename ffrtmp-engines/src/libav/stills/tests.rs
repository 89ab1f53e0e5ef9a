//! The tap on decoded clips, against what the `ffmpeg` program makes of the same files.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use ffrtmp_core::engine::{Control, MediaBounds};
use ffrtmp_core::units::{Moment, Seconds};
use tempfile::TempDir;

use super::*;
use crate::libav::meter::Meter;
use crate::libav::probe;
use crate::libav::sys::{Decoder, Packet};

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

    /// Sends every decoded picture through a tap, which is told of a cut at `end`.
    fn take(&self, stills: &Stills, expected: Option<f64>, end: f64, allowance: Option<u64>) -> Result<Vec<PathBuf>> {
        let primary = self.directory.path().join("my movie.mp4");
        let limit = limit(Some(end), allowance);
        let (mut input, _) = probe::open(&self.clip, &MediaBounds::default(), &Control::default()).unwrap();
        let stream = input.streams().find(|stream| stream.is_video()).unwrap();
        let (index, base) = (stream.index(), stream.time_base());
        let (num, den) = stream.sample_aspect_ratio().unwrap_or((1, 1));
        let taps = Taps::default();
        taps.open_on(stills, &[(stream.size().0, Ratio { num, den })], expected, &primary, &limit)?;
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
                taps.see(0, &frame, seconds)?;
            }
            if !more {
                return taps.finish(1e9);
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

fn limit(seconds: Option<f64>, max_output_bytes: Option<u64>) -> Limit {
    let bounds = MediaBounds { max_output_bytes, ..MediaBounds::default() };
    Limit { from: None, seconds, bounds, control: Control::default(), meter: Arc::new(Meter::new()) }
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

fn moment(value: f64) -> Option<Moment> {
    Some(Moment::try_from(value).unwrap())
}

fn seconds(value: f64) -> Option<Seconds> {
    Some(Seconds::try_from(value).unwrap())
}

fn names(made: &[PathBuf]) -> Vec<String> {
    made.iter().map(|made| made.file_name().unwrap().to_str().unwrap().to_owned()).collect()
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

/// Whatever the source's depth, range and matrix.
#[test]
fn colours_are_those_of_the_source() {
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
        let Some(bench) = Bench::clip(name, &format!("{MOVING} {encode}")) else { return };
        let stills = Stills { poster: moment(2.0), ..Stills::default() };
        bench.take(&stills, Some(6.0), 6.0, None).unwrap();
        assert_same(&whole(&bench.path("poster.jpg"), (638, 358)), &bench.reference(2.0, (638, 358)), name);
    }
}

/// A test picture in which much moves.
const MOVING: &str = "-f lavfi -i testsrc2=size=638x358:rate=25:duration=6";

/// Every kind at once, frame by frame.
#[test]
fn pictures_are_those_of_their_times() {
    let encode = "-pix_fmt yuv420p -c:v libx264 -preset ultrafast -qp 12";
    let Some(bench) = Bench::clip("moving.mp4", &format!("{MOVING} {encode}")) else { return };
    let stills = Stills {
        poster: moment(2.0),
        thumbnails: Some(3),
        thumbnail_width: Some(255),
        sprite_interval: seconds(2.2),
        sprite_columns: Some(2),
        ..Stills::default()
    };
    let made = bench.take(&stills, Some(6.0), 6.0, None).unwrap();
    let endings = ["poster.jpg", "thumb_01.jpg", "thumb_02.jpg", "thumb_03.jpg", "sprite.jpg", "sprite.vtt"];
    assert_eq!(names(&made), endings.map(|ending| format!("my movie_{ending}")));
    let poster = whole(&bench.path("poster.jpg"), (638, 358));
    let [before, right, after] = [1.96, 2.0, 2.04].map(|time| difference(&poster, &bench.reference(time, (638, 358))));
    assert!(right < 0.8 * before.min(after), "{right} off, the neighbours {before} and {after}");
    for (ending, time) in [("thumb_01.jpg", 1.0), ("thumb_02.jpg", 3.0), ("thumb_03.jpg", 5.0)] {
        assert_same(&whole(&bench.path(ending), (255, 143)), &bench.reference(time, (255, 143)), ending);
    }
    let sprite = "my%20movie_sprite.jpg".to_owned();
    let parts = [(0.0, 2.2, [0, 0, 160, 90]), (2.2, 4.4, [160, 0, 160, 90]), (4.4, 6.0, [0, 90, 160, 90])];
    assert_eq!(cues(&bench.path("sprite.vtt")), parts.map(|(start, end, part)| (start, end, sprite.clone(), part)));
    for (start, _, [x, y, width, height]) in parts {
        let tile = part(&bench.path("sprite.jpg"), (x, y), (width, height));
        assert_same(&tile, &bench.reference(start, (width, height)), &format!("picture at {start}"));
    }
    let free = part(&bench.path("sprite.jpg"), (160, 90), (160, 90));
    assert!(means(&free).into_iter().all(|mean| mean < 3.0), "{:?}", means(&free));
}

/// A clip of 64×48 pixels at ten a second, in which a picture's number is its brightness.
fn counted(filter: &str, seconds: u32) -> Option<Bench> {
    let source = format!("color=gray:size=64x48:rate=10:duration={seconds}");
    let source = format!("-f lavfi -i {source},format=yuv420p,geq=lum='16+3*N':cb=128:cr=128{filter}");
    Bench::clip("counted.mkv", &format!("{source} -fps_mode passthrough -c:v ffv1"))
}

/// The number of a picture of such a clip, from its middle.
fn number(path: &Path, (x, y): (usize, usize), size: (usize, usize)) -> f64 {
    let pixels = part(path, (x, y), size);
    let middle = (size.1 / 2 * size.0 + size.0 / 2) * 3;
    (f64::from(pixels[middle]) * 219.0 / 255.0 / 3.0).round()
}

/// Gaps are filled by what is shown, times after the end by what was shown last, and pixels become
/// square without being multiplied.
#[test]
fn a_picture_is_shown_until_the_next_one_comes() {
    let select = ",select='eq(n,0)+eq(n,1)+eq(n,5)+eq(n,20)+eq(n,21)+eq(n,50)',setsar=2/1";
    let Some(bench) = counted(select, 6) else { return };
    let stills = Stills {
        poster: moment(100.0),
        thumbnails: Some(2),
        sprite_interval: seconds(0.5),
        sprite_columns: Some(5),
        ..Stills::default()
    };
    bench.take(&stills, Some(6.0), 5.8, None).unwrap();
    let size = (128, 48);
    assert_eq!(number(&bench.path("poster.jpg"), (0, 0), size), 50.0);
    assert_eq!(number(&bench.path("thumb_01.jpg"), (0, 0), size), 5.0);
    assert_eq!(number(&bench.path("thumb_02.jpg"), (0, 0), size), 21.0);
    let cues = cues(&bench.path("sprite.vtt"));
    let shown = [0.0, 5.0, 5.0, 5.0, 20.0, 21.0, 21.0, 21.0, 21.0, 21.0, 50.0, 50.0];
    assert_eq!(cues.len(), shown.len());
    assert_eq!(cues[11].1, 5.8);
    for ((start, _, _, [x, y, width, height]), shown) in cues.into_iter().zip(shown) {
        assert_eq!((width, height), size);
        assert_eq!(number(&bench.path("sprite.jpg"), (x, y), size), shown, "at {start}");
    }
}

/// Without a length in the header, or with a wrong one, thumbnails are spread over what came.
#[test]
fn thumbnails_are_spread_over_what_came() {
    let Some(bench) = counted("", 8) else { return };
    for expected in [None, Some(8.0), Some(2.0), Some(f64::NAN), Some(-1.0)] {
        let stills = Stills { thumbnails: Some(4), thumbnail_width: Some(32), ..Stills::default() };
        let made = bench.take(&stills, expected, 8.0, None).unwrap();
        assert_eq!(made.len(), 4);
        for (index, made) in made.iter().enumerate() {
            let meant = index as f64 * 20.0 + 10.0;
            let found = number(made, (0, 0), (32, 24));
            let slack = if expected == Some(8.0) { 0.0 } else { 10.0 };
            assert!((found - meant).abs() <= slack, "{expected:?}: picture {found} instead of {meant}");
            std::fs::remove_file(made).unwrap();
        }
    }
}

#[test]
fn one_picture_is_enough_for_all() {
    let Some(bench) = counted(",select='eq(n,0)'", 1) else { return };
    let stills =
        Stills { poster: moment(3.0), thumbnails: Some(12), sprite_interval: seconds(1.0), ..Stills::default() };
    let made = bench.take(&stills, None, 0.0001, None).unwrap();
    assert_eq!(made.len(), 1 + 12 + 2);
    assert_eq!(whole(&bench.path("sprite.jpg"), (64, 48)).len(), 64 * 48 * 3);
    let cues = cues(&bench.path("sprite.vtt"));
    assert_eq!(cues, [(0.0, 0.001, "my%20movie_sprite.jpg".to_owned(), [0, 0, 64, 48])]);
}

#[test]
fn a_sheet_that_would_be_too_large_becomes_several() {
    let source = "-f lavfi -i testsrc2=size=1024x576:rate=25:duration=2 -c:v libx264 -preset ultrafast";
    let Some(bench) = Bench::clip("large.mp4", source) else { return };
    let stills = Stills {
        sprite_interval: seconds(0.04),
        sprite_width: Some(1024),
        sprite_columns: Some(100),
        ..Stills::default()
    };
    let made = bench.take(&stills, Some(2.0), 2.0, None).unwrap();
    assert_eq!(names(&made), ["my movie_sprite_1.jpg", "my movie_sprite_2.jpg", "my movie_sprite.vtt"]);
    assert_eq!(whole(&bench.path("sprite_1.jpg"), (15 * 1024, 3 * 576)).len(), 15 * 1024 * 3 * 576 * 3);
    let cues = cues(&bench.path("sprite.vtt"));
    assert_eq!((cues.len(), cues[44].2.as_str()), (50, "my%20movie_sprite_1.jpg"));
    assert_eq!(cues[49], (1.96, 2.0, "my%20movie_sprite_2.jpg".to_owned(), [4 * 1024, 0, 1024, 576]));
    let last = part(&bench.path("sprite_2.jpg"), (4 * 1024, 0), (1024, 576));
    assert_same(&last, &bench.reference(1.96, (1024, 576)), "the last picture");
}

#[test]
fn what_is_too_much_is_refused_and_leaves_nothing() {
    let Some(bench) = counted("", 2) else { return };
    let stills = Stills { thumbnails: Some(4), sprite_interval: seconds(0.5), ..Stills::default() };
    let error = bench.take(&stills, Some(2.0), 2.0, Some(1000)).unwrap_err();
    assert_eq!(error.code(), Code::DiskQuotaExceeded);
    let left = std::fs::read_dir(bench.directory.path()).unwrap().count();
    assert_eq!(left, 1, "the clip alone is left");
    let stills = Stills { sprite_interval: seconds(0.001), ..Stills::default() };
    let error = bench.take(&stills, Some(3600.0), 3000.0, None).unwrap_err();
    assert_eq!((error.code(), error.field_name()), (Code::InvalidField, Some("stills.sprite_interval")));
}

#[test]
fn stills_come_from_the_smallest_rendition_that_has_their_width() {
    let stills =
        Stills { poster: moment(1.0), thumbnails: Some(3), sprite_interval: seconds(1.0), ..Stills::default() };
    let on = |stills: &Stills, widths: &[u32]| {
        let shapes: Vec<_> = widths.iter().map(|width| (*width, Ratio { num: 1, den: 1 })).collect();
        let taps = Taps::default();
        taps.open_on(stills, &shapes, None, Path::new("a.mp4"), &limit(None, None)).unwrap();
        taps
    };
    let taps = |stills: &Stills, widths: &[u32]| {
        let taps = on(stills, widths);
        let taps = taps.lock();
        taps.iter().map(|(place, tap)| (place.rendition, tap.kinds())).collect::<Vec<_>>()
    };
    assert_eq!(taps(&stills, &[1920]), [(0, (true, true, true))]);
    assert_eq!(
        taps(&stills, &[1920, 640, 256]),
        [(0, (true, false, false)), (1, (false, true, false)), (2, (false, false, true))]
    );
    assert_eq!(taps(&stills, &[100, 50]), [(0, (true, true, true))]);
    assert_eq!(taps(&Stills::default(), &[1920]), []);
    assert_eq!(on(&stills, &[64]).finish(0.0).unwrap(), [] as [PathBuf; 0], "no picture, no files");
}

impl Tap {
    fn kinds(&self) -> (bool, bool, bool) {
        let [poster, thumbnails, sprite] = self.dues();
        (poster.is_some(), thumbnails.is_some(), sprite.is_some())
    }
}
