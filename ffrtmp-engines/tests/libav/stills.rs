//! Poster, thumbnails and sprite sheet as a by-product of a transcode.

use std::path::Path;
use std::process::Command;

use ffrtmp_core::encoding::Stills;
use ffrtmp_core::engine::{Control, MediaBounds, Source};
use ffrtmp_core::job::JobReport;
use ffrtmp_core::media::{AudioCodec, Container, VideoCodec};
use ffrtmp_core::plan::{self, VideoPlan};
use ffrtmp_core::units::{Resolution, Seconds};

use crate::shapes::turn_track;
use crate::workbench::{Bench, ENGINE, Listener, encode, pixels, plan};

fn seconds(value: f64) -> Option<Seconds> {
    Some(Seconds::try_from(value).unwrap())
}

/// Adds stills to the plan for a source, and runs it.
fn run(bench: &Bench, input: &Path, stills: Stills, change: impl FnOnce(&mut plan::Plan)) -> JobReport {
    let source = Source::File(input.to_owned());
    let mut plan = plan(Container::Mp4, VideoCodec::H264, AudioCodec::Aac).on(&source);
    plan.stills = stills;
    change(&mut plan);
    let (bounds, control) = (MediaBounds::default(), Control::default());
    ENGINE.execute(&plan, &source, &bench.path("movie.mp4"), &bounds, &control, &Listener::default()).unwrap()
}

fn names(report: &JobReport) -> Vec<&str> {
    report.files.iter().map(|file| file.path.as_str()).collect()
}

/// Width and height, by `ffprobe`.
fn size(path: &Path) -> (u32, u32) {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=width,height", "-of", "csv=p=0"])
        .arg(path)
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let (width, height) = text.trim().split_once(',').unwrap();
    (width.parse().unwrap(), height.parse().unwrap())
}

/// A phone's clip stands upright, the poster comes from the large rendition, thumbnails from the
/// small one, and nothing is taken behind the cut.
#[test]
fn stills_are_upright_from_the_right_rendition_and_within_the_cut() {
    let bench = Bench::new();
    let black_then_white = "-f lavfi -i color=black:size=640x360:rate=25:duration=2,drawbox=x=0:y=0:w=320:h=360:c=gray:t=fill \
                            -c:v libx264 -preset ultrafast";
    let Some(flat) = bench.ffmpeg("flat.mp4", black_then_white) else { return };
    let input = bench.path("turned.mp4");
    turn_track(&flat, &input, [0, 1, -1, 0]);
    let stills = Stills {
        poster: Some(60.0.try_into().unwrap()),
        thumbnails: Some(2),
        thumbnail_width: Some(80),
        sprite_interval: seconds(0.5),
        sprite_width: Some(60),
        ..Stills::default()
    };
    let report = run(&bench, &input, stills, |plan| {
        let Some(VideoPlan::Encode(pictures)) = &mut plan.video else { panic!("no pictures") };
        let mut small = encode(VideoCodec::H264, 90, 160);
        small.name = "160p".to_owned();
        pictures.renditions = vec![encode(VideoCodec::H264, 360, 640), small];
        pictures.renditions[0].size = Resolution { width: 360, height: 640 };
        plan.duration = seconds(1.2);
    });
    let rest = ["movie_160p.mp4", "movie_poster.jpg", "movie_sprite.jpg", "movie_sprite.vtt"];
    for name in rest.iter().chain(&["movie_thumb_01.jpg", "movie_thumb_02.jpg"]) {
        assert!(names(&report).contains(name), "{name} in {:?}", names(&report));
    }
    for file in &report.files {
        assert_eq!(std::fs::metadata(bench.path(&file.path)).unwrap().len(), file.size_bytes, "{}", file.path);
    }
    assert_eq!(size(&bench.path("movie_poster.jpg")), (360, 640));
    assert_eq!(size(&bench.path("movie_thumb_02.jpg")), (80, 142));
    assert_eq!(size(&bench.path("movie_sprite.jpg")), (3 * 60, 108));
    let index = std::fs::read_to_string(bench.path("movie_sprite.vtt")).unwrap();
    assert!(index.ends_with("00:00:01.000 --> 00:00:01.200\nmovie_sprite.jpg#xywh=120,0,60,108\n"), "{index}");
    let mean = "scale=2:2:flags=area";
    let made = pixels(&bench.path("movie_poster.jpg"), mean, 4).unwrap();
    let shown = pixels(&bench.path("movie.mp4"), mean, 4).unwrap();
    assert!(made.iter().zip(&shown).all(|(made, shown)| made.abs_diff(*shown) <= 2), "{made:?} for {shown:?}");
    assert!(made[0].abs_diff(made[2]) > 50, "the turn is seen: {made:?}");
}

#[test]
fn sound_alone_has_no_stills_and_says_so() {
    let bench = Bench::new();
    let Some(input) = bench.ffmpeg("tone.mp4", "-f lavfi -i sine=duration=1 -c:a aac") else { return };
    let report = run(&bench, &input, Stills { thumbnails: Some(3), ..Stills::default() }, |_| {});
    assert_eq!(names(&report), ["movie.mp4"]);
    assert!(report.warnings.iter().any(|warning| warning.contains("no stills")), "{:?}", report.warnings);
}
